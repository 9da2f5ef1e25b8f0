"""Where NATS is told about, wrong settings are refused and secrets are not shown."""

import asyncio
import sys

import pytest

from services.chassis.settings import InvalidSettings, load
from services.engine.playbook.loader import load as load_playbook
from services.engine.playbook.loader import shipped
from services.features.app import open_service
from services.features.settings import FeatureSettings

SECRET = "nats://user:SECRET@nats-1:4222"  # noqa: S105


def test_nothing_is_consumed_unless_told():
    assert load(FeatureSettings, {}).nats_servers == []
    assert load(FeatureSettings, {"TACT_FEATURES_NATS_URL": " "}).nats_servers == []


def test_several_servers_are_divided_by_commas():
    environ = {"TACT_FEATURES_NATS_URL": f"{SECRET}, tls://nats-2:4222,nats-3"}
    settings = load(FeatureSettings, environ)
    assert settings.nats_servers == [SECRET, "tls://nats-2:4222", "nats-3"]
    assert "SECRET" not in repr(settings)


@pytest.mark.parametrize(
    "url", ["http://SECRET:80", "nats://SECRET:port", "nats://SECRET:0", "nats://", "nats://[SECRET"]
)
def test_an_address_that_is_none_is_refused_and_not_shown(url):
    with pytest.raises(InvalidSettings, match=r"^TACT_FEATURES_NATS_URL: ") as refused:
        load(FeatureSettings, {"TACT_FEATURES_NATS_URL": url})
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STREAM", "a.b"),
        ("STREAM", ""),
        ("DURABLE", "a b"),
        ("SUBJECT", "a..b"),
        ("DEAD_SUBJECT", "dead.*"),
        ("DEAD_SUBJECT", "tact.events"),
        ("BATCH", "0"),
        ("ACK_WAIT_SECONDS", "0.5"),
    ],
)
def test_names_that_nats_would_not_take_are_refused(name, value):
    with pytest.raises(InvalidSettings, match=rf"^TACT_FEATURES_NATS_{name}: "):
        load(FeatureSettings, {f"TACT_FEATURES_NATS_{name}": value})


@pytest.mark.parametrize(
    ("subject", "dead", "is_taken"),
    [
        ("tact.>", "tact.dead", True),
        ("tact.*", "tact.dead", True),
        ("*.dead", "tact.dead", True),
        (">", "dead", True),
        ("tact.*", "tact.events.dead", False),
        ("tact.events.>", "tact.events", False),
        ("tact.event", "tact.events", False),
        ("tactXevents", "tact.events", False),
    ],
)
def test_dead_letters_never_come_back_as_events(subject, dead, is_taken):
    environ = {"TACT_FEATURES_NATS_SUBJECT": subject, "TACT_FEATURES_NATS_DEAD_SUBJECT": dead}
    if not is_taken:
        load(FeatureSettings, environ)
        return
    with pytest.raises(InvalidSettings, match="must not be a subject that events come from"):
        load(FeatureSettings, environ)


def test_without_its_client_a_set_address_is_refused(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "nats"]:
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("nats_connection", "nats_events", "nats_letters", "dead_letters"):
        monkeypatch.delitem(sys.modules, f"services.features.adapters.{name}", raising=False)

    async def main():
        settings = FeatureSettings(home=tmp_path, nats_url=SECRET)
        async with open_service(settings, load_playbook(shipped("retail"))):
            pass

    with pytest.raises(InvalidSettings, match=r"nats-py is not installed: pip install 'tact-nba\[nats\]'"):
        asyncio.run(main())
