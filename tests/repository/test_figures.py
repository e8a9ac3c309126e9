"""The page of benchmark figures: losses are shown, and the committed page is fresh."""

import json

import pytest

from services.cli.bench_report import page
from tests.support.paths import ROOT

MACHINE = {
    "cpu": "a processor",
    "cores": 2,
    "python": "3.11",
    "packages": {"torch": "2"},
    "seed": 7,
}


@pytest.fixture
def folder(tmp_path):
    """A folder of one benchmark with a figure that was reached, one that was not, one without."""
    (tmp_path / "results").mkdir()
    (tmp_path / "adding.py").write_text(
        '"""How fast one and one are added.\n\nSlower: by hand."""\n'
    )
    shared = {"unit": "ms", "peer": None, "peer_value": None, "note": ""}
    rows = [
        {"name": "quick", "value": 1.0, "target": 2.0, "reached": True, **shared},
        {"name": "slow | late", "value": 3.0, "target": 2.0, "reached": False, **shared},
        {"name": "unknown", "value": None, "target": 2.0, "reached": None, **shared},
    ]
    result = {"rows": rows, "machine": MACHINE}
    (tmp_path / "results" / "adding.json").write_text(json.dumps(result))
    return tmp_path


def test_losses_stand_first(folder):
    text = page(folder)
    lost = text[text.index("## Not reached") : text.index("## adding")]
    assert r"slow \| late" in lost and "quick" not in lost
    assert "3 figures, 2 with a target, 1 of them reached." in text
    assert "| unknown | not measured | 2 |" in text
    assert "Slower: by hand." in text and "seed 7" in text and "a processor" in text


def test_published_lines_stand_apart(folder):
    entry = dict.fromkeys(("system", "task", "figure", "conditions", "source"), "elsewhere")
    (folder / "published.json").write_text(json.dumps([entry]))
    assert "elsewhere" in page(folder).partition("## What others publish")[2]


def test_committed_page_is_that_of_the_results():
    written = (ROOT / "docs" / "benchmarks.md").read_text()
    assert written == page(ROOT / "benchmarks"), "run `basin bench --docs`"
