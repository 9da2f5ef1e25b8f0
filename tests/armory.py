"""Shops with control arms: what their gateways decided, and what ``tact arms report`` makes of it."""

import asyncio
import contextlib
import json
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from deciding import EVERYTHING, FILES, Shop, instant, json_value, request
from tact.decision.v1 import decision_service_pb2 as pb
from tact.features.v1 import feature_service_pb2 as features_pb

import services.gateway
from services.chassis.inprocess import InProcessStub
from services.chassis.rpc import Call
from services.chassis.sqlite import Database
from services.cli.__main__ import main
from services.engine.arbitration.arms import arm_of
from services.engine.features.feature_set import FeatureSet
from services.features import app as features_app
from services.features.settings import FeatureSettings
from services.gateway.adapters.sqlite_log import SqliteLog
from services.gateway.domain.knowledge import Profile
from services.gateway.domain.making import Edition
from services.gateway.fakes import InMemoryProfiles

MIGRATIONS = sorted((Path(services.gateway.__file__).parent / "migrations").glob("*.sql"))
START = datetime(2025, 3, 20, 9, tzinfo=UTC)
CUSTOMERS = [f"customer {number}" for number in range(30)]
ARMS = "control_arms: { hold_out: 0.2, no_levers: 0.2, eligibility_only: 0.000001 }"


def write_playbook(folder, arms=ARMS, **files):
    """Write the shop with control arms; offers succeed by an event, service by a report."""
    changed = {name: text.rstrip() + "\n" for name, text in FILES.items()}
    changed["playbook.yaml"] += f"        {arms}\n"
    changed["events.yaml"] += "          bought: { attributes: { action: { type: string } } }\n"
    changed["actions.yaml"] = (
        changed["actions.yaml"]
        .replace(
            "groups: { offers: {}, service: {} }",
            """groups:
          offers: { outcome: { event: bought, match: action, within: 7d } }
          seasonal: { outcome: { event: bought, match: action, within: validity } }
          service: {}""",
        )
        .replace("spring-sale:\n            group: offers", "spring-sale:\n            group: seasonal")
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (changed | files).items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@contextlib.asynccontextmanager
async def in_sqlite(home):
    """Open the decision log under a home."""
    migrations = [path.read_text() for path in MIGRATIONS]
    async with Database.open(home / "gateway.sqlite", migrations) as database:
        yield SqliteLog(database)


def decide(
    home, book, asked, outcomes_of=lambda answers: (), profiles=CUSTOMERS, opened=in_sqlite, linked=()
):
    """Let the gateway decide on requests, each with its moment, then take what is reported of the answers.

    ``opened`` opens the log under ``home``. Of those in ``linked`` that are one, the first stays.
    """

    async def run():
        one = {name: members for members in linked for name in members}
        known = {
            name: Profile(
                customer_id=one.get(name, (name,))[0],
                members=tuple(sorted(one.get(name, (name,)))),
                attributes={"age": 40},
                permissions=EVERYTHING,
            )
            for name in profiles
        }
        async with opened(home) as log:
            shop = Shop(
                log=log,
                profiles=InMemoryProfiles(profiles=known),
                edition=Edition(book, FeatureSet(book)),
            )
            answers = []
            for moment, fields in sorted(asked, key=lambda one: one[0]):
                shop.now = moment
                answers.append(await shop.deciding(request(**fields)))
            shop.now = START + timedelta(days=400)
            batch = pb.RecordOutcomesRequest(outcomes=outcomes_of(answers))
            if batch.outcomes:
                told = await shop.servicer.RecordOutcomes(batch, Call())
                assert all(result.HasField("accepted") for result in told.results), told
            return answers

    return asyncio.run(run())


def ingest(home, book, happened):
    """Let the feature service store (customer, action, moment) as events ``bought``."""

    async def run():
        async with features_app.open_service(FeatureSettings(home=home), book) as service:
            events = [
                features_pb.Event(
                    event_id=f"event {number}",
                    customer_id=customer,
                    type="bought",
                    event_time=instant(moment),
                    attributes={"action": json_value(action)},
                )
                for number, (customer, action, moment) in enumerate(happened)
            ]
            stub = InProcessStub(service, 30.0)
            told = await stub.IngestEvents(features_pb.IngestEventsRequest(events=events))
            assert all(result.HasField("accepted") for result in told.results)

    asyncio.run(run())


def outcome(number, answer, rank, kind, moment, **fields):
    """Write one outcome of an answer."""
    return pb.Outcome(
        outcome_id=f"outcome {number}",
        decision_id=answer.decision_id,
        rank=rank,
        kind=f"OUTCOME_KIND_{kind}",
        outcome_time=instant(moment),
        **fields,
    )


def members(book, arm, count, first=0):
    """Return ids of customers who are in an arm, from the ``first`` on."""
    found = (f"c{number}" for number in range(10_000))
    mine = (one for one in found if arm_of(book.head.control_arms, book.head.name, one)[0] == arm)
    return list(islice(mine, first, first + count))


def report(capsys, *arguments):
    """Run the command; return what it printed as JSON."""
    assert main(["arms", "report", "--json", *map(str, arguments)]) == 0
    return json.loads(capsys.readouterr().out)


def told(capsys, *arguments):
    """Run the command; return what it printed for people."""
    assert main(["arms", "report", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def refused(capsys, *arguments):
    """Run the command; return why it cannot."""
    assert main(["arms", "report", *map(str, arguments)]) == 1
    return capsys.readouterr().err
