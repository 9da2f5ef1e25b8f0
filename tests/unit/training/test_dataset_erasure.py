"""Rows of customers leave a dataset whole or not at all, and its former ids stay with it."""

import json
import os

import learned
import pandas as pd
import pytest

from training.data import erasure
from training.data.dataset import META_FILE, ROWS_FILE, Former, read_dataset
from training.data.erasure import dataset_folders, erase_rows, read_finished, rows_of
from training.refusal import Refused

GONE = ("household-1", "household-7", "nobody")


def remaining(frame):
    return frame[~frame["customer_id"].isin(GONE)].reset_index(drop=True)


def test_rows_of_customers_go_and_all_others_stay(tmp_path):
    before = learned.dataset(tmp_path, 300)
    after = erase_rows(tmp_path, GONE, "act-1")
    pd.testing.assert_frame_equal(after.frame, remaining(before.frame))
    assert rows_of(before, GONE) > 0
    assert rows_of(after, GONE) == 0
    read = read_dataset(tmp_path)
    pd.testing.assert_frame_equal(read.frame, after.frame)
    assert read.meta == after.meta
    assert (read.meta.rows, read.meta.positives) == (len(read.frame), int(read.frame["label"].sum()))


def test_what_is_left_has_the_id_that_it_would_have_had_from_the_start(tmp_path):
    before = learned.dataset(tmp_path / "a", 300)
    after = erase_rows(tmp_path / "a", GONE, "act-1")
    never = learned.write(tmp_path / "b", remaining(before.frame))
    assert after.meta.dataset_id == never.meta.dataset_id != before.meta.dataset_id
    assert after.meta.former == (Former(dataset_id=before.meta.dataset_id, erasure_id="act-1"),)


def test_no_customer_is_named_in_what_describes_a_dataset(tmp_path):
    learned.dataset(tmp_path, 300)
    erase_rows(tmp_path, GONE, "act-1")
    assert "household" not in (tmp_path / META_FILE).read_text()


def test_without_such_rows_nothing_changes(tmp_path):
    learned.dataset(tmp_path, 50)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    erase_rows(tmp_path, ["nobody"], "act-1")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_a_dataset_may_lose_all_its_rows(tmp_path):
    before = learned.dataset(tmp_path, 50)
    after = erase_rows(tmp_path, set(before.frame["customer_id"]), "act-1")
    assert (after.meta.rows, len(read_dataset(tmp_path).frame)) == (0, 0)


def test_former_ids_outlive_another_erasure_and_another_dataset(tmp_path):
    first = learned.dataset(tmp_path, 300)
    second = erase_rows(tmp_path, ["household-1"], "act-1")
    third = erase_rows(tmp_path, ["household-2"], "act-2")
    built = learned.dataset(tmp_path, 200, seed=9)
    assert built.meta.former == (
        Former(dataset_id=first.meta.dataset_id, erasure_id="act-1"),
        Former(dataset_id=second.meta.dataset_id, erasure_id="act-2"),
        Former(dataset_id=third.meta.dataset_id),
    )
    assert learned.dataset(tmp_path, 200, seed=9).meta == built.meta


def test_a_dataset_of_before_erasures_is_read(tmp_path):
    learned.dataset(tmp_path, 50)
    content = json.loads((tmp_path / META_FILE).read_text())
    del content["former"]
    (tmp_path / META_FILE).write_text(json.dumps(content))
    assert read_dataset(tmp_path).meta.former == ()


@pytest.mark.parametrize("crash_at", range(1, 8))
def test_an_erasure_that_breaks_off_is_finished_or_undone(crash_at, tmp_path, monkeypatch):
    before = learned.dataset(tmp_path, 300)
    done = []

    class Crash(Exception):
        pass

    def step():
        done.append(None)
        if len(done) == crash_at:
            raise Crash

    sync, replace, to_parquet = erasure._sync, type(tmp_path).replace, pd.DataFrame.to_parquet
    monkeypatch.setattr(erasure, "_sync", lambda path: (sync(path), step()))
    monkeypatch.setattr(type(tmp_path), "replace", lambda path, other: (step(), replace(path, other)))

    def torn(frame, path, **options):
        to_parquet(frame, path, **options)
        step()

    monkeypatch.setattr(pd.DataFrame, "to_parquet", torn)
    with pytest.raises(Crash):
        erase_rows(tmp_path, GONE, "act-1")
    monkeypatch.undo()
    found = read_finished(tmp_path)
    assert rows_of(found, GONE) in (0, rows_of(before, GONE))
    pd.testing.assert_frame_equal(remaining(found.frame), remaining(before.frame))
    after = erase_rows(tmp_path, GONE, "act-1")
    assert rows_of(after, GONE) == 0
    assert [one.erasure_id for one in after.meta.former] == ["act-1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [META_FILE, ROWS_FILE]


def test_datasets_behind_links_are_found_once_and_circles_end(tmp_path):
    home, disk = tmp_path / "home", tmp_path / "disk"
    home.mkdir()
    learned.dataset(disk / "a", 20)
    (home / "datasets").symlink_to(disk)
    (home / "the same").symlink_to(disk / "a")
    (disk / "circle").symlink_to(home)
    (home / "broken").symlink_to(tmp_path / "nowhere")
    assert dataset_folders(home) == dataset_folders(home, disk) == [disk / "a"]
    assert dataset_folders(tmp_path / "nowhere") == []


def test_a_folder_that_cannot_be_read_is_not_taken_for_an_empty_one(tmp_path, monkeypatch):
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    (tmp_path / "locked").mkdir()
    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(PermissionError, match="locked"):
        dataset_folders(tmp_path)


def test_every_folder_with_a_dataset_or_a_part_of_one_is_found(tmp_path):
    for name in ("a", "a/b", "c d"):
        learned.dataset(tmp_path / "home" / name, 20)
    (tmp_path / "home" / "torn").mkdir()
    (tmp_path / "home" / "torn" / ROWS_FILE).write_bytes(b"")
    learned.dataset(tmp_path / "elsewhere", 20)
    found = dataset_folders(tmp_path / "home", tmp_path / "elsewhere", tmp_path / "home" / "a")
    names = [str(folder.relative_to(tmp_path)) for folder in found]
    assert names == ["elsewhere", "home/a", "home/a/b", "home/c d", "home/torn"]
    with pytest.raises(Refused, match=r"dataset\.json is missing"):
        read_finished(found[-1])
