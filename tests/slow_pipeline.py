"""A decision made slowly and plainly, from nothing but the data of a playbook and a world.

Written for the tests only. Conditions are pairs of CEL and Python; a Python one answers True, False, or
None where it stays undecided.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import slow_contact as contact

STAGES = ("eligibility", "applicability", "suitability", "suppression")
FREE_OF_CONSENT = ("mandatory", "transactional")
ZONES_OF = {
    "DE": ("Europe/Berlin", "Europe/Busingen"),
    "NZ": ("Pacific/Auckland", "Pacific/Chatham"),
    "PT": ("Europe/Lisbon", "Atlantic/Madeira", "Atlantic/Azores"),
}


def more(name, least):
    return lambda values: values[name] > least if name in values else None


def either(one, other):
    def decide(values):
        found = (one(values), other(values))
        return True if True in found else None if None in found else False

    return decide


def divided(values):
    if "profile.age" not in values or values["profile.age"] == 0:
        return None
    return 1 // values["profile.age"] > 0


CONDITIONS = {
    "true": lambda values: True,
    "false": lambda values: False,
    "profile.age > 17": more("profile.age", 17),
    "profile.member": lambda values: values.get("profile.member"),
    "known.profile.age": lambda values: "profile.age" in values,
    "profile.member || profile.age > 59": either(
        lambda values: values.get("profile.member"), more("profile.age", 59)
    ),
    "1 / profile.age > 0": divided,
    "profile.secret > 0": more("profile.secret", 0),
    "profile.rumour > 0": more("profile.rumour", 0),
    "context.mood > 0": more("context.mood", 0),
    "feature.spend > 10.0": more("feature.spend", 10.0),
    "feature.visits > 1.0": more("feature.visits", 1.0),
    "feature.liking > 0.5": more("feature.liking", 0.5),
    "action.discount > 0.3": more("action.discount", 0.3),
    "treatment.channel == 'sms'": lambda values: values["treatment.channel"] == "sms",
    "time.hour > 11": more("time.hour", 11),
}


def is_granted(consents, purpose, channel, at):
    state, expires = consents.get((purpose, channel), ("none", None))
    return state == "granted" and (expires is None or at < expires)


def zones(playbook, attributes, context):
    if context.get("time_zone"):
        return [context["time_zone"]]
    if "time_zone" in attributes:
        return [attributes["time_zone"]]
    country = context.get("country") or attributes.get("country")
    return list(ZONES_OF.get(country, [playbook["playbook"]["time_zone"]]))


def home(playbook, attributes):
    """Return the zones of the customer's calendar."""
    return zones(playbook, attributes, {})


def visible(world, at):
    """Return the attributes and features that consents allow to see."""
    allowed = is_granted(world["consents"], "family", "", at)
    attributes = {k: v for k, v in world["attributes"].items() if allowed or k != "secret"}
    features = {k: v for k, v in world["features"].items() if allowed or k not in ("visits", "unseen")}
    return attributes, features


def concerns(statement, own, section):
    return contact.is_about(statement, contact.facts_of(*own), section)


def is_quiet(hours, moment, names):
    for name in names:
        local = moment.astimezone(ZoneInfo(name))
        minute = local.hour * 60 + local.minute
        for start, end in hours:
            if start <= minute < end if start < end else minute >= start or minute < end:
                return True
    return False


def earliest(hours, now, names):
    """Look at every minute of the coming eight days."""
    moment = now
    while is_quiet(hours, moment, names):
        moment = (moment + timedelta(minutes=1)).astimezone(UTC).replace(second=0, microsecond=0)
        if moment > now + timedelta(days=8):
            return None
    return moment


def minutes(text):
    return int(text[:2]) * 60 + int(text[3:])


