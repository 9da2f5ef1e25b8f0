"""Says who is one customer, and tells what is on file about that and about consents."""

from __future__ import annotations

import argparse
import asyncio
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final

import grpc
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from tact.profile.v1 import profile_service_pb2 as pb

from services.chassis.clients import GrpcStub, channel
from services.chassis.faults import error_info
from services.cli.addresses import address_of
from services.cli.failure import Failure
from services.profile.settings import ProfileSettings

_SERVICE: Final = pb.DESCRIPTOR.services_by_name["ProfileService"]
# A link is acknowledged once nobody acts any more on who was one before: at most a minute.
_SECONDS: Final = 90.0
SOURCE: Final = "tact customer"
NAMING: Final = "an id, an identity as kind=value, or =ID where the id has = in it"


def configure(acts: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the acts."""
    link = acts.add_parser("link", help="say that two customers are one")
    link.add_argument("customer", metavar="CUSTOMER", help=f"who stays: {NAMING}")
    link.add_argument("other", metavar="OTHER", help="who becomes a member of it, likewise")
    unlink = acts.add_parser("unlink", help="take a member out of the customer that it was linked to")
    unlink.add_argument("other", metavar="MEMBER", help="the id of the member")
    for act in (link, unlink):
        act.add_argument(
            "--id", help="of this act: a repeat under the same one changes nothing; else a new one"
        )
        act.add_argument("--source", default=SOURCE, help="who found out")
    for name, text in (
        ("links", "who was linked and unlinked, and when"),
        ("consents", "every consent on file"),
    ):
        told = acts.add_parser(name, help=f"tell {text}")
        told.add_argument("customer", metavar="CUSTOMER", help=NAMING)


def run(arguments: argparse.Namespace) -> int:
    """Do or tell one thing.

    Raises:
        Failure: profile does not answer, or refuses.
    """
    answer = asyncio.run(
        _call(arguments.address or address_of(ProfileSettings), *_ACTS[arguments.act](arguments))
    )
    lines = list(_lines(answer))
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    if not lines:
        sys.stderr.write("nothing is on file\n")
    return 0


def key_of(text: str) -> pb.CustomerKey:
    """Read an id, an identity as kind=value, or an id that has ``=`` in it as =ID."""
    kind, is_equated, rest = text.partition("=")
    if is_equated and kind:
        return pb.CustomerKey(identity=pb.Identity(kind=kind, value=rest))
    return pb.CustomerKey(customer_id=rest if is_equated else text)


def _link(arguments: argparse.Namespace) -> tuple[str, Message]:
    return "LinkIdentities", pb.LinkIdentitiesRequest(
        link_id=arguments.id or str(uuid.uuid4()),
        customer=key_of(arguments.customer),
        other=key_of(arguments.other),
        source=arguments.source,
    )


def _unlink(arguments: argparse.Namespace) -> tuple[str, Message]:
    return "UnlinkIdentity", pb.UnlinkIdentityRequest(
        link_id=arguments.id or str(uuid.uuid4()), customer_id=arguments.other, source=arguments.source
    )


_ACTS: Final[dict[str, Callable[[argparse.Namespace], tuple[str, Message]]]] = {
    "link": _link,
    "unlink": _unlink,
    "links": lambda arguments: ("ListLinks", pb.ListLinksRequest(customer=key_of(arguments.customer))),
    "consents": lambda arguments: (
        "ListConsents",
        pb.ListConsentsRequest(customer=key_of(arguments.customer)),
    ),
}


async def _call(address: str, rpc: str, request: Message) -> Any:
    async with channel(address, _SERVICE) as opened:
        try:
            return await getattr(GrpcStub(opened, _SERVICE, _SECONDS), rpc)(request)
        except grpc.aio.AioRpcError as error:
            info = error_info(error)
            reason = error.code().name if info is None else info.reason
            raise Failure(f"{address}: {reason}: {error.details()}") from None


def _lines(answer: Any) -> Iterator[str]:
    if isinstance(answer, pb.ListLinksResponse):
        for link in answer.links:
            act = "unlinked from" if link.is_unlink else "linked to"
            said = f"{link.member_id} {act} {link.customer_id}"
            yield f"{_moment(link.record_time)}  {said}  by {link.source or 'nobody named'}  {link.link_id}"
        return
    if isinstance(answer, pb.ListConsentsResponse):
        for record in answer.records:
            yield _consent(record)
        return
    yield f"{answer.customer_id}: {', '.join(answer.member_ids)}"
    if isinstance(answer, pb.UnlinkIdentityResponse):
        yield f"left: {', '.join(answer.unlinked_member_ids)}"
    if answer.duplicate:
        yield "nothing was changed: it is on file already"


def _consent(record: pb.ConsentRecord) -> str:
    said = record.consent
    until = f" until {_moment(said.expire_time)}" if said.HasField("expire_time") else ""
    state = pb.ConsentState.Name(said.state).removeprefix("CONSENT_STATE_").lower()
    about = f"{said.purpose} on {said.channel}" if said.channel else said.purpose
    told = f"{_moment(said.record_time)}  {record.customer_id}  {about}: {state}{until}"
    return f"{told}  by {said.source or 'nobody named'}  {said.receipt_id}"


def _moment(timestamp: Timestamp) -> str:
    return timestamp.ToDatetime().isoformat(timespec="seconds") + "Z"
