"""``tact features parity`` recomputes what decisions on record were served, and finds what is not so."""

import asyncio
import contextlib
import json
import random
import sqlite3
from datetime import timedelta

import pytest
import worlds as running
from deciding import request
from tact.decision.v1 import decision_service_pb2 as pb
from tact.features.v1 import feature_service_pb2 as features_pb
from tact.log.v1 import decision_record_pb2 as log_pb
from tact.profile.v1 import profile_service_pb2 as profile_pb
from worlds import CUSTOMERS, NOON

from services.chassis.tables import tombstone
from services.cli.__main__ import main
from services.gateway.adapters.sealing import sealed

DECISIONS = 40


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Return the folder of services that decided while events came late and customers were linked."""
    folder = tmp_path_factory.mktemp("parity")
    uri, shop = running.register_model(folder), running.write_shop(folder / "shop")

    async def live():
        async with running.OneProcess(folder / "home", shop, uri) as world:
            profile, features, gateway = (world.stubs[name] for name in ("profile", "features", "gateway"))
            await running.populate(profile, features)
            draw = random.Random(3)
            for number in range(DECISIONS):
                if number % 5 == 0:
                    late = [
                        running.event(draw, draw.choice(CUSTOMERS), 1_000 * number + n) for n in range(40)
                    ]
                    await features.IngestEvents(features_pb.IngestEventsRequest(events=late))
                if number == 20:
                    await profile.LinkIdentities(
                        profile_pb.LinkIdentitiesRequest(
                            link_id="l",
                            customer=profile_pb.CustomerKey(customer_id=CUSTOMERS[0]),
                            other=profile_pb.CustomerKey(customer_id=CUSTOMERS[1]),
                        )
                    )
                at = NOON - timedelta(hours=draw.randrange(0, 24 * 30))
                asked = request(draw.choice(CUSTOMERS[:6]), mode=pb.DECISION_MODE_DRY_RUN, at=at)
                await gateway.Decide(asked)

    asyncio.run(live())
    return folder


@pytest.fixture
def stores(home, tmp_path):
    """Return copies of the log and the events, which a test may change."""
    for name in ("gateway.sqlite", "features.sqlite"):
        with contextlib.closing(sqlite3.connect(home / "home" / name)) as store:
            store.execute("VACUUM INTO ?", (str(tmp_path / name),))
    return tmp_path


def parity(capsys, home, stores, *options):
    code = main(
        [
            "features",
            "parity",
            str(stores),
            "--events",
            str(stores / "features.sqlite"),
            "--playbook",
            str(home / "shop"),
            *options,
        ]
    )
    out, err = capsys.readouterr()
    return code, out, err


def change(path, statement, *parameters):
    with contextlib.closing(sqlite3.connect(path)) as store:
        store.execute(statement, parameters)
        store.commit()


def test_what_was_served_is_what_the_events_say(home, stores, capsys):
    code, out, _ = parity(capsys, home, stores, "--json")
    counts = json.loads(out)
    assert code == 0
    assert counts["decisions"] == counts["compared"] == DECISIONS
    assert counts["different"] == 0
    assert counts["numbers"] > 10 * DECISIONS
    code, out, _ = parity(capsys, home, stores)
    assert out == f"{DECISIONS} of {DECISIONS} decisions equal, {counts['numbers']} numbers compared\n"


def test_an_event_that_is_not_what_it_was_is_noticed_by_its_features(home, stores, capsys):
    change(
        stores / "features.sqlite",
        "UPDATE events SET attributes = json_set(attributes, '$.amount', 12345) WHERE type = 'purchase'",
    )
    code, out, _ = parity(capsys, home, stores)
    assert code == 1
    assert "spend_30d: " in out
    assert " served, " in out
    assert f"{DECISIONS} of {DECISIONS}" not in out


def test_a_window_that_is_a_millisecond_off_is_noticed(home, stores, capsys):
    with contextlib.closing(sqlite3.connect(stores / "gateway.sqlite")) as log:
        record = log_pb.DecisionRecord.FromString(
            log.execute("SELECT record FROM dry_run_decisions").fetchone()[0]
        )
    at = record.feature_time.ToMicroseconds()
    change(
        stores / "features.sqlite",
        "INSERT INTO events VALUES (0, 'early', ?, 'purchase', ?, '{\"amount\":1.0,\"category\":\"wine\"}')",
        record.response.customer_id,
        at - 1,
    )
    assert parity(capsys, home, stores)[0] == 1
    change(stores / "features.sqlite", "UPDATE events SET event_time = ? WHERE event_id = 'early'", at + 999)
    later = [
        each
        for each in decided(stores)
        if each.response.customer_id == record.response.customer_id
        and each.feature_time.ToMicroseconds() > at
    ]
    assert parity(capsys, home, stores)[0] == bool(later)


def decided(stores):
    with contextlib.closing(sqlite3.connect(stores / "gateway.sqlite")) as log:
        rows = log.execute("SELECT record FROM dry_run_decisions").fetchall()
    return [log_pb.DecisionRecord.FromString(record) for (record,) in rows]


def test_events_stored_after_a_decision_change_nothing_of_it(home, stores, capsys):
    change(
        stores / "features.sqlite",
        "INSERT INTO events SELECT sequence + 100000, event_id || ' again', customer_id, type, event_time, "
        "attributes FROM events",
    )
    assert parity(capsys, home, stores)[0] == 0


def test_what_cannot_be_compared_is_told_and_counted(home, stores, capsys):
    first, second, third, *_ = decided(stores)
    second.response.playbook_version = "0" * 64
    third.ClearField("feature_time")
    for record, stored in ((first, b"\xff" * 9), (second, None), (third, None)):
        record.ClearField("digest")
        raw = stored or sealed(record.SerializeToString(deterministic=True))
        statement = "UPDATE dry_run_decisions SET record = ? WHERE decision_id = ?"
        change(stores / "gateway.sqlite", statement, raw, record.response.decision_id)
    code, out, _ = parity(capsys, home, stores)
    assert code == 0
    assert "not compared, 1: playbook version 000" in out
    assert "not compared, 1: no features were read" in out
    assert f"{DECISIONS - 3} of {DECISIONS - 3} decisions equal" in out


def test_a_decision_of_whom_events_were_erased_since_is_not_compared(home, stores, capsys):
    record = next(each for each in decided(stores) if len(each.profile.member_ids) == 2)
    gone = record.profile.member_ids[1]
    change(stores / "features.sqlite", "DELETE FROM events WHERE customer_id = ?", gone)
    assert parity(capsys, home, stores)[0] == 1
    change(stores / "features.sqlite", "INSERT INTO changes VALUES (?, 999999)", tombstone(gone))
    code, out, _ = parity(capsys, home, stores)
    assert code == 0
    assert "the events of a member were erased since" in out


def test_where_nothing_can_be_compared_nothing_is_proved(home, stores, capsys):
    change(stores / "gateway.sqlite", "DELETE FROM dry_run_decisions")
    assert parity(capsys, home, stores)[:2] == (1, "0 of 0 decisions equal, 0 numbers compared\n")


@pytest.mark.parametrize("gone", ["gateway.sqlite", "features.sqlite"])
def test_a_store_that_is_not_there_is_named(home, stores, capsys, gone):
    (stores / gone).unlink()
    code, _, err = parity(capsys, home, stores)
    assert code == 1
    assert err.startswith("tact features: there is no ")
    assert "Traceback" not in err
