"""The bundle that training writes is the bundle that scoring reads, and no other."""

import json

import learned
import lightgbm
import numpy as np
import pytest

from services.engine.features.schema import fingerprint
from services.scoring.adapters.lightgbm_booster import LightgbmBooster
from services.scoring.domain.bundle import BundleRefused, Cause, parse_bundle
from services.scoring.domain.model import Model, verify
from services.scoring.domain.model_text import check_whole
from training.bundle.manifest import Manifest
from training.bundle.reader import BundleBroken, read_bundle

FILES = ("manifest.json", "model.txt", "golden.npz", "warmup.npz")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learned")
    learned.bundle(folder / "bundle", learned.dataset(folder / "data"))
    return folder / "bundle"


@pytest.fixture
def files(folder):
    return learned.files(folder)


@pytest.fixture(scope="module")
def matrix():
    rng = np.random.default_rng(8)
    matrix = rng.normal(scale=3, size=(500, len(learned.FEATURES)))
    matrix[rng.random(matrix.shape) < 0.3] = np.nan
    return matrix


def serve(files):
    bundle = parse_bundle(files)
    check_whole(bundle.model_text)
    model = Model(bundle, LightgbmBooster(bundle.model_text))
    verify(model)
    return model


def refused_by_scoring(files):
    with pytest.raises(BundleRefused) as caught:
        serve(files)
    return caught.value.cause


def refused_by_training(files, tmp_path):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BundleBroken):
        read_bundle(tmp_path)


def test_a_bundle_holds_four_plain_files(folder):
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)


def test_the_manifest_says_what_the_model_is(files):
    manifest = json.loads(files["manifest.json"])
    assert manifest["outcome"] == "coupon_redeemed"
    assert [feature["name"] for feature in manifest["features"]] == learned.NAMES
    layout = [(feature.name, feature.definition_hash, feature.candidate) for feature in learned.FEATURES]
    assert manifest["schema_fingerprint"] == fingerprint(layout)
    assert manifest["calibration"]["slope"] > 0
    assert set(manifest["priors"]) == {"type_a", "type_b"}
    assert manifest["created_time"] == "2018-01-01T00:00:00Z"


def test_served_scores_are_raw_lightgbm_calibrated(files, matrix):
    model, manifest = serve(files), json.loads(files["manifest.json"])
    raw = lightgbm.Booster(model_str=files["model.txt"].decode()).predict(matrix, raw_score=True)
    slope, intercept = manifest["calibration"]["slope"], manifest["calibration"]["intercept"]
    expected = [1 / (1 + np.exp(-(slope * margin + intercept))) for margin in raw]
    np.testing.assert_allclose(model.scores(matrix), expected, rtol=0, atol=1e-12)


def test_training_and_serving_score_alike(folder, files, matrix):
    np.testing.assert_array_equal(serve(files).scores(matrix), read_bundle(folder).scores(matrix))


def test_scores_do_not_depend_on_the_batch(files, matrix):
    model = serve(files)
    one_by_one = np.concatenate([model.scores(matrix[row : row + 1]) for row in range(len(matrix))])
    np.testing.assert_array_equal(model.scores(matrix), one_by_one)


def test_golden_inputs_visit_the_edges_and_are_nobodys_row(folder, files):
    inputs = parse_bundle(files).golden_inputs
    seen = {row.tobytes() for row in learned.read(folder.parent / "data").matrix()}
    assert np.isnan(inputs[0]).all()
    assert np.isnan(inputs[6:]).any()
    assert not any(row.tobytes() in seen for row in inputs)


def test_warm_up_requests_have_different_sizes(files):
    assert [len(matrix) for matrix in parse_bundle(files).warm_up] == [1, 20, 200]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(files, name, tmp_path):
    del files[name]
    assert refused_by_scoring(files) is Cause.MISSING
    refused_by_training(files, tmp_path)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("keep", [0, 0.5, 0.999])
