"""Writing a bundle."""

from __future__ import annotations

import hashlib
import io
from datetime import datetime
from pathlib import Path

import lightgbm as lgb
import numpy as np

from services.engine.instants import instant
from training.bundle.manifest import (
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    WARM_UP_FILE,
    Manifest,
    sealed,
)
from training.bundle.probes import golden_inputs
from training.data.dataset import Dataset, Matrix, layout_fingerprint
from training.model.booster import raw_margins
from training.model.fitting import Fitted

GOLDEN_ROWS = 64
WARM_UP_ROWS = (1, 20, 200)


def write_bundle(
    folder: Path, fitted: Fitted, dataset: Dataset, *, outcome: str, created_time: datetime, seed: int
) -> Manifest:
    """Write all files of a bundle into an empty or new folder and return its manifest.

    The golden scores are those of the booster read back from the text that is written.
    """
    text = fitted.booster.model_to_string()
    inputs = golden_inputs(dataset.matrix(), GOLDEN_ROWS, seed)
    margins = raw_margins(lgb.Booster(model_str=text), inputs)
    warm_up = np.resize(inputs, (sum(WARM_UP_ROWS), inputs.shape[1]))
    files = {
        MODEL_FILE: text.encode(),
        GOLDEN_FILE: _npz(inputs=inputs, scores=fitted.calibration.probabilities(margins)),
        WARM_UP_FILE: _npz(inputs=warm_up, rows=np.array(WARM_UP_ROWS, dtype=np.int64)),
    }
    manifest = Manifest(
        outcome=outcome,
        features=dataset.features,
        schema_fingerprint=layout_fingerprint(dataset.features),
        calibration=fitted.calibration,
        priors=fitted.priors.by_group,
        overall_prior=fitted.priors.overall,
        playbook_version=dataset.meta.playbook_version,
        feature_set_version=dataset.meta.feature_set_version,
        dataset_id=dataset.meta.dataset_id,
        trained_until_time=instant(int(dataset.times("exposure_time").max())),
        created_time=created_time,
        files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {**files, MANIFEST_FILE: sealed(manifest)}.items():
        (folder / name).write_bytes(content)
    return manifest


def _npz(**arrays: Matrix | np.ndarray[tuple[int], np.dtype[np.int64]]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()
