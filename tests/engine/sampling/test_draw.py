"""Samples against the exact Boltzmann distribution: all ways of drawing, and what is said of it."""

import itertools
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import engine.sampling.draw as sampling
from engine import BadQuery, Budget, Finite, Problem, Real, Status, Term, Variable, required
from engine.answer import Flag
from engine.energy import Energy, plain_scope
from engine.sampling import exact
from engine.sampling.chains import SlopeChains, SweepChains
from engine.sampling.draw import samples
from engine.sampling.mixing import mixing
from engine.sampling.samples import Samples
from modules.discrete.clause import Clause
from modules.discrete.linear import Linear
from modules.discrete.not_equal import NotEqual
from modules.discrete.table import Table
from modules.graph.cut import Cut

VALUES, SITES = (0, 1, 2), 4
X = Variable("x", Finite(VALUES, (SITES,)))

Plain = tuple[Any, ...]


def enumerated(problem: Problem, temperature: float) -> dict[Plain, float]:
    """p of every state that keeps the rules, from plain values one by one."""
    (variable,) = problem.variables
    weights: dict[Plain, float] = {}
    for values in itertools.product(VALUES, repeat=SITES):
        plain = {variable.name: list(values)}
        try:
            narrowed = problem.domains[variable.name]
            state = variable.domain.encode(list(values))[None]
            if not bool((narrowed.decide(state) == state).all()):
                continue  # evidence says otherwise
        except BadQuery:
            continue
        energy = 0.0
        for part in problem.summands:
            if part.required:
                if part.term.holds(*plain_scope(part.term, plain)) is False:
                    energy = math.inf
            else:
                energy += part.weight * float(part.term({variable.name: state}))
        if math.isfinite(energy):
            weights[values] = math.exp(-energy / temperature)
    total = sum(weights.values())
    return {values: weight / total for values, weight in weights.items()}


def apart(made: Samples, p: dict[Plain, float]) -> float:
    """Total variation between the draws and the distribution."""
    seen = Counter(tuple(s.values["x"]) for s in made.samples)
    assert set(seen) <= set(p), "a draw outside the support"
    n = len(made.samples)
    return sum(abs(seen[v] / n - share) for v, share in p.items()) / 2


def noise(p: dict[Plain, float], n: int) -> float:
    """The total variation that n independent draws have on average."""
    shares = np.array(list(p.values()))
    draws = np.random.default_rng(0).multinomial(n, shares / shares.sum(), size=200) / n
    return float(np.abs(draws - shares).sum(1).mean() / 2)


def costs(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).random(shape).round(2).tolist()


def mixture(wish: bool = True) -> Energy:
    """Soft tables and required rules of every explicit form; `wish`: and a rule with a price, for
    which the structure has hidden sites."""
    soft = 2.0 * Table(X, sites=[0, 1], costs=costs(1, 3, 3)) + 3.0 * Table(
        X, sites=[2, 3], costs=costs(2, 3, 3)
    )
    soft = soft + 0.7 * NotEqual(X, pairs=[[0, 2]]) if wish else soft
    rules = NotEqual(X, pairs=[[1, 2]]) + Clause(X, clauses=[[[0, 0, False], [3, 1, True]]])
    return soft + rules + Linear(X, terms=[[0, 2, 1], [3, 2, 1]], compare="<=", constant=1)


