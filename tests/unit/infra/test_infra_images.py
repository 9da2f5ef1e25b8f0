"""The Dockerfile makes small images that run as nobody special and say whether they are well."""

import json
import re

import pytest
from containers import ROOT, copied_from_context, image_fault, stages

RUNNING = ("service", "mlflow")


def test_bases_are_pinned_and_name_no_registry():
    known = stages()
    for stage in known.values():
        assert stage.base in known or image_fault(stage.base) is None, stage.base


@pytest.mark.parametrize(
    ("reference", "fault"),
    [
        ("python:3.11-slim", None),
        ("prom/prometheus:v3.5.0", None),
        ("python", "is not pinned"),
        ("python:latest", "is not pinned"),
        ("registry.example/python:3.11", "names a registry"),
    ],
)
def test_faults_of_references_are_seen(reference, fault):
    assert image_fault(reference) == fault


def test_the_stage_built_by_default_is_the_service():
    assert list(stages())[-1] == "service"


@pytest.mark.parametrize("name", RUNNING)
def test_an_image_runs_as_a_user_without_rights(name):
    stage = stages()[name]
    (made,) = (run for run in stages()[stage.base].all("RUN") if run.startswith("useradd"))
    uid, user = re.fullmatch(r"useradd --uid (\d+) .* (\w+)", made).groups()
    assert int(uid) >= 10_000
    assert stage.all("USER") == [user]
    privileged = [keyword for keyword, _ in stage.instructions].index("USER")
    assert "RUN" not in [keyword for keyword, _ in stage.instructions[privileged:]]


@pytest.mark.parametrize("name", RUNNING)
def test_an_image_tells_its_health_and_gets_signals(name):
    stage = stages()[name]
    (check,) = stage.all("HEALTHCHECK")
    assert json.loads(check.partition("CMD ")[2])[0] == "python"
    (start,) = stage.all("ENTRYPOINT") + stage.all("CMD")
    command = json.loads(start)
    assert command[0] != "sh" or command[2].startswith("exec ")


@pytest.mark.parametrize("name", RUNNING)
def test_an_image_leaves_the_builder_behind(name):
    known = stages()
    stage = known[name]
    assert known[stage.base].base.endswith("-slim")
    installed = [run for run in stage.all("RUN") + known[stage.base].all("RUN") if "pip" in run]
    assert installed == []
    for run in stage.all("RUN"):
        assert "apt-get install" not in run or "--no-install-recommends" in run
        assert "apt-get install" not in run or "rm -rf /var/lib/apt/lists/*" in run


def test_what_is_installed_is_what_the_lock_says():
    known = stages()
    settings = " ".join(known["build"].all("ENV"))
    assert "UV_CONSTRAINT=/src/requirements.lock" in settings
    assert "UV_BUILD_CONSTRAINT=/src/requirements.lock" in settings
    assert "requirements.lock ./" in known["build"].all("COPY")
    for name in ("build-service", "build-mlflow"):
        assert known[name].base == "build"
        for run in known[name].all("RUN"):
            assert "uv pip install" in run
    (dependencies,) = (run for run in known["build-service"].all("RUN") if "--extra" in run)
    assert '--extra "$SERVICE"' in dependencies
    assert 'test -n "$SERVICE"' in dependencies


def test_nothing_is_fetched_but_packages():
    for stage in stages().values():
        assert stage.all("ADD") == []
        for run in stage.all("RUN"):
            assert "://" not in run
            assert not re.search(r"\b(curl|wget|git)\b", run)


def test_the_context_is_what_the_images_are_made_of():
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert lines[0] == "*"
    assert allowed == copied_from_context()
    assert all((ROOT / path).exists() for path in allowed)
