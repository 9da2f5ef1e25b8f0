import pytest

from tests.playbooks import load_playbook


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    """The small playbook, unchanged."""
    return load_playbook(tmp_path_factory.mktemp("playbooks") / "shop")
