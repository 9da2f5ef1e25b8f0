import pytest

from services.chassis.editions import Editions


@pytest.fixture
def editions():
    return Editions("1", "first")


def test_the_first_is_current(editions):
    assert (editions.current, editions.versions) == ("first", ("1",))


def test_the_last_three_are_held_the_current_one_first(editions):
    for version in ("2", "3", "4"):
        editions.take(version, f"edition {version}")
    assert editions.current == "edition 4"
    assert editions.versions == ("4", "3", "2")
    assert editions.get("2") == "edition 2"
    assert editions.get("1") is None


def test_what_comes_back_into_use_is_the_last_to_go(editions):
    for version in ("2", "3", "1", "4"):
        editions.take(version, f"edition {version}")
    assert editions.versions == ("4", "1", "3")


def test_taking_the_current_one_again_drops_nothing(editions):
    for version in ("2", "3", "3", "3"):
        editions.take(version, f"edition {version}")
    assert editions.versions == ("3", "2", "1")
