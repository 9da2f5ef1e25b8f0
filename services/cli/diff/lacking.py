"""What a playbook reads and the log does not hold: it is missing in the comparison, and is named."""

from __future__ import annotations

from collections.abc import Iterator

from services.cli.diff.archive import Origin
from services.cli.diff.relaying import Relaying
from services.engine.playbook import kinds
from services.engine.playbook.expressions import KNOWN
from services.engine.playbook.formulas import FEATURE
from services.engine.playbook.playbook import Playbook
from services.engine.playbook.schema.attributes import AttributeType

_ZONES = ("profile.time_zone", "profile.country")


def lacking(playbook: Playbook, origin: Origin, relaying: Relaying) -> dict[str, str]:
    """Return what ``playbook`` reads that records of ``origin`` cannot hold, each with the reason."""
    before = origin.edition.playbook
    found = dict(_consents(playbook, before))
    for name in sorted(_reads(playbook)):
        prefix, _, short = name.partition(".")
        reason = ""
        if prefix == "feature":
            reason = _feature(short, playbook, origin, relaying)
        elif prefix in ("profile", "context"):
            reason = _attribute(prefix, short, playbook, before)
        if reason:
            found[name] = reason
    return found


def _reads(playbook: Playbook) -> set[str]:
    names = {read for rule in playbook.rules.rules if rule.expression for read in rule.expression.reads}
    for texts in playbook.texts.values():
        names |= {name for text in (*texts.content.values(), texts.why) if text for name in text.reads}
    names |= {FEATURE + promise.feature for promise in playbook.policies.promises}
    names |= {name for name in _ZONES if name.removeprefix("profile.") in playbook.profile.attributes}
    return {name.removeprefix(KNOWN) for name in names}


def _feature(name: str, playbook: Playbook, origin: Origin, relaying: Relaying) -> str:
    before = origin.edition.playbook
    match playbook.features[name]:
        case kinds.ProfileFeature(attribute=attribute):
            return _attribute("profile", attribute, playbook, before)
        case kinds.ContextFeature(attribute=attribute):
            return _attribute("context", attribute, playbook, before)
        case kinds.ActionFeature():
            return ""
    if name not in relaying.held:
        if origin.layout is None:
            return "no playbook at hand tells how the features on record are laid out"
        known = {*origin.layout.customer_names, *origin.layout.candidate_names}
        return "defined otherwise then" if name in known else "not declared then"
    needed, needs = (each.feature_consents.get(name, frozenset()) for each in (before, playbook))
    return "left out then without a consent" if needed - needs else ""


def _attribute(prefix: str, name: str, playbook: Playbook, before: Playbook) -> str:
    had, has = (_declared(prefix, name, each) for each in (before, playbook))
    if has is None:
        # One of the fields that every request has.
        return ""
    if had is None:
        return "not declared then"
    if f"{prefix}.{name}" in before.borrowed and f"{prefix}.{name}" not in playbook.borrowed:
        return "borrowed then, so never logged"
    if (needed := getattr(had, "consent", None)) and needed != getattr(has, "consent", None):
        return "left out then without a consent"
    return ""


def _declared(prefix: str, name: str, playbook: Playbook) -> AttributeType | None:
    attributes = playbook.profile.attributes if prefix == "profile" else playbook.head.context
    return attributes.get(name)


def _consents(playbook: Playbook, before: Playbook) -> Iterator[tuple[str, str]]:
    """Yield the consents that nobody could be asked for then."""
    for _, action, _, treatment in playbook.treatments():
        if action.action_class in ("mandatory", "transactional"):
            continue
        if action.purpose not in before.head.purposes or treatment.channel not in before.head.channels:
            yield f"consent to {action.purpose} on {treatment.channel}", "not declared then"
    uses = {attribute.consent for attribute in playbook.profile.attributes.values()}
    uses |= {event.consent for event in playbook.events.events.values()}
    for use in sorted(use for use in uses if use is not None and use not in before.head.purposes):
        yield f"consent to {use}", "not declared then"
