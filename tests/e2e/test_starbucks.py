"""The Starbucks transcript is imported into a running service, which serves what DuckDB counts."""

import asyncio
import math
import os
import struct

import pytest
import starbucks
from google.protobuf.timestamp_pb2 import Timestamp
from happenings import FeatureProcess, import_events, stored
from tact.features.v1 import feature_service_pb2 as pb

from services.chassis.clients import GrpcStub, channel

FEATURES = pb.DESCRIPTOR.services_by_name["FeatureService"]
PATIENCE_SECONDS = 60.0
IS_CI = os.environ.get("TACT_REQUIRE_SERVERS") == "1"
PEOPLE = None if IS_CI else 250
"""How many people's events are imported; CI imports all of them, which takes half a minute."""
ASKED = 400
ALL_EVENTS = 306_534
COLUMNS = "number, person, event, micros, amount, offer_id, reward"


@pytest.fixture(scope="module")
def playbook(tmp_path_factory):
    return starbucks.write_playbook(tmp_path_factory.mktemp("rewards") / "book")


@pytest.fixture(scope="module")
def events(playbook):
    with starbucks.database(PEOPLE) as duck:
        yield duck


@pytest.fixture
def mapped(tmp_path, playbook, monkeypatch):
    """Return the options of every import here."""
    monkeypatch.setenv("TACT_PLAYBOOK", str(playbook))
    (tmp_path / "mapping.yaml").write_text(starbucks.MAPPING)
    return ["--mapping", tmp_path / "mapping.yaml", "--rejects", tmp_path / "rejects.csv"]


def ask_for(duck):
    """Choose people and times: the edges of windows, times between, and where there is nothing yet."""
    duck.execute(
        """
        CREATE OR REPLACE TABLE asked AS
        WITH people AS (SELECT DISTINCT person FROM events ORDER BY md5(person) LIMIT $asked)
        SELECT person, $start + hour * $hour // 2 AS as_of
        FROM people CROSS JOIN (SELECT unnest([0, 336, 673, 821, 1428, 1430]) AS hour)
        UNION SELECT person, micros + days * 24 * $hour
        FROM people JOIN events USING (person) CROSS JOIN (SELECT unnest([3, 7, 14]) AS days)
        WHERE hash(number) % 4 = 0
        """,
        {"asked": ASKED, "start": starbucks.START, "hour": starbucks.HOUR},
    )


def counted(duck):
    """Return what DuckDB counts: the customer's and the offers' features, by person and time."""
    hour = {"hour": starbucks.HOUR}
    found = duck.execute(starbucks.SERVED, hour)
    names = [column[0] for column in found.description][2:]
    own = {}
    for person, as_of, *values in found.fetchall():
        own[person, as_of] = {
            name: number(value, 0.0 if name in starbucks.ZERO_WITHOUT_EVENTS else math.nan)
            for name, value in zip(names, values, strict=True)
        }
    offers = {}
    for person, as_of, offer, share, views in duck.execute(starbucks.PER_OFFER, hour).fetchall():
        offers.setdefault((person, as_of), {})[offer] = {
            "received_share": number(share, math.nan),
            "views_7d": float(views),
        }
    return own, offers


def number(value, missing):
    return missing if value is None else float(value)


async def served(address, keys):
    """Return what the service answers, in the same shape."""
    actions = [f"offer_{place}" for place in range(len(starbucks.portfolio()))]
    async with channel(address, FEATURES) as opened:
        stub = GrpcStub(opened, FEATURES, PATIENCE_SECONDS)
        described = await stub.DescribeFeatures(pb.DescribeFeaturesRequest())
        names = {
            scope: [each.name for each in described.features if each.scope == scope]
            for scope in (pb.FEATURE_SCOPE_CUSTOMER, pb.FEATURE_SCOPE_CANDIDATE)
        }
        own, offers = {}, {}
        for start in range(0, len(keys), 500):
            batch = keys[start : start + 500]
            asked = [
                pb.FeatureKey(
                    customer_id=person,
                    as_of_time=Timestamp(seconds=as_of // 1_000_000),
                    action_ids=actions,
                )
                for person, as_of in batch
            ]
            response = await stub.BatchGetFeatures(
                pb.BatchGetFeaturesRequest(customers=asked, playbook_version=described.playbook_version)
            )
            for key, result in zip(batch, response.results, strict=True):
                own[key] = read(names[pb.FEATURE_SCOPE_CUSTOMER], result.vectors.customer_vector)
                rows = result.vectors.candidate_vectors
                width = 8 * len(names[pb.FEATURE_SCOPE_CANDIDATE])
                offers[key] = {
                    offer: read(names[pb.FEATURE_SCOPE_CANDIDATE], rows[place * width : (place + 1) * width])
                    for place, offer in enumerate(starbucks.portfolio())
                }
        return own, offers


def read(names, vector):
    return dict(zip(names, struct.unpack(f"<{len(names)}d", vector), strict=True))


def is_same(name, one, other):
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    if name == "fading_spend":
        # DuckDB adds the parts in another order and rounds each time.
        return math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-12)
    return one == other


