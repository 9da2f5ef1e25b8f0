import pytest
from hypothesis import HealthCheck, settings

from tests.playbooks import load_playbook

# A busy machine is no defect of what is tested.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    """The small playbook, unchanged."""
    return load_playbook(tmp_path_factory.mktemp("playbooks") / "shop")
