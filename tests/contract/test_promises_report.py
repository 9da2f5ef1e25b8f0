"""Promises are counted as the feature counts what is open, from what the feature service has stored."""

import asyncio
import json
import math
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from pasts import file_customers
from tact.features.v1 import feature_service_pb2 as pb

from services.chassis.inprocess import InProcessStub
from services.cli.__main__ import main
from services.cli.promises.report import tally
from services.engine.features import open as opening
from services.engine.features.history import History, StoredEvent
from services.engine.instants import microseconds
from services.engine.playbook.kinds import Open
from services.engine.playbook.schema.policies import Promise, Scope
from services.features.app import open_service
from services.features.settings import FeatureSettings
from tests.playbooks import load_playbook, write_playbook

SECOND = 1_000_000
NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)
LIMIT = timedelta(seconds=60)
DEFINITION = Open(
    kind="open", event="asked", key="talk", closed_by=["answered", "dropped"], where={"topic": "bill"}
)
REPLY = Promise(
    name="reply",
    text="Who asks has an answer within a minute.",
    applies_to=Scope(groups=("offers",)),
    feature="waiting",
    within=LIMIT,
    most=2,
)
TALK = {"talk": {"type": "string"}, "topic": {"type": "string"}}
CHANGES = (
    *(("events", "events", name, {"attributes": TALK}) for name in ("asked", "answered", "dropped")),
    ("features", "features", "waiting", DEFINITION.model_dump(mode="json", exclude_defaults=True)),
    (
        "policies",
        "promises",
        [
            {
                "name": "reply",
                "text": REPLY.text,
                "feature": "waiting",
                "within": "60s",
                "most": 2,
                "applies_to": {"groups": ["offers"]},
            }
        ],
    ),
)

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob"]),
        st.sampled_from(["asked", "asked", "asked", "answered", "dropped", "seen"]),
        st.integers(0, 9).map(lambda step: step * 20),
        st.sampled_from(["a", "b", None]),
        st.sampled_from(["bill", "bill", "rent"]),
    ),
    max_size=20,
)


def stored(number, row):
    _, kind, before, talk, topic = row
    return StoredEvent(
        event_id=f"{number:03}",
        type=kind,
        event_time=microseconds(NOW) - before * SECOND,
        attributes={"topic": topic} if talk is None else {"topic": topic, "talk": talk},
    )


def count_by_hand(customers, since, until):
    """Look at every event for every opening."""
    found = dict.fromkeys(("opened", "kept", "broken", "closed_late", "open", "overdue", "without_key"), 0)
    lengths = []
    for events in customers.values():
        for one in events:
            is_asked = one.type == "asked" and one.attributes["topic"] == "bill"
            if not is_asked or not since <= one.event_time < until:
                continue
            if "talk" not in one.attributes:
                found["without_key"] += 1
                continue
            ends = [
                each.event_time - one.event_time
                for each in events
                if each.type in ("answered", "dropped")
                and each.attributes.get("talk") == one.attributes["talk"]
                and (each.event_time, each.event_id) > (one.event_time, one.event_id)
                and each.event_time < until
            ]
            found["opened"] += 1
            if ends:
                lengths.append(min(ends))
                is_kept = min(ends) <= LIMIT.total_seconds() * SECOND
                found["kept" if is_kept else "closed_late"] += 1
            else:
                found["open"] += 1
                found["overdue"] += until - one.event_time > LIMIT.total_seconds() * SECOND
    found["broken"] = found["closed_late"] + found["overdue"]
    return found, lengths


def told(found):
    return {
        "opened": found.opened,
        "kept": found.kept,
        "broken": found.broken,
        "closed_late": found.late,
        "open": found.open,
        "overdue": found.overdue,
        "without_key": found.keyless,
    }


