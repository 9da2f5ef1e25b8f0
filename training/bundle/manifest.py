"""The manifest of a bundle: what the model is, and the hashes of all that it consists of."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from training.configuration import Configuration
from training.data.dataset import ModelFeature
from training.model.calibration import Calibration

MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.txt"
GOLDEN_FILE = "golden.npz"
WARM_UP_FILE = "warmup.npz"
SEAL = "manifest_sha256"


class Manifest(Configuration):
    """The content of ``manifest.json``, without its seal."""

    format: Literal[1] = 1
    objective: Literal["propensity"] = "propensity"
    outcome: str
    features: tuple[ModelFeature, ...]
    schema_fingerprint: str
    calibration: Calibration
    priors: dict[str, float]
    overall_prior: float = Field(gt=0, lt=1)
    playbook_version: str
    feature_set_version: str
    dataset_id: str
    trained_until_time: datetime
    """The last exposure that the model learned from."""
    created_time: datetime
    files: dict[str, str]
    """The SHA-256 of every other file."""


def sealed(manifest: Manifest) -> bytes:
    """Write a manifest as JSON with the hash of its own content, so that no value can change unseen."""
    content = manifest.model_dump(mode="json")
    return (json.dumps(content | {SEAL: seal(content)}, indent=2) + "\n").encode()


def seal(content: dict[str, Any]) -> str:
    """Hash a manifest's content: compact JSON with sorted keys, without the seal."""
    unsealed = {key: value for key, value in content.items() if key != SEAL}
    text = json.dumps(unsealed, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
