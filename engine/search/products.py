"""Pairs of columns that pay together: one column for their product, in place of one a combination.

Four columns s_ab of which exactly one is true, that of the values of two columns x and y, have a
cost that is linear in x, y and their product p = s_11:

    s_10 = x - p,   s_01 = y - p,   s_00 = 1 - x - y + p

Of the rows p >= x + y - 1 (where p costs) and p <= x, p <= y (where it pays) only those stay that
the sign of its cost asks for: a bound is the same. What a point makes of p beside is put right by x
and y, at a cost that is no higher.

Source: Fortet 1960; Padberg, "The Boolean quadric polytope", Mathematical Programming 1989.
"""

from dataclasses import dataclass, replace

import numpy as np

from engine.decimals import Floats, Ints
from engine.search.numbers import Numbered, numbered
from engine.search.program import OPEN, Program, Rows

ROOM = 60  # bits of costs that are added up in 64
CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])  # values of x and y
POINTS = np.concatenate(
    [np.repeat(CORNERS, 4, 0), np.tile(np.eye(4, dtype=np.int64), (4, 1))], 1
)  # (16, 6) each beside each of the four


@dataclass(frozen=True, eq=False)
class Reading:
    """How the columns of a program read as the variables of its formula: some are products, then
    some are numbers."""

    variables: int
    kept: Ints  # the variables that are left beside the products
    numbers: Numbered  # how the columns read as these
    pairs: Ints  # (k, 2) the variables x and y ...
    corners: Ints  # (k, 4) ... and s_00, s_01, s_10, s_11

    @staticmethod
    def plain(variables: int) -> "Reading":
        """Each variable is a column."""
        none = np.zeros((0, 2), np.int64), np.zeros((0, 4), np.int64)
        return Reading(variables, np.arange(variables), Numbered.plain(variables), *none)

    def model(self, x: Ints) -> np.ndarray:
        """The model of a whole point. (n,) -> (V,) uint8"""
        out = np.zeros(self.variables, dtype=np.uint8)
        out[self.kept] = self.numbers.model(x)
        both = out[self.pairs]  # (k, 2)
        out[self.corners] = (both[:, None] == CORNERS).all(2)
        return out

    def point(self, model: np.ndarray) -> Ints:
        """The whole point of a model. (V,) uint8 -> (n,)"""
        return self.numbers.point(model[self.kept])

    def spread(self, x: Floats) -> Floats:
        """A point over the variables. (n,) -> (V,)"""
        out = np.zeros(self.variables)
        out[self.kept] = self.numbers.spread(x)
        a, b = out[self.pairs].T
        both = np.clip(out[self.corners[:, 3]], np.maximum(0, a + b - 1), np.minimum(a, b))
        out[self.corners] = np.stack([1 - a - b + both, b - both, a - both, both], 1)
        return out

    def box(self, literals: Ints, lo: Ints, hi: Ints) -> tuple[Ints, Ints]:
        """A box within which all these literals may hold, as far as the given one leaves that open.
        (n,), (n,) -> (n,), (n,)"""
        place = np.full(self.variables, -1)
        place[self.kept] = np.arange(len(self.kept))
        own = place[literals >> 1]
        return self.numbers.box((2 * own + (literals & 1))[own >= 0], lo, hi)


def read(program: Program) -> tuple[Program, Reading]:
    """The same program with products in place of combinations and numbers in place of sites,
    wherever these are no more than that."""
    reading = Reading.plain(program.columns)
    pairs, corners = _pairs(program)
    if len(pairs):
        program, reading = _multiplied(program, pairs, corners)
    if program.long:  # long costs have columns of 0 and 1 alone
        return program, reading
    program, numbers = numbered(program)
    return program, replace(reading, numbers=numbers)


