"""The one error that leaves a service, and its two shapes on the wire."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from tact.errors.v1 import errors_pb2

DOMAIN = "tact"
STATUS_DETAILS_KEY = "grpc-status-details-bin"
_REASON_PREFIX = "ERROR_REASON_"
_NO_METADATA: Mapping[str, str] = MappingProxyType({})

# A status travels in HTTP/2 trailers, which peers limit to 8 KiB; base64 and the message in the
# `grpc-message` trailer take their share of that.
_MESSAGE_CHARS = 500
_DESCRIPTION_CHARS = 300
_VIOLATIONS_BYTES = 3000


class FaultKind(Enum):
    """The canonical codes that a service answers with."""

    INVALID = grpc.StatusCode.INVALID_ARGUMENT
    NOT_FOUND = grpc.StatusCode.NOT_FOUND
    ALREADY_EXISTS = grpc.StatusCode.ALREADY_EXISTS
    PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
    OVERLOADED = grpc.StatusCode.RESOURCE_EXHAUSTED
    UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
    DEADLINE = grpc.StatusCode.DEADLINE_EXCEEDED
    INTERNAL = grpc.StatusCode.INTERNAL


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that breaks the contract; ``field`` is its path from the request or item."""

    field: str
    description: str


class Fault(Exception):
    """A call or a batch item that fails for a reason the contract names.

    ``message`` and every description are read by callers and by people: they never hold
    personal data. ``reason`` is a value of ``tact.errors.v1.ErrorReason``, ``reason_name`` its
    name as ``ErrorInfo`` spells it.
    """

    def __init__(
        self,
        kind: FaultKind,
        reason: int,
        message: str,
        metadata: Mapping[str, str] = _NO_METADATA,
        violations: Sequence[Violation] = (),
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.reason = reason
        self.reason_name = reason_name(reason)
        self.message = message
        self.metadata = metadata
        self.violations = tuple(violations)

    @property
    def code(self) -> grpc.StatusCode:
        """The canonical gRPC code."""
        return self.kind.value


def reason_name(reason: int) -> str:
    """Name a value of ``ErrorReason`` without its prefix.

    >>> reason_name(1)
    'REQUEST_INVALID'
    """
    return errors_pb2.ErrorReason.Name(errors_pb2.ErrorReason.ValueType(reason)).removeprefix(_REASON_PREFIX)


def invalid(*violations: Violation, message: str | None = None) -> Fault:
    """Make the fault of a request that breaks the contract, listing every violation at once."""
    if message is None:
        shown = [f"{violation.field}: {violation.description}" for violation in violations[:3]]
        rest = len(violations) - len(shown)
        message = "; ".join(shown) + (f"; and {rest} more" if rest else "")
    reason = errors_pb2.ERROR_REASON_REQUEST_INVALID
    return Fault(FaultKind.INVALID, reason, message, violations=violations)


def batch_too_large(field: str, count: int, limit: int) -> Fault:
    """Make the fault of a batch of ``count`` items where ``limit`` are taken.

    >>> batch_too_large("events", 20001, 10000).message
    'events: 20001 items, at most 10000'
    """
    description = f"{count} items, at most {limit}"
    return Fault(
        FaultKind.INVALID,
        errors_pb2.ERROR_REASON_BATCH_TOO_LARGE,
        f"{field}: {description}",
        violations=(Violation(field, description),),
    )


def deadline_exceeded(message: str = "the deadline passed before the work was done") -> Fault:
    """Make the fault of work whose time is up."""
    return Fault(FaultKind.DEADLINE, errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED, message)


def internal() -> Fault:
    """Make the fault of a defect; its text says nothing about the cause."""
    return Fault(FaultKind.INTERNAL, errors_pb2.ERROR_REASON_INTERNAL, "internal error")


def to_status(fault: Fault) -> status_pb2.Status:
    """Render a fault as the status of a call.

    Long texts are cut, and violations beyond what trailers carry are counted in one last
    violation without a field, so that the status always arrives.
    """
    status = status_pb2.Status(code=fault.code.value[0], message=_clip(fault.message, _MESSAGE_CHARS))
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(domain=DOMAIN, reason=fault.reason_name, metadata=fault.metadata)
    )
    if fault.violations:
        status.details.add().Pack(_bad_request(fault.violations))
    return status


def to_item_error(fault: Fault) -> errors_pb2.ItemError:
    """Render a fault as the error of one batch item."""
    return errors_pb2.ItemError(
        code=fault.code.value[0],
        reason=errors_pb2.ErrorReason.ValueType(fault.reason),
        message=fault.message,
        field_violations=[
            errors_pb2.FieldViolation(field=violation.field, description=violation.description)
            for violation in fault.violations
        ],
    )


def error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo | None:
    """Read the ``ErrorInfo`` of a failed call, or None where it has none that can be read."""
    info = error_details_pb2.ErrorInfo()
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_DETAILS_KEY and isinstance(value, bytes):
            with suppress(DecodeError):
                for detail in status_pb2.Status.FromString(value).details:
                    if detail.Unpack(info):
                        return info
    return None


def _bad_request(violations: Sequence[Violation]) -> error_details_pb2.BadRequest:
    request = error_details_pb2.BadRequest()
    for index, violation in enumerate(violations):
        request.field_violations.add(
            field=_clip(violation.field, _DESCRIPTION_CHARS),
            description=_clip(violation.description, _DESCRIPTION_CHARS),
        )
        if request.ByteSize() > _VIOLATIONS_BYTES:
            del request.field_violations[index]
            request.field_violations.add(description=f"and {len(violations) - index} more violations")
            break
    return request


def _clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
