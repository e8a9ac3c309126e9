"""Explicit structure as tables over few sites each, for elimination: whatever the family.

Rules become tables of what they allow. A count or sum over more than a few sites becomes running
totals: a further site behind every second of its sites says how much they make up so far. A large
table that forbids all but a list of combinations becomes a site that says which of them stands.
Both are determined by the other sites, so that nothing is counted twice.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from engine.decimals import Floats, Ints, decimal
from engine.factors import Factors, Table, whole_sum
from engine.factors.conditions import written_out
from engine.factors.distinct import distinct
from engine.kernels.elimination import Scopes
from engine.problem import Problem
from engine.search.semiring import Semiring

CELLS = 1 << 20  # of one table
POOL = 1 << 23  # of all tables
RULE = 1 << 12  # cells of a rule up to which it is one table
SITES = 1 << 18  # in all
RULES = 1 << 15  # that are read one by one


class TooLarge(Exception):
    """What of a structure has no tables of a reasonable size."""


@dataclass(frozen=True, eq=False)
class Network:
    """Factors over sites: those of the structure, then totals and lists that came with it."""

    sizes: Ints  # (N,)
    scopes: Scopes
    tables: tuple[Table, ...]  # those with costs, of which some vary
    varying: tuple[tuple[int, slice], ...]  # of them, and where the costs of each stand in a row
    shapes: tuple[tuple[int, ...], ...]  # of the tables
    rules: np.ndarray  # bool, what rules forbid, behind the tables
    minimized: np.ndarray  # (N,) bool: hidden sites that the visible ones do not determine
    beside: Floats = field(default_factory=lambda: np.zeros(0))  # behind the rules: costs of tables
    # that are not of the structure, guesses that a search looks ahead by
    cached: dict[Semiring, np.ndarray] = field(default_factory=dict)

    @staticmethod
    def of(problem: Problem) -> "Network | str":
        """The network of the explicit structure of a problem, or what is too large of it."""
        try:
            return _Reader(problem).network()
        except TooLarge as error:
            return str(error)

    def costs(self, problem: Problem, row: int, semiring: Semiring) -> np.ndarray:
        """The entries of all tables, what a row pays in place."""
        if not self.varying and semiring in self.cached:
            return self.cached[semiring]
        tables = list(self.tables)
        for k, own in self.varying:
            costs = problem.costs[row, own].reshape(tables[k].costs.shape)
            tables[k] = replace(tables[k], costs=costs, varies=False)
        scale = problem.explicits[row].scale
        tables = [_written(table, self.sizes) for table in tables]
        pieces = [
            semiring.read(_dense(table, shape), scale, table.read)
            for table, shape in zip(tables, self.shapes, strict=True)
        ]
        forbidden: np.ndarray = np.where(self.rules, semiring.forbidden, 0).astype(semiring.dtype)
        guesses = [semiring.read(self.beside, scale, decimal)] if len(self.beside) else []
        pool = np.concatenate([*pieces, forbidden, *guesses])
        if not self.varying:
            self.cached[semiring] = pool
        return pool

    @property
    def cells(self) -> int:
        """How many entries the tables have, rules and guesses among them."""
        tables = zip(self.tables, self.shapes, strict=True)
        costs = sum(math.prod(s) * (len(t.scopes) if t.apart else 1) for t, s in tables)
        return costs + len(self.rules) + len(self.beside)

    def with_guess(self, sites: Ints, costs: Floats) -> "Network":
        """The same network with one more table over several scopes. (m, w), (k, ..., k)"""
        m, w = sites.shape
        old = self.scopes
        more = Scopes(
            np.concatenate([old.start, old.start[-1] + w * np.arange(1, m + 1)]),
            np.concatenate([old.site, sites.reshape(-1)]),
            np.concatenate([old.stride, np.tile(_strides(costs.shape), m)]),
            np.concatenate([old.base, np.full(m, self.cells)]),
        )
        beside = np.concatenate([self.beside, costs.reshape(-1)])
        return replace(self, scopes=more, beside=beside, cached={})


def hidden_terms(problem: Problem) -> Iterator[tuple[int, set[str], bool]]:
    """The hidden sites of terms that have some: their number, the names of the terms, and whether
    the visible sites determine them."""
    for piece in problem.form.pieces:
        own = piece.factors
        if own is not None and len(own.sizes) > own.visible:
            labels = {problem.summands[place].label for place in piece.places}
            yield len(own.sizes) - own.visible, labels, own.functional


def _written(table: Table, sizes: Ints) -> Table:
    """The same table without conditions: their sites are in its scopes."""
    written = written_out(table, sizes, CELLS)
    if written is None:
        raise TooLarge("a large table under a literal")
    return written


def _dense(table: Table, shape: Sequence[int]) -> Floats:
    """The costs as one list."""
    if not table.apart and len(table.tuples) == math.prod(shape):
        strides = np.array([math.prod(shape[k + 1 :]) for k in range(len(shape))], dtype=np.int64)
        place = table.tuples @ strides
        if (place == np.arange(len(place))).all():
            return table.costs.reshape(-1)
    return table.dense(shape).reshape(-1)


class _Reader:
    """Collects factors from the families of a structure."""

    def __init__(self, problem: Problem):
        whole, _ = problem.factored()
        factors = whole.lowered()
        if len(factors.sizes) > SITES:
            raise TooLarge(f"{len(factors.sizes)} sites")
        self.factors = factors
        self.sizes = [factors.sizes]
        self.count = len(factors.sizes)
        self.scopes: list[Ints] = []  # (m, arity) each
        self.strides: list[Ints] = []  # (arity,) each
        self.bases: list[Ints] = []  # (m,) each
        self.tables: list[Table] = []
        self.shapes: list[tuple[int, ...]] = []
        self.varying: list[tuple[int, slice]] = []
        self.filled = 0  # cells of tables
        self.rules: list[np.ndarray] = []
        self.ruled = 0  # cells of rules
        self.known: dict[tuple[int, int], int] = {}  # where a table of unequal values stands
        self.own: list[tuple[Ints, Ints, Ints]] = []  # scopes, strides, bases among the rules
        self.minimized = np.zeros(len(factors.sizes), dtype=bool)
        self.minimized[len(whole.sizes) :] = not factors.functional
        at = whole.visible
        for hidden, _, functional in hidden_terms(problem):
            self.minimized[at : at + hidden] = not functional
            at += hidden

    def network(self) -> Network:
        f = self.factors
        if f.counted.count + f.clauses.count + f.sums.count > RULES:
            raise TooLarge("many rules")
        for site in f.different.lines():
            if len(site) > 2 and math.prod(self.size_of(site)) > CELLS:
                raise TooLarge(f"{len(site)} sites that differ")
        lists = []
        varying = dict(f.varying)
        for k, table in enumerate(f.tables):
            if table.soft or table.forbids:
                lists += [one for one in self.apart(table) if not self.read(one, varying.get(k))]
        for table in lists:
            self.listed(table)
        self.different()
        for rule in _linear(f, self.clauses()):
            self.rule(*rule)
        for scopes, strides, bases in self.own:
            self.scopes.append(scopes)
            self.strides.append(strides)
            self.bases.append(self.filled + bases)
        arity = [np.full(len(scope), scope.shape[1]) for scope in self.scopes]
        none = np.zeros(0, np.int64)
        start = np.concatenate([[0], np.cumsum(np.concatenate([none, *arity]))])
        each = [
            np.broadcast_to(stride, scope.shape).reshape(-1)
            for stride, scope in zip(self.strides, self.scopes, strict=True)
        ]
        every = Scopes(
            start.astype(np.int64),
            np.concatenate([none, *(scope.reshape(-1) for scope in self.scopes)]),
            np.concatenate([none, *each]),
            np.concatenate([none, *self.bases]),
        )
        return Network(
            np.concatenate(self.sizes).astype(np.int64),
            every,
            tuple(self.tables),
            tuple(self.varying),
            tuple(self.shapes),
            np.concatenate([np.zeros(0, bool), *self.rules]),
            np.append(self.minimized, np.zeros(self.count - len(self.minimized), bool)),
        )

    def size_of(self, sites: Ints) -> list[int]:
        return self.factors.sizes[sites].tolist()

    def add_site(self, size: int) -> int:
        """A site that others determine."""
        self.sizes.append(np.array([size]))
        self.count += 1
        if self.count > SITES:
            raise TooLarge(f"more than {SITES} sites")
        return self.count - 1

    def apart(self, table: Table) -> list[Table]:
        """A table as several that have one shape, no conditions, and each site once a scope; one
        that differs by row as it is."""
        whole = written_out(table, self.factors.sizes, CELLS)
        if table.varies:
            if whole is None or next(distinct(whole)) is not whole:
                raise TooLarge("a table that differs by row under several literals")
            return [table]
        each = (table.picked(slice(k, k + 1)) for k in range(table.count))
        parts = [_written(one, self.factors.sizes) for one in each] if whole is None else [whole]
        return [one for part in parts for one in distinct(part)]

    def read(self, given: Table, own: slice | None) -> bool:
        """A table as one; False where it has to become a list."""
        table = _written(given, self.factors.sizes)
        shape = tuple(self.factors.sizes[table.scopes].max(0).tolist()) if len(table.scopes) else ()
        cells = math.prod(shape)
        if not len(table.scopes):
            return True
        if cells > CELLS:
            if math.isfinite(table.default) or table.varies or table.apart:
                raise TooLarge(f"a table over {cells} combinations")
            return False
        total = cells * len(table.scopes) if table.apart else cells
        base = self.filled + (cells * np.arange(len(table.scopes)) if table.apart else 0)
        self.scopes.append(table.scopes)
        self.strides.append(_strides(shape))
        self.bases.append(np.broadcast_to(base, len(table.scopes)).astype(np.int64))
        self.put(given, shape, total, own)
        return True

    def put(self, table: Table, shape: tuple[int, ...], total: int, own: slice | None) -> None:
        if own is not None:
            self.varying.append((len(self.tables), own))
        self.tables.append(table)
        self.shapes.append(shape)
        self.filled += total
        self.bounded()

    def bounded(self) -> None:
        if self.filled + self.ruled > POOL:
            raise TooLarge(f"tables of more than {POOL} cells")

    def listed(self, table: Table) -> None:
        """A site for each scope says which of the allowed combinations stands."""
        open_ = np.isfinite(table.costs)
        tuples, costs = table.tuples[open_], table.costs[open_]
        count = len(tuples)
        widest = self.factors.sizes[table.scopes].max(0)
        if count * int(widest.max()) > CELLS or len(np.unique(tuples, axis=0)) < count:
            raise TooLarge(f"a table of {count} combinations")
        if not count:
            self.forbid(table.scopes[:1, :1])
            return
        hidden = np.array([self.add_site(count) for _ in table.scopes])
        if (costs != 0).any():
            places = np.arange(count)[:, None]
            price = replace(table, scopes=hidden[:, None], tuples=places, costs=costs, default=0.0)
            self.scopes.append(price.scopes)
            self.strides.append(np.ones(1, np.int64))
            self.bases.append(np.full(len(hidden), self.filled))
            self.put(price, (count,), count, None)
        for axis, size in enumerate(widest.tolist()):
            wrong = tuples[:, axis, None] != np.arange(size)
            self.forbidding(wrong, np.stack([hidden, table.scopes[:, axis]], 1))

    def different(self) -> None:
        """Sites that differ, two by two."""
        d = self.factors.different
        pairs: dict[tuple[int, int], list[Ints]] = {}
        lengths = np.diff(d.start)
        for length in np.unique(lengths).tolist():
            lines = d.site[d.start[:-1][lengths == length, None] + np.arange(length)]
            for i, j in zip(*np.triu_indices(length, 1), strict=True):
                two = lines[:, [i, j]]
                shapes = self.factors.sizes[two]
                for shape in np.unique(shapes, axis=0):
                    own = two[(shapes == shape).all(1)]
                    pairs.setdefault((int(shape[0]), int(shape[1])), []).append(own)
        for (a, b), scopes in pairs.items():
            if a * b > CELLS:
                raise TooLarge(f"two sites of {a} and {b} values that differ")
            self.forbidding(np.arange(a)[:, None] == np.arange(b), np.concatenate(scopes))

    def forbid(self, scopes: Ints) -> None:
        """Nothing is allowed."""
        self.forbidding(np.ones(int(self.factors.sizes[scopes].max()), bool), scopes)

    def forbidding(self, wrong: np.ndarray, scopes: Ints) -> None:
        """A table of what is wrong, for several scopes. (k_1, ..., k_arity), (m, arity)"""
        bases = np.full(len(scopes), self.ruled)
        self.own.append((scopes.astype(np.int64), _strides(wrong.shape), bases))
        self.rules.append(wrong.reshape(-1))
        self.ruled += wrong.size
        self.bounded()

    def clauses(self) -> Ints:
        """Clauses over two sites, those alike at once; the others are returned. -> (k,)"""
        c = self.factors.clauses
        every = np.arange(c.count)
        two = every[np.diff(c.start) == 2]
        both = c.start[two][:, None] + np.arange(2)
        site, sizes = c.site[both], self.factors.sizes[c.site[both]]
        plain = (site[:, 0] != site[:, 1]) & (sizes.astype(np.float64).prod(1) <= CELLS)
        alike = np.concatenate([sizes, c.value[both], c.sign[both]], 1)[plain]
        for kind in np.unique(alike, axis=0):
            (a, b), value, sign = kind.reshape(3, 2)
            false = [
                np.arange(size) != v if s else np.arange(size) == v
                for size, v, s in zip((a, b), value, sign, strict=True)
            ]
            wrong = np.logical_and.outer(*false)
            if wrong.any():
                self.forbidding(wrong, site[plain][(alike == kind).all(1)])
        return np.setdiff1d(every, two[plain])

    def rule(self, site: Ints, value: Ints, coefficient: Floats, low: float, high: float) -> None:
        """low <= sum of coefficient * [site = value] <= high."""
        sites = np.unique(site)
        sizes = self.size_of(sites)
        each = [np.zeros(size) for size in sizes]
        for s, v, c in zip(np.searchsorted(sites, site).tolist(), value, coefficient, strict=True):
            each[s][v] += c
        if not len(sites):
            if not low <= 0 <= high:
                self.forbid(np.zeros((1, 1), np.int64))
            return
        if math.prod(sizes) <= (RULE if len(sites) > 2 else CELLS):
            total = each[0]
            for more in each[1:]:
                total = np.add.outer(total, more)
            wrong = (total < low) | (total > high)
            if wrong.any():
                self.forbidding(wrong, sites[None])
            return
        self.running(sites.tolist(), each, low, high)

    def running(self, sites: list[int], each: list[Floats], low: float, high: float) -> None:
        """The same by running totals, of which those are one that nothing can change any more."""
        least, most = _left([float(x.min()) for x in each]), _left([float(x.max()) for x in each])
        before, totals = None, np.zeros(1)  # inf: whatever follows, the rule holds
        for k, (site, own) in enumerate(zip(sites, each, strict=True)):
            after = np.add.outer(totals, own)  # (T, k)
            sure = (after + least[k + 1] >= low) & (after + most[k + 1] <= high) | np.isinf(after)
            dead = ~sure & ((after + most[k + 1] < low) | (after + least[k + 1] > high))
            after = np.where(sure, np.inf, np.where(dead, np.nan, after))
            alive = np.unique(after[~dead])
            if not len(alive):
                self.forbid(np.array([[site]]))
                return
            last = k == len(sites) - 1
            axes: list[int] = [] if before is None else [before]
            if last:  # what is not dead holds
                wrong = dead if before is not None else dead[0]
                self.forbidding(wrong, np.array([[*axes, site]]))
                return
            if after.size * len(alive) > CELLS:
                raise TooLarge(f"a sum over {len(sites)} sites of {len(alive)} totals")
            hidden = self.add_site(len(alive))
            wrong = after[..., None] != alive
            if before is None:
                wrong = wrong[0]
            self.forbidding(wrong, np.array([[*axes, site, hidden]]))
            before, totals = hidden, alive


def _left(numbers: list[float]) -> Floats:
    """The sum of all from each on, whole numbers as they are. (n,) -> (n + 1,)"""
    return np.append(np.cumsum(numbers[::-1])[::-1], 0.0)


def _strides(shape: Sequence[int]) -> Ints:
    return np.array([math.prod(shape[k + 1 :]) for k in range(len(shape))], dtype=np.int64)


def _linear(f: Factors, clauses: Ints) -> Iterator[tuple[Ints, Ints, Floats, float, float]]:
    """Every rule that counts, and these clauses, in whole numbers: low <= sum of coefficient *
    [site = value] <= high. Raises TooLarge where float64 does not hold a sum as such."""
    for k in range(f.counted.count):
        a, b = f.counted.start[k : k + 2]
        site, value = f.counted.site[a:b], f.counted.value[a:b]
        yield site, value, np.ones(b - a), float(f.counted.low[k]), float(f.counted.high[k])
    for k in clauses.tolist():  # a literal that says no counts 1 - [site = value]
        a, b = f.clauses.start[k : k + 2]
        sign = np.where(f.clauses.sign[a:b], 1.0, -1.0)
        low = 1.0 - float((sign < 0).sum())
        yield f.clauses.site[a:b], f.clauses.value[a:b], sign, low, math.inf
    for k in range(f.sums.count):
        a, b = f.sums.start[k : k + 2]
        whole = whole_sum(f.sums, k)
        if whole is None:
            raise TooLarge("a sum of too many digits")
        coefficient, low, high = whole
        yield f.sums.site[a:b], f.sums.value[a:b], coefficient, low, high
