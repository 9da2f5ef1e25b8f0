"""``expression``: a number computed from other features."""

from __future__ import annotations

import math
from collections.abc import Mapping

from services.engine.playbook.expressions import Environment, Formula
from services.engine.playbook.formulas import FEATURE, inputs


def compute(formula: Formula, environment: Environment, numbers: Mapping[str, float]) -> float:
    """Evaluate over the features that the formula reads; a NaN among them is a missing value."""
    present = {FEATURE + name: number for name in inputs(formula) if not math.isnan(number := numbers[name])}
    return formula.evaluate(environment.activation(present, formula.reads))


def age(formula: Formula, ages: Mapping[str, float]) -> float:
    """Return the smallest age among the features that the formula reads; NaN where none has one."""
    return min((ages[name] for name in inputs(formula) if not math.isnan(ages[name])), default=math.nan)
