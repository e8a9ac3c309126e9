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


def ring(middle: float) -> np.ndarray:
    """A ring that leans."""
    rows, columns = np.mgrid[:HIGH, :64]
    slant = columns + 0.5 * (rows - 16)
    away = np.hypot((slant - middle) / 10, (rows - 15.5) / 15)
    return np.clip(3 - 20 * np.abs(away - 0.95), 0, 1).astype(np.float32)


def test_characters_that_lean_on_each_other_are_parted():
    left, right = ring(17.0), ring(39.3)
    strip = np.maximum(left, right)
    assert len(pieces_of(strip > 0.35)) == 1
    straight = strip.sum(0)[20:40].min()
    shares = []
    for seam in seams_of(strip, near=6, most=4, dearest=16.0):
        side = np.arange(64) < seam.columns[:, None]
        shares.append(min(left[side].sum() / left.sum(), right[~side].sum() / right.sum()))
        assert seam.ink < straight / 2
    assert max(shares) > 0.95  # one of them parts the rings
    assert any(len(s.characters) == 2 and s.price < 2 for s in strip_read(strip).segmentations)


@pytest.mark.parametrize("seed", range(4))
def test_every_part_has_ink(seed):
    rng = np.random.default_rng(seed)
    strip = (rng.random((HIGH, 96)) < 0.45).astype(np.float32)
    for picture in strip_read(strip).pictures:
        assert picture.shape == (28, 28) and picture.max() > 0
