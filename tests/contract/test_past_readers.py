"""What every store of events and profiles tells those who read it without its service."""

import contextlib
import subprocess
import sys
import tracemalloc

import databases
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pasts import every_past, postgresql, sqlite

from services.cli.customer_stores import databases as named_databases
from services.cli.customer_stores import events_store, families_in, profile_store
from services.engine.features.history import StoredEvent
from tests.playbooks import load_playbook
from training.data.event_log import read_histories
from training.data.families import Families
from training.data.ports import Recorded
from training.data.profile_log import ProfileLog
from training.data.stores import events_in, profiles_in, store_of
from training.refusal import Refused

URL = "postgresql://postgres:very-secret@127.0.0.1:1/events"


def event(event_id, kind="order", time=1, **attributes):
    return StoredEvent(event_id=event_id, type=kind, event_time=time, attributes=attributes)


@every_past
def test_events_come_in_the_order_of_storing_with_the_id_they_were_sent_with(opened, tmp_path):
    with opened(tmp_path) as past:
        past.happened(
            ("e-2", "bert", "order", 30, {"amount": 1.25, "gift": True}),
            ("e-1", "anna", "clicked", -5, {"offer": "bröd"}),
            ("e-3", "anna", "order", 20, {}),
        )
        past.linked(("anna", "bert"))
        assert list(past.events.events()) == [
            ("bert", event("e-2", time=30, amount=1.25, gift=True)),
            ("anna", event("e-1", "clicked", -5, offer="bröd")),
            ("anna", event("e-3", time=20)),
        ]


@every_past
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"types": {"order"}}, ["e-1", "e-4"]),
        ({"types": {"order", "clicked"}}, ["e-1", "e-2", "e-4"]),
        ({"types": ()}, []),
        ({"customers": ["anna", "nobody"]}, ["e-1", "e-2", "e-3"]),
        ({"customers": ()}, []),
        ({"types": ["order"], "customers": ["anna"]}, ["e-1"]),
    ],
)
def test_only_events_of_the_types_and_customers_asked_for_come(opened, wanted, expected, tmp_path):
    with opened(tmp_path) as past:
        past.happened(
            ("e-1", "anna", "order", 1, {}),
            ("e-2", "anna", "clicked", 1, {}),
            ("e-3", "anna", 'seen "it"', 1, {}),
            ("e-4", "bert", "order", 1, {}),
        )
        assert [one.event_id for _, one in past.events.events(**wanted)] == expected


@every_past
def test_the_last_event_is_the_newest_by_its_own_time(opened, tmp_path):
    with opened(tmp_path) as past:
        assert past.events.last_event_time() is None
        past.happened(("e-1", "anna", "order", 2**50, {}), ("e-2", "anna", "order", 7, {}))
        assert past.events.last_event_time() == 2**50


@every_past
def test_a_history_holds_what_happened_to_all_members(opened, tmp_path):
    with opened(tmp_path) as past:
        past.linked(("anna", "bert"), ("bert", "carl"), ("dora", "emil"))
        past.happened(*((f"e-{name}", name, "order", 1, {}) for name in ("anna", "carl", "bert", "emil")))
        found = read_histories(past.events, Families(past.profiles.pointers()), ["anna", "fritz"])
    assert {
        root: [one.event_id for one in history.of("order").events] for root, history in found.items()
    } == {
        "anna": ["e-anna", "e-bert", "e-carl"],
        "fritz": [],
    }


@every_past
def test_values_and_pointers_are_told_as_they_are_on_file(opened, tmp_path):
    with opened(tmp_path) as past:
        past.known(("anna", "age", 5, 40), ("anna", "age", 9, None), ("bert", "tier", 1, "gold"))
        past.known(("carl", "tier", 1, "basic"))
        past.linked(("anna", "bert"))
        assert sorted(past.profiles.recorded(["anna", "bert", "nobody"])) == [
            Recorded("anna", "age", 5, 40),
            Recorded("anna", "age", 9, None),
            Recorded("bert", "tier", 1, "gold"),
        ]
        assert list(past.profiles.pointers()) == [("bert", "anna")]
        assert list(past.profiles.recorded([])) == []


@every_past
def test_attributes_as_of_a_time_are_the_newest_of_all_members(opened, tmp_path):
    book = load_playbook(
        tmp_path / "shop", ("profile", "attributes", "age", {"type": "integer", "max_age": "1s"})
    )
    second = 1_000_000
    with opened(tmp_path / "home") as past:
        past.linked(("bert", "anna"), ("bert", "carl"))
        past.known(
            ("anna", "tier", 10, "gold"),
            ("bert", "tier", 20, "basic"),
            ("anna", "tier", 20, "gold"),
            ("carl", "tier", 30, None),
            ("anna", "member", 5, True),
            ("carl", "member", 5, False),
            ("anna", "age", 40, 30),
            ("anna", "age", 50, "old"),
            ("bert", "unheard-of", 1, 1),
            ("dora", "tier", 1, "gold"),
        )
        log = ProfileLog(past.profiles, Families(past.profiles.pointers()), ["carl"], book)

    def at(time):
        return log.as_of("carl", time)

    assert [at(time).get("tier") for time in (10, 11, 20, 21, 30, 31)] == [
        None,
        "gold",
        "gold",
        "basic",
        "basic",
        None,
    ]
    assert at(6) == {"member": True}
    assert at(41)["age"] == 30
    assert "age" not in at(51)
    assert log.as_of("dora", 100) == {}
    assert at(45 + second) == {"member": True}


