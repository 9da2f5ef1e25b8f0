"""Which rows refer to which: what an archive must hold for its rows to go into a store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services.chassis.tables import Row, Table

_OF_CUSTOMERS: Final = {"customer_id": "customers"}
_OF_DECISIONS: Final = {"decision_id": "decisions"}
REFERENCES: Final[Mapping[str, Mapping[str, Mapping[str, str]]]] = {
    "profile": {
        "identities": _OF_CUSTOMERS,
        "attributes": _OF_CUSTOMERS,
        "consents": _OF_CUSTOMERS,
        "memberships": {"member_id": "customers", **_OF_CUSTOMERS},
    },
    "gateway": {"outcomes": _OF_DECISIONS, "contacts": _OF_DECISIONS},
}
"""By service, table and column the table whose one key it holds: the foreign keys of the stores."""


class References:
    """Notes the rows of one service as they pass, and tells of one that refers to nothing."""

    def __init__(self, service: str) -> None:
        self._by_table = REFERENCES.get(service, {})
        self._there: dict[str, set[object]] = {}
        self._asked: dict[tuple[str, str], set[object]] = {}

    def note(self, table: Table, row: Row) -> None:
        """Note a row."""
        for column, other in self._by_table.get(table.name, {}).items():
            if (value := row[table.columns.index(column)]) is not None:
                self._asked.setdefault((table.name, other), set()).add(value)
        if any(table.name in others.values() for others in self._by_table.values()):
            self._there.setdefault(table.name, set()).add(row[table.columns.index(table.key[0])])

    def broken(self) -> str:
        """Return which table refers to rows that were not noted, and of which; empty where none does."""
        for (table, other), asked in self._asked.items():
            if not asked <= self._there.get(other, set()):
                return f"{table} of {other} that are not there"
        return ""
