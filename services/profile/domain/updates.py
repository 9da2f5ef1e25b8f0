"""What is put on file about a customer, before and after it is checked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from services.engine import moments
from services.engine.playbook import values
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.schema.attributes import ProfileAttribute
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
from services.profile.domain.attributes import end_of
from services.profile.domain.borrowed import Borrowed
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
    """What an update puts on file; attributes are JSON, ``null`` for one that becomes missing."""

    customer_id: str
    attributes: Mapping[str, str]
    identities: tuple[Identity, ...]
    record_time: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """An update that can be applied: what goes on file, and apart from it what must not."""

    update: Update
    borrowed: tuple[Borrowed, ...]


def check(incoming: IncomingUpdate, playbook: Playbook, now: int) -> Checked | Invalid:
    """Check an update against the contract and the playbook, and list all that is wrong with it.

    Copied attributes need a source, also where they become missing.
    """
    violations: list[Violation] = []
    check_text("customer_id", incoming.customer_id, violations, least=1, most=LONGEST_ID)
    check_text("source", incoming.source, violations, least=0, most=LONGEST_ID)
    record_time = now
    try:
        if incoming.record_time is not None:
            record_time = moments.past(incoming.record_time, now)
    except ValueError as error:
        violations.append(Violation("record_time", str(error)))
    declared = playbook.profile.attributes
    attributes = _parsed(incoming, declared, violations)
    is_short = check_count("identities", len(incoming.identities), MOST_IDENTITIES, violations)
    for index, identity in enumerate(incoming.identities if is_short else ()):
        check_identity(identity, playbook, f"identities[{index}]", violations)
    if violations:
        return Invalid(tuple(violations))
    kept = {name: value for name, value in attributes.items() if declared[name].provenance != "borrowed"}
    update = Update(
        customer_id=incoming.customer_id,
        attributes={
            name: json.dumps(value, ensure_ascii=False, allow_nan=False) for name, value in kept.items()
        },
        identities=incoming.identities,
        record_time=record_time,
        source=incoming.source,
    )
    borrowed = (
        Borrowed(
            name=name,
            value=value,
            record_time=record_time,
            end=end_of(declared[name], record_time),
            source=incoming.source,
        )
        for name, value in attributes.items()
        if name not in kept
    )
    return Checked(update=update, borrowed=tuple(borrowed))


def _parsed(
    incoming: IncomingUpdate, declared: Mapping[str, ProfileAttribute], violations: list[Violation]
) -> dict[str, values.Value | None]:
    if not check_count("attributes", len(incoming.attributes), MOST_ATTRIBUTES, violations):
        return {}
    copied = [n for n in sorted(incoming.attributes) if n in declared and declared[n].provenance == "copied"]
    if copied and not incoming.source:
        violations.append(Violation("source", f'must say where copied attribute "{copied[0]}" comes from'))
    parsed: dict[str, values.Value | None] = {}
    for name, raw in incoming.attributes.items():
        try:
            parsed[name] = None if raw is None and name in declared else values.parse(declared[name], raw)
        except KeyError:
            violations.append(Violation(f"attributes.{shorten(name)}", unknown(name, declared)))
        except ValueError as error:
            violations.append(Violation(f"attributes.{name}", str(error)))
    return parsed


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
