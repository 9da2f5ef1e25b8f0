"""A small playbook that tests change, and logs of decisions by it."""

import asyncio
import copy
import functools
import json
import math
import random
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from deciding import DOWN, Shop, request
from tact.decision.v1 import decision_service_pb2 as pb
from tact.log.v1 import decision_record_pb2 as log_pb

from services.cli.decision_log import Entry, Outcome
from services.cli.diff.archive import Archive
from services.cli.diff.comparison import compare
from services.cli.diff.figures import figures
from services.cli.diff.survey import survey
from services.cli.shelf import Shelf
from services.engine.features.feature_set import FeatureSet
from services.engine.features.schema import fingerprint
from services.engine.instants import microseconds
from services.engine.playbook.loader import load
from services.engine.policy.consent import Permission
from services.gateway.domain.knowledge import Model, Profile
from services.gateway.domain.making import Edition
from services.gateway.fakes import InMemoryFeatures, InMemoryLog, InMemoryProfiles, InMemoryScorer

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LAYOUT = ("spend", "visits", "region", "liking", "discount")
OFFERS = ("bread", "cake", "tea")
STALL = {
    "playbook": {
        "name": "stall",
        "time_zone": "UTC",
        "currency": "EUR",
        "purposes": {"marketing": {}},
        "channels": {"email": {}, "app": {}, "screen": {"inbound": True}},
        "context": {
            "basket": {"type": "decimal", "scale": 2},
            "mood": {"type": "integer", "provenance": "borrowed"},
        },
    },
    "profile": {
        "identities": {"card": {}},
        "attributes": {
            "age": {"type": "integer"},
            "region": {"type": "enum", "values": ["north", "south", "west"]},
            "rumour": {"type": "integer", "provenance": "borrowed", "max_age": "1d"},
        },
    },
    "events": {
        "events": {
            "order": {"attributes": {"amount": {"type": "decimal", "scale": 2}, "kind": {"type": "string"}}}
        }
    },
    "features": {
        "features": {
            "spend": {"kind": "sum", "event": "order", "attribute": "amount"},
            "visits": {"kind": "count", "event": "order"},
            "liking": {"kind": "affinity", "event": "order", "by": "kind", "to": "id"},
            "region": {"kind": "profile", "attribute": "region"},
            "discount": {"kind": "action", "attribute": "discount"},
        }
    },
    "actions": {
        "attributes": {"discount": {"type": "number"}},
        "groups": {"offers": {}, "advice": {}},
        "actions": {
            "bread": {
                "group": "offers",
                "purpose": "marketing",
                "value": 3,
                "attributes": {"discount": 0.1},
                "treatments": {"letter": {"channel": "email", "cost": 0.1, "content": {"headline": "Bread"}}},
            },
            "cake": {
                "group": "offers",
                "purpose": "marketing",
                "value": 6,
                "attributes": {"discount": 0.2},
                "treatments": {
                    "letter": {"channel": "email", "cost": 0.1, "content": {"headline": "Cake"}},
                    "banner": {"channel": "app", "cost": 0.2, "content": {"headline": "Cake"}},
                },
            },
            "tea": {
                "group": "offers",
                "purpose": "marketing",
                "value": 4,
                "attributes": {"discount": 0.3},
                "treatments": {"banner": {"channel": "app", "cost": 0.3, "content": {"headline": "Tea"}}},
            },
        },
    },
    "policies": {
        "eligibility": [
            {
                "name": "adult",
                "text": "Tea is for adults.",
                "when": "profile.age >= 18",
                "applies_to": {"actions": ["tea"]},
            }
        ],
        "suitability": [
            {
                "name": "keen",
                "text": "Nobody is bored.",
                "when": "!known.feature.liking || feature.liking > 0.1",
            }
        ],
        "weights": [
            {
                "name": "regular",
                "text": "Who comes often wants bread.",
                "when": "feature.visits > 5.0",
                "factor": 1.5,
                "applies_to": {"actions": ["bread"]},
            }
        ],
    },
}
"""A complete playbook, by file."""


def changed(*changes):
    """Return ``STALL`` with changes, each a path of keys followed by a value; ``...`` deletes."""
    data = copy.deepcopy(STALL)
    for *path, last, value in changes:
        place = functools.reduce(lambda inner, key: inner.setdefault(key, {}), path, data)
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return data


