from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.engine.instants import zone
from services.engine.playbook.templates import parse

BERLIN = (zone("Europe/Berlin"),)
UNITED_STATES = (zone("America/New_York"), zone("America/Los_Angeles"))
NOON = datetime(2026, 7, 1, 12, 0, 59, tzinfo=UTC)


def filled(text, zones=BERLIN, **values):
    return parse(text).fill({name.replace("_", ".", 1): value for name, value in values.items()}, zones)


@pytest.mark.parametrize(
    ("text", "values", "result"),
    [
        ("Hello!", {}, "Hello!"),
        ("", {}, ""),
        ("Hello {profile.name}!", {"profile_name": "Ann"}, "Hello Ann!"),
        ("{profile.name}{profile.name}", {"profile_name": "Ann"}, "AnnAnn"),
        ("Hello {profile.name|you}!", {}, "Hello you!"),
        ("Hello {profile.name|you}!", {"profile_name": "Ann"}, "Hello Ann!"),
        ("Hello {profile.name|}!", {}, "Hello !"),
        ("{profile.name|a|b}", {}, "a|b"),
        ("{profile.name|you}", {"profile_name": ""}, ""),
        ("{profile.name|you} and {context.page|here}", {"context_page": "home"}, "you and home"),
        ("{profile.name}", {"profile_name": "{profile.age}", "profile_age": 1}, "{profile.age}"),
    ],
)
def test_placeholders_are_filled_and_their_values_are_not_read_again(text, values, result):
    assert filled(text, **values) == result


@pytest.mark.parametrize("text", ["{profile.name}", "{profile.name|you} {profile.age}", "{a}{profile.name|}"])
def test_a_text_with_a_hole_is_no_text(text):
    assert filled(text) is None


@pytest.mark.parametrize(
    ("value", "result"),
    [
        *((7, "7"), (-7, "-7"), (2**53, "9007199254740992"), (True, "true"), (False, "false")),
        *((7.0, "7"), (0.0, "0"), (-0.0, "0"), (-3.0, "-3"), (1e15, "1000000000000000")),
        *((0.5, "0.50"), (2.345, "2.35"), (2.999, "3.00"), (-2.5, "-2.50"), (-0.001, "0.00")),
        *(("Ann", "Ann"), ("1.0", "1.0")),
        (NOON, "2026-07-01 14:00"),
        (datetime(2026, 1, 1, 12, tzinfo=UTC), "2026-01-01 13:00"),
    ],
)
def test_values_are_written_for_people(value, result):
    assert filled("{profile.x}", profile_x=value) == result


def test_a_time_is_told_in_utc_where_clocks_do_not_agree():
    assert filled("{profile.x}", UNITED_STATES, profile_x=NOON) == "2026-07-01 12:00 UTC"
    assert filled("{profile.x}", (*BERLIN, zone("Europe/Paris")), profile_x=NOON) == "2026-07-01 14:00"


def test_a_template_knows_what_it_reads():
    assert parse("{profile.a} {context.b|x} {profile.a} c {action.d}").reads == {
        "profile.a",
        "context.b",
        "action.d",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *(
            (text, "a brace is left open")
            for text in ("{", "}", "a { b", "{profile.a}}", "{{profile.a}", "}{")
        ),
        *(
            (text, "is no name such as {profile.first_name}")
            for text in ("{}", "{|x}", "{a b}", "{ profile.a }")
        ),
        ("{a\n b}", '"{a b}" is no name'),
    ],
)
def test_what_is_no_placeholder_is_refused(text, message):
    with pytest.raises(ValueError, match=r"brace|name") as caught:
        parse(text)
    assert message in str(caught.value)


TEXTS = st.text(st.characters(exclude_characters="{}|", codec="utf-8"), max_size=8)
NAMES = st.from_regex(r"(profile|feature|action|context)\.[a-z_]{1,4}", fullmatch=True)


@given(st.lists(st.tuples(TEXTS, NAMES, st.none() | TEXTS), max_size=5), TEXTS, st.dictionaries(NAMES, TEXTS))
def test_a_text_is_what_stands_between_its_placeholders_and_their_values(parts, end, values):
    text = (
        "".join(f"{before}{{{name}{'' if new is None else '|' + new}}}" for before, name, new in parts) + end
    )
    found = parse(text).fill(values, BERLIN)
    wanted = [values.get(name, new) for _, name, new in parts]
    if None in wanted:
        assert found is None
    else:
        assert found == "".join(part[0] + value for part, value in zip(parts, wanted, strict=True)) + end


@given(st.integers(-(10**15), 10**15))
def test_numbers_err_by_less_than_half_a_hundredth(hundred_thousandths):
    value = hundred_thousandths / 100_000
    assert abs(float(filled("{profile.x}", profile_x=value)) - value) <= 0.005 + abs(value) * 1e-15


@given(st.datetimes(datetime(1970, 1, 2), datetime(2190, 1, 1), timezones=st.just(UTC)))
def test_a_time_of_one_zone_is_the_clock_on_its_wall(moment):
    told = datetime.fromisoformat(filled("{profile.x}", profile_x=moment))
    local = moment.astimezone(BERLIN[0]).replace(tzinfo=None)
    assert timedelta(0) <= local - told < timedelta(minutes=1)
