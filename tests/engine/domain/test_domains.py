"""Domains keep their contract, evidence its place, views their sites."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine import Budget, Status, Term, answers
from engine.domain import Finite, Real, Variable, finite, flatten, nest
from engine.errors import BadQuery
from engine.minimizers.descent import Descent
from engine.minimizers.gibbs import Gibbs
from engine.problem import Problem
from engine.random import Stream
from engine.testing import check_domain
from tests.support.costs import FEW, Costs, X, Y, Z, seeds

# --- domains --------------------------------------------------------------------------------------


@st.composite
def finite_domains(draw):
    values = draw(st.sampled_from([(0, 1), ("a", "b", "c"), (1, 2.5, True, "x"), (7,)]))
    shape = draw(st.sampled_from([(), (3,), (2, 2), (1, 2, 1)]))
    rows = draw(st.integers(1, 3))
    domain = Finite(values, shape)
    some = domain.hot(domain.sample(rows, Stream(draw(seeds), torch.tensor([1])))) > 0
    noise = domain.hot(domain.sample(rows, Stream(draw(seeds), torch.tensor([2])))) > 0
    return Finite(values, shape, some | noise)


@st.composite
def real_domains(draw):
    shape = draw(st.sampled_from([(), (3,), (2, 2)]))
    low, high = draw(st.sampled_from([(-1.0, 2.0), (0.0, math.inf), (-math.inf, 5.0), (1.5, 1.5)]))
    domain = Real(shape, low, high)
    return domain.join([domain]) if draw(st.booleans()) else domain


@FEW
@given(domain=finite_domains() | real_domains(), seed=st.integers(0, 2**20))
def test_domains_keep_their_contract(domain, seed):
    check_domain(domain, samples=6, seed=seed)


@dataclass(frozen=True, eq=False)
class Loose(Real):
    """Sites whose sum is at most `most`, but what is given is not held against it."""

    most: float = 1.0

    def project(self, x):
        low, high = self.edges(x)
        inside, free = super().project(x), (low < high).double()
        over = (inside.sum(-1, keepdim=True) - self.most).clamp(min=0)
        share = over / free.sum(-1, keepdim=True).clamp(min=1)
        return torch.where(over > 1e-9, inside - share * free, inside)


@dataclass(frozen=True, eq=False)
class Below(Loose):
    """Sites whose sum is at most `most`; what is given stays."""

    def narrow(self, values):
        told = super().narrow(values)
        given = torch.where(told.low == told.high, told.low, 0.0).sum(-1)
        if ((told.low == told.high).all(-1) & (given > self.most)).any():
            raise BadQuery("the sum is too large")
        return told


def test_evidence_outside_a_domain_is_refused():
    with pytest.raises(AssertionError, match="Loose: narrow takes .*, which project moves"):
        check_domain(Loose((3,), most=2.0))


class Sum(Term):
    """E = -(sum of the sites)."""

    def energy(self, x):
        return -x.sum(-1)


@pytest.mark.parametrize("minimizer", [Descent(), Gibbs(steps=30, patience=2)], ids=str)
def test_a_domain_with_one_thing_changed_keeps_it(minimizer):
    """As rows are narrowed, selected and joined; no answer outside it is called right."""
    domain = Below((3,), most=2.0)
    check_domain(domain)
    narrowed = domain.narrow([[0.5, None, None], None])
    check_domain(narrowed)
    for one in (narrowed, narrowed.select([1]), narrowed.join([domain]), narrowed.to("cpu")):
        assert isinstance(one, Below) and one.most == 2.0
    x = Variable("x", domain)
    problem = Problem(Sum(x)).given_rows([{"x": [0.5, None, None]}, {}])
    for answer in answers(problem, minimizer, particles=4, budget=Budget(steps=200)):
        inside = sum(answer.values["x"]) <= 2.0 + 1e-6
        assert inside or answer.status is Status.UNSATISFIED
        assert inside or isinstance(minimizer, Gibbs)


@pytest.mark.parametrize(
    "count, dtype",
    [(1, torch.uint8), (256, torch.uint8), (257, torch.int16), (32767, torch.int16),
     (32768, torch.int32)],
)  # fmt: skip
def test_decided_states_are_the_smallest_integers_that_hold_their_places(count, dtype):
    domain = Finite(tuple(range(count)), (2,))
    for x in (
        domain.sample(3, Stream(0, torch.tensor([0]))),
        domain.decide(domain.hot(torch.full((1, 2), count - 1))),
        domain.encode([0, count - 1]),
    ):
        assert x.dtype == dtype
    assert domain.decode(domain.encode([0, count - 1])[None]) == [[0, count - 1]]
    assert domain.hot(domain.encode([0, count - 1])).argmax(-1).tolist() == [0, count - 1]


@FEW
@given(domain=finite_domains(), seed=seeds, piece=st.sampled_from([1, 9, 1 << 18]))
def test_a_site_is_drawn_by_one_word(domain, seed, piece):
    """The value of rank (word * options) >> 32 among those allowed, whatever the pieces."""
    rng = Stream(seed, torch.arange(domain.rows))
    words = rng.bits(5, domain.sites)
    allowed = domain.allowed.repeat_interleave(5, 0).reshape(len(words), domain.sites, -1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finite, "PIECE", piece)
        drawn = domain.sample(5, rng).reshape(len(words), domain.sites)
    for b, site in np.ndindex(*words.shape):
        left = allowed[b, site].nonzero()[:, 0].tolist()
        assert int(drawn[b, site]) == left[(int(words[b, site]) * len(left)) >> 32]


def test_draws_are_even_among_the_allowed_values():
    domain = Finite(tuple(range(6)), (3,)).join([Finite(tuple(range(6)), (3,))])
    allowed = domain.allowed.clone()
    allowed[1, :, ::2] = False
    x = Finite(domain.values, (3,), allowed).sample(20_000, Stream(1, torch.tensor([4, 5])))
    for row, some in enumerate((range(6), (1, 3, 5))):
        counts = torch.bincount(x[20_000 * row :][:20_000].flatten().long(), minlength=6)
        expected = 60_000 / len(some)
        assert set(counts.nonzero()[:, 0].tolist()) == set(some)
        assert sum((float(counts[v]) - expected) ** 2 / expected for v in some) < 25


@FEW
@given(domain=finite_domains(), seed=seeds)
def test_projection_is_the_nearest_point_of_the_simplex(domain, seed):
    """Against the conditions of optimality: x - p is the same at every value with p > 0, and no
    larger elsewhere; p is a distribution over allowed values."""
    rng = Stream(seed, torch.zeros(domain.rows, dtype=torch.int64))
    x = (4 * rng.normal(3, *domain.event)).double()
    p = domain.project(x)
    allowed = domain.allowed.repeat_interleave(3, 0)
    assert torch.allclose(p.sum(-1), torch.ones(()).double()) and (p >= 0).all()
    assert (p[~allowed] == 0).all()
    shift = x - p
    level = shift.masked_fill(p <= 0, -torch.inf).max(-1, keepdim=True).values
    assert torch.allclose(shift[p > 0], level.expand_as(p)[p > 0])
    assert (shift <= level + 1e-9)[allowed].all()


def test_narrowing_keeps_what_is_given_and_leaves_the_rest():
    d = X.domain.narrow([[[1, None], [None, 2]], None])
    assert d.rows == 2 and d.allowed[1].all()
    assert d.allowed[0, 0, 0].tolist() == [False, True, False]
    assert d.allowed[0, 0, 1].all() and d.allowed[0, 1, 1].tolist() == [False, False, True]
    again = d.narrow([[[None, 0], [None, 2]], [[2, 2], [2, 2]]])
    assert again.allowed[0].sum() == 6 and again.allowed[1].sum() == 4
    z = Z.domain.narrow([[0.5, None, 2]])
    assert z.low[0].tolist() == [0.5, -1, 2] and z.high[0].tolist() == [0.5, 2, 2]


@pytest.mark.parametrize(
    "domain, value, path",
    [
        (X.domain, [[1, None], [None, 9]], "[1][1]"),
        (X.domain, [[1, None]], ""),
        (X.domain, [[1, None], [None]], "[1]"),
        (X.domain, [[1, [2]], [None, None]], "[0][1]"),
        (X.domain, [[1, True], [None, None]], "[0][1]"),
        (X.domain, 3, ""),
        (Y.domain, ["a", {}], "[1]"),
        (Z.domain, [0, None, 2.5], "[2]"),
        (Z.domain, [0, "b", 1], "[1]"),
        (Z.domain, [0, math.nan, 1], "[1]"),
        (X.domain.narrow([[[1, None], [None, None]]]), [[2, None], [None, None]], "[0][0]"),
    ],
)
def test_mistakes_in_evidence_say_where_they_stand(domain, value, path):
    with pytest.raises(BadQuery) as caught:
        domain.narrow([value])
    (mistake,) = caught.value.mistakes
    assert mistake.path == path and mistake.problem and mistake.remedy


@pytest.mark.parametrize(
    "make",
    [
        lambda: Finite(()),
        lambda: Finite((1, 1)),
        lambda: Finite((1, 2), (2,), torch.ones(1, 3, 2, dtype=torch.bool)),
        lambda: Real((2,), 1.0, 0.0),
        lambda: Real((2,), math.nan, 0.0),
        lambda: X.domain.narrow([None, None]).narrow([None, None, None]),
        lambda: Problem(Costs(X)).given(q=1),
        lambda: Problem(Costs(X)).given_rows([]),
        lambda: X[5],
        lambda: X[0, 0, 0],
    ],
)
def test_domains_that_make_no_sense_are_refused(make):
    with pytest.raises(BadQuery):
        make()


def test_values_of_other_types_are_other_values():
    d = Finite((0, 1, True, "1"))
    assert [d.place(v) for v in (0, 1, True, "1", 1.0)] == [0, 1, 2, 3, 1]


VIEWS = [(0,), (slice(None), 1), (slice(None, None, -1),), ([1, 0], 0), (1, 1), (..., 0)]


@pytest.mark.parametrize("index", VIEWS, ids=str)
@pytest.mark.parametrize("variable", [X, Variable("r", Real((2, 2)))], ids=lambda v: v.name)
def test_views_take_the_same_sites_of_states_values_and_domains(variable, index):
    view, domain = variable[index], variable.domain
    x = domain.sample(4, Stream(0, torch.tensor([0])))
    value = domain.decode(x)[2]
    taken = np.array(value, dtype=object)[index]
    plain = taken.tolist() if isinstance(taken, np.ndarray) else taken
    assert view.plain(value) == plain
    own = view.of(domain)
    assert own.shape == view.shape and own.decode(view.tensor(x))[2] == plain
    sites = np.arange(4).reshape(2, 2)[index]
    assert view.places.tolist() == np.asarray(sites).tolist()
    assert view.tensor(x).shape == (4, *own.shape)


def test_a_line_read_backwards():
    line = Variable("line", Finite((0, 1, 2), (3,)))
    view, d = line[::-1], line.domain.narrow([[0, None, 2]])
    assert view.of(d).allowed[0].tolist() == d.allowed[0].tolist()[::-1]
    x = d.sample(1, Stream(0, torch.tensor([0])))
    assert view.of(d).decode(view.tensor(x))[0] == d.decode(x)[0][::-1]


def test_a_view_of_a_narrowed_domain_is_narrowed():
    d = X.domain.narrow([[[1, None], [None, 2]]])
    assert X[0, :].of(d).fingerprints == Finite((0, 1, 2), (2,)).narrow([[1, None]]).fingerprints


@given(st.sampled_from([(), (3,), (2, 2), (2, 1, 3)]))
def test_nest_undoes_flatten(shape):
    flat = list(range(math.prod(shape)))
    assert flatten(nest(flat, shape), shape) == flat
