"""Sites that a program sees as numbers alone, each as one column of whole numbers.

A site is a row of columns of which exactly one is true; others may be sums of these ("at least v").
Where all rows and costs count what its places are worth alike, up to a factor and a constant,

    sum_p f_r(p) [p] = constant_r + factor_r worth,

the worth takes the place of all of them. The relaxation stays as it is: a mixture of places is
worth anything between the least and the most. What is left is a column for a number, and a search
may halve its range instead of leaving out one value after the other.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from engine.decimals import Floats, Ints
from engine.search.program import OPEN, Program, Rows

FEWEST = 8  # different worths from which on a site is a number: fewer are better cut as choices
LARGEST = 1 << 31  # of a number


class Number(NamedTuple):
    """A site that became one column."""

    column: int
    worth: Ints  # (k,) of each place, from 0
    variables: Ints  # (c,) the columns that it took the place of
    true: np.ndarray  # (c, k) bool: whether they are, at each place

    def place(self, value: float) -> int:
        """A place that is worth this, or nearest to it."""
        return int(np.abs(self.worth - value).argmin())


@dataclass(frozen=True, eq=False)
class Numbered:
    """How the columns of a program read as the variables of its formula."""

    variables: int
    kept: Ints  # the variable of each of the first columns
    numbers: tuple[Number, ...] = ()  # of the others

    @staticmethod
    def plain(variables: int) -> "Numbered":
        """Each variable is a column."""
        return Numbered(variables, np.arange(variables))

    def model(self, x: Ints) -> np.ndarray:
        """The model of a whole point. (n,) -> (V,) uint8"""
        out = np.zeros(self.variables, dtype=np.uint8)
        out[self.kept] = x[: len(self.kept)]
        for one in self.numbers:
            out[one.variables] = one.true[:, one.place(x[one.column])]
        return out

    def point(self, model: np.ndarray) -> Ints:
        """The whole point of a model. (V,) uint8 -> (n,)"""
        out = np.zeros(len(self.kept) + len(self.numbers), dtype=np.int64)
        out[: len(self.kept)] = model[self.kept]
        for one in self.numbers:
            alike = one.true == model[one.variables].astype(bool)[:, None]
            out[one.column] = one.worth[int(alike.all(0).argmax())]
        return out

    def spread(self, x: Floats) -> Floats:
        """A point over the variables: a number between two places is a mixture of both.
        (n,) -> (V,)"""
        if not self.numbers:
            return x
        out = np.zeros(self.variables)
        out[self.kept] = x[: len(self.kept)]
        for one in self.numbers:
            order = np.argsort(one.worth, kind="stable")
            along = one.worth[order]
            above = min(max(int(np.searchsorted(along, x[one.column])), 1), len(along) - 1)
            low, high = int(along[above - 1]), int(along[above])
            share = min(1.0, max(0.0, (float(x[one.column]) - low) / max(1, high - low)))
            mixed = share * one.true[:, order[above]] + (1 - share) * one.true[:, order[above - 1]]
            out[one.variables] = mixed
        return out

    def box(self, literals: Ints, lo: Ints, hi: Ints) -> tuple[Ints, Ints]:
        """A box within which all these literals may hold, as far as the given one leaves that open.
        (n,), (n,) -> (n,), (n,)"""
        lo, hi = lo.copy(), hi.copy()
        column = np.full(self.variables, -1)
        column[self.kept] = np.arange(len(self.kept))
        at, off = column[literals >> 1], (literals & 1).astype(bool)
        own = at >= 0
        at, off = at[own], off[own]
        kept = np.where(off, lo[at] == 0, hi[at] == 1)
        hi[at[off & kept]] = 0
        lo[at[~off & kept]] = 1
        said = np.full(self.variables, -1)
        said[literals >> 1] = 1 - (literals & 1)
        for one in self.numbers:
            told = said[one.variables]
            fits = ((told < 0)[:, None] | (one.true == told[:, None])).all(0)
            fits &= (one.worth >= lo[one.column]) & (one.worth <= hi[one.column])
            if fits.any():
                worth = one.worth[fits]
                lo[one.column], hi[one.column] = worth.min(), worth.max()
        return lo, hi


def numbered(program: Program) -> tuple[Program, Numbered]:
    """The same program with numbers in place of sites, wherever these are no more than that."""
    plain = Numbered.plain(program.columns)
    sites = _sites(program.rows)
    if not sites:
        return program, plain
    found = [number for site in sites if (number := _number(program, site)) is not None]
    return _joined(program, found) if found else (program, plain)


class _Site(NamedTuple):
    """Columns that are decided by which one of some of them is true."""

    rows: Ints  # that say so
    variables: Ints  # (c,)
    true: np.ndarray  # (c, k) bool
    counted: Ints  # the other rows that count some of them


class _Worth(NamedTuple):
    """A site, what its places are worth, and what each row and the cost make of that."""

    site: _Site
    worth: Ints  # (k,)
    constant: Ints  # (m + 1,) of the rows, and the cost
    factor: Ints  # (m + 1,)


def _sites(rows: Rows) -> list[_Site]:
    """The sites of many places that no row counts a few places of."""
    exact, length = rows.low == rows.high, np.diff(rows.ptr)
    least, most = np.full(rows.count, OPEN), np.full(rows.count, -OPEN)
    np.minimum.at(least, rows.owner, rows.coef)
    np.maximum.at(most, rows.owner, rows.coef)
    chosen = exact & (rows.low == 1) & (least == 1) & (most == 1) & (length >= FEWEST)
    if not chosen.any():
        return []
    short = exact & (length > 1) & (length <= 3) & (np.maximum(most, -least) == 1)
    home = np.full(int(rows.col.max()) + 1, -1)  # the row that chooses each column
    for row in np.flatnonzero(chosen)[::-1].tolist():
        home[rows.col[rows.ptr[row] : rows.ptr[row + 1]]] = row
    whole = np.bincount(rows.owner, home[rows.col] == rows.owner, rows.count) == length
    base = np.flatnonzero(chosen & whole)
    _, counted, many = _counts(rows, home, short)
    base = base[~np.isin(base, counted[many < FEWEST - 1])]  # fewer than a number has worths
    said, made = _defined(rows, base, np.flatnonzero(short)) if len(base) else ({}, {})
    own: dict[int, list[tuple[int, int]]] = {row: [] for row in base.tolist()}
    for column, (row, mask) in made.items():
        home[column] = row
        own[row].append((column, mask))
    rules: dict[int, list[int]] = {row: [row] for row in base.tolist()}
    for rule, row in said.items():
        rules[row].append(rule)
    defines = np.zeros(rows.count, dtype=bool)
    defines[[*said]] = True
    counting, counted, many = _counts(rows, home, defines)
    out = []
    for row in base[~np.isin(base, counted[many < FEWEST - 1])].tolist():
        stands = rows.col[rows.ptr[row] : rows.ptr[row + 1]]
        k = len(stands)
        true = np.concatenate([np.eye(k, dtype=bool), _bits([mask for _, mask in own[row]], k)])
        variables = np.concatenate([stands, np.array([c for c, _ in own[row]], dtype=np.int64)])
        out.append(_Site(np.array(rules[row]), variables, true, counting[counted == row]))
    return out


def _counts(rows: Rows, home: Ints, but: np.ndarray) -> tuple[Ints, Ints, Ints]:
    """Which rows, but for some, count columns of which sites, and how many. -> row, site, number"""
    at = np.flatnonzero((home[rows.col] >= 0) & ~but[rows.owner])
    key, many = np.unique(rows.owner[at] * rows.count + home[rows.col[at]], return_counts=True)
    row, site = key // rows.count, key % rows.count
    other = row != site
    return row[other], site[other], many[other]


def _defined(
    rows: Rows, base: Ints, defines: Ints
) -> tuple[dict[int, int], dict[int, tuple[int, int]]]:
    """Columns that short rows say are sums of places of a site, and these rows. -> the site of each
    such row; the site of each such column and its places, as bits"""
    places: dict[int, tuple[int, int]] = {}
    for row in base.tolist():
        for k, column in enumerate(rows.col[rows.ptr[row] : rows.ptr[row + 1]].tolist()):
            places[column] = row, 1 << k
    whole = {row: (1 << int(rows.ptr[row + 1] - rows.ptr[row])) - 1 for row in base.tolist()}
    own = {
        row: (
            rows.col[rows.ptr[row] : rows.ptr[row + 1]].tolist(),
            rows.coef[rows.ptr[row] : rows.ptr[row + 1]].tolist(),
            int(rows.low[row]),
        )
        for row in defines.tolist()
    }
    holders: dict[int, list[int]] = {}
    for row, (columns, _, _) in own.items():
        for column in columns:
            holders.setdefault(column, []).append(row)
    said: dict[int, int] = {}
    made: dict[int, tuple[int, int]] = {}
    queue = list(own)
    for row in queue:
        columns, coefs, edge = own[row]
        left = [k for k, column in enumerate(columns) if column not in places]
        homes = {places[c][0] for c in columns if c in places}
        if row in said or len(left) > 1 or len(homes) != 1:
            continue
        home = homes.pop()
        known = [(places[c][1], a) for c, a in zip(columns, coefs, strict=True) if c in places]
        rest = _left(edge, known, whole[home])  # what the unknown one adds at each place
        one = coefs[left[0]] if left else 0
        if set(rest) - {0, one}:
            continue
        said[row] = home
        if left:
            column = columns[left[0]]
            places[column] = made[column] = home, rest.get(one, 0)
            queue += holders[column]
    return said, made


def _left(edge: int, known: list[tuple[int, int]], whole: int) -> dict[int, int]:
    """What is left of an edge at each place, where columns with these places count so much: the
    places of each amount, as bits."""
    left = {edge: whole}
    for mask, coef in known:
        parts = [(amount, places & ~mask) for amount, places in left.items()]
        parts += [(amount - coef, places & mask) for amount, places in left.items()]
        left = {}
        for amount, places in parts:
            if places:
                left[amount] = left.get(amount, 0) | places
    return left


def _bits(masks: list[int], k: int) -> np.ndarray:
    """(c, k) bool"""
    size = (k + 7) // 8
    raw = np.frombuffer(b"".join(mask.to_bytes(size, "little") for mask in masks), dtype=np.uint8)
    bits = np.unpackbits(raw.reshape(len(masks), size), axis=1, count=k, bitorder="little")
    return bits.astype(bool)


def _number(program: Program, site: _Site) -> _Worth | None:
    """What the places of a site are worth, where rows and costs agree on it."""
    rows, n = program.rows, program.columns
    local = np.full(n, -1)
    local[site.variables] = np.arange(len(site.variables))
    counts = np.zeros((len(site.counted) + 1, len(site.variables)), dtype=np.int64)
    for j, row in enumerate(site.counted.tolist()):
        at = local[rows.col[rows.ptr[row] : rows.ptr[row + 1]]]
        counts[j, at[at >= 0]] = rows.coef[rows.ptr[row] : rows.ptr[row + 1]][at >= 0]
    counts[-1] = program.cost[site.variables]
    size = np.abs(counts.astype(np.float64)).sum(1)
    if size.max() >= 2.0**62:
        return None
    paid = counts @ site.true.astype(np.int64)  # (m + 1, k)
    varies = np.flatnonzero(np.ptp(paid, axis=1) > 0)
    if not len(varies):
        return None
    first = paid[varies[0]] - paid[varies[0]].min()
    worth = first // np.gcd.reduce(first)
    top = int(worth.max())
    if top >= LARGEST or len(np.unique(worth)) < FEWEST:
        return None
    low, high = int(worth.argmin()), int(worth.argmax())
    factor = (paid[:, high] - paid[:, low]) // top
    constant = paid[:, low]
    if (np.abs(factor.astype(np.float64)) * top >= 2.0**62).any():
        return None
    if (constant[:, None] + factor[:, None] * worth != paid).any():
        return None
    return _Worth(site, worth, constant, factor)


def _joined(program: Program, found: list[_Worth]) -> tuple[Program, Numbered]:
    rows, n = program.rows, program.columns
    gone = np.zeros(n, dtype=bool)
    stays = np.ones(rows.count, dtype=bool)
    for one in found:
        gone[one.site.variables] = True
        stays[one.site.rows] = False
    kept = np.flatnonzero(~gone)
    column = np.full(n, -1)
    column[kept] = np.arange(len(kept))
    entries = ~gone[rows.col]
    owner, col, coef = rows.owner[entries], column[rows.col[entries]], rows.coef[entries]
    moved = np.zeros(rows.count, dtype=np.int64)
    integers, numbers = {}, []
    cost, constant = program.cost[kept], program.constant
    for k, one in enumerate(found):
        at = len(kept) + k
        used = one.factor[:-1] != 0
        owner = np.concatenate([owner, one.site.counted[used]])
        col = np.concatenate([col, np.full(int(used.sum()), at)])
        coef = np.concatenate([coef, one.factor[:-1][used]])
        moved[one.site.counted] += one.constant[:-1]
        cost = np.append(cost, one.factor[-1])
        constant += int(one.constant[-1])
        integers[at] = np.unique(one.worth)
        numbers.append(Number(at, one.worth, one.site.variables, one.site.true))
    low = np.where(rows.low == -OPEN, -OPEN, rows.low - moved)
    high = np.where(rows.high == OPEN, OPEN, rows.high - moved)
    order = np.lexsort((col, owner))
    ptr = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=rows.count))])
    every = Rows(ptr.astype(np.int64), col[order], coef[order], low, high)
    return (
        Program(every.some(stays), cost, constant, integers),
        Numbered(n, kept, tuple(numbers)),
    )
