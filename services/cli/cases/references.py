"""Checks what a file of cases says of its playbook, and of its own world."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from services.cli.cases import moments, records, schema
from services.cli.cases.situations import Case
from services.engine.instants import time_zone
from services.engine.playbook.errors import Problem, did_you_mean
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.schema.attributes import AttributeType
from services.engine.playbook.source import Document, Path

DEFAULT: Final = "default"
BUILT_IN_RULES: Final = (
    "not_given",
    "refused",
    "expired",
    "no_actor",
    "device",
    "no_hour",
    "expires_first",
    "missing_content",
    "hold_out",
    "no_propensity",
    "minimum_propensity",
)
"""What removes candidates without a line in ``policies.yaml``."""


@dataclass(kw_only=True)
class Checker:
    """Collects the problems of one file."""

    playbook: Playbook
    document: Document
    problems: list[Problem] = field(default_factory=list)

    def report(self, path: Path, message: str) -> None:
        """Note a problem at its line."""
        self.problems.append(self.document.problem(path, message))

    def world(self, world: schema.World, path: Path, now: datetime) -> None:
        """Check every name and value of a world."""
        for name, customer in world.customers.items():
            if customer is not None:
                self._customer(customer, (*path, "customers", name), now)
        catalogue = self.playbook.catalogue
        for key, what, named, known in (
            ("scores", "action", world.scores, catalogue.actions),
            ("priors", "group", world.priors, catalogue.groups),
        ):
            for name in named:
                self._known((*path, key, name), what, name, [*known, DEFAULT])

    def case(self, case: Case, shape: schema.CaseShape, shared: schema.World, path: Path) -> None:
        """Check what a case asks and expects, given its world."""
        asked_for = {case.request.customer}
        for name in shape.world.customers.keys() - shared.customers.keys() - asked_for:
            self._known((*path, "world", "customers", name), "customer", name, [*shared.customers])
        self._request(case, (*path, "request"))
        self._expected(case.expect, (*path, "expect"))
        self._hidden(case, (*path, "expect"))
        last = case.now
        for index, step in enumerate(case.then):
            self._step(step, (*path, "then", index))
            last = self._in_order(step, last, case.now, (*path, "then", index))
        if case.world.down & {"features", "scoring"} == {"features"} and not case.world.priors:
            message = "without features decisions rest on base rates: the world needs priors"
            self.report((*path, "world", "down"), message)

    def _known(self, path: Path, what: str, name: str, known: Iterable[str]) -> bool:
        if name in (names := list(known)):
            return True
        self.report(path, f'unknown {what} "{name}"' + did_you_mean(name, names))
        return False

    def _customer(self, customer: schema.Customer, path: Path, now: datetime) -> None:
        profile = self.playbook.profile
        for kind in customer.identities:
            self._known((*path, "identities", kind), "identity", kind, profile.identities)
        for name, known in customer.attributes.items():
            place = (*path, "attributes", name)
            if known is None:
                self._known(place, "attribute", name, profile.attributes)
            else:
                self._value(place, name, known.value, profile.attributes, now)
                self._before(place, known.recorded, now)
        for purpose, consents in customer.consents.items():
            self._consents(purpose, consents or {}, (*path, "consents", purpose), now)
        if customer.arm is not None:
            self._known((*path, "arm"), "control arm", customer.arm, self.playbook.head.control_arms)
        for key, events in (("events", customer.events or ()), ("events+", customer.more_events)):
            for index, event in enumerate(events):
                self._event(event, (*path, key, index), now)
        for key, contacts in (("contacts", customer.contacts or ()), ("contacts+", customer.more_contacts)):
            for index, contact in enumerate(contacts):
                self._contact(contact, (*path, key, index), now)

    def _consents(
        self, purpose: str, consents: Mapping[str, schema.Stated | None], path: Path, now: datetime
    ) -> None:
        head = self.playbook.head
        if not self._known(path, "purpose", purpose, head.purposes):
            return
        use = head.purposes[purpose].use
        for channel, stated in consents.items():
            if use == "data" and channel:
                self.report((*path, channel), f'"{purpose}" is a purpose of use data, which has no channel')
            elif use == "contact" and not channel:
                self.report(path, f'"{purpose}" is a purpose of use contact: say on which channel')
            elif channel:
                self._known((*path, channel), "channel", channel, head.channels)
            if stated is not None:
                self._before((*path, channel), stated.recorded, now)

    def _event(self, event: schema.Event, path: Path, now: datetime) -> None:
        events = self.playbook.events.events
        if self._known((*path, "type"), "event", event.type, events):
            for name, raw in event.attributes.items():
                self._value((*path, "attributes", name), name, raw, events[event.type].attributes, now)

    def _contact(self, contact: schema.Contact, path: Path, now: datetime) -> None:
        action_id, _, treatment_id = contact.offered.partition("/")
        self._treatment((*path, "contact"), (*path, "contact"), action_id, treatment_id)
        at = moments.moment_of(contact.at, now)
        for key, when in (("at", contact.at), *contact.responses.items()):
            place = (*path, key) if key == "at" else (*path, "responses", key)
            if moments.moment_of(when, now) >= now:
                self.report(place, "must lie before now: a decision sees what was known before it")
            elif moments.moment_of(when, now) < at:
                self.report(place, "must not lie before the contact")
        if contact.until is not None and moments.moment_of(contact.until, now) <= at:
            self.report((*path, "until"), "must lie after the contact")

    def _value(
        self, path: Path, name: str, raw: Any, known: Mapping[str, AttributeType], now: datetime
    ) -> None:
        if self._known(path, "attribute", name, known):
            try:
                moments.value_at(known[name], raw, now)
            except ValueError as error:
                self.report(path, f"{name}: {error}")

    def _before(self, path: Path, recorded: Any, now: datetime) -> None:
        if moments.moment_of(recorded, now) >= now:
            self.report((*path, "recorded"), "must lie before now: a decision sees what was known before it")

    def _request(self, case: Case, path: Path) -> None:
        request, playbook = case.request, self.playbook
        if isinstance(request.customer, str):
            self._known((*path, "customer"), "customer", request.customer, case.world.customers)
        else:
            kind = request.customer[0]
            self._known((*path, "customer", kind), "identity", kind, playbook.profile.identities)
        for key, what, named, known in (
            ("action_ids", "action", request.action_ids, playbook.catalogue.actions),
            ("groups", "group", request.groups, playbook.catalogue.groups),
        ):
            for index, name in enumerate(named):
                self._known((*path, key, index), what, name, known)
        context, place = request.context, (*path, "context")
        if context.channel:
            self._known((*place, "channel"), "channel", context.channel, playbook.head.channels)
        for name, raw in context.attributes.items():
            self._value((*place, "attributes", name), name, raw, playbook.head.context, case.now)
        self._zone((*place, "time_zone"), context.time_zone)
        self._zone((*path, "actor", "time_zone"), request.actor.time_zone if request.actor else "")

    def _zone(self, path: Path, name: str) -> None:
        if name and time_zone(name) is None:
            self.report(path, f'"{name}" is no IANA time zone')

    def _expected(self, expected: schema.Expected, path: Path) -> None:
        for index, action in enumerate(expected.actions or ()):
            self._expected_action(action, (*path, "actions", index))
        rules = [*(rule.rule.name for rule in self.playbook.rules.rules), *BUILT_IN_RULES]
        for name, removal in expected.removed.items():
            action_id, _, treatment_id = name.partition("/")
            place = (*path, "removed", name)
            self._treatment(place, place, action_id, treatment_id)
            if removal.rule:
                self._known((*place, "rule"), "rule", removal.rule, rules)
        for record_path in expected.record:
            try:
                records.check_path(record_path)
            except ValueError as error:
                self.report((*path, "record", record_path), str(error))

    def _expected_action(self, action: schema.ExpectedAction, path: Path) -> None:
        self._treatment((*path, "action"), (*path, "treatment"), action.action, action.treatment)
        head, bundles = self.playbook.head, self.playbook.catalogue.bundles
        if action.channel:
            self._known((*path, "channel"), "channel", action.channel, head.channels)
        if action.bundle:
            self._known((*path, "bundle"), "bundle", action.bundle, bundles)

    def _treatment(self, path: Path, place: Path, action_id: str, treatment_id: str) -> None:
        actions = self.playbook.actions
        if self._known(path, "action", action_id, actions) and treatment_id:
            self._known(place, "treatment", treatment_id, actions[action_id].treatments)

    def _in_order(self, step: schema.Step, last: datetime, now: datetime, path: Path) -> datetime:
        """Refuse a step that lies before what happened last; return when it happens."""
        for name, happens in (("claim", step.claim), ("outcome", step.outcome)):
            if happens is not None and (at := moments.moment_of(happens.at, now)) < last:
                self.report((*path, name, "at"), "must not lie before the decision, nor the step before")
            elif happens is not None:
                last = at
        return last

    def _step(self, step: schema.Step, path: Path) -> None:
        if (told := step.outcome) is None:
            return
        for name in told.measures:
            place = (*path, "outcome", "measures", name)
            self._known(place, "measure", name, self.playbook.head.measures)
        if told.instead:
            self._known((*path, "outcome", "instead"), "action", told.instead, self.playbook.actions)

    def _hidden(self, case: Case, path: Path) -> None:
        """Refuse to look for what nobody said: it would prove nothing."""
        said, expected = str((case.world, case.request)), case.expect
        for key, texts in (("never_logged", expected.never_logged), ("never_stored", expected.never_stored)):
            for text in texts:
                if text not in said:
                    message = f'"{text}" stands neither in the world nor in the request, so it proves nothing'
                    self.report((*path, key), message)
