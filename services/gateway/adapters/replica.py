"""A decision on record, compared with its replay field by field."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import islice
from typing import Final

from google.protobuf.message import DecodeError
from tact.log.v1 import decision_record_pb2 as log_pb

from services.gateway.adapters.differences import differences
from services.gateway.adapters.encoding import ProtoEncoder, response_of
from services.gateway.adapters.explanation import explain
from services.gateway.adapters.recollection import ProtoRecollection
from services.gateway.domain.decision import Decision
from services.gateway.domain.making import Edition
from services.gateway.domain.replay import MOST_DIFFERENCES, Difference
from services.gateway.ports import NotRemade

_CANDIDATES_IN_A_ROW: Final = 25
_ELSEWHERE: Final = ("response", "digest")


class ProtoReplica(ProtoRecollection):
    """Implements ``Replica`` on one record."""

    def __init__(self, record: bytes) -> None:
        """Read a record.

        Raises:
            NotRemade: it cannot be read.
        """
        try:
            super().__init__(log_pb.DecisionRecord.FromString(record))
        except (DecodeError, TypeError):
            raise NotRemade("the record cannot be read") from None
        self._record.ClearField("digest")

    def differences(
        self, edition: Edition, decision: Decision, tolerance: float
    ) -> Generator[None, None, Sequence[Difference]]:
        """Return the first differences: those of the answer, then those of the rest of the record."""
        replayed = yield from self._logged(edition, decision)
        if _to_bytes(replayed) == _to_bytes(self._record):
            return []
        yield
        found = [
            *islice(differences(self._record.response, replayed.response, tolerance), MOST_DIFFERENCES),
            *islice(differences(self._record, replayed, tolerance, _ELSEWHERE), MOST_DIFFERENCES),
        ]
        if not found and not tolerance:
            found = [Difference(field="", recorded="fields that this version of Tact does not know")]
        return found[:MOST_DIFFERENCES]

    def _logged(self, edition: Edition, decision: Decision) -> Generator[None, None, log_pb.DecisionRecord]:
        """Return the record that a decision would have, with an explanation only if this one has one."""
        encoder = ProtoEncoder(self._record.request, self._record.caller, *edition)
        record = encoder.begun(decision, response_of(decision), self._record.record_time)
        if not self._record.feature_sequence:
            # Of before it was written.
            record.ClearField("feature_sequence")
        for number, candidate in enumerate(encoder.candidates(decision), start=1):
            record.candidates.append(candidate)
            if number % _CANDIDATES_IN_A_ROW == 0:
                yield
        if self._record.response.HasField("explanation"):
            yield from explain(record.response.explanation, decision, edition.playbook)
        return record


def _to_bytes(record: log_pb.DecisionRecord) -> bytes:
    return record.SerializeToString(deterministic=True)
