"""``tact explain`` asks a running gateway, which tells the story and leaves its store as it was."""

import asyncio
import contextlib
import dataclasses
import json
import os
import socket
import sqlite3
import sys

import pytest
import remote
from deciding import NOW, instant, playbook, request
from google.protobuf.json_format import Parse
from tact.decision.v1 import decision_service_pb2 as pb

from services.chassis.clients import GrpcStub, channel
from services.chassis.server import serving
from services.gateway.app import open_service
from services.gateway.settings import GatewaySettings

SERVICE = pb.DESCRIPTOR.services_by_name["DecisionService"]
PATIENCE_SECONDS = 60.0


@contextlib.asynccontextmanager
async def gateway(folder, book=None):
    """Serve on a free port; yields the address and a stub."""
    settings = GatewaySettings(TACT_HOME=folder, port=0, metrics_port=0)
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        open_service(settings, book or playbook(), remote.stubs()) as service,
        serving(service, settings.listener) as ports,
        channel(address := f"127.0.0.1:{ports.port}", SERVICE) as opened,
    ):
        yield address, GrpcStub(opened, SERVICE, PATIENCE_SECONDS)


async def tact(*arguments, **environ):
    """Run the command; return its exit code and what it wrote on both streams."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TACT_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.cli",
        "explain",
        *arguments,
        env=kept | {"COLUMNS": "100"} | environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
def decided(tmp_path):
    """Run ``exercise(address, answer, stub)`` beside a gateway that has decided once."""

    def run(exercise):
        async def main():
            async with gateway(tmp_path) as (address, stub):
                answer = await stub.Decide(request(request_id="a-1"))
                await exercise(address, answer, stub)

        asyncio.run(main())

    return run


def test_a_story_is_printed(decided):
    async def exercise(address, answer, stub):
        outcome = pb.Outcome(
            outcome_id="o-1",
            decision_id=answer.decision_id,
            rank=1,
            kind="OUTCOME_KIND_VIEWED",
            outcome_time=instant(NOW),
            measures={"effort": 2.5},
        )
        await stub.RecordOutcomes(pb.RecordOutcomesRequest(outcomes=[outcome]))
        code, out, err = await tact(answer.decision_id, "--address", address)
        assert (code, err) == (0, "")
        assert out.startswith(f"Decision {answer.decision_id}, live\n")
        first = answer.actions[0]
        assert f"  1. {first.action_id}/{first.treatment_id} by {first.channel}" in out
        assert "effort 2.5" in out
        assert "Contributions" not in out

    decided(exercise)


def test_the_environment_tells_where_the_gateway_is(decided):
    async def exercise(address, answer, stub):
        host, port = address.split(":")
        code, out, _ = await tact(answer.decision_id, TACT_GATEWAY_HOST=host, TACT_GATEWAY_PORT=port)
        assert code == 0
        assert answer.decision_id in out

    decided(exercise)


def test_contributions_are_printed_where_they_are_asked_for(decided):
    async def exercise(address, answer, stub):
        code, out, _ = await tact(answer.decision_id, "--contributions", "--address", address)
        assert code == 0
        assert "\n    +1.0000 bias\n" in out

    decided(exercise)


def test_the_whole_answer_is_printed_as_json(decided):
    async def exercise(address, answer, stub):
        code, out, _ = await tact(answer.decision_id, "--json", "--address", address)
        asked = pb.ExplainDecisionRequest(decision_id=answer.decision_id)
        assert code == 0
        assert Parse(out, pb.ExplainDecisionResponse()) == await stub.ExplainDecision(asked)
        assert json.loads(out)["response"]["decision_id"] == answer.decision_id

    decided(exercise)


def test_explaining_writes_nothing(decided, tmp_path):
    async def exercise(address, answer, stub):
        with contextlib.closing(sqlite3.connect(tmp_path / "gateway.sqlite")) as watching:
            (before,) = watching.execute("PRAGMA data_version").fetchone()
            for with_contributions in (False, True):
                asked = pb.ExplainDecisionRequest(
                    decision_id=answer.decision_id, include_contributions=with_contributions
                )
                told = await stub.ExplainDecision(asked)
                assert told.response.explanation.candidates
                assert bool(told.contributions) is with_contributions
            (after,) = watching.execute("PRAGMA data_version").fetchone()
            assert after == before
            await stub.Decide(request(request_id="a-2"))
            (later,) = watching.execute("PRAGMA data_version").fetchone()
            assert later != before

    decided(exercise)


def test_an_unknown_decision_is_said_to_be_unknown(decided):
    async def exercise(address, answer, stub):
        code, out, err = await tact("no-such-id", "--address", address)
        assert (code, out) == (1, "")
        assert err == f"tact explain: the gateway at {address} has no decision no-such-id on record\n"

    decided(exercise)


def test_what_is_no_id_is_said_to_be_none(decided):
    async def exercise(address, answer, stub):
        code, _, err = await tact("", "--address", address)
        assert (code, err) == (1, "tact explain: decision_id: must have 1 to 128 characters\n")

    decided(exercise)


def test_where_no_gateway_listens_it_says_what_to_do():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, out, err = asyncio.run(tact("d-1", "--address", address))
    assert (code, out) == (1, "")
    assert err == (
        f"tact explain: no gateway answers at {address}: start one with tact up, "
        "or say with --address where it listens\n"
    )


def test_a_port_that_the_system_chose_has_to_be_said():
    code, _, err = asyncio.run(tact("d-1", TACT_GATEWAY_PORT="0"))
    assert code == 1
    assert err == "tact explain: TACT_GATEWAY_PORT is 0: say with --address where gateway listens\n"


def test_a_playbook_that_is_gone_is_named(tmp_path):
    async def main():
        async with gateway(tmp_path) as (_, stub):
            answer = await stub.Decide(request(request_id="a-1"))
        newer = dataclasses.replace(playbook(), version="newer")
        async with gateway(tmp_path, newer) as (address, _):
            return answer, address, await tact(answer.decision_id, "--address", address)

    answer, address, (code, out, err) = asyncio.run(main())
    assert (code, out) == (1, "")
    assert err == (
        f"tact explain: the gateway at {address} cannot make this decision again: "
        f"playbook version {answer.playbook_version} is not held\n"
    )
