"""Pictures and rules in one energy: digits, pictured boards, pixels."""

import os
from pathlib import Path

from benchmarks import _boards, _digits, _pixels
from benchmarks.common import ROOT, Row, data_folder, one_core


def run(seed: int = 0) -> list[Row]:
    """All rows."""
    return [row for section in SECTIONS.values() for row in section(seed=seed)]


def digits(seed: int = 0) -> list[Row]:
    """Handwritten digits, alone and under rules."""
    data = data_folder(None)
    with one_core():
        rows = [*_digits.reading(data), *_digits.boards(seed, data)]
        return [*rows, *_digits.diagonal(seed, data), *_digits.hard(seed, data)]


def pixels(seed: int = 0) -> list[Row]:
    """Denoising and segmentation."""
    with one_core():
        return [*_pixels.two_values(seed), *_pixels.four_labels(seed)]


def boards(seed: int = 0) -> list[Row]:
    """Boards read from pictures; the networks of the folds lie in $BASIN_BENCH_WORK/boards."""
    del seed  # nothing is drawn
    work = Path(os.environ.get("BASIN_BENCH_WORK") or ROOT / "build" / "bench" / "perception")
    with one_core():
        return _boards.rows(data_folder(None), work / "boards")


SECTIONS = {"digits": digits, "pixels": pixels, "boards": boards}
