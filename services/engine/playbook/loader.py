"""Reads a playbook folder into a ``Playbook``, or lists everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from services.engine import instants
from services.engine.playbook import references, source
from services.engine.playbook.errors import PlaybookError, Problem, did_you_mean
from services.engine.playbook.meanings import Meanings, digest
from services.engine.playbook.playbook import Playbook, validity_of
from services.engine.playbook.schema.attributes import EventsFile, ProfileFile
from services.engine.playbook.schema.catalogue import ActionsFile
from services.engine.playbook.schema.head import FeaturesFile, PlaybookFile
from services.engine.playbook.schema.policies import PoliciesFile
from services.engine.playbook.shapes import located

FILES: Final[Mapping[str, type[BaseModel]]] = {
    "playbook.yaml": PlaybookFile,
    "profile.yaml": ProfileFile,
    "events.yaml": EventsFile,
    "features.yaml": FeaturesFile,
    "actions.yaml": ActionsFile,
    "policies.yaml": PoliciesFile,
}


def shipped(name: str) -> Path:
    """Return the folder of a playbook that comes with Tact."""
    return Path(__file__).parents[3] / "playbooks" / name


def load(folder: Path) -> Playbook:
    """Load and check the playbook in ``folder``.

    Raises:
        PlaybookError: something is wrong; each problem names file and line, and the nearest right
            name where a name is unknown. Shapes are checked first, references after.
    """
    if not folder.is_dir():
        raise PlaybookError([Problem(file=str(folder), line=1, message="there is no such playbook folder")])
    problems = [
        Problem(file=path.name, line=1, message="unknown file" + did_you_mean(path.name, FILES))
        for path in sorted(folder.iterdir())
        if path.suffix in (".yaml", ".yml") and path.name not in FILES
    ]
    documents: dict[str, source.Document] = {}
    files: dict[str, Any] = {}
    for name, model in FILES.items():
        try:
            documents[name] = source.read(folder / name, name)
            files[name] = model.model_validate(documents[name].data)
        except PlaybookError as error:
            problems.extend(error.problems)
        except ValidationError as error:
            problems.extend(located(documents[name], error))
    if problems:
        raise PlaybookError(problems)
    return _assemble(files, documents)


def _assemble(files: Mapping[str, Any], documents: Mapping[str, source.Document]) -> Playbook:
    checker = references.Checker(
        head=files["playbook.yaml"],
        profile=files["profile.yaml"],
        events=files["events.yaml"],
        features=files["features.yaml"].features,
        catalogue=files["actions.yaml"],
        policies=files["policies.yaml"],
        documents=documents,
    )
    compiled = checker.check()
    zone = instants.zone(checker.head.time_zone)
    return Playbook(
        version=digest({name: file.model_dump(mode="json", by_alias=True) for name, file in files.items()}),
        head=checker.head,
        profile=checker.profile,
        events=checker.events,
        features=checker.features,
        definition_hashes=Meanings(checker.profile, checker.head, checker.events, checker.catalogue).hashes(
            checker.features, compiled.formulas
        ),
        catalogue=checker.catalogue,
        policies=checker.policies,
        formulas=compiled.formulas,
        candidate_features=compiled.candidate_features,
        feature_consents=compiled.feature_consents,
        rules=compiled.rules,
        texts=compiled.texts,
        borrowed=checker.borrowed,
        environment=compiled.environment,
        validity={name: validity_of(action, zone) for name, action in checker.catalogue.actions.items()},
    )
