"""Makes a decision again from what its log record holds, and from nothing else."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, TypeVar

from services.engine.policy.contact import Ledger
from services.engine.policy.verdicts import Asked, Verdict
from services.gateway.domain import answer, funnel, making
from services.gateway.domain.decision import Decision, Fate
from services.gateway.domain.knowledge import Features, Profile, ServedBy, Source
from services.gateway.domain.making import Edition
from services.gateway.domain.request import Checked, DecisionRequest, check
from services.gateway.domain.scoring import Scored, level
from services.gateway.domain.situation import Situation, assess
from services.gateway.domain.timing import Stopwatch

T = TypeVar("T")
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

    ``profile`` is None where nobody could tell who the customer is. ``ledger`` is None where the playbook
    had no contact policy; ``contact_time`` is when it was judged. ``withheld`` are the verdicts of
    conditions that read borrowed values. ``scored`` holds all degradations; ``candidates`` are by
    action and treatment.
    """

    request: DecisionRequest
    decision_time: datetime
    profile: Profile | None
    features: Features | None
    ledger: Ledger | None
    contact_time: datetime | None
    withheld: Mapping[Asked, Verdict]
    candidates: Mapping[tuple[str, str], RecordedCandidate]
    scored: Scored
    timings: Mapping[str, timedelta]
    total: timedelta


def finished(steps: Generator[None, None, T]) -> T:
    """Do all steps of some work at once, and return what comes of it."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            found: T = done.value
            return found


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
    situation = assess(
        *edition,
        checked,
        profile,
        recorded.features,
        recorded.ledger,
        recorded.withheld,
        recorded.contact_time,
    )
    untimed = Stopwatch(lambda: 0)
    yield
    for start in range(0, len(fates), PORTION):
        portion = fates[start : start + PORTION]
        making.narrow(edition, portion, situation, checked, untimed)
        yield
    scored = _scored(recorded, fates)
    for start in range(0, len(fates), PORTION):
        _score(edition, recorded, fates[start : start + PORTION], situation, checked)
        yield
    return _unless_lost(edition, scored, fates, situation, checked)


def _scored(recorded: Recorded, fates: Sequence[Fate]) -> Scored:
    """Return what scoring gave, and the level that follows from what the decision had to do without.

    Whether the model was known is on record with the base rates. Where nothing is left to score,
    scoring is not asked, and the level itself has to tell.
    """
    scored = recorded.scored
    lost = {degradation.source for degradation in scored.degradations}
    is_stale = Source.FEATURES in lost
    if any(fate.removal is None for fate in fates):
        knows_model = any(candidate.prior is not None for candidate in recorded.candidates.values())
        has_features = bool(scored.model_version)
        served_by = level(has_features=has_features, is_stale=is_stale, knows_model=knows_model)
        return replace(scored, served_by=served_by)
    served_by = ServedBy.NOTHING
    if Source.PROFILE not in lost:
        knows_model = scored.served_by is ServedBy.PRIORS
        has_features = recorded.features is not None
        served_by = level(has_features=has_features, is_stale=is_stale, knows_model=knows_model)
    others = tuple(lost for lost in scored.degradations if lost.source is not Source.SCORING)
    return Scored(served_by=served_by, degradations=others)


def _unless_lost(
    edition: Edition, scored: Scored, fates: Sequence[Fate], situation: Situation, checked: Checked
) -> Decision:
    """Conclude, and silence the decision again where its ledger could not be read."""
    known = [lost for lost in scored.degradations if lost.source is not Source.DECISION_LOG]
    lost = [lost for lost in scored.degradations if lost.source is Source.DECISION_LOG]
    scored = replace(scored, degradations=())
    found = making.concluded(edition, fates, situation, checked, scored, known)
    return answer.silenced(found, lost[0].detail) if lost else found


def _score(
    edition: Edition, recorded: Recorded, fates: Sequence[Fate], situation: Situation, checked: Checked
) -> None:
    def of(fate: Fate) -> RecordedCandidate:
        return recorded.candidates.get(fate.key, _NOTHING)

    def propensity(fate: Fate) -> float | None:
        return of(fate).propensity if recorded.scored.model_version else fate.prior

    for fate in fates:
        fate.prior = of(fate).prior
    answer.assign(edition.playbook, fates, situation, checked, propensity)
    for fate in fates:
        if fate.propensity is not None:
            fate.vector = of(fate).vector


_NOTHING: Final = RecordedCandidate()
