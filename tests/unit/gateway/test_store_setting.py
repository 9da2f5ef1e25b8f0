import pytest

from services.chassis.settings import InvalidSettings, load
from services.gateway.settings import GatewaySettings


def test_without_a_store_named_it_is_a_file():
    assert load(GatewaySettings, {}).store.get_secret_value() == ""


def test_the_url_of_a_store_is_shown_nowhere():
    url = "postgresql://tact:hush-hush@db/tact"
    settings = load(GatewaySettings, {"TACT_GATEWAY_STORE": url})
    assert settings.store.get_secret_value() == url
    assert "hush" not in f"{settings} {settings!r} {settings.model_dump()} {settings.model_dump_json()}"


@pytest.mark.parametrize("store", ["mysql://tact:hush-hush@db/tact", "hush-hush", "postgres:hush-hush"])
def test_a_store_of_another_kind_is_refused(store):
    with pytest.raises(InvalidSettings, match=r"TACT_GATEWAY_STORE: .*begin with postgresql://") as refused:
        load(GatewaySettings, {"TACT_GATEWAY_STORE": store})
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("rest", ["", "/", "?sslmode=require"])
def test_a_database_must_be_named(rest):
    with pytest.raises(InvalidSettings, match=r"TACT_GATEWAY_STORE: .*names no database") as refused:
        load(GatewaySettings, {"TACT_GATEWAY_STORE": f"postgresql://tact:hush-hush@db:5432{rest}"})
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("rest", ["/tact", "/?dbname=tact"])
def test_a_database_may_be_named_in_two_ways(rest):
    url = f"postgresql://tact:hush-hush@db:5432{rest}"
    assert load(GatewaySettings, {"TACT_GATEWAY_STORE": url}).store_url == url