def only(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Shut every way of drawing but one."""
    nothing: Callable[..., None] = lambda *_: None  # noqa: E731
    names = {"elimination": "sum_up", "product": "states_left", "search": "solutions"}
    for name, function in names.items():
        if name != way:
            monkeypatch.setattr(exact, function, nothing)
    if way == "slopes":
        monkeypatch.setattr(sampling, "_chains", lambda problem, beta: SlopeChains(beta))
    if way == "sweeps":
        monkeypatch.setattr(sampling, "_chains", lambda problem, beta: SweepChains(beta))


@pytest.mark.parametrize("temperature", [0.5, 2.0])
@pytest.mark.parametrize("way", ["elimination", "product", "search", "sweeps", "slopes"])
def test_draws_follow_the_boltzmann_distribution(
    monkeypatch: pytest.MonkeyPatch, way: str, temperature: float
) -> None:
    only(monkeypatch, way)
    count = 600 if way == "slopes" else 3000
    problem = Problem(mixture(wish=way != "sweeps"))
    p = enumerated(problem, temperature)
    (made,) = samples(problem, count, temperature, seed=3)
    assert len(made.samples) == count and made.status is Status.SATISFIED
    assert all(s.holds for s in made.samples)
    worth = count if made.exact else min(m.effective for m in made.mixing)
    assert made.exact is (way in ("elimination", "product", "search"))
    assert worth >= count / 2
    assert apart(made, p) <= 1.5 * noise(p, int(worth))
    for sample in made.samples[:20]:
        state = X.domain.encode(sample.values["x"])[None]
        assert sample.energy == pytest.approx(float(problem.energy({"x": state})))


def test_a_wrong_temperature_is_seen() -> None:
    """The comparison can fail: draws at 2 against the distribution at 0.5."""
    problem = Problem(mixture())
    (made,) = samples(problem, 3000, 2.0)
    p = enumerated(problem, 0.5)
    assert apart(made, p) > 5 * noise(p, 3000)


site = st.integers(0, SITES - 1)
pairs = st.lists(st.permutations(range(SITES)).map(lambda p: p[:2]), min_size=1, max_size=4)
literals = st.lists(
    st.tuples(site, st.sampled_from(VALUES), st.booleans()).map(list), min_size=1, max_size=3
)
terms = st.one_of(
    pairs.map(lambda p: NotEqual(X, pairs=p)),
    st.lists(literals, min_size=1, max_size=4).map(lambda c: Clause(X, clauses=c)),
    st.integers(0, 2).map(
        lambda k: Linear(X, terms=[[0, 1, 1], [1, 1, 1], [2, 2, -1]], compare="==", constant=k)
    ),
    st.integers(0, 99).map(lambda k: 1.5 * Table(X, sites=[k % 3, 3], costs=costs(k, 3, 3))),
)
given_values = st.lists(st.sampled_from([None, None, *VALUES]), min_size=SITES, max_size=SITES)


@settings(max_examples=40)
@given(st.lists(terms, min_size=1, max_size=4), given_values)
def test_exact_ways_agree_with_enumeration(parts: list[Energy], evidence: list[Any]) -> None:
    """The same support, and INFEASIBLE where it is empty, by all three exact ways."""
    problem = Problem(sum(parts)).given(x=evidence)  # type: ignore[arg-type]
    try:
        p = enumerated(problem, 1.0)
    except ZeroDivisionError:
        p = {}
    for way in ("elimination", "product", "search"):
        with pytest.MonkeyPatch.context() as patch:
            only(patch, way)
            (made,) = samples(problem, 200)
            if way == "search" and not any(part.required for part in problem.summands):
                assert not made.exact
                continue
            assert made.exact
            if not p:
                assert made.status is Status.INFEASIBLE and made.samples == ()
            else:
                apart(made, p)


def test_the_seed_decides_and_rows_are_their_own() -> None:
    problem = Problem(mixture()).given_rows([{"x": [0, None, None, None]}, {}])
    first, again = samples(problem, 50, seed=1), samples(problem, 50, seed=1)
    other = samples(problem, 50, seed=2)
    assert [r.samples for r in first] == [r.samples for r in again]
    assert first[1].samples != other[1].samples
    assert all(s.values["x"][0] == 0 for s in first[0].samples)
    (alone,) = samples(Problem(mixture()).given(x=[0, None, None, None]), 50, seed=1)
    assert alone.samples == first[0].samples


def test_a_ring_of_spins_against_its_transfer_matrix() -> None:
    """400 sites, too many to list: neighbours agree as often as the exact solution says."""
    n, temperature = 400, 1.7
    spins = Variable("s", Finite((0, 1), (n,)))
    ring = 1.0 * Cut(spins, edges=[[k, (k + 1) % n, 1] for k in range(n)])
    (made,) = samples(Problem(ring), 200, temperature)
    assert made.method == "elimination"
    cut = np.array([-s.energy for s in made.samples]) / n  # type: ignore[operator]
    share = 1 / (1 + math.exp(-1 / temperature))  # of edges cut, up to a term of order tanh^n
    assert abs(cut.mean() - share) < 4 * math.sqrt(share * (1 - share) / n / 200)


# --- chains ------------------------------------------------------------------------------------


class Bowl(Term):
    """E = (y - m)' A (y - m) / 2: a Gaussian with precision A at temperature 1."""

    precision = torch.tensor([[2.0, 0.8], [0.8, 1.0]], dtype=torch.float64)
    middle = torch.tensor([1.0, -2.0], dtype=torch.float64)

    def energy(self, y):  # (B, 2) -> (B,)
        d = y.double() - self.middle
        return torch.einsum("bi,ij,bj->b", d, self.precision, d) / 2


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_real_variables_follow_a_gaussian(temperature: float) -> None:
    y = Variable("y", Real((2,)))
    (made,) = samples(Problem(1.0 * Bowl(y)), 1500, temperature)
    assert made.method == "slopes" and not made.exact and made.status is Status.SCORED
    worth = made.mixing[0].effective
    assert worth >= 700 and made.mixing[0].r_hat < 1.06
    values = np.array([s.values["y"] for s in made.samples])
    covariance = temperature * np.linalg.inv(Bowl.precision.numpy())
    error = np.sqrt(np.diag(covariance) / worth)
    assert (abs(values.mean(0) - Bowl.middle.numpy()) < 4 * error).all()
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)) * 2 / worth)
    assert (abs(np.cov(values.T) - covariance) < 4 * scale).all()