@every_past
def test_a_value_counts_until_it_is_too_old(opened, tmp_path):
    book = load_playbook(
        tmp_path / "shop", ("profile", "attributes", "age", {"type": "integer", "max_age": "1s"})
    )
    with opened(tmp_path / "home") as past:
        past.known(("anna", "age", 40, 30))
        log = ProfileLog(past.profiles, Families(), ["anna"], book)
    assert log.as_of("anna", 1_000_039) == {"age": 30}
    assert log.as_of("anna", 1_000_040) == {}


@every_past
def test_memory_does_not_grow_with_what_is_read(opened, tmp_path):
    offer = "x" * 1_000
    rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)"
    event = f"""i, 'e-' || i, 'c', 'clicked', i, '{{"offer": "{offer}"}}'"""
    with opened(tmp_path) as past:
        past.write("features", f"INSERT INTO events {rows} SELECT {event} FROM n")  # noqa: S608 - ours
        tracemalloc.start()
        try:
            assert sum(len(one.attributes["offer"]) for _, one in past.events.events()) == 10_000_000
            assert tracemalloc.get_traced_memory()[1] < 5_000_000
        finally:
            tracemalloc.stop()


@every_past
def test_what_is_no_json_is_said_without_what_it_holds(opened, tmp_path):
    with opened(tmp_path) as past:
        past.write("features", "INSERT INTO events VALUES (1, 'e', 'anna', 'order', 1, '{private')")
        past.customers("anna")
        past.write("profile", "INSERT INTO attributes VALUES ('anna', 'age', 1, 'private', 'crm')")
        for read in (past.events.events(), past.profiles.recorded(["anna"])):
            with pytest.raises(Refused, match="cannot be read: something in it is no JSON") as raised:
                list(read)
            assert "private" not in str(raised.value)


@every_past
@pytest.mark.parametrize("text", ['{"private":1e400}', '{"private":{"m":1}}', '["private"]'])
def test_attributes_that_nobody_can_have_stored_are_told_by_their_event(opened, text, tmp_path):
    with opened(tmp_path) as past:
        past.write("features", f"INSERT INTO events VALUES (1, 'e-7', 'anna', 'order', 1, '{text}')")  # noqa: S608
        with pytest.raises(Refused, match="cannot be read: the attributes of event e-7 are none") as raised:
            list(past.events.events())
        assert "private" not in str(raised.value)


@every_past
def test_a_store_of_something_else_is_named_and_told_of(opened, tmp_path):
    with opened(tmp_path) as past:
        past.write("features", "DROP TABLE events")
        past.write("profile", "DROP VIEW pointers")
        with pytest.raises(Refused) as raised:
            list(past.events.events())
        assert past.events.name in str(raised.value)
        assert "event store" in str(raised.value)
        with pytest.raises(Refused) as raised:
            list(past.profiles.pointers())
        assert past.profiles.name in str(raised.value)
        assert "profile store" in str(raised.value)


@every_past
def test_reading_changes_nothing_and_cannot(opened, tmp_path, monkeypatch):
    with opened(tmp_path) as past:
        past.happened(("e-1", "anna", "order", 1, {}))
        monkeypatch.setattr("training.data.sqlite_stores._LAST", "DELETE FROM events RETURNING event_time")
        monkeypatch.setattr("training.data.postgres_stores._LAST", "SELECT nextval('public.numbers')")
        if opened is not sqlite:
            past.write("features", "CREATE SEQUENCE public.numbers")
        with pytest.raises(Refused, match=r"read-?only"):
            past.events.last_event_time()
        assert len(list(past.events.events())) == 1


def test_a_file_that_is_not_there_or_is_none_is_named(tmp_path):
    with pytest.raises(Refused, match=f"^there is no event store {tmp_path / 'nowhere'}$"):
        events_in(tmp_path / "nowhere").last_event_time()
    (tmp_path / "text").write_text("no database, " * 100)
    with pytest.raises(Refused, match=f"^{tmp_path / 'text'} cannot be read as profile store: "):
        list(profiles_in(tmp_path / "text").pointers())


def test_bytes_that_are_no_text_are_said_without_what_they_hold(tmp_path):
    with sqlite(tmp_path) as past:
        past.write(
            "features", "INSERT INTO events VALUES (1, 'e', cast(x'70ff' AS TEXT), 'order', 1, '{\"a\": 1}')"
        )
        with pytest.raises(Refused, match=r"something in it is no text$"):
            list(past.events.events())


