"""Reading a bundle back, for evaluation and promotion."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from training.bundle.manifest import (
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    SEAL,
    WARM_UP_FILE,
    Manifest,
    seal,
)
from training.data.dataset import Matrix, layout_fingerprint
from training.model.booster import raw_margins

GOLDEN_TOLERANCE = 1e-9


class BundleBroken(Exception):
    """A folder holds no bundle that may be used; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A model that passed its checks."""

    manifest: Manifest
    booster: lgb.Booster

    @property
    def feature_names(self) -> list[str]:
        """The columns that it scores, in order."""
        return [feature.name for feature in self.manifest.features]

    def scores(self, matrix: Matrix) -> npt.NDArray[np.float64]:
        """Return the calibrated propensity of each row."""
        return self.manifest.calibration.probabilities(raw_margins(self.booster, matrix))


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle and hold it to its own word: hashes, layout, golden scores.

    Raises:
        BundleBroken: anything is absent, changed or inconsistent.
    """
    manifest = _manifest(folder)
    text = _verified(folder, MODEL_FILE, manifest).decode(errors="replace")
    golden = _verified(folder, GOLDEN_FILE, manifest)
    _verified(folder, WARM_UP_FILE, manifest)
    if layout_fingerprint(manifest.features) != manifest.schema_fingerprint:
        raise BundleBroken("the schema fingerprint is not that of the features listed")
    try:
        bundle = Bundle(manifest=manifest, booster=lgb.Booster(model_str=text))
        with np.load(io.BytesIO(golden), allow_pickle=False) as arrays:
            inputs, expected = arrays["inputs"], arrays["scores"]
        holds = np.allclose(bundle.scores(inputs), expected, rtol=0, atol=GOLDEN_TOLERANCE)
    except (lgb.basic.LightGBMError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BundleBroken(f"{MODEL_FILE} or {GOLDEN_FILE} cannot be used: {error}") from None
    if bundle.booster.feature_name() != bundle.feature_names:
        raise BundleBroken("the model's features are not those of the manifest")
    if not len(inputs) or not holds:
        raise BundleBroken("golden scores differ")
    return bundle


def _manifest(folder: Path) -> Manifest:
    try:
        content = json.loads((folder / MANIFEST_FILE).read_bytes())
        if content.pop(SEAL) != seal(content):
            raise BundleBroken(f"{MANIFEST_FILE} was changed after it was written")
        return Manifest.model_validate(content)
    except FileNotFoundError:
        raise BundleBroken(f"{MANIFEST_FILE} is missing") from None
    except (ValidationError, ValueError, KeyError, AttributeError) as error:
        raise BundleBroken(f"{MANIFEST_FILE} is no manifest: {error}") from None


def _verified(folder: Path, name: str, manifest: Manifest) -> bytes:
    try:
        content = (folder / name).read_bytes()
    except FileNotFoundError:
        raise BundleBroken(f"{name} is missing") from None
    if hashlib.sha256(content).hexdigest() != manifest.files.get(name):
        raise BundleBroken(f"{name} is not the file that was written")
    return content
