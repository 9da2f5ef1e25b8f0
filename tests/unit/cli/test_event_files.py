"""CSV comes back as it was written, and what is no CSV takes nothing else with it."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.events.row import Damaged, Row
from services.cli.events.sources import open_source
from services.cli.events.times import Times
from services.engine.instants import instant, microseconds

HEADER = ["a", "b", "c"]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ['"', '""', ",", "\n", "\r\n", "\r", 'a "b" c', "\ufeff"]
)
tables = st.lists(st.lists(texts, min_size=3, max_size=3), max_size=12)


def read(content, columns=HEADER, **options):
    """Return the rows of a file of these bytes."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "file.csv")
        path.write_bytes(content)
        source = open_source(path, **{"delimiter": ",", "encoding": "utf-8", **options})
        try:
            assert source.header == HEADER
            return list(source.rows(columns))
        finally:
            source.close()


def written(rows, terminator):
    """Write as RFC 4180 says; Python's own writer leaves a lone carriage return bare."""
    return "".join(",".join(map(quoted, row)) + terminator for row in [HEADER, *rows])


def quoted(cell):
    return '"' + cell.replace('"', '""') + '"' if re.search('[,"\r\n]', cell) else cell


@given(tables, st.sampled_from(["\n", "\r\n", "\r"]), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_csv_comes_back_as_it_was_written(rows, terminator, encoding):
    text = written(rows, terminator)
    found = read(text.encode(encoding), encoding="utf-8" if encoding == "utf-8-sig" else encoding)
    assert [list(row.cells.values()) for row in found] == rows
    before = [written(rows[:number], terminator) for number in range(len(rows))]
    assert [row.line for row in found] == [len(re.findall("\r\n|\r|\n", text)) + 1 for text in before]


BROKEN = ['x,"y"z,1', '"never closed,2,3', "too,few", "to,o,ma,ny", "x,\udcff,z", f'x,"{"y" * 200_000}",z']


@given(st.lists(st.sampled_from(["good", *range(len(BROKEN))]), max_size=12))
def test_what_is_broken_takes_nothing_else_with_it(chosen):
    lines = [f"row {n},,{n}" if what == "good" else BROKEN[what] for n, what in enumerate(chosen)]
    content = "\n".join([",".join(HEADER), *lines]) + "\n"
    found = read(content.encode(errors="surrogateescape"))
    good = [Row(n + 2, {"a": f"row {n}", "b": "", "c": str(n)}) for n, w in enumerate(chosen) if w == "good"]
    assert [row for row in found if isinstance(row, Row)] == good
    broken = [n + 2 for n, what in enumerate(chosen) if what != "good"]
    assert [row.line for row in found if isinstance(row, Damaged)] == broken


@pytest.mark.parametrize(
    ("lines", "sound", "damaged"),
    [
        (['"1,i,x', "2,i,x", '3,13",x', "4,i,x"], [3, 5], [2, 4]),
        (['1,"i,x', "2,i,x", '3,",",x', "4,i,x"], [3, 4, 5], [2]),
        (['"1,i,x', '"2,j,x', "3,i,x", '4,13",x', "5,i,x"], [4, 6], [2, 3, 5]),
        (['1,"i,x', '2,"two', 'lines",x', "3,i,x"], [3, 5], [2]),
        (['1,13",x', "2,i,x"], [2, 3], []),
        (['1,"two', 'lines",x', "2,i,x"], [2, 4], []),
        (['1,"i', f'x,{"," * (1 << 20)}"', "2,i,x"], [4], [2, 3]),
    ],
)
def test_a_stray_quote_damages_its_row_and_not_those_that_follow(lines, sound, damaged):
    found = read("\n".join([",".join(HEADER), *lines, ""]).encode())
    assert [row.line for row in found if isinstance(row, Row)] == sound
    assert [row.line for row in found if isinstance(row, Damaged)] == damaged


def test_columns_that_nobody_asked_for_may_hold_anything():
    assert read(b"a,b,c\n1,\xff,3\n", ["a", "c"]) == [Row(2, {"a": "1", "c": "3"})]


moments = st.datetimes(datetime(1970, 1, 2), datetime(2199, 1, 1))


@given(moments, st.integers(-14 * 60, 14 * 60), st.sampled_from(["T", " "]))
def test_a_time_with_its_offset_is_one_instant_however_it_is_written(moment, minutes, between):
    there = moment + timedelta(minutes=minutes)
    offset = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    text = there.isoformat(between) + offset
    assert Times().read(text) == microseconds(moment.replace(tzinfo=UTC))


@given(moments)
def test_every_unit_counts_to_the_microsecond(moment):
    count = microseconds(moment.replace(tzinfo=UTC))
    for unit, scale in (("seconds", 6), ("milliseconds", 3), ("microseconds", 0)):
        exact = Decimal(count).scaleb(-scale)
        assert Times(unit=unit).read(f"{exact:f}") == Times(unit=unit).read(exact) == count


@given(moments)
def test_a_local_time_that_exists_comes_back(moment):
    zone = ZoneInfo("America/New_York")
    count = microseconds(moment.replace(tzinfo=UTC))
    local = instant(count).astimezone(zone)
    found = Times(zone=zone).read(local.replace(tzinfo=None))
    assert found == count - (3_600_000_000 if local.fold else 0)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("1740909600", "is a number: say --time-unit"),
        (1740909600, "is a number: say --time-unit"),
        ("20250302", "is a number: say --time-unit"),
        ("2012101012345", "is a number: say --time-unit"),
        ("2025-03-02T10:00:00", "has no offset: say --time-zone"),
        ("2025-02-30T10:00:00Z", "is no time such as"),
        ("2025-03-02T24:01:00Z", "is no time such as"),
        ("02.03.2025", "is no time such as"),
        ("now", "is no time such as"),
        (True, "is no time"),
        ([], "is no time"),
    ],
)
def test_what_is_no_time_says_what_to_do(cell, reason):
    with pytest.raises(ValueError, match=reason):
        Times().read(cell)
