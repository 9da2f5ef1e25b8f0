import asyncio

import grpc
import grpc.aio
import pytest
from tact.scoring.v1 import scoring_service_pb2

from services.chassis.clients import channel, retry_config
from services.chassis.faults import error_info

SCORING = scoring_service_pb2.DESCRIPTOR.services_by_name["ScoringService"]


def test_only_named_rpcs_are_retried_and_only_when_out_of_reach():
    (method,) = retry_config(SCORING, ["GetModel"], 4)["methodConfig"]
    assert method["name"] == [{"service": "tact.scoring.v1.ScoringService", "method": "GetModel"}]
    assert method["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE", "CANCELLED"]
    assert method["retryPolicy"]["maxAttempts"] == 4


@pytest.mark.parametrize(("safe", "attempts"), [([], 3), (["GetModel"], 1)])
def test_nothing_is_retried_unless_asked_for(safe, attempts):
    assert retry_config(SCORING, safe, attempts) == {}


def test_a_misspelt_rpc_is_refused():
    async def open_channel():
        channel("127.0.0.1:1", SCORING, safe=["GetModle"])

    with pytest.raises(ValueError, match=r"tact\.scoring\.v1\.ScoringService has no RPC GetModle"):
        asyncio.run(open_channel())


def test_an_error_that_no_service_made_has_no_error_info():
    error = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, None, None, "connection refused")
    assert error_info(error) is None
