"""``tact events import`` puts files into a real feature service: all that is right, and only that, once."""

import csv
import json
import socket
import sys
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pyarrow
import pytest
from happenings import import_events, serving_features, stored, write_csv, write_parquet

from tests.playbooks import write_playbook

HEADER = (
    "event_id",
    "customer_id",
    "type",
    "event_time",
    "amount",
    "items",
    "category",
    "shop",
    "gift",
    "offer",
)
MOMENT = datetime(2025, 3, 2, 10, tzinfo=UTC)
MICROS = 1_740_909_600_000_000
TALK = ("events", "events", "order", "attributes", "promised", {"type": "timestamp"})


def order(event_id, **fields):
    row = {
        "event_id": event_id,
        "customer_id": "c1",
        "type": "order",
        "event_time": MOMENT.isoformat(),
        **fields,
    }
    return [row.get(name, "") for name in HEADER]


@pytest.fixture(scope="module")
def playbook(tmp_path_factory):
    return write_playbook(tmp_path_factory.mktemp("book"), TALK)


@pytest.fixture
def shop(tmp_path, playbook, monkeypatch):
    """Serve; yields what imports files into the service, and tells its exit code and last line."""
    monkeypatch.setenv("TACT_PLAYBOOK", str(playbook))
    monkeypatch.setenv("TACT_HOME", str(tmp_path / "home"))
    with serving_features(tmp_path / "home", playbook) as address:
        yield Shop(address, tmp_path)


class Shop:
    def __init__(self, address, folder):
        self.address = address
        self.folder = folder
        self.rejects = folder / "rejects.csv"

    def run(self, *arguments):
        return import_events(*arguments, "--address", self.address, "--rejects", self.rejects)

    def write(self, rows, header=HEADER, name="events.csv", **options):
        return write_csv(self.folder / name, header, rows, **options)

    def stored(self):
        return stored(self.folder / "home")

    def refused(self):
        """Return what is listed as refused: line, column and reason."""
        if not self.rejects.exists():
            return []
        with self.rejects.open(newline="") as file:
            return [(int(row["line"]), row["column"], row["reason"]) for row in csv.DictReader(file)]


def last_line(capsys):
    return capsys.readouterr().out.splitlines()[-1]


def test_every_row_is_stored_as_the_playbook_types_it(shop, capsys):
    file = shop.write(
        [
            order("a", amount="12.50", items="3", category="books", shop="007", gift="TRUE"),
            ["b", "c2", "clicked", "2025-03-02T12:00:00+02:00", "", "", "", "", "", "sale"],
        ]
    )
    assert shop.run(file) == 0
    assert last_line(capsys) == "2 read, 2 stored, 0 duplicates, 0 rejected"
    content = '{"amount":12.5,"category":"books","gift":true,"items":3,"shop":"007"}'
    assert shop.stored() == {
        "a": ("c1", "order", MICROS, content),
        "b": ("c2", "clicked", MICROS, '{"offer":"sale"}'),
    }
    assert not shop.rejects.exists()


def test_repeating_an_import_changes_nothing(shop, capsys):
    file = shop.write([order(f"e{number}", items=str(number % 4)) for number in range(2_500)])
    assert shop.run(file) == 0
    before = shop.stored()
    assert shop.run(file) == 0
    assert last_line(capsys) == "2500 read, 0 stored, 2500 duplicates, 0 rejected"
    assert shop.stored() == before


def test_ids_are_made_of_the_content_and_its_number(shop, capsys):
    header = HEADER[1:]
    row = order("", items="1")[1:]
    file = shop.write([row, order("", items="2")[1:], row, row], header)
    assert shop.run(file, "--event-id-from", "all") == 0
    assert last_line(capsys) == "4 read, 4 stored, 0 duplicates, 0 rejected"
    assert shop.run(file, "--event-id-from", "all") == 0
    assert last_line(capsys) == "4 read, 0 stored, 4 duplicates, 0 rejected"
    more = shop.write([row, *[row] * 3], header, name="more.csv")
    assert shop.run(more, "--event-id-from", "all") == 0
    assert last_line(capsys) == "4 read, 1 stored, 3 duplicates, 0 rejected"
    ids = sorted(shop.stored())
    assert sorted(name.partition("-")[2] for name in ids) == ["1", "1", "2", "3", "4"]