@settings(max_examples=400, deadline=None)
@given(rows=EVENTS, since=st.integers(0, 12), until=st.integers(-1, 6))
def test_every_opening_is_counted_once_and_as_by_hand(rows, since, until):
    customers = {"ann": [], "bob": []}
    for number, row in enumerate(rows):
        customers[row[0]].append(stored(number, row))
    first, last = (microseconds(NOW) - step * 20 * SECOND for step in (since, until))
    histories = [History(events) for events in customers.values()]
    found = tally(REPLY, DEFINITION, histories, first, last)
    expected, lengths = count_by_hand(customers, first, last)
    assert told(found) == expected
    assert found.lengths == sorted(lengths)
    for part in (0.5, 0.9):
        within = found.closed_within(part)
        if lengths:
            enough = [one for one in lengths if sum(each <= one for each in lengths) >= part * len(lengths)]
            assert within == timedelta(microseconds=min(enough))
        else:
            assert within is None


@settings(max_examples=200, deadline=None)
@given(rows=EVENTS, until=st.integers(-1, 6))
def test_what_it_calls_open_and_overdue_is_what_the_feature_does(rows, until):
    history = History([stored(number, row) for number, row in enumerate(rows)])
    at = microseconds(NOW) - until * 20 * SECOND
    found = tally(REPLY, DEFINITION, [history], None, at)
    waiting = opening.compute(DEFINITION, history, at)
    assert (found.open > 0) == (not math.isnan(waiting))
    assert (found.overdue > 0) == (waiting > LIMIT.total_seconds())


