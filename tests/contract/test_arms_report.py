"""``tact arms report`` on logs that the real gateway and feature service wrote."""

import asyncio
import json
import random
import sqlite3
import statistics
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from armory import (
    CUSTOMERS,
    START,
    decide,
    in_sqlite,
    ingest,
    members,
    outcome,
    refused,
    report,
    told,
    write_playbook,
)
from deciding import EVERYTHING, FILES, Shop, request
from pasts import file_customers, one_customer
from tact.decision.v1 import decision_service_pb2 as pb
from tact.log.v1 import decision_record_pb2 as log_pb

from services.cli.__main__ import main
from services.engine.features.feature_set import FeatureSet
from services.engine.instants import microseconds
from services.engine.playbook.loader import load
from services.engine.playbook.publishing import publish
from services.engine.playbook.store import Store, store_under
from services.gateway.domain.knowledge import Profile
from services.gateway.domain.making import Edition
from services.gateway.fakes import InMemoryProfiles

DAYS = 45
END = START + timedelta(days=DAYS)
WEEK = timedelta(days=7)
NOBODY = "nobody knows"
EVENT_ACTIONS = ("bread-coupon", "wine-coupon", "spring-sale")


def draw_outcomes(draw, answers):
    """Report this and that, some of it twice and some long after."""
    told = []
    for answer in answers:
        decided = answer.decision_time.ToDatetime(UTC)
        for rank in range(1, len(answer.actions) + 1):
            for kind in ("DELIVERED", "VIEWED", "ACCEPTED", "REJECTED", "OVERRIDDEN"):
                for _ in range(draw.choice([0, 0, 0, 1, 1, 2])):
                    later = decided + timedelta(hours=draw.randrange(0, 24 * 12))
                    measures = {"effort": float(draw.randrange(11))} if draw.random() < 0.4 else {}
                    told.append(outcome(len(told), answer, rank, kind, later, measures=measures))
    return told


EARLY, LATER = START + timedelta(days=12), START + timedelta(days=30)
LINKED = [
    [],
    [("customer 2", "customer 1"), ("customer 3", "customer 4"), ("customer 5", "customer 6", "customer 7")],
    [("customer 2", "customer 1"), ("customer 5", "customer 7")],
]
"""Who is one before the early day, from then until the later day, and from then on."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Six weeks of decisions, outcomes and events, as they come, while customers are linked and unlinked.

    Two are linked after all of it.
    """
    draw, home = random.Random(20), tmp_path_factory.mktemp("home")
    folder = write_playbook(home / "playbook")
    book = load(folder)
    asked = []
    for _ in range(160):
        moment = START + timedelta(minutes=draw.randrange(DAYS * 1_440))
        fields = {
            "customer_id": draw.choice([*CUSTOMERS, NOBODY]),
            "max_actions": draw.choice([1, 2, 5]),
            "include_explanation": draw.random() < 0.2,
        }
        if draw.random() < 0.2:
            fields["action_ids"] = draw.sample(list(book.actions), 2)
        asked.append((moment, fields))
        if draw.random() < 0.2:
            asked.append((moment, fields | {"mode": pb.DECISION_MODE_DRY_RUN}))
    told = []

    def outcomes(answers):
        mine = draw_outcomes(draw, [answer for answer in answers if _is_live(home, answer)])
        for one in mine:
            one.outcome_id = f"outcome {len(told)}"
            told.append(one)
        return mine

    for linked, start, end in zip(LINKED, (START, EARLY, LATER), (EARLY, LATER, END), strict=True):
        now = [(moment, fields) for moment, fields in asked if start <= moment < end]
        decide(home, book, now, outcomes, linked=linked)
    file_customers(
        home,
        book,
        CUSTOMERS,
        links=[
            ("customer 2", "customer 1"),
            ("customer 3", "customer 4"),
            ("customer 5", "customer 6"),
            ("customer 5", "customer 7"),
            ("customer 8", "customer 9"),
        ],
        unlinks=["customer 4", "customer 6"],
    )
    happened = [
        (
            draw.choice([*CUSTOMERS, NOBODY, "somebody else"]),
            draw.choice([*EVENT_ACTIONS, "recall", "unheard-of"]),
            START + timedelta(minutes=draw.randrange((DAYS + 14) * 1_440)),
        )
        for _ in range(260)
    ]
    ingest(home, book, happened)
    return home, folder


