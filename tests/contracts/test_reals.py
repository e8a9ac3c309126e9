"""Real variables: given numbers come back to the bit, found ones lie inside, edges mean one row;
and every term is handed one dtype, its own, whoever asks."""

import itertools
import math
import struct
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from engine import (
    BadQuery,
    Budget,
    Finite,
    Problem,
    Real,
    Status,
    Stream,
    Term,
    Variable,
    answers,
    required,
    score_plain,
    soft_min,
)
from engine.domain import flatten
from engine.minimizers.descent import Descent
from engine.minimizers.enumeration import Enumeration
from engine.minimizers.gibbs import Gibbs
from engine.minimizers.portfolio import Portfolio
from engine.minimizers.restarts import Restarts
from engine.moves.langevin import Langevin
from engine.sampling.draw import samples
from engine.session import Session
from engine.testing import Watched, check_domain, check_minimizer, check_term

HARD = [0.1, -0.1, -0.0, 0.0, 5e-324, -2.2e-308, 1e300, -1e300, 1 / 3, 16777217.0, 1e-45, 3.0]
number = st.one_of(
    st.sampled_from(HARD), st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=True)
)


class Bowl(Term):
    """Squared distance from a point at every site, flat far out."""

    def __init__(self, *scope, at: float = 0.25):
        super().__init__(*scope)
        self.at = at

    def energy(self, *tensors):
        return sum(torch.tanh((x - self.at).square()).flatten(1).sum(-1) for x in tensors)

    def floor(self):
        return 0.0


class Exactly(Term):
    """A real site is this number, to the bit."""

    def __init__(self, x, number: float):
        super().__init__(x)
        self.number = number

    def energy(self, x):
        return (x - self.number).abs().clamp(max=1.0).reshape(len(x), -1).sum(-1)

    def holds(self, value):
        return all(bits(v) == bits(self.number) for v in flatten(value, self.scope[0].shape))


class Odd(Term):
    """One finite site is 1; a rule that is evaluated only."""

    def energy(self, x):
        return x.reshape(len(x), -1)[:, 0]

    def holds(self, value):
        return flatten(value, self.scope[0].shape)[0] == 1

    def factors(self, *domains):
        return None


def bits(x: float) -> bytes:
    assert type(x) is float
    return struct.pack("d", x)


def same(value: Any, evidence: Any, shape: tuple[int, ...]) -> bool:
    """What was given stands in a value, to the bit."""
    pairs = zip(flatten(value, shape), flatten(evidence, shape), strict=True)
    return all(new == new and (old is None or bits(new) == bits(float(old))) for new, old in pairs)


MINIMIZERS = {
    "descent": Descent(),
    "gibbs": Gibbs(steps=10),
    "restarts": Restarts(Descent(patience=2, smallest=1e-2), after=5),
    "default": Portfolio(),
}


@st.composite
def rows_of_reals(draw) -> list[list[list[float | None]]]:
    row = st.lists(
        st.lists(st.one_of(st.none(), number), min_size=2, max_size=2), min_size=2, max_size=2
    )
    return draw(st.lists(row, min_size=1, max_size=3))


@pytest.mark.parametrize("name", MINIMIZERS)
@settings(max_examples=25, deadline=None)
@given(rows=rows_of_reals())
@example(rows=[[[0.1, -0.0], [1e300, None]], [[5e-324, None], [None, 0.1]]])
def test_given_reals_come_back_to_the_bit(name: str, rows) -> None:
    x, z = Variable("x", Real((2, 2))), Variable("z", Finite((0, 1), (2,)))
    energy = 1.0 * Bowl(x) + (Odd(z) if name in ("gibbs", "default") else 1.0 * Bowl(x, at=1.0))
    problem = Problem(energy).given_rows([{"x": row} for row in rows])
    budget = Budget(steps=12)
    for row, answer in zip(
        rows, answers(problem, MINIMIZERS[name], particles=3, budget=budget), strict=True
    ):
        assert answer.values is not None and same(answer.values["x"], row, (2, 2))
        (scored,) = score_plain(Problem(energy), [answer.values])
        assert same(scored.values["x"], answer.values["x"], (2, 2))
        assert scored.energy == answer.energy


