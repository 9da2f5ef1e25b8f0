"""Candidates, and what policies, consent, place and content leave of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from services.engine.playbook.playbook import Playbook
from services.engine.playbook.rules import CompiledRule, Concerning
from services.engine.playbook.schema.policies import PreferredHours, QuietHours
from services.engine.policy import consent
from services.engine.policy.engagement import EngagementPolicy, Removal
from services.engine.policy.place import place
from services.gateway.domain.decision import Fate
from services.gateway.domain.request import Checked
from services.gateway.domain.situation import Situation


def live_candidates(playbook: Playbook, checked: Checked) -> list[Fate]:
    """Return the treatments that are live at the decision's time and were asked for."""
    action_ids, groups = frozenset(checked.request.action_ids), frozenset(checked.request.groups)
    return [
        Fate(
            action_id=action_id,
            action=action,
            treatment_id=treatment_id,
            treatment=treatment,
            recipient=playbook.head.channels[treatment.channel].recipient,
        )
        for action_id, action, treatment_id, treatment in playbook.treatments()
        if playbook.is_live(action_id, checked.decision_time)
        and (not action_ids or action_id in action_ids)
        and (not groups or action.group in groups)
    ]


def apply_engagement_policy(playbook: Playbook, fates: Sequence[Fate], situation: Situation) -> None:
    """Remove what is not eligible, applicable and suitable, or is suppressed."""
    policy = EngagementPolicy(situation.verdicts, situation.arm)
    for fate in fates:
        fate.removal = policy.removal(
            concerning(playbook, fate), *fate.key, ignores_arms=fate.needs_no_consent
        )


def apply_consent(fates: Sequence[Fate], situation: Situation, checked: Checked) -> None:
    """Remove what the customer did not permit, and what a hold-out keeps from them.

    Without a profile, nothing is permitted.
    """
    permissions, at = situation.profile.permissions, checked.decision_time
    for fate in fates:
        if fate.removal is None:
            fate.removal = consent.removal(fate.action, fate.treatment, permissions, at)
        if fate.removal is None and situation.arm == "hold_out" and not fate.needs_no_consent:
            text = "This customer belongs to the share that is left alone, so that the rest can be measured."
            fate.removal = Removal(stage="arm", rule="hold_out", text=text)


def apply_contact_policy(playbook: Playbook, fates: Sequence[Fate], situation: Situation) -> None:
    """Remove what would contact the customer too often, or what rests."""
    for fate in fates:
        if fate.removal is None:
            fate.removal = situation.contacts.removal(concerning(playbook, fate), fate.facts)


def apply_place(playbook: Playbook, fates: Sequence[Fate], situation: Situation, checked: Checked) -> None:
    """Give each remaining treatment its device and time and its texts, or remove it."""
    request = checked.request
    for fate in fates:
        if fate.removal is not None:
            continue
        to_actor = fate.recipient == "actor"
        hours = [rule for rule in concerning(playbook, fate).others if _holds(rule, fate, situation)]
        found = place(
            treatment=fate.treatment,
            action=fate.action,
            channel=playbook.head.channels[fate.treatment.channel],
            devices=playbook.head.devices,
            zones=situation.actor_zones if to_actor else situation.zones,
            now=checked.decision_time,
            in_hand=(request.actor.device if request.actor else "") if to_actor else request.context.device,
            context_channel=request.context.channel,
            quiet=[rule.rule for rule in hours if isinstance(rule.rule, QuietHours)],
            preferred=[rule.rule for rule in hours if isinstance(rule.rule, PreferredHours)],
            validity_end=_end(playbook, fate, situation),
            has_actor=request.actor is not None,
        )
        if isinstance(found, Removal):
            fate.removal = found
            continue
        fate.place = found
        _fill(playbook, fate, situation)


def concerning(playbook: Playbook, fate: Fate) -> Concerning:
    """Return the statements of the playbook about a treatment."""
    return playbook.rules.concerning(fate.action_id, fate.action, fate.treatment_id, fate.treatment)


def _end(playbook: Playbook, fate: Fate, situation: Situation) -> datetime | None:
    """Return when a treatment that has passed the consent gate is over: no longer live or permitted."""
    ends = [playbook.validity[fate.action_id][1]]
    if not fate.needs_no_consent:
        permission = situation.profile.permissions[fate.action.purpose, fate.treatment.channel]
        ends.append(permission.expire_time)
    return min((end for end in ends if end is not None), default=None)


def _holds(rule: CompiledRule, fate: Fate, situation: Situation) -> bool:
    return situation.verdicts.of(rule, *fate.key) is True


def _fill(playbook: Playbook, fate: Fate, situation: Situation) -> None:
    """Fill the texts of a treatment; a text with a hole does not leave."""
    texts = playbook.texts[fate.key]
    if texts.fixed is not None:
        fate.content, fate.why = texts.fixed
        return
    zones = (situation.actor_zones if fate.recipient == "actor" else situation.zones).zones
    values = situation.verdicts.values_of(*fate.key)
    if missing := sorted({name for text in texts.content.values() for name in text.missing(values)}):
        text = f"A value that the text needs is missing ({', '.join(missing)})."
        fate.removal = Removal(stage="content", rule="missing_content", text=text)
        return
    filled = {name: template.fill(values, zones) for name, template in texts.content.items()}
    fate.content = {name: text for name, text in filled.items() if text is not None}
    fate.why = (texts.why.fill(values, zones) or "") if texts.why else ""
