"""Pages of the documentation that run: their files, their commands and their code."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli import app
from tests.support.paths import ROOT

PAGES = ["rules.md", "engine.md"]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, text) of every block of a page, in order."""
    return BLOCK.findall((ROOT / "docs" / page).read_text())


def test_the_blocks_of_a_page_are_found() -> None:
    kinds = [kind for kind, _ in blocks("rules.md")]
    assert kinds.count("sh") >= 5 and kinds.count("python") >= 1 and kinds.count("yaml") >= 2


@pytest.mark.parametrize("page", PAGES)
def test_a_page_runs(page: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = 0
    for kind, text in blocks(page):
        name = re.match(r"[#c] (\S+\.\w+)\n", text)
        if kind in ("yaml", "") and name:
            Path(name[1]).write_text(text)
        elif kind == "python":
            done = subprocess.run(
                [sys.executable, "-c", text], capture_output=True, text=True, timeout=100
            )
            assert done.returncode == 0, done.stderr
            ran += 1
        elif kind == "sh":
            for line in text.splitlines():
                program, *arguments = shlex.split(line)
                assert program == "basin"
                done = CliRunner().invoke(app, arguments)
                assert done.exit_code == 0, f"{line}\n{done.output}"
                ran += 1
    assert ran


def test_what_the_page_on_rules_promises(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for kind, text in blocks("rules.md"):
        name = re.match(r"[#c] (\S+\.\w+)\n", text)
        if kind in ("yaml", "") and name:
            Path(name[1]).write_text(text)

    def ask(*arguments: str) -> dict:
        return json.loads(CliRunner().invoke(app, ["ask", *arguments, "--json"]).stdout)

    best = ask("diagonal.yaml", "--prove", "--explain")
    assert best["status"] == "OPTIMAL" and best["energy"] == 0 and best["unique"] is False
    apart = ask("diagonal.yaml", "--alternatives", "2", "--distance", "6")
    flat = [sum(grid["grid"], []) for grid in (apart["solution"], *apart["alternatives"])]
    assert all(sum(a != b for a, b in zip(p, q)) >= 6 for k, p in enumerate(flat) for q in flat[:k])
    clash = ask("clash.yaml", "--explain")
    assert {entry["site"] for entry in clash["evidence_conflict"]} == {0, 2}
    assert clash["rule_conflict"] == [{"term": "row", "part": 0}] and len(clash["repair"]) == 1
    assert ask("two.cnf", "--proof", "two.drat")["status"] == "INFEASIBLE"
    assert Path("two.drat").read_text().split()[-1] == "0"