@settings(max_examples=20, deadline=None)
@given(rows=rows_of_reals())
@example(rows=[[[0.1, -0.0], [1e300, 3.0]], [[5e-324, 1e-45], [0.1, 0.1]]])
def test_draws_and_sessions_leave_given_reals_alone(rows) -> None:
    x, z = Variable("x", Real((2, 2))), Variable("z", Finite((0, 1), (2,)))
    base = Problem(1.0 * Bowl(x) + 0.5 * Bowl(z))
    stop = Budget(stop=iter([False] * 40 + [True] * 10_000).__next__)
    for row, drawn in zip(
        rows,
        samples(base.given_rows([{"x": row} for row in rows]), 3, particles=2, budget=stop),
        strict=True,
    ):
        assert all(same(sample.values["x"], row, (2, 2)) for sample in drawn.samples)
    session = Session(base.given(x=rows[0]), particles=2)
    for row in (rows[0], *rows):
        session.given({"x": row})
        answer = session.answer(Budget(steps=5))
        assert answer.values is not None and same(answer.values["x"], row, (2, 2))


@pytest.mark.parametrize("step", [0.01, 10.0])
@pytest.mark.parametrize("adjusted", [True, False])
def test_langevin_leaves_given_reals_alone(adjusted: bool, step: float) -> None:
    x = Variable("x", Real((3,), -2.0, 2.0))
    problem = Problem(1.0 * Bowl(x)).given(x=[0.1, -0.0, None])
    start = {"x": problem.sample("x", 5, Stream(0, problem.keys))}
    moved = Langevin(step, adjusted).walk(problem, start, 8, Stream(1, problem.keys))
    for value in problem.plain(moved):
        assert same(value["x"], [0.1, -0.0, None], (3,))
        assert -2.0 <= value["x"][2] <= 2.0


@settings(max_examples=30, deadline=None)
@given(number=number.filter(lambda x: abs(x) < 1e38))  # a float32 term can tell nothing beyond
def test_a_rule_judges_what_was_given(number: float) -> None:
    x, z = Variable("x", Real((2,))), Variable("z", Finite((0, 1)))
    energy = Exactly(x, number) + Odd(z)
    problem = Problem(energy).given(x=[number, number])
    for minimizer in (Portfolio(), Enumeration(), Gibbs(steps=10)):
        (answer,) = answers(problem, minimizer, particles=4, budget=Budget(steps=20))
        assert answer.findings[0].holds is True
    (scored,) = score_plain(problem, [{"x": [number, number], "z": 1}])
    assert scored.holds is True
    other = math.nextafter(number, 0.0 if number else 1.0)
    assert score_plain(problem.root, [{"x": [number, other], "z": 1}])[0].holds is False


@pytest.mark.parametrize("whole", [0, 1, -7, 2**53, -(10**15), 10**300])
def test_whole_numbers_come_back_as_floats_of_the_same_value(whole: int) -> None:
    x = Variable("x", Real((2,)))
    problem = Problem(1.0 * Bowl(x))
    if float(whole) != whole:
        with pytest.raises(BadQuery, match="no float is"):
            problem.given(x=[whole, None])
        return
    (answer,) = answers(problem.given(x=[whole, None]), Descent(), budget=Budget(steps=2))
    (scored,) = score_plain(problem, [{"x": [whole, 3]}])
    for values in (answer.values, scored.values):
        assert type(values["x"][0]) is float and values["x"][0] == whole


@pytest.mark.parametrize(
    "wrong", [math.nan, math.inf, -math.inf, 10**400, 2**53 + 1, True, "1", 1j]
)
def test_what_is_no_number_is_told(wrong: Any) -> None:
    problem = Problem(1.0 * Bowl(Variable("x", Real((2,)))))
    with pytest.raises(BadQuery, match=r"evidence\.x\[1\]: "):
        problem.given(x=[None, wrong])
    with pytest.raises(BadQuery):
        score_plain(problem, [{"x": [0.5, wrong]}])


