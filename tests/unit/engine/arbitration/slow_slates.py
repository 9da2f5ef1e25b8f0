"""Every slate that a world may end in, spelled out step by step: slow, obvious, and for tests only."""

import math
from dataclasses import dataclass, field, replace
from itertools import product

from hypothesis import strategies as st

from services.engine.arbitration.candidates import NOTHING, Candidate
from services.engine.arbitration.slate import slate
from services.engine.playbook.schema.head import Epsilon, SlateLimits, Softmax

ARMS = ["", "random_eligible", "no_levers", "propensity_only", "eligibility_only", "hold_out"]


def candidate(action_id="a", treatment_id="t", propensity=0.5, value=10, cost=0, **others):
    """Make a candidate; amounts are in currency units."""
    return Candidate(
        **{"group": "g", "channel": "email", "action_class": "standard"} | others,
        action_id=action_id,
        treatment_id=treatment_id,
        propensity=propensity,
        value_micros=round(value * 1_000_000),
        cost_micros=round(cost * 1_000_000),
    )


@dataclass(frozen=True, kw_only=True)
class World:
    """All that a slate depends on but the draws."""

    candidates: list
    threshold_micros: int = 0
    limit: int = 10
    limits: SlateLimits = field(default_factory=SlateLimits)
    bundles: dict = field(default_factory=dict)
    exploration: Softmax | Epsilon | None = None
    arm: str = ""


def fill(world, draw=lambda rank: 0.5):
    """Fill the slate by the code under test."""
    return slate(**vars(world), draw=draw)


def places(ranked):
    return [(one.candidate.action_id, one.candidate.treatment_id) for one in ranked.ranked]


