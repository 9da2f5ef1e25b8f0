"""The Dockerfile and the compose file, as data."""

import re
import shlex
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
COMPOSE_FILE = ROOT / "infra/compose/compose.yaml"
COMPOSE = yaml.safe_load(COMPOSE_FILE.read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@dataclass
class Stage:
    """One stage: its base, and its instructions as (keyword, rest)."""

    base: str
    name: str
    instructions: list = field(default_factory=list)

    def all(self, keyword):
        """Return the rest of each instruction of a kind, in order."""
        return [rest for found, rest in self.instructions if found == keyword]


def stages():
    """Read the Dockerfile's stages by name."""
    text = (ROOT / "infra/docker/Dockerfile").read_text()
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    found = {}
    stage = None
    for line in text.replace("\\\n", " ").splitlines():
        keyword, _, rest = line.strip().partition(" ")
        if keyword == "FROM":
            base, _, name = rest.split()
            stage = found[name] = Stage(base, name)
        elif keyword:
            stage.instructions.append((keyword, " ".join(rest.split())))
    return found


def copied_from_context():
    """Return what the Dockerfile takes out of the project."""
    sources = set()
    for stage in stages().values():
        for rest in stage.all("COPY"):
            words = shlex.split(rest)
            if not words[0].startswith("--from="):
                sources.update(words[:-1])
    return sources


def image_fault(reference):
    """Say what is wrong with an image reference, None where nothing is."""
    name, _, tag = reference.partition(":")
    first, *rest = name.split("/")
    if rest and ("." in first or first == "localhost"):
        return "names a registry"
    if tag in ("", "latest"):
        return "is not pinned"
    return None
