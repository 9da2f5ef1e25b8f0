"""Rows as every kind of store reads and writes them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from services.profile.domain.attributes import Attribute
from services.profile.domain.consents import Consent, State, Statement
from services.profile.domain.links import Linking, LinkRecord
from services.profile.domain.updates import Update

Row = Sequence[Any]


def consent_row(consent: Consent) -> tuple[Any, ...]:
    """Return receipt, customer, purpose, channel, state, stated time, expiry, source and record time."""
    said = consent.statement
    return (
        said.receipt_id,
        said.customer_id,
        said.purpose,
        said.channel,
        said.state,
        said.stated_time,
        said.expire_time,
        said.source,
        consent.record_time,
    )


def consent_of(row: Row) -> Consent:
    """Return the consent that ``consent_row`` made a row of."""
    return Consent(statement=statement_of(row), record_time=row[-1])


def statement_of(row: Row) -> Statement:
    """Return what the receipt of a row says."""
    receipt_id, customer_id, purpose, channel, state, stated_time, expire_time, source = row[:8]
    return Statement(
        receipt_id=receipt_id,
        customer_id=customer_id,
        purpose=purpose,
        channel=channel,
        state=State(state),
        stated_time=stated_time,
        expire_time=expire_time,
        source=source,
    )


def link_row(act: LinkRecord) -> tuple[Any, ...]:
    """Return id, customer and member as said, whether it is an unlink, source, time, customer, member."""
    said = act.linking
    row = (said.link_id, said.customer_id, said.member_id, int(said.is_unlink), said.source, said.record_time)
    return (*row, act.customer_id, act.member_id)


def link_of(row: Row) -> LinkRecord:
    """Return the act that ``link_row`` made a row of."""
    link_id, customer_id, member_id, is_unlink, source, record_time, about, member = row
    linking = Linking(
        link_id=link_id,
        customer_id=customer_id,
        member_id=member_id,
        is_unlink=bool(is_unlink),
        source=source,
        record_time=record_time,
    )
    return LinkRecord(linking=linking, customer_id=about, member_id=member)


def attribute_rows(updates: Iterable[Update]) -> list[tuple[Any, ...]]:
    """Return customer, name, record time, value and source of each value, the later of equal keys."""
    rows = {
        (update.customer_id, name, update.record_time): (value, update.source)
        for update in updates
        for name, value in update.attributes.items()
    }
    return [(*key, *row) for key, row in rows.items()]


def newest(rows: Iterable[Row]) -> dict[str, Attribute]:
    """Return the newest of values as (name, JSON, source, time), of equal times the first; no nulls."""
    found: dict[str, tuple[int, str, str]] = {}
    for name, text, source, record_time in rows:
        if name not in found or record_time > found[name][0]:
            found[name] = record_time, text, source
    return {
        name: Attribute(value, record_time, source)
        for name, (record_time, text, source) in found.items()
        if (value := json.loads(text)) is not None
    }
