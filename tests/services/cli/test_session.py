"""`basin session`: line by line the same as asked anew, here and through a service."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modules.catalogue import Catalogue
from services.query import query_of
from services.reasoner.reason import Reasoner
from tests.support.command import QUERY, write
from tests.support.paths import ROOT
from tests.support.serving import GRID, Process, sudoku

APART = {"kind": "discrete.not_equal", "scope": ["grid"], "name": "apart"}
TERMS = [{**term, "name": f"lines{k}"} for k, term in enumerate(sudoku()["terms"])]


def talk(folder: Path, lines: list[Any], *options: str) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, what was said line by line, and stderr."""
    file = folder / "board.json"
    file.write_text(json.dumps(sudoku(terms=TERMS)))
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", "session", str(file), *options],
        input="\n".join(json.dumps(line) for line in lines), cwd=ROOT,
        capture_output=True, text=True,
    )  # fmt: skip
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.fixture(params=["here", "there"])
def options(request: pytest.FixtureRequest, started: Callable[..., Process]) -> tuple[str, ...]:
    """In this process, or in a service."""
    if request.param == "here":
        return ()
    return "--server", started("serve", "--listen", "127.0.0.1:0").address


@pytest.mark.timeout(300)  # starts processes
def test_lines_are_answered_as_if_asked_anew(tmp_path: Path, options: tuple[str, ...]) -> None:
    alike = {**APART, "params": {"pairs": [[0, 80]]}}  # the answer has 5 and 9 there
    same = {"kind": "discrete.equal", "scope": ["grid"], "params": alike["params"], "name": "same"}
    open_grid = [[None] * 9, *GRID[1:]]
    lines = [
        {},
        {"add": [alike]},
        {"drop": ["nothing"]},
        {"drop": ["apart"], "add": [same], "options": {"explain": True}},
        "no object",
        {"drop": ["same"], "evidence": {"grid": open_grid}, "seconds": 5},
    ]
    code, said, err = talk(tmp_path, lines, *options)
    assert code == 2 and not err  # two lines were mistakes
    assert [line["instance"][-2:] for line in said] == [f"#{k}" for k in range(1, 7)]
    for at, fields in (
        (0, {}),
        (1, {"terms": [*TERMS, alike]}),
        (3, {"terms": [*TERMS, same]}),
        (5, {"evidence": {"grid": open_grid}}),
    ):
        asked = query_of(sudoku(**{"terms": TERMS, **fields}))
        (wanted,) = Reasoner(Catalogue(entry_points=False)).reason(asked)
        assert said[at]["status"] == wanted.status.value
    assert said[0]["solution"] == said[1]["solution"]
    assert said[3]["solution"] is None and said[3]["evidence_conflict"]
    assert said[2]["mistakes"][0]["path"] == "drop[0]" and "no object" in str(said[4]["mistakes"])


def test_a_file_that_makes_no_session_is_told(tmp_path: Path) -> None:
    (tmp_path / "two.txt").write_text("1..." + "." * 12 + "\n" + "2..." + "." * 12 + "\n")
    for file, why in (("two.txt", "2 rows"), ("none.json", "none.json")):
        done = subprocess.run(
            [sys.executable, "-m", "services.cli", "session", str(tmp_path / file)],
            input="", cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 2 and why in done.stderr and "Traceback" not in done.stderr


def test_unknown_fields_of_a_line_are_told_with_all_that_are_known(tmp_path: Path) -> None:
    lines = [{"drp": ["x"]}, {"secons": 1, "steps": -1, "drop": "x"}]
    code, (first, second), _ = talk(tmp_path, lines)
    (told,) = first["mistakes"]
    known = "did you mean drop? known: add, drop, evidence, options, seconds, steps"
    assert code == 2 and (told["path"], told["remedy"]) == ("drp", known)
    assert {m["path"] for m in second["mistakes"]} == {"secons", "steps", "drop"}


def test_a_field_of_another_kind_is_answered_by_a_line_that_is_right(basin):
    """Each sample is a line that is read."""
    write("q.json", QUERY)
    wrong = [{"add": {"kind": "discrete.table"}}, {"drop": "taste"}, {"evidence": [1]}]
    wrong.append({"options": 3})
    done = basin("session", "q.json", input="".join(f"{json.dumps(line)}\n" for line in wrong))
    remedies = [answer["mistakes"][0]["remedy"] for answer in done.answers]
    assert all(said.startswith("write {") for said in remedies)
    good = [said.removeprefix("write ") for said in remedies]
    for line, field in zip(good, ("add", "drop", "evidence", "options"), strict=True):
        assert field in json.loads(line)
    order = [good[0], good[1], good[2], good[3]]
    done = basin("session", "q.json", input="\n".join(order) + "\n")
    assert [answer["status"] for answer in done.answers] == ["OPTIMAL"] * 4