def test_made_ids_count_over_all_files_of_an_import(shop, capsys):
    row = order("", items="1")[1:]
    files = [shop.write([row], HEADER[1:], name=f"{name}.csv") for name in "ab"]
    assert shop.run(*files, "--event-id-from", "all") == 0
    assert last_line(capsys) == "2 read, 2 stored, 0 duplicates, 0 rejected"


def test_ids_of_chosen_columns_tell_a_changed_row_from_a_new_one(shop, capsys):
    header = (*HEADER[1:], "receipt")
    chosen = ("--event-id-from", "receipt,customer_id", "--attribute", "items=items")
    assert shop.run(shop.write([[*order("", items="1")[1:], "r1"]], header), *chosen) == 0
    changed = shop.write([[*order("", items="2")[1:], "r1"], [*order("", items="2")[1:], "r2"]], header)
    assert shop.run(changed, *chosen) == 1
    assert shop.refused() == [(2, "", "event_id was used for another event")]


EVENTS = [
    ("1", "order", MOMENT, Decimal("12.50"), 3, "books", 7, True, None),
    ("1", "order", MOMENT, Decimal("12.50"), 3, "books", 7, True, None),
    ("2", "clicked", MOMENT + timedelta(microseconds=1), None, None, None, None, None, 'sale\nof "shoes"'),
    ("3", "order", MOMENT - timedelta(days=400), Decimal("0.07"), None, "", 12, False, None),
    ("4", "order", MOMENT, None, 5, "beads", None, None, None),
    ("", "order", MOMENT, None, None, None, None, None, None),
]


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=-3)), None])
def test_csv_and_parquet_agree(tmp_path, playbook, monkeypatch, zone):
    monkeypatch.setenv("TACT_PLAYBOOK", str(playbook))
    names = HEADER[1:]
    events = [
        (customer, kind, moment.astimezone(zone) if zone else moment.replace(tzinfo=None), *rest)
        for customer, kind, moment, *rest in EVENTS
    ]
    columns = dict(zip(names, map(list, zip(*events, strict=True)), strict=True))
    texts = [["" if cell is None else str(cell) for cell in event] for event in events]
    files = {
        "csv": write_csv(tmp_path / "events.csv", names, texts),
        "parquet": write_parquet(tmp_path / "events.parquet", **columns),
        "odd": write_parquet(
            tmp_path / "events.data",
            **columns
            | {
                "event_time": pyarrow.array(columns["event_time"]).cast(
                    pyarrow.timestamp("ns", "UTC" if zone else None)
                ),
                "amount": pyarrow.array([None if n is None else float(n) for n in columns["amount"]]),
                "type": pyarrow.array(columns["type"]).dictionary_encode(),
                "shop": pyarrow.array([None if n is None else str(n).encode() for n in columns["shop"]]),
                "items": pyarrow.array([None if n is None else float(n) for n in columns["items"]]),
            },
        ),
    }
    found, lists = {}, {}
    for name, file in files.items():
        home, rejects = tmp_path / name, tmp_path / f"{name}.rejects"
        options = ["--event-id-from", "all", "--rejects", rejects] + ([] if zone else ["--time-zone", "UTC"])
        with serving_features(home, playbook) as address:
            assert import_events(file, *options, "--address", address) == 1
        found[name] = stored(home)
        with rejects.open() as listed:
            lists[name] = [(row["column"], row["reason"]) for row in csv.DictReader(listed)]
    assert len(found["csv"]) == 4
    assert found["csv"] == found["parquet"] == found["odd"]
    assert lists["csv"] == lists["parquet"] == lists["odd"]
    assert lists["csv"] == [
        ("category", "must be one of shoes, books, toys"),
        ("customer_id", "must have 1 to 128 characters"),
    ]


