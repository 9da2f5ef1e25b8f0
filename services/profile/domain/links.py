"""Who is one customer: pointers from members to whom they were linked to, and their history."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from services.profile.domain.consents import Consent, State, newest

SOURCE: Final = "link"
"""The source of consents that a link or unlink recorded."""
_NO_END: Final = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Linking:
    """An act to put on file: ``member_id`` becomes, or with ``is_unlink`` ceases to be, a member.

    An unlink names no ``customer_id``: it leaves whomever it was linked to.
    """

    link_id: str
    customer_id: str
    member_id: str
    is_unlink: bool
    source: str
    record_time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One customer: the root of its pointers, all members in order, and the newest act about them."""

    customer_id: str
    members: tuple[str, ...]
    version: int


class LinkAnswer(StrEnum):
    """What became of an act."""

    NEW = "linked"
    DUPLICATE = "duplicate"
    REUSED = "reused"
    CUSTOMER_UNKNOWN = "customer_unknown"
    NOT_LINKED = "not_linked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """What became of an act, and who is one by now: the customer, and who left it where one did."""

    answer: LinkAnswer
    family: Family | None = None
    left: Family | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRecord:
    """An act on file; ``customer_id`` and ``member_id`` are whom it came to be about."""

    linking: Linking
    customer_id: str
    member_id: str

    @property
    def linked_to(self) -> str | None:
        """Return whom the member points to from then on, None where it leaves."""
        return None if self.linking.is_unlink else self.customer_id


def is_same(said: Linking, known: Linking) -> bool:
    """Tell a repeat of an act: all but the time is the same."""
    return replace(said, record_time=known.record_time) == known


def settle(
    linking: Linking, known: LinkRecord | None, ours: Family | None, theirs: Family | None
) -> tuple[LinkAnswer, LinkRecord | None]:
    """Decide on an act; return what came of it, and the record to put on file where it is new.

    Where it is a duplicate, the record is the one that it repeats, or what it would have been of two who
    are one already. ``known`` is on file under the same id, ``ours`` is of the customer and ``theirs`` of
    the member, None where nobody knows them.
    """
    if known is not None:
        return (LinkAnswer.DUPLICATE, known) if is_same(linking, known.linking) else (LinkAnswer.REUSED, None)
    if linking.is_unlink:
        if theirs is None:
            return LinkAnswer.CUSTOMER_UNKNOWN, None
        if theirs.customer_id == linking.member_id:
            return LinkAnswer.NOT_LINKED, None
        left, member_id = theirs.customer_id, linking.member_id
        return LinkAnswer.NEW, LinkRecord(linking=linking, customer_id=left, member_id=member_id)
    if ours is None or theirs is None:
        return LinkAnswer.CUSTOMER_UNKNOWN, None
    act = LinkRecord(linking=linking, customer_id=ours.customer_id, member_id=theirs.customer_id)
    return LinkAnswer.DUPLICATE if ours == theirs else LinkAnswer.NEW, act


def stricter(
    linking: Linking, customer: Sequence[Consent], other: Sequence[Consent], roots: tuple[str, str]
) -> list[Consent]:
    """Return the consents to record of two who become one, so that the stricter of each counts for both.

    ``customer`` and ``other`` are their consents in the order of arrival, ``roots`` their ids. What only
    one of them ever said stays as it is. A refusal is stricter than a grant, and of grants the one that
    ends first.
    """
    ours, theirs = map(_counting, (customer, other))
    found = []
    for key in sorted(ours.keys() & theirs.keys()):
        pair = (ours[key], theirs[key])
        strict = min(pair, key=_leniency)
        for laxer, root in zip(pair, roots, strict=True):
            if _leniency(laxer) > _leniency(strict):
                found.append(_copy(linking, strict, laxer, root))
    return found


def still_strict(linking: Linking, said: Sequence[Consent], families: Iterable[Family]) -> list[Consent]:
    """Return the consents to record of one who becomes several, so that none permits more than just before.

    ``said`` are the consents of all in the order of arrival. What one of them never spoke of is not recorded
    of it, as that permits nothing.
    """
    before = _counting(said)
    found = []
    for family in families:
        own = _counting([one for one in said if one.statement.customer_id in family.members])
        for key, laxer in sorted(own.items()):
            if _leniency(laxer) > _leniency(before[key]):
                found.append(_copy(linking, before[key], laxer, family.customer_id))
    return found


def _counting(said: Sequence[Consent]) -> dict[tuple[str, str], Consent]:
    return {(one.statement.purpose, one.statement.channel): one for one in newest(said)}


def _leniency(consent: Consent) -> tuple[bool, int]:
    said = consent.statement
    is_granted = said.state is State.GRANTED
    return is_granted, (_NO_END if said.expire_time is None else said.expire_time) if is_granted else 0


def _copy(linking: Linking, strict: Consent, laxer: Consent, root: str) -> Consent:
    said = strict.statement
    # An id that an erasure made free again may name another link.
    about = "\n".join((linking.link_id, str(linking.record_time), root, said.purpose, said.channel))
    statement = replace(
        said,
        receipt_id=f"link-{hashlib.sha256(about.encode()).hexdigest()[:40]}",
        customer_id=root,
        stated_time=None,
        source=SOURCE,
    )
    time = max(linking.record_time, laxer.record_time, strict.record_time)
    return Consent(statement=statement, record_time=time)


def ordered(members: Iterable[str]) -> tuple[str, ...]:
    """Return members in the order in which they are told."""
    return tuple(sorted(members))


def preferred(family: Family) -> list[str]:
    """Return members in the order in which their values of equal times are preferred."""
    return [family.customer_id, *(member for member in family.members if member != family.customer_id)]