def _pairs(program: Program) -> tuple[Ints, Ints]:
    """The columns x and y of each pair, and its four combinations in order. -> (k, 2), (k, 4)"""
    rows, none = program.rows, (np.zeros((0, 2), np.int64), np.zeros((0, 4), np.int64))
    if not program.long and program.dearest >= 2.0**ROOM:
        return none
    ones = np.bincount(rows.owner, rows.coef == 1, rows.count) == len(CORNERS)
    chosen = ones & (rows.low == 1) & (rows.high == 1) & (np.diff(rows.ptr) == len(CORNERS))
    own = rows.col[chosen[rows.owner]].reshape(-1, len(CORNERS))
    if not len(own):
        return none
    home, place = np.full(program.columns, -1), np.zeros(program.columns, np.int64)
    home[own] = np.arange(len(own))[:, None]
    place[own] = np.arange(2, 6)
    good = (np.bincount(own.reshape(-1), minlength=program.columns)[own] == 1).all(1)
    # the rows of each: none beside those of another
    at = home[rows.col]
    of, least = np.full(rows.count, -1), np.full(rows.count, len(own))
    np.maximum.at(of, rows.owner, at)
    np.minimum.at(least, rows.owner[at >= 0], at[at >= 0])
    shut = (of >= 0) & ((least != of) | (program.sizes >= 2.0**ROOM))
    good[at[shut[rows.owner] & (at >= 0)]] = False
    # the other columns of these: two
    other = (at < 0) & (of[rows.owner] >= 0)
    key = np.unique(of[rows.owner[other]] * program.columns + rows.col[other])
    group, column = key // program.columns, key % program.columns
    good &= np.bincount(group, minlength=len(own)) == 2
    mine = good[group]
    pair = column[mine].reshape(-1, 2)
    good = np.flatnonzero(good)
    # which of the four may be true beside each values of the two
    number = np.full(len(own) + 1, -1)
    number[good] = np.arange(len(good))
    entry = np.flatnonzero(number[of[rows.owner]] >= 0)
    which, col = number[of[rows.owner[entry]]], rows.col[entry]
    there = np.where(at[entry] >= 0, place[col], col == pair[which, 1])
    values = np.zeros((rows.count, len(POINTS)), np.int64)
    np.add.at(values, rows.owner[entry], rows.coef[entry, None] * POINTS[:, there].T)
    met = (values >= rows.low[:, None]) & (values <= rows.high[:, None])
    holds = np.ones((len(good), len(POINTS)), dtype=bool)
    asked = np.flatnonzero(number[of] >= 0)
    np.logical_and.at(holds, number[of[asked]], met[asked])
    beside = holds.reshape(-1, 4, 4)
    whole = ((beside.sum(1) == 1) & (beside.sum(2) == 1)).all(1)
    chosen = np.take_along_axis(own[good], beside.argmax(2), 1)
    return pair[whole], chosen[whole]


def _multiplied(program: Program, pairs: Ints, corners: Ints) -> tuple[Program, Reading]:
    rows, n = program.rows, program.columns
    cost = program.cost.copy()
    none, second, first, both = cost[corners].T
    np.add.at(cost, pairs[:, 0], first - none)
    np.add.at(cost, pairs[:, 1], second - none)
    price = both - first - second + none
    cost[corners[:, 3]] = price
    gone = np.zeros(n, dtype=bool)
    gone[corners[:, :3]] = True
    gone[corners[price == 0, 3]] = True
    combined = np.zeros(n, dtype=bool)
    combined[corners] = True
    kept = np.flatnonzero(~gone)
    place = np.full(n, -1)
    place[kept] = np.arange(len(kept))
    stays = np.bincount(rows.owner, combined[rows.col], rows.count) == 0
    left = rows.some(stays)
    left = replace(left, col=place[left.col])
    x, y, p = place[pairs[:, 0]], place[pairs[:, 1]], place[corners[:, 3]]
    costs, pays = price > 0, price < 0
    every = [
        left,
        _alike((1, 1, -1), (x[costs], y[costs], p[costs]), 1),
        _alike((-1, 1), (x[pays], p[pays]), 0),
        _alike((-1, 1), (y[pays], p[pays]), 0),
    ]
    constant = program.constant + int(none.sum())
    reading = Reading(n, kept, Numbered.plain(len(kept)), pairs, corners)
    return Program(Rows.joined(every), cost[kept], constant), reading


def _alike(coef: tuple[int, ...], columns: tuple[Ints, ...], high: int) -> Rows:
    """Rows of the same coefficients over columns each, with an upper edge."""
    m, k = len(columns[0]), len(coef)
    col = np.stack(columns, 1).reshape(-1).astype(np.int64)
    low = np.full(m, -OPEN)
    return Rows(k * np.arange(m + 1), col, np.tile(coef, m), low, np.full(m, high))
