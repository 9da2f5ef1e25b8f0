"""The contact policy, slowly and plainly: a flat list of contacts, looked through for every question.

Written for the tests only. Facts are a dictionary. A contact is one of ``facts``, when it was
``reserved``, ``until`` when, when it was ``taken`` and when it was given ``back``; an answer to one of
``facts``, ``kind`` and ``at``. What never happened is None.
"""

from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

SPARING = ("suppression", "caps", "cool_downs", "repeat_costs")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def facts_of(action_id, action, treatment_id, treatment):
    return {
        "action": action_id,
        "treatment": f"{action_id}/{treatment_id}",
        "group": action["group"],
        "channel": treatment["channel"],
        "purpose": action["purpose"],
        "class": action["class"],
    }


def is_about(statement, facts, section):
    scope = statement if section == "first" else statement.get("applies_to", {})
    if not scope and section in SPARING:
        return facts["class"] in ("standard", "default")
    named = [
        *(facts["group"] == group for group in scope.get("groups", ())),
        *(facts["action"] == each for each in scope.get("actions", ())),
        *(facts["treatment"] == each for each in scope.get("treatments", ())),
    ]
    return (
        (not named or any(named))
        and facts["channel"] in scope.get("channels", [facts["channel"]])
        and facts["purpose"] in scope.get("purposes", [facts["purpose"]])
        and facts["class"] in scope.get("classes", [facts["class"]])
    )


def length(text):
    return timedelta(**{UNITS[text[-1]]: int(text[:-1])})


def taken(facts, at):
    """Return a contact that was taken without further ado."""
    return {"facts": facts, "reserved": None, "until": None, "taken": at, "back": None}


def is_reserved(contact, at):
    if contact["taken"] is not None or contact["back"] is not None or contact["until"] is None:
        return False
    return at < contact["until"]


def lies_in(window, moment, at, zones):
    """Tell whether a moment is no earlier than the window that ``at`` is in, by any of the zones."""
    if window not in ("day", "week", "month"):
        return at - moment <= length(window)
    return any(moment >= first_minute(first_day(window, local_date(at, name)), name) for name in zones)


def local_date(at, zone):
    return at.astimezone(ZoneInfo(zone)).date()


def first_day(window, day):
    while (window == "week" and day.isoweekday() != 1) or (window == "month" and day.day != 1):
        day -= timedelta(days=1)
    return day


@lru_cache(maxsize=10_000)
def first_minute(day, zone):
    """Look at every minute until the local calendar shows the day, or a later one."""
    moment = datetime.combine(day, time(), UTC) - timedelta(hours=30)
    while local_date(moment, zone) < day:
        moment += timedelta(minutes=1)
    return moment


def count(statement, section, facts, contacts, at, zones, *, taken_only=False):
    """Count the contacts of a window that are alike; what was given back is none."""
    found = 0
    for contact in contacts:
        other = contact["facts"]
        alike = all(facts[name] == other[name] for name in each(statement, section))
        if not alike or not is_about(statement, other, section):
            continue
        if contact["taken"] is None:
            found += not taken_only and is_reserved(contact, at)
        else:
            found += lies_in(statement["window"], contact["taken"], at, zones)
    return found


def each(statement, section):
    return statement.get("each", [] if section == "caps" else ["action"])


def obstacle(policies, facts, contacts, answers, at, zones, *, taken_only=False):
    """Name the first full cap, else the first cool-down that has not ended; None where there is none."""
    for cap in policies.get("caps", ()):
        if not is_about(cap, facts, "caps"):
            continue
        if count(cap, "caps", facts, contacts, at, zones, taken_only=taken_only) >= cap["most"]:
            return cap["name"]
    for rest in policies.get("cool_downs", ()):
        if not is_about(rest, facts, "cool_downs"):
            continue
        for answer in answers:
            alike = all(facts[name] == answer["facts"][name] for name in each(rest, "cool_downs"))
            is_meant = answer["kind"] == rest["after"] and is_about(rest, answer["facts"], "cool_downs")
            if alike and is_meant and at - answer["at"] < length(rest["rest"]):
                return rest["name"]
    return None


def waits(policies, facts, possible, contacts, at):
    """Name the first precedence by which something waits, None where it waits for nothing."""
    for statement in policies.get("precedence", ()):
        first = statement["first"]
        if not is_about(statement, facts, "precedence") or is_about(first, facts, "first"):
            continue
        ahead = [contact for contact in contacts if is_about(first, contact["facts"], "first")]
        if any(is_about(first, other, "first") for other in possible):
            return statement["name"]
        if any(is_reserved(contact, at) for contact in ahead):
            return statement["name"]
        moments = [contact["taken"] for contact in ahead if contact["taken"] is not None]
        if "within" in statement and any(at - moment < length(statement["within"]) for moment in moments):
            return statement["name"]
    return None


def extra_cost(policies, facts, contacts, at, zones):
    return sum(
        cost["amount"] * count(cost, "repeat_costs", facts, contacts, at, zones)
        for cost in policies.get("repeat_costs", ())
        if is_about(cost, facts, "repeat_costs")
    )


def takes_slot(policies, facts):
    """Tell whether something is reserved when it is answered."""
    counted = ("caps", "repeat_costs")
    return any(
        is_about(one, facts, section) for section in counted for one in policies.get(section, ())
    ) or any(is_about(one["first"], facts, "first") for one in policies.get("precedence", ()))


def exists(policies):
    return any(policies.get(name) for name in ("caps", "cool_downs", "repeat_costs", "precedence"))


def known_at(contacts, at):
    """Return the contacts as they were before a moment."""
    found = []
    for contact in contacts:
        happened = {
            name: moment if moment and moment < at else None for name, moment in times(contact).items()
        }
        if happened["reserved"] is not None or happened["taken"] is not None:
            found.append(contact | happened)
    return found


def times(contact):
    return {name: contact[name] for name in ("reserved", "taken", "back")}