def _is_live(home, answer):
    with closing(sqlite3.connect(home / "gateway.sqlite")) as store:
        found = store.execute("SELECT 1 FROM decisions WHERE decision_id = ?", (answer.decision_id,))
        return found.fetchone() is not None


VALUES = {
    "bread-coupon": 4.0,
    "wine-coupon": 9.0,
    "spring-sale": 2.0,
    "survey": 0.6,
    "receipt": 0.5,
    "recall": 0.0,
}
COSTS = {
    ("bread-coupon", "letter"): 0.5,
    ("bread-coupon", "message"): 0.01,
    ("wine-coupon", "message"): 0.01,
    ("recall", "letter"): 0.5,
}
ENDS = {"spring-sale": datetime(2025, 3, 31, 22, tzinfo=UTC)}
IGNORING_ARMS = ("receipt", "recall")


def recount(home, *, until, since=START, within=None, every=False, live=True):
    """Count everything again, slowly, customer by customer; who was or is one counts as one."""
    with closing(sqlite3.connect(home / "gateway.sqlite")) as store:
        every_decision = "SELECT record FROM decisions", "SELECT record FROM dry_run_decisions"
        rows = store.execute(every_decision[not live]).fetchall()
        outcomes = store.execute("SELECT * FROM outcomes").fetchall() if live else []
        names = [column[1] for column in store.execute("PRAGMA table_info(outcomes)")]
    outcomes = [dict(zip(names, row, strict=True)) for row in outcomes]
    with closing(sqlite3.connect(home / "features.sqlite")) as store:
        events = store.execute("SELECT customer_id, event_time, attributes FROM events").fetchall()
    left_out = {"nobody_known": 0, "still_open": 0, "before_since": 0, "damaged": 0}
    counted = []
    for (raw,) in rows:
        record = log_pb.DecisionRecord.FromString(raw)
        answer = record.response
        time = answer.decision_time.ToDatetime(UTC)
        considered = {one.action_id for one in record.candidates} & set(EVENT_ACTIONS)
        ends = {action: ENDS.get(action, time + WEEK) for action in considered}
        if time < since:
            left_out["before_since"] += 1
        elif not record.HasField("profile"):
            left_out["nobody_known"] += 1
        elif any(end > until for end in ends.values()) or time + (within or timedelta()) > until:
            left_out["still_open"] += 1
        else:
            counted.append((time, answer, ends, {answer.customer_id, *record.profile.member_ids}))
    families, customers = one_customer(home, [then for *_, then in counted]), {}
    for time, answer, ends, then in sorted(counted, key=lambda one: (one[0], one[1].decision_id)):
        (family,) = (one for one in families if then <= one)
        customer = customers.setdefault(
            min(family),
            {
                "arm": answer.control_arm,
                "decisions": 0,
                "answered": 0,
                "events": set(),
                "value": 0.0,
                "accepted": False,
                "effort": [],
                "reported": dict.fromkeys(("delivered", "viewed", "accepted", "rejected", "overridden"), 0),
            },
        )
        customer["decisions"] += 1
        customer["answered"] += any(every or a.action_id not in IGNORING_ARMS for a in answer.actions)
        for action, end in ends.items():
            follow = sorted(
                (happened, action)
                for who, happened, attributes in events
                if who in family
                and json.loads(attributes)["action"] == action
                and microseconds(time) <= happened < microseconds(end)
            )
            customer["events"].update(follow[:1])
        for action in answer.actions:
            if action.action_id in IGNORING_ARMS and not every:
                continue
            about = [
                one
                for one in outcomes
                if one["decision_id"] == answer.decision_id
                and one["rank"] == action.rank
                and one["outcome_time"] <= microseconds(until)
                and (within is None or one["outcome_time"] < microseconds(time + within))
            ]
            kinds = {one["kind"] for one in about}
            for kind in kinds:
                customer["reported"][kind.lower()] += 1
            customer["effort"] += [
                json.loads(one["measures"])["effort"] for one in about if one["measures"] != "{}"
            ]
            if kinds - {"OVERRIDDEN"}:
                customer["value"] -= COSTS.get((action.action_id, action.treatment_id), 0.0)
            if "ACCEPTED" in kinds and action.action_id not in EVENT_ACTIONS:
                customer["value"] += VALUES[action.action_id]
                customer["accepted"] = True
    for customer in customers.values():
        customer["value"] += sum(VALUES[action] for _, action in customer["events"])
    return customers, left_out


