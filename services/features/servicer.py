"""Translates between the contract and the feature service's handlers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from tact.archive.v1 import archive_pb2
from tact.errors.v1 import errors_pb2
from tact.features.v1 import feature_service_pb2 as pb

from services.chassis import faults
from services.chassis.faults import Fault, FaultKind, batch_too_large, to_item_error
from services.chassis.rpc import Call
from services.engine.features.feature_set import Vector
from services.engine.playbook import kinds
from services.engine.violations import Invalid, InvalidRequest, Violation
from services.features.adapters.event_messages import incoming_event, moment
from services.features.domain.placement import Placed
from services.features.handlers import (
    FeatureHandlers,
    Key,
    PlaybookVersionUnknown,
    SequenceNotReached,
    Vectors,
)
from services.features.ports import StoreOverloaded, StoreUnavailable

MOST_EVENTS: Final = 10_000
MOST_CUSTOMERS: Final = 1_000
MOST_CANDIDATES: Final = 100_000

_REUSED: Final = to_item_error(
    Fault(
        FaultKind.ALREADY_EXISTS,
        errors_pb2.ERROR_REASON_IDENTIFIER_REUSED,
        "event_id was used for another event",
    )
)


class FeatureServicer:
    """Serves ``tact.features.v1.FeatureService``."""

    def __init__(self, handlers: FeatureHandlers) -> None:
        self._handlers = handlers

    async def IngestEvents(self, request: pb.IngestEventsRequest, call: Call) -> pb.IngestEventsResponse:
        """Store a batch of events."""
        _limit("events", len(request.events), MOST_EVENTS)
        with _faults():
            answers, newest = await self._handlers.ingest(map(incoming_event, request.events))
        response = pb.IngestEventsResponse(sequence=newest)
        for answer in answers:
            result = response.results.add()
            if isinstance(answer, Placed):
                result.accepted.sequence = answer.sequence
                result.accepted.duplicate = answer.duplicate
            else:
                result.error.CopyFrom(_invalid(answer) if isinstance(answer, Invalid) else _REUSED)
        return response

    async def BatchGetFeatures(
        self, request: pb.BatchGetFeaturesRequest, call: Call
    ) -> pb.BatchGetFeaturesResponse:
        """Compute the features of a batch of customers."""
        _limit("customers", len(request.customers), MOST_CUSTOMERS)
        _limit("customers.action_ids", sum(len(key.action_ids) for key in request.customers), MOST_CANDIDATES)
        with _faults():
            answers, fingerprint = await self._handlers.vectors(
                [_key(key) for key in request.customers], request.playbook_version, request.min_sequence
            )
        return pb.BatchGetFeaturesResponse(
            results=[
                pb.FeatureResult(error=_invalid(answer))
                if isinstance(answer, Invalid)
                else pb.FeatureResult(vectors=_vectors(answer))
                for answer in answers
            ],
            schema_fingerprint=fingerprint,
        )

    async def DescribeFeatures(
        self, request: pb.DescribeFeaturesRequest, call: Call
    ) -> pb.DescribeFeaturesResponse:
        """List the features of the playbook by name, which is the order of the vectors."""
        with _faults():
            newest = await self._handlers.newest()
            state = await self._handlers.describe()
        playbook, features = self._handlers.current
        return pb.DescribeFeaturesResponse(
            features=[
                pb.FeatureDescription(
                    name=name,
                    kind=definition.kind,
                    scope=pb.FEATURE_SCOPE_CANDIDATE
                    if name in playbook.candidate_features
                    else pb.FEATURE_SCOPE_CUSTOMER,
                    definition_hash=playbook.definition_hashes[name],
                    description=definition.description,
                    served=kinds.is_served(definition),
                )
                for name, definition in sorted(playbook.features.items())
            ],
            playbook_version=playbook.version,
            schema_fingerprint=features.served_fingerprint,
            sequence=newest,
            state=pb.FeatureState(
                kind=state.kind,
                customers=state.customers,
                bytes_per_customer=state.bytes_per_customer,
                sampled_customers=state.sampled,
                most_events=self._handlers.most_events,
                unavailable=state.unavailable,
            ),
        )

    async def ExportCustomer(
        self, request: pb.ExportCustomerRequest, call: Call
    ) -> pb.ExportCustomerResponse:
        """Return a page of what happened to a customer."""
        with _faults():
            page = await self._handlers.export(request.customer_ids, request.page_token)
        return pb.ExportCustomerResponse(
            rows=[archive_pb2.ArchivedRow(table=table, row=row) for table, row in page.rows],
            next_page_token=page.next_token,
        )

    async def EraseCustomer(self, request: pb.EraseCustomerRequest, call: Call) -> pb.EraseCustomerResponse:
        """Remove what happened to a customer."""
        with _faults():
            erased = await self._handlers.erase(request.customer_ids)
        return pb.EraseCustomerResponse(
            erased=[archive_pb2.ErasedRows(table=table, rows=rows) for table, rows in erased.items()]
        )


def _limit(field: str, count: int, most: int) -> None:
    if count > most:
        raise batch_too_large(field, count, most)


def _key(key: pb.FeatureKey) -> Key:
    return Key(
        customer_id=key.customer_id,
        as_of_time=moment(key.as_of_time) if key.HasField("as_of_time") else None,
        action_ids=tuple(key.action_ids),
        member_ids=tuple(key.member_ids),
    )


def _vectors(vectors: Vectors) -> pb.FeatureVectors:
    return pb.FeatureVectors(
        customer_vector=_bytes(vectors.customer),
        candidate_vectors=_bytes(vectors.candidates),
        customer_ages=_bytes(vectors.ages),
        as_of_sequence=vectors.as_of_sequence,
    )


def _bytes(vector: Vector) -> bytes:
    return vector.astype("<f8", copy=False).tobytes()


def _invalid(answer: Invalid) -> errors_pb2.ItemError:
    return to_item_error(_fault(answer.violations))


def _fault(violations: Iterable[Violation]) -> Fault:
    return faults.invalid(*(faults.Violation(field, description) for field, description in violations))


@contextmanager
def _faults() -> Iterator[None]:
    """Raise what the handlers raise as the faults that the contract names."""
    try:
        yield
    except InvalidRequest as error:
        raise _fault(error.violations) from None
    except PlaybookVersionUnknown as error:
        raise _failed(
            FaultKind.PRECONDITION, errors_pb2.ERROR_REASON_PLAYBOOK_VERSION_UNKNOWN, error, held=error.held
        ) from None
    except SequenceNotReached as error:
        raise _failed(FaultKind.PRECONDITION, errors_pb2.ERROR_REASON_SEQUENCE_NOT_REACHED, error) from None
    except StoreOverloaded as error:
        raise _failed(FaultKind.OVERLOADED, errors_pb2.ERROR_REASON_OVERLOADED, error) from error
    except StoreUnavailable as error:
        raise _failed(FaultKind.UNAVAILABLE, errors_pb2.ERROR_REASON_STORE_UNAVAILABLE, error) from error


def _failed(kind: FaultKind, reason: int, error: Exception, **metadata: Any) -> Fault:
    return Fault(kind, reason, str(error), metadata)
