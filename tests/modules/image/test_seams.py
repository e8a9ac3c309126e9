"""Seams: the least ink of all paths, by trying them all; characters that lean on each other."""

import itertools

import numpy as np
import pytest

from modules.image._boards.ink import pieces_of
from modules.image._boards.seams import ASIDE, seams_of
from modules.image._boards.strips import HIGH, strip_read


def least_by_hand(ink):
    """S(c) of every column: all paths, one by one."""
    high, wide = ink.shape
    out = np.full(wide, np.inf)
    for steps in itertools.product((-1, 0, 1), repeat=high - 1):
        for first in range(wide):
            path = first + np.cumsum([0, *steps])
            if path.min() < 0 or path.max() >= wide:
                continue
            paid = ink[np.arange(high), path].sum() + ASIDE * np.abs(steps).sum()
            middle = path[high // 2]
            out[middle] = min(out[middle], paid)
    return out


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shape", [(5, 7), (6, 5), (2, 6), (1, 6)])
def test_a_seam_costs_the_least_of_all_paths(shape, seed):
    ink = np.random.default_rng(seed).random(shape)
    (seam,) = seams_of(ink, near=1, most=1, dearest=99.0)
    least = least_by_hand(ink)
    assert seam.ink == pytest.approx(least[1:].min())
    rows = np.arange(len(ink))
    own = ink[rows, seam.columns].sum() + ASIDE * np.abs(np.diff(seam.columns)).sum()
    assert own == pytest.approx(seam.ink) and seam.columns[len(ink) // 2] == seam.middle


def test_none_is_dearer_and_there_are_no_more_than_asked():
    ink = np.random.default_rng(0).random((12, 40))
    every = seams_of(ink, near=4, most=5, dearest=99.0)
    assert len(every) == 5 and every == sorted(every, key=lambda s: s.middle)
    assert min(b.middle - a.middle for a, b in itertools.pairwise(every)) >= 4
    dearest = sorted(s.ink for s in every)[2]
    assert all(s.ink <= dearest for s in seams_of(ink, near=4, most=5, dearest=dearest))
    assert seams_of(ink, near=4, most=5, dearest=0.0) == []
    assert seams_of(ink[:, :7], near=4, most=5, dearest=99.0) == []  # no room for two sides


def leaning() -> np.ndarray:
    """Two rings that lean over each other and touch: no column parts them."""
    rows, columns = np.mgrid[:HIGH, :64]
    slant = columns + 0.5 * (rows - 16)
    out = np.zeros((HIGH, 64), np.float32)
    for middle in (17.0, 37.5):
        away = np.hypot((slant - middle) / 10, (rows - 15.5) / 15)
        out = np.maximum(out, np.clip(4 - 14 * np.abs(away - 0.9), 0, 1))
    return out


def test_characters_that_lean_on_each_other_are_parted():
    strip = leaning()
    assert len(pieces_of(strip > 0.35)) == 1
    read = strip_read(strip)
    two = [s for s in read.segmentations if len(s.characters) == 2]
    best = min(two, key=lambda s: s.price)
    a, b = (read.pictures[k] for k in best.characters)
    unit = [x / np.linalg.norm(x) for x in (a, b)]
    assert best.price < 3 and float((unit[0] * unit[1]).sum()) > 0.8  # both are rings


@pytest.mark.parametrize("seed", range(4))
def test_every_part_has_ink(seed):
    rng = np.random.default_rng(seed)
    strip = (rng.random((HIGH, 96)) < 0.45).astype(np.float32)
    for picture in strip_read(strip).pictures:
        assert picture.shape == (28, 28) and picture.max() > 0
