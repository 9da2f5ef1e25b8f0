"""What exploration draws in a case: the best, unless the case says at which points."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import count
from typing import Final

from tact.decision.v1 import decision_service_pb2 as pb

from services.chassis.rpc import ANONYMOUS
from services.cli.cases.situations import Case
from services.engine.arbitration.draw import draw_of
from services.engine.playbook.playbook import DO_NOTHING, Playbook
from services.gateway.domain.request import decision_id

MOST_DRAWS: Final = 200
TOLERANCE: Final = 0.005


def request_ids(case: Case) -> Iterator[str]:
    """Yield ids to ask under until the draw is right: a draw is made of the id."""
    ids = (f"{digest(case)}-{attempt}" for attempt in count())
    if (points := case.request.draw) is None:
        yield from (next(ids) for _ in range(MOST_DRAWS))
    else:
        yield next(request_id for request_id in ids if _draws(request_id, points))


def digest(case: Case) -> str:
    """Return a text that stays the case's own as others come and go."""
    return sha256(f"{case.file}\n{case.name}".encode()).hexdigest()[:32]


def is_right(case: Case, playbook: Playbook, response: pb.DecideResponse) -> bool:
    """Tell whether an answer is that of the draw that a case wants.

    An answer that was drawn says so, but where doing nothing was drawn after the first ranks.
    """
    if case.request.draw is not None:
        return True
    reasons = [*response.reasons, *(reason for action in response.actions for reason in action.reasons)]
    if any(reason.code == "EXPLORED" for reason in reasons):
        return False
    explores = playbook.head.exploration is not None or response.control_arm == "random_eligible"
    is_full = len(response.actions) == case.request.max_actions
    return not explores or is_full or not any(_was_better(playbook, response))


def _draws(request_id: str, points: Sequence[float]) -> bool:
    draw = draw_of(decision_id(ANONYMOUS, False, request_id))
    return all(abs(draw(rank) - point) < TOLERANCE for rank, point in enumerate(points, start=1))


def _was_better(playbook: Playbook, response: pb.DecideResponse) -> Iterator[bool]:
    """Yield for each candidate that was left whether it was worth more than doing nothing."""
    threshold = 0.0 if response.control_arm == "propensity_only" else playbook.head.threshold / 1e6
    taken = {answered.action_id for answered in response.actions}
    limits, actions = playbook.head.slate, playbook.actions
    groups = Counter(actions[answered.action_id].group for answered in response.actions)
    channels = Counter(answered.channel for answered in response.actions)
    for trace in response.explanation.candidates:
        if trace.action_id in (*taken, DO_NOTHING) or trace.removed_stage:
            continue
        group = actions[trace.action_id].group
        yield (
            trace.priority > threshold
            and groups[group] < (limits.most_per_group or 1 + groups[group])
            and channels[trace.channel] < (limits.most_per_channel or 1 + channels[trace.channel])
        )