@settings(max_examples=40, deadline=None)
@given(
    edges=st.lists(st.tuples(number, number).map(sorted), min_size=3, max_size=3),
    seed=st.integers(0, 9),
)
@example(edges=[[0.1, 0.3], [-0.1, -0.1], [-1e308, 1.7e308]], seed=0)
def test_found_reals_lie_between_the_edges(edges, seed: int) -> None:
    low, high = ([e[k] for e in edges] for k in (0, 1))
    x = Variable("x", Real((3,), low, high))
    for at, minimizer in itertools.product((-1e6, 1e6), (Descent(), Gibbs(steps=8))):
        problem = Problem(1.0 * Bowl(x, at=at))
        (answer,) = answers(problem, minimizer, particles=3, budget=Budget(steps=10), seed=seed)
        assert answer.values is not None
        for value, lowest, highest in zip(answer.values["x"], low, high, strict=True):
            assert lowest <= value <= highest
        again = problem.given(**answer.values)  # so it can be given back
        (scored,) = score_plain(again, [answer.values])
        assert scored.energy == answer.energy


def test_a_minimum_at_an_edge_is_the_edge() -> None:
    x = Variable("x", Real((2,), [0.1, -3.0], [0.7, -0.3]))
    (answer,) = answers(Problem(1.0 * Bowl(x, at=2.0)), Descent(), budget=Budget(steps=300))
    assert answer.values == {"x": [0.7, -0.3]}


class Precise(Bowl):
    """The same in float64."""

    dtype = torch.float64

    def energy(self, x):
        return (x - self.at).square().flatten(1).sum(-1)


def test_found_reals_are_numbers_that_their_terms_have_seen() -> None:
    x, y = Variable("x", Real((2,), -1.0, 1.0)), Variable("y", Real((2,), -1.0, 1.0))
    problem = Problem(1.0 * Bowl(x, at=1 / 3) + 1.0 * Precise(y, at=1 / 3))
    (answer,) = answers(problem, Descent(), budget=Budget(steps=600))
    seen = torch.tensor(answer.values["x"], dtype=torch.float64)
    assert torch.equal(seen.float().double(), seen)
    wide = torch.tensor(answer.values["y"], dtype=torch.float64)
    assert not torch.equal(wide.float().double(), wide)


# --- edges ----------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(shape=st.lists(st.integers(1, 3), max_size=3).map(tuple), data=st.data())
def test_edges_site_by_site_are_one_row(shape: tuple[int, ...], data) -> None:
    def nested(value: float) -> Any:
        out: Any = value
        for size in reversed(shape):
            out = [out] * size
        return out

    low = data.draw(st.sampled_from([-1.0, nested(-1.0), torch.full(shape, -1.0)]))
    high = data.draw(st.sampled_from([2.0, nested(2.0), torch.full(shape, 2.0).numpy()]))
    domain = Real(shape, low, high)
    assert domain.rows == 1 and domain.low.shape == (1, *shape) == domain.high.shape
    rows = data.draw(st.integers(1, 3))
    assert Real(shape, torch.full((rows, *shape), -1.0), high).rows == rows
    check_domain(domain, samples=3)


@pytest.mark.parametrize(
    ("shape", "low", "high"),
    [
        ((2,), [-1.0, -2.0, -3.0], 1.0),
        ((2,), 0.0, [1.0]),
        ((2, 3), [-1.0, -2.0], 1.0),
        ((2, 3), [-1.0, -2.0, -3.0], 1.0),
        ((), [[0.0]], 1.0),
        ((2,), torch.zeros(2, 2), torch.ones(3, 2)),
        ((2,), [0.0, [1.0]], 1.0),
        ((2,), "low", 1.0),
        ((2,), None, 1.0),
        ((2,), [0.0, math.nan], 1.0),
        ((2,), [0.0, 2.0], 1.0),
        ((2,), math.inf, math.inf),
        ((2,), -math.inf, -math.inf),
    ],
)
def test_edges_of_another_shape_are_a_mistake(shape, low, high) -> None:
    with pytest.raises(BadQuery, match="low|high"):
        Real(shape, low, high)


