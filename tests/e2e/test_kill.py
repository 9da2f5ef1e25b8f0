"""The gateway is killed while it decides and records; nothing that it answered is lost."""

import asyncio
import contextlib
import itertools
import random
import sqlite3

import grpc
import worlds as running
from deciding import instant, request
from tact.decision.v1 import decision_service_pb2 as pb
from tact.log.v1 import decision_record_pb2 as log_pb
from worlds import CUSTOMERS, NOON, PATIENCE_SECONDS

KILLS = 3
IN_FLIGHT = 4


class Caller:
    """Asks for decisions and tells their outcomes; remembers what was answered."""

    def __init__(self, stub):
        self._stub = stub
        self._numbers = itertools.count()
        self.asked = {}
        self.answers = {}
        self.outcomes = {}

    async def work(self):
        """Decide once, and tell what became of it."""
        number = next(self._numbers)
        asked = request(CUSTOMERS[number % len(CUSTOMERS)], request_id=f"request-{number}")
        asked.include_explanation = number % 3 == 0
        answer = await self._stub.Decide(asked)
        self.asked[answer.decision_id] = asked
        self.answers[answer.decision_id] = answer
        told = [
            pb.Outcome(
                outcome_id=f"{answer.decision_id} {action.rank}",
                decision_id=answer.decision_id,
                rank=action.rank,
                kind="OUTCOME_KIND_ACCEPTED",
                outcome_time=instant(NOON),
            )
            for action in answer.actions
        ]
        recorded = await self._stub.RecordOutcomes(pb.RecordOutcomesRequest(outcomes=told))
        for outcome, result in zip(told, recorded.results, strict=True):
            assert result.HasField("accepted")
            self.outcomes[outcome.outcome_id] = outcome

    async def repeat(self):
        """Ask and tell all of it again; nothing may have changed."""
        for decision_id, asked in self.asked.items():
            assert await self._stub.Decide(asked) == self.answers[decision_id]
        again = pb.RecordOutcomesRequest(outcomes=self.outcomes.values())
        recorded = await self._stub.RecordOutcomes(again)
        assert all(result.accepted.duplicate for result in recorded.results)


async def work_until_killed(world, caller, answers):
    """Work several pieces at a time, and kill the gateway after so many more answers."""
    enough = len(caller.answers) + answers

    async def keep_on():
        with contextlib.suppress(grpc.aio.AioRpcError):
            while True:
                await caller.work()
                if len(caller.answers) >= enough:
                    world.kill("gateway")

    await asyncio.gather(*(keep_on() for _ in range(IN_FLIGHT)))
    await world.stop("gateway")


def test_what_was_answered_or_acknowledged_survives_kill_9(tmp_path):
    draw = random.Random(20_251_121)
    shop = running.write_shop(tmp_path / "shop")

    async def main():
        world = running.Processes(tmp_path / "home", shop, names=("profile", "features"))
        async with asyncio.timeout(PATIENCE_SECONDS), world:
            await running.populate(world.stubs["profile"], world.stubs["features"])
            caller = Caller(world.stubs["gateway"])
            for _ in range(KILLS):
                await work_until_killed(world, caller, draw.randrange(10, 40))
                check_store(caller)
                await world.start("gateway")
                await caller.repeat()
        return caller, "".join(world.log)

    def check_store(caller):
        with contextlib.closing(sqlite3.connect(tmp_path / "home" / "gateway.sqlite")) as store:
            decisions = dict(store.execute("SELECT decision_id, record FROM decisions"))
            outcomes = {outcome_id for (outcome_id,) in store.execute("SELECT outcome_id FROM outcomes")}
        for decision_id, answer in caller.answers.items():
            assert log_pb.DecisionRecord.FromString(decisions[decision_id]).response == answer
        assert caller.outcomes.keys() <= outcomes

    caller, log = asyncio.run(main())
    assert len(caller.answers) >= KILLS * 10
    assert len(caller.outcomes) >= KILLS * 5
    assert "unhandled exception" not in log
    assert "request-" not in log
    assert "customer-" not in log
