"""Literals of a formula that two clauses say are equal, as one: `a or not b`, `b or not a`.

A number that an equality tells from another, and the bounds of both, need no variables of their
own; what is said of one is then said of the other, whatever a search propagates. Equalities that a
group and a clause say stay: by these a program knows what bounds mean (`engine.search.numbers`).
"""

from dataclasses import replace

import numpy as np

from engine.decimals import Ints
from engine.search.boolean import Boolean, Lists


def merged(b: Boolean) -> Boolean:
    """The same formula with one variable for all literals that are equal, or each other's
    negation."""
    stands = _least_equal(b)
    if stands is None:
        return b
    gone = stands[::2] != 2 * np.arange(b.variables)
    own, several = np.flatnonzero(~gone), gone.copy()  # variables that stay; that are one with any
    several[stands[::2][gone] >> 1] = True
    number = np.zeros(b.variables, dtype=np.int64)
    number[own] = np.arange(len(own))
    to = (2 * number[stands >> 1] + (stands & 1)).astype(np.int32)  # (2 V,)

    def moved(lists: Lists) -> Lists:
        return Lists(lists.start, to[lists.literal])

    linear = b.linear
    if linear is not None:
        linear = linear.moved(to[::2].astype(np.int64), len(own))
    return replace(
        b,
        variables=len(own),
        literal=to[b.literal],
        clauses=_some(moved(b.clauses), _new_clauses(b.clauses, to, several)),
        groups=_some(moved(b.groups), _new_rows(b.groups, to, several)),
        sums=moved(b.sums),
        costs=moved(b.costs),
        linear=linear,
    )


def _least_equal(b: Boolean) -> Ints | None:
    """The least literal that each is equal to, by chains of equalities. -> (2 V,); None where no
    two are equal, or one its own negation"""
    first = b.clauses.start[:-1][np.diff(b.clauses.start) == 2]
    ends = b.clauses.literal[first[:, None] + np.arange(2)].astype(np.int64)
    ends = np.sort(ends, axis=1)  # (m, 2): one of both is true
    ends = ends[(ends[:, 0] >> 1) != (ends[:, 1] >> 1)]
    code = np.unique(ends[:, 0] << 32 | ends[:, 1])
    first, second = code >> 32, code & ((1 << 32) - 1)
    both = np.isin((first ^ 1) << 32 | (second ^ 1), code)  # and one of both is false
    one, other = first[both], second[both] ^ 1
    if not len(one):
        return None
    stands = np.arange(2 * b.variables)
    while True:
        least = np.minimum(stands[one], stands[other])
        new = stands.copy()
        np.minimum.at(new, one, least)
        np.minimum.at(new, other, least)
        new = new[new]
        if (new == stands).all():
            break
        stands = new
    return None if (stands[::2] == stands[1::2]).any() else stands


def _new_clauses(lists: Lists, to: np.ndarray, several: np.ndarray) -> np.ndarray:
    """Clauses that say something: none of two equal literals, of which one is negated."""
    owner = np.repeat(np.arange(len(lists.start) - 1), np.diff(lists.start))
    at = np.flatnonzero(several[lists.literal >> 1])
    code = np.sort(owner[at] << 32 | to[lists.literal[at]])
    always = np.zeros(len(lists.start) - 1, dtype=bool)
    always[code[1:][(code[1:] ^ code[:-1]) == 1] >> 32] = True
    return _new_rows(lists, to, several) & ~always


def _new_rows(lists: Lists, to: np.ndarray, several: np.ndarray) -> np.ndarray:
    """All rows but those that repeat another; looked for among rows that are not two literals, and
    speak of equal ones."""
    owner = np.repeat(np.arange(len(lists.start) - 1), np.diff(lists.start))
    speaks = np.bincount(owner, several[lists.literal >> 1], len(lists.start) - 1) > 0
    new, seen = np.ones(len(speaks), dtype=bool), set[bytes]()
    for row in np.flatnonzero(speaks & (np.diff(lists.start) != 2)).tolist():
        key = np.sort(to[lists.literal[lists.start[row] : lists.start[row + 1]]]).tobytes()
        new[row] = key not in seen
        seen.add(key)
    return new


def _some(lists: Lists, kept: np.ndarray) -> Lists:
    lengths = np.diff(lists.start)
    literals = np.ascontiguousarray(lists.literal[np.repeat(kept, lengths)])
    return Lists(np.concatenate([[0], np.cumsum(lengths[kept])]).astype(np.int64), literals)
