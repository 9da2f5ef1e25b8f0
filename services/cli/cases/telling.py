"""Tells why an action is not, or is, in an answer, from the answer's own explanation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from tact.decision.v1 import decision_service_pb2 as pb

from services.cli import wording
from services.cli.cases.running import Outcome
from services.cli.cases.schema import CASE
from services.engine.playbook.playbook import DO_NOTHING


def identify(action_id: str, treatment_id: str) -> str:
    """Return what a treatment is called.

    >>> identify("reorder", "push"), identify("reorder", "")
    ('reorder/push', 'reorder')
    """
    return f"{action_id}/{treatment_id}" if treatment_id else action_id


def traces_of(response: pb.DecideResponse, action_id: str, treatment_id: str = "") -> list[pb.CandidateTrace]:
    """Return the traces of an action's treatments, or of one of them."""
    return [
        trace
        for trace in response.explanation.candidates
        if trace.action_id == action_id and treatment_id in ("", trace.treatment_id)
    ]


def why_not(outcome: Outcome, action_id: str, treatment_id: str) -> Iterator[str]:
    """Say of each treatment of an action what became of it."""
    traces = traces_of(outcome.response, action_id, treatment_id)
    if not traces:
        yield f"{identify(action_id, treatment_id)} was no candidate: {_no_candidate(outcome, action_id)}"
    for trace in traces:
        yield from story(outcome.response, trace)


def story(response: pb.DecideResponse, trace: pb.CandidateTrace) -> Iterator[str]:
    """Say what became of one candidate, and what decided it."""
    name = identify(trace.action_id, trace.treatment_id)
    if trace.removed_stage:
        yield f"{name} was removed at {trace.removed_stage} by {trace.removed_rule}: {trace.removed_text}"
        if trace.reads:
            yield f"  it read {_values(trace.reads)}"
        return
    place = f"chosen at rank {trace.rank}" if trace.rank else "not chosen"
    yield f"{name} was {place}: {_worth(trace)}; doing nothing was worth {_nothing(response)}"
    for factor in trace.factors:
        read = f"; it read {_values(factor.reads)}" if factor.reads else ""
        yield f"  {factor.kind} {factor.name} {wording.effect(factor)}: {factor.text}{read}"
    if trace.moved_by:
        yield f"  moved to {when(trace.not_before_time.ToDatetime())} UTC by {', '.join(trace.moved_by)}"


def when(moment: datetime) -> str:
    """Write an instant for people.

    >>> when(datetime(2026, 3, 2, 10))
    '2026-03-02 10:00'
    """
    return moment.isoformat(sep=" ", timespec="minutes" if not moment.second else "auto")


def _no_candidate(outcome: Outcome, action_id: str) -> str:
    request, playbook = outcome.case.request, outcome.gateway.playbook
    if not playbook.is_live(action_id, outcome.case.now):
        return f"it is not live at {when(outcome.case.now)}"
    if all(trace.action_id == DO_NOTHING for trace in outcome.response.explanation.candidates):
        return "nothing was considered"
    asked = [name for name in ("action_ids", "groups") if getattr(request, name)]
    return f"the request's {' and '.join(asked)} leave it out" if asked else "the gateway does not know it"


def _worth(trace: pb.CandidateTrace) -> str:
    priority = wording.number(trace.priority) if trace.HasField("priority") else "unknown"
    propensity = wording.number(trace.propensity) if trace.HasField("propensity") else "unknown"
    value, cost = (wording.number(money.micros / 1e6) for money in (trace.value, trace.cost))
    return f"priority {priority} (propensity {propensity}, value {value}, cost {cost})"


def _nothing(response: pb.DecideResponse) -> str:
    return next((wording.number(trace.priority) for trace in traces_of(response, DO_NOTHING)), "unknown")


def _values(reads: Iterable[pb.ValueTrace]) -> str:
    return ", ".join(f"{read.name} = {_value(read)}" for read in reads)


def _value(read: pb.ValueTrace) -> str:
    if read.withheld:
        return "(borrowed, not shown)"
    if not read.HasField("value"):
        return "missing"
    shown = wording.value(read.value)
    if read.value.HasField("string_value"):
        shown = f'"{shown}"'
    return (
        shown if read.source in ("", CASE) else f"{shown} (from {read.source}, {wording.age(read.age)} old)"
    )
