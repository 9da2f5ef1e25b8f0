"""Who is overtaken on a customer's ledger waits for a turn, but not longer than there is time to answer."""

import asyncio
import contextlib

import pytest
from deciding import ANNA, Shop, codes, degradations, request, served_by

from services.chassis.deadline import answering
from services.gateway.fakes import InMemoryLog
from services.gateway.ports import LedgerMoved, NotLogged
from services.gateway.turns import Turns


class Overtaking(InMemoryLog):
    """A log in which somebody is always faster with what offers something."""

    async def append(self, entry):
        if entry.offers:
            raise LedgerMoved
        return await super().append(entry)


def test_those_who_were_overtaken_go_on_one_by_one_in_order():
    conflicts, order = [], []

    async def work(turns, name):
        async with turns.begun() as turn:
            await turn.wait(ANNA)
            order.append(f"{name} begins")
            await asyncio.sleep(0)
            await turn.wait(ANNA)
            order.append(f"{name} ends")

    async def main():
        turns = Turns(lambda: conflicts.append(1))
        await asyncio.gather(*(work(turns, name) for name in "abc"))

    asyncio.run(main())
    assert order == ["a begins", "a ends", "b begins", "b ends", "c begins", "c ends"]
    assert len(conflicts) == 6


def test_whose_turn_does_not_come_in_time_takes_none_and_leaves_it_to_the_next():
    async def main():
        turns = Turns(lambda: None)
        async with turns.begun() as first, contextlib.AsyncExitStack() as stack:
            await first.wait(ANNA)
            second = await stack.enter_async_context(turns.begun())
            with answering(lambda: 0.0), pytest.raises(NotLogged, match="the turn did not come in time"):
                await second.wait(ANNA)
            async with turns.begun() as other:
                await other.wait("bert")
        async with turns.begun() as third:
            await third.wait(ANNA)

    asyncio.run(main())


def test_a_decision_whose_turn_does_not_come_in_time_is_empty_and_says_so():
    shop = Shop(log=Overtaking())

    async def main():
        async with shop.editions.current.turns.begun() as other:
            await other.wait(ANNA)
            with answering(lambda: 0.0):
                return await shop.deciding(request(mode="DECISION_MODE_LIVE", request_id="r-1"))

    answer = asyncio.run(main())
    assert (served_by(answer), codes(answer), list(answer.actions)) == ("NOTHING", ["NOT_LOGGED"], [])
    assert ("DECISION_LOG", "UNAVAILABLE") in degradations(answer)
    assert shop.logged(answer).response == answer
