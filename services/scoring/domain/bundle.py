"""A bundle: a model, and the evidence that it is still what training wrote.

Four files: ``manifest.json``, which says what the model is and seals itself and the others by
SHA-256; ``model.txt``, LightGBM's own text; ``golden.npz``, inputs with the scores they must get;
``warmup.npz``, inputs to score before the first request.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from services.engine.features.schema import fingerprint
from services.scoring.domain.calibration import Calibration

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]

MANIFEST: Final = "manifest.json"
MODEL: Final = "model.txt"
GOLDEN: Final = "golden.npz"
WARM_UP: Final = "warmup.npz"
FILES: Final = (MANIFEST, MODEL, GOLDEN, WARM_UP)

FORMAT: Final = 1
_SEAL: Final = "manifest_sha256"


class Cause(StrEnum):
    """What is wrong with a bundle."""

    MISSING = "missing"
    MANIFEST = "manifest"
    CHECKSUM = "checksum"
    FINGERPRINT = "fingerprint"
    MODEL = "model"
    LAYOUT = "layout"
    GOLDEN = "golden"
    WARM_UP = "warm_up"
    DEFECT = "defect"
    """Checking it failed in a way that no other cause names."""


class BundleRefused(Exception):
    """A bundle must not be served."""

    def __init__(self, cause: Cause, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One column of the model."""

    name: str
    definition_hash: str
    candidate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """The content of a bundle whose files are whole; the model itself is not yet proven.

    ``warm_up`` are matrices of different sizes.
    """

    features: tuple[Feature, ...]
    schema_fingerprint: str
    calibration: Calibration
    priors: Mapping[str, float]
    overall_prior: float
    playbook_version: str
    model_text: str
    golden_inputs: Matrix
    golden_scores: Vector
    warm_up: tuple[Matrix, ...]


def parse_bundle(files: Mapping[str, bytes]) -> Bundle:
    """Read a bundle from its files by name, and verify hashes, layout and fingerprint.

    Raises:
        BundleRefused: a file is absent, was changed, or says something that cannot be.
    """
    if absent := [name for name in FILES if name not in files]:
        raise BundleRefused(Cause.MISSING, f"{', '.join(absent)} missing")
    content = _manifest(files[MANIFEST])
    try:
        _verify_hashes(files, content["files"])
        features = _features(content)
        rates = [content["overall_prior"], *content["priors"].values()]
        if not all(0 <= _number(rate) <= 1 for rate in rates):
            raise ValueError("a prior is no probability")
        golden = _arrays(files[GOLDEN], Cause.GOLDEN)
        warm_up = _arrays(files[WARM_UP], Cause.WARM_UP)
        return Bundle(
            features=features,
            schema_fingerprint=content["schema_fingerprint"],
            calibration=_calibration(content["calibration"]),
            priors=content["priors"],
            overall_prior=content["overall_prior"],
            playbook_version=str(content["playbook_version"]),
            model_text=files[MODEL].decode(),
            golden_inputs=golden["inputs"],
            golden_scores=golden["scores"],
            warm_up=tuple(np.split(warm_up["inputs"], np.cumsum(warm_up["rows"])[:-1])),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleRefused(Cause.MANIFEST, f"{type(error).__name__}: {error}") from None


def _manifest(text: bytes) -> dict[str, Any]:
    try:
        content = json.loads(text)
        seal = content.pop(_SEAL)
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleRefused(Cause.MANIFEST, f"{MANIFEST} is no manifest: {type(error).__name__}") from None
    if hashlib.sha256(canonical.encode()).hexdigest() != seal:
        raise BundleRefused(Cause.CHECKSUM, f"{MANIFEST} was changed after it was written")
    if (content.get("format"), content.get("objective")) != (FORMAT, "propensity"):
        raise BundleRefused(Cause.MANIFEST, f"only propensity bundles of format {FORMAT} are served")
    return dict(content)


def _verify_hashes(files: Mapping[str, bytes], expected: Mapping[str, str]) -> None:
    for name in (MODEL, GOLDEN, WARM_UP):
        if hashlib.sha256(files[name]).hexdigest() != expected[name]:
            raise BundleRefused(Cause.CHECKSUM, f"{name} is not the file that was written")


def _features(content: Mapping[str, Any]) -> tuple[Feature, ...]:
    features = tuple(Feature(**feature) for feature in content["features"])
    found = fingerprint((feature.name, feature.definition_hash, feature.candidate) for feature in features)
    if found != content["schema_fingerprint"]:
        raise BundleRefused(Cause.FINGERPRINT, "the schema fingerprint is not that of the features listed")
    if not features or [f.candidate for f in features] != sorted(f.candidate for f in features):
        raise BundleRefused(Cause.LAYOUT, "customer features must come before candidate features")
    return features


def _calibration(content: Mapping[str, Any]) -> Calibration:
    slope, intercept = _number(content["slope"]), _number(content["intercept"])
    if content["kind"] != "platt" or slope <= 0:
        raise ValueError("the calibration must be platt with a positive slope")
    return Calibration(slope=slope, intercept=intercept)


def _number(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("a number is not finite")
    return value


def _arrays(content: bytes, cause: Cause) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return dict(arrays)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleRefused(cause, f"the arrays cannot be read: {error}") from None
