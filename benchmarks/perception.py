"""Pictures and rules in one energy: digits, pictured boards, pixels."""

from benchmarks import _digits, _pixels
from benchmarks.common import Row, data_folder, one_core


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


SECTIONS = {"digits": digits, "pixels": pixels}
