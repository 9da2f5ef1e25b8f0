import asyncio

import pytest
from prometheus_client import CollectorRegistry
from tact.scoring.v1 import scoring_service_pb2

from services.chassis.faults import Fault
from services.chassis.rpc import Call, Service

SCORING = scoring_service_pb2.DESCRIPTOR.services_by_name["ScoringService"]
REQUEST = scoring_service_pb2.GetModelRequest()


class Scoring:
    def __init__(self, get_model):
        self.GetModel = get_model

    async def BatchScore(self, request, call):
        raise NotImplementedError

    async def ExplainScores(self, request, call):
        raise NotImplementedError


def endpoint(get_model):
    service = Service(
        name="scoring", descriptor=SCORING, servicer=Scoring(get_model), registry=CollectorRegistry()
    )
    return service.endpoints["GetModel"], service.registry


def handled(registry, code):
    labels = {"grpc_service": SCORING.full_name, "grpc_method": "GetModel", "grpc_code": code}
    return registry.get_sample_value("grpc_server_handled_total", labels)


def test_a_call_whose_deadline_has_passed_is_refused_without_running_the_method():
    async def get_model(request, call):
        pytest.fail("the method ran")

    called, registry = endpoint(get_model)
    with pytest.raises(Fault) as refused:
        asyncio.run(called(REQUEST, Call(remaining=lambda: 0.0)))
    assert refused.value.reason_name == "DEADLINE_EXCEEDED"
    assert handled(registry, "DEADLINE_EXCEEDED") == 1


@pytest.mark.parametrize(("remaining", "reason"), [(0.0, "DEADLINE_EXCEEDED"), (9.0, "INTERNAL")])
def test_a_timeout_inside_the_method_is_the_deadline_only_when_that_has_passed(remaining, reason):
    left = iter([9.0, remaining])

    async def get_model(request, call):
        raise TimeoutError

    called, _ = endpoint(get_model)
    with pytest.raises(Fault) as failed:
        asyncio.run(called(REQUEST, Call(remaining=lambda: next(left))))
    assert failed.value.reason_name == reason


def test_outcomes_are_zero_before_the_first_call():
    _, registry = endpoint(Scoring.BatchScore)
    assert handled(registry, "OK") == 0


def test_a_servicer_that_lacks_an_rpc_is_refused():
    with pytest.raises(TypeError, match=r"object does not implement tact\.scoring\.v1\.ScoringService"):
        Service(name="scoring", descriptor=SCORING, servicer=object(), registry=CollectorRegistry())
