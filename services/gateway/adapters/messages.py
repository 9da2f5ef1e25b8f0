"""Values, instants, amounts and what is on file as protos, and back."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from tact.decision.v1 import decision_service_pb2 as decision_pb
from tact.errors.v1 import errors_pb2
from tact.log.v1 import decision_record_pb2 as log_pb
from tact.profile.v1 import profile_service_pb2 as profile_pb

from services.chassis.faults import Fault, FaultKind
from services.engine.instants import microseconds
from services.engine.policy.consent import Permission
from services.engine.policy.contact import Contact, Facts
from services.gateway.domain.knowledge import Origin

_MICROS = 1_000_000


def record_of(stored: bytes) -> log_pb.DecisionRecord:
    """Read a decision record.

    Raises:
        Fault: it is none, because the store is broken.
    """
    try:
        return log_pb.DecisionRecord.FromString(stored)
    except (DecodeError, TypeError):
        reason = errors_pb2.ERROR_REASON_STORE_UNAVAILABLE
        text = "the decision on record cannot be read back"
        raise Fault(FaultKind.UNAVAILABLE, reason, text) from None


def timestamp(moment: datetime) -> Timestamp:
    """Convert an aware datetime, exact to the microsecond."""
    micros = microseconds(moment)
    return Timestamp(seconds=micros // _MICROS, nanos=micros % _MICROS * 1000)


def moment(timestamp: Timestamp) -> datetime | None:
    """Return an aware datetime, None for a time that no calendar holds."""
    try:
        return timestamp.ToDatetime(UTC)
    except (ValueError, OverflowError):
        return None


def plain(value: Value) -> object:
    """Return a value of JSON as a value of Python; None where it is null or nothing."""
    kind = value.WhichOneof("kind")
    return None if kind in (None, "null_value") else getattr(value, kind)


def value_of(raw: object) -> Value:
    """Return a word, number, truth value or instant as a value of JSON."""
    if isinstance(raw, bool):
        return Value(bool_value=raw)
    if isinstance(raw, int | float):
        return Value(number_value=raw)
    return Value(string_value=raw.isoformat() if isinstance(raw, datetime) else str(raw))


def money(micros: int, currency: str) -> decision_pb.Money:
    """Return an amount."""
    return decision_pb.Money(micros=micros, currency=currency)


def contact_record(contact: Contact) -> log_pb.ContactRecord:
    """Write a contact as the log keeps it."""
    return log_pb.ContactRecord(
        **asdict(contact.facts),
        reserve_time=_stamp(contact.reserve_time),
        expire_time=_stamp(contact.expire_time),
        consume_time=_stamp(contact.consume_time),
    )


def contact_of(record: log_pb.ContactRecord) -> Contact:
    """Read a contact as the log keeps it."""
    return Contact(
        facts=Facts(
            action_id=record.action_id,
            treatment_id=record.treatment_id,
            group=record.group,
            channel=record.channel,
            purpose=record.purpose,
            action_class=record.action_class,
        ),
        reserve_time=record.reserve_time.ToDatetime(UTC) if record.HasField("reserve_time") else None,
        expire_time=record.expire_time.ToDatetime(UTC) if record.HasField("expire_time") else None,
        consume_time=record.consume_time.ToDatetime(UTC) if record.HasField("consume_time") else None,
    )


def _stamp(moment: datetime | None) -> Timestamp | None:
    return None if moment is None else timestamp(moment)


def permission(consent: profile_pb.Consent) -> Permission:
    """Translate a consent."""
    return Permission(
        granted=consent.state == profile_pb.CONSENT_STATE_GRANTED,
        expire_time=consent.expire_time.ToDatetime(UTC) if consent.HasField("expire_time") else None,
    )


def origin(attribute: profile_pb.Attribute) -> Origin:
    """Return where a value comes from, and since when it is known."""
    return Origin(record_time=attribute.record_time.ToDatetime(UTC), source=attribute.source)
