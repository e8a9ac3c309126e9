"""The command line in this process, and what it says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli import app
from tests.support.paths import ROOT

FIELDS = [
    "instance", "status", "flags", "abstained", "energy", "bound", "solution", "seconds", "steps",
    "ended", "proved_by", "converged", "unique", "alternatives", "terms", "findings",
    "evidence_conflict", "rule_conflict", "repair", "explanation", "runner_up",
    "margins",
]  # fmt: skip


CNF = "p cnf 3 3\n1 -2 0\n2 3 0\n-1 0\n"
CONTRADICTION = "p cnf 2 3\n1 2 0\n-1 0\n-2 0\n"
COL = "p edge 3 3\ne 1 2\ne 2 3\ne 1 3\n"
QUERY = {
    "variables": {"x": {"values": [1, 2, 3], "shape": [3]}},
    "terms": [
        {"kind": "discrete.all_different", "scope": ["x"], "params": {"lines": [[0, 1, 2]]}},
        {
            "kind": "discrete.table",
            "scope": ["x"],
            "required": False,
            "weight": 0.5,
            "params": {"sites": [0], "costs": [2, 1, 4]},
            "name": "taste",
        },
    ],
}


class Done:
    """What a call of the command left behind."""

    def __init__(self, result):
        self.code, self.out, self.err = result.exit_code, result.stdout, result.stderr
        self.error = result.exception

    @property
    def answers(self) -> list[dict]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def told(self) -> list[str]:
        return self.err.splitlines()


@pytest.fixture
def basin(tmp_path, monkeypatch):
    """Runs the command in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(*args: str, input: str | bytes | None = None) -> Done:
        return Done(CliRunner().invoke(app, list(args), input=input))

    return run


def write(name: str, text) -> str:
    text = text if isinstance(text, (str, bytes)) else json.dumps(text)
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return name


def changed(**fields) -> dict:
    return {**QUERY, **fields}


def term(**fields) -> dict:
    """The query with its first term changed."""
    first = {**QUERY["terms"][0], **fields}
    return changed(terms=[{n: v for n, v in first.items() if v is not ...}])


# --- the process ----------------------------------------------------------------------------------


def command(*args: str, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "services.cli", *args],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
