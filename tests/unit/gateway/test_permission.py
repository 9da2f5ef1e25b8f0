"""No answer, whatever fails, contains an action without permission."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from deciding import ANNA, CARD, EVERYTHING, NOW, Shop, model, playbook, request
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.faults import Fault
from services.engine.policy.consent import Permission
from services.gateway.domain.knowledge import Cause, Profile, Unavailable
from services.gateway.ports import NotLogged

NOBODY = "nobody"
MOMENTS = st.sampled_from([NOW + timedelta(hours=hours) for hours in (0, -1, 1)])
FREE = {"receipt", "recall"}

failures = st.none() | st.sampled_from([Unavailable(cause, "failed") for cause in Cause])
grants = st.fixed_dictionaries(
    {},
    optional={
        key: st.builds(Permission, granted=st.booleans(), expire_time=st.none() | MOMENTS)
        for key in EVERYTHING
    },
)


@dataclass(frozen=True)
class Step:
    """One request, and the state of the world while it is answered."""

    asked: object
    profile: object
    features: object
    scoring: object
    log: object
    is_full: bool
    is_new_layout: bool
    score: float


steps = st.builds(
    Step,
    asked=st.builds(
        request,
        customer_id=st.sampled_from([ANNA, NOBODY]),
        identity=st.none() | st.sampled_from([CARD, ("card", "no such card")]),
        at=MOMENTS,
        mode=st.sampled_from(["DECISION_MODE_LIVE", "DECISION_MODE_DRY_RUN"]),
        max_actions=st.integers(0, 20),
        request_id=st.sampled_from(["", "a-1", "a-2"]),
        include_explanation=st.booleans(),
    ),
    profile=failures,
    features=failures,
    scoring=failures,
    log=st.sampled_from([None, None, None, NotLogged("failed")]),
    is_full=st.sampled_from([False, False, False, True]),
    is_new_layout=st.booleans(),
    score=st.sampled_from([0.5, 0.0, 1.0]),
)


def may_leave(action, grants, at):
    """Tell slowly and obviously whether one ranked action is permitted."""
    declared = playbook().actions[action.action_id]
    if declared.action_class == "mandatory":
        return True
    if declared.action_class == "transactional":
        return True
    channel = declared.treatments[action.treatment_id].channel
    assert channel == action.channel
    for (purpose, on), permission in grants.items():
        if purpose == declared.purpose and on == channel and permission.granted:
            return permission.expire_time is None or at < permission.expire_time
    return False


@settings(max_examples=200)
@given(
    grants=grants,
    age=st.sampled_from([12, 40]),
    is_known=st.booleans(),
    steps=st.lists(steps, min_size=1, max_size=5),
)
def test_no_failure_lets_an_action_leave_without_permission(grants, age, is_known, steps):
    shop = Shop()
    shop.profiles.profiles[ANNA] = Profile(customer_id=ANNA, attributes={"age": age}, permissions=grants)
    if is_known:
        shop.log.model = model()
    for step in steps:
        shop.profiles.failure, shop.features.failure = step.profile, step.features
        shop.scorer.failure, shop.log.failure = step.scoring, step.log
        shop.log.queued = shop.log.queue_limit if step.is_full else 0
        shop.scorer.score_row = lambda customer, candidate, score=step.score: score
        if step.is_new_layout:
            shop.scorer.model = model(version="2", names=("discount", "spend_30d"))
        try:
            answer = asyncio.run(shop.deciding(step.asked))
        except Fault:
            continue
        at = answer.decision_time.ToDatetime(UTC)
        assert isinstance(at, datetime)
        assert all(may_leave(action, grants, at) for action in answer.actions)
        if answer.customer_id != ANNA:
            assert not answer.actions or {action.action_id for action in answer.actions} <= FREE
        if age < 18:
            assert "wine-coupon" not in {action.action_id for action in answer.actions}
        logged = {entry.decision_id for entry in shop.log.entries.values()}
        assert not answer.actions or answer.decision_id in logged
        assert answer.actions or answer.reasons
