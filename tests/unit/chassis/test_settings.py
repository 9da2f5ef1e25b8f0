from pathlib import Path

import pytest
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from services.chassis.listener import Listener
from services.chassis.settings import InvalidSettings, ServiceSettings, load


class ParcelSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="TACT_PARCEL_")

    port: int = Field(7499, ge=0, le=65535)
    metrics_port: int = 9499
    upstreams: tuple[str, ...] = ()
    token: SecretStr | None = None


def test_an_empty_environment_gives_the_defaults():
    settings = load(ParcelSettings, {})
    assert settings.home == Path(".tact")
    assert settings.playbook is None
    assert settings.listener == Listener(port=7499, metrics_port=9499)


def test_own_and_shared_variables_are_read():
    environ = {
        "TACT_PARCEL_PORT": "0",
        "TACT_PARCEL_UPSTREAMS": '["a", "b"]',
        "TACT_HOME": "/state",
        "TACT_PLAYBOOK": "books/one",
        "TACT_REQUIRE_SERVERS": "1",
        "TACT_OTHER_PORT": "1",
        "PATH": "/bin",
    }
    settings = load(ParcelSettings, environ)
    assert (settings.port, settings.upstreams) == (0, ("a", "b"))
    assert (settings.home, settings.playbook) == (Path("/state"), Path("books/one"))


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("TACT_PARCEL_PROT", "TACT_PARCEL_PORT"),
        ("TACT_PARCEL_METRIC_PORT", "TACT_PARCEL_METRICS_PORT"),
        ("TACT_PLAYBOK", "TACT_PLAYBOOK"),
        ("TACT_HOMES", "TACT_HOME"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_nearest_right_name(name, nearest):
    with pytest.raises(InvalidSettings, match=f"^{name} is unknown, did you mean {nearest}\\?$"):
        load(ParcelSettings, {name: "1"})


def test_a_shared_variable_does_not_take_the_prefix():
    with pytest.raises(InvalidSettings, match="TACT_PARCEL_HOME is unknown"):
        load(ParcelSettings, {"TACT_PARCEL_HOME": "/state"})


def test_every_wrong_value_is_named_and_none_is_shown():
    with pytest.raises(InvalidSettings) as refused:
        load(ParcelSettings, {"TACT_PARCEL_PORT": "s3cret", "TACT_PARCEL_DRAIN_SECONDS": "-5"})
    assert "TACT_PARCEL_PORT: " in str(refused.value)
    assert "TACT_PARCEL_DRAIN_SECONDS: " in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_a_list_that_is_no_json_is_refused():
    with pytest.raises(InvalidSettings, match="upstreams"):
        load(ParcelSettings, {"TACT_PARCEL_UPSTREAMS": "a,b"})


def test_settings_are_frozen_and_hide_secrets():
    settings = load(ParcelSettings, {"TACT_PARCEL_TOKEN": "s3cret"})
    assert "s3cret" not in repr(settings)
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1


def test_made_directly_a_wrong_value_is_not_shown_either():
    with pytest.raises(ValueError, match="port") as refused:
        ParcelSettings(port="s3cret")
    assert "s3cret" not in str(refused.value)


def test_made_directly_they_ignore_the_environment(monkeypatch):
    monkeypatch.setenv("TACT_PARCEL_PORT", "1")
    assert ParcelSettings(home=Path("here")).port == 7499


def test_a_class_without_prefix_is_a_defect():
    with pytest.raises(TypeError, match="env_prefix"):
        load(ServiceSettings, {})
