"""What each image carries: a service imports what its extra installs, and no more."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distribution, packages_distributions

import pytest
from packaging.requirements import Requirement

LOADED = "import sys, services.{}.app; print(*{{m.partition('.')[0] for m in sys.modules}})"


def installed_by(extra: str) -> set[str]:
    """Return the distributions that ``tact-nba[extra]`` brings, all the way down."""
    found: set[str] = set()
    waiting = [Requirement(f"tact-nba[{extra}]")]
    while waiting:
        requirement = waiting.pop()
        key = f"{requirement.name}{sorted(requirement.extras)}"
        if key in found:
            continue
        found |= {key, normal(requirement.name)}
        for text in distribution(requirement.name).requires or []:
            inner = Requirement(text)
            extras = requirement.extras or {""}
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(inner)
    return found


def normal(name: str) -> str:
    return name.lower().replace("_", "-")


@pytest.mark.parametrize("service", ["gateway", "profile", "features", "scoring"])
def test_a_service_imports_only_what_its_extra_installs(service: str) -> None:
    command = [sys.executable, "-c", LOADED.format(service)]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    owners = packages_distributions()
    installed = installed_by(service)
    strangers = {
        module
        for module in loaded
        if module in owners and not any(normal(owner) in installed for owner in owners[module])
    }
    # grpc imports its own tools, and Python setuptools' hook, where they happen to be installed.
    assert strangers - {"grpc_tools", "_distutils_hack"} == set()


def test_the_gateway_installs_neither_lightgbm_nor_mlflow() -> None:
    assert not installed_by("gateway") & {"lightgbm", "mlflow", "mlflow-skinny", "pandas"}


def test_scoring_installs_the_skinny_mlflow_only() -> None:
    assert "mlflow-skinny" in installed_by("scoring")
    assert not installed_by("scoring") & {"mlflow", "pandas", "scikit-learn"}
