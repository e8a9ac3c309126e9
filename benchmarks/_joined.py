"""Pictures of no one character: two or three that touch, or a part of one, as strips fall into
where they are parted wrongly."""

import numpy as np

from modules.image._boards.ink import INK, framed

CUT = 0.25  # share of them that are parts of a character
THREE = 0.1  # share of the others that are three characters
DEEP = 4  # pixels that ink may overlap


def joined(
    pictures: np.ndarray, parted: np.ndarray, count: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """So many of them, of framed characters (n, 28, 28), of which some may be parted (n,): whose
    parts look like no other character. -> (28, 28) each"""
    out: list[np.ndarray] = []
    while len(out) < count:
        chosen = rng.integers(0, len(pictures), 3)
        some = [_cut_to_ink(pictures[k]) for k in chosen]
        if rng.random() < CUT:
            wide = some[0].shape[1]
            if wide < 8 or not parted[chosen[0]]:
                continue
            at = int(rng.integers(round(0.3 * wide), round(0.7 * wide) + 1))
            made = some[0][:, :at] if rng.random() < 0.5 else some[0][:, at:]
        else:
            made = _touching(some[0], some[1], rng)
            if rng.random() < THREE:
                made = _touching(made, some[2], rng)
        out.append(framed(_cut_to_ink(made)))
    return out


def _cut_to_ink(x: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero((x > INK).any(1)), np.flatnonzero((x > INK).any(0))
    if not len(rows):
        return x
    return x[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _touching(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One character and, at its right, another that just touches it, a little higher or lower."""
    high = max(len(a), len(b)) + 4
    tops = [(high - len(x)) // 2 + int(rng.integers(-2, 3)) for x in (a, b)]
    wide = a.shape[1] + b.shape[1]
    left, right = np.zeros((high, wide), np.float32), np.zeros((high, wide), np.float32)
    left[tops[0] : tops[0] + len(a), : a.shape[1]] = a
    right[tops[1] : tops[1] + len(b), wide - b.shape[1] :] = b
    room = _gaps(left, right)
    moved = np.zeros_like(left)
    by = min(max(0, room + int(rng.integers(0, DEEP))), wide - 1)
    moved[:, : wide - by] = right[:, by:]
    return np.maximum(left, moved)


def _gaps(left: np.ndarray, right: np.ndarray) -> int:
    """Columns by which the right one may be moved until ink meets ink, in some row."""
    wide = left.shape[1]
    ends = np.where((left > INK).any(1), wide - (left > INK)[:, ::-1].argmax(1), -wide)
    begins = np.where((right > INK).any(1), (right > INK).argmax(1), 2 * wide)
    return int((begins - ends).min())
