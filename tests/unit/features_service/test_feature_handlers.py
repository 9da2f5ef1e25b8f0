import asyncio
import itertools
from dataclasses import replace

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from services.engine.features.feature_set import FeatureSet
from services.engine.moments import Moment
from services.engine.playbook.loader import load, shipped
from services.engine.violations import Invalid, InvalidRequest
from services.features.domain.events import IncomingEvent
from services.features.domain.placement import Placed, Reused
from services.features.fakes import InMemoryEvents, NoState
from services.features.handlers import (
    Edition,
    FeatureHandlers,
    Key,
    PlaybookVersionUnknown,
    SequenceNotReached,
)
from services.features.metrics import FeatureMetrics
from tests.playbooks import load_playbook

NOW = 1_510_000_000_000_000


@pytest.fixture(scope="module")
def playbook():
    return load(shipped("retail"))


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def handlers(playbook, registry):
    return FeatureHandlers(InMemoryEvents(), NoState(), playbook, lambda: NOW, FeatureMetrics(registry))


def purchase(event_id, *, seconds_ago=60, customer_id="c1", **attributes):
    return IncomingEvent(
        event_id=event_id,
        customer_id=customer_id,
        type="purchase",
        event_time=Moment(NOW // 1_000_000 - seconds_ago, 0),
        attributes=attributes,
    )


def key(customer_id="c1", as_of_time=None, action_ids=()):
    return Key(customer_id=customer_id, as_of_time=as_of_time, action_ids=action_ids)


async def value_of(handlers, name, asked=None):
    (vectors,), _ = await handlers.vectors([asked or key()], handlers.current.playbook.version, 0)
    return vectors.customer[handlers.current.features.customer_names.index(name)]


def test_answers_come_in_order_and_are_counted(handlers, registry):
    async def main():
        return await handlers.ingest(
            [
                purchase("a", amount=1.0),
                purchase("b", amont=1.0),
                purchase("a", amount=1.0),
                purchase("a", amount=2.0),
                purchase("c"),
            ]
        )

    answers, newest = asyncio.run(main())
    assert [answers[0], *answers[2:]] == [
        Placed(1, duplicate=False),
        Placed(1, duplicate=True),
        Reused(),
        Placed(2, duplicate=False),
    ]
    assert isinstance(answers[1], Invalid)
    assert newest == 2
    counted = {
        result: registry.get_sample_value("tact_features_events_total", {"result": result})
        for result in ("stored", "duplicate", "reused", "invalid")
    }
    assert counted == {"stored": 2, "duplicate": 1, "reused": 1, "invalid": 1}
    assert registry.get_sample_value("tact_features_sequence") == 2


def test_others_run_while_a_large_batch_is_checked(handlers):
    async def main():
        turns = itertools.count()

        async def other():
            while True:
                next(turns)
                await asyncio.sleep(0)

        running = asyncio.create_task(other())
        await handlers.ingest(purchase(str(number)) for number in range(1_000))
        running.cancel()
        return next(turns)

    assert asyncio.run(main()) >= 10


def test_without_a_time_features_are_as_of_now(handlers):
    async def main():
        await handlers.ingest([purchase("past", amount=1.0), purchase("now", seconds_ago=0, amount=2.0)])
        return await value_of(handlers, "spend_28d")

    assert asyncio.run(main()) == 1.0


def test_an_unknown_customer_has_zero_counts_and_missing_rest(handlers):
    async def main():
        names = ("mailings_365d", "spend_28d", "purchase_recency", "last_department_spend")
        return [await value_of(handlers, name, key("nobody")) for name in names]

    np.testing.assert_array_equal(asyncio.run(main()), [0.0, 0.0, np.nan, np.nan])


def test_vectors_have_the_declared_shape_and_the_sequence(handlers):
    async def main():
        await handlers.ingest([purchase("a", department="MEAT", amount=1.0)])
        actions = ("campaign-18", "campaign-19", "campaign-18")
        return await handlers.vectors([key(action_ids=actions)], handlers.current.playbook.version, 1)

    (vectors,), fingerprint = asyncio.run(main())
    features = handlers.current.features
    assert fingerprint == features.served_fingerprint
    assert vectors.customer.shape == vectors.ages.shape == (len(features.customer_names),)
    assert vectors.candidates.shape == (3, len(features.candidate_names))
    np.testing.assert_array_equal(vectors.candidates[0], vectors.candidates[2])
    assert vectors.ages[features.customer_names.index("purchase_recency")] == 60.0
    assert np.isnan(vectors.ages[features.customer_names.index("mailings_365d")])
    assert vectors.as_of_sequence == 1


def test_a_bad_key_does_not_fail_the_others(handlers):
    async def main():
        keys = [
            key(action_ids=("campaign-1", "campaing-2")),
            key(customer_id="", as_of_time=Moment(-1, 0)),
            key(),
        ]
        return await handlers.vectors(keys, handlers.current.playbook.version, 0)

    (unknown_action, empty, good), _ = asyncio.run(main())
    assert unknown_action == Invalid((("action_ids[1]", 'not in the playbook; did you mean "campaign-2"?'),))
    assert [violation.field for violation in empty.violations] == ["customer_id", "as_of_time"]
    assert not isinstance(good, Invalid)


def test_a_sequence_beyond_the_store_is_not_reached(handlers):
    async def main():
        await handlers.ingest([purchase("a")])
        await handlers.vectors([key()], handlers.current.playbook.version, 1)
        await handlers.vectors([key()], handlers.current.playbook.version, 2)

    with pytest.raises(SequenceNotReached, match="sequence 2 is not reached, the store is at 1"):
        asyncio.run(main())


def test_another_playbook_version_is_refused_naming_the_held_one(handlers):
    with pytest.raises(PlaybookVersionUnknown, match=f"held: {handlers.current.playbook.version}"):
        asyncio.run(handlers.vectors([key()], "other", 0))


def test_a_request_without_version_and_with_a_negative_sequence_lists_both(handlers):
    with pytest.raises(InvalidRequest) as refused:
        asyncio.run(handlers.vectors([key()], "", -1))
    assert [violation.field for violation in refused.value.violations] == ["playbook_version", "min_sequence"]


def test_warming_up_shows_the_sequence(handlers, registry):
    async def main():
        await handlers.ingest([purchase("a")])
        await handlers.warm_up()

    asyncio.run(main())
    assert registry.get_sample_value("tact_features_sequence") == 1


@pytest.fixture
def versions(tmp_path):
    """Return four playbooks, each with one more feature than the one before."""
    changes, found = [], []
    for number in range(4):
        changes.append(("features", "features", f"orders_{number + 1}d", orders(days=number + 1)))
        found.append(load_playbook(tmp_path / str(number), *changes))
    return found


def orders(days):
    return {"kind": "count", "event": "order", "window": f"{days}d"}


def order(event_id):
    return replace(purchase(event_id), type="order")


def test_the_last_three_versions_are_answered_each_in_its_own_layout(versions, registry):
    handlers = FeatureHandlers(
        InMemoryEvents(), NoState(), versions[0], lambda: NOW, FeatureMetrics(registry)
    )

    async def main():
        await handlers.ingest([order("a")])
        for playbook in versions[1:]:
            await handlers.take(playbook)
        return [await handlers.vectors([key()], playbook.version, 1) for playbook in versions[1:]]

    answers = asyncio.run(main())
    for playbook, ((vectors,), fingerprint) in zip(versions[1:], answers, strict=True):
        features = FeatureSet(playbook)
        assert fingerprint == features.served_fingerprint
        numbers = dict(zip(features.customer_names, vectors.customer, strict=True))
        assert numbers["orders_2d"] == 1
    held = ", ".join(playbook.version for playbook in reversed(versions[1:]))
    with pytest.raises(PlaybookVersionUnknown, match=f"held: {held}$"):
        asyncio.run(handlers.vectors([key()], versions[0].version, 0))
    assert handlers.current.playbook is versions[3]
    shown = {"name": "shop", "version": versions[3].version[:12]}
    assert registry.get_sample_value("tact_playbook", shown) == 1


def test_events_are_checked_by_one_playbook_throughout_a_call(versions, tmp_path, registry):
    without = load_playbook(
        tmp_path / "without",
        ("events", "events", "order", "attributes", "shop", ...),
        ("features", "features", "shops", ...),
    )
    handlers = FeatureHandlers(
        InMemoryEvents(), NoState(), versions[0], lambda: NOW, FeatureMetrics(registry)
    )

    async def main():
        def swapping():
            for number in range(400):
                yield replace(order(str(number)), attributes={"shop": "east"})
                if number == 150:
                    handlers._editions.take(without.version, Edition(without, FeatureSet(without)))

        return await handlers.ingest(swapping()), await handlers.ingest([order("last"), *swapping()][:2])

    (first, _), (second, _) = asyncio.run(main())
    assert not any(isinstance(answer, Invalid) for answer in first)
    assert isinstance(second[1], Invalid)


def test_a_read_works_by_one_playbook_throughout(versions, registry):
    handlers = FeatureHandlers(
        InMemoryEvents(), NoState(), versions[0], lambda: NOW, FeatureMetrics(registry)
    )

    async def main():
        reading = asyncio.create_task(handlers.vectors([key()] * 200, versions[0].version, 0))
        await asyncio.sleep(0)
        for playbook in versions[1:]:
            handlers._editions.take(playbook.version, Edition(playbook, FeatureSet(playbook)))
        return await reading

    answers, fingerprint = asyncio.run(main())
    features = FeatureSet(versions[0])
    assert fingerprint == features.served_fingerprint
    assert {len(vectors.customer) for vectors in answers} == {len(features.customer_names)}


def test_what_cannot_be_computed_is_not_taken(handlers, versions, monkeypatch):
    def fail(*arguments):
        raise ArithmeticError

    monkeypatch.setattr(FeatureSet, "customer_vector", fail)
    with pytest.raises(ArithmeticError):
        asyncio.run(handlers.take(versions[0]))
    assert handlers.current.playbook.head.name == "retail"


def test_a_version_that_is_let_go_of_amid_a_read_is_read_whole(versions, registry):
    """The read began while its version was the oldest of three; another is taken while the store is asked."""

    class Slow(InMemoryEvents):
        async def newest(self):
            if self.taking is not None:
                taking, self.taking = self.taking, None
                await taking
            return await super().newest()

    store = Slow()
    store.taking = None
    handlers = FeatureHandlers(store, NoState(), versions[3], lambda: NOW, FeatureMetrics(registry))

    async def main():
        await handlers.ingest([order("a")])
        for playbook in versions[1:3]:
            await handlers.take(playbook)
        store.taking = handlers.take(versions[0])
        (vectors,), _ = await handlers.vectors([key()], versions[3].version, 1)
        return dict(zip(FeatureSet(versions[3]).customer_names, vectors.customer, strict=True))

    assert asyncio.run(main())["orders_4d"] == 1
