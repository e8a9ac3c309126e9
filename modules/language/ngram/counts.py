"""Runs of letters counted in a text, and how much of each chance the longest runs are given.

Modified Kneser-Ney: of a run h w that was met c times, c - D(c) of every c(h.) times stand for w
after h, and what is kept back goes to shorter runs. Runs shorter than the longest count by how many
letters they follow. Source: Kneser and Ney, ICASSP 1995; Chen and Goodman, Computer Speech and
Language 1999, whose D(1), D(2), D(3 or more) come from the counts of counts.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from engine.decimals import Floats, Ints


class Runs(NamedTuple):
    """The runs of one length: w after h, as one number in base k, rising; and the share of chance
    that is given to w after h itself, of one h less than 1 in sum."""

    keys: Ints  # (T,)
    shares: Floats  # (T,) where longer runs are looked at, too
    alone: Floats  # (T,) where these are the longest


def runs_of(letters: Ints, k: int, order: int, least: int = 1) -> list[Runs]:
    """Runs of 1 to `order` letters of a text, given as numbers below k; of the longest, those that
    were met at least so often."""
    met = [np.unique(_numbers(letters, n, k), return_counts=True) for n in range(1, order + 1)]
    out = []
    for n, (keys, times) in enumerate(met[:-1], 1):
        after = np.bincount(np.searchsorted(keys, met[n][0] % k**n), minlength=len(keys))
        both = after > 0  # all but a run that stands at the very beginning alone
        keys, times, after = keys[both], times[both], after[both]
        out.append(Runs(keys, _shares(keys, after, k), _shares(keys, times, k)))
    keys, times = met[-1]
    shares, kept = _shares(keys, times, k), times >= least
    return [*out, Runs(keys[kept], shares[kept], shares[kept])]


def _numbers(letters: Ints, n: int, k: int) -> Ints:
    """Every run of n letters as a number in base k."""
    total = max(0, len(letters) - n + 1)
    number = np.zeros(total, dtype=np.int64)
    for j in range(n):
        number = number * k + letters[j : j + total]
    return number


def _shares(keys: Ints, count: Ints, k: int) -> Floats:
    """The shares that counts give to runs of one length."""
    _, first = np.unique(keys // k, return_index=True)
    total = np.repeat(np.add.reduceat(count, first), np.diff(np.append(first, len(keys))))
    shares: Floats = (count - discounts(count)[np.minimum(count, 3)]) / total
    return shares


def discounts(count: Ints) -> Floats:
    """What is kept back of a run that was met never, once, twice, or more often. -> (4,)"""
    met = [int((count == n).sum()) for n in range(1, 5)]
    if min(met) == 0:  # a short text, or runs that are all frequent
        return np.array([0.0, 0.5, 0.75, 0.75])
    rate = met[0] / (met[0] + 2 * met[1])
    back = [n - (n + 1) * rate * met[n] / met[n - 1] for n in (1, 2, 3)]
    return np.array([0.0, *np.clip(back, 0.1, [0.9, 1.5, 2.5])])


def numbered(text: str, alphabet: Sequence[str]) -> Ints:
    """The letters of a text by their places in an alphabet; others are left out."""
    place = {ord(letter): k for k, letter in enumerate(alphabet)}
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    table = np.full(int(codes.max(initial=0)) + 1, -1, dtype=np.int64)
    for code, k in place.items():
        if code < len(table):
            table[code] = k
    found: Ints = table[codes]
    return found[found >= 0]
