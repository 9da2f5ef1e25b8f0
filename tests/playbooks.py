"""Writes small playbooks for tests: a complete one, changed where a test says so."""

import copy
import json
from pathlib import Path

from services.engine.playbook.loader import load

SHOP = {
    "playbook": {
        "name": "shop",
        "time_zone": "Europe/Berlin",
        "currency": "EUR",
        "purposes": {"marketing": {}, "service": {}},
        "channels": {"email": {}, "push": {}},
        "context": {"page": {"type": "enum", "values": ["home", "basket"]}, "items": {"type": "integer"}},
    },
    "profile": {
        "identities": {"email": {}},
        "attributes": {
            "age": {"type": "integer"},
            "tier": {"type": "enum", "values": ["basic", "gold"]},
            "member": {"type": "boolean"},
        },
    },
    "events": {
        "events": {
            "order": {
                "attributes": {
                    "amount": {"type": "decimal", "scale": 2},
                    "items": {"type": "integer"},
                    "category": {"type": "enum", "values": ["shoes", "books", "toys"]},
                    "shop": {"type": "string"},
                    "gift": {"type": "boolean"},
                    "rating": {"type": "number"},
                }
            },
            "clicked": {"attributes": {"offer": {"type": "string"}}},
        }
    },
    "features": {
        "features": {
            "orders_30d": {"kind": "count", "event": "order", "window": "30d"},
            "spend_30d": {"kind": "sum", "event": "order", "attribute": "amount", "window": "30d"},
            "mean_items": {"kind": "mean", "event": "order", "attribute": "items", "window": "7d"},
            "last_category": {"kind": "last", "event": "order", "attribute": "category"},
            "order_recency": {"kind": "recency", "event": "order", "window": "90d"},
            "gifts": {"kind": "count", "event": "order", "where": {"gift": True}},
            "shops": {"kind": "distinct", "event": "order", "attribute": "shop", "window": "12h"},
            "category_share": {
                "kind": "affinity",
                "event": "order",
                "by": "category",
                "to": "categories",
                "attribute": "amount",
            },
            "clicks_of_offer": {
                "kind": "affinity",
                "event": "clicked",
                "by": "offer",
                "to": "id",
                "measure": "total",
            },
            "tier": {"kind": "profile", "attribute": "tier"},
            "page": {"kind": "context", "attribute": "page"},
            "hour": {"kind": "context", "attribute": "hour"},
            "discount": {"kind": "action", "attribute": "discount"},
        }
    },
    "actions": {
        "attributes": {
            "discount": {"type": "number"},
            "categories": {"type": "weights"},
            "season": {"type": "string"},
        },
        "groups": {
            "offers": {"outcome": {"event": "clicked", "match": "offer", "within": "7d"}},
            "notices": {},
        },
        "actions": {
            "sale": {
                "group": "offers",
                "purpose": "marketing",
                "value": 4.5,
                "valid": {"from": "2025-03-01", "through": "2025-03-31"},
                "attributes": {"discount": 0.2, "categories": {"shoes": 1.0, "books": 0.5}},
                "treatments": {
                    "mail": {"channel": "email", "cost": 0.01, "content": {"headline": "Sale"}},
                    "note": {"channel": "push", "content": {"headline": "Sale!"}},
                },
            },
            "recall": {
                "group": "notices",
                "class": "mandatory",
                "purpose": "service",
                "value": 0,
                "treatments": {"mail": {"channel": "email", "content": {"headline": "Recall"}}},
            },
        },
    },
    "policies": {
        "eligibility": [
            {
                "name": "adult",
                "text": "Offers are for adults.",
                "when": "profile.age >= 18",
                "applies_to": {"groups": ["offers"]},
            }
        ],
        "suitability": [
            {
                "name": "not_clicked_yet",
                "text": "An offer that was clicked is not sent again.",
                "when": "feature.clicks_of_offer == 0.0 || action.class == 'mandatory'",
            }
        ],
    },
}
"""A complete playbook, by file."""


def changed(*changes):
    """Return ``SHOP`` with changes, each a path of keys followed by a value; ``...`` deletes."""
    data = copy.deepcopy(SHOP)
    for *path, last, value in changes:
        place = data
        for step in path:
            place = place.setdefault(step, {}) if isinstance(place, dict) else place[step]
        if value is ...:
            del place[last]
        elif isinstance(place, list) and last == len(place):
            place.append(value)
        else:
            place[last] = value
    return data


def write_playbook(folder: Path, *changes, **texts) -> Path:
    """Write ``SHOP`` with ``changes`` into a folder and return it.

    ``texts`` replace whole files: ``actions="..."`` is the YAML text of ``actions.yaml``, None leaves
    the file out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in changed(*changes).items():
        text = texts.get(name, json.dumps(data, indent=1, ensure_ascii=False))
        if text is not None:
            (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


def load_playbook(folder: Path, *changes, **texts):
    """Write a playbook and load it."""
    return load(write_playbook(folder, *changes, **texts))
