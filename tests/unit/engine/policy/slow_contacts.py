"""The contact policy once more, slow and obvious: it looks at every contact for every question."""

from datetime import UTC, date, datetime, timedelta
from functools import cache

from hypothesis import strategies as st

from services.engine.instants import zone
from services.engine.playbook.facts import Facts
from services.engine.playbook.kinds import parse_window
from services.engine.playbook.rules import CompiledRule, Concerning, RuleBook, Varies
from services.engine.playbook.schema import policies
from services.engine.policy.contact import Contact, Ledger, Response

NOW = datetime(2025, 6, 4, 12, 0, 0, 5, tzinfo=UTC)
BERLIN = (zone("Europe/Berlin"),)
MODELS = {
    "caps": policies.Cap,
    "cool_downs": policies.CoolDown,
    "repeat_costs": policies.RepeatCost,
    "precedence": policies.Precedence,
}


def facts(action="a", treatment="t", group="g", channel="email", purpose="p", action_class="standard"):
    return Facts(
        action_id=action,
        treatment_id=treatment,
        group=group,
        channel=channel,
        purpose=purpose,
        action_class=action_class,
    )


def statements(**sections):
    """Compile statements of the contact policy, given as they stand in the file but for their texts."""
    found = []
    for section, model in MODELS.items():
        for number, data in enumerate(sections.get(section, ())):
            rule = model.model_validate({"name": f"{section}_{number}", "text": "So.", **data})
            found.append((section, rule))
    return [
        CompiledRule(place=place, section=section, rule=rule, expression=None, varies=Varies.BY_DECISION)
        for place, (section, rule) in enumerate(found)
    ]


def about(rules, its):
    """Return the statements about a treatment, found one by one."""
    others = [rule for rule in rules if is_in(applies_to(rule.rule), its)]
    return Concerning(shared=(), own=(), others=tuple(others))


def book(rules):
    return RuleBook(rules)


def applies_to(rule):
    """Return what a statement is about; one that does not say spares what has to be said."""
    scope = rule.applies_to.model_dump()
    return scope if any(scope.values()) else {**scope, "classes": ("standard", "default")}


def is_in(scope, its):
    named = [
        its.group in scope["groups"],
        its.action_id in scope["actions"],
        f"{its.action_id}/{its.treatment_id}" in scope["treatments"],
    ]
    if (scope["groups"] or scope["actions"] or scope["treatments"]) and True not in named:
        return False
    if scope["purposes"] and its.purpose not in scope["purposes"]:
        return False
    if scope["channels"] and its.channel not in scope["channels"]:
        return False
    return not scope["classes"] or its.action_class in scope["classes"]


def are_alike(each, one, other):
    same = {
        "group": one.group == other.group,
        "action": one.action_id == other.action_id,
        "treatment": (one.action_id, one.treatment_id) == (other.action_id, other.treatment_id),
        "channel": one.channel == other.channel,
        "purpose": one.purpose == other.purpose,
    }
    return all(same[name] for name in each)


def count(rule, its, ledger, zones, now, *, taken_only=False):
    """Count the contacts that a cap or a repeat cost counts for a treatment."""
    found = 0
    for contact in ledger.contacts:
        if contact.release_time is not None:
            continue
        if not is_in(applies_to(rule), contact.facts) or not are_alike(rule.each, contact.facts, its):
            continue
        if contact.consume_time is not None:
            found += not lies_before(contact.consume_time, rule.window, zones, now)
        elif contact.expire_time is not None and now < contact.expire_time:
            found += not taken_only
    return found


def lies_before(time, window, zones, now):
    """Tell whether a moment is too long ago for a window."""
    if isinstance(window, timedelta):
        return now - time > window
    return all(time < first_moment(first_day(window, now, name), name) for name in [z.key for z in zones])


def first_day(period, now, zone_name):
    day = now.astimezone(zone(zone_name)).date()
    while (period == "week" and day.isoweekday() != 1) or (period == "month" and day.day != 1):
        day -= timedelta(days=1)
    return day


@cache
def first_moment(day: date, zone_name):
    """Walk minute by minute to the first one of a local day, or of a later one where there is none."""
    moment = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=40)
    while moment.astimezone(zone(zone_name)).date() < day:
        moment += timedelta(minutes=1)
    return moment


