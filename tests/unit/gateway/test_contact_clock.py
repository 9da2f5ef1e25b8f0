"""Contacts are counted by the gateway's clock, whatever time a caller names."""

import functools
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from deciding import FILES, NOW, Shop, chosen, instant
from decision_logs import Forgetful
from tact.decision.v1 import decision_service_pb2 as pb

from services.engine.features.feature_set import FeatureSet
from services.engine.playbook.loader import load
from services.gateway.domain.making import Edition

CAP = "caps: [{name: monthly, text: One a month., most: 1, window: 30d}]"
MONTH, SECOND = timedelta(days=30), timedelta(seconds=1)


@functools.cache
def edition():
    with tempfile.TemporaryDirectory() as folder:
        for name, text in FILES.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        (Path(folder) / "policies.yaml").write_text(CAP, encoding="utf-8")
        book = load(Path(folder))
    return Edition(book, FeatureSet(book))


@pytest.fixture
def shop():
    return Shop(log=Forgetful(), edition=edition())


def offered(shop, **fields):
    return chosen(shop.decide(action_ids=["survey"], **fields))


def deliver(shop, at):
    """Report that what is decided now was delivered."""
    answer = shop.decide(action_ids=["survey"])
    outcome = pb.Outcome(
        outcome_id="o-1",
        decision_id=answer.decision_id,
        rank=1,
        kind=pb.OUTCOME_KIND_DELIVERED,
        outcome_time=instant(at),
    )
    (result,) = shop.record(outcome)
    assert not result.accepted.duplicate


@pytest.mark.parametrize(
    ("own", "named", "is_free"),
    [(-2 * SECOND, 5 * SECOND, False), (0 * SECOND, 5 * SECOND, False), (2 * SECOND, -5 * SECOND, True)],
    ids=["ahead", "at the edge", "behind"],
)
def test_a_caller_with_another_clock_moves_no_window(shop, own, named, is_free):
    deliver(shop, NOW)
    shop.now = NOW + MONTH + own
    assert bool(offered(shop, at=shop.now + named)) is is_free


def test_a_caller_that_is_ahead_does_not_end_a_reservation(shop):
    assert offered(shop)
    shop.now = NOW + timedelta(days=1) - SECOND
    assert not offered(shop, at=shop.now + 5 * SECOND)
    shop.now += SECOND
    assert offered(shop)


def test_a_delivery_does_not_lie_before_its_decision(shop):
    deliver(shop, NOW - MONTH - SECOND)
    assert not offered(shop)


def test_a_dry_run_counts_by_its_own_time(shop):
    deliver(shop, NOW)
    times = [NOW, NOW + SECOND, NOW + MONTH, NOW + MONTH + SECOND]
    assert [bool(offered(shop, at=at, mode=pb.DECISION_MODE_DRY_RUN)) for at in times] == [
        True,
        False,
        False,
        True,
    ]
