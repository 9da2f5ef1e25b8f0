"""``tact playbook schema``: the JSON Schemas that an editor checks a playbook's files by."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from services.engine.playbook.json_schemas import json_schemas

VERB = "schema"


def configure(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the arguments."""
    schema = verbs.add_parser(VERB, help="print the JSON Schema of each file, for editors")
    schema.add_argument("--write", type=Path, metavar="FOLDER", help="write one file for each instead")


def run(arguments: argparse.Namespace) -> int:
    """Print all schemas as one object by file name, or write each into a file."""
    schemas = json_schemas()
    if arguments.write is None:
        sys.stdout.write(_text(schemas))
        return 0
    arguments.write.mkdir(parents=True, exist_ok=True)
    for name, schema in schemas.items():
        (arguments.write / name).write_text(_text(schema), encoding="utf-8")
        sys.stdout.write(f"{arguments.write / name}\n")
    return 0


def _text(data: object) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
