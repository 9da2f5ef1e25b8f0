"""Explanations take turns and leave scores alone."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from services.scoring.domain.batch import ScoreItem
from services.scoring.domain.model import Model
from services.scoring.fakes import InMemoryRegistry
from services.scoring.follower import ModelFollower, Served
from services.scoring.handlers import Overloaded, ScoringHandlers
from services.scoring.metrics import ScoringMetrics
from services.scoring.ports import ModelReference
from tests.unit.scoring.test_model_proof import Sum, bundle

PATIENCE_SECONDS = 20.0


class Slow(Sum):
    """A booster whose explanations wait until the test lets one go; it counts those at work."""

    def __init__(self):
        super().__init__()
        self.rows = []
        self.at_work = 0
        self.most_at_work = 0
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)

    def contributions(self, matrix):
        self.rows.append(len(matrix))
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        self.begun.release()
        assert self.go_on.acquire(timeout=PATIENCE_SECONDS)
        self.at_work -= 1
        return np.column_stack([np.nan_to_num(matrix), np.zeros(len(matrix))])

    async def has_begun(self):
        assert await asyncio.to_thread(self.begun.acquire, timeout=PATIENCE_SECONDS)

    def finish(self):
        self.go_on.release(1_000)


def served(booster):
    reference = ModelReference(name="tact-test", version="1", run_id="run-1", source="memory:1")
    model = Model(bundle(), booster)
    return Served(reference=reference, model=model, load_time=datetime(2018, 1, 2, tzinfo=UTC))


def item(rows):
    values = np.random.default_rng(rows).normal(size=rows)
    return ScoreItem(np.ones(1).tobytes(), values.tobytes(), rows)


def explaining(main):
    """Run ``main(handlers, booster)`` with one thread for scores, and let whatever waits go at the end."""

    async def bounded():
        booster, metrics = Slow(), ScoringMetrics(CollectorRegistry())
        follower = ModelFollower(
            InMemoryRegistry(), lambda text: booster, metrics, lambda: None, "the alias champion"
        )
        follower.served = served(booster)
        with ThreadPoolExecutor(1) as executor:
            handlers = ScoringHandlers(follower, executor, 10, metrics)
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    return await main(handlers, booster)
            finally:
                booster.finish()

    return asyncio.run(bounded())


def explain(handlers, rows):
    return asyncio.create_task(handlers.explain([item(rows)], "f", ""))


@pytest.mark.parametrize("rows", [5, 500])
def test_scores_are_answered_while_an_explanation_is_in_work(rows):
    async def main(handlers, booster):
        task = explain(handlers, 3)
        await booster.has_begun()
        (scores,), _ = await handlers.score([item(rows)], "f")
        return len(scores), task.done()

    assert explaining(main) == (rows, False)


def test_explanations_take_turns():
    async def main(handlers, booster):
        tasks = [explain(handlers, 3) for _ in range(5)]
        await booster.has_begun()
        booster.finish()
        return [(await task)[0][0] for task in tasks], booster.most_at_work

    answers, most_at_work = explaining(main)
    assert most_at_work == 1
    for answer in answers:
        np.testing.assert_array_equal(answer, answers[0])


def test_a_large_explanation_is_made_a_few_rows_at_a_time():
    async def main(handlers, booster):
        booster.finish()
        (answer,), _ = await handlers.explain([item(40)], "f", "")
        return answer, booster.rows

    answer, rows = explaining(main)
    assert rows == [16, 16, 8]
    np.testing.assert_array_equal(answer[:, 1], np.random.default_rng(40).normal(size=40))


def test_one_whose_caller_leaves_ends_before_the_next_begins():
    async def main(handlers, booster):
        left, stays = explain(handlers, 40), explain(handlers, 3)
        await booster.has_begun()
        left.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        is_left_in_work = not left.done()
        booster.finish()
        await stays
        return is_left_in_work, left.cancelled(), booster.rows, booster.most_at_work

    assert explaining(main) == (True, True, [16, 3], 1)


def test_one_that_waits_can_be_left():
    async def main(handlers, booster):
        first, left = explain(handlers, 3), explain(handlers, 5)
        await booster.has_begun()
        left.cancel()
        await asyncio.wait({left})
        booster.finish()
        await first
        return left.cancelled(), booster.rows

    assert explaining(main) == (True, [3])


def test_what_is_too_many_to_wait_is_refused_and_room_comes_back():
    async def main(handlers, booster):
        tasks = [explain(handlers, 1) for _ in range(8)]
        await booster.has_begun()
        with pytest.raises(Overloaded, match="8 explanations"):
            await handlers.explain([item(1)], "f", "")
        booster.finish()
        await asyncio.gather(*tasks)
        await handlers.explain([item(1)], "f", "")
        return booster.rows

    assert explaining(main) == [1] * 9
