"""Who is one customer."""

from __future__ import annotations

from collections.abc import Iterable


class Families:
    """Customers that are one: a root, and all who lead to it."""

    def __init__(self, pointers: Iterable[tuple[str, str]] = ()) -> None:
        """Take (member id, id that it was linked to), in any order."""
        self._above: dict[str, str] = {}
        self._members: dict[str, list[str]] = {}
        for member_id, customer_id in pointers:
            self.join(customer_id, member_id)

    def joined(self, pairs: Iterable[tuple[str, str]]) -> Families:
        """Return these customers, with the two of each pair made one as well."""
        return Families([*self._above.items(), *pairs])

    def join(self, customer_id: str, member_id: str) -> None:
        """Make one of two; the root of the first stays. Where they are one already, nothing changes."""
        root, other = self.root(customer_id), self.root(member_id)
        if root != other:
            self._above[other] = root
            self._members.setdefault(root, []).extend((other, *self._members.pop(other, ())))

    def root(self, customer_id: str) -> str:
        """Return the id that a customer goes by; who was never linked goes by its own."""
        while (above := self._above.get(customer_id)) is not None:
            customer_id = above
        return customer_id

    def members(self, customer_id: str) -> list[str]:
        """Return all ids of a customer, the root first, the others in order.

        Of values that became known at one time the first counts, as it does in the profile service.
        """
        root = self.root(customer_id)
        return [root, *sorted(self._members.get(root, ()))]
