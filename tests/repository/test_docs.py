"""Pages of the documentation that run: their files, their commands and their code."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli import app
from tests.support.forked import Forked
from tests.support.paths import ROOT
from tests.support.serving import Process

PAGES = [
    "rules.md",
    "engine.md",
    "language.md",
    "graphs.md",
    "perception.md",
    "texts.md",
    "boards.md",
    "integers.md",
    "generators.md",
]
PROGRAMS = [
    "README.md",
    "docs/serving.md",
    "docs/learning.md",
    "docs/structures.md",
    "docs/pictures.md",
    "docs/samplers.md",
    "docs/weights.md",
]  # whose Python is one program
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def programs() -> Iterator[Forked]:
    """Runs the Python of pages, which are read in a checkout: they find examples/."""
    made = Forked()
    yield made
    made.close()


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, text) of every block of a page, in order."""
    return BLOCK.findall((ROOT / "docs" / page).read_text())


def test_the_blocks_of_a_page_are_found() -> None:
    kinds = [kind for kind, _ in blocks("rules.md")]
    assert kinds.count("sh") >= 5 and kinds.count("python") >= 1 and kinds.count("yaml") >= 2


@pytest.mark.parametrize("page", PAGES)
def test_a_page_runs(page: str, tmp_path, monkeypatch, programs: Forked) -> None:
    monkeypatch.chdir(tmp_path)
    ran = 0
    for kind, text in blocks(page):
        name = re.match(r"[#c] (\S+\.\w+)\n", text)
        if kind in ("yaml", "") and name:
            Path(name[1]).write_text(text)
        elif kind == "python":
            if name:
                Path(name[1]).write_text(text)
            code, said = programs.run(text, tmp_path)
            assert code == 0, said
            ran += 1
        elif kind == "sh":
            for line in text.splitlines():
                program, *arguments = shlex.split(line)
                if program == "python":  # an example that makes the files of the page
                    path = {**os.environ, "PYTHONPATH": str(ROOT)}
                    subprocess.run([sys.executable, *arguments], env=path, timeout=100, check=True)
                    continue
                assert program == "basin"
                done = CliRunner().invoke(app, arguments)
                assert done.exit_code == 0, f"{line}\n{done.output}"
                ran += 1
    assert ran


def test_no_python_of_a_page_is_left_out() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    blocks_of = {page: dict(BLOCK.findall(page.read_text())) for page in pages}
    shown = {str(page.relative_to(ROOT)) for page, every in blocks_of.items() if "python" in every}
    assert shown <= {*PROGRAMS, *(f"docs/{page}" for page in PAGES)}
    assert not any("py" in every for every in blocks_of.values())  # no second name for it


@pytest.mark.parametrize("page", PROGRAMS)
def test_the_python_of_a_page_runs(
    page: str, tmp_path: Path, started: Callable[..., Process], programs: Forked
) -> None:
    """Read from above, with the files that the page shows, and a service where it has one."""
    text = (ROOT / page).read_text()
    for kind, block in BLOCK.findall(text):
        if kind == "yaml" and (name := re.match(r"# (\S+\.yaml)\n", block)):
            (tmp_path / name[1]).write_text(block)
    program = "\n".join(block for kind, block in BLOCK.findall(text) if kind == "python")
    if re.search(r"127\.0\.0\.1:\d+", program):
        service = started("serve", "--listen", "127.0.0.1:0")
        program = re.sub(r"127\.0\.0\.1:\d+", service.address, program)
    code, said = programs.run(program, tmp_path)
    assert code == 0, said


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
