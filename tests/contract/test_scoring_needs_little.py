"""What scoring may import: an image of it holds neither pandas nor the whole of MLflow."""

import ast
import subprocess
import sys
from pathlib import Path

import services.scoring

FORBIDDEN = ("pandas", "sklearn", "pyarrow", "matplotlib", "mlflow.pyfunc", "mlflow.lightgbm", "training")
SOURCES = sorted(Path(services.scoring.__file__).parent.rglob("*.py"))


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_module_imports_what_an_image_does_not_hold():
    assert SOURCES
    for path in SOURCES:
        names = set(imported(path))
        found = [name for name in names for bad in FORBIDDEN if name == bad or name.startswith(f"{bad}.")]
        assert not found, path


def test_importing_the_service_loads_nothing_heavy():
    heavy = ("pandas", "sklearn", "scipy", "lightgbm", "mlflow", "sqlalchemy", "cel_expr_python", "yaml")
    program = f"import services.scoring.__main__, sys; print([m for m in {heavy!r} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