def test_one_bad_row_keeps_no_other_out_and_is_told_with_line_and_field(shop, capsys):
    future = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    rows = [
        order("ok", shop='a "quoted"\r\nshop'),
        order("n", amount="12,50", items="1.5", category="boots", gift="maybe"),
        order("d", amount="9" * 1_000_000),
        order("i", items="9007199254740993"),
        order("t", event_time="2025-03-02 10:00:00"),
        order("s", event_time="1740909600"),
        order("f", event_time=future),
        order("o", event_time="0001-01-01T00:00:00+14:00"),
        order("x" * 129, customer_id="", type="ordr"),
        order("z", offer="sale"),
        order("r")[:-1],
        order("m", event_time=""),
        order("nan", amount="nan"),
        order("_", items="1_000"),
        order("ok2", shop="último"),
    ]
    assert shop.run(shop.write(rows)) == 1
    output = capsys.readouterr()
    assert output.out.splitlines()[-1] == "15 read, 2 stored, 0 duplicates, 13 rejected"
    assert shop.stored().keys() == {"ok", "ok2"}
    assert json.loads(shop.stored()["ok"][3])["shop"] == 'a "quoted"\r\nshop'
    assert shop.refused() == [
        (4, "amount", "must be a number"),
        (4, "gift", "must be true or false"),
        (4, "items", "must be a whole number within 2**53"),
        (4, "category", "must be one of shoes, books, toys"),
        (5, "", "has a field of more than 131072 characters; is a quote never closed?"),
        (6, "items", "must be a whole number within 2**53"),
        (7, "event_time", "has no offset: say --time-zone"),
        (8, "event_time", "is a number: say --time-unit"),
        (9, "event_time", "must lie at most five minutes ahead"),
        (10, "event_time", "must not lie before 1970"),
        (11, "event_id", "must have 1 to 128 characters"),
        (11, "customer_id", "must have 1 to 128 characters"),
        (11, "type", 'not in the playbook; did you mean "order"?'),
        (12, "offer", "not in the playbook"),
        (13, "", "has 9 columns where the header has 10"),
        (14, "event_time", "must be set"),
        (15, "amount", "must be a number"),
        (16, "items", "must be a number"),
    ]
    shown = output.err.splitlines()
    assert len(shown) == 11
    assert shown[0] == (
        f"{shop.folder / 'events.csv'}:4: amount: must be a number; gift: must be true or false; "
        "items: must be a whole number within 2**53; category: must be one of shoes, books, toys"
    )
    assert shown[-1] == f"more refused rows are listed in {shop.rejects}"


def test_one_id_for_two_contents_is_refused_where_it_comes_again(shop):
    assert shop.run(shop.write([order("a", items="1"), order("a", items="2"), order("b")])) == 1
    assert shop.refused() == [(3, "event_id", "event_id was used for another event")]
    assert json.loads(shop.stored()["a"][3]) == {"items": 1}


def test_a_mapping_file_names_columns_types_and_times(shop, capsys):
    mapping = shop.folder / "mapping.yaml"
    mapping.write_text(
        "event_id: number\ncustomer_id: who\ntype: what\ntypes: { A Purchase: order }\n"
        "event_time: at\ntime_unit: milliseconds\nattributes: { items: pieces }\n"
    )
    header = ("number", "who", "what", "at", "pieces", "of no interest")
    file = shop.write(
        [["1", "c", "A Purchase", "1740909600123", "2", "?"], ["2", "c", "clicked", "0", "", "?"]], header
    )
    assert shop.run(file, "--mapping", mapping) == 0
    assert shop.stored() == {
        "1": ("c", "order", MICROS + 123_000, '{"items":2}'),
        "2": ("c", "clicked", 0, "{}"),
    }


def test_options_go_before_the_mapping_file(shop):
    mapping = shop.folder / "mapping.yaml"
    mapping.write_text("customer_id: nobody\nattributes: { items: pieces }\n")
    file = shop.write([["1", "c", "2025-03-02", "4"]], ("event_id", "who", "event_time", "n"))
    options = ("--customer-id", "who", "--constant-type", "order", "--attribute", "items=n")
    assert shop.run(file, "--mapping", mapping, *options, "--time-zone", "Europe/Berlin") == 0
    assert shop.stored() == {"1": ("c", "order", MICROS - 11 * 3_600_000_000, '{"items":4}')}


