"""Compares an answer with what was expected of it, and says why it differs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from math import isclose
from pathlib import Path
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from tact.decision.v1 import decision_service_pb2 as pb

from services.cli.cases import records, schema
from services.cli.cases.moments import moment_of
from services.cli.cases.running import Outcome
from services.cli.cases.telling import identify, story, traces_of, when, why_not

_TOLERANCE: Final = 1e-9
_INDENT: Final = "  "


def differences(outcome: Outcome, folder: Path) -> list[str]:
    """Return lines that say how an answer differs; none where it is as expected.

    ``folder`` is where everything of the run is stored.
    """
    expected, response = outcome.case.expect, outcome.response
    found: list[str] = []
    if outcome.drawn:
        found.append("exploration never let the best win: say with draw what it draws")
    if expected.actions is not None:
        found += _actions(outcome, expected.actions)
    found += _reasons("reasons", expected.reasons, expected.says, response.reasons)
    for name, removal in expected.removed.items():
        found += _removal(outcome, name, removal)
    found += _plain(expected, response)
    found += _logged(outcome, folder)
    found += outcome.told
    return found


def _actions(outcome: Outcome, expected: Sequence[schema.ExpectedAction]) -> Iterator[str]:
    answered = list(outcome.response.actions)
    if len(expected) == len(answered) and all(map(_is_meant, expected, answered)):
        for rank, (wanted, got) in enumerate(zip(expected, answered, strict=True), start=1):
            yield from _action(outcome, f"actions, rank {rank}, {got.action_id}", wanted, got)
        return
    names = [identify(wanted.action, wanted.treatment) for wanted in expected]
    got_names = [identify(got.action_id, got.treatment_id) for got in answered]
    yield f"actions: expected {_list(names)}, got {_list(got_names)}"
    for wanted in expected:
        if not any(_is_meant(wanted, got) for got in answered):
            yield from _indented(why_not(outcome, wanted.action, wanted.treatment))
    for got in answered:
        if not any(_is_meant(wanted, got) for wanted in expected):
            for trace in traces_of(outcome.response, got.action_id, got.treatment_id):
                yield from _indented(story(outcome.response, trace))
    for reason in outcome.response.reasons:
        yield f"{_INDENT}the answer says {reason.code}: {reason.text}"


def _is_meant(wanted: schema.ExpectedAction, got: pb.RankedAction) -> bool:
    return wanted.action == got.action_id and wanted.treatment in ("", got.treatment_id)


def _action(
    outcome: Outcome, place: str, wanted: schema.ExpectedAction, got: pb.RankedAction
) -> Iterator[str]:
    now, told = outcome.case.now, False
    for name in sorted(wanted.model_fields_set & _FIELDS.keys()):
        expectation, actual = getattr(wanted, name), _FIELDS[name](got)
        if name in ("not_before", "expires") and expectation is not None:
            expectation = moment_of(expectation, now)
        if not _same(expectation, actual):
            yield f"{place}: {name}: expected {_shown(expectation, now)}, got {_shown(actual, now)}"
            if name in _DERIVED and not told:
                told = True
                for trace in traces_of(outcome.response, got.action_id, got.treatment_id):
                    yield from _indented(story(outcome.response, trace))
    for name, text in wanted.content.items():
        if (actual := got.content.get(name)) != text:
            yield f"{place}: content {name}: expected {_shown(text, now)}, got {_shown(actual, now)}"
    yield from _reasons(place, wanted.reasons, wanted.says, got.reasons)


def _recipient(got: pb.RankedAction) -> str:
    return pb.Recipient.Name(got.recipient).removeprefix("RECIPIENT_").lower()


def _moment(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(UTC)


_FIELDS: Final[dict[str, Callable[[pb.RankedAction], Any]]] = {
    "channel": lambda got: got.channel,
    "device": lambda got: got.device,
    "bundle": lambda got: got.bundle,
    "recipient": _recipient,
    "not_before": lambda got: _moment(got.not_before_time),
    "expires": lambda got: _moment(got.expire_time) if got.HasField("expire_time") else None,
    "propensity": lambda got: got.propensity if got.HasField("propensity") else None,
    "priority": lambda got: got.priority if got.HasField("priority") else None,
    "value": lambda got: got.value.micros / 1e6,
    "cost": lambda got: got.cost.micros / 1e6,
    "selection_probability": lambda got: got.selection_probability,
}


_DERIVED: Final = frozenset({"not_before", "priority", "propensity", "selection_probability"})
"""What a story of the candidate explains."""


def _reasons(
    place: str, codes: Iterable[str], texts: Iterable[str], reasons: Iterable[pb.Reason]
) -> Iterator[str]:
    given = [f"{reason.code} ({reason.text})" for reason in reasons]
    missing = [f"a reason {code}" for code in codes if not any(one.startswith(f"{code} (") for one in given)]
    missing += [f'a reason that says "{text}"' for text in texts if not any(text in one for one in given)]
    if missing:
        yield f"{place}: expected {' and '.join(missing)}, got {_list(given)}"


def _removal(outcome: Outcome, name: str, wanted: schema.ExpectedRemoval) -> Iterator[str]:
    action_id, _, treatment_id = name.partition("/")
    by = (f" at {wanted.stage}" if wanted.stage else "") + (f" by {wanted.rule}" if wanted.rule else "")
    traces = traces_of(outcome.response, action_id, treatment_id)
    if not traces:
        yield f"removed: expected {name} to be removed{by}"
        yield from _indented(why_not(outcome, action_id, treatment_id))
    for trace in traces:
        if not _is_removed(trace, wanted):
            name = identify(trace.action_id, trace.treatment_id)
            yield f"removed: expected {name} to be removed{by}{_saying(wanted)}"
            yield from _indented(story(outcome.response, trace))


def _is_removed(trace: pb.CandidateTrace, wanted: schema.ExpectedRemoval) -> bool:
    return (
        bool(trace.removed_stage)
        and wanted.rule in ("", trace.removed_rule)
        and wanted.stage in (None, trace.removed_stage)
        and all(text in trace.removed_text for text in wanted.says)
    )


def _saying(wanted: schema.ExpectedRemoval) -> str:
    return f", saying {_list([repr(text) for text in wanted.says])}" if wanted.says else ""


def _plain(expected: schema.Expected, response: pb.DecideResponse) -> Iterator[str]:
    got_level = pb.ServedBy.Name(response.served_by).removeprefix("SERVED_BY_")
    if expected.served_by not in (None, got_level):
        yield f"served_by: expected {expected.served_by}, got {got_level}"
    lost = sorted(
        pb.DegradationSource.Name(each.source).removeprefix("DEGRADATION_SOURCE_").lower()
        for each in response.degradations
    )
    if expected.degradations is not None and sorted(expected.degradations) != lost:
        yield f"degradations: expected {_list(expected.degradations)}, got {_list(lost)}"
    if expected.control_arm not in (None, response.control_arm):
        yield f"control_arm: expected {expected.control_arm or 'none'}, got {response.control_arm or 'none'}"


def _logged(outcome: Outcome, folder: Path) -> Iterator[str]:
    expected = outcome.case.expect
    if not (expected.record or expected.never_logged or expected.never_stored):
        return
    record = records.read_record(outcome.gateway.store, outcome.response.decision_id)
    data, now = records.as_json(record), outcome.case.now
    for path, value in expected.record.items():
        if not _same_json(value, actual := records.find(data, path)):
            yield f"record {path}: expected {_shown(value, now)}, got {_shown(actual, now)}"
    for text in (*expected.never_logged, *expected.never_stored):
        if text.encode() in record:
            yield f'the log record holds "{text}"'
    for text in expected.never_stored:
        yield from (f'{path.relative_to(folder)} holds "{text}"' for path in _holding(folder, text))


def _holding(folder: Path, text: str) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if text.encode() in path.read_bytes()]


def _same(expected: Any, got: Any) -> bool:
    if isinstance(expected, float) and isinstance(got, float):
        return isclose(expected, got, rel_tol=0.0, abs_tol=_TOLERANCE)
    return bool(expected == got)


def _same_json(expected: Any, got: Any) -> bool:
    if expected is None:
        return got in (None, [], {})
    if isinstance(expected, bool) or isinstance(got, bool):
        return expected is got
    if isinstance(expected, int | float):
        # In JSON whole numbers of 64 bits are texts.
        try:
            return isclose(expected, float(got), rel_tol=0.0, abs_tol=_TOLERANCE)
        except (TypeError, ValueError):
            return False
    return bool(expected == got)


def _shown(value: Any, now: datetime) -> str:
    if isinstance(value, datetime):
        return "now" if value == now else when(value.astimezone(now.tzinfo))
    if value is None or value == "":
        return "nothing"
    if isinstance(value, str):
        return f'"{value}"'
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (_INDENT + line for line in lines)
