"""Which models saw a customer, by the runs of a real MLflow."""

import learned
import pytest

from training.data.dataset import read_dataset
from training.jobs import erase, train
from training.jobs.erase import EraseConfig
from training.jobs.tracking import tracking
from training.jobs.train import TrainConfig


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Train on a dataset, on what an erasure left of it, and on others; erase and build anew in between."""
    folder = tmp_path_factory.mktemp("erasure")
    uri = f"sqlite:///{folder / 'mlflow.db'}"

    def trained(name, dataset):
        config = TrainConfig(
            dataset=dataset, model_name=name, outcome="bought", tracking_uri=uri, **dict(learned.FAST)
        )
        return train.run(config, now=learned.NOW)

    def surveyed(*customer_ids):
        return erase.survey(config(*customer_ids))

    def config(*customer_ids):
        return EraseConfig(
            customer_ids=customer_ids, erasure_id="act-1", roots=(folder / "home",), tracking_uri=uri
        )

    main = folder / "home" / "main"
    learned.dataset(main, 800)
    first = trained("first", main)
    erase.run(config("household-3"), main)
    second = trained("second", main)
    learned.dataset(folder / "home" / "other", 800, seed=2)
    other = trained("other", folder / "home" / "other")
    with tracking(uri) as client:
        client.set_registered_model_alias("first", "champion", first.model_version)
    return main, surveyed, config, trained, {"first": first, "second": second, "other": other}


def told(held):
    """Return (folder, rows or not, (model, certain)...) of each dataset."""
    return {
        one.folder.name: (one.rows > 0, sorted((seen.model, seen.is_certain) for seen in one.seen_by))
        for one in held
    }


def test_models_of_what_a_dataset_was_before_saw_its_customers_too(world):
    _, surveyed, *_ = world
    held = surveyed("household-5")
    assert told(held) == {
        "main": (True, [("first", True), ("second", True)]),
        "other": (True, [("other", True)]),
    }
    (first,) = [seen for one in held for seen in one.seen_by if seen.model == "first"]
    assert (first.version, first.aliases) == ("1", ("champion",))


def test_models_that_came_after_an_erasure_did_not_see_whom_it_took(world):
    _, surveyed, *_ = world
    # The other dataset has a customer of the same name; the first one lost it.
    assert told(surveyed("household-3")) == {"other": (True, [("other", True)])}
    assert told(surveyed("nobody")) == {}


def test_a_survey_changes_nothing_and_an_erasure_is_seen_by_the_next(world):
    main, surveyed, config, *_ = world
    before = {path.name: path.read_bytes() for path in main.iterdir()}
    (held,) = [one for one in surveyed("household-8") if one.folder == main]
    assert {path.name: path.read_bytes() for path in main.iterdir()} == before
    rows = read_dataset(main).meta.rows
    assert erase.run(config("household-8"), main).meta.rows == rows - held.rows
    assert told(surveyed("household-9"))["main"] == (True, [("first", True), ("second", True)])


def test_what_learned_from_a_dataset_that_was_built_anew_may_have_seen_anybody(world):
    main, surveyed, _, trained, _ = world
    learned.dataset(main, 900, seed=4)
    third = trained("third", main)
    assert third.model_version == "1"
    may = [("first", False), ("second", False)]
    assert told(surveyed("household-5"))["main"] == (True, [*may, ("third", True)])
    assert told(surveyed("nobody"))["main"] == (False, may)


def test_without_a_store_of_models_none_is_made(tmp_path):
    learned.dataset(tmp_path / "home", 50)
    uri = f"sqlite:///{tmp_path / 'none' / 'mlflow.db'}"
    config = EraseConfig(
        customer_ids=("household-1",), erasure_id="a", roots=(tmp_path / "home",), tracking_uri=uri
    )
    (held,) = erase.survey(config)
    assert (held.rows > 0, held.seen_by) == (True, ())
    assert not (tmp_path / "none").exists()
