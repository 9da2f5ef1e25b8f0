"""Offers and contacts as rows, the same in every store. Times are microseconds since 1970."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from datetime import datetime
from typing import Any

from services.engine.instants import instant, microseconds
from services.engine.policy.contact import Contact, Facts, Ledger, Response
from services.gateway.domain.ledger import Claim, Offer, Reading, Standing
from services.gateway.domain.outcomes import Answered

ContactRow = tuple[Any, ...]
"""Decision, rank, customer, the four times, the claim's id, time, code and text, and the last time."""
ClaimRow = Sequence[Any]
"""Reserve, expire, consume and release time, then the claim's id, time, code and text."""


def offers_text(offers: Sequence[Offer]) -> str:
    """Write the offers of an answer as one text."""
    rows = [
        (*astuple(one.facts), int(one.is_inbound), _micros(one.claim_by), _micros(one.decided))
        for one in offers
    ]
    return json.dumps(rows, ensure_ascii=False)


def offers_of(text: str) -> list[Offer]:
    """Read the offers of an answer."""
    return [
        Offer(facts=_facts(row), is_inbound=bool(row[6]), claim_by=_instant(row[7]), decided=_instant(row[8]))
        for row in json.loads(text)
    ]


def contact_row(decision_id: str, rank: int, standing: Standing) -> ContactRow:
    """Return the row of a contact that the ledger holds."""
    contact, claim = standing.contact, standing.claim
    if contact is None:
        raise ValueError("the ledger holds nothing of it")
    times = [contact.reserve_time, contact.expire_time, contact.consume_time, contact.release_time]
    last = contact.consume_time or contact.expire_time or contact.release_time
    said = (None,) * 4 if claim is None else (claim.claim_id, _micros(claim.time), claim.code, claim.text)
    return decision_id, rank, standing.customer_id, *map(_micros, times), *said, _micros(last) or 0


def reservations(
    decision_id: str, customer_id: str, offers: Sequence[Offer], now: datetime
) -> list[ContactRow]:
    """Return the rows of what an answer reserves."""
    return [
        contact_row(
            decision_id,
            rank,
            Standing(
                customer_id=customer_id,
                offer=offer,
                contact=Contact(facts=offer.facts, reserve_time=now, expire_time=offer.claim_by),
            ),
        )
        for rank, offer in enumerate(offers, start=1)
        if offer.claim_by is not None
    ]


def reading_of(
    members: Sequence[str],
    versions: Iterable[tuple[str, int]],
    contacts: Iterable[Sequence[Any]],
    responses: Iterable[tuple[str, int, str, int]],
) -> Reading:
    """Return what members share.

    A contact is the offers of its decision, its rank and what ``contact_of`` reads; a response is
    offers, rank, kind and time.
    """
    return Reading(
        ledger=Ledger(
            contacts=[contact_of(offers_of(row[0])[row[1] - 1], row[2:]) for row in contacts],
            responses=[
                response_of(offers[rank - 1], kind, time)
                for text, rank, kind, time in responses
                if 0 < rank <= len(offers := offers_of(text))
            ],
        ),
        versions=dict.fromkeys(members, 0) | dict(versions),
    )


def standing_at(rank: int, row: Sequence[Any] | None) -> Standing | None:
    """Return what a ledger holds of one ranked action, None where there is no such rank.

    ``row`` is customer, offers and what ``standing_of`` reads.
    """
    if row is None or not 0 < rank <= len(offers := offers_of(row[1])):
        return None
    return standing_of(row[0], offers[rank - 1], row[2:])


def standing_of(customer_id: str, offer: Offer, row: ClaimRow) -> Standing:
    """Return what a ledger holds of an offer; a ``row`` of nulls is nothing."""
    if all(value is None for value in row):
        return Standing(customer_id=customer_id, offer=offer)
    claim_id, claim_time, code, text = row[4:8]
    claim = None
    if claim_time is not None:
        claim = Claim(claim_id=claim_id, time=instant(claim_time), code=code, text=text)
    return Standing(customer_id=customer_id, offer=offer, contact=contact_of(offer, row), claim=claim)


def contact_of(offer: Offer, row: Sequence[int | None]) -> Contact:
    """Return a contact; ``row`` begins with its reserve, expire, consume and release time."""
    reserve, expire, consume, release = map(_instant, row[:4])
    return Contact(
        facts=offer.facts,
        reserve_time=reserve,
        expire_time=expire,
        consume_time=consume,
        release_time=release,
    )


def response_of(offer: Offer, kind: str, time: int) -> Response:
    """Return a response to an offer."""
    return Response(facts=offer.facts, kind=kind.lower(), time=offer.after(instant(time)))


def answered(
    decisions: Sequence[tuple[str, str, int, str]], contacts: Sequence[Sequence[Any]]
) -> dict[str, Answered]:
    """Return what outcomes are about.

    ``decisions`` holds id, customer, number of actions and offers, ``contacts`` decision, rank and
    what ``standing_of`` reads.
    """
    rows = {(row[0], row[1]): row[2:] for row in contacts}
    nothing = (None,) * 8
    return {
        decision_id: Answered(
            customer_id=customer_id,
            actions=actions,
            standings=[
                standing_of(customer_id, offer, rows.get((decision_id, rank), nothing))
                for rank, offer in enumerate(offers_of(offers), start=1)
            ],
        )
        for decision_id, customer_id, actions, offers in decisions
    }


def _facts(row: Sequence[Any]) -> Facts:
    action_id, treatment_id, group, channel, purpose, action_class = row[:6]
    return Facts(
        action_id=action_id,
        treatment_id=treatment_id,
        group=group,
        channel=channel,
        purpose=purpose,
        action_class=action_class,
    )


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else microseconds(moment)


def _instant(micros: int | None) -> datetime | None:
    return None if micros is None else instant(micros)
