import asyncio
import itertools

import pytest
from prometheus_client import CollectorRegistry

from services.engine.moments import Moment
from services.engine.playbook.loader import load, shipped
from services.engine.violations import Invalid, InvalidRequest
from services.profile.domain.consents import IncomingConsent, Recorded, State
from services.profile.domain.identities import Identity
from services.profile.domain.updates import IncomingUpdate, Taken
from services.profile.fakes import InMemoryProfiles
from services.profile.handlers import Answer, ProfileHandlers
from services.profile.metrics import ProfileMetrics

NOW = 1_510_000_000_000_000
CARD = Identity("loyalty_card", "4711")


@pytest.fixture(scope="module")
def playbook():
    return load(shipped("retail"))


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def handlers(playbook, registry):
    return ProfileHandlers(InMemoryProfiles(), playbook, lambda: NOW, ProfileMetrics(registry))


def update(customer_id="c1", *, identities=(), record_time=None, **attributes):
    return IncomingUpdate(
        customer_id=customer_id,
        attributes=attributes,
        identities=tuple(identities),
        record_time=record_time,
        source="",
    )


def consent(receipt_id="r1", customer_id="c1", **changes):
    fields = {
        "purpose": "marketing",
        "channel": "mail",
        "state": State.GRANTED,
        "record_time": None,
        "expire_time": None,
        "source": "",
    }
    return IncomingConsent(receipt_id=receipt_id, customer_id=customer_id, **{**fields, **changes})


def counted(registry, name):
    return {
        sample.labels["result"]: sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == f"{name}_total" and sample.value
    }


def test_updates_are_answered_in_order_and_counted(handlers, registry):
    answers = asyncio.run(
        handlers.upsert(
            [
                update("c1", identities=[CARD], age_band="25-34"),
                update("c2", age_bnd="25-34"),
                update("c2", identities=[CARD], age_band="25-34"),
                update("c3"),
            ]
        )
    )
    assert [answers[0], *answers[2:]] == [Answer.APPLIED, Taken((0,)), Answer.APPLIED]
    assert isinstance(answers[1], Invalid)
    assert counted(registry, "tact_profile_updates") == {"applied": 2, "invalid": 1, "identity_taken": 1}


def test_reading_by_id_and_by_identity_finds_the_same(handlers, registry):
    async def main():
        await handlers.upsert([update(identities=[CARD], age_band="25-34")])
        keys = ["c1", CARD, "c2", Identity("loyalty_card", "none"), Identity("loyalty", "x"), None, ""]
        return await handlers.read(keys, None)

    by_id, by_identity, *unknown, bad_kind, no_key, empty = asyncio.run(main())
    assert by_id == by_identity
    assert by_id.attributes["age_band"].value == "25-34"
    assert unknown == [Answer.UNKNOWN] * 2
    assert bad_kind.violations[0].field == "identity.kind"
    assert no_key.violations[0].field == "key"
    assert empty.violations[0].field == "customer_id"
    assert counted(registry, "tact_profile_reads") == {"found": 2, "unknown": 2, "invalid": 3}


def test_identities_are_resolved_in_order(handlers):
    async def main():
        await handlers.upsert([update(identities=[CARD])])
        return await handlers.resolve([Identity("loyalty_card", "none"), CARD, Identity("card", "x")])

    unknown, found, invalid = asyncio.run(main())
    assert (unknown, found) == (Answer.UNKNOWN, "c1")
    assert invalid.violations[0].field == "kind"


def test_consents_are_answered_in_order_and_counted(handlers, registry):
    async def main():
        await handlers.upsert([update()])
        return await handlers.record(
            [
                consent(),
                consent(),
                consent(state=State.DENIED),
                consent("r2", "nobody"),
                consent("r3", purpose="spam"),
            ]
        )

    *answers, invalid = asyncio.run(main())
    assert answers == [Recorded.NEW, Recorded.DUPLICATE, Recorded.REUSED, Recorded.CUSTOMER_UNKNOWN]
    assert isinstance(invalid, Invalid)
    assert counted(registry, "tact_profile_consents") == {
        "recorded": 1,
        "duplicate": 1,
        "reused": 1,
        "customer_unknown": 1,
        "invalid": 1,
    }


def test_an_absurd_time_refuses_the_whole_read(handlers):
    with pytest.raises(InvalidRequest) as refused:
        asyncio.run(handlers.read(["c1"], Moment(-1, 0)))
    assert refused.value.violations == (("as_of_time", "must not lie before 1970"),)


def test_others_run_while_a_large_batch_is_checked(handlers):
    async def main():
        turns = itertools.count()

        async def other():
            while True:
                next(turns)
                await asyncio.sleep(0)

        running = asyncio.create_task(other())
        await handlers.upsert(update(str(number)) for number in range(1_000))
        running.cancel()
        return next(turns)

    assert asyncio.run(main()) >= 10
