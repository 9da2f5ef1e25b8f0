import doctest
import importlib
import pkgutil

import pytest

from services.cli import cases

MODULES = [module.name for module in pkgutil.walk_packages(cases.__path__, "services.cli.cases.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_hold(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
