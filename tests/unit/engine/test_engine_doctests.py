import doctest
import importlib
import pkgutil

import pytest

from services import engine

MODULES = [module.name for module in pkgutil.walk_packages(engine.__path__, "services.engine.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_hold(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_some_docstrings_have_examples():
    found = (doctest.DocTestFinder().find(importlib.import_module(name)) for name in MODULES)
    assert sum(bool(test.examples) for tests in found for test in tests) >= 5