def decide(playbook, world, asked):
    """Return (rank order, removals by treatment) of a decision without exploration.

    ``asked`` holds ``at``, ``context``, ``max_actions``, ``arm`` and, where it is another one, ``now`` by the
    clock that contacts are counted by; ``world`` what is on file, and what is known of ``contacts`` and
    ``answers``.
    """
    at, arm = asked["at"], asked["arm"]
    attributes, features = visible(world, at)
    names = zones(playbook, attributes, asked["context"])
    hours = {at.astimezone(ZoneInfo(name)).hour for name in names}
    shared = {f"profile.{k}": v for k, v in attributes.items()}
    shared |= {f"context.{k}": v for k, v in asked["context"].get("attributes", {}).items()}
    shared |= {f"feature.{k}": v for k, v in features.items()}
    shared |= {"time.hour": hours.pop()} if len(hours) == 1 else {}
    left, removed = [], {}
    for action_id, action in playbook["actions"]["actions"].items():
        for treatment_id, treatment in action["treatments"].items():
            values = shared | {f"action.{k}": v for k, v in action["attributes"].items()}
            values |= {f"feature.{k}": v for k, v in world["candidates"].get(action_id, {}).items()}
            values["treatment.channel"] = treatment["channel"]
            own = (action_id, action, treatment_id, treatment)
            found = removal(playbook, world, asked, own, values, names)
            if isinstance(found, datetime):
                moment, found = found, dismissal(playbook, world, own, arm)
            if found is None:
                left.append(valued(playbook, world, asked, own, values, moment))
            else:
                removed[action_id, treatment_id] = found
    possible = [one["facts"] for one in left if may_be_chosen(playbook, one, arm)]
    survivors = []
    for one in left:
        contacts, now = world.get("contacts", ()), asked.get("now", at)
        if awaited := contact.waits(playbook["policies"], one["facts"], possible, contacts, now):
            removed[one["action"], one["treatment"]] = "contact", awaited
        else:
            survivors.append(one)
    return *rank(playbook, world, asked, survivors), removed


def removal(playbook, world, asked, own, values, names):
    """Return (stage, rule) or, where nothing removes the treatment, its earliest time."""
    _, action, _, treatment = own
    is_free = action["class"] in FREE_OF_CONSENT
    at, arm = asked["at"], asked["arm"]
    policies = playbook["policies"]
    for stage in STAGES:
        for rule in policies.get(stage, []):
            if not concerns(rule, own, stage):
                continue
            is_lenient = arm == "eligibility_only" and not is_free and not rule.get("protective")
            if is_lenient and stage in ("applicability", "suitability"):
                continue
            if CONDITIONS[rule["when"]](values) is not (stage != "suppression"):
                return stage, rule["name"]
    if "stop_when" in action and CONDITIONS[action["stop_when"]](values) is not False:
        return "stop", "stop_when"
    if not is_free and not is_granted(world["consents"], action["purpose"], treatment["channel"], at):
        return "consent", None
    if not is_free and arm == "hold_out":
        return "arm", "hold_out"
    contacts, answers = world.get("contacts", ()), world.get("answers", ())
    calendar = home(playbook, visible(world, at)[0])
    now = asked.get("now", at)
    if found := contact.obstacle(policies, contact.facts_of(*own), contacts, answers, now, calendar):
        return "contact", found
    quiet = [
        (minutes(rule["from"]), minutes(rule["to"]))
        for rule in policies.get("quiet_hours", [])
        if concerns(rule, own, "quiet_hours")
    ]
    moment = earliest([] if action.get("any_hour") else quiet, at, names)
    if moment is None:
        return "place", "no_hour"
    end = expiry(world, own, at)
    return ("place", "expires_first") if end is not None and moment >= end else moment


def expiry(world, own, at):
    """Return when an answer is over: the action, or the consent that it needs; None where it never is."""
    _, action, _, treatment = own
    ends = [at + contact.length(action["expires_after"])] if "expires_after" in action else []
    if action["class"] not in FREE_OF_CONSENT:
        ends.append(world["consents"][action["purpose"], treatment["channel"]][1])
    return min((end for end in ends if end is not None), default=None)


def dismissal(playbook, world, own, arm):
    """Return what of worth alone removes a treatment, None where nothing does."""
    action_id, action, _, _ = own
    is_free = action["class"] in FREE_OF_CONSENT
    propensity = world["scores"][action_id]
    least = action.get("minimum_propensity", playbook["playbook"]["minimum_propensity"])
    if not is_free and propensity < least:
        return "arbitration", "minimum_propensity"
    for rule in playbook["policies"].get("levers", []):
        is_veto = rule["factor"] == 0 and (is_free or arm != "no_levers")
        if is_veto and concerns(rule, own, "levers"):
            return "veto", rule["name"]
    return None


def may_be_chosen(playbook, one, arm):
    """Tell whether something is better than nothing; a default never comes before others."""
    is_lenient = arm == "propensity_only" and not one["is_free"]
    threshold = 0.0 if is_lenient else playbook["playbook"]["threshold"]
    which = "plain" if one["is_free"] else "in_arm"
    return one["class"] == "mandatory" or (one["class"] != "default" and is_better(one, which, threshold))


