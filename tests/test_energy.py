"""Laws of the algebra of energies and of domains, and a contract kit that catches faults."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.domain import Finite, Real, Variable, flatten, nest
from engine.energy import AnyOf, SoftMin, Sum, Term, named, required, soft_min
from engine.errors import BadQuery
from engine.factors import Factors
from engine.minimizer import Minimizer, score
from engine.problem import Problem
from engine.random import Stream
from engine.rows import Report
from engine.testing import check_domain, check_minimizer, check_term, evaluate_factors

FEW = settings(max_examples=30, deadline=None)
X = Variable("x", Finite((0, 1, 2), (2, 2)))
Y = Variable("y", Finite(("a", "b"), (2,)))
Z = Variable("z", Real((3,), -1.0, 2.0))


class Costs(Term):
    """E = sum of cost * probability over all sites and values."""

    def __init__(self, *scope, seed: int = 0):
        super().__init__(*scope)
        rng = np.random.default_rng(seed)
        self.costs = [
            torch.from_numpy(rng.normal(size=v.variable.domain.event)) for v in self.scope
        ]

    def energy(self, *tensors: Tensor) -> Tensor:
        parts = zip(tensors, self.costs, strict=True)
        return sum((x * c.to(x)).flatten(1).sum(-1) for x, c in parts)

    def floor(self) -> float:
        return float(sum(c.flatten(0, -2).min(-1).values.sum() for c in self.costs))


class Well(Term):
    """E = |z - c|^2 / 2."""

    def __init__(self, z, center: float = 0.5):
        super().__init__(z)
        self.center = center

    def residual(self, z: Tensor) -> Tensor:
        return z - self.center

    def energy(self, z: Tensor) -> Tensor:
        return ((z - self.center) ** 2).sum(-1) / 2


class Even(Term):
    """The values of the first site and of the last have an even sum; E = 1 where not."""

    def energy(self, x: Tensor) -> Tensor:
        p = x.reshape(x.shape[0], -1, x.shape[-1])
        a, b = p[:, 0, 1], p[:, -1, 1]
        return a + b - 2 * a * b

    def holds(self, x) -> bool:
        flat = flatten(x, self.scope[0].shape)
        return (flat[0] + flat[-1]) % 2 == 0


def state(seed: int) -> dict[str, Tensor]:
    """Random relaxed states. -> 5 of them"""
    rng = Stream(seed, torch.tensor([seed]))
    x = rng.normal(5, *X.domain.event).softmax(-1)
    y = rng.fork(1).normal(5, *Y.domain.event).softmax(-1)
    return {"x": x, "y": y, "z": Z.domain.sample(5, rng.fork(2))}


ATOMS = [Costs(X), Costs(Y, seed=1), Costs(X, Y, seed=2), Well(Z), Even(X), Even(X[0, :])]
atoms = st.sampled_from(ATOMS)
weights = st.floats(0.1, 10)
seeds = st.integers(0, 2**31)
energies = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a + b, inner, inner),
        st.builds(lambda w, a: w * a, weights, inner),
        st.builds(lambda a, b: a | b, inner, inner),
        st.builds(lambda a, b, t: soft_min(a, b, temperature=t), inner, inner, weights),
    ),
    max_leaves=5,
)


def same(a, b, at) -> bool:
    """Equal energy and violation; a term alone counts as it does in a sum."""
    a, b = Sum(*a.parts()), Sum(*b.parts())
    return torch.allclose(a(at), b(at), rtol=1e-9, atol=1e-9) and torch.allclose(
        a.violation(at), b.violation(at), rtol=1e-9, atol=1e-9
    )


# --- the algebra ----------------------------------------------------------------------------------


@FEW
@given(a=energies, b=energies, c=energies, seed=seeds)
def test_addition_is_commutative_and_associative(a, b, c, seed):
    at = state(seed)
    assert same(a + b, b + a, at)
    assert same((a + b) + c, a + (b + c), at)
    assert same(sum([a, b, c]), a + b + c, at)
    assert same(0 + a, Sum(*a.parts()), at)


@FEW
@given(a=energies, b=energies, u=weights, w=weights, seed=seeds)
def test_weights_distribute(a, b, u, w, seed):
    at = state(seed)
    # a bare rule times a number is a weighted rule; inside a sum it stays required
    a, b = Sum(*a.parts()), Sum(*b.parts())
    assert same(w * (a + b), w * a + w * b, at)
    assert same(u * (w * a), (u * w) * a, at)
    assert same(1.0 * a, a, at)


@FEW
@given(a=energies, b=energies, c=energies, seed=seeds)
def test_the_choice_is_the_minimum(a, b, c, seed):
    at = state(seed)

    def whole(energy):  # rules counted with weight 1
        return Sum(*energy.parts())(at) + energy.violation(at)

    either = AnyOf(a, b)
    assert torch.allclose(whole(either), torch.minimum(whole(a), whole(b)))
    assert torch.allclose(whole(a | b), whole(b | a))
    assert torch.allclose(whole((a | b) | c), whole(a | (b | c)))
    assert torch.allclose(whole(AnyOf(a, a)), whole(a))
    assert either.floor() <= float(whole(either).min()) + 1e-9


@FEW
@given(a=energies, b=energies, t=st.floats(0.01, 5), seed=seeds)
def test_the_smooth_minimum_lies_below_the_minimum_and_tends_to_it(a, b, t, seed):
    at = state(seed)
    hard = AnyOf(a, b).energy(*(at[v.variable.name] for v in AnyOf(a, b).scope))

    def soft(temperature):
        term = soft_min(a, b, temperature=temperature)
        return term.energy(*(at[v.variable.name] for v in term.scope))

    assert (soft(t) <= hard + 1e-6).all()
    assert (soft(t) >= hard - t * math.log(2) - 1e-6).all()
    assert torch.allclose(soft(1e-4), hard, atol=1e-3)
    mean = -t * math.log(2) + soft_min(a, a, temperature=t).energy(
        *(at[v.variable.name] for v in SoftMin(a, a, temperature=t).scope)
    )
    whole = Sum(*a.parts())(at) + a.violation(at)
    assert torch.allclose(mean + 2 * t * math.log(2), whole, atol=1e-5)


def test_rules_are_required_unless_weighed():
    rule = Even(X)
    assert rule.required_by_default and not Costs(X).required_by_default
    at = state(3)
    assert rule.parts()[0].required and torch.equal(Sum(*rule.parts())(at), torch.zeros(5).double())
    assert torch.allclose(rule.violation(at), rule(at).double())
    weighed = 2.0 * rule
    assert not weighed.parts()[0].required and torch.equal(weighed.violation(at), 0 * rule(at))
    assert torch.allclose(weighed(at), 2 * rule(at).double())
    back = required(weighed)
    assert back.parts()[0].required and torch.allclose(back.violation(at), rule(at).double())
    assert (rule | rule).required_by_default and not (rule | Costs(X)).required_by_default
    assert not (rule | 2.0 * rule).required_by_default


def test_a_sum_keeps_its_rules_required_when_weighed():
    both = 3.0 * (Costs(X) + Even(X))
    assert [p.weight for p in both.parts()] == [3.0, None]


def test_names_reach_the_parts():
    assert [p.label for p in (named("n", Costs(X)) + Even(X)).parts()] == ["n", "Even"]


@pytest.mark.parametrize("weight", [0, -1, math.nan, math.inf])
def test_weights_are_above_zero_and_finite(weight):
    with pytest.raises(BadQuery, match="weight"):
        weight * Costs(X)


@pytest.mark.parametrize("wrong", [None, "2", True])
def test_only_numbers_weigh_and_only_energies_add(wrong):
    with pytest.raises(TypeError):
        wrong * Costs(X)
    with pytest.raises(TypeError):
        Costs(X) + wrong
    with pytest.raises(TypeError):
        Costs(X) | wrong


def test_what_cannot_decide_cannot_be_required():
    with pytest.raises(BadQuery, match="cannot be required"):
        required(Costs(X))
    with pytest.raises(BadQuery, match="cannot be required"):
        required(Even(X) | Costs(X))


@pytest.mark.parametrize("temperature", [0, -1, math.inf, math.nan])
def test_temperatures_are_above_zero(temperature):
    with pytest.raises(BadQuery, match="temperature"):
        soft_min(Costs(X), Costs(X), temperature=temperature)


def test_one_name_is_one_variable():
    other = Variable("x", X.domain)
    with pytest.raises(BadQuery, match="x: names two different variables"):
        (Costs(X) + Costs(other)).variables()
    with pytest.raises(BadQuery):
        Problem(Costs(X), (other,))


def test_variables_stand_in_order_of_first_use():
    assert (Costs(Y) + Costs(X, Y) + Well(Z)).variables() == (Y, X, Z)


def test_explanations_of_a_choice_name_every_branch():
    either = Even(X) | Even(X[0, :])
    assert either.holds([[0, 0], [0, 1]]) is True
    (said,) = either.explain([[0, 1], [0, 1]])
    assert said == "no branch holds: Even does not hold | Even does not hold"


# --- structure ------------------------------------------------------------------------------------


def costs_of(energy):
    """Structure and energy of a small problem at every state."""
    problem = Problem(energy)
    factors, rest = problem.factored()
    assert rest is None
    sizes = [len(v.domain.values) for v in problem.finite for _ in range(v.domain.sites)]
    places = np.array(list(np.ndindex(*sizes)))
    every = problem.state(places)
    wanted = problem.energy(every).numpy().copy()
    wanted[problem.energy.violation(every).numpy() > 1e-6] = math.inf
    return np.array([evaluate_factors(factors, row) for row in places]), wanted


@pytest.mark.parametrize(
    "energy",
    [
        Costs(X),
        2.0 * Costs(Y),
        Even(X),
        0.5 * Even(X) + Costs(X, seed=3),
        Even(X) + Even(X[:, 1]) + 2.0 * Even(X[0, :]),
        Even(X) | Even(X[0, :]),
        3.0 * (Even(X) | Even(X[0, :])) + Costs(Y),
        (Even(X[0, :]) + Costs(X)) | 0.3 * Costs(X, seed=4),
        0.5 * soft_min(Costs(Y), Costs(Y, seed=5), temperature=0.5),
    ],
    ids=str,
)
def test_structure_of_terms_that_write_only_energy(energy):
    told, wanted = costs_of(energy)
    np.testing.assert_allclose(told, wanted, rtol=1e-5, atol=1e-5)


def test_a_scope_too_large_to_enumerate_has_no_structure():
    big = Variable("big", Finite((0, 1), (20,)))
    factors, rest = Problem(Costs(big)).factored()
    assert rest is not None and not factors.tables
    narrowed = Problem(Costs(big)).given(big=[0] * 15 + [None] * 5)
    factors, rest = narrowed.factored()
    assert rest is None and len(factors.tables[0].costs) == 32


def test_real_variables_have_no_structure():
    factors, rest = Problem(Well(Z) + Costs(X)).factored()
    assert [type(p.term) for p in rest.parts()] == [Well] and len(factors.tables) == 1


# --- domains --------------------------------------------------------------------------------------


@st.composite
def finite_domains(draw):
    values = draw(st.sampled_from([(0, 1), ("a", "b", "c"), (1, 2.5, True, "x"), (7,)]))
    shape = draw(st.sampled_from([(), (3,), (2, 2), (1, 2, 1)]))
    rows = draw(st.integers(1, 3))
    domain = Finite(values, shape)
    some = domain.sample(rows, Stream(draw(seeds), torch.tensor([1]))) > 0
    noise = domain.sample(rows, Stream(draw(seeds), torch.tensor([2]))) > 0
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
    assert view.tensor(x).shape == (4, *own.event)


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


def test_problems_stack_and_select_rows():
    problem = Problem(Even(X))
    a = problem.given(x=[[1, None], [None, None]])
    b = problem.given_rows([{"x": [[None, None], [2, None]]}, {}])
    both = Problem.stack([a, b])
    assert both.rows == 3 and both.keys.tolist() == [*a.keys.tolist(), *b.keys.tolist()]
    assert torch.equal(both.select([2, 0]).keys, both.keys[[2, 0]])
    assert len(set(both.keys.tolist())) == 3


# --- the contract kit catches what is planted -----------------------------------------------------


class Summed(Costs):
    """Plants: one number for the whole batch."""

    def energy(self, *tensors):
        return super().energy(*tensors).sum()


class Mixing(Costs):
    """Plants: a row depends on the others."""

    def energy(self, *tensors):
        own = super().energy(*tensors)
        return own - own.mean()


class Drifting(Costs):
    """Plants: a second look gives another energy."""

    count = 0

    def energy(self, *tensors):
        Drifting.count += 1
        return super().energy(*tensors) + Drifting.count


class Writing(Costs):
    """Plants: the input is changed."""

    def energy(self, *tensors):
        tensors[0].data.mul_(1.5)
        return super().energy(*(0 * t for t in tensors))


class Detached(Costs):
    """Plants: no gradient."""

    def energy(self, *tensors):
        return super().energy(*(t.detach() for t in tensors))


class Squared(Costs):
    """Plants: not affine, and does not say so."""

    def energy(self, *tensors):
        return super().energy(*tensors) ** 2

    def floor(self):
        return 0.0


class High(Costs):
    """Plants: a floor that is none."""

    def floor(self):
        return super().floor() + 1.0


class Lenient(Even):
    """Plants: holds where the energy is above 0."""

    def holds(self, x):
        return True


class Silent(Even):
    """Plants: fails without a word."""

    def explain(self, *values):
        return []


class Loose(Even):
    """Plants: structure that allows everything."""

    def factors(self, *domains):
        return Factors(Factors.sizes_of(domains), domains[0].sites)


class Poisoned(Costs):
    """Plants: nan."""

    def energy(self, *tensors):
        return super().energy(*tensors) * math.nan


class Skewed(Well):
    """Plants: a residual of another energy."""

    def residual(self, z):
        return 2 * z


PLANTED = [
    (Summed(X), "shape"),
    (Mixing(X), "alone"),
    (Drifting(X), "differs"),
    (Writing(X), "changes its input"),
    (Detached(X), "gradient"),
    (Squared(X), "affine"),
    (High(X), "floor"),
    (Lenient(X), "holds is True"),
    (Silent(X), "explain"),
    (Loose(X), "factors"),
    (Poisoned(X), "nan"),
    (Skewed(Z), "residual"),
]


@pytest.mark.parametrize("term, said", PLANTED, ids=lambda v: type(v).__name__)
def test_the_kit_catches_planted_faults(term, said):
    with pytest.raises(AssertionError, match=said):
        check_term(term)


@pytest.mark.parametrize(
    "term",
    [
        *ATOMS,
        Even(X) | Even(X[0, :]),
        Costs(X) | Even(X),
        soft_min(Well(Z), Well(Z), temperature=1),
    ],
    ids=str,
)
def test_the_kit_passes_what_is_right(term):
    check_term(term)


class Found(NamedTuple):
    """The best states so far."""

    x: dict[str, Tensor]
    count: Tensor


@dataclass(frozen=True)
class Sampling(Minimizer[Found]):
    """Keeps the best of many random states: a plain minimizer, with faults to plant."""

    fault: str = ""

    def init(self, problem, x, rng):
        return self._kept(problem, {n: problem.domain(n).decide(t) for n, t in x.items()}, 0)

    def step(self, problem, s, rng):
        fresh = {}
        for k, n in enumerate(problem.domains):
            lane = (
                rng.fork(k)
                if self.fault != "shared"
                else Stream(rng.seed, 0 * rng.keys + k, rng.step)
            )
            drawn = problem.domain(n).sample(4, lane)
            if self.fault == "shared":
                drawn = drawn.roll(1, 0)
            if self.fault == "evidence":
                drawn = problem.variables[0].domain.sample(4 * problem.rows, lane)
            kept = s.x[n][:, None] if self.fault != "forgets" else drawn[:, None][: problem.rows]
            fresh[n] = torch.cat([kept, drawn.unflatten(0, (problem.rows, -1))], 1).flatten(0, 1)
        count = s.count.add_(1) if self.fault == "impure" else s.count + 1
        return self._kept(problem, fresh, int(count[0]))

    def _kept(self, problem, x, count):
        told = score(problem, x)
        cost = (told.energy + 1e6 * told.violation).unflatten(0, (problem.rows, -1))
        best = cost.argmin(1)
        rows = torch.arange(problem.rows)
        return Found(
            {n: t.unflatten(0, (problem.rows, -1))[rows, best] for n, t in x.items()},
            torch.full((problem.rows,), count),
        )

    def report(self, problem, s):
        report = Report.blank(problem, s.x)
        told = score(problem, s.x)
        bound = report.bound if self.fault != "bound" else report.bound.fill_(1e9)
        energy = told.energy + s.count if self.fault in ("impure", "lies") else told.energy
        return Report(s.x, energy, told.violation, bound, report.done, report.unique, report.others)


def sampled_problem():
    return Problem(Costs(X) + Even(X)).given_rows(
        [{}, {"x": [[1, None], [None, 2]]}, {"x": [[None, 2], [None, None]]}]
    )


def test_a_plain_minimizer_keeps_the_contract():
    check_minimizer(Sampling(), sampled_problem())


@pytest.mark.parametrize("fault", ["evidence", "forgets", "impure", "lies", "bound"])
def test_the_kit_catches_faults_of_minimizers(fault):
    with pytest.raises(AssertionError, match="Sampling"):
        check_minimizer(Sampling(fault), sampled_problem())
