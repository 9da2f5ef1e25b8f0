import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.engine.playbook.schema.attributes import AttributeType
from services.engine.playbook.values import as_number, native, parse, parse_weights

STRING = AttributeType(type="string")
ENUM = AttributeType(type="enum", values=("low", "mid", "high"))
INTEGER = AttributeType(type="integer")
NUMBER = AttributeType(type="number")
BOOLEAN = AttributeType(type="boolean")
CENTS = AttributeType(type="decimal", scale=2)
TIME = AttributeType(type="timestamp")


@pytest.mark.parametrize(
    ("declared", "raw", "value"),
    [
        *((STRING, "", ""), (STRING, "x" * 1_024, "x" * 1_024), (STRING, "no", "no"), (ENUM, "mid", "mid")),
        *((INTEGER, 5, 5), (INTEGER, 5.0, 5), (INTEGER, -(2.0**53), -(2**53)), (INTEGER, 2**53, 2**53)),
        *((NUMBER, 5, 5.0), (NUMBER, -0.5, -0.5), (NUMBER, 1.7e308, 1.7e308)),
        *((BOOLEAN, True, True), (BOOLEAN, False, False)),
        *((CENTS, 5, 5.0), (CENTS, 5.25, 5.25), (CENTS, 0.07, 0.07), (CENTS, -19.99, -19.99)),
    ],
)
def test_what_fits_is_kept_in_its_type(declared, raw, value):
    found = parse(declared, raw)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("declared", "raw", "message"),
    [
        *((STRING, 5, "must be a string, not a number"), (STRING, None, "must be a string, not null")),
        *((STRING, True, "not a boolean"), (STRING, [], "not a list"), (STRING, {}, "not a mapping")),
        *((STRING, "x" * 1_025, "at most 1024 characters"), (STRING, "a\0b", "null character")),
        *(
            (ENUM, "none", "must be one of low, mid, high"),
            (ENUM, 1, "must be a string"),
            (ENUM, "", "one of"),
        ),
        *((INTEGER, 5.5, "whole number"), (INTEGER, 2**53 + 1, "2\\*\\*53"), (INTEGER, 1e300, "2\\*\\*53")),
        *(
            (INTEGER, True, "must be a number, not a boolean"),
            (INTEGER, "5", "must be a number, not a string"),
        ),
        *(
            (declared, raw, "must be finite")
            for declared in (INTEGER, NUMBER, CENTS)
            for raw in (math.inf, math.nan)
        ),
        *((declared, 10**400, "must be finite") for declared in (INTEGER, NUMBER, CENTS)),
        *((BOOLEAN, 1, "must be true or false, not a number"), (BOOLEAN, "true", "not a string")),
        *((BOOLEAN, None, "not null"), (NUMBER, None, "must be a number, not null")),
        *((CENTS, 0.001, "at most 2 decimals"), (CENTS, 19.999, "at most 2 decimals")),
        *((CENTS, 1e-300, "at most 2 decimals"), (CENTS, 1e14, "no larger than 22517998136852")),
        *((CENTS, 1.7e308, "no larger than"), (CENTS, True, "not a boolean")),
    ],
)
def test_what_does_not_fit_is_refused(declared, raw, message):
    with pytest.raises(ValueError, match=message):
        parse(declared, raw)


@given(st.integers(-(2**51), 2**51), st.integers(0, 9))
def test_every_decimal_of_its_scale_is_kept_to_the_unit(units, scale):
    declared = AttributeType(type="decimal", scale=scale)
    value = parse(declared, float(Decimal(units).scaleb(-scale)))
    assert round(value * 10**scale) == units


@given(st.integers(-(10**9), 10**9), st.integers(0, 8))
def test_no_decimal_beyond_its_scale_is_kept(units, scale):
    declared = AttributeType(type="decimal", scale=scale)
    raw = float(Decimal(units * 10 + 1).scaleb(-scale - 1))
    with pytest.raises(ValueError, match=f"at most {scale} decimals"):
        parse(declared, raw)