def removed_by(rules, its, ledger, zones, now, *, taken_only=False):
    """Return the name of the first cap that is full or cool-down that lasts, caps first; else None."""
    mine = [each for each in rules if is_in(applies_to(each.rule), its)]
    for rule in [each.rule for each in mine if each.section == "caps"]:
        if count(rule, its, ledger, zones, now, taken_only=taken_only) >= rule.most:
            return rule.name
    for rule in [each.rule for each in mine if each.section == "cool_downs"]:
        for response in ledger.responses:
            is_its = is_in(applies_to(rule), response.facts) and are_alike(rule.each, response.facts, its)
            if is_its and response.kind == rule.after and now < response.time + rule.rest:
                return rule.name
    return None


def waits_by(rules, its, possible, ledger, now):
    """Return the name of the first precedence that a treatment waits by, else None."""
    for rule in [each.rule for each in rules if each.section == "precedence"]:
        first = rule.first.model_dump()
        if not is_in(rule.applies_to.model_dump(), its) or is_in(first, its):
            continue
        if any(is_in(first, other) for other in possible):
            return rule.name
        for contact in ledger.contacts:
            if contact.release_time is not None or not is_in(first, contact.facts):
                continue
            taken, expire = contact.consume_time, contact.expire_time
            if taken is None and expire is not None and now < expire:
                return rule.name
            if taken is not None and rule.within is not None and now < taken + rule.within:
                return rule.name
    return None


WHOLE = [
    facts("a", "t", "g", "email", "p"),
    facts("a", "u", "g", "sms", "p"),
    facts("b", "t", "g", "email", "q"),
    facts("c", "t", "h", "sms", "p", "default"),
    facts("d", "t", "h", "email", "q", "mandatory"),
]
SCOPES = st.sampled_from(
    [
        {"groups": ["g"]},
        {"actions": ["c"], "groups": ["g"]},
        {"treatments": ["a/u", "b/t"]},
        {"purposes": ["p"], "channels": ["email"]},
        {"classes": ["mandatory", "standard"]},
        {"channels": ["sms"]},
    ]
)
EACH = st.lists(st.sampled_from(["group", "action", "treatment", "channel", "purpose"]), unique=True)
WINDOWS = st.sampled_from(["1h", "1d", "7d", "day", "week", "month"])
ANSWERS = st.sampled_from(["rejected", "viewed"])


@st.composite
def rules(draw):
    """Make statements of every section, some without a scope."""

    def some(**shape):
        return draw(st.lists(st.fixed_dictionaries(shape), max_size=2))

    scope = st.one_of(st.just({}), SCOPES)
    return statements(
        caps=some(most=st.integers(1, 3), window=WINDOWS, each=EACH, applies_to=scope),
        cool_downs=some(after=ANSWERS, rest=st.sampled_from(["1h", "2d"]), each=EACH, applies_to=scope),
        repeat_costs=some(amount=st.just(1), window=WINDOWS, each=EACH, applies_to=scope),
        precedence=some(first=SCOPES, applies_to=SCOPES, within=st.sampled_from([None, "1h", "2d"])),
    )


@st.composite
def ledgers(draw, now):
    """Make ledgers whose times lie about a moment, often exactly on an edge of a window."""
    ago = st.sampled_from(["1h", "1d", "2d", "7d"]).map(parse_window)
    near = st.integers(-1, 1).map(lambda count: timedelta(microseconds=count))
    edges = st.builds(lambda length, off: now - length + off, ago, near)
    times = edges | st.integers(-40 * 24 * 60, 60).map(lambda minutes: now + timedelta(minutes=minutes))
    contact = st.builds(
        Contact,
        facts=st.sampled_from(WHOLE),
        reserve_time=st.none() | times,
        expire_time=st.none() | times | near.map(lambda off: now + off),
        consume_time=st.none() | times,
        release_time=st.sampled_from([None, None, None, now]),
    )
    response = st.builds(Response, facts=st.sampled_from(WHOLE), kind=ANSWERS, time=times)
    return Ledger(
        contacts=draw(st.lists(contact, max_size=8)), responses=draw(st.lists(response, max_size=4))
    )