def test_a_shape_of_two_with_two_edges_is_one_row() -> None:
    x = Variable("b", Real((2,), low=[-1.0, -2.0], high=[1.0, 2.0]))
    assert Problem(1.0 * Bowl(x)).rows == 1
    (answer,) = answers(Problem(1.0 * Bowl(x, at=3.0)), Descent(), budget=Budget(steps=300))
    assert answer.values == {"b": [1.0, 2.0]}


# --- alternatives ---------------------------------------------------------------------------------


def rule_and_real(explicit: bool) -> Problem:
    class Any1(Odd):
        factors = Term.factors if explicit else Odd.factors

    x, r = Variable("x", Finite((0, 1), (3,))), Variable("r", Real((2,), -2.0, 2.0))
    return Problem(required(Any1(x)), (x, r))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("explicit", [True, False])
def test_alternatives_carry_the_reals_of_their_own_row(threads: int, explicit: bool) -> None:
    before = torch.get_num_threads()
    given_reals = [[0.1 * k, -0.0] for k in range(5)]
    problem = rule_and_real(explicit).given_rows([{"r": r} for r in given_reals])
    try:
        torch.set_num_threads(threads)
        found = answers(problem, Portfolio(alternatives=2), particles=2, budget=Budget(steps=10))
    finally:
        torch.set_num_threads(before)
    for answer, reals in zip(found, given_reals, strict=True):
        assert answer.values is not None and same(answer.values["r"], reals, (2,))
        assert answer.alternatives
        for other in answer.alternatives:
            assert same(other.values["r"], reals, (2,))


# --- one dtype ------------------------------------------------------------------------------------


class Net(Term):
    """A small network over all its sites, as a user writes one."""

    affine = False

    def __init__(self, *scope, seed: int = 0):
        super().__init__(*scope)
        size = sum(math.prod(v.of(v.variable.domain).event) for v in self.scope)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.net = nn.Sequential(nn.Linear(size, 4), nn.Tanh(), nn.Linear(4, 1))

    def energy(self, *tensors):
        return self.net(torch.cat([x.reshape(len(x), -1) for x in tensors], 1))[:, 0]


class Double(Net):
    dtype = torch.float64

    def __init__(self, *scope):
        super().__init__(*scope)
        self.net.double()


class Stubborn(Term):
    """Has numbers of its own that no module knows of: it cannot be made float64."""

    def __init__(self, x):
        super().__init__(x)
        self.weight = torch.tensor([0.5, -1.5])

    def energy(self, x):
        return (x @ self.weight.to(x.device)).square()


def net(kind: str) -> tuple[Term, dict[str, Any]]:
    """A term, and values for its variables."""
    x, z = Variable("x", Real((2,), -1.0, 1.0)), Variable("z", Finite(("a", "b", "c"), (2,)))
    made: dict[str, Term] = {
        "real": Net(x),
        "finite": Net(z),
        "mixed": Net(x, z),
        "view": Net(x[0], z[1]),
        "double": Double(x, z),
        "stubborn": Stubborn(x),
        "hard minimum": Net(x) | Double(x, z),
        "soft minimum": soft_min(1.0 * Net(x, z), 2.0 * Net(z, seed=1), temperature=0.5),
    }
    names = {v.name for v in made[kind].variables()}
    values = {"x": [0.1, -0.25], "z": ["a", "c"]}
    return made[kind], {n: v for n, v in values.items() if n in names}