class Slope(Term):
    """E = 3 sum z."""

    def energy(self, z):
        return 3.0 * z.double().sum(-1)


def test_the_walls_of_a_box_do_not_bend_the_distribution() -> None:
    z = Variable("z", Real((2,), 0.0, 1.0))
    (made,) = samples(Problem(1.0 * Slope(z)), 2000)
    values = np.array([s.values["z"] for s in made.samples])
    mean = 1 / 3 - 1 / (math.exp(3) - 1)  # of an exponential cut off at 1
    assert abs(values.mean() - mean) < 4 * values.std() / math.sqrt(2 * made.mixing[0].effective)
    assert values.min() >= 0 and values.max() <= 1


class Switched(Term):
    """E = (y - 2 s)^2 / 2 + s / 2: a Gaussian around 0 or 2, the latter e^-1/2 times as often."""

    def energy(self, s, y):  # (B, 2), (B,) -> (B,)
        return (y.double() - 2 * s[:, 1]).square() / 2 + s[:, 1] / 2


def test_finite_and_real_variables_together() -> None:
    s, y = Variable("s", Finite((False, True))), Variable("y", Real())
    (made,) = samples(Problem(1.0 * Switched(s, y)), 1500)
    share = np.mean([d.values["s"] for d in made.samples])
    worth = min(m.effective for m in made.mixing)
    want = 1 / (1 + math.exp(0.5))
    assert abs(share - want) < 4 * math.sqrt(want * (1 - want) / worth)
    on = [d.values["y"] for d in made.samples if d.values["s"]]
    assert abs(np.mean(on) - 2) < 0.2


