"""``tact explain DECISION_ID``: asks a running gateway why it decided so, and tells the story."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
from typing import Final

import grpc
from google.protobuf.json_format import MessageToJson
from tact.decision.v1 import decision_service_pb2 as pb

from services.chassis.clients import GrpcStub, channel
from services.chassis.faults import error_info
from services.cli.addresses import address_of
from services.cli.failure import Failure
from services.cli.story import story
from services.gateway.settings import GatewaySettings

_SERVICE: Final = pb.DESCRIPTOR.services_by_name["DecisionService"]
_SECONDS: Final = 30.0
_WIDEST: Final = 110


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("decision_id", metavar="DECISION_ID", help="the id that the answer came with")
    parser.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="where the gateway listens; else as TACT_GATEWAY_HOST and TACT_GATEWAY_PORT say",
    )
    parser.add_argument(
        "--contributions", action="store_true", help="ask the model what each feature contributed, too"
    )
    parser.add_argument("--json", action="store_true", help="print the gateway's whole answer as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the story of one decision.

    Raises:
        Failure: no gateway answers there, or it knows no such decision or not its playbook.
    """
    address = arguments.address or address_of(GatewaySettings)
    told = asyncio.run(_ask(address, arguments.decision_id, arguments.contributions))
    if arguments.json:
        sys.stdout.write(MessageToJson(told, preserving_proto_field_name=True, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(story(told, min(shutil.get_terminal_size().columns, _WIDEST)))
    return 0


async def _ask(address: str, decision_id: str, contributions: bool) -> pb.ExplainDecisionResponse:
    request = pb.ExplainDecisionRequest(decision_id=decision_id, include_contributions=contributions)
    async with channel(address, _SERVICE, safe=["ExplainDecision"]) as opened:
        try:
            return await _explain(GrpcStub(opened, _SERVICE, _SECONDS), request)
        except grpc.aio.AioRpcError as error:
            raise Failure(_why(error, address, decision_id)) from None


async def _explain(gateway: GrpcStub, request: pb.ExplainDecisionRequest) -> pb.ExplainDecisionResponse:
    told: pb.ExplainDecisionResponse = await gateway.ExplainDecision(request)
    return told


def _why(error: grpc.aio.AioRpcError, address: str, decision_id: str) -> str:
    info = error_info(error)
    reason = error.code().name if info is None else info.reason
    if reason == "DECISION_UNKNOWN":
        return f"the gateway at {address} has no decision {decision_id} on record"
    if reason == "DECISION_ERASED":
        return f"the decision {decision_id} was erased with its customer"
    if reason == "PLAYBOOK_VERSION_UNKNOWN":
        return f"the gateway at {address} cannot make this decision again: {error.details()}"
    if reason == "REQUEST_INVALID":
        return str(error.details())
    if reason == "UNAVAILABLE":
        return (
            f"no gateway answers at {address}: start one with tact up, or say with --address where it listens"
        )
    return f"the gateway at {address} failed: {reason}: {error.details()}"
