import pytest
from google.rpc import error_details_pb2
from tact.errors.v1 import errors_pb2

from services.chassis.faults import (
    Fault,
    FaultKind,
    Violation,
    batch_too_large,
    internal,
    invalid,
    to_item_error,
    to_status,
)


def details(fault):
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in to_status(fault).details:
        detail.Unpack(info) or detail.Unpack(request)
    return info, request


def test_a_status_names_reason_domain_metadata_and_every_violation():
    fault = Fault(
        FaultKind.INVALID,
        errors_pb2.ERROR_REASON_REQUEST_INVALID,
        "two fields",
        metadata={"limit": "7"},
        violations=(Violation("a", "is empty"), Violation("b[2].c", "is negative")),
    )
    status = to_status(fault)
    info, request = details(fault)
    assert (status.code, status.message) == (3, "two fields")
    assert (info.domain, info.reason, dict(info.metadata)) == ("tact", "REQUEST_INVALID", {"limit": "7"})
    assert [(each.field, each.description) for each in request.field_violations] == [
        ("a", "is empty"),
        ("b[2].c", "is negative"),
    ]


def test_a_fault_without_violations_has_no_bad_request():
    assert len(to_status(internal()).details) == 1


@pytest.mark.parametrize("reason", errors_pb2.ErrorReason.values()[1:])
def test_every_reason_of_the_contract_can_be_sent(reason):
    fault = Fault(FaultKind.PRECONDITION, reason, "no")
    assert "ERROR_REASON_" + details(fault)[0].reason == errors_pb2.ErrorReason.Name(reason)


def test_a_status_of_any_size_fits_into_trailers():
    fault = invalid(*(Violation(f"items[{index}]", "é" * 1000) for index in range(10_000)))
    status = to_status(fault)
    _, request = details(fault)
    shown = len(request.field_violations) - 1
    assert status.ByteSize() < 5000
    assert shown > 1
    assert request.field_violations[shown].description == f"and {10_000 - shown} more violations"


def test_the_default_message_of_an_invalid_request_shows_three_violations():
    fault = invalid(*(Violation(name, "is empty") for name in "abcde"))
    assert fault.message == "a: is empty; b: is empty; c: is empty; and 2 more"
    assert len(fault.violations) == 5


def test_a_batch_that_is_too_large_says_by_how_much():
    fault = batch_too_large("events", 20001, 10000)
    assert (fault.reason_name, fault.message) == ("BATCH_TOO_LARGE", "events: 20001 items, at most 10000")


def test_an_item_error_carries_the_same_facts_as_a_status():
    error = to_item_error(invalid(Violation("value", "is NaN")))
    assert error == errors_pb2.ItemError(
        code=3,
        reason=errors_pb2.ERROR_REASON_REQUEST_INVALID,
        message="value: is NaN",
        field_violations=[errors_pb2.FieldViolation(field="value", description="is NaN")],
    )


def test_a_reason_outside_the_contract_is_a_defect():
    with pytest.raises(ValueError, match="999"):
        Fault(FaultKind.INVALID, 999, "no")
