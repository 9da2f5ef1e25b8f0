"""Situations with their cases, each case with the whole world that it happens in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from services.cli.cases import schema

T = TypeVar("T")
Purposed = tuple[str, str]
"""A purpose and a channel, which is empty for the use of data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """Everything that is known of a customer; ``arm`` is empty for none."""

    identities: Mapping[str, str]
    attributes: Mapping[str, schema.Known]
    consents: Mapping[Purposed, schema.Stated]
    events: tuple[schema.Event, ...]
    contacts: tuple[schema.Contact, ...]
    arm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is so when a decision is made."""

    customers: Mapping[str, Customer]
    scores: Mapping[str, float]
    priors: Mapping[str, float]
    down: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One decision and what it must be; ``number`` is unique in the playbook, ``file`` relative to it."""

    number: int
    file: str
    line: int
    situation: str
    name: str
    near_miss: bool
    now: datetime
    world: World
    request: schema.Request
    expect: schema.Expected
    then: tuple[schema.Step, ...] = ()

    @property
    def content(self) -> tuple[object, ...]:
        """Return all but its name: two cases of the same content prove the same."""
        return self.now, self.request, self.expect, self.world, self.then

    def __str__(self) -> str:
        return f'{self.file}:{self.line}: "{self.name}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What the cases of one file have in common."""

    title: str
    cases: tuple[Case, ...]

    @property
    def lacks_near_miss(self) -> bool:
        """Tell whether no case shows where the situation ends."""
        return not any(case.near_miss for case in self.cases)


def world_of(shared: schema.World, own: schema.World) -> World:
    """Change the world of a file as a case says."""
    customers = {
        name: customer_of(shared.customers.get(name), own.customers.get(name))
        for name in (*shared.customers, *(own.customers.keys() - shared.customers.keys()))
        if own.customers.get(name, shared.customers.get(name)) is not None
    }
    down = shared.down if own.down is None else own.down
    return World(
        customers=customers,
        scores={**shared.scores, **own.scores},
        priors={**shared.priors, **own.priors},
        down=frozenset(down or ()),
    )


def customer_of(shared: schema.Customer | None, own: schema.Customer | None) -> Customer:
    """Change a customer as a case says: key by key, null taking away."""
    shared, own = shared or schema.Customer(), own or schema.Customer()
    consents = {
        (purpose, channel): stated
        for purpose in (*shared.consents, *(own.consents.keys() - shared.consents.keys()))
        for channel, stated in _consents(shared, own, purpose).items()
    }
    events = shared.events if own.events is None else own.events
    contacts = shared.contacts if own.contacts is None else own.contacts
    return Customer(
        identities=_changed(shared.identities, own.identities),
        attributes=_changed(shared.attributes, own.attributes),
        consents=consents,
        events=(*(events or ()), *shared.more_events, *own.more_events),
        contacts=(*(contacts or ()), *shared.more_contacts, *own.more_contacts),
        arm=(own.arm if "arm" in own.model_fields_set else shared.arm) or "",
    )


def _consents(shared: schema.Customer, own: schema.Customer, purpose: str) -> Mapping[str, schema.Stated]:
    change = own.consents.get(purpose, {})
    return {} if change is None else _changed(shared.consents.get(purpose) or {}, change)


def _changed(shared: Mapping[str, T | None], own: Mapping[str, T | None]) -> dict[str, T]:
    return {name: value for name, value in {**shared, **own}.items() if value is not None}
