"""``tact playbook schema``: the JSON Schemas that an editor checks a playbook's files by."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from services.cli.failure import Failure
from services.engine.playbook.json_schemas import json_schemas

VERB = "schema"


def configure(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the arguments."""
    schema = verbs.add_parser(VERB, help="print the JSON Schema of each file, for editors")
    schema.add_argument("--write", type=Path, metavar="FOLDER", help="write one file for each instead")


def run(arguments: argparse.Namespace) -> int:
    """Print all schemas as one object by file name, or write each into a file.

    Raises:
        Failure: the folder cannot be written.
    """
    if arguments.write is None:
        sys.stdout.write(_text(json_schemas()))
        return 0
    try:
        _write(arguments.write)
    except OSError as error:
        raise Failure(f"{arguments.write} cannot be written: {error.strerror}") from None
    return 0


def _write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in json_schemas().items():
        (folder / name).write_text(_text(schema), encoding="utf-8")
        sys.stdout.write(f"{folder / name}\n")


def _text(data: object) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
