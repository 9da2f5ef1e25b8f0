"""``tact dataset | train | evaluate | promote``: runs one job of the learning loop."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from services.cli.customer_stores import databases
from services.cli.failure import Failure
from training.data.dataset import Dataset
from training.jobs.config import load_config
from training.refusal import Refused

CONFIGS = {
    "dataset": "DatasetConfig",
    "train": "TrainConfig",
    "evaluate": "EvaluateConfig",
    "promote": "PromoteConfig",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("config", type=Path, help="a YAML file, such as those in training/configs/retail")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="replace one value by its dotted name, such as lightgbm.num_leaves=15; may be repeated",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the job and print its result as JSON; 1 where a promotion was refused by the gate.

    Raises:
        Failure: the job refused its inputs.
    """
    module = import_module(f"training.jobs.{arguments.command}")
    try:
        config_class = getattr(module, CONFIGS[arguments.command])
        settings = databases() if arguments.command == "dataset" else {}
        overrides = {**settings, **_overrides(arguments.set)}
        result = module.run(load_config(arguments.config, config_class, overrides))
    except Refused as error:
        raise Failure(str(error)) from None
    sys.stdout.write(json.dumps(_plain(result), indent=2, default=str) + "\n")
    return 0 if getattr(result, "promoted", True) else 1


def _overrides(pairs: list[str]) -> Mapping[str, Any]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise Failure(f"--set {pair}: write NAME=VALUE")
        found[name] = yaml.safe_load(value)
    return found


def _plain(result: Any) -> Any:
    if isinstance(result, Dataset):
        return {"folder": str(result.folder), **result.meta.model_dump(mode="json", exclude={"features"})}
    return asdict(result) if is_dataclass(result) and not isinstance(result, type) else result
