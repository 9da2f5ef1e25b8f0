"""What is left of a customer who was erased, to whoever asks for it."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from deciding import ANNA, DOWN, Shop, chosen, codes, degradations, instant, served_by
from tact.decision.v1 import decision_service_pb2 as pb
from tact.errors.v1 import errors_pb2
from test_linked_customers import ONE, Changing

from services.chassis.faults import Fault
from services.chassis.rpc import Call
from services.gateway.domain.knowledge import Profile
from services.gateway.ports import NotLogged

DRY = "DECISION_MODE_DRY_RUN"
MODES = ["DECISION_MODE_LIVE", DRY]
NOBODY = Profile(found=False)


def refused(call, *arguments, **options):
    """Return code and reason of a call that is refused."""
    with pytest.raises(Fault) as refusal:
        call(*arguments, **options)
    return refusal.value.code.name, refusal.value.reason_name


def claim(shop, decision_id):
    asked = pb.ClaimDeliveryRequest(decision_id=decision_id, rank=1)
    return asyncio.run(shop.servicer.ClaimDelivery(asked, Call()))


@pytest.mark.parametrize("mode", MODES)
def test_an_erased_decision_is_said_to_be_erased(mode):
    shop = Shop()
    answer = shop.decide(request_id="a", mode=mode)
    table = "decisions" if mode != DRY else "dry_run_decisions"
    assert shop.erase(ANNA)[table] == 1
    assert refused(shop.explain, answer.decision_id) == ("NOT_FOUND", "DECISION_ERASED")
    assert refused(shop.replay, answer.decision_id) == ("NOT_FOUND", "DECISION_ERASED")
    assert refused(claim, shop, answer.decision_id) == ("NOT_FOUND", "DECISION_ERASED")
    assert refused(shop.decide, request_id="a", mode=mode) == ("FAILED_PRECONDITION", "REQUEST_ID_EXPIRED")
    assert refused(shop.explain, "never-made") == ("NOT_FOUND", "DECISION_UNKNOWN")
    assert chosen(shop.decide(request_id="b", mode=mode))


def test_nobody_decides_twice_under_one_id_where_the_log_could_not_be_read_first():
    shop = Shop()
    shop.decide(request_id="a")
    shop.erase(ANNA)
    find, calls = shop.log.find, []

    async def failing_first(decision_id, live):
        calls.append(decision_id)
        if len(calls) == 1:
            raise NotLogged("locked")
        return await find(decision_id, live)

    shop.log.find = failing_first
    assert refused(shop.decide, request_id="a") == ("FAILED_PRECONDITION", "REQUEST_ID_EXPIRED")
    assert shop.log.entries == {}


def test_outcomes_of_an_erased_decision_are_refused_one_by_one():
    shop = Shop()
    gone, other = shop.decide(), shop.decide(customer_id="somebody")
    shop.erase(ANNA)
    told = [
        pb.Outcome(
            outcome_id=name, decision_id=answer.decision_id, rank=1, kind=1, outcome_time=instant(shop.now)
        )
        for name, answer in (("o-1", gone), ("o-2", other))
    ]
    first, second = shop.record(*told)
    assert (first.error.code, first.error.reason) == (5, errors_pb2.ERROR_REASON_DECISION_ERASED)
    assert second.error.reason == errors_pb2.ERROR_REASON_DECISION_UNKNOWN
    assert shop.verdicts == [("erased", "DELIVERED"), ("unknown", "DELIVERED")]
    assert shop.log.outcomes == {}


@pytest.mark.parametrize("ids", [[], [""], ["a" * 129], ["a\0b"], ["a"] * 1_001], ids=len)
def test_ids_that_are_none_are_refused(ids):
    shop = Shop()
    assert refused(shop.erase, *ids) == ("INVALID_ARGUMENT", "REQUEST_INVALID")
    asked = pb.ExportCustomerRequest(customer_ids=ids)
    assert refused(asyncio.run, shop.servicer.ExportCustomer(asked, Call())) == (
        "INVALID_ARGUMENT",
        "REQUEST_INVALID",
    )


def test_a_log_that_fails_erases_nothing_and_says_so():
    shop = Shop()
    shop.decide()
    shop.log.failure = NotLogged("locked")
    assert refused(shop.erase, ANNA) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
    asked = pb.ExportCustomerRequest(customer_ids=[ANNA])
    assert refused(asyncio.run, shop.servicer.ExportCustomer(asked, Call())) == (
        "UNAVAILABLE",
        "STORE_UNAVAILABLE",
    )
    shop.log.failure, shop.log.queued = None, shop.log.queue_limit
    assert refused(shop.erase, ANNA) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
    shop.log.queued = 0
    assert shop.erase(ANNA) == {"decisions": 1}


def test_what_is_on_record_comes_out_page_by_page_and_a_wrong_token_is_refused():
    shop = Shop()
    answer = shop.decide()
    asked = pb.ExportCustomerRequest(customer_ids=[ANNA])
    page = asyncio.run(shop.servicer.ExportCustomer(asked, Call()))
    assert [row.table for row in page.rows] == ["decisions"]
    assert answer.decision_id in page.rows[0].row
    assert page.next_page_token == ""
    asked.page_token = "elsewhere"  # noqa: S105 - no password
    assert refused(asyncio.run, shop.servicer.ExportCustomer(asked, Call())) == (
        "INVALID_ARGUMENT",
        "REQUEST_INVALID",
    )


def test_last_good_features_of_who_was_erased_are_forgotten():
    shop = Shop()
    shop.decide()
    shop.profiles.failure = shop.features.failure = DOWN
    assert served_by(shop.decide()) == "LAST_GOOD_FEATURES"
    shop.erase(ANNA)
    assert served_by(shop.decide()) == "PRIORS"


def test_last_good_features_of_who_is_not_on_file_any_more_are_forgotten():
    """So does a gateway beside the one that erased."""
    shop = Shop()
    shop.decide()
    gone = shop.profiles.profiles.pop(ANNA)
    assert codes(shop.decide()) == ["UNKNOWN_CUSTOMER"]
    shop.profiles.profiles[ANNA] = gone
    shop.features.failure = DOWN
    answer = shop.decide()
    assert served_by(answer) == "PRIORS"
    assert degradations(answer) == [("FEATURES", "UNAVAILABLE")]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("lease", [0.0, 60.0])
def test_a_decision_under_way_writes_nothing_of_who_is_erased_meanwhile(mode, lease):
    """Profile acknowledges an erasure once its leases are over; then the gateway erases.

    What was read before is written in time, and goes with the rest, or not at all.
    """
    shop = Shop(profiles=Changing(answers=[replace(ONE, lease=lease), NOBODY]))
    append = shop.log.append
    erased = []

    async def overtaken(entry):
        if not erased and lease == 0.0:
            # The lease ended while the decision was made.
            erased.append(await shop.log.erase([ANNA], lambda: shop.now))
        return await append(entry)

    shop.log.append = overtaken
    answer = shop.decide(mode=mode)
    if lease:
        assert chosen(answer)
        assert sum(shop.erase(ANNA).values()) == 1
        assert shop.log.entries == {}
        return
    assert codes(answer) == ["UNKNOWN_CUSTOMER"]
    (entry,) = shop.log.entries.values()
    record = shop.logged(answer, live=mode != DRY)
    assert not record.HasField("profile")
    assert not record.feature_vector
    assert entry.record_time - shop.now == timedelta()
