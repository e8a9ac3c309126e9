"""Flips over clauses at a price: what they tell is what a state costs, most often the least."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.kernels import clauses as learning
from engine.kernels.flips import Clauses, local_search
from engine.search.flips import flipped


def drawn(rng: np.random.Generator) -> Clauses:
    n = int(rng.integers(1, 7))
    rows = [
        (2 * rng.permutation(n)[: rng.integers(0, 4)] + rng.integers(0, 2)).tolist()
        for _ in range(rng.integers(1, 20))
    ]
    price = rng.integers(0, 10, len(rows)) * 10 ** int(rng.integers(0, 9))
    price[[not row for row in rows]] += 1  # what must hold has a literal
    lit = np.array([x for row in rows for x in row], np.int64)
    return Clauses(n, np.cumsum([0, *map(len, rows)]).astype(np.int64), lit, price)


def cost(c: Clauses, x: np.ndarray) -> int | None:
    """None where a rule is broken."""
    rows = [c.lit[a:b] for a, b in zip(c.ptr[:-1], c.ptr[1:], strict=True)]
    fails = np.array([not any(x[v >> 1] != (v & 1) for v in row.tolist()) for row in rows])
    return None if fails[c.price == 0].any() else int(c.price[fails].sum())


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**9))
def test_flips_tell_what_a_state_costs_that_keeps_the_rules(seed: int) -> None:
    rng = np.random.default_rng(seed)
    c = drawn(rng)
    states = [np.array(x, np.uint8) for x in itertools.product((0, 1), repeat=c.variables)]
    every = [own for own in (cost(c, x) for x in states) if own is not None]
    start = states[int(rng.integers(len(states)))].copy()
    before = start.copy()
    found, x = local_search(c, start, learning.NEVER, 0, 2_000, seed)
    assert (start == before).all()
    if not every:
        assert x is None and found == learning.NEVER
        return
    assert x is not None and cost(c, x) == found >= min(every)
    again, none = local_search(c, start, found, 0, 200, seed)
    assert again < found if none is not None else again == found  # only what is cheaper is told
    short, x = local_search(c, start, learning.NEVER, max(every), 2_000, seed)
    assert x is not None and cost(c, x) == short <= max(every)


def test_small_ones_end_at_the_least_but_for_a_few() -> None:
    least = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        c = drawn(rng)
        states = (np.array(x, np.uint8) for x in itertools.product((0, 1), repeat=c.variables))
        every = [own for own in (cost(c, x) for x in states) if own is not None]
        start = rng.integers(0, 2, c.variables).astype(np.uint8)
        least += local_search(c, start, learning.NEVER, 0, 2_000)[0] == min(
            every, default=learning.NEVER
        )
    assert least >= 95


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**9))
def test_a_formula_of_clauses_is_flipped_to_a_model_of_it(seed: int) -> None:
    """Switches, at a price in one clause each, and costs of other literals."""
    rng = np.random.default_rng(seed)
    n, hidden = int(rng.integers(1, 6)), int(rng.integers(0, 5))
    rows = [
        (2 * rng.permutation(n)[: rng.integers(1, 4)] + rng.integers(0, 2)).tolist()
        for _ in range(hidden + int(rng.integers(0, 5)))
    ]
    sides = rng.integers(0, 2, hidden)
    weights = {2 * (n + k) + int(sides[k]): int(rng.integers(1, 9)) for k in range(hidden)}
    for k, literal in enumerate(weights):
        rows[k].append(literal)
        if rng.random() < 0.2:
            rows[-1 - k].append(literal)  # in two clauses
        elif rng.random() < 0.2:
            rows[-1 - k].append(literal ^ 1)
    for v in range(n):
        if rng.random() < 0.5:
            weights[2 * v + int(rng.integers(0, 2))] = int(rng.integers(1, 9))
    paid = [([x, x ^ 1], [w, 0]) for x, w in weights.items()]
    f = learning.formula(n + hidden, rows, costs=paid)
    models = learning.reference_models(f)
    told = [learning.objective(f, m) for m in models]
    model = flipped(f, weights, 0, learning.NEVER)
    if not weights or not len(models):
        assert model is None
        return
    assert model is not None and (models == model).all(1).any()
    assert learning.objective(f, model) >= min(told)
    assert flipped(f, weights, 0, min(told)) is None


def test_plain_python_takes_the_same_flips() -> None:
    import engine.kernels.flips as own

    for seed in range(10):
        rng = np.random.default_rng(seed)
        c = drawn(rng)
        start = rng.integers(0, 2, c.variables).astype(np.uint8)
        fast = local_search(c, start, learning.NEVER, -1, 100, seed)
        slow, compiled = {}, {}
        for name in ("_flips", "_weigh", "_listed", "_unlisted", "_draw"):
            compiled[name] = getattr(own, name)
            slow[name] = compiled[name].plain
        vars(own).update(slow)
        try:
            plain = local_search(c, start, learning.NEVER, -1, 100, seed)
        finally:
            vars(own).update(compiled)
        assert plain[0] == fast[0] and np.array_equal(plain[1], fast[1])
