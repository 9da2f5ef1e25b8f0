"""What is put on file about a customer, before and after it is checked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from services.engine import moments
from services.engine.playbook import values
from services.engine.playbook.playbook import Playbook
from services.engine.violations import (
    LONGEST_ID,
    MOST_ATTRIBUTES,
    Invalid,
    Violation,
    check_count,
    check_text,
    shorten,
    unknown,
)
from services.profile.domain.identities import Identity, check_identity

MOST_IDENTITIES: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingUpdate:
    """An update as a caller sent it: nothing is checked."""

    customer_id: str
    attributes: Mapping[str, object]
    identities: tuple[Identity, ...]
    record_time: moments.Moment | None
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """An update that can be applied; attributes are JSON, ``null`` for one that becomes missing."""

    customer_id: str
    attributes: Mapping[str, str]
    identities: tuple[Identity, ...]
    record_time: int
    source: str


def check(incoming: IncomingUpdate, playbook: Playbook, now: int) -> Update | Invalid:
    """Check an update against the contract and the playbook, and list all that is wrong with it."""
    violations: list[Violation] = []
    check_text("customer_id", incoming.customer_id, violations, least=1, most=LONGEST_ID)
    check_text("source", incoming.source, violations, least=0, most=LONGEST_ID)
    record_time = None
    try:
        record_time = None if incoming.record_time is None else moments.past(incoming.record_time, now)
    except ValueError as error:
        violations.append(Violation("record_time", str(error)))
    attributes = {}
    declared = playbook.profile.attributes
    is_short = check_count("attributes", len(incoming.attributes), MOST_ATTRIBUTES, violations)
    for name, raw in incoming.attributes.items() if is_short else ():
        try:
            parsed = None if raw is None and name in declared else values.parse(declared[name], raw)
            attributes[name] = json.dumps(parsed, ensure_ascii=False, allow_nan=False)
        except KeyError:
            description = unknown(name, declared)
            violations.append(Violation(f"attributes.{shorten(name)}", description))
        except ValueError as error:
            violations.append(Violation(f"attributes.{name}", str(error)))
    is_short = check_count("identities", len(incoming.identities), MOST_IDENTITIES, violations)
    for index, identity in enumerate(incoming.identities if is_short else ()):
        check_identity(identity, playbook, f"identities[{index}]", violations)
    if violations:
        return Invalid(tuple(violations))
    return Update(
        customer_id=incoming.customer_id,
        attributes=attributes,
        identities=incoming.identities,
        record_time=now if record_time is None else record_time,
        source=incoming.source,
    )


@dataclass(frozen=True, slots=True)
class Taken:
    """An update that was not applied, because others hold identities of it, given by index."""

    identities: tuple[int, ...]


def settle(
    updates: Iterable[Update], owners: Mapping[Identity, str]
) -> tuple[list[Taken | None], dict[Identity, str]]:
    """Decide in order which updates apply, and return the identities that they add.

    ``owners`` holds the customers of identities on file. An identity goes to the first who claims it.
    """
    owned = dict(owners)
    claimed: dict[Identity, str] = {}
    answers: list[Taken | None] = []
    for update in updates:
        holders = [owned.get(identity, update.customer_id) for identity in update.identities]
        if taken := tuple(i for i, holder in enumerate(holders) if holder != update.customer_id):
            answers.append(Taken(taken))
            continue
        for identity in update.identities:
            if identity not in owned:
                owned[identity] = claimed[identity] = update.customer_id
        answers.append(None)
    return answers, claimed