MIDDLE = START + timedelta(days=30)


@pytest.mark.parametrize(
    ("flags", "asked"),
    [
        ([], {}),
        (["--all"], {"every": True}),
        (["--within", "3d"], {"within": timedelta(days=3)}),
        (["--until", MIDDLE.isoformat()], {"until": MIDDLE}),
        (
            ["--until", MIDDLE.isoformat(), "--within", "9d", "--all"],
            {"until": MIDDLE, "within": timedelta(days=9), "every": True},
        ),
        (["--since", MIDDLE.isoformat()], {"since": MIDDLE}),
        (["--dry"], {"live": False}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_figures_equal_a_slow_recount(world, capsys, flags, asked):
    home, folder = world
    made = report(capsys, home, "--playbook", folder, *flags)
    until = datetime.fromisoformat(made["until_time"])
    assert until == asked.get("until", until)
    customers, left_out = recount(home, **{"until": until, **asked})
    assert made["left_out"] == left_out
    assert (made["customers"], made["decisions"]) == (
        len(customers),
        sum(one["decisions"] for one in customers.values()),
    )
    assert [arm["name"] for arm in made["arms"]] == ["", "eligibility_only", "hold_out", "no_levers"]
    for arm in made["arms"]:
        members = [one for one in customers.values() if one["arm"] == arm["name"]]
        succeeded = [bool(one["events"]) or one["accepted"] for one in members]
        assert arm["customers"] == len(members)
        assert arm["decisions"] == sum(one["decisions"] for one in members)
        assert arm["answered"] == sum(one["answered"] for one in members)
        assert arm["reported"] == {
            kind: sum(one["reported"][kind] for one in members) for kind in arm["reported"]
        }
        assert arm["succeeded"] == sum(succeeded)
        if not members:
            assert arm["success"] is None is arm["value"]
            continue
        assert arm["success"]["value"] == statistics.mean(succeeded)
        assert arm["value"]["value"] == pytest.approx(statistics.mean(one["value"] for one in members))
        efforts = [statistics.mean(one["effort"]) for one in members if one["effort"]]
        assert len(efforts) == arm["measures"].get("effort", {"customers": 0})["customers"]
        if efforts:
            assert arm["measures"]["effort"]["mean"]["value"] == pytest.approx(statistics.mean(efforts))


def test_every_way_of_leaving_out_is_met(world, capsys):
    home, folder = world
    left_out = report(
        capsys,
        home,
        "--playbook",
        folder,
        "--until",
        MIDDLE.isoformat(),
        "--since",
        (START + timedelta(days=3)).isoformat(),
    )["left_out"]
    assert all(left_out[name] for name in ("nobody_known", "still_open", "before_since"))


def test_the_same_log_gives_the_same_bytes(world, capsys):
    home, folder = world
    for flags in ([], ["--json"]):
        assert told(capsys, home, "--playbook", folder, *flags) == told(
            capsys, home, "--playbook", folder, *flags
        )


def test_a_store_may_be_named_by_its_file_and_by_the_environment(world, capsys, monkeypatch):
    home, folder = world
    by_folder = told(capsys, home, "--playbook", folder)
    assert told(capsys, home / "gateway.sqlite", "--playbook", folder) == by_folder
    monkeypatch.setenv("TACT_HOME", str(home))
    monkeypatch.setenv("TACT_PLAYBOOK", str(folder))
    assert told(capsys) == by_folder


def test_reading_leaves_the_stores_as_they_are(world, capsys):
    home, folder = world
    before = {path: path.read_bytes() for path in home.glob("*.sqlite")}
    told(capsys, home, "--playbook", folder)
    assert {path: path.read_bytes() for path in home.glob("*.sqlite")} == before


HALF = "control_arms: { hold_out: 0.5 }"


def test_hold_out_customers_count_by_what_happened_to_them(tmp_path, capsys):
    folder = write_playbook(tmp_path / "playbook", HALF)
    book = load(folder)
    held, others = members(book, "hold_out", 4), members(book, "", 4)
    asked = [(START, {"customer_id": one}) for one in (*held, *others)]
    answers = decide(tmp_path, book, asked, profiles=(*held, *others))
    offers = [[a.action_id for a in answer.actions if a.action_id not in IGNORING_ARMS] for answer in answers]
    assert [bool(one) for one in offers] == [False] * 4 + [True] * 4
    day = START + timedelta(days=1)
    ingest(
        tmp_path,
        book,
        [
            *((one, "wine-coupon", day) for one in held[:3]),
            (others[0], "wine-coupon", day),
            (others[1], "wine-coupon", START - timedelta(seconds=1)),
            (others[2], "wine-coupon", START + WEEK),
            (others[3], "wine-coupon", START + timedelta(days=60)),
        ],
    )
    plain, held_out = report(capsys, tmp_path, "--playbook", folder)["arms"]
    assert (held_out["customers"], held_out["answered"], held_out["succeeded"]) == (4, 0, 3)
    assert held_out["value"]["value"] == 3 * 9 / 4
    assert (plain["customers"], plain["answered"], plain["succeeded"]) == (4, 4, 1)
    assert plain["value"]["value"] == 9 / 4
    assert held_out["value_difference"]["value"] == 2 * 9 / 4
    assert held_out["success_difference"]["value"] == 0.5


def test_what_a_member_did_counts_from_its_link_on(tmp_path, capsys):
    folder = write_playbook(tmp_path / "playbook", HALF)
    book = load(folder)
    anna, bert = members(book, "hold_out", 2)
    decide(tmp_path, book, [(START, {"customer_id": anna})], profiles=[anna])
    ingest(tmp_path, book, [(bert, "wine-coupon", START), (bert, "recall", START + 2 * WEEK)])

    def held_out():
        _, held = report(capsys, tmp_path, "--playbook", folder)["arms"]
        return held["customers"], held["succeeded"]

    file_customers(tmp_path, book, [anna, bert])
    assert held_out() == (1, 0)
    file_customers(tmp_path, book, [], links=[(bert, anna)])
    assert held_out() == (1, 1)
    file_customers(tmp_path, book, [], unlinks=[anna])
    assert held_out() == (1, 0)


def test_after_an_unlink_whom_a_decision_was_about_stays_one_in_its_figures(tmp_path, capsys):
    folder = write_playbook(tmp_path / "playbook", HALF)
    book = load(folder)
    anna, bert = members(book, "", 2)
    both = {"profiles": [anna, bert], "linked": [(anna, bert)]}
    decide(tmp_path, book, [(START, {"customer_id": bert})], **both)
    decide(tmp_path, book, [(START + WEEK, {"customer_id": bert})], profiles=[bert])
    file_customers(tmp_path, book, [anna, bert], links=[(anna, bert)], unlinks=[bert])
    ingest(tmp_path, book, [(bert, "wine-coupon", START), (bert, "recall", START + 3 * WEEK)])

    def plain(*flags):
        found, _ = report(capsys, tmp_path, "--playbook", folder, *flags)["arms"]
        return found["customers"], found["decisions"], found["succeeded"]

    assert plain() == (1, 2, 1)
    assert plain("--since", (START + WEEK).isoformat()) == (1, 1, 0)


def test_without_a_store_of_profiles_it_says_that_links_are_not_known(tmp_path, capsys):
    folder = write_playbook(tmp_path / "playbook", HALF)
    book = load(folder)
    anna, bert = members(book, "", 2)
    decide(tmp_path, book, [(START, {"customer_id": one}) for one in (anna, bert)], profiles=[anna, bert])
    ingest(tmp_path, book, [(bert, "wine-coupon", START + 2 * WEEK)])
    file_customers(tmp_path / "elsewhere", book, [anna, bert], links=[(anna, bert)])
    options = (tmp_path, "--playbook", folder)
    made = report(capsys, *options)
    assert made["customers"] == 2
    assert any("no store of profiles" in note for note in made["notes"])
    made = report(capsys, *options, "--profiles", tmp_path / "elsewhere" / "profile.sqlite")
    assert made["customers"] == 1
    assert not any("no store of profiles" in note for note in made["notes"])
    message = refused(capsys, *options, "--profiles", tmp_path / "nowhere")
    assert message == f"tact arms: there is no profile store {tmp_path / 'nowhere'}\n"


def test_an_event_counts_once_however_many_decisions_wait_for_it(tmp_path, capsys):
    folder = write_playbook(tmp_path / "playbook", HALF)
    book = load(folder)
    (anna,) = members(book, "", 1)
    days = [START + timedelta(days=day) for day in range(5)]
    decide(tmp_path, book, [(day, {"customer_id": anna}) for day in days], profiles=[anna])
    noon = timedelta(hours=12)
    # The first two decisions find the first of these, the third the second, the others the last.
    bought = [days[1] + noon, days[1] + 2 * noon, days[4] + noon, days[4] + 2 * noon]
    ingest(tmp_path, book, [(anna, "wine-coupon", at) for at in bought])
    (plain, _) = report(capsys, tmp_path, "--playbook", folder, "--until", "2025-05-01")["arms"]
    assert plain["decisions"] == 5
    assert plain["value"]["value"] == 9.0 * 3


def test_what_ignores_arms_is_looked_at_on_demand_only(tmp_path, capsys):
    folder = write_playbook(tmp_path / "playbook", HALF)
    book = load(folder)
    (anna,) = members(book, "", 1)
    asked = [(START, {"customer_id": anna, "action_ids": ["recall", "receipt"]})]

    def outcomes(answers):
        (answer,) = answers
        assert [action.action_id for action in answer.actions] == ["recall", "receipt"]
        return [outcome(rank, answer, rank, "ACCEPTED", START) for rank in (1, 2)]

    decide(tmp_path, book, asked, outcomes, profiles=[anna])
    ingest(tmp_path, book, [])
    plain, _ = report(capsys, tmp_path, "--playbook", folder)["arms"]
    assert (plain["customers"], plain["answered"], plain["succeeded"]) == (1, 0, 0)
    assert plain["value"] == {"value": 0.0, "low": None, "high": None}
    assert not any(plain["reported"].values())
    plain, _ = report(capsys, tmp_path, "--playbook", folder, "--all")["arms"]
    assert (plain["answered"], plain["succeeded"], plain["reported"]["accepted"]) == (1, 1, 2)
    assert plain["value"]["value"] == 0.5


def test_an_override_of_an_empty_answer_is_told(tmp_path, capsys):
    folder = write_playbook(tmp_path / "playbook", HALF)
    book = load(folder)
    (anna,) = members(book, "hold_out", 1)
    asked = [(START, {"customer_id": anna, "action_ids": ["survey"]})]
    answers = decide(tmp_path, book, asked, profiles=[anna])
    assert [list(answer.actions) for answer in answers] == [[]]
    with closing(sqlite3.connect(tmp_path / "gateway.sqlite")) as store, store:
        store.execute(
            "INSERT INTO outcomes (outcome_id, decision_id, rank, kind, outcome_time, record_time) "
            "VALUES ('o', ?, 0, 'OVERRIDDEN', ?, 0)",
            (answers[0].decision_id, microseconds(START)),
        )
    ingest(tmp_path, book, [])
    _, held = report(capsys, tmp_path, "--playbook", folder)["arms"]
    assert held["reported"]["overridden"] == 1
    assert held["succeeded"] == 0


def test_a_broken_split_is_told_first(tmp_path, capsys):
    folder = write_playbook(tmp_path / "playbook", HALF)
    book = load(folder)
    crowd = members(book, "", 40) + members(book, "hold_out", 8)
    decide(tmp_path, book, [(START, {"customer_id": one}) for one in crowd], profiles=crowd)
    ingest(tmp_path, book, [(crowd[0], "wine-coupon", START + 2 * WEEK)])
    made = report(capsys, tmp_path, "--playbook", folder)
    assert made["arms"][1]["split"]["observed"] == 8 / 48
    assert made["arms"][1]["split"]["is_broken"]
    assert made["notes"][0].startswith("The split is broken: 83.33% of customers are in no arm instead of 50")
    assert "not to be trusted" in made["sentences"][0]
    assert "The split is broken" in told(capsys, tmp_path, "--playbook", folder)


def test_customers_who_changed_arms_count_in_the_first_and_shares_are_not_tested(tmp_path, capsys):
    before = write_playbook(tmp_path / "before", HALF)
    after = write_playbook(tmp_path / "after", "control_arms: { hold_out: 0.01 }")
    old, new = load(before), load(after)
    (anna,) = members(old, "hold_out", 1, first=5)
    decide(tmp_path, old, [(START, {"customer_id": anna})], profiles=[anna])
    decide(tmp_path, new, [(START + WEEK, {"customer_id": anna})], profiles=[anna])
    ingest(tmp_path, old, [(anna, "wine-coupon", START + 2 * WEEK)])
    made = report(capsys, tmp_path, "--playbook", after)
    assert [(arm["name"], arm["customers"], arm["decisions"]) for arm in made["arms"]] == [
        ("", 0, 0),
        ("hold_out", 1, 2),
    ]
    assert {arm["split"]["expected"] for arm in made["arms"]} == {None}
    assert any("shares of hold_out were changed" in note for note in made["notes"])
    assert any("1 customers were in more than one arm" in note for note in made["notes"])


def test_each_decision_is_judged_by_its_own_version_where_that_is_published(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("TACT_PLAYBOOK", raising=False)
    changed = (write_playbook(tmp_path / "draft") / "actions.yaml").read_text()
    first = write_playbook(tmp_path / "first", HALF)
    second = write_playbook(
        tmp_path / "second",
        HALF,
        **{"actions.yaml": changed.replace("within: 7d", "within: 1d").replace("value: 9.00", "value: 5.00")},
    )
    old, new = load(first), load(second)
    early, late = members(old, "", 2)
    for folder in (first, second):
        publish(Store(store_under(tmp_path)), folder, START, "test")
    decide(tmp_path, old, [(START, {"customer_id": early})], profiles=[early])
    decide(tmp_path, new, [(START + WEEK, {"customer_id": late})], profiles=[late])
    third = START + timedelta(days=3)
    last = (early, "bread-coupon", START + 4 * WEEK)
    ingest(tmp_path, old, [(early, "wine-coupon", third), (late, "wine-coupon", third + WEEK), last])
    plain, _ = report(capsys, tmp_path)["arms"]
    assert (plain["succeeded"], plain["value"]["value"]) == (1, 9.0 / 2)
    made = report(capsys, tmp_path, "--playbook", second)
    assert made["arms"][0]["succeeded"] == 0
    assert any(
        "1 decisions were made by versions" in note and new.version[:12] in note for note in made["notes"]
    )


def test_a_playbook_that_has_nothing_to_do_with_the_log_is_refused(world, capsys, monkeypatch):
    home, _ = world
    monkeypatch.delenv("TACT_PLAYBOOK", raising=False)
    assert 'playbook "retail" knows none of their actions: say --playbook FOLDER' in refused(capsys, home)


def test_an_empty_log_says_so(tmp_path, capsys):
    folder = write_playbook(tmp_path / "playbook")
    decide(tmp_path, load(folder), [])
    assert "holds no live decisions yet; dry runs are told of with --dry" in refused(capsys, tmp_path)
    assert "holds no dry runs" in refused(capsys, tmp_path, "--dry")
    assert "there is no decision log" in refused(capsys, tmp_path / "elsewhere")


def test_a_log_without_a_closed_decision_says_why(tmp_path, capsys):
    folder = write_playbook(tmp_path / "playbook", HALF)
    book = load(folder)
    (anna,) = members(book, "", 1)
    asked = [(START + timedelta(days=day), {"customer_id": one}) for day, one in ((2, anna), (3, NOBODY))]
    decide(tmp_path, book, [*asked, (START, {"customer_id": anna})], profiles=[anna])
    ingest(tmp_path, book, [])
    message = refused(
        capsys, tmp_path, "--playbook", folder, "--since", (START + timedelta(days=1)).isoformat()
    )
    assert "none of 3 decisions can be told of as known at 2025-03-23 09:00:00+00:00: " in message
    assert "1 are about nobody known, 1 wait for an outcome that may still come, 1 were made" in message


def test_outcomes_that_are_events_need_their_store(tmp_path, capsys):
    folder = write_playbook(tmp_path / "playbook")
    decide(tmp_path, load(folder), [(START, {"customer_id": CUSTOMERS[0]})])
    message = refused(capsys, tmp_path, "--playbook", folder)
    assert f"there is no store of events {tmp_path / 'features.sqlite'}: say --events FILE" in message


def test_a_shop_without_event_outcomes_needs_no_store_of_events(tmp_path, capsys):
    folder = tmp_path / "playbook"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    answers = decide(
        tmp_path,
        load(folder),
        [(START, {"customer_id": CUSTOMERS[0]})],
        lambda answers: [outcome(1, answers[0], 2, "ACCEPTED", START)],
    )
    accepted = answers[0].actions[1]
    made = report(capsys, tmp_path, "--playbook", folder)
    (plain,) = made["arms"]
    assert plain["value"]["value"] == (accepted.value.micros - accepted.cost.micros) / 1e6
    assert made["notes"][0] == "The playbook declares no control arms, so there is nothing to compare."
    assert any(accepted.action_id in note and "reports alone" in note for note in made["notes"])


@pytest.mark.parametrize("damage", [lambda record: b"\xff", lambda record: record.replace(b"anna", b"bert")])
def test_damaged_records_are_left_out_and_counted(damage, tmp_path, capsys):
    folder = write_playbook(tmp_path / "playbook")
    asked = [(START, {"customer_id": one}) for one in ("anna", "carl")]
    first, _ = decide(tmp_path, load(folder), asked, profiles=["anna", "carl"])
    ingest(tmp_path, load(folder), [("carl", "wine-coupon", START + 2 * WEEK)])
    with closing(sqlite3.connect(tmp_path / "gateway.sqlite")) as store, store:
        select = "SELECT record FROM decisions WHERE decision_id = ?"
        (record,) = store.execute(select, (first.decision_id,)).fetchone()
        change = "UPDATE decisions SET record = ? WHERE decision_id = ?"
        store.execute(change, (damage(record), first.decision_id))
    made = report(capsys, tmp_path, "--playbook", folder)
    assert (made["customers"], made["left_out"]["damaged"]) == (1, 1)
    assert "Left out: 1 damaged on record." in told(capsys, tmp_path, "--playbook", folder)
    with closing(sqlite3.connect(tmp_path / "gateway.sqlite")) as store, store:
        store.execute("UPDATE decisions SET record = x'ff'")
    assert "2 are damaged on record" in refused(capsys, tmp_path, "--playbook", folder)


def test_amounts_of_two_currencies_are_not_added(tmp_path, capsys):
    folder = write_playbook(tmp_path / "playbook")
    other = write_playbook(tmp_path / "other")
    head = (other / "playbook.yaml").read_text().replace("currency: EUR", "currency: USD")
    (other / "playbook.yaml").write_text(head)
    asked = [(START, {"customer_id": one}) for one in CUSTOMERS]
    decide(tmp_path, load(folder), asked)
    ingest(tmp_path, load(folder), [(CUSTOMERS[0], "wine-coupon", START + 2 * WEEK)])
    assert "amounts in EUR and USD cannot be added" in refused(capsys, tmp_path, "--playbook", other)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--since", "yesterday"], '"yesterday" is no time such as'),
        (["--within", "soon"], "'soon' is no length of time such as 90d"),
    ],
)
def test_what_cannot_be_read_on_the_command_line_is_named(flags, message, capsys):
    with pytest.raises(SystemExit):
        main(["arms", "report", *flags])
    assert message in capsys.readouterr().err


def test_a_log_may_grow_while_it_is_read(tmp_path, capsys):
    folder = write_playbook(tmp_path / "playbook", HALF)
    book = load(folder)
    ingest(tmp_path, book, [(CUSTOMERS[0], "wine-coupon", START + 2 * WEEK)])

    async def run():
        async with in_sqlite(tmp_path) as log:
            known = {one: Profile(customer_id=one, permissions=EVERYTHING) for one in CUSTOMERS}
            shop = Shop(
                now=START,
                log=log,
                profiles=InMemoryProfiles(profiles=known),
                edition=Edition(book, FeatureSet(book)),
            )
            for count, customer in enumerate(CUSTOMERS[:5], start=1):
                await shop.deciding(request(customer))
                made = report(capsys, tmp_path, "--playbook", folder)
                assert made["decisions"] == count

    asyncio.run(run())
