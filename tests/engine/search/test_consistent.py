"""Search under soft local consistency: what it closes is what enumeration tells."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.decimals import Scale
from engine.factors import Factors, Sums, Table, floats, ints
from engine.search import consistent
from engine.search.consistent import Consistent, refusal
from engine.search.messages import NEVER, coupled_of

BITS = 3  # of a cost


class Model:
    """Tables of sites and pairs with costs of either sign, some forbidden, beside sums."""

    def __init__(self, seed: int, sites: int, widest: int, rows: int):
        rng = np.random.default_rng(seed)
        self.sizes = rng.integers(1, widest + 1, sites)
        tables = [self._table(rng, (v,)) for v in range(sites) if rng.random() < 0.7]
        pairs = list(itertools.permutations(range(sites), 2))  # some of them twice, turned round
        chosen = rng.random(len(pairs)) < rng.uniform(0.2, 0.8)
        tables += [self._table(rng, p) for p, own in zip(pairs, chosen, strict=True) if own]
        self.tables = [t for t in tables if t.soft or t.forbids]
        self.sums = [self._sum(rng) for _ in range(rows)]
        self.allowed = rng.random(int(self.sizes.sum())) < 0.95

    def _table(self, rng: np.random.Generator, scope: tuple[int, ...]) -> Table:
        shape = self.sizes[list(scope)]
        costs = rng.integers(-(2**BITS), 2**BITS, shape).astype(float)
        costs[rng.random(shape) < rng.choice([0.0, 0.1, 0.4])] = math.inf
        tuples = np.indices(tuple(shape.tolist())).reshape(len(scope), -1).T
        return Table(np.array([scope]), tuples, costs.reshape(-1), 0.0, ints([0]), ints([0]))

    def _sum(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float, float]:
        literals = [(v, a) for v, k in enumerate(self.sizes.tolist()) for a in range(k)]
        worth = rng.integers(-4, 5, len(literals)).astype(float)
        low = float(rng.integers(-6, 1)) if rng.random() < 0.6 else -math.inf
        return np.array(literals), worth, low, float(rng.integers(0, 7))

    @property
    def factors(self) -> Factors:
        count = len(self.sums)
        every = [len(s[1]) for s in self.sums]
        literals = np.concatenate([np.zeros((0, 2), np.int64), *(s[0] for s in self.sums)])
        sums = Sums(
            start=np.concatenate([[0], np.cumsum(every)]).astype(np.int64),
            site=literals[:, 0],
            value=literals[:, 1],
            term=ints([0] * count),
            part=ints([0] * count),
            coefficient=np.concatenate([floats([]), *(s[1] for s in self.sums)]),
            low=floats([s[2] for s in self.sums]),
            high=floats([s[3] for s in self.sums]),
        )
        return Factors(ints(self.sizes), len(self.sizes), sums=sums, tables=tuple(self.tables))

    def cost(self, x: np.ndarray) -> float:
        """Infinite where something breaks."""
        first = np.concatenate([[0], np.cumsum(self.sizes)])[:-1]
        if not self.allowed[first + x].all():
            return math.inf
        for literals, worth, low, high in self.sums:
            total = worth[x[literals[:, 0]] == literals[:, 1]].sum()
            if not low <= total <= high:
                return math.inf
        shaped = (t.costs.reshape(self.sizes[t.scopes[0]]) for t in self.tables)
        own = (costs[tuple(x[t.scopes[0]])] for t, costs in zip(self.tables, shaped, strict=True))
        return float(sum(own))

    def least(self) -> float:
        every = itertools.product(*map(range, self.sizes.tolist()))
        return min(self.cost(np.array(x)) for x in every)

    def begun(self, upper: int, passes: int) -> Consistent | None:
        factors = self.factors
        if refusal(factors) is not None:
            return None
        return Consistent.of(coupled_of(factors, factors.scale, self.allowed), upper, passes)

    @property
    def scale(self) -> Scale:
        return self.factors.scale


models = st.builds(
    Model, st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 4), st.integers(0, 2)
)


@settings(max_examples=150)
@given(model=models, passes=st.sampled_from([0, 3, 32]), work=st.sampled_from([1, 60, 10**6]))
def test_it_ends_with_what_is_least(model: Model, passes: int, work: int) -> None:
    now = model.begun(NEVER, passes)
    if now is None:
        return
    least, best = model.least(), math.inf
    top = NEVER if math.isinf(least) else model.scale.from_on(least)
    for _ in range(20_000):
        assert now.bound <= top
        if now.ended:
            break
        now, x = now.advanced(work)
        if x is not None:
            assert model.cost(x) < best
            best = model.cost(x)
    now, x = now.advanced(work) if best == math.inf else (now, None)
    assert now.ended and now.bound == top
    assert (best if x is None else model.cost(x)) == least


@settings(max_examples=60)
@given(model=models, passes=st.sampled_from([0, 32]), ahead=st.integers(-3, 3))
def test_it_looks_for_nothing_from_what_it_was_told_on(
    model: Model, passes: int, ahead: int
) -> None:
    least = model.least()
    if math.isinf(least):
        return
    top = model.scale.from_on(least)
    for first in (True, False):
        now = model.begun(top + ahead if first else NEVER, passes)
        if now is None:
            return
        if not first:
            now, _ = now.advanced(1)
            now = now.told(top + ahead)
        found: list[float] = []
        for _ in range(20_000):
            if now.ended:
                break
            now, x = now.advanced(50)
            found += [] if x is None else [model.cost(x)]
        assert now.ended and now.bound == min(now.cut, top + max(0, ahead), max(top, now.cut))
        assert now.bound <= top or not found
        if ahead <= 0 and first:
            assert not found and now.bound == top + ahead


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_many_values_are_halved(seed: int) -> None:
    model = Model(seed, 3, 30, 1)
    now = model.begun(NEVER, 0)
    if now is None:
        return
    least, best = model.least(), math.inf
    while not now.ended:
        now, x = now.advanced(500)
        best = best if x is None else model.cost(x)
    assert best == least


def test_whoever_advances_a_copy_keeps_what_it_was() -> None:
    model = Model(5, 6, 4, 1)
    now = model.begun(NEVER, 0)
    assert now is not None
    now, _ = now.advanced(40)
    one, other = now, now
    for _ in range(50):
        one, x = one.advanced(40)
        other, y = other.advanced(40)
        assert (x is None) == (y is None) and (x is None or (x == y).all())
        assert (one.here.number == other.here.number).all()


def ends_right(seed: int) -> bool:
    """Whether the search of a model with sums ends with what is least."""
    model = Model(seed, 5, 3, 2)
    now, best = model.begun(NEVER, 8), math.inf
    while now is not None and not now.ended:
        now, x = now.advanced(10**6)
        best = best if x is None else model.cost(x)
    if now is None or best == math.inf:
        return now is None or model.least() == math.inf
    return best == model.least() and now.bound == model.scale.from_on(best)


def test_planted_mistakes_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A price that is counted and never taken off again; a rule that is left out."""
    assert all(map(ends_right, range(40)))
    whole = consistent._at_most

    def free(rows, price, width):
        kept, owned = whole(rows, price, width)
        return kept, 0 * owned

    def loose(rows, price, width):
        (start, site, worth, high), owned = whole(rows, price, width)
        return (start, site, worth, high + 2), owned

    for planted in (free, loose):
        monkeypatch.setattr(consistent, "_at_most", planted)
        assert not all(map(ends_right, range(40)))


def test_refuses_in_words() -> None:
    three = Table(
        np.array([[0, 1, 2]]),
        np.zeros((1, 3), dtype=np.int64),
        floats([1.0]),
        0.0,
        ints([0]),
        ints([0]),
    )
    assert (
        refusal(Factors(ints([2, 2, 2]), 3, tables=(three,))) == "tables over more than two sites"
    )
    pairs = Model(1, 4, 3, 0).factors
    assert refusal(pairs) is None
    assert consistent.depth(3, 4) == 4