ROWS = [
    ("ann", "asked", 900, "a", "bill"),
    ("ann", "answered", 870, "a", "bill"),
    ("ann", "asked", 800, "b", "bill"),
    ("ann", "answered", 700, "b", "bill"),
    ("ann", "asked", 10, "c", "bill"),
    ("bob", "asked", 500, "a", "bill"),
    ("bob", "answered", 490, "b", "bill"),
    ("bob", "asked", 400, None, "bill"),
    ("bob", "asked", 300, "d", "rent"),
    ("bob", "asked", 200, "e", "bill"),
    ("bob", "dropped", 140, "e", "bill"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The home of services that have stored some events of two customers and stopped."""
    folder = tmp_path_factory.mktemp("home")
    playbook = load_playbook(tmp_path_factory.mktemp("shop"), *CHANGES)
    store(folder, playbook)
    file_customers(folder, playbook, ["ann", "bob"])
    return folder


def store(folder, playbook, rows=ROWS):
    async def ingest():
        async with AsyncExitStack() as stack:
            opened = open_service(FeatureSettings(home=folder), playbook, lambda: microseconds(NOW))
            stub = InProcessStub(await stack.enter_async_context(opened), 20.0)
            request = pb.IngestEventsRequest(events=map(event, *zip(*enumerate(rows), strict=True)))
            response = await stub.IngestEvents(request)
            assert all(result.HasField("accepted") for result in response.results), response

    asyncio.run(ingest())


def event(number, row):
    at = stored(number, row)
    time = Timestamp()
    time.FromMicroseconds(at.event_time)
    made = pb.Event(event_id=at.event_id, customer_id=row[0], type=at.type, event_time=time)
    for name, value in at.attributes.items():
        made.attributes[name].CopyFrom(Value(string_value=value))
    return made


COMMAND = ("promises", "report")


def report(home, folder, capsys, *options):
    write_playbook(folder, *CHANGES)
    code = main(
        [*COMMAND, "--home", str(home), "--playbook", str(folder), "--until", NOW.isoformat(), *options]
    )
    assert code == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_the_command_tells_what_is_on_file(home, tmp_path, capsys):
    assert report(home, tmp_path, capsys) == (
        "Promises of shop, as known at 2026-03-02 10:00:00 UTC.\n"
        "\n"
        "reply, within 1 min: Who asks has an answer within a minute.\n"
        "  5 opened: 2 kept, 2 broken (1 closed late, 1 overdue), 1 open and in time\n"
        "  hit rate 50.0% (95 % interval 15.0% to 85.0%)\n"
        "  time to close: median 1 min, 90th percentile 1 min 40 s\n"
        "  not counted: 1 events without a key, as nothing could close them\n"
    )


def test_the_json_holds_all_figures(home, tmp_path, capsys):
    since = (NOW - timedelta(seconds=500)).isoformat()
    told = json.loads(report(home, tmp_path, capsys, "--json", "--since", since))
    assert (told["playbook"], told["since_time"], told["until_time"]) == ("shop", since, NOW.isoformat())
    [found] = told["promises"]
    assert found.pop("hit_rate") == pytest.approx({"value": 0.5, "low": 0.0945, "high": 0.9055}, abs=1e-4)
    assert found == {
        "name": "reply",
        "text": "Who asks has an answer within a minute.",
        "feature": "waiting",
        "within_seconds": 60.0,
        "opened": 3,
        "kept": 1,
        "broken": 1,
        "closed_late": 0,
        "open": 2,
        "overdue": 1,
        "without_key": 1,
        "median_seconds": 60.0,
        "percentile_90_seconds": 60.0,
    }


def test_what_one_member_opened_another_closes_while_they_are_linked(tmp_path, capsys):
    playbook = load_playbook(tmp_path / "shop", *CHANGES)
    rows = [*ROWS, ("bob", "answered", 750, "b", "bill"), ("ann", "dropped", 5, "a", "bill")]
    store(tmp_path, playbook, rows)
    apart, one = {"ann": [], "bob": []}, {"both": []}
    for number, row in enumerate(rows):
        apart[row[0]].append(stored(number, row))
        one["both"].append(stored(number, row))
    start, now = 0, microseconds(NOW)
    assert count_by_hand(one, start, now) != count_by_hand(apart, start, now)

    def told():
        [found] = json.loads(report(tmp_path, tmp_path / "shop", capsys, "--json"))["promises"]
        return {name: found[name] for name in count_by_hand(one, start, now)[0]}

    file_customers(tmp_path, playbook, ["ann", "bob"])
    assert told() == count_by_hand(apart, start, now)[0]
    file_customers(tmp_path, playbook, [], links=[("bob", "ann")])
    assert told() == count_by_hand(one, start, now)[0]
    file_customers(tmp_path, playbook, [], unlinks=["ann"])
    assert told() == count_by_hand(apart, start, now)[0]


def test_without_a_store_of_profiles_it_says_that_links_are_not_known(tmp_path, capsys):
    store(tmp_path, load_playbook(tmp_path / "shop", *CHANGES))
    note = "There is no store of profiles, so customers that were linked count apart."
    assert report(tmp_path, tmp_path / "shop", capsys).endswith(f"\n\n{note}\n")
    assert json.loads(report(tmp_path, tmp_path / "shop", capsys, "--json"))["notes"] == [note]


def test_of_nothing_there_is_no_rate(home, tmp_path, capsys):
    told = json.loads(report(home, tmp_path, capsys, "--json", "--since", NOW.isoformat()))
    [found] = told["promises"]
    assert (found["opened"], found["hit_rate"], found["median_seconds"]) == (0, None, None)


def test_what_only_a_consent_lets_be_looked_at_is_not_measured(home, tmp_path, capsys):
    write_playbook(
        tmp_path,
        *CHANGES,
        ("playbook", "purposes", "care", {"use": "data"}),
        ("events", "events", "answered", {"attributes": TALK, "consent": "care"}),
    )
    assert main([*COMMAND, "--home", str(home), "--playbook", str(tmp_path)]) == 0
    assert (
        "not measured: its events need consent to care, and the event store does not know who gave it"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ((), (), 'playbook "shop" promises nothing; say --playbook FOLDER for another'),
        (
            CHANGES,
            ("--home", "nowhere"),
            "there is no event store nowhere/features.sqlite",
        ),
        (
            CHANGES,
            ("--since", "2026-03-05", "--until", "2026-03-01"),
            "--since must lie before --until",
        ),
    ],
)
def test_it_says_why_there_is_no_report(home, tmp_path, capsys, changes, options, message):
    write_playbook(tmp_path, *changes)
    code = main([*COMMAND, "--home", str(home), "--playbook", str(tmp_path), *options])
    assert (code, capsys.readouterr().err) == (1, f"tact promises: {message}\n")


def test_a_time_that_is_none_is_refused(capsys):
    with pytest.raises(SystemExit):
        main([*COMMAND, "--since", "yesterday"])
    assert '"yesterday" is no time such as 2026-03-02T10:00:00+01:00' in capsys.readouterr().err
