import asyncio

import pytest

from services.chassis.deadline import answering, no_deadline, patience


@pytest.mark.parametrize(("remaining", "expected"), [(1.0, 0.8), (0.05, 0.04), (0.0, 0.0), (-1.0, 0.0)])
def test_a_wait_leaves_time_for_the_answer(remaining, expected):
    with answering(lambda: remaining):
        assert patience() == pytest.approx(expected)


def test_what_has_no_deadline_may_wait():
    assert patience() is None
    with answering(no_deadline):
        assert patience() is None


def test_a_call_within_a_call_has_its_own_deadline():
    with answering(lambda: 1.0):
        with answering(lambda: 0.5):
            assert patience() == pytest.approx(0.4)
        assert patience() == pytest.approx(0.8)


def test_concurrent_calls_have_their_own_deadlines():
    async def wait(remaining):
        with answering(lambda: remaining):
            await asyncio.sleep(0)
            return patience()

    async def main():
        return await asyncio.gather(*map(wait, (1.0, 2.0, None)))

    assert asyncio.run(main()) == [pytest.approx(0.8), pytest.approx(1.6), None]
