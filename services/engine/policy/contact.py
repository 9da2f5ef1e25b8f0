"""The contact policy: how often a customer may be contacted, and what earlier contacts cost.

A contact counts in a window at ``now`` while it is reserved and not yet taken, given back or expired,
or where it was taken at or after the start of the window, be it even after ``now`` by another clock.

Why a cap of N yields N claims: grants and claims of a customer follow one another. Suppose more than
N claims in one window, the last at c, and let g be the last of their grants. At g each of the others
was either still reserved, to be claimed later, or taken in the window of c, whose start the window of
g does not begin after. So at least N counted at g, and it was no grant. As nobody is granted a slot
that is not there, no claim is refused for want of one, unless the rules, the home zone or the members
changed in between, or something was delivered without a claim. Then claims are counted once more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from services.engine.playbook.facts import Facts, facts_of, is_about
from services.engine.playbook.rules import CompiledRule, Concerning, RuleBook
from services.engine.playbook.schema.policies import (
    Cap,
    CoolDown,
    Likeness,
    PoliciesFile,
    Precedence,
    RepeatCost,
)
from services.engine.policy.engagement import Removal
from services.engine.policy.ledger import Contact, Ledger, Response
from services.engine.policy.periods import longest, start_of

__all__ = [
    "Contact",
    "ContactPolicy",
    "Facts",
    "Ledger",
    "Response",
    "facts_of",
    "horizon",
    "is_counted",
]

Alike = tuple[str, ...]
"""What contacts that count together have in common."""


class ContactPolicy:
    """Applies caps, cool-downs, repeat costs and precedence to the treatments of one decision.

    ``zones`` are the customer's home zones: one, or all of a country. ``now`` is an aware datetime.
    What the ledger holds is looked through once for each statement.
    """

    def __init__(self, ledger: Ledger, zones: tuple[ZoneInfo, ...], now: datetime) -> None:
        self._now, self._zones = now.astimezone(UTC), zones
        self._responses = ledger.responses
        self._reserved = [contact.facts for contact in ledger.contacts if contact.is_reserved(self._now)]
        self._taken = [
            (contact.facts, contact.consume_time)
            for contact in ledger.contacts
            if contact.consume_time is not None and contact.release_time is None
        ]
        self._counts: dict[tuple[int, bool], Counter[Alike]] = {}
        self._answered: dict[int, dict[Alike, datetime]] = {}
        self._under_way: dict[int, bool] = {}
        self._possible: Sequence[Facts] = ()
        self._competing: dict[int, bool] = {}

    def removal(self, concerning: Concerning, facts: Facts) -> Removal | None:
        """Return the first cap that is full, else the first cool-down that has not ended, else None.

        A cool-down rests what is alike while less than ``rest`` has passed since the newest answer.
        """
        return self._removal(concerning, facts, taken_only=False)

    def claim_removal(self, concerning: Concerning, facts: Facts) -> Removal | None:
        """Return what forbids to take a slot that was reserved before.

        Caps count taken contacts only: the own reservation is no obstacle, nor are those of others.
        """
        return self._removal(concerning, facts, taken_only=True)

    def slots(self, concerning: Concerning, facts: Facts) -> tuple[tuple[str, int], ...]:
        """Return, for each cap that concerns a treatment, what shares its slots and how many are left.

        They are at least 1 where ``removal`` returned None. Equal keys draw on the same slots.
        """
        return tuple(
            ("|".join((cap.name, *alike(cap.each, facts))), cap.most - self._count(rule, cap, facts))
            for rule in concerning.others
            if isinstance(cap := rule.rule, Cap)
        )

    def costs(self, concerning: Concerning, facts: Facts) -> list[tuple[RepeatCost, int]]:
        """Return the repeat costs of a treatment, each with its number of earlier contacts, above 0."""
        return [
            (cost, count)
            for rule in concerning.others
            if isinstance(cost := rule.rule, RepeatCost) and (count := self._count(rule, cost, facts))
        ]

    def waiting(self, concerning: Concerning, facts: Facts, possible: Sequence[Facts]) -> Removal | None:
        """Return the first precedence that a treatment waits by, None where it waits for nothing.

        ``possible`` are the facts of all treatments that could be chosen in this decision, this one
        included; it must not change between calls. What waits itself still lets others wait.
        """
        if possible is not self._possible:
            self._possible, self._competing = possible, {}
        for rule in concerning.others:
            statement = rule.rule
            if not isinstance(statement, Precedence) or is_about(statement.first, facts):
                continue
            if self._is_awaited(rule.place, statement):
                return Removal(stage="contact", rule=statement.name, text=statement.text)
        return None

    def _removal(self, concerning: Concerning, facts: Facts, *, taken_only: bool) -> Removal | None:
        for rule in concerning.others:
            statement, detail = rule.rule, ""
            if isinstance(statement, Cap):
                count = self._count(rule, statement, facts, taken_only=taken_only)
                detail = f"{count} of {statement.most}" if count >= statement.most else ""
            elif isinstance(statement, CoolDown):
                newest = self._newest(rule, statement).get(alike(statement.each, facts))
                if newest is not None and newest > self._now - statement.rest:
                    detail = f"{statement.after} on {newest.astimezone(self._zones[0]).date()}"
            if detail:
                return Removal(stage="contact", rule=statement.name, text=f"{statement.text} ({detail})")
        return None

    def _count(
        self, rule: CompiledRule, statement: Cap | RepeatCost, facts: Facts, *, taken_only: bool = False
    ) -> int:
        key = (rule.place, taken_only)
        if (counts := self._counts.get(key)) is None:
            start, scope = start_of(statement.window, self._now, self._zones), rule.scope
            counted = [] if taken_only else [*self._reserved]
            counted += [taken for taken, time in self._taken if time >= start]
            counts = self._counts[key] = Counter(
                alike(statement.each, each) for each in counted if is_about(scope, each)
            )
        return counts[alike(statement.each, facts)]

    def _newest(self, rule: CompiledRule, statement: CoolDown) -> dict[Alike, datetime]:
        """Return when each kind of contact in scope was last answered so."""
        if (newest := self._answered.get(rule.place)) is None:
            newest, scope = self._answered.setdefault(rule.place, {}), rule.scope
            for response in self._responses:
                if response.kind == statement.after and is_about(scope, response.facts):
                    which = alike(statement.each, response.facts)
                    newest[which] = max(response.time, newest.get(which, response.time))
        return newest

    def _is_awaited(self, place: int, statement: Precedence) -> bool:
        if place not in self._competing:
            self._competing[place] = any(is_about(statement.first, each) for each in self._possible)
        return self._competing[place] or self._is_under_way(place, statement)

    def _is_under_way(self, place: int, statement: Precedence) -> bool:
        if place not in self._under_way:
            lately = [] if statement.within is None else self._taken_after(self._now - statement.within)
            contacts = [*self._reserved, *lately]
            self._under_way[place] = any(is_about(statement.first, each) for each in contacts)
        return self._under_way[place]

    def _taken_after(self, time: datetime) -> list[Facts]:
        return [facts for facts, taken in self._taken if taken > time]


def alike(each: Sequence[Likeness], facts: Facts) -> Alike:
    """Return what contacts have to share to count together; treatments are those of their action."""
    return tuple(_LIKENESSES[name](facts) for name in each)


_LIKENESSES: Final[Mapping[Likeness, Callable[[Facts], str]]] = {
    "group": lambda facts: facts.group,
    "action": lambda facts: facts.action_id,
    "treatment": lambda facts: f"{facts.action_id}/{facts.treatment_id}",
    "channel": lambda facts: facts.channel,
    "purpose": lambda facts: facts.purpose,
}


def is_counted(rules: RuleBook, concerning: Concerning, facts: Facts) -> bool:
    """Tell whether a cap, a repeat cost or a precedence counts contacts of a treatment.

    What is counted is reserved when it is returned. A precedence counts what comes first, also
    without ``within``: others wait while it is reserved.
    """
    return any(isinstance(rule.rule, Cap | RepeatCost) for rule in concerning.others) or any(
        isinstance(rule.rule, Precedence) and is_about(rule.rule.first, facts) for rule in rules.rules
    )


def horizon(policies: PoliciesFile) -> timedelta:
    """Return how far back taken contacts and responses matter; nothing without a contact policy.

    What is still reserved matters however old it is. A precedence without ``within`` reads only that,
    but the horizon is not zero then.
    """
    lengths = [longest(cap.window) for cap in policies.caps]
    lengths += [longest(cost.window) for cost in policies.repeat_costs]
    lengths += [statement.rest for statement in policies.cool_downs]
    lengths += [statement.within or timedelta(days=1) for statement in policies.precedence]
    return max(lengths, default=timedelta(0))
