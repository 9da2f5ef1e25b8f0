from datetime import UTC, datetime
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.engine.instants import zone
from services.engine.policy.zones import Zones, zones_of_country

NOON = datetime(2025, 6, 1, 12, tzinfo=UTC)


def zones(*names):
    return Zones(zones=tuple(map(zone, names)), source="country")


def keys_of(country):
    return [each.key for each in zones_of_country(country)]


def test_a_country_has_one_zone_or_several():
    assert keys_of("FR") == ["Europe/Paris"]
    assert keys_of("NZ") == ["Pacific/Auckland", "Pacific/Chatham"]
    assert {"America/New_York", "Pacific/Honolulu", "America/Phoenix"} < set(keys_of("US"))


@pytest.mark.parametrize("code", ["", "XX", "fr", "FRA", "F", " FR", "FR\n", "#", "Ö", "\ud800", "x" * 9_999])
def test_any_other_text_is_no_country(code):
    assert zones_of_country(code) == ()


@given(st.text(max_size=3))
def test_no_text_breaks_the_look_up(code):
    assert all(each.utcoffset(datetime(2025, 1, 1)) is not None for each in zones_of_country(code))


def test_every_country_of_the_table_has_zones_that_load():
    table = files("tzdata").joinpath("zoneinfo", "iso3166.tab").read_text(encoding="utf-8")
    codes = [line.split("\t")[0] for line in table.splitlines() if not line.startswith("#")]
    nobody_lives_there = {"BV", "HM"}
    assert {code for code in codes if not zones_of_country(code)} == nobody_lives_there


def test_zones_are_those_of_every_other_part_of_the_system():
    assert zones_of_country("FR") == (zone("Europe/Paris"),)
    assert zones_of_country("US") is zones_of_country("US")


def test_what_zones_agree_on_is_their_local_time():
    assert zones("Europe/Paris").local_time(NOON) == {"hour": 14, "weekday": 7}
    assert zones("Europe/Paris", "Europe/Berlin").local_time(NOON) == {"hour": 14, "weekday": 7}
    assert zones("Europe/Paris", "Europe/London").local_time(NOON) == {"weekday": 7}
    assert zones("Pacific/Auckland", "Pacific/Honolulu").local_time(NOON) == {}


def test_a_recipient_is_somewhere():
    with pytest.raises(ValueError, match="one zone at least"):
        zones()
