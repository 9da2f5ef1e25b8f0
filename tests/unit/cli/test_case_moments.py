"""Times as cases say them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from services.cli.cases.moments import moment_of, parse_when, value_at
from services.engine.playbook.schema.attributes import AttributeType

NOW = datetime(2026, 3, 2, 10, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("now", NOW),
        ("27d ago", NOW - timedelta(days=27)),
        ("1d 2h 3m 4s ago", NOW - timedelta(days=1, hours=2, minutes=3, seconds=4)),
        ("in 2h", NOW + timedelta(hours=2)),
        ("2026-03-02T09:30:00Z", datetime(2026, 3, 2, 9, 30, tzinfo=UTC)),
        ("2026-03-02T10:00:00+01:00", NOW),
    ],
)
def test_a_time_is_an_instant_or_a_distance_from_the_decision(text, meant):
    assert moment_of(parse_when(text), NOW) == meant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ago",
        " ago",
        "in ",
        "in 2",
        "2d",
        "2 d ago",
        "in 2d ago",
        "27d  from now",
        "yesterday",
        "2026-03-02",
        "2026-03-02T10:00:00",
        "1999-12-31T23:59:59Z",
        "2100-01-01T00:00:00Z",
        20260302,
        None,
    ],
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match=r"is no (time|length of time) such as|is no time with its offset"):
        parse_when(text)


def test_an_attribute_of_type_timestamp_may_be_written_as_a_distance():
    assert value_at(AttributeType(type="timestamp"), "in 2d", NOW) == "2026-03-04T09:00:00Z"
    assert value_at(AttributeType(type="string"), "in 2d", NOW) == "in 2d"
