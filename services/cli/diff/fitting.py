"""Records as another playbook would have had them: what it does not know is left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from google.protobuf.struct_pb2 import Value
from tact.decision.v1 import decision_service_pb2 as pb
from tact.log.v1 import decision_record_pb2 as log_pb

from services.cli.diff.archive import Origin
from services.cli.diff.relaying import Relaying
from services.engine.playbook import values
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.schema.attributes import AttributeType
from services.gateway.adapters.messages import plain
from services.gateway.domain.making import Edition


class Misfits(NamedTuple):
    """What of a record a playbook does not know, or not so."""

    context: list[str]
    profile: list[str]
    channel: bool
    identity: bool
    features: bool


class Fitting:
    """Fits records to one edition, so that it can decide from them."""

    def __init__(self, edition: Edition) -> None:
        self._edition = edition
        self._relayings: dict[tuple[str, str], Relaying] = {}

    def relaying(self, origin: Origin) -> Relaying:
        """Return what lays out the vectors of an origin."""
        if (found := self._relayings.get(origin.key)) is None:
            found = self._relayings[origin.key] = Relaying(origin.layout, self._edition)
        return found

    def fit(
        self, record: log_pb.DecisionRecord, origin: Origin
    ) -> tuple[log_pb.DecisionRecord, Misfits] | None:
        """Return a record that fits, the same one where it does; None where it asks for nothing known.

        A request for actions or groups asks for those of them that are there.
        """
        playbook, request = self._edition.playbook, record.request
        actions = [name for name in request.action_ids if name in playbook.actions]
        groups = [name for name in request.groups if name in playbook.catalogue.groups]
        if bool(request.action_ids) > bool(actions) or bool(request.groups) > bool(groups):
            return None
        relaying = self.relaying(origin)
        misfits = _misfits(record, playbook, has_other_features=not relaying.is_needless)
        narrows = len(actions) < len(request.action_ids) or len(groups) < len(request.groups)
        if not (narrows or any(misfits)):
            return record, misfits
        fitted = log_pb.DecisionRecord()
        fitted.CopyFrom(record)
        fitted.request.action_ids[:] = actions
        fitted.request.groups[:] = groups
        _leave_out(fitted, misfits)
        if misfits.features:
            relaying.apply(fitted)
        return fitted, misfits


def _misfits(record: log_pb.DecisionRecord, playbook: Playbook, *, has_other_features: bool) -> Misfits:
    request, head = record.request, playbook.head
    on_file = {name: attribute.value for name, attribute in record.profile.attributes.items()}
    kind = request.customer.identity.kind if request.customer.HasField("identity") else ""
    return Misfits(
        context=_unfit(head.context, request.context.attributes.items()),
        profile=_unfit(playbook.profile.attributes, on_file.items()),
        channel=bool(request.context.channel) and request.context.channel not in head.channels,
        identity=bool(kind) and kind not in playbook.profile.identities,
        features=record.HasField("feature_time") and has_other_features,
    )


def _unfit(declared: Mapping[str, AttributeType], attributes: Iterable[tuple[str, Value]]) -> list[str]:
    """Return the names of attributes that are not declared, or not so."""
    found = []
    for name, value in attributes:
        try:
            values.parse(declared[name], plain(value))
        except (KeyError, ValueError):
            found.append(name)
    return found


def _leave_out(record: log_pb.DecisionRecord, misfits: Misfits) -> None:
    request: pb.DecideRequest = record.request
    for name in misfits.context:
        del request.context.attributes[name]
    for name in misfits.profile:
        del record.profile.attributes[name]
    if misfits.channel:
        request.context.channel = ""
    if misfits.identity:
        request.customer.customer_id = record.response.customer_id or "unknown"