def test_a_truncated_file_is_refused(files, name, keep, tmp_path):
    files[name] = files[name][: int(keep * len(files[name]))]
    assert refused_by_scoring(files) in (Cause.CHECKSUM, Cause.MANIFEST)
    refused_by_training(files, tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_refused_wherever_it_is(files, name, tmp_path):
    original = files[name]
    for position in np.random.default_rng(0).integers(0, len(original), 150):
        flipped = bytearray(original)
        flipped[position] ^= 1 << int(position % 8)
        files[name] = bytes(flipped)
        if name == "manifest.json" and _means_the_same(original, files[name]):
            continue
        assert refused_by_scoring(files) in (Cause.CHECKSUM, Cause.MANIFEST)
    refused_by_training(files, tmp_path)


def _means_the_same(original, changed):
    try:
        return json.loads(original) == json.loads(changed)
    except ValueError:
        return False


def _manifest(files):
    return json.loads(files["manifest.json"])


def _reordered(files):
    features = _manifest(files)["features"]
    features[0], features[1] = features[1], features[0]
    layout = [(feature["name"], feature["definition_hash"], feature["candidate"]) for feature in features]
    return learned.resealed(files, features=features, schema_fingerprint=fingerprint(layout))


def _candidates_first(files):
    features = _manifest(files)["features"][::-1]
    layout = [(feature["name"], feature["definition_hash"], feature["candidate"]) for feature in features]
    return learned.resealed(files, features=features, schema_fingerprint=fingerprint(layout))


def _calibrated(files, **changes):
    return learned.resealed(files, calibration=_manifest(files)["calibration"] | changes)


def _golden(files, scores):
    import io

    bundle, buffer = parse_bundle(files), io.BytesIO()
    np.savez(buffer, inputs=bundle.golden_inputs, scores=scores(bundle.golden_scores))
    return learned.resealed(files | {"golden.npz": buffer.getvalue()})


def _another_model(files):
    rows = np.random.default_rng(1).normal(size=(200, len(learned.FEATURES)))
    data = lightgbm.Dataset(rows, (rows[:, 0] > 0).astype(int), feature_name=learned.NAMES)
    text = lightgbm.train({"objective": "binary", "verbosity": -1}, data, 5).model_to_string()
    return learned.resealed(files | {"model.txt": text.encode()})


# Bundles whose hashes hold, made by a writer with a defect.
DEFECTS = {
    "wrong fingerprint": (
        lambda files: learned.resealed(files, schema_fingerprint="0" * 16),
        Cause.FINGERPRINT,
    ),
    "reordered features": (_reordered, Cause.LAYOUT),
    "candidate features first": (_candidates_first, Cause.LAYOUT),
    "slope 0": (lambda files: _calibrated(files, slope=0.0), Cause.MANIFEST),
    "slope below 0": (lambda files: _calibrated(files, slope=-1.0), Cause.MANIFEST),
    "slope is no number": (lambda files: _calibrated(files, slope=float("nan")), Cause.MANIFEST),
    "infinite intercept": (lambda files: _calibrated(files, intercept=float("inf")), Cause.MANIFEST),
    "another calibration": (lambda files: _calibrated(files, kind="isotonic"), Cause.MANIFEST),
    "another intercept": (lambda files: _calibrated(files, intercept=0.25), Cause.GOLDEN),
    "another format": (lambda files: learned.resealed(files, format=2), Cause.MANIFEST),
    "another objective": (lambda files: learned.resealed(files, objective="uplift"), Cause.MANIFEST),
    "wrong golden score": (lambda files: _golden(files, lambda scores: scores + 2e-9), Cause.GOLDEN),
    "missing golden score": (lambda files: _golden(files, lambda scores: scores[1:]), Cause.GOLDEN),
    "golden score is no number": (lambda files: _golden(files, lambda scores: scores * np.nan), Cause.GOLDEN),
    "golden file is no archive": (
        lambda files: learned.resealed(files | {"golden.npz": b"PK no archive"}),
        Cause.GOLDEN,
    ),
    "another model": (_another_model, Cause.GOLDEN),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_under_intact_hashes_is_refused(files, defect, tmp_path):
    damage, cause = DEFECTS[defect]
    damaged = damage(files)
    assert refused_by_scoring(damaged) is cause
    refused_by_training(damaged, tmp_path)


@pytest.mark.parametrize("end", [0, 40, 700, -2500, -200])
def test_a_truncated_model_under_intact_hashes_never_reaches_lightgbm(files, end):
    damaged = learned.resealed(files | {"model.txt": files["model.txt"][:end]})
    assert refused_by_scoring(damaged) is Cause.MODEL


@pytest.mark.parametrize("prior", [-0.1, 1.1, float("nan"), "high"])
def test_a_prior_that_is_no_probability_is_refused(files, prior):
    assert refused_by_scoring(learned.resealed(files, overall_prior=prior)) is Cause.MANIFEST
    assert refused_by_scoring(learned.resealed(files, priors={"type_a": prior})) is Cause.MANIFEST


@pytest.mark.parametrize("field", [name for name in Manifest.model_fields if name != "files"])
def test_a_manifest_without_a_field_is_refused(files, field, tmp_path):
    manifest = _manifest(files)
    del manifest[field]
    files["manifest.json"] = json.dumps(manifest).encode()
    assert refused_by_scoring(files) is Cause.CHECKSUM
    refused_by_training(files, tmp_path)


def test_an_intact_bundle_passes_after_resealing(files):
    serve(learned.resealed(files))
