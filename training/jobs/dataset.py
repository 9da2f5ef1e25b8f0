"""The dataset job: past exposures become labelled rows, with features as they were at the time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import AwareDatetime, SecretStr

from services.engine import instants
from services.engine.features.feature_set import FeatureSet
from services.engine.features.history import History
from services.engine.instants import instant, local_time, microseconds
from services.engine.playbook.errors import did_you_mean
from services.engine.playbook.loader import load
from services.engine.playbook.playbook import Playbook
from training.configuration import Configuration
from training.data.dataset import Dataset, ModelFeature, write_dataset
from training.data.event_log import read_histories
from training.data.families import Families
from training.data.ports import EventReader
from training.data.profile_log import ProfileLog
from training.data.stores import events_in, profiles_in
from training.refusal import Refused


class Exposures(Configuration):
    """Which events say that an action was tried on a customer.

    ``action`` names the event attribute that holds the action id.
    """

    event: str
    action: str


class DatasetConfig(Configuration):
    """What to build, from which stores."""

    playbook: Path
    home: Path = Path(".tact")
    """The folder that holds ``features.sqlite`` and ``profile.sqlite``, as far as these keep the stores."""
    features_store: SecretStr = SecretStr("")
    """The ``postgresql://`` URL of the database that keeps events instead."""
    profile_store: SecretStr = SecretStr("")
    """The ``postgresql://`` URL of the database that keeps profiles instead."""
    exposures: Exposures
    actions: tuple[str, ...] = ()
    """Only exposures to these actions; empty means all."""
    without_features: tuple[str, ...] = ()
    """Features to leave out of the model's layout."""
    as_of_time: AwareDatetime
    """A row is made only where the outcome's window has closed by then."""
    output: Path


def run(config: DatasetConfig) -> Dataset:
    """Build the dataset and write it to ``output``.

    An exposure at time t sees events and attributes before t only, those of all who are linked to the
    customer by now. It is labelled 1 where an event of the action's outcome names the action, from t until
    the outcome's window closes. Context attributes are missing: an event does not tell them.

    Raises:
        Refused: a name is unknown, a store cannot be read, or there is no closed exposure.
    """
    playbook = load(config.playbook)
    features = FeatureSet(playbook)
    _check_names(config, playbook)
    events = events_in(config.features_store.get_secret_value() or config.home / "features.sqlite")
    on_file = profiles_in(config.profile_store.get_secret_value() or config.home / "profile.sqlite")
    families = Families(on_file.pointers())
    exposures = list(_exposures(config, playbook, events, families))
    if not exposures:
        raise Refused(f"no exposure has closed by {config.as_of_time.isoformat()}")
    customers = {customer for customer, _, _, _ in exposures}
    histories = read_histories(events, families, customers)
    profiles = ProfileLog(on_file, families, customers, playbook)
    layout = _layout(playbook, features, config.without_features)
    rows = [
        {
            "customer_id": customer,
            "action_id": action_id,
            "group": playbook.actions[action_id].group,
            "exposure_time": time,
            "outcome_closed_time": end,
            "label": _label(playbook, histories[customer], action_id, time, end),
        }
        | _values(playbook, features, histories[customer], profiles.as_of(customer, time), action_id, time)
        for customer, action_id, time, end in exposures
    ]
    columns = [*list(rows[0])[:6], *(feature.name for feature in layout)]
    return write_dataset(
        config.output,
        pd.DataFrame(rows)[columns],
        layout,
        playbook_version=playbook.version,
        feature_set_version=features.version,
        source=f"{config.exposures.event} events of playbook {playbook.head.name}",
        as_of_time=config.as_of_time,
    )


def _exposures(
    config: DatasetConfig, playbook: Playbook, events: EventReader, families: Families
) -> Iterator[tuple[str, str, int, int]]:
    """Yield (customer, action, time, end of the outcome's window) of every closed exposure."""
    as_of = microseconds(config.as_of_time)
    for customer_id, event in events.events(types={config.exposures.event}):
        action_id = str(event.attributes.get(config.exposures.action))
        if action_id not in playbook.actions or (config.actions and action_id not in config.actions):
            continue
        end = playbook.outcome_end(action_id, instant(event.event_time))
        if end is not None and (closed := microseconds(end)) <= as_of:
            yield families.root(customer_id), action_id, event.event_time, max(closed, event.event_time)


def _label(playbook: Playbook, history: History, action_id: str, start: int, end: int) -> int:
    outcome = playbook.outcome_of(action_id)
    return int(
        outcome is not None
        and any(
            start <= event.event_time < end and event.attributes.get(outcome.match) == action_id
            for event in history.of(outcome.event).events
        )
    )


def _values(
    playbook: Playbook,
    features: FeatureSet,
    history: History,
    attributes: Mapping[str, Any],
    action_id: str,
    time: int,
) -> dict[str, float]:
    zone = instants.time_zone(str(attributes.get("time_zone", ""))) or instants.zone(playbook.head.time_zone)
    local = instant(time).astimezone(zone)
    row = features.candidate_vectors(history, time, [action_id])[0]
    numbers = {
        **dict(zip(features.customer_names, features.customer_vector(history, time).tolist(), strict=True)),
        **dict(zip(features.candidate_names, row.tolist(), strict=True)),
        **features.profile_values(attributes),
        **features.context_values({}, local_time([local])),
        **features.action_values(action_id),
    }
    # The event log does not tell who permitted the use of their data.
    return numbers | dict.fromkeys(playbook.feature_consents, math.nan)


def _layout(playbook: Playbook, features: FeatureSet, without: Sequence[str]) -> tuple[ModelFeature, ...]:
    names = [name for name in playbook.features if name not in without]
    layout = [
        ModelFeature(name=name, definition_hash=digest, candidate=candidate)
        for name, digest, candidate in features.layout(names)
    ]
    return tuple(sorted(layout, key=lambda feature: feature.candidate))


def _check_names(config: DatasetConfig, playbook: Playbook) -> None:
    events = playbook.events.events
    checks: list[tuple[str, Sequence[str], Any]] = [
        ("exposures.event", [config.exposures.event], events),
        ("actions", config.actions, playbook.actions),
        ("without_features", config.without_features, playbook.features),
    ]
    if config.exposures.event in events:
        checks.append(
            ("exposures.action", [config.exposures.action], events[config.exposures.event].attributes)
        )
    wrong = [
        f'{place}: "{name}" is not in the playbook{did_you_mean(name, known)}'
        for place, names, known in checks
        for name in names
        if name not in known
    ]
    if wrong:
        raise Refused("\n".join(wrong))
