"""What a term says of itself counts inside `|` and `soft_min` as it does alone: whether it stands
by an answer, where to start, and in which unit it counts."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import (
    Budget,
    Finite,
    Flag,
    Problem,
    Real,
    Stream,
    Term,
    Variable,
    answers,
    required,
    score_plain,
    soft_min,
)
from engine.answer import Place
from engine.energy import Choice
from engine.minimizers.descent import Descent
from engine.minimizers.gibbs import Gibbs
from engine.moves.start import Start
from engine.session import Session
from engine.testing import check_term

X = Variable("x", Finite((0, 1, 2), (2,)))


class Priced(Term):
    """A price for each value of the first site; it stands by some values of the second."""

    calibrated = True

    def __init__(self, x, prices, stands=(0, 1, 2)):
        super().__init__(x)
        self.register_buffer("prices", torch.tensor(prices))
        self.stands = stands

    def energy(self, x):
        return x[:, 0] @ self.prices

    def accepts(self, domains, tensors):
        fine = torch.isin(tensors[0][:, 1].argmax(-1), torch.tensor(self.stands))
        return torch.stack([torch.ones_like(fine), fine], 1)


class Flat(Term):
    """A price for each value of the first site; it stands by everything."""

    def __init__(self, x, prices):
        super().__init__(x)
        self.prices = torch.tensor(prices)

    def energy(self, x):
        return x[:, 0] @ self.prices


class One(Term):
    """The first site is a value; it stands by some values of the second."""

    def __init__(self, x, value, stands):
        super().__init__(x)
        self.value, self.stands = value, stands

    def energy(self, x):
        return 1 - x[:, 0, self.value]

    def holds(self, values):
        return values[0] == self.value

    def accepts(self, domains, tensors):
        fine = torch.isin(tensors[0][:, 1].argmax(-1), torch.tensor(self.stands))
        return torch.stack([torch.ones_like(fine), fine], 1)


def chosen(joined: str, *branches) -> Choice:
    return soft_min(*branches, temperature=0.3) if joined == "soft" else branches[0] | branches[1]


price = st.lists(st.sampled_from([0.0, 1.0, 2.5]), min_size=3, max_size=3)
values_stood_by = st.lists(st.integers(0, 2), max_size=3)


@pytest.mark.parametrize("joined", ["hard", "soft"])
@settings(max_examples=40, deadline=None)
@given(one=price, other=price, stands=values_stood_by, too=st.none() | values_stood_by)
def test_the_branch_that_counts_says_whether_it_is_stood_by(joined, one, other, stands, too):
    second = Flat(X, other) if too is None else Priced(X, other, too)
    energy = chosen(joined, 1.0 * Priced(X, one, stands), 1.0 * second)
    rows = [{"x": [a, b]} for a in range(3) for b in range(3)]
    for row, answer in zip(rows, score_plain(Problem(1.0 * energy), rows), strict=True):
        a, b = row["x"]
        branches = [(one[a], b in stands), (other[a], True if too is None else b in too)]
        least = min(cost for cost, _ in branches)
        stood_by = any(fine for cost, fine in branches if cost == least)
        assert (Flag.ABSTAIN in answer.flags) is not stood_by
        assert answer.abstained == (() if stood_by else (Place("x", (1,), b),))


@pytest.mark.parametrize("nested", [False, True])
def test_every_door_flags_it(nested: bool) -> None:
    inner = 1.0 * Priced(X, [0.0, 3.0, 3.0], [0]) | 1.0 * Flat(X, [1.0, 1.0, 1.0])
    energy = soft_min(1.0 * inner, 9.0 * Flat(X, [5.0, 5.0, 5.0]), temperature=0.1)
    problem = Problem(1.0 * (energy if nested else inner))
    rows = problem.given_rows([{"x": [None, 0]}, {"x": [None, 1]}, {"x": [1, 1]}])
    budget = Budget(steps=40)
    for minimizer in (None, Descent(), Gibbs(steps=20)):
        told = answers(rows, minimizer, particles=8, budget=budget)
        assert [Flag.ABSTAIN in a.flags for a in told] == [False, True, False]
    session = Session(problem.given(x=[None, 0]))
    assert Flag.ABSTAIN not in session.answer().flags
    session.given({"x": [None, 1]})
    assert Flag.ABSTAIN in session.answer().flags


def test_rules_that_abstain() -> None:
    problem = Problem(required(One(X, 0, [0]) | One(X, 1, [0, 1])))
    told = answers(problem.given_rows([{"x": [a, b]} for a, b in ((0, 0), (0, 1), (1, 1), (1, 2))]))
    assert [Flag.ABSTAIN in a.flags for a in told] == [False, True, False, True]


class Near(Term):
    """The distance to a far place that only it knows of, which no slope points to."""

    def __init__(self, y, place: float):
        super().__init__(y)
        self.place = place

    def energy(self, y):
        return ((y - self.place).abs() > 1e-3).float().sum(-1)

    def propose(self, particles, rng, known, domain):
        shape = (len(rng.keys) * particles, *domain.event)
        noise = rng.normal(particles, *domain.event)
        return (torch.full(shape, self.place) + 1e-5 * noise,)


@pytest.mark.parametrize("joined", ["hard", "soft"])
def test_terms_propose_through_a_choice(joined: str) -> None:
    y, z = Variable("y", Real((2,), 0.0, 1e3)), Variable("z", Real((2,), 0.0, 1e3))
    term = chosen(joined, 1.0 * Near(y, 731.5), 1.0 * Near(z, 0.25) + 1.0 * Near(y, 4.0))
    problem = Problem(1.0 * term).given_rows([{}, {"y": [3.0, None]}, {}])
    start = Start(problem, 8, Stream(0, problem.keys).at(0), {})
    first = start["y"].unflatten(0, (3, 8))
    assert (first[1, :, 0] == 3.0).all()
    for place in (731.5, 4.0):
        assert ((first[0] - place).abs() < 1e-3).all(-1).any()
    (found, *_) = answers(problem, Descent(), particles=8, budget=Budget(steps=5))
    assert found.energy == pytest.approx(0.0 if joined == "hard" else found.energy)
    assert found.energy <= 0.0


def test_the_kit_and_the_unit() -> None:
    both = 1.0 * Priced(X, [0.0, 1.0, 2.0]) | 1.0 * Priced(X, [2.0, 0.5, 0.0])
    assert both.calibrated and not (both | 1.0 * Flat(X, [1.0, 0.0, 0.0])).calibrated
    assert not (One(X, 0, [0]) | One(X, 1, [1])).calibrated
    y = Variable("y", Real((2,), 0.0, 9.0))
    for term in (both, 1.0 * Near(y, 7.25) | 1.0 * Near(y, 4.0)):
        check_term(term)
