"""The page of claims about pictures tells the figures that `basin bench image` left."""

import json
import re

from tests.support.paths import ROOT


def test_the_page_tells_every_figure_that_was_measured() -> None:
    rows = json.loads((ROOT / "benchmarks" / "results" / "image.json").read_text())["rows"]
    page = (ROOT / "docs" / "pictures.md").read_text()
    told = {line.split("|")[3].strip() for line in page.splitlines() if line.startswith("| ")}
    numbers = {number for cell in told for number in re.findall(r"-?[\d.]+(?:e-?\d+)?", cell)}
    missing = [row["name"] for row in rows if shown(row["value"]) not in numbers]
    assert rows and not missing
    peers = [row["name"] for row in rows if row["peer"] and shown(row["peer_value"]) not in numbers]
    assert not peers


def shown(value: float | None) -> str:
    """As the page writes it."""
    return "" if value is None else f"{value:.3g}"
