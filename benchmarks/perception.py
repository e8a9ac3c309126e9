"""Pictures and rules in one energy: digits, pictured boards, pixels."""

from collections.abc import Iterable

from benchmarks import _digits, _pixels
from benchmarks.common import Row, data_folder, one_core


def run(seed: int = 0) -> list[Row]:
    """All rows."""
    with one_core():
        return [row for section in (digits, pixels) for row in section(seed)]


def digits(seed: int) -> Iterable[Row]:
    """Handwritten digits, alone and under rules."""
    data = data_folder(None)
    yield from _digits.reading(data)
    yield from _digits.boards(seed, data)
    yield from _digits.diagonal(seed, data)
    yield from _digits.hard(seed, data)


def pixels(seed: int) -> Iterable[Row]:
    """Denoising and segmentation."""
    yield from _pixels.two_values(seed)
    yield from _pixels.four_labels(seed)
