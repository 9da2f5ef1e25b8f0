"""Makes a decision again from what its log record holds, and from nothing else."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from services.engine.policy.verdicts import Asked, Verdict
from services.gateway.domain import answer, funnel, making
from services.gateway.domain.decision import Decision, Fate
from services.gateway.domain.knowledge import Features, Profile
from services.gateway.domain.making import Edition
from services.gateway.domain.request import Checked, DecisionRequest, check
from services.gateway.domain.scoring import Scored
from services.gateway.domain.situation import Situation, assess
from services.gateway.domain.timing import Stopwatch

PORTION: Final = 25
"""So many candidates at once: about a millisecond of work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCandidate:
    """What scoring gave to one candidate."""

    propensity: float | None = None
    prior: float | None = None
    vector: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What a decision rested on, as its log record holds it.

    ``profile`` is None where nobody could tell who the customer is. ``withheld`` are the verdicts of
    conditions that read borrowed values. ``scored`` holds all degradations; ``candidates`` are by
    action and treatment.
    """

    request: DecisionRequest
    decision_time: datetime
    profile: Profile | None
    features: Features | None
    withheld: Mapping[Asked, Verdict]
    candidates: Mapping[tuple[str, str], RecordedCandidate]
    scored: Scored
    timings: Mapping[str, timedelta]
    total: timedelta


def remaking(edition: Edition, recorded: Recorded) -> Generator[None, None, Decision]:
    """Make a decision again; at each yield, other work may have its turn.

    Raises:
        InvalidRequest: the request breaks the contract by now.
    """
    checked = check(recorded.request, edition.playbook, recorded.decision_time)
    if recorded.profile is None or not recorded.profile.found:
        found = making.about_nobody(edition, checked, recorded.profile, recorded.scored.degradations)
    else:
        found = yield from _known(edition, recorded, recorded.profile, checked)
    return replace(found, timings=recorded.timings, total=recorded.total)


def _known(
    edition: Edition, recorded: Recorded, profile: Profile, checked: Checked
) -> Generator[None, None, Decision]:
    fates = funnel.live_candidates(edition.playbook, checked)
    situation = assess(*edition, checked, profile, recorded.features, recorded.withheld)
    untimed = Stopwatch(lambda: 0)
    yield
    for start in range(0, len(fates), PORTION):
        portion = fates[start : start + PORTION]
        making.narrow(edition, portion, situation, checked, untimed)
        _score(edition, recorded, portion, situation, checked)
        yield
    return making.concluded(edition, fates, situation, checked, recorded.scored, [])


def _score(
    edition: Edition, recorded: Recorded, fates: Sequence[Fate], situation: Situation, checked: Checked
) -> None:
    def of(fate: Fate) -> RecordedCandidate:
        return recorded.candidates.get(fate.key, _NOTHING)

    for fate in fates:
        fate.prior, fate.vector = of(fate).prior, of(fate).vector
    answer.assign(edition.playbook, fates, situation, checked, lambda fate: of(fate).propensity)


_NOTHING: Final = RecordedCandidate()