KINDS = ["real", "finite", "mixed", "view", "double", "stubborn", "hard minimum", "soft minimum"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_term_keeps_the_contract_in_its_own_dtype(kind: str) -> None:
    check_term(net(kind)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_term_sees_only_its_dtype_at_every_door(kind: str) -> None:
    term, values = net(kind)
    problem = Problem(1.0 * Watched(term))
    budget = Budget(steps=3)
    half = {n: [v[0], None] for n, v in values.items()}
    for p in (problem, problem.given(**half), problem.given(**values)):
        for minimizer in (Descent(), Gibbs(steps=5), Restarts(Gibbs(steps=2), after=2), None):
            answers(p, minimizer, particles=2, budget=budget)
        for drawn in samples(p, 2, particles=2, budget=Budget(seconds=0.05)):
            assert drawn.samples
        score_plain(p, [values, values])
        session = Session(p, particles=2)
        session.answer(budget)
        session.given(values)
        session.add("more", 0.5 * Watched(term))
        session.answer(budget)
    opened = problem.given(**values)
    answers(opened, Enumeration(), particles=2)
    if "x" in values:
        start = {n: opened.root.sample(n, 2, Stream(0, problem.keys)) for n in values}
        Langevin(0.1).walk(problem, start, 2, Stream(0, problem.keys))


def test_watching_catches_another_dtype() -> None:
    term, _ = net("real")
    wrong = Watched(term)
    wrong.views = lambda state: [view.tensor(state[view.variable.name]) for view in wrong.scope]
    with pytest.raises(AssertionError, match="float64"):
        answers(Problem(1.0 * wrong), Descent(), particles=2, budget=Budget(steps=1))


@pytest.mark.parametrize("minimizer", [Descent(), Gibbs(steps=20), Restarts(Descent(), after=9)])
def test_minimizers_keep_their_contract_with_given_and_edged_reals(minimizer) -> None:
    x = Variable("x", Real((4,), [0.1, -1.0, -1e300, -0.1], [0.3, 1.0, 1e300, -0.1]))
    problem = Problem(1.0 * Bowl(x, at=5.0)).given_rows(
        [{"x": [k and 0.1, None, None, None]} if k else {} for k in range(3)]
    )
    check_minimizer(minimizer, problem, particles=3, steps=12)


def test_the_kit_catches_a_minimizer_that_edits_given_reals() -> None:
    class Rounds(Descent):
        def report(self, problem, s):
            told = super().report(problem, s)
            return replace(told, x={n: t.float().double() for n, t in told.x.items()})

    x = Variable("x", Real((2,)))
    with pytest.raises(AssertionError, match="given numbers changed"):
        check_minimizer(Rounds(), Problem(1.0 * Bowl(x)).given(x=[0.1, None]))


class Pulled(Term):
    """A real is pulled to a place that the finite site names; how steep differs by coordinate."""

    affine = False
    PLACES = torch.tensor([[0.5, -1.5], [1.25, 0.125], [-0.75, 0.5]])

    def energy(self, z, x):
        return (torch.tensor([1.0, 30.0]) * (x - z @ self.PLACES).square()).sum(-1) + z[:, 1] / 2

    def floor(self):
        return -1.0


@pytest.mark.parametrize("seed", range(3))
def test_the_reals_of_a_mixed_answer_settle(seed: int) -> None:
    """After each anneal the best state goes downhill, to the edge where the minimum lies beyond."""
    z, x = Variable("z", Finite((0, 1, 2))), Variable("x", Real((2,), -2.0, [2.0, 0.25]))
    problem = Problem(1.0 * Pulled(z, x)).given_rows([{}, {"z": 1}, {"z": 2}, {"x": [0.1, None]}])
    told = answers(problem, Gibbs(steps=60), particles=8, budget=Budget(steps=240), seed=seed)
    wanted = [(0, [0.5, -1.5]), (1, [1.25, 0.125]), (2, [-0.75, 0.25]), (0, [0.1, -1.5])]
    for answer, (place, reals) in zip(told, wanted, strict=True):
        assert answer.values is not None and answer.values["z"] == place
        assert answer.values["x"] == pytest.approx(reals, abs=2e-3)
    assert told[2].values["x"][1] == 0.25 and told[3].values["x"][0] == 0.1


def test_status_of_a_given_rule_is_told() -> None:
    x = Variable("x", Real(()))
    (answer,) = answers(Problem(Exactly(x, 0.1)).given(x=0.1), particles=2)
    assert answer.status in (Status.OPTIMAL, Status.SATISFIED)
