"""Small learned things: rows with a known signal, a model of them, its bundle."""

import hashlib
import json
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from training.bundle.writer import write_bundle
from training.data.dataset import ModelFeature, read_dataset, write_dataset
from training.jobs.tracking import ensure_registered_model, experiment_id, tracking
from training.model.booster import BoosterConfig
from training.model.fitting import FitConfig, fit

DAY = 86_400_000_000
NOW = datetime(2018, 1, 1, tzinfo=UTC)
FEATURES = (
    ModelFeature(name="customer.visits_28d", definition_hash="a1", candidate=False),
    ModelFeature(name="customer.spend_28d", definition_hash="b2", candidate=False),
    ModelFeature(name="customer.age", definition_hash="c3", candidate=False),
    ModelFeature(name="action.discount", definition_hash="d4", candidate=True),
    ModelFeature(name="action.affinity", definition_hash="e5", candidate=True),
)
NAMES = [feature.name for feature in FEATURES]
FAST = FitConfig(
    lightgbm=BoosterConfig(trees=25, learning_rate=0.1, early_stopping_rounds=None, num_threads=1),
    minimum_rows=100,
    minimum_positives=20,
)


def frame(rows=800, *, seed=1, first_day=0, days=200, signal=1.5):
    """Make rows whose outcome depends on the first and fourth feature, with some values missing."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, len(FEATURES)))
    chance = 1 / (1 + np.exp(1.5 - signal * matrix[:, 0] - signal * matrix[:, 3]))
    matrix[rng.random(matrix.shape) < 0.05] = np.nan
    exposure = (first_day + rng.integers(0, days, rows)) * DAY
    columns = {
        "customer_id": [f"household-{number}" for number in rng.integers(0, rows // 2, rows)],
        "action_id": [f"campaign-{number}" for number in rng.integers(0, 8, rows)],
        "group": rng.choice(["type_a", "type_b"], rows),
        "exposure_time": exposure,
        "outcome_closed_time": exposure + 10 * DAY,
        "label": (rng.random(rows) < chance).astype(int),
    }
    return pd.DataFrame(columns | dict(zip(NAMES, matrix.T, strict=True)))


def write(folder, rows_frame, features=FEATURES):
    """Keep rows as a dataset."""
    return write_dataset(
        folder,
        rows_frame,
        features,
        playbook_version="playbook-1",
        feature_set_version="features-1",
        source="tests",
        as_of_time=NOW,
    )


def dataset(folder, rows=800, **options):
    """Make a dataset with a known signal."""
    return write(folder, frame(rows, **options))


def read(folder):
    """Read a dataset back."""
    return read_dataset(folder)


def bundle(folder, data, config=FAST, outcome="coupon_redeemed"):
    """Train on a dataset and write the bundle into a folder."""
    fitted = fit(data, config)
    write_bundle(folder, fitted, data, outcome=outcome, created_time=NOW, seed=3)
    return fitted


def register(folder, uri, model_name):
    """Register a bundle's folder, whatever it holds, as a version that nobody serves; return its number."""
    with tracking(uri) as client:
        run = client.create_run(experiment_id(client, model_name))
        client.log_artifacts(run.info.run_id, str(folder), "bundle")
        ensure_registered_model(client, model_name)
        source = f"{run.info.artifact_uri}/bundle"
        return str(client.create_model_version(model_name, source=source, run_id=run.info.run_id).version)


def files(folder):
    """Read a bundle's files by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def resealed(bundle_files, **changes):
    """Change the manifest, and make all hashes fit the content again, as a forger would."""
    manifest = json.loads(bundle_files["manifest.json"]) | changes
    manifest["files"] = {
        name: hashlib.sha256(content).hexdigest()
        for name, content in bundle_files.items()
        if name != "manifest.json"
    }
    del manifest["manifest_sha256"]
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    manifest["manifest_sha256"] = hashlib.sha256(canonical).hexdigest()
    return bundle_files | {"manifest.json": json.dumps(manifest).encode()}