def actions(ranked):
    return [one.candidate.action_id for one in ranked.ranked]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One rank of a path: what came out, with which probability, and a draw that makes it come out."""

    outcome: Candidate | None
    probability: float
    bundle: str
    point: float
    after_nothing: bool


def priority(one, arm):
    """Return the formula, with what the arm changes of it."""
    if one.propensity is None:
        return None
    exempt = one.action_class in ("mandatory", "transactional")
    if arm == "propensity_only" and not exempt:
        return one.propensity
    lever = 1.0 if arm == "no_levers" and not exempt else one.lever
    worth = lever * one.weight * one.propensity * one.value_micros
    return (worth - (one.cost_micros + one.extra_cost_micros) + one.measures_micros) / 1e6


def order(world, arm):
    """Return a sort key for candidates and for None, which is doing nothing."""

    def its_key(one):
        if one is None:
            least = 0.0 if arm == "propensity_only" else world.threshold_micros / 1e6
            return (False, -least, "do_nothing", "")
        worth = priority(one, arm)
        return (worth is None, -(worth or 0.0), one.action_id, one.treatment_id)

    return its_key


def contenders(world):
    """Leave the treatments that stand for their action."""
    left = []
    for action_id in {one.action_id for one in world.candidates}:
        own = [one for one in world.candidates if one.action_id == action_id]
        if own[0].urgent:
            own = [one for one in own if one.not_before == min(one.not_before for one in own)]
            own = [one for one in own if one.consented] or own
            own = [one for one in own if one.delay_seconds == min(one.delay_seconds for one in own)]
            own = sorted(own, key=order(world, world.arm))[:1]
        elif own[0].action_class in ("mandatory", "transactional"):
            own = [one for one in own if one.consented] or own
        left += own
    return left


def drawn_by_rule(world, arm, items):
    """Return the probability of each item where all are treated alike."""
    its_key = order(world, arm)
    best = min(items, key=its_key)
    if arm == "random_eligible":
        return [1 / len(items) for _ in items]
    if world.exploration is None:
        return [float(item is best) for item in items]
    if world.exploration.method == "epsilon":
        epsilon = world.exploration.epsilon
        return [epsilon / len(items) + (1 - epsilon) * (item is best) for item in items]
    weights = [
        math.exp((its_key(best)[1] - its_key(item)[1]) / world.exploration.temperature) for item in items
    ]
    return [weight / sum(weights) for weight in weights]


def drawn(world, items):
    """Return the probability of each item, in the three steps that arms take."""
    exempt = [one for one in items if one is not None and one.action_class == "transactional"]
    others = [one for one in items if one is not None and one.action_class == "standard"]
    nothing = [None] if None in items else []
    chances = [0.0 for _ in items]
    for first, p in zip(items, drawn_by_rule(world, "", items), strict=True):
        if first in exempt or world.arm not in ("random_eligible", "no_levers", "propensity_only"):
            chances[items.index(first)] += p
            continue
        by_arm = [*others, *nothing]
        for second, q in zip(by_arm, drawn_by_rule(world, world.arm, by_arm), strict=True):
            if second is not None or first is None:
                chances[items.index(second)] += p * q
                continue
            again = [*exempt, None]
            for third, r in zip(again, drawn_by_rule(world, "", again), strict=True):
                chances[items.index(third)] += p * q * r
    return chances


def steps(world, path):
    """Return the steps that may follow a path, each with what was left to draw."""
    ranked = [step.outcome for step in path]
    taken = {one.action_id for one in ranked}
    its_key = order(world, world.arm)
    left = [
        one
        for one in contenders(world)
        if one.action_id not in taken
        and one.action_class in ("standard", "transactional")
        and has_slots(one, ranked)
    ]
    for one in ranked:
        for name, members in world.bundles.items():
            missing = [other for other in left if one.action_id in members and other.action_id in members]
            if scored := [other for other in missing if other.propensity is not None]:
                return intervals(scored, drawn(world, scored), name, None), scored
            if missing:
                return intervals([min(missing, key=its_key)], [1.0], name, None), []
    most = (world.limits.most_per_group or 99, world.limits.most_per_channel or 99)
    free = [
        one
        for one in left
        if sum(other.group == one.group for other in ranked) < most[0]
        and sum(other.channel == one.channel for other in ranked) < most[1]
    ]
    over = any(step.after_nothing for step in path)
    items = [None] if over else [*(one for one in free if one.propensity is not None), None]
    instead = min((one for one in free if one.propensity is None), key=its_key, default=None)
    if instead is None and not ranked:
        defaults = [one for one in contenders(world) if one.action_class == "default"]
        instead = min(defaults, key=its_key, default=None)
    return intervals(items, drawn(world, items), "", instead), items[:-1]


def intervals(items, chances, bundle, instead):
    """Divide [0, 1) among the items by their ids; ``instead`` takes the place of doing nothing."""
    found, edge = [], 0.0
    named = [
        (instead if item is None else item, item, chance) for item, chance in zip(items, chances, strict=True)
    ]
    for outcome, item, chance in sorted(named, key=lambda one: place(one[0])):
        if chance > 0.0:
            found.append(
                Step(
                    outcome=outcome,
                    probability=chance,
                    bundle=bundle,
                    point=edge + chance / 2,
                    after_nothing=item is None,
                )
            )
        edge += chance
    return found


def place(one):
    return NOTHING if one is None else (one.action_id, one.treatment_id)


def has_slots(one, ranked):
    """Tell whether the ranks before leave all slots that a candidate needs."""
    return all(sum(key in dict(other.slots) for other in ranked) < left for key, left in one.slots)


def certain(world):
    """Return the path through the mandatory actions."""
    mandatory = [one for one in contenders(world) if one.action_class == "mandatory"]
    path = []
    for one in sorted(mandatory, key=order(world, world.arm)):
        ranked = [step.outcome for step in path]
        if one.action_id not in [other.action_id for other in ranked] and has_slots(one, ranked):
            path.append(Step(outcome=one, probability=1.0, bundle="", point=0.5, after_nothing=False))
    return path[: world.limit]


def paths(world, path=None):
    """Return every path; the outcome None ends one."""
    path = certain(world) if path is None else path
    if len(path) >= world.limit or (path and path[-1].outcome is None):
        return [path]
    return [whole for step in steps(world, path)[0] for whole in paths(world, [*path, step])]


def beaten(world, path):
    """Return what the path left behind for doing nothing, None where it did not."""
    for index, step in enumerate(path):
        if step.after_nothing:
            left = steps(world, path[:index])[1]
            arbitrates = world.arm in ("random_eligible", "no_levers", "propensity_only")
            others = [one for one in left if not (arbitrates and one.action_class == "transactional")]
            return min(others or left, key=order(world, world.arm), default=None)
    return None


def explored(world, path, rank):
    """Tell whether this step is not the one that no draw would take."""
    if rank < len(certain(world)):
        return False
    arm = "" if world.arm == "random_eligible" else world.arm
    [best] = steps(replace(world, exploration=None, arm=arm), path[:rank])[0]
    return path[rank].outcome is not best.outcome


ACTION_IDS = ("B", "a", "do_nothing-", "do_nothing2", "z")
EXPLORATIONS = (
    None,
    Softmax(method="softmax", temperature=0.5),
    Epsilon(method="epsilon", epsilon=0.3),
    Epsilon(method="epsilon", epsilon=1.0),
)


def combinations(**choices):
    return [dict(zip(choices, chosen, strict=True)) for chosen in product(*choices.values())]


OF_AN_ACTION = combinations(
    action_class=["standard", "standard", "standard", "transactional", "mandatory", "default"],
    value=[1, 0, 2, 4, -1],
    urgent=[False, False, True],
    lever=[1.0, 1.0, 0.0, 3.0],
    weight=[1.0, 0.5],
    group=["g", "h"],
)
OF_A_TREATMENT = combinations(
    propensity=[0.5, 0.25, 1.0, 0.0, None],
    cost=[0, 0.5],
    extra_cost_micros=[0, 0, 300_000],
    measures_micros=[0, 0, 250_000],
    consented=[True, False],
    not_before=[0, 1],
    delay_seconds=[math.inf, 60.0],
    channel=["email", "sms"],
)


@st.composite
def worlds(draw, arms=ARMS, explorations=EXPLORATIONS):
    """Make worlds of two to four actions, with ties, every class and caps that some share."""
    ids = draw(st.lists(st.sampled_from(ACTION_IDS), unique=True, min_size=2, max_size=4))
    candidates, left = [], draw(st.sampled_from([{}, {"p": 1}, {"p": 2, "q": 1}]))
    for action_id in ids:
        shared = draw(st.sampled_from(OF_AN_ACTION))
        for treatment_id in draw(st.sampled_from(["xy", "x"])):
            own = draw(st.sampled_from(OF_A_TREATMENT))
            keys = draw(st.sampled_from(["p", "", "q", "pq"]))
            slots = tuple((key, left[key]) for key in keys if key in left)
            candidates.append(candidate(action_id, treatment_id, **shared, **own, slots=slots))
    halves = {"one": ids[0::2], "two": ids[1::2]}
    most = st.sampled_from([None, None, 1, 2])
    return World(
        candidates=candidates,
        threshold_micros=draw(st.sampled_from([0, 0, 500_000, -1_000_000])),
        limit=draw(st.sampled_from([3, 2, 1, 0])),
        limits=SlateLimits(most_per_group=draw(most), most_per_channel=draw(most)),
        bundles=draw(st.sampled_from([{}, {"pair": ids[:2]}, halves])),
        exploration=draw(st.sampled_from(explorations)),
        arm=draw(st.sampled_from(arms)),
    )
