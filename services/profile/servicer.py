"""Translates between the contract and the profile service's handlers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from tact.archive.v1 import archive_pb2
from tact.errors.v1 import errors_pb2
from tact.profile.v1 import profile_service_pb2 as pb

from services.chassis import faults
from services.chassis.faults import Fault, FaultKind, batch_too_large, to_item_error
from services.chassis.rpc import Call
from services.engine.moments import Moment
from services.engine.playbook import values
from services.engine.violations import Invalid, InvalidRequest, Violation
from services.profile.domain.consents import Consent, IncomingConsent, Recorded, State
from services.profile.domain.identities import Identity
from services.profile.domain.links import Family, LinkAnswer, Linked, LinkRecord
from services.profile.domain.updates import IncomingUpdate, Taken
from services.profile.handlers import Answer, Key, ProfileHandlers
from services.profile.ports import Profile, StoreOverloaded, StoreUnavailable

MOST_WRITES: Final = 10_000
MOST_READS: Final = 1_000

_STATES: Final = {
    pb.CONSENT_STATE_GRANTED: State.GRANTED,
    pb.CONSENT_STATE_DENIED: State.DENIED,
    pb.CONSENT_STATE_WITHDRAWN: State.WITHDRAWN,
}
_CODES: Final = {state: code for code, state in _STATES.items()}
_CUSTOMER_UNKNOWN: Final = Fault(
    FaultKind.NOT_FOUND, errors_pb2.ERROR_REASON_CUSTOMER_UNKNOWN, "customer_id: no such customer"
)
_REUSED: Final = Fault(
    FaultKind.ALREADY_EXISTS,
    errors_pb2.ERROR_REASON_IDENTIFIER_REUSED,
    "receipt_id was used for another consent",
)
_NO_LINK: Final = {
    LinkAnswer.CUSTOMER_UNKNOWN: _CUSTOMER_UNKNOWN,
    LinkAnswer.REUSED: Fault(
        FaultKind.ALREADY_EXISTS,
        errors_pb2.ERROR_REASON_IDENTIFIER_REUSED,
        "link_id was used for another link",
    ),
    LinkAnswer.NOT_LINKED: Fault(
        FaultKind.PRECONDITION,
        errors_pb2.ERROR_REASON_NOT_LINKED,
        "customer_id: is no member of another customer",
    ),
}


class ProfileServicer:
    """Serves ``tact.profile.v1.ProfileService``."""

    def __init__(self, handlers: ProfileHandlers) -> None:
        self._handlers = handlers

    async def UpsertProfiles(
        self, request: pb.UpsertProfilesRequest, call: Call
    ) -> pb.UpsertProfilesResponse:
        """Apply a batch of updates."""
        _limit("updates", len(request.updates), MOST_WRITES)
        with _faults():
            answers = await self._handlers.upsert(map(_update, request.updates))
        return pb.UpsertProfilesResponse(
            results=[
                pb.UpsertProfileResult(error=_invalid(answer))
                if isinstance(answer, Invalid)
                else pb.UpsertProfileResult(error=_taken(update, answer))
                if isinstance(answer, Taken)
                else pb.UpsertProfileResult(customer_id=update.customer_id)
                for update, answer in zip(request.updates, answers, strict=True)
            ]
        )

    async def RecordConsents(
        self, request: pb.RecordConsentsRequest, call: Call
    ) -> pb.RecordConsentsResponse:
        """Append a batch of consents."""
        _limit("records", len(request.records), MOST_WRITES)
        with _faults():
            answers = await self._handlers.record(map(_record, request.records))
        return pb.RecordConsentsResponse(results=map(_recorded, answers))

    async def BatchGetProfiles(
        self, request: pb.BatchGetProfilesRequest, call: Call
    ) -> pb.BatchGetProfilesResponse:
        """Read a batch of profiles."""
        _limit("customers", len(request.customers), MOST_READS)
        as_of_time = _moment(request.as_of_time) if request.HasField("as_of_time") else None
        with _faults():
            answers = await self._handlers.read(list(map(_key, request.customers)), as_of_time)
        lease = Duration()
        lease.FromMicroseconds(round(self._handlers.lease_seconds * 1e6))
        return pb.BatchGetProfilesResponse(
            results=[
                pb.ProfileResult(error=_invalid(answer))
                if isinstance(answer, Invalid)
                else pb.ProfileResult(profile=_profile(answer, lease))
                for answer in answers
            ]
        )

    async def ListConsents(self, request: pb.ListConsentsRequest, call: Call) -> pb.ListConsentsResponse:
        """Return every consent of a customer."""
        with _faults():
            found = await self._handlers.consents(_key(request.customer))
        records = [
            pb.ConsentRecord(customer_id=one.statement.customer_id, consent=_consent(one)) for one in found
        ]
        return pb.ListConsentsResponse(records=records)

    async def LinkIdentities(
        self, request: pb.LinkIdentitiesRequest, call: Call
    ) -> pb.LinkIdentitiesResponse:
        """Say that two customers are one."""
        with _faults():
            linked = await self._handlers.link(
                request.link_id, _key(request.customer), _key(request.other), request.source
            )
        family = _family(linked)
        return pb.LinkIdentitiesResponse(
            customer_id=family.customer_id,
            member_ids=family.members,
            identity_version=family.version,
            duplicate=linked.answer is LinkAnswer.DUPLICATE,
        )

    async def UnlinkIdentity(
        self, request: pb.UnlinkIdentityRequest, call: Call
    ) -> pb.UnlinkIdentityResponse:
        """Take a member out of the customer that it was linked to."""
        with _faults():
            linked = await self._handlers.link(
                request.link_id, None, request.customer_id, request.source, is_unlink=True
            )
        family = _family(linked)
        return pb.UnlinkIdentityResponse(
            customer_id=family.customer_id,
            member_ids=family.members,
            unlinked_member_ids=() if linked.left is None else linked.left.members,
            identity_version=family.version,
            duplicate=linked.answer is LinkAnswer.DUPLICATE,
        )

    async def ListLinks(self, request: pb.ListLinksRequest, call: Call) -> pb.ListLinksResponse:
        """Tell who was linked and unlinked."""
        with _faults():
            acts = await self._handlers.links(_key(request.customer))
        return pb.ListLinksResponse(links=map(_link, acts))

    async def ResolveIdentities(
        self, request: pb.ResolveIdentitiesRequest, call: Call
    ) -> pb.ResolveIdentitiesResponse:
        """Resolve a batch of identities."""
        _limit("identities", len(request.identities), MOST_READS)
        with _faults():
            answers = await self._handlers.resolve(list(map(_identity, request.identities)))
        return pb.ResolveIdentitiesResponse(
            results=[
                pb.ResolvedIdentity(error=_invalid(answer))
                if isinstance(answer, Invalid)
                else pb.ResolvedIdentity(customer_id=answer if isinstance(answer, str) else "")
                for answer in answers
            ]
        )

    async def ExportCustomer(
        self, request: pb.ExportCustomerRequest, call: Call
    ) -> pb.ExportCustomerResponse:
        """Return a page of what is on file of a customer."""
        with _faults():
            page = await self._handlers.export(list(request.customer_ids), request.page_token)
        return pb.ExportCustomerResponse(
            rows=[archive_pb2.ArchivedRow(table=table, row=row) for table, row in page.rows],
            next_page_token=page.next_token,
        )

    async def EraseCustomer(self, request: pb.EraseCustomerRequest, call: Call) -> pb.EraseCustomerResponse:
        """Remove what is on file of a customer."""
        with _faults():
            erased = await self._handlers.erase(list(request.customer_ids))
        return pb.EraseCustomerResponse(
            erased=[archive_pb2.ErasedRows(table=table, rows=rows) for table, rows in erased.items()]
        )


def _limit(field: str, count: int, most: int) -> None:
    if count > most:
        raise batch_too_large(field, count, most)


def _update(update: pb.ProfileUpdate) -> IncomingUpdate:
    return IncomingUpdate(
        customer_id=update.customer_id,
        attributes={name: _plain(value) for name, value in update.attributes.items()},
        identities=tuple(map(_identity, update.identities)),
        record_time=_moment(update.record_time) if update.HasField("record_time") else None,
        source=update.source,
    )


def _record(record: pb.ConsentRecord) -> IncomingConsent:
    consent = record.consent
    return IncomingConsent(
        receipt_id=consent.receipt_id,
        customer_id=record.customer_id,
        purpose=consent.purpose,
        channel=consent.channel,
        state=_STATES.get(consent.state),
        record_time=_moment(consent.record_time) if consent.HasField("record_time") else None,
        expire_time=_moment(consent.expire_time) if consent.HasField("expire_time") else None,
        source=consent.source,
    )


def _key(key: pb.CustomerKey) -> Key:
    match key.WhichOneof("key"):
        case "customer_id":
            return key.customer_id
        case "identity":
            return _identity(key.identity)
        case _:
            return None


def _identity(identity: pb.Identity) -> Identity:
    return Identity(identity.kind, identity.value)


def _moment(timestamp: Timestamp) -> Moment:
    return Moment(timestamp.seconds, timestamp.nanos)


def _plain(value: Value) -> object:
    match kind := value.WhichOneof("kind"):
        case None | "null_value":
            return None
        # Neither is ever taken, whatever it holds.
        case "list_value":
            return []
        case "struct_value":
            return {}
    return getattr(value, kind)


def _recorded(answer: Recorded | Invalid) -> pb.RecordConsentResult:
    match answer:
        case Invalid():
            return pb.RecordConsentResult(error=_invalid(answer))
        case Recorded.CUSTOMER_UNKNOWN:
            return pb.RecordConsentResult(error=to_item_error(_CUSTOMER_UNKNOWN))
        case Recorded.REUSED:
            return pb.RecordConsentResult(error=to_item_error(_REUSED))
        case _:
            accepted = pb.ConsentAccepted(duplicate=answer is Recorded.DUPLICATE)
            return pb.RecordConsentResult(accepted=accepted)


def _family(linked: Linked) -> Family:
    if linked.family is None:
        raise _NO_LINK[linked.answer]
    return linked.family


def _link(act: LinkRecord) -> pb.Link:
    return pb.Link(
        link_id=act.linking.link_id,
        customer_id=act.customer_id,
        member_id=act.member_id,
        is_unlink=act.linking.is_unlink,
        record_time=_timestamp(act.linking.record_time),
        source=act.linking.source,
    )


def _profile(profile: Profile | Answer, lease: Duration) -> pb.Profile:
    if isinstance(profile, Answer):
        return pb.Profile()
    return pb.Profile(
        found=True,
        customer_id=profile.customer_id,
        attributes={
            name: pb.Attribute(value=_value(value), record_time=_timestamp(record_time), source=source)
            for name, (value, record_time, source) in profile.attributes.items()
        },
        consents=map(_consent, profile.consents),
        member_ids=profile.members,
        identity_version=profile.version,
        identity_lease=lease,
    )


def _consent(consent: Consent) -> pb.Consent:
    said = consent.statement
    return pb.Consent(
        receipt_id=said.receipt_id,
        purpose=said.purpose,
        channel=said.channel,
        state=_CODES[said.state],
        record_time=_timestamp(consent.record_time),
        expire_time=None if said.expire_time is None else _timestamp(said.expire_time),
        source=said.source,
    )


def _value(value: values.Value) -> Value:
    if isinstance(value, bool):
        return Value(bool_value=value)
    return Value(string_value=value) if isinstance(value, str) else Value(number_value=value)


def _timestamp(micros: int) -> Timestamp:
    return Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1_000)


def _invalid(answer: Invalid) -> errors_pb2.ItemError:
    return to_item_error(_fault(answer.violations))


def _taken(update: pb.ProfileUpdate, taken: Taken) -> errors_pb2.ItemError:
    violations = [
        faults.Violation(
            f"identities[{index}]",
            f"identity ({update.identities[index].kind}, ***) belongs to another customer",
        )
        for index in taken.identities
    ]
    reason = errors_pb2.ERROR_REASON_IDENTITY_TAKEN
    message = violations[0].description
    return to_item_error(Fault(FaultKind.ALREADY_EXISTS, reason, message, violations=violations))


def _fault(violations: Iterable[Violation]) -> Fault:
    return faults.invalid(*(faults.Violation(field, description) for field, description in violations))


@contextmanager
def _faults() -> Iterator[None]:
    """Raise what the handlers raise as the faults that the contract names."""
    try:
        yield
    except InvalidRequest as error:
        raise _fault(error.violations) from None
    except StoreOverloaded as error:
        reason = errors_pb2.ERROR_REASON_OVERLOADED
        raise Fault(FaultKind.OVERLOADED, reason, str(error)) from error
    except StoreUnavailable as error:
        reason = errors_pb2.ERROR_REASON_STORE_UNAVAILABLE
        raise Fault(FaultKind.UNAVAILABLE, reason, str(error)) from error