def test_chains_that_stand_apart_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cold magnet: every chain keeps the side it fell to, and nobody may call that mixed."""
    only(monkeypatch, "sweeps")
    monkeypatch.setattr(exact, "draw_exactly", lambda *_: None)
    monkeypatch.setattr(sampling, "draw_exactly", lambda *_: None)
    spins = Variable("s", Finite((0, 1), (36,)))
    edges = [[6 * r + c, 6 * r + c + 1] for r in range(6) for c in range(5)]
    edges += [[6 * r + c, 6 * r + c + 6] for r in range(5) for c in range(6)]
    table = Table(spins, sites=edges, costs=[[0, 1], [1, 0]])
    (cold,) = samples(Problem(1.0 * table), 100, 0.15)
    assert cold.mixing[0].r_hat is None or cold.mixing[0].r_hat > 1.2
    assert cold.mixing[0].effective == 0 and not cold.mixed  # not one a chain
    (warm,) = samples(Problem(1.0 * table), 100, 2.0)
    assert warm.mixing[0].r_hat < 1.06


CHAINS, LENGTH = 32, 60
DISAGREEMENTS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {  # (K, P)
    "stuck": lambda r: r.normal(size=(1, CHAINS)) + 0.01 * r.normal(size=(LENGTH, CHAINS)),
    "two modes": lambda r: 5 * (np.arange(CHAINS) % 2) + r.normal(size=(LENGTH, CHAINS)),
    "one chain elsewhere": lambda r: (
        9 * (np.arange(CHAINS) < CHAINS // 8) + r.normal(size=(LENGTH, CHAINS))
    ),
    "other scales": lambda r: r.normal(size=(LENGTH, CHAINS)) * (1 + 9 * (np.arange(CHAINS) % 2)),
    "drifting": lambda r: np.linspace(0, 3, LENGTH)[:, None] + r.normal(size=(LENGTH, CHAINS)),
    "two sides": lambda r: (r.random((1, CHAINS)) < 0.5) ^ (r.random((LENGTH, CHAINS)) < 0.05),
}


@pytest.mark.parametrize("kind", DISAGREEMENTS)
@pytest.mark.parametrize("seed", range(3))
def test_chains_that_disagree_are_worth_nothing(kind: str, seed: int) -> None:
    x = torch.from_numpy(DISAGREEMENTS[kind](np.random.default_rng(seed)).astype(float))
    valid = torch.rand(LENGTH, CHAINS, generator=torch.Generator().manual_seed(seed)) < 0.9
    for record in (x, torch.stack([torch.zeros_like(x), x], -1)):
        (told,) = mixing({"x": record}, valid)
        assert not told.mixed and told.effective == 0


@pytest.mark.parametrize("law", ["normal", "cauchy", "coin", "fixed"])
def test_independent_draws_are_worth_their_number(law: str) -> None:
    r = np.random.default_rng(4)
    made = {
        "normal": r.normal(size=(LENGTH, CHAINS)),
        "cauchy": r.standard_cauchy(size=(LENGTH, CHAINS)),
        "coin": r.random((LENGTH, CHAINS)) < 0.3,
        "fixed": np.full((LENGTH, CHAINS), 0.1),
    }[law]
    valid = torch.ones(LENGTH, CHAINS, dtype=torch.bool)
    (told,) = mixing({"x": torch.from_numpy(made.astype(float))}, valid)
    assert told.mixed and told.effective > LENGTH * CHAINS / 2


class Never(Term):
    """A rule nothing keeps, and nothing says so before it is judged."""

    def energy(self, y):
        return 1 + y.double().square().sum(-1)

    def holds(self, y):
        return False


def test_a_draw_that_breaks_a_rule_is_told() -> None:
    y = Variable("y", Real((2,), -1.0, 1.0))
    (made,) = samples(Problem(1.0 * Slope(y) + required(Never(y))), 10, budget=Budget(steps=50))
    assert made.status is Status.UNSATISFIED and not made.exact
    assert len(made.samples) == 10 and all(s.holds is False for s in made.samples)


class Slow(Slope):
    """A network that takes its time."""

    def energy(self, z):
        torch.randn(400, 400) @ torch.randn(400, 400)
        return super().energy(z)


def test_time_ends_a_draw_with_what_there_is() -> None:
    z = Variable("z", Real((2,), 0.0, 1.0))
    (made,) = samples(Problem(1.0 * Slow(z)), 20, budget=Budget(seconds=0.2))
    assert made.flags == (Flag.DEADLINE,) and len(made.samples) == 20
    (made,) = samples(Problem(1.0 * Slow(z)), 20, budget=Budget(stop=lambda: True))
    assert made.flags == (Flag.CANCELLED,) and len(made.samples) == 20


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"count": 0}, "count: 0"),
        ({"temperature": 0.0}, "temperature: 0.0; give a number above 0"),
        ({"temperature": math.inf}, "temperature: inf"),
        ({"temperature": math.nan}, "temperature: nan"),
        ({"particles": 0}, "particles: 0"),
    ],
)
def test_mistakes_are_told(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(BadQuery, match=said):
        samples(Problem(mixture()), **({"count": 1} | wrong))
