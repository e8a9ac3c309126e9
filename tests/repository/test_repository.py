"""Promises of the repository itself: layers, lean imports, fresh stubs, a README that runs."""

import ast
import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

LINT = (
    "import sys, importlinter.cli as cli; sys.exit(cli.lint_imports(cache_dir=None, no_cache=True))"
)


def python(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Runs this interpreter in its own process."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, timeout=100
    )


def test_proto_is_no_package():
    assert not list(ROOT.glob("proto/**/__init__.py")), "`proto` is the import name of proto-plus"


def test_layers_hold():
    done = python("-c", LINT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "file, line",
    [
        ("engine/__init__.py", "import modules"),
        ("modules/__init__.py", "import services"),
        ("engine/__init__.py", "import pydantic"),
        ("engine/__init__.py", "import google.protobuf"),
        ("engine/__init__.py", "import grpc"),
        ("engine/factors/families.py", "import engine.problem"),
        ("engine/kernels/cover.py", "import engine.energy"),
    ],
)
def test_planted_import_is_caught(tmp_path, file, line):
    """In a tree of the same files with nothing in them."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for layer in ("engine", "modules", "services"):
        for there in (ROOT / layer).rglob("*.py"):
            empty = tmp_path / there.relative_to(ROOT)
            empty.parent.mkdir(parents=True, exist_ok=True)
            empty.touch()
    assert python("-c", LINT, cwd=tmp_path).returncode == 0
    (tmp_path / file).write_text(line + "\n")
    done = python("-c", LINT, cwd=tmp_path)
    assert done.returncode != 0 and "BROKEN" in done.stdout, done.stdout + done.stderr


def test_importing_the_engine_imports_no_service():
    done = python(
        "-c", "import engine, sys; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    )
    assert done.returncode == 0, done.stderr
    unwanted = "google grpc lightning modules pydantic pytorch_lightning ray services"
    assert not set(done.stdout.split()) & set(unwanted.split())


def test_public_names_are_sorted():
    tree = ast.parse((ROOT / "engine" / "__init__.py").read_text())
    lists = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    assert len(lists) == 1, "engine/__init__.py names its public names once, in __all__"
    assert list(lists[0]) == sorted(set(lists[0]))
    assert not set(lists[0]) - set(dir(importlib.import_module("engine")))


@pytest.mark.skipif(not importlib.util.find_spec("grpc_tools"), reason="needs grpcio-tools")
def test_generated_code_is_fresh():
    done = python("proto/generate.py", "--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_readme_example_runs(tmp_path):
    block = re.search(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.S | re.M)
    assert block, "README.md has a python example"
    (tmp_path / "example.py").write_text(block[1])
    done = python(str(tmp_path / "example.py"))
    assert done.returncode == 0, done.stderr