@pytest.mark.parametrize(
    ("unit", "written"),
    [
        ("seconds", "1740909600.000001"),
        ("milliseconds", "1740909600000.001"),
        ("microseconds", "1740909600000001.9"),
    ],
)
def test_epochs_are_read_exactly(shop, unit, written):
    assert shop.run(shop.write([order("a", event_time=written)]), "--time-unit", unit) == 0
    assert shop.stored()["a"][2] == MICROS + 1


def test_local_times_need_a_zone_in_which_they_exist(shop):
    rows = [
        order("w", event_time="2025-01-31T23:59:59.999999"),
        order("gap", event_time="2025-03-30T02:30:00"),
        order("twice", event_time="2025-10-26T02:30:00"),
        order("own", event_time="2025-07-01T00:00:00Z", promised="2025-07-01T00:00:00"),
    ]
    assert shop.run(shop.write(rows), "--time-zone", "Europe/Berlin") == 1
    assert shop.refused() == [(3, "event_time", "does not exist in Europe/Berlin, where clocks skipped it")]
    times = {name: row[2] for name, row in shop.stored().items()}
    assert times["w"] == 1_738_364_399_999_999
    assert times["twice"] == 1_761_438_600_000_000
    assert times["own"] == 1_751_328_000_000_000


def test_timestamps_among_attributes_are_read_as_event_times_are(shop):
    header = (*HEADER[:4], "promised")
    file = shop.write([["a", "c", "order", MOMENT.isoformat(), "2025-07-01 02:00:00"]], header)
    assert shop.run(file, "--time-zone", "Europe/Berlin") == 0
    assert json.loads(shop.stored()["a"][3]) == {"promised": "2025-07-01T00:00:00Z"}


def test_a_byte_order_mark_and_other_line_ends_do_not_matter(shop):
    file = shop.folder / "marked.csv"
    text = "\r".join(",".join(row) for row in (HEADER, order("a"), order("b")))
    file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert shop.run(file) == 0
    assert shop.stored().keys() == {"a", "b"}


def test_bytes_of_another_encoding_damage_their_row_only(shop):
    file = shop.write([order("a", shop="Müller"), order("b", shop="Muller")])
    file.write_bytes(file.read_text().encode("latin-1"))
    assert shop.run(file) == 1
    assert shop.refused() == [(2, "shop", "is not UTF-8")]
    assert shop.run(file, "--encoding", "latin-1") == 0
    assert json.loads(shop.stored()["a"][3]) == {"shop": "Müller"}


def test_a_quote_that_is_never_closed_damages_its_row_only(shop):
    lines = [",".join(row) for row in (HEADER, order("a"), order("b", shop='"open'), *map(order, "cde"))]
    (shop.folder / "open.csv").write_text("\n".join(lines) + "\n")
    assert shop.run(shop.folder / "open.csv") == 1
    assert shop.refused() == [(3, "", "has a quote that is never closed")]
    assert shop.stored().keys() == set("acde")


def test_a_stray_quote_that_another_row_closes_keeps_none_out_unnamed(shop, capsys):
    rows = [order("a", category='"books'), order("b"), order("c", shop='13"'), order("d")]
    (shop.folder / "stray.csv").write_text("".join(",".join(row) + "\n" for row in [HEADER, *rows]))
    assert shop.run(shop.folder / "stray.csv") == 1
    assert last_line(capsys) == "4 read, 2 stored, 0 duplicates, 2 rejected"
    assert [line for line, *_ in shop.refused()] == [2, 4]
    assert shop.stored().keys() == {"b", "d"}