def test_a_server_out_of_reach_is_named_without_its_secret():
    for reader in (events_in(URL).events(), profiles_in(URL).pointers()):
        with pytest.raises(Refused, match=r"^PostgreSQL events cannot be read as ") as raised:
            list(reader)
        assert "secret" not in str(raised.value)
        assert "127.0.0.1" not in str(raised.value)


def test_what_is_no_url_is_said_to_be_none_without_its_secret():
    with pytest.raises(Refused, match=r"^PostgreSQL: the URL cannot be read$"):
        events_in("postgresql://user:secret@[")


def test_a_server_that_goes_away_while_it_is_read_is_told_of(tmp_path):
    with postgresql(tmp_path) as past:
        past.write(
            "features",
            "INSERT INTO events SELECT n, 'e-' || n, 'c', 'order', n, '{}' FROM generate_series(1, 5000) n",
        )
        reading = past.events.events()
        next(reading)
        assert databases.terminate(past.stores["features"]) >= 1
        with pytest.raises(Refused, match="cannot be read as event store: "):
            list(reading)


def test_who_leaves_off_reading_leaves_no_connection_behind(tmp_path):
    with postgresql(tmp_path) as past:
        past.happened(*((f"e-{number}", "anna", "order", 1, {}) for number in range(3)))
        with contextlib.closing(past.events.events()) as reading:
            next(reading)
        with databases.administrator(past.stores["features"]) as server:
            query = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle'"
            )
            assert server.execute(query).fetchone() == (1,)


def test_files_need_no_driver_of_postgresql():
    script = (
        "import sys, training.jobs.dataset, services.cli.customer_stores; sys.exit('psycopg' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


NAMES = "abcdefg"


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=12), st.randoms())
def test_who_is_one_is_what_a_slow_search_finds(acts, draw):
    """Links as the profile service makes them: from root to root, and unlinks of whom it pleases."""
    pointers = {}

    def root(name):
        return root(pointers[name]) if name in pointers else name

    for customer, member in acts:
        if customer == member:
            pointers.pop(member, None)
        elif root(customer) != root(member):
            pointers[root(member)] = root(customer)
    pairs = list(pointers.items())
    draw.shuffle(pairs)
    families = Families(pairs)
    for name in NAMES:
        assert families.root(name) == root(name)
        others = sorted(one for one in NAMES if root(one) == root(name) != one)
        assert families.members(name) == [root(name), *others]


def test_more_pairs_make_more_one_and_leave_the_others_as_they_were():
    families = Families([("bert", "anna")])
    more = families.joined([("dora", "carl"), ("carl", "bert"), ("anna", "dora")])
    assert more.members("dora") == ["anna", "bert", "carl", "dora"]
    assert families.members("anna") == ["anna", "bert"]
    assert families.root("carl") == "carl"


def test_pointers_in_a_circle_end():
    families = Families([("anna", "bert"), ("bert", "carl"), ("carl", "anna")])
    assert sorted(families.members("bert")) == ["anna", "bert", "carl"]


@pytest.fixture
def settings(monkeypatch, tmp_path):
    """No setting but the home."""
    for name in ("TACT_FEATURES_STORE", "TACT_PROFILE_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TACT_HOME", str(tmp_path))
    return monkeypatch


def test_the_usual_stores_are_those_of_the_services_here(settings, tmp_path):
    assert (events_store(), profile_store()) == (tmp_path / "features.sqlite", tmp_path / "profile.sqlite")
    assert named_databases() == {}
    settings.setenv("TACT_FEATURES_STORE", URL)
    assert (events_store(), profile_store()) == (URL, tmp_path / "profile.sqlite")
    settings.setenv("TACT_PROFILE_STORE", "postgresql:///people")
    assert profile_store() == "postgresql:///people"
    assert named_databases() == {"features_store": URL, "profile_store": "postgresql:///people"}


def test_what_is_named_comes_before_the_settings(settings, tmp_path):
    settings.setenv("TACT_FEATURES_STORE", URL)
    assert events_store(folder=tmp_path / "copy") == tmp_path / "copy" / "features.sqlite"
    assert events_store("here.sqlite", tmp_path / "copy") == store_of("here.sqlite")
    assert events_store("postgresql:///there") == "postgresql:///there"


def test_links_are_not_known_where_nobody_named_a_file_that_is_not_there(tmp_path):
    assert families_in(tmp_path / "profile.sqlite") is None
    with pytest.raises(Refused, match="there is no profile store"):
        families_in(tmp_path / "profile.sqlite", is_named=True)
    with sqlite(tmp_path) as past:
        past.linked(("anna", "bert"))
    assert families_in(tmp_path / "profile.sqlite").root("bert") == "anna"