def write(folder, *changes):
    """Write ``STALL`` with changes into a folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    return _write(folder, changed(*changes))


def _write(folder, files):
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(json.dumps(content, indent=1), encoding="utf-8")
    return folder


def edition(*changes):
    """Load ``STALL`` with changes."""
    return _loaded(json.dumps(changed(*changes)))


@functools.cache
def _loaded(files):
    with tempfile.TemporaryDirectory() as folder:
        playbook = load(_write(Path(folder), json.loads(files)))
    return Edition(playbook, FeatureSet(playbook))


def rules(section, *added):
    """Return a change that adds statements to a section of the policies."""
    return "policies", section, [*STALL["policies"].get(section, []), *added]


def rule(name, when, **fields):
    """Write a rule."""
    return {"name": name, "text": f"Because of {name}.", "when": when, **fields}


def score(customer, row):
    """Score at random, the same for the same numbers."""
    return abs(math.sin(sum(number for number in (*customer, *row) if number == number) * 7.3 + 0.2)) / 2


class Part(NamedTuple):
    """Some decisions on record, and what was reported."""

    entries: list
    outcomes: list = ()


@dataclass
class Log:
    """What a stall decided, and what was reported of it."""

    decided_by: Edition
    shop: Shop

    @property
    def outcomes(self):
        """Return what was reported, as the command reads it."""
        return [
            Outcome(one.decision_id, one.rank, one.kind, microseconds(one.outcome_time), one.measures)
            for one in self.shop.log.outcomes.values()
        ]

    @property
    def entries(self):
        """Return the log as the command reads it."""
        return [
            Entry(live=live, decision_id=decision_id, record=entry.record)
            for (live, decision_id), entry in self.shop.log.entries.items()
        ]

    @property
    def records(self):
        """Return the records in order of the log."""
        return [log_pb.DecisionRecord.FromString(entry.record) for entry in self.entries]


def stall(by):
    """Open a gateway that decides by an edition, on a world that can be changed."""
    layout = tuple(by.feature_set.layout([name for name in LAYOUT if name in by.playbook.features]))
    model = Model(
        version="7",
        fingerprint=fingerprint(layout),
        layout=layout,
        priors={"offers": 0.2, "advice": 0.35},
        overall_prior=0.3,
    )
    return Shop(
        now=START,
        edition=by,
        log=InMemoryLog(),
        profiles=InMemoryProfiles(),
        features=InMemoryFeatures(),
        scorer=InMemoryScorer(model=model, score_row=score),
    )


def draw_world(rng, shop, customer_id):
    """Put a customer on file, and draw what is known of them now."""
    of_customer = random.Random(customer_id)
    attributes = {"age": of_customer.choice([16, 20, 44]), "region": of_customer.choice(["north", "south"])}
    if rng.random() < 0.5:
        attributes["rumour"] = rng.randrange(5)
    shop.profiles.profiles[customer_id] = Profile(
        customer_id=customer_id,
        attributes=attributes,
        permissions={
            ("marketing", channel): Permission(granted=of_customer.random() < 0.9)
            for channel in shop.edition.playbook.head.channels
        },
    )
    features = shop.edition.feature_set
    shop.features.customer = {
        name: float(rng.choice([0, 2.5, 7, 12, 31.25, math.nan])) for name in features.customer_names
    }
    shop.features.per_action = {
        action_id: {name: rng.choice([0.05, 0.3, 0.8, math.nan]) for name in features.candidate_names}
        for action_id in shop.edition.playbook.actions
    }


def logged(
    by,
    seed=1,
    decisions=60,
    customers=12,
    max_actions=1,
    live=False,
    faults=(),
    afterwards=None,
    hours=15,
    action_ids=(),
):
    """Decide at random moments about a few customers; one of ten is not on file.

    What is named in ``faults`` is out of reach: the scorer always, the others every now and then.
    ``afterwards`` is awaited with the draw, the stall and each answer. From one decision to the next it
    takes at most that many ``hours``.
    """
    rng, shop = random.Random(seed), stall(by)

    async def decide():
        for number in range(decisions):
            shop.now += timedelta(minutes=rng.randrange(30, 60 * hours))
            customer_id = f"customer-{rng.randrange(customers)}"
            draw_world(rng, shop, customer_id)
            for name in faults:
                getattr(shop, name).failure = DOWN if name == "scorer" or rng.random() < 0.3 else None
            asked = request(
                customer_id=customer_id if rng.random() < 0.9 else "nobody",
                at=shop.now,
                max_actions=max_actions,
                action_ids=action_ids,
                mode=pb.DECISION_MODE_LIVE if live else pb.DECISION_MODE_DRY_RUN,
                request_id=f"{seed}-{number}",
                context={"attributes": {"basket": rng.choice([5.0, 60.25]), "mood": rng.randrange(3)}},
            )
            answer = await shop.deciding(asked)
            if afterwards is not None:
                await afterwards(rng, shop, answer)

    asyncio.run(decide())
    return Log(decided_by=by, shop=shop)


def diff(log, old, new, by=(), scorers=(None, None), places=()):
    """Compare two editions on a log."""
    archive = Archive(old, new, Shelf(list(places)))
    found = survey(log.entries, log.outcomes, archive)
    return compare(found, archive, (old, new), by=by, scorers=scorers, watched=iter)


def told(comparison, rows=None):
    """Add up a comparison, or some of its rows."""
    return figures(rows or comparison.rows, comparison.old.playbook, comparison.new.playbook)


def best_of(record, without=()):
    """Return the best candidate of a record, leaving some out, by plain arithmetic on what is recorded."""
    best = ("do_nothing", 0.0)
    for candidate in sorted(record.candidates, key=lambda one: (one.action_id, one.treatment_id)):
        if candidate.removed_stage or candidate.action_id in without or not candidate.treatment_id:
            continue
        if candidate.priority > best[1]:
            best = (candidate.action_id, candidate.priority)
    return best[0]
