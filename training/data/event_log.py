"""What happened to customers, over all their members."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from services.engine.features.history import History, StoredEvent
from training.data.families import Families
from training.data.ports import EventReader


def read_histories(reader: EventReader, families: Families, roots: Iterable[str]) -> Mapping[str, History]:
    """Return the history of each customer by its root; an unknown one has an empty history.

    Raises:
        Refused: the store cannot be read.
    """
    events: dict[str, list[StoredEvent]] = {root: [] for root in roots}
    members = [member for root in events for member in families.members(root)]
    for customer_id, event in reader.events(customers=members):
        events[families.root(customer_id)].append(event)
    return {root: History(found) for root, found in events.items()}
