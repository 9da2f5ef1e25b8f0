"""What decisions offered and what became of it, in one flat list that every question looks through.

Written for the tests only. An offer is a contact of ``slow_contact`` with the ``customer`` it was made
to, the ``decision`` and ``rank``, whether its channel is ``inbound``, when it was ``decided``, what it must
``not_before`` be sent, when it ``ends`` and the ``claim`` that was judged: its id, time and code, "" to go.
"""

from datetime import timedelta

import slow_contact
import slow_pipeline as slow

TAKING = {False: ("DELIVERED", "VIEWED"), True: ("VIEWED",)}


class Ledger:
    """All offers, and all outcomes by their ids."""

    def __init__(self):
        self.offers = []
        self.outcomes = {}
        self.empty = set()

    def contacts(self, members):
        return [
            offer
            for offer in self.offers
            if offer["customer"] in members and (offer["reserved"] or offer["taken"])
        ]

    def answers(self, members):
        return [
            {"facts": offer["facts"], "kind": kind.lower(), "at": max(at, offer["decided"])}
            for decision, rank, kind, at, _ in self.outcomes.values()
            for offer in self.offers
            if (offer["decision"], offer["rank"]) == (decision, rank) and offer["customer"] in members
        ]

    def offer(self, decision, rank):
        for offer in self.offers:
            if (offer["decision"], offer["rank"]) == (decision, rank):
                return offer
        return None

    def promise(self, playbook, world, decision, customer, ranked, asked, now):
        """Note what a live decision answers; return when each reservation ends."""
        ends = []
        for rank, (action_id, treatment_id, not_before) in enumerate(ranked, start=1):
            action = playbook["actions"]["actions"][action_id]
            own = (action_id, action, treatment_id, action["treatments"][treatment_id])
            end, facts = slow.expiry(world, own, asked["at"]), slow_contact.facts_of(*own)
            until = not_before + slow_contact.length(playbook["policies"]["claim_within"])
            until = until if end is None else min(until, end)
            is_held = slow_contact.takes_slot(playbook["policies"], facts)
            ends.append(until if is_held else None)
            self.offers.append(
                {
                    "decision": decision,
                    "rank": rank,
                    "customer": customer,
                    "facts": facts,
                    "inbound": is_inbound(playbook, facts),
                    "decided": now,
                    # What was not moved may go at once, by whatever clock.
                    "not_before": None if not_before == asked["at"] else not_before,
                    "ends": end,
                    "reserved": now if is_held else None,
                    "until": ends[-1],
                    "taken": None,
                    "back": None,
                    "claim": None,
                }
            )
        if not ranked:
            self.empty.add(decision)
        return ends

    def claim(self, playbook, world, offer, claim_id, now):
        """Return code, time and whether it is a repeat; None where it is too early."""
        if offer["claim"] is not None:
            first, at, code = offer["claim"]
            is_mine = bool(code) or first == claim_id
            return code if is_mine else "ALREADY_CLAIMED", at, is_mine
        if offer["taken"] is not None:
            return "ALREADY_CLAIMED", offer["taken"], False
        if offer["not_before"] is not None and now < offer["not_before"]:
            return None
        code = objection(playbook, world, offer, now)
        offer["back" if code else "taken"] = now
        offer["claim"] = (claim_id, now, code)
        return code, now, False

    def report(self, outcome_id, told, now):
        """Return what becomes of an outcome, and whether it is a delivery that nobody claimed.

        ``told`` holds decision, rank, kind, time and what else there is to it.
        """
        decision, rank, kind, at, _ = told
        if at > now + timedelta(minutes=5):
            return "REQUEST_INVALID", False
        if outcome_id in self.outcomes:
            return "duplicate" if self.outcomes[outcome_id] == told else "IDENTIFIER_REUSED", False
        offer = self.offer(decision, rank)
        if offer is None and not (rank == 0 and decision in self.empty):
            return "DECISION_UNKNOWN", False
        self.outcomes[outcome_id] = told
        if offer is None or kind not in TAKING[offer["inbound"]] or offer["taken"] is not None:
            return "accepted", False
        # Nothing happens to an offer before it is made, whatever is told.
        offer["taken"], offer["back"] = max(at, offer["decided"]), None
        return "accepted", not offer["inbound"]

    def edges(self, playbook, homes, now):
        """Return the moments from now on when something ends or begins, the next ones first."""
        policies = playbook["policies"]
        limited = [
            ("caps", "window"),
            ("repeat_costs", "window"),
            ("cool_downs", "rest"),
            ("precedence", "within"),
        ]
        lengths = {one.get(key, "day") for section, key in limited for one in policies.get(section, ())}
        lengths = [slow_contact.length(one) for one in lengths if one not in ("day", "week", "month")]
        found = {offer[name] for offer in self.offers for name in ("not_before", "until", "ends")}
        moments = {offer["taken"] for offer in self.offers} | {told[3] for told in self.outcomes.values()}
        found |= {moment + length for moment in moments if moment for length in lengths}
        tomorrow = [(slow_contact.local_date(now, name) + timedelta(1), name) for name in homes]
        found |= {slow_contact.first_minute(*one) for one in tomorrow}
        return sorted(moment for moment in found if moment is not None and moment > now)


def is_inbound(playbook, facts):
    return playbook["playbook"]["channels"][facts["channel"]].get("inbound", False)


def objection(playbook, world, offer, now):
    """Return the code of what forbids to send now what was offered, "" where nothing does."""
    action_id, treatment_id = offer["facts"]["treatment"].split("/")
    action = playbook["actions"]["actions"].get(action_id)
    if action is None or treatment_id not in action["treatments"]:
        return "WITHDRAWN"
    if any(end is not None and now >= end for end in (offer["ends"], offer["until"])):
        return "EXPIRED"
    treatment = action["treatments"][treatment_id]
    own = (action_id, action, treatment_id, treatment)
    is_free = action["class"] in slow.FREE_OF_CONSENT
    if not is_free and not slow.is_granted(world["consents"], action["purpose"], treatment["channel"], now):
        return "NO_CONSENT"
    values = {f"profile.{name}": value for name, value in world["attributes"].items()}
    for rule in playbook["policies"].get("suppression", ()):
        if slow.concerns(rule, own, "suppression") and slow.CONDITIONS[rule["when"]](values) is not False:
            return "SUPPRESSED"
    if "stop_when" in action and slow.CONDITIONS[action["stop_when"]](values) is not False:
        return "POINTLESS"
    facts, calendar = slow_contact.facts_of(*own), slow.home(playbook, world["attributes"])
    contacts, answers = world["contacts"], world["answers"]
    over = slow_contact.obstacle(
        playbook["policies"], facts, contacts, answers, now, calendar, taken_only=True
    )
    return "CONTACT_POLICY" if over else ""