def rank(playbook, world, asked, survivors):
    at, arm = asked["at"], asked["arm"]
    kept = [
        one
        for one in survivors
        if not one["is_free"]
        or one["consented"]
        or not any(other["action"] == one["action"] and other["consented"] for other in survivors)
    ]
    calendar, now = home(playbook, visible(world, at)[0]), asked.get("now", at)
    best = []

    def still_open(pool):
        """Leave what may follow the best so far, each of which is a contact by now."""
        contacts = [*world.get("contacts", ()), *(contact.taken(one["facts"], now) for one in best)]
        return [
            one
            for one in pool
            if one["action"] not in [other["action"] for other in best]
            and not contact.obstacle(playbook["policies"], one["facts"], contacts, (), now, calendar)
        ]

    certain = by_worth([one for one in kept if one["class"] == "mandatory"], "plain")
    while left := still_open(certain):
        best.append(left[0])
    pool = [one for one in kept if one["class"] in ("standard", "transactional")]
    while chosen := next_best(still_open(pool), playbook["playbook"]["threshold"], arm):
        best.append(chosen)
    if not best:
        best = by_worth([one for one in kept if one["class"] == "default"], "in_arm")[:1]
    best = best[: asked["max_actions"]]
    return [(one["action"], one["treatment"], one["moment"]) for one in best], [one["in_arm"] for one in best]


def valued(playbook, world, asked, own, values, moment):
    """Work out what a treatment is worth, with and without the control arm."""
    action_id, action, treatment_id, treatment = own
    at, arm, weight, lever = asked["at"], asked["arm"], 1.0, 1.0
    for rule in playbook["policies"].get("weights", []):
        if concerns(rule, own, "weights") and CONDITIONS[rule["when"]](values):
            weight *= rule["factor"]
    for rule in playbook["policies"].get("promises", []):
        if concerns(rule, own, "promises") and f"feature.{rule['feature']}" in values:
            waiting = values[f"feature.{rule['feature']}"] / (int(rule["within"].removesuffix("h")) * 3600)
            weight *= rule["most"] if waiting > 1 else 1 + (rule["most"] - 1) * waiting
    for rule in playbook["policies"].get("levers", []):
        if concerns(rule, own, "levers"):
            lever *= rule["factor"]
    chance, is_free = world["scores"][action_id], action["class"] in FREE_OF_CONSENT
    facts, calendar = contact.facts_of(*own), home(playbook, visible(world, at)[0])
    cost = treatment["cost"]
    contacts, now = world.get("contacts", ()), asked.get("now", at)
    cost += contact.extra_cost(playbook["policies"], facts, contacts, now, calendar)
    plain = lever * weight * chance * action["value"] - cost
    in_arm = plain if is_free or arm != "no_levers" else weight * chance * action["value"] - cost
    return {
        "facts": facts,
        "action": action_id,
        "treatment": treatment_id,
        "class": action["class"],
        "is_free": is_free,
        "consented": is_granted(world["consents"], action["purpose"], treatment["channel"], at),
        "moment": moment,
        "plain": plain,
        "in_arm": chance if arm == "propensity_only" and not is_free else in_arm,
    }


def may_win(playbook, one, arm):
    """Tell whether something could stand in an answer for itself."""
    if one["class"] in ("mandatory", "default"):
        return one["class"] == "mandatory"
    threshold = playbook["playbook"]["threshold"]
    if one["is_free"]:
        return is_better(one, "plain", threshold)
    return is_better(one, "in_arm", 0.0 if arm == "propensity_only" else threshold)


def by_worth(found, which):
    return sorted(found, key=lambda one: (-one[which], one["action"], one["treatment"]))


def is_better(one, which, threshold):
    return one[which] > threshold or (one[which] == threshold and one["action"] < "do_nothing")


def next_best(pool, threshold, arm):
    """Return the best of a pool, or None where doing nothing is better.

    What ignores arms is chosen where it would be without one; else the arm chooses among the rest.
    """
    order = [one for one in by_worth(pool, "plain") if is_better(one, "plain", threshold)]
    if order and order[0]["is_free"]:
        return order[0]
    rest = [one for one in by_worth(pool, "in_arm") if not one["is_free"]]
    bar = 0.0 if arm == "propensity_only" else threshold
    free = [one for one in order if one["is_free"]]
    return next(iter([*(one for one in rest if is_better(one, "in_arm", bar)), *free]), None)