def test_text_after_a_quote_and_endless_lines_damage_their_rows_only(shop):
    lines = [
        ",".join(row)
        for row in (HEADER, order("a", shop='"b"c'), order("b", shop="," * 3_000_000), order("c"))
    ]
    (shop.folder / "odd.csv").write_text("\n".join(lines) + "\n")
    assert shop.run(shop.folder / "odd.csv") == 1
    assert [line for line, *_ in shop.refused()] == [2, 3]
    assert shop.stored().keys() == {"c"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty: its first line must name the columns"),
        ("event_id".encode("utf-16"), "is not UTF-8 but UTF-16: say --encoding utf-16"),
        (b"event_id;customer_id;type;event_time\n", "seem to be divided by ';': say --delimiter"),
        (
            b"event_id,customer,type,event_time\n",
            'there is no column "customer_id"; did you mean "customer"?',
        ),
        (b"customer_id,type,event_time\n", "say --event-id COLUMN, or --event-id-from all"),
        (b"event_id,customer_id,type,event_time,items,items\n", 'the column "items" stands twice'),
        (b"event_id,customer_id,type,event_time,itmes\n", 'has an attribute "itmes"; did you mean "items"?'),
        (b"event_id,customer_id,type,event_time\xe9\n", "is not UTF-8: say --encoding"),
        (b"PAR1 and nothing more", "is no Parquet file that can be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_before_anything_is_sent(shop, capsys, content, said):
    good = shop.write([order("a")])
    (shop.folder / "bad.csv").write_bytes(content)
    assert shop.run(good, shop.folder / "bad.csv") == 1
    assert f"{shop.folder / 'bad.csv'}" in (error := capsys.readouterr().err)
    assert said in error
    assert shop.stored() == {}


def test_a_header_alone_is_no_mistake(shop, capsys):
    assert shop.run(shop.write([])) == 0
    assert last_line(capsys) == "0 read, 0 stored, 0 duplicates, 0 rejected"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--event-id", "a", "--event-id-from", "b"], "event_id or event_id_from, not both"),
        (["--type", "a", "--constant-type", "order"], "type or constant_type, not both"),
        (["--attribute", "items"], "--attribute items: write NAME=COLUMN"),
        (["--time-zone", "Berlin"], '"Berlin" is no IANA time zone'),
        (["--delimiter", ";;"], "--delimiter: must be one character"),
        (["--encoding", "utf-80"], 'there is no encoding "utf-80"'),
        (["--rejects", "events.csv"], "is no list of refused rows; it stays as it is"),
        (["--mapping", "bad.yaml"], 'bad.yaml:2: unknown key "customer"; did you mean "customer_id"?'),
    ],
)
def test_options_that_make_no_sense_are_refused(shop, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(shop.folder)
    (shop.folder / "bad.yaml").write_text("event_id: a\ncustomer: b\n")
    file = shop.write([order("a")])
    before = file.read_bytes()
    assert import_events("events.csv", "--address", shop.address, *arguments) == 1
    assert said in capsys.readouterr().err
    assert file.read_bytes() == before
    assert shop.stored() == {}


def test_another_playbook_than_the_services_is_refused(shop, capsys, tmp_path):
    other = write_playbook(tmp_path / "other", ("playbook", "currency", "USD"))
    assert shop.run(shop.write([order("a")]), "--playbook", other) == 1
    assert "the feature service works by version" in capsys.readouterr().err


def test_a_service_that_is_not_there_is_named(capsys, tmp_path, playbook, monkeypatch):
    monkeypatch.setenv("TACT_PLAYBOOK", str(playbook))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        file = write_csv(tmp_path / "events.csv", HEADER, [order("a")])
        assert import_events(file, "--address", address, "--rejects", tmp_path / "rejects.csv") == 1
    assert f"no feature service answers at {address} (UNAVAILABLE)" in capsys.readouterr().err


def test_parquet_without_what_reads_it_says_what_to_install(shop, capsys, monkeypatch):
    file = write_parquet(shop.folder / "events.parquet", event_id=["a"])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert shop.run(file) == 1
    assert "reading Parquet needs pyarrow: pip install 'tact-nba[training]'" in capsys.readouterr().err


def utf8(*texts):
    """Return texts as a column, whatever bytes they are."""
    return pyarrow.array(texts, pyarrow.binary()).view(pyarrow.string())


def times(kind, *counts):
    return pyarrow.array(counts, pyarrow.int32() if kind == pyarrow.date32() else pyarrow.int64()).cast(kind)


BERLIN, ZULU = (pyarrow.timestamp("us", zone) for zone in ("Europe/Berlin", "UTC"))
BEYOND = "lies out of all calendars"


@pytest.mark.parametrize(
    ("column", "field", "cells", "reason"),
    [
        ("event_time", "event_time", times(BERLIN, MICROS, 253_402_300_799_000_000, MICROS), BEYOND),
        ("event_time", "event_time", times(ZULU, MICROS, 2**62, MICROS), BEYOND),
        ("event_time", "event_time", times(ZULU, MICROS, -(2**62), MICROS), BEYOND),
        ("promised", "attributes.promised", times(pyarrow.date32(), 20_000, 2**31 - 1, 20_000), BEYOND),
        ("customer_id", "customer_id", utf8(b"c1", b"\xff", b"c1"), "is not UTF-8"),
        ("shop", "attributes.shop", utf8(b"s", b"SECRET\xff", b"s"), "is not UTF-8"),
    ],
)
def test_a_cell_of_parquet_that_nothing_can_hold_damages_its_row_only(
    shop, capsys, column, field, cells, reason
):
    columns = {
        "event_id": ["a", "b", "c"],
        "customer_id": ["c1"] * 3,
        "type": ["order"] * 3,
        "event_time": times(ZULU, *[MICROS] * 3),
    }
    bad = write_parquet(shop.folder / "bad.parquet", **columns | {column: cells})
    good = shop.write([order("d")])
    assert shop.run(bad, good, "--time-zone", "UTC") == 1
    output = capsys.readouterr()
    assert output.out.splitlines()[-1] == "4 read, 3 stored, 0 duplicates, 1 rejected"
    assert output.err.splitlines() == [f"{bad}:2: {column}: {reason}"]
    assert shop.rejects.read_text().splitlines()[1:] == [f"{bad},2,{column},{field},{reason}"]
    assert shop.stored().keys() == {"a", "c", "d"}


@pytest.mark.parametrize("kind", [pyarrow.float32(), pyarrow.float64()])
def test_what_is_not_a_number_is_an_empty_field_where_text_belongs(shop, kind):
    columns = {
        "event_id": ["a", "b"],
        "customer_id": pyarrow.array([42.0, float("nan")], kind),
        "type": ["order"] * 2,
        "event_time": times(ZULU, MICROS, MICROS),
        "shop": pyarrow.array([float("nan"), 7.0], kind),
        "category": pyarrow.array([float("nan")] * 2, kind),
    }
    assert shop.run(write_parquet(shop.folder / "events.parquet", **columns)) == 1
    assert shop.refused() == [(2, "customer_id", "must have 1 to 128 characters")]
    assert shop.stored() == {"a": ("42.0", "order", MICROS, "{}")}
    ids = {"event_id": pyarrow.array([float("nan")], kind), "customer_id": ["c"], "type": ["order"]}
    assert shop.run(write_parquet(shop.folder / "ids.parquet", **ids, event_time=times(ZULU, MICROS))) == 1
    assert shop.refused() == [(1, "event_id", "must have 1 to 128 characters")]


def test_a_column_in_an_unknown_zone_is_named_before_anything_is_sent(shop, capsys):
    foreign = times(pyarrow.timestamp("us", "Foo/Bar"), MICROS)
    columns = {
        "event_id": ["b"],
        "customer_id": ["c1"],
        "type": ["order"],
        "event_time": times(ZULU, MICROS),
        "seen": foreign,
    }
    good = shop.write([order("a")])
    bad = write_parquet(shop.folder / "bad.parquet", **columns | {"event_time": foreign})
    assert shop.run(good, bad, "--attribute", "shop=event_id") == 1
    assert f'{bad}: the column "event_time" cannot be read: "Foo/Bar" is no' in capsys.readouterr().err
    assert shop.stored() == {}
    unread = write_parquet(shop.folder / "unread.parquet", **columns)
    assert shop.run(unread, "--attribute", "shop=event_id") == 0


def test_no_line_of_the_list_repeats_what_a_field_held(shop):
    secret = order("SECRET-id", customer_id="SECRET" * 30, shop="SECRET\0", items="SECRET")
    assert shop.run(shop.write([secret])) == 1
    assert len(shop.refused()) == 3
    assert "SECRET" not in shop.rejects.read_text()


def test_the_list_is_made_anew_and_goes_where_nothing_is_refused(shop):
    assert shop.run(shop.write([order("a", items="?")])) == 1
    assert shop.run(shop.write([order("b", items="?")], name="other.csv")) == 1
    assert len(shop.refused()) == 1
    assert shop.run(shop.write([order("a", items="1")])) == 0
    assert not shop.rejects.exists()
