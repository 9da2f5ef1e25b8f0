import json

import learned
import numpy as np
import pandas as pd
import pytest

from training.data.dataset import ModelFeature, read_dataset
from training.refusal import Refused


def test_what_is_read_is_what_was_written(tmp_path):
    written = learned.dataset(tmp_path, 300)
    read = read_dataset(tmp_path)
    pd.testing.assert_frame_equal(read.frame, written.frame)
    assert read.meta == written.meta
    assert read.features == learned.FEATURES
    assert read.meta.rows == 300
    assert read.meta.positives == int(written.frame["label"].sum())
    assert np.isnan(read.matrix()).any()


def test_matrix_has_the_columns_asked_for_in_order(tmp_path):
    data = learned.dataset(tmp_path, 50)
    names = ["action.affinity", "customer.age"]
    np.testing.assert_array_equal(data.matrix(names), data.frame[names].to_numpy())
    assert data.matrix().flags.c_contiguous


def test_rows_are_ordered_by_exposure_time(tmp_path):
    assert learned.dataset(tmp_path, 300).frame["exposure_time"].is_monotonic_increasing


def test_identity_does_not_depend_on_the_order_of_rows(tmp_path):
    rows = learned.frame(200)
    shuffled = rows.sample(frac=1, random_state=4)
    first, second = learned.write(tmp_path / "a", rows), learned.write(tmp_path / "b", shuffled)
    assert first.meta.dataset_id == second.meta.dataset_id


def test_identity_does_not_depend_on_how_zero_is_written(tmp_path):
    rows, negative = learned.frame(50), learned.frame(50)
    rows["customer.age"], negative["customer.age"] = 0.0, -0.0
    first, second = learned.write(tmp_path / "a", rows), learned.write(tmp_path / "b", negative)
    assert first.meta.dataset_id == second.meta.dataset_id


@pytest.mark.parametrize("column", learned.frame(2).columns)
def test_identity_depends_on_every_column(tmp_path, column):
    rows = learned.frame(50)
    changed = rows.copy()
    if rows[column].dtype.kind in "if":
        changed.loc[7, column] = 1 - rows.loc[7, "label"] if column == "label" else 12345
        changed["outcome_closed_time"] = changed[["outcome_closed_time", "exposure_time"]].max(axis=1)
    else:
        changed.loc[7, column] = "other"
    first, second = learned.write(tmp_path / "a", rows), learned.write(tmp_path / "b", changed)
    assert first.meta.dataset_id != second.meta.dataset_id


def test_identity_depends_on_the_definition_of_a_feature(tmp_path):
    changed = (
        ModelFeature(name=learned.NAMES[0], definition_hash="changed", candidate=False),
        *learned.FEATURES[1:],
    )
    first = learned.write(tmp_path / "a", learned.frame(50))
    second = learned.write(tmp_path / "b", learned.frame(50), changed)
    assert first.meta.dataset_id != second.meta.dataset_id
    assert first.schema_fingerprint != second.schema_fingerprint


def _set(column, value):
    def change(rows):
        rows[column] = rows[column].astype(object)
        rows.loc[3, column] = value
        return rows

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop(columns="customer.age"), "absent or unknown: customer.age"),
        (lambda rows: rows.assign(surplus=1.0), "absent or unknown: surplus"),
        (_set("label", 2), "label must be 0 or 1"),
        (_set("label", 256), "label must be 0 or 1"),
        (_set("label", None), "missing values in label"),
        (_set("customer_id", None), "missing values in customer_id"),
        (_set("outcome_closed_time", -1), "outcome_closed_time lies before exposure_time"),
        (_set("customer.age", float("inf")), "infinite values in customer.age"),
        (_set("customer.age", "old"), "could not convert"),
    ],
)
def test_rows_that_cannot_be_are_refused(tmp_path, change, message):
    with pytest.raises(Refused, match=message):
        learned.write(tmp_path, change(learned.frame(20)))
    assert not (tmp_path / "dataset.json").exists()


def test_candidate_features_before_customer_features_are_refused(tmp_path):
    with pytest.raises(Refused, match="customer features must come before"):
        learned.write(tmp_path, learned.frame(20), learned.FEATURES[::-1])


def test_repeated_feature_names_are_refused(tmp_path):
    with pytest.raises(Refused, match="must be unique"):
        learned.write(tmp_path, learned.frame(20), (*learned.FEATURES, learned.FEATURES[-1]))


def test_rows_changed_after_writing_are_refused(tmp_path):
    rows = learned.dataset(tmp_path, 50).frame
    rows.loc[3, "customer.age"] = 99.0
    rows.to_parquet(tmp_path / "rows.parquet", index=False)
    with pytest.raises(Refused, match="changed after it was written"):
        read_dataset(tmp_path)


@pytest.mark.parametrize("name", ["rows.parquet", "dataset.json"])
def test_a_folder_without_a_file_is_no_dataset(tmp_path, name):
    learned.dataset(tmp_path, 20)
    (tmp_path / name).unlink()
    with pytest.raises(Refused, match=f"{name} is missing"):
        read_dataset(tmp_path)


def test_a_broken_description_names_the_field(tmp_path):
    learned.dataset(tmp_path, 20)
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rows": "many"}))
    with pytest.raises(Refused, match=r"dataset\.json: rows: "):
        read_dataset(tmp_path)


def test_broken_rows_are_refused(tmp_path):
    learned.dataset(tmp_path, 20)
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(Refused, match="cannot be read"):
        read_dataset(tmp_path)
