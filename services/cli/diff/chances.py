"""Where a candidate's chance of success comes from: the log, the model, or a rate that stands in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import fmean

from tact.decision.v1 import decision_service_pb2 as pb
from tact.log.v1 import decision_record_pb2 as log_pb

from services.cli.diff.archive import Archive, Origin
from services.engine.playbook.playbook import Playbook
from services.gateway.domain.making import Edition
from services.gateway.domain.remaking import RecordedCandidate

Key = tuple[str, str]
"""An action and a treatment."""


class Source(StrEnum):
    """What a candidate was scored by, the best first; the value is what people read."""

    RECORDED = "the score on record"
    ALTERED = "the score on record, of the action as it was described then"
    MODEL = "the champion"
    BASE_RATE = "the base rate of their group, as on record"
    MEAN_OF_ACTION = "the mean score of the action in the log"
    MEAN_OF_GROUP = "the mean score of their group in the log"
    MEAN_OF_LOG = "the mean score of the log"
    UNKNOWN = "nothing: no chance is known"


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Mean scores over a log, by action and by group; ``overall`` is None where nothing was scored."""

    actions: Mapping[str, float]
    groups: Mapping[str, float]
    overall: float | None


class Scores:
    """Collects the scores of a log, each action of a decision once."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._scores: defaultdict[tuple[str, str], list[float]] = defaultdict(list)

    def note(self, record: log_pb.DecisionRecord) -> None:
        """Take in one decision."""
        playbook = self._archive.origin(record).edition.playbook
        scores = {one.action_id: one.propensity for one in record.candidates if one.HasField("propensity")}
        for action_id, score in scores.items():
            self._scores[_group(action_id, playbook), action_id].append(score)

    def means(self) -> Means:
        """Return the means of what was noted."""
        of_group: defaultdict[str, list[float]] = defaultdict(list)
        of_action: defaultdict[str, list[float]] = defaultdict(list)
        for (group, action_id), scores in self._scores.items():
            of_action[action_id] += scores
            of_group[group] += scores if group else []
        every = [score for scores in of_action.values() for score in scores]
        return Means(
            actions={action_id: fmean(scores) for action_id, scores in of_action.items()},
            groups={group: fmean(scores) for group, scores in of_group.items() if scores},
            overall=fmean(every) if every else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """The candidates of one decision with their chances, and where these come from.

    A decision that no model scored takes base rates for chances, so these stand where a base rate does.
    """

    candidates: Mapping[Key, RecordedCandidate]
    sources: Mapping[Key, Source]
    is_by_model: bool

    def scored(self, chances: Mapping[str, float]) -> Filled:
        """Take the model's chances of these actions instead."""
        model = {key for key in self.candidates if key[0] in chances}
        candidates = {
            key: self._with(one, chances[key[0]]) if key in model else one
            for key, one in self.candidates.items()
        }
        sources = {key: Source.MODEL if key in model else one for key, one in self.sources.items()}
        return replace(self, candidates=candidates, sources=sources)

    def _with(self, one: RecordedCandidate, chance: float) -> RecordedCandidate:
        return replace(one, propensity=chance, prior=one.prior if self.is_by_model else chance)


class Chances:
    """Gives every treatment of an edition its chance in a decision on record."""

    def __init__(self, edition: Edition, means: Means) -> None:
        self._edition = edition
        self._means = means
        self._treatments = [
            ((action_id, treatment_id), action.group)
            for action_id, action, treatment_id, _ in edition.playbook.treatments()
        ]
        self._described: dict[str, frozenset[str]] = {}

    def fill(self, record: log_pb.DecisionRecord, origin: Origin) -> Filled:
        """Return a chance for each treatment, from the best source that has one.

        A decision that had to do without any model and base rate gets none it did not have.
        """
        known = {(one.action_id, one.treatment_id): one for one in record.candidates}
        scores = {one.action_id: one.propensity for one in record.candidates if one.HasField("propensity")}
        rates = {
            _group(one.action_id, origin.edition.playbook): one.prior
            for one in record.candidates
            if one.HasField("prior")
        }
        altered = self._altered(origin)
        is_blind = record.response.served_by == pb.SERVED_BY_RULES
        is_by_model = bool(record.response.model_version)
        candidates, sources = {}, {}
        for key, group in self._treatments:
            if key[0] in scores:
                chance: float | None = scores[key[0]]
                source = Source.ALTERED if key[0] in altered else Source.RECORDED
            elif is_blind:
                chance, source = None, Source.UNKNOWN
            else:
                chance, source = self._stand_in(key[0], group, rates)
            one = known.get(key)
            rate = one.prior if one is not None and one.HasField("prior") else rates.get(group)
            candidates[key] = RecordedCandidate(
                propensity=chance,
                prior=rate if is_by_model else chance,
                vector=b"" if one is None else one.candidate_vector,
            )
            sources[key] = source
        return Filled(candidates=candidates, sources=sources, is_by_model=is_by_model)

    def _stand_in(
        self, action_id: str, group: str, rates: Mapping[str, float]
    ) -> tuple[float | None, Source]:
        for rate, source in (
            (rates.get(group), Source.BASE_RATE),
            (self._means.actions.get(action_id), Source.MEAN_OF_ACTION),
            (self._means.groups.get(group), Source.MEAN_OF_GROUP),
            (self._means.overall, Source.MEAN_OF_LOG),
        ):
            if rate is not None:
                return rate, source
        return None, Source.UNKNOWN

    def _altered(self, origin: Origin) -> frozenset[str]:
        """Return the actions whose own features are other numbers than they were."""
        version = origin.edition.playbook.version
        if (found := self._described.get(version)) is None:
            found = self._described[version] = frozenset(_altered(origin.edition, self._edition))
        return found


def _altered(before: Edition, after: Edition) -> Iterable[str]:
    for action_id in before.playbook.actions.keys() & after.playbook.actions.keys():
        had, has = (each.feature_set.action_values(action_id) for each in (before, after))
        if any(repr(had[name]) != repr(has[name]) for name in had.keys() & has.keys()):
            yield action_id


def _group(action_id: str, playbook: Playbook) -> str:
    action = playbook.actions.get(action_id)
    return "" if action is None else action.group
