"""Customers are linked and unlinked from the command line, and decided for as one in between."""

import asyncio
import re

import pytest
import worlds
from deciding import request
from tact.profile.v1 import profile_service_pb2 as profile_pb
from worlds import CUSTOMERS, Processes

from services.cli.__main__ import main
from services.cli.customer.linking import key_of

ONE, TWO = CUSTOMERS[:2]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("customers")
    services = Processes(
        folder / "home",
        worlds.write_shop(folder / "shop"),
        worlds.register_model(folder),
        environ={"TACT_PROFILE_IDENTITY_LEASE_SECONDS": "0.2"},
    )
    with asyncio.Runner() as runner:

        async def start():
            await services.__aenter__()
            await worlds.populate(services.stubs["profile"], services.stubs["features"])

        runner.run(start())
        try:
            yield runner, services
        finally:
            runner.run(services.__aexit__())


def told(world, capsys, *arguments):
    _, services = world
    code = main(["customer", "--address", f"127.0.0.1:{services.port('profile')}", *arguments])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err


def read(world, customer_id):
    runner, services = world

    async def call():
        key = profile_pb.CustomerKey(customer_id=customer_id)
        asked = profile_pb.BatchGetProfilesRequest(customers=[key])
        return (await services.stubs["profile"].BatchGetProfiles(asked)).results[0].profile

    return runner.run(call())


def decided(world, customer_id):
    runner, services = world

    async def call():
        asked = request(customer_id, at=worlds.NOON, mode="DECISION_MODE_DRY_RUN", include_explanation=True)
        return await services.stubs["gateway"].Decide(asked)

    return runner.run(call())


def spending(answer):
    return {one.name: one.value for one in answer.explanation.features}["spend_30d"]


def test_two_are_one_until_they_are_unlinked(world, capsys):
    apart = [spending(decided(world, name)) for name in (ONE, TWO)]
    code, lines, _ = told(world, capsys, "link", ONE, f"card=card of {TWO}", "--id", "act-1")
    assert (code, lines) == (0, [f"{ONE}: {ONE}, {TWO}"])
    for name in (ONE, TWO):
        answer = decided(world, name)
        assert answer.customer_id == ONE
        assert spending(answer) == pytest.approx(sum(apart))
    code, lines, _ = told(world, capsys, "link", ONE, TWO, "--id", "act-1")
    assert (code, lines[1]) == (0, "nothing was changed: it is on file already")
    code, lines, _ = told(world, capsys, "unlink", TWO, "--source", "crm")
    assert (code, lines) == (0, [f"{ONE}: {ONE}", f"left: {TWO}"])
    assert [spending(decided(world, name)) for name in (ONE, TWO)] == apart
    code, lines, _ = told(world, capsys, "links", ONE)
    acts = [re.sub(r"^\S+Z  |  \S+$", "", line) for line in lines]
    assert acts == [
        f"{TWO} linked to {ONE}  by tact customer",
        f"{TWO} unlinked from {ONE}  by crm",
    ]


@pytest.mark.parametrize(
    ("text", "customer_id", "identity"),
    [
        ("anna", "anna", None),
        ("email=a=b", "", ("email", "a=b")),
        ("=email=a=b", "email=a=b", None),
        ("=YWJj==", "YWJj==", None),
    ],
)
def test_a_customer_is_named_by_an_id_or_an_identity(text, customer_id, identity):
    key = key_of(text)
    assert key.customer_id == customer_id
    assert ((key.identity.kind, key.identity.value) if key.HasField("identity") else None) == identity


@pytest.mark.parametrize("act", ["links", "consents"])
def test_where_nothing_is_on_file_that_is_said(act, world, capsys):
    assert told(world, capsys, act, "nobody") == (0, [], "nothing is on file\n")


def test_every_consent_is_told(world, capsys):
    _, lines, _ = told(world, capsys, "consents", CUSTOMERS[5])
    assert len(lines) == len(read(world, CUSTOMERS[5]).consents)
    assert all(re.search(r"Z  customer-5  \w+ on \w+: (granted|denied|withdrawn)", line) for line in lines)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["link", "nobody", ONE], "CUSTOMER_UNKNOWN"),
        (["link", ONE, ONE], "other: is the same customer"),
        (["link", ONE, "email=x"], "REQUEST_INVALID"),
        (["unlink", CUSTOMERS[7]], "NOT_LINKED"),
    ],
)
def test_what_cannot_be_linked_is_said(world, capsys, arguments, said):
    code, lines, error = told(world, capsys, *arguments)
    assert (code, lines) == (1, [])
    assert said in error
