"""One Decide over gRPC for each mailing of campaigns 18 and 19, dry and as of the campaign's start."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

import grpc
import pandas as pd
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from tact.decision.v1 import decision_service_pb2 as pb
from tact.profile.v1 import profile_service_pb2 as profile_pb
from tact.scoring.v1 import scoring_service_pb2 as scoring_pb

from services.chassis.clients import GrpcStub, channel
from services.cli.demo.progress import bar
from services.cli.failure import Failure
from training.data.completejourney import CompleteJourney, micros

TEST_CAMPAIGNS = (18, 19)
IN_FLIGHT = 4
MOST_ACTIONS = 3
READY_SECONDS = 60.0
_GATEWAY = pb.DESCRIPTOR.services_by_name["DecisionService"]
_SCORING = scoring_pb.DESCRIPTOR.services_by_name["ScoringService"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The mailings, the answer to each, and how long each took."""

    mailings: pd.DataFrame
    answers: list[pb.DecideResponse]
    milliseconds: list[float]
    seconds: float


async def run(
    data: CompleteJourney, ports: Mapping[str, int], version: str | None, console: Console
) -> Decided:
    """Decide for every test mailing by the given model version, or by whichever is served."""
    mailings = data.mailings[data.mailings["campaign_id"].isin(TEST_CAMPAIGNS)].reset_index(drop=True)
    async with (
        channel(f"127.0.0.1:{ports['gateway']}", _GATEWAY) as to_gateway,
        channel(f"127.0.0.1:{ports['scoring']}", _SCORING) as to_scoring,
    ):
        await _served(GrpcStub(to_scoring, _SCORING, 5.0), version)
        gateway = GrpcStub(to_gateway, _GATEWAY, 10.0)
        answers: list[pb.DecideResponse | None] = [None] * len(mailings)
        milliseconds = [0.0] * len(mailings)
        free = asyncio.Semaphore(IN_FLIGHT)
        with bar(console) as progress:
            task = progress.add_task("Decisions", total=len(mailings))

            async def one(index: int, household: int, start: int) -> None:
                async with free:
                    started = time.perf_counter()
                    answers[index] = await gateway.Decide(_request(str(household), start))
                    milliseconds[index] = (time.perf_counter() - started) * 1000
                    progress.advance(task)

            started = time.perf_counter()
            pairs = zip(mailings["household_id"], micros(mailings["start"]), strict=True)
            async with asyncio.TaskGroup() as group:
                for index, (household, start) in enumerate(pairs):
                    group.create_task(one(index, household, start))
            seconds = time.perf_counter() - started
    return Decided(
        mailings=mailings,
        answers=[answer for answer in answers if answer is not None],
        milliseconds=milliseconds,
        seconds=seconds,
    )


def _request(household: str, start: int) -> pb.DecideRequest:
    return pb.DecideRequest(
        customer=profile_pb.CustomerKey(customer_id=household),
        max_actions=MOST_ACTIONS,
        mode=pb.DECISION_MODE_DRY_RUN,
        # The score of the campaign that was mailed is needed even where it is not among the best.
        include_explanation=True,
        decision_time=Timestamp(seconds=start // 1_000_000),
    )


async def _served(scoring: GrpcStub, version: str | None) -> None:
    found = "none"
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            found = (await scoring.GetModel(scoring_pb.GetModelRequest())).model_version
            if version in (None, found):
                return
        except grpc.aio.AioRpcError as error:
            found = str(error.details())
        await asyncio.sleep(0.2)
    raise Failure(f"scoring does not serve the model: {found}; tact demo --again trains anew")