def test_served_features_equal_what_duckdb_counts(tmp_path, playbook, events, mapped, capsys):
    file = tmp_path / "transcript"
    rows = events.table("events").project(COLUMNS).order("number")
    (rows.write_parquet if IS_CI else rows.write_csv)(str(file))
    (count,) = events.execute("SELECT count(*) FROM events").fetchone()
    with FeatureProcess(tmp_path / "home", playbook) as service:
        assert import_events(file, *mapped, "--address", service.address) == 0
        said = capsys.readouterr().out.splitlines()[-1]
        assert said == f"{count} read, {count} stored, 0 duplicates, 0 rejected"
        assert count == ALL_EVENTS or not IS_CI
        ask_for(events)
        expected, expected_offers = counted(events)
        found, found_offers = asyncio.run(served(service.address, list(expected)))
    assert len(expected) > 4 * min(ASKED, PEOPLE or ASKED)
    wrong = [
        (key, name, found[key][name], numbers[name])
        for key, numbers in expected.items()
        for name in found[key].keys() | numbers.keys()
        if not is_same(name, found[key][name], numbers[name])
    ]
    wrong += [
        (key, offer, name, found_offers[key][offer][name], value)
        for key, offers in expected_offers.items()
        for offer, numbers in offers.items()
        for name, value in numbers.items()
        if not is_same(name, found_offers[key][offer][name], value)
    ]
    assert wrong == []
    kinds = {name for numbers in expected.values() for name, value in numbers.items() if value == value}
    assert kinds == set(next(iter(expected.values())))


def test_the_offers_completed_twice_in_one_hour_are_two_events_each_time(tmp_path, playbook, mapped, capsys):
    file, mapping = tmp_path / "twice.parquet", tmp_path / "mapping.yaml"
    mapping.write_text(starbucks.MAPPING.replace("event_id: number", "event_id_from: all"))
    with starbucks.database() as duck:
        duck.sql(
            """
            FROM events
            QUALIFY count(*) OVER (PARTITION BY person, event, hour, offer_id, reward) > 1
                    AND event = 'offer completed'
            """
        ).project(COLUMNS).write_parquet(str(file))
        ((people,),) = duck.read_parquet(str(file)).aggregate("count(DISTINCT person)").fetchall()
    with FeatureProcess(tmp_path / "home", playbook) as service:
        for stored_now, known in ((793, 0), (0, 793)):
            assert import_events(file, *mapped, "--address", service.address) == 0
            said = capsys.readouterr().out.splitlines()[-1]
            assert said == f"793 read, {stored_now} stored, {known} duplicates, 0 rejected"
    rows = stored(tmp_path / "home")
    assert len(set(rows.values())) == 396
    assert len({customer for customer, *_ in rows.values()}) == people


def test_the_times_asked_about_lie_on_the_edges_of_windows(events):
    """A moment later, what lay on the far edge falls out, and what lay on the near one counts."""
    ask_for(events)
    whole, _ = counted(events)
    events.execute("UPDATE asked SET as_of = as_of + 1")
    later, _ = counted(events)
    for name in ("purchases", "purchases_3d", "spend_7d", "mean_amount_14d", "offers_viewed_7d"):
        assert any(
            not is_same(name, numbers[name], later[person, as_of + 1][name])
            for (person, as_of), numbers in whole.items()
        )
