"""What the profile service does, whatever the transport."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import Final

from services.chassis.tables import InvalidRow, Page
from services.engine import moments
from services.engine.playbook.playbook import Playbook
from services.engine.violations import (
    LONGEST_ID,
    Invalid,
    InvalidRequest,
    Violation,
    check_count,
    check_text,
)
from services.profile.domain import consents as consenting
from services.profile.domain import updates as updating
from services.profile.domain.attributes import Attribute, end_of
from services.profile.domain.borrowed import BorrowedValues
from services.profile.domain.consents import Consent, IncomingConsent, Recorded
from services.profile.domain.identities import CustomerKey, Identity, check_identity
from services.profile.domain.links import Linked, Linking, LinkRecord
from services.profile.domain.updates import Checked, IncomingUpdate, Taken
from services.profile.metrics import ProfileMetrics
from services.profile.pacing import politely
from services.profile.ports import Profile, ProfileStore

_MOST_IDS: Final = 1_000


class Answer(Enum):
    """Answers that hold nothing else."""

    APPLIED = auto()
    UNKNOWN = auto()


Key = CustomerKey | None
"""What names a customer, or nothing where the caller gave neither id nor identity."""


class ProfileHandlers:
    """Handles every call of the profile service; ``now`` returns UTC microseconds since 1970.

    ``lease_seconds`` is how long readers may act on who is one customer; ``pause`` waits so long.
    """

    def __init__(
        self,
        store: ProfileStore,
        playbook: Playbook,
        now: Callable[[], int],
        metrics: ProfileMetrics,
        borrowed: BorrowedValues,
        lease_seconds: float,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.lease_seconds = lease_seconds
        self._pause = pause
        self._store = store
        self._borrowed = borrowed
        self._playbook = playbook
        self._now = now
        self._metrics = metrics
        metrics.playbook.show(playbook.head.name, playbook.version)

    async def take(self, playbook: Playbook) -> None:
        """Work by another playbook from the next call on; what is held stays."""
        self._playbook = playbook
        self._metrics.playbook.show(playbook.head.name, playbook.version)

    async def upsert(self, incoming: Iterable[IncomingUpdate]) -> list[Answer | Taken | Invalid]:
        """Apply updates; answer each in order."""
        now, playbook = self._now(), self._playbook
        checked = [updating.check(update, playbook, now) async for update in politely(incoming)]
        valid = [update for update in checked if isinstance(update, Checked)]
        taken = await self._store.upsert([accepted.update for accepted in valid])
        await self._hold(accepted for accepted, refused in zip(valid, taken, strict=True) if refused is None)
        in_order = iter(taken)
        answers = [
            update if isinstance(update, Invalid) else next(in_order) or Answer.APPLIED for update in checked
        ]
        for answer in answers:
            result = "identity_taken" if isinstance(answer, Taken) else "applied"
            self._metrics.updates.labels("invalid" if isinstance(answer, Invalid) else result).inc()
        return answers

    async def record(self, incoming: Iterable[IncomingConsent]) -> list[Recorded | Invalid]:
        """Append consents; answer each in order."""
        now, playbook = self._now(), self._playbook
        checked = [consenting.check(consent, playbook, now) async for consent in politely(incoming)]
        recorded = iter(
            await self._store.record([consent for consent in checked if isinstance(consent, Consent)])
        )
        answers = [consent if isinstance(consent, Invalid) else next(recorded) for consent in checked]
        for answer in answers:
            self._metrics.consents.labels("invalid" if isinstance(answer, Invalid) else answer.value).inc()
        return answers

    async def read(
        self, keys: Sequence[Key], as_of_time: moments.Moment | None
    ) -> list[Profile | Answer | Invalid]:
        """Read profiles; UNKNOWN where the customer or identity is.

        Raises:
            InvalidRequest: the time is absurd.
        """
        try:
            before = None if as_of_time is None else moments.as_of(as_of_time)
        except ValueError as error:
            raise InvalidRequest(Violation("as_of_time", str(error))) from None
        playbook = self._playbook
        checked = [_checked(key, playbook) async for key in politely(keys)]
        asked = [key for key in checked if not isinstance(key, Invalid)]
        profiles = iter(await self._store.read(asked, before))
        answers: list[Profile | Answer | Invalid] = []
        async for key in politely(checked):
            if isinstance(key, Invalid):
                answers.append(key)
            elif profile := next(profiles):
                answers.append(self._seen(profile, before, playbook))
            else:
                answers.append(Answer.UNKNOWN)
        for answer in answers:
            result = "unknown" if isinstance(answer, Answer) else "found"
            self._metrics.reads.labels("invalid" if isinstance(answer, Invalid) else result).inc()
        return answers

    async def resolve(self, identities: Sequence[Identity]) -> list[str | Answer | Invalid]:
        """Return the customer of each identity, in order; UNKNOWN where there is none."""
        playbook = self._playbook
        checked = [_checked_identity(identity, playbook) async for identity in politely(identities)]
        owners = iter(await self._store.resolve([one for one in checked if not isinstance(one, Invalid)]))
        return [one if isinstance(one, Invalid) else next(owners) or Answer.UNKNOWN for one in checked]

    async def link(
        self, link_id: str, customer: Key, other: Key, source: str, *, is_unlink: bool = False
    ) -> Linked:
        """Put a link on file, or an unlink of ``other``, who is named by id then.

        Nobody acts any more on who was one before when this returns.

        Raises:
            InvalidRequest: a text is too long, or a key names nobody.
        """
        violations: list[Violation] = []
        check_text("link_id", link_id, violations, least=1, most=LONGEST_ID)
        check_text("source", source, violations, least=0, most=LONGEST_ID)
        playbook, ids = self._playbook, []
        keys = {"customer_id": other} if is_unlink else {"customer": customer, "other": other}
        for field, key in keys.items():
            ids.append(await self._owner(field, key, playbook, violations))
        if violations:
            raise InvalidRequest(*violations)
        member_id = ids[-1]
        customer_id = "" if is_unlink else ids[0]
        if member_id and member_id == customer_id:
            raise InvalidRequest(Violation("other", "is the same customer"))
        linked = await self._store.link(
            Linking(
                link_id=link_id,
                customer_id=customer_id,
                member_id=member_id,
                is_unlink=is_unlink,
                source=source,
                record_time=self._now(),
            )
        )
        self._metrics.links.labels("unlink" if is_unlink else "link", linked.answer.value).inc()
        if linked.family is not None:
            # A repeat may come of a caller that did not wait.
            await self._pause(self.lease_seconds)
        return linked

    async def links(self, key: Key) -> list[LinkRecord]:
        """Return the links of a customer.

        Raises:
            InvalidRequest: the key is none.
        """
        return await self._store.links(await self._named(key))

    async def consents(self, key: Key) -> list[Consent]:
        """Return every consent of a customer.

        Raises:
            InvalidRequest: the key is none.
        """
        return await self._store.consents_of(await self._named(key))

    async def export(self, customer_ids: Sequence[str], page_token: str) -> Page:
        """Return all that is on file under ids of a customer, page by page.

        Raises:
            InvalidRequest: there are no ids, too many or bad ones, or the token is none.
        """
        _check_ids(customer_ids)
        try:
            return await self._store.export(customer_ids, page_token)
        except InvalidRow:
            raise InvalidRequest(Violation("page_token", "is none of an export")) from None

    async def erase(self, customer_ids: Sequence[str]) -> Mapping[str, int]:
        """Remove all that is on file or held under ids of a customer; return how many rows by table.

        Nobody acts any more on what was read before when this returns.

        Raises:
            InvalidRequest: there are no ids, too many or bad ones, or one has members that are not named.
        """
        _check_ids(customer_ids)
        erased = await self._store.erase(customer_ids, self._now)
        if erased is None:
            description = "must name all members of each, as its profile tells them"
            raise InvalidRequest(Violation("customer_ids", description))
        self._borrowed.forget(customer_ids)
        # Where nothing was left, the caller may be one that did not wait the first time.
        await self._pause(self.lease_seconds)
        # An update that was under way may have brought some.
        self._borrowed.forget(customer_ids)
        return erased

    async def _named(self, key: Key) -> str:
        violations: list[Violation] = []
        customer_id = await self._owner("customer", key, self._playbook, violations)
        if violations:
            raise InvalidRequest(*violations)
        return customer_id

    async def _owner(self, field: str, key: Key, playbook: Playbook, violations: list[Violation]) -> str:
        """Return the id that a key names, empty where nobody has the identity."""
        if key is None:
            violations.append(Violation(field, "must hold a customer_id or an identity"))
            return ""
        if isinstance(key, str):
            check_text(field, key, violations, least=1, most=LONGEST_ID)
            return key
        checked = _checked_identity(key, playbook, field)
        if isinstance(checked, Invalid):
            violations.extend(checked.violations)
            return ""
        (found,) = await self._store.resolve([checked])
        return found or ""

    async def _hold(self, applied: Iterable[Checked]) -> None:
        now = self._now()
        async for accepted in politely(applied):
            evicted = self._borrowed.hold(accepted.update.customer_id, accepted.borrowed, now)
            self._metrics.evicted.inc(evicted)

    def _seen(self, profile: Profile, before: int | None, playbook: Playbook) -> Profile:
        """Leave out what is too old at the time of the read, and put in what is only borrowed.

        What was on file before its attribute became a borrowed one is not shown.
        """
        now = self._now()
        declared = playbook.profile.attributes
        names = {name for name, attribute in declared.items() if attribute.provenance == "borrowed"}
        borrowed: dict[str, Attribute] = {}
        for member in reversed((profile.customer_id, *profile.members)):
            for name, found in self._borrowed.read(member, names, before, now).items():
                if name not in borrowed or found.record_time >= borrowed[name].record_time:
                    borrowed[name] = found
        kept = {name: found for name, found in profile.attributes.items() if name not in names}
        time = now if before is None else before
        attributes = {
            name: found
            for name, found in (kept | borrowed).items()
            if time < end_of(declared.get(name), found.record_time)
        }
        return replace(profile, attributes=attributes)


def _checked(key: Key, playbook: Playbook) -> CustomerKey | Invalid:
    if key is None:
        return Invalid((Violation("key", "must hold a customer_id or an identity"),))
    if isinstance(key, Identity):
        return _checked_identity(key, playbook, "identity")
    violations: list[Violation] = []
    check_text("customer_id", key, violations, least=1, most=LONGEST_ID)
    return Invalid(tuple(violations)) if violations else key


def _checked_identity(identity: Identity, playbook: Playbook, field: str = "") -> Identity | Invalid:
    violations: list[Violation] = []
    check_identity(identity, playbook, field, violations)
    return Invalid(tuple(violations)) if violations else identity


def _check_ids(customer_ids: Sequence[str]) -> None:
    violations: list[Violation] = []
    if not customer_ids:
        violations.append(Violation("customer_ids", "must name at least one"))
    if check_count("customer_ids", len(customer_ids), _MOST_IDS, violations):
        for index, customer_id in enumerate(customer_ids):
            check_text(f"customer_ids[{index}]", customer_id, violations, least=1, most=LONGEST_ID)
    if violations:
        raise InvalidRequest(*violations)