@given(
    st.sampled_from([STRING, ENUM, INTEGER, NUMBER, BOOLEAN, CENTS]),
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.lists(st.none(), max_size=1),
)
def test_what_is_parsed_is_finite_and_parses_again_to_itself(declared, raw):
    try:
        value = parse(declared, raw)
    except ValueError:
        return
    assert isinstance(value, str) or math.isfinite(value)
    assert parse(declared, value) == value


def test_numbers_of_values():
    assert [as_number(ENUM, word) for word in ("low", "mid", "high")] == [0.0, 1.0, 2.0]
    assert (as_number(BOOLEAN, True), as_number(INTEGER, 7), as_number(CENTS, 0.5)) == (1.0, 7.0, 0.5)


def test_words_of_an_older_declaration_are_missing():
    assert math.isnan(as_number(ENUM, "gone"))
    assert math.isnan(as_number(ENUM, 5))
    assert math.isnan(as_number(INTEGER, "5"))


def test_weights_map_words_to_numbers():
    assert parse_weights({"a": 1, "b": 0.5, "c": 0}) == {"a": 1.0, "b": 0.5, "c": 0.0}


@pytest.mark.parametrize(
    "raw",
    [None, 5, "a", [], {}, {"a": "1"}, {"a": None}, {"a": True}, {"a": -1}, {"a": math.nan}, {"a": math.inf}],
)
def test_other_weights_are_refused(raw):
    with pytest.raises(ValueError, match=r"must map words|the weight of \"a\" must"):
        parse_weights(raw)


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        ("2026-03-01T10:00:00Z", "2026-03-01T10:00:00Z"),
        ("2026-03-01T10:00:00+00:00", "2026-03-01T10:00:00Z"),
        ("2026-03-01T10:00:00-05:30", "2026-03-01T15:30:00Z"),
        ("2026-03-01T00:30:00+01:00", "2026-02-28T23:30:00Z"),
        ("2026-03-01T10:00Z", "2026-03-01T10:00:00Z"),
        ("2026-03-01T10:00:00.5Z", "2026-03-01T10:00:00.500000Z"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        ("2199-12-31T23:59:59.999999Z", "2199-12-31T23:59:59.999999Z"),
    ],
)
def test_an_instant_is_kept_in_utc(raw, kept):
    assert parse(TIME, raw) == kept
    assert native(TIME, kept) == datetime.fromisoformat(raw)


@pytest.mark.parametrize(
    "raw",
    [
        *("2026-03-01", "2026-03-01T10:00:00", "2026-03-01 10:00:00Z", "10:00:00Z", "tomorrow", "", "T"),
        *(
            "1969-12-31T23:59:59Z",
            "2200-01-01T00:00:00Z",
            "1970-01-01T00:30:00+01:00",
            "0001-01-01T00:00:00+23:00",
        ),
        *(
            "9999-12-31T23:00:00-05:00",
            "2025-02-29T00:00:00Z",
            "2026-03-01T25:00:00Z",
            1772359200,
            True,
            None,
            [],
        ),
    ],
)
def test_what_is_no_instant_is_refused(raw):
    with pytest.raises(ValueError, match="must be a time"):
        parse(TIME, raw)


OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(datetime(1970, 1, 2), datetime(2199, 12, 30), timezones=st.just(UTC)), OFFSETS, OFFSETS)
def test_an_instant_is_the_same_text_whatever_its_offset(moment, one, other):
    kept = parse(TIME, moment.astimezone(one).isoformat())
    assert kept == parse(TIME, moment.astimezone(other).isoformat()) == parse(TIME, kept)
    assert native(TIME, kept) == moment


def test_only_instants_change_on_their_way_to_expressions():
    assert native(STRING, "2026-03-01T10:00:00Z") == "2026-03-01T10:00:00Z"
    assert native(CENTS, 0.5) == 0.5
