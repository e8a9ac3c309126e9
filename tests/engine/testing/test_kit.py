"""The contract kit catches planted faults, and passes what is right."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from engine.domain import Finite, Variable
from engine.energy import Term, soft_min
from engine.factors import Factors
from engine.minimizer import Minimizer, score
from engine.plain import flatten
from engine.problem import Problem
from engine.random import Stream
from engine.rows import Report
from engine.testing import check_minimizer, check_term
from tests.support.costs import ATOMS, Costs, Even, Well, X, Y, Z

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


class Whole(Costs):
    """Plants: stands by rows, not by sites."""

    def accepts(self, domains, tensors):
        return self.energy(*tensors) < 1.0


class Swayed(Costs):
    """Plants: stands by sites as the other rows do."""

    def accepts(self, domains, tensors):
        x = tensors[0].flatten(1, -2).argmax(-1)  # (R, sites)
        return x >= x.float().mean()


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


class Dear(Costs):
    """Plants: places cost more than one-hot states."""

    def cost(self, *tensors):
        return super().cost(*tensors) + 0.01


class Stale(Costs):
    """Plants: changes of the first state for all."""

    def changes(self, sites, *decided):
        change = super().changes(sites, *decided)
        return change[:1].expand(change.shape)


class Missing(Even):
    """Plants: a part is left out."""

    def violation(self, x):
        return 0 * super().violation(x)


class Signed(Even):
    """Plants: parts make up for each other."""

    def violation(self, x):
        whole = super().violation(x)
        return torch.cat([whole + 1, torch.full_like(whole, -1)], 1)


class Crowded(Even):
    """Plants: as many parts as states."""

    def violation(self, x):
        return super().violation(x).expand(len(x), len(x)) / len(x)


class Flat(Even):
    """Plants: parts without an axis of their own."""

    def violation(self, x):
        return self.energy(x)


class Apart(Even):
    """Its energy in two parts."""

    def violation(self, x):
        return super().violation(x).expand(len(x), 2) / 2


class Chances(Costs):
    """Its sites know nothing of each other: p = softmax(-cost) over what a site may be."""

    def marginals(self, *domains):
        return tuple(
            (-c).expand(d.rows, *c.shape).masked_fill(~d.allowed, -torch.inf).softmax(-1)
            for c, d in zip(self.costs, domains, strict=True)
        )


class Unheeding(Chances):
    """Plants: chances that overlook the evidence."""

    def marginals(self, *domains):
        return tuple(
            (-c).expand(d.rows, *c.shape).softmax(-1)
            for c, d in zip(self.costs, domains, strict=True)
        )


class Upward(Chances):
    """Plants: chances of exp(+energy)."""

    def marginals(self, *domains):
        self.costs = [-c for c in self.costs]
        found = super().marginals(*domains)
        self.costs = [-c for c in self.costs]
        return found


class Averaged(Chances):
    """Plants: chances of a row that depend on the others."""

    def marginals(self, *domains):
        return tuple(p.mean(0, keepdim=True).expand(p.shape) for p in super().marginals(*domains))


class Ones(Term):
    """Holds where all its sites take their second value; it knows which must change, if they may.
    E = how many do not."""

    required_by_default = True

    def energy(self, *tensors):
        return sum((1 - t[..., 1]).reshape(len(t), -1).sum(-1) for t in tensors)

    def holds(self, *values):
        return not self.zeros(values)

    def zeros(self, values):
        flat = [flatten(v, view.shape) for v, view in zip(values, self.scope, strict=True)]
        second = [view.variable.domain.values[1] for view in self.scope]
        return [(e, k) for e, own in enumerate(flat) for k, v in enumerate(own) if v != second[e]]

    def fewest_changes(self, values, wanted, free, stop):
        zeros = self.zeros(values)
        return (zeros, True) if set(zeros) <= set(free) else None


class Short(Ones):
    """Plants: a site that must change is not named."""

    def fewest_changes(self, values, wanted, free, stop):
        found = super().fewest_changes(values, wanted, free, stop)
        return found and (found[0][1:], found[1])


class Outside(Ones):
    """Plants: sites that must stay are named."""

    def fewest_changes(self, values, wanted, free, stop):
        return self.zeros(values), True


class Lavish(Ones):
    """Plants: more are named than must change, and fewer are ruled out."""

    def fewest_changes(self, values, wanted, free, stop):
        found = super().fewest_changes(values, wanted, free, stop)
        return found and (free, found[1])


class Doubled(Ones):
    """Plants: a site is named twice."""

    def fewest_changes(self, values, wanted, free, stop):
        found = super().fewest_changes(values, wanted, free, stop)
        return found and ([*found[0], *found[0][:1]], found[1])


class Hurried(Ones):
    """Plants: what was not looked at is ruled out where there is no time."""

    def fewest_changes(self, values, wanted, free, stop):
        return (free[:0], True) if stop() else super().fewest_changes(values, wanted, free, stop)


class Fickle(Ones):
    """Plants: asked again it knows less."""

    asked = 0

    def fewest_changes(self, values, wanted, free, stop):
        Fickle.asked += 1
        found = super().fewest_changes(values, wanted, free, stop)
        return found and (found[0], bool(Fickle.asked % 2))


class Modest(Ones):
    """May name too many, as it rules nothing out."""

    def fewest_changes(self, values, wanted, free, stop):
        found = super().fewest_changes(values, wanted, free, stop)
        return found and (free, False)


PLANTED = [
    (Summed(X), "shape"),
    (Mixing(X), "alone"),
    (Drifting(X), "differs"),
    (Writing(X), "changes the tensor of scope entry"),
    (Detached(X), "gradient"),
    (Squared(X), "affine"),
    (Dear(X), "cost of places"),
    (Stale(X, Y), "changes says"),
    (High(X), "floor"),
    (Lenient(X), "holds is True"),
    (Silent(X), "explain"),
    (Loose(X), "factors"),
    (Poisoned(X), "nan"),
    (Skewed(Z), "residual"),
    (Missing(X), "violation sums to"),
    (Signed(X), "below 0"),
    (Crowded(X), "in a batch"),
    (Flat(X), "violation of 32 states"),
    (Unheeding(X, Y), "marginals are"),
    (Upward(X), "marginals are"),
    (Averaged(Y, X), "marginals are"),
    (Short(X, Y), "no values there make it hold"),
    (Outside(X, Y), "may change"),
    (Lavish(Y, X), "rules out fewer"),
    (Doubled(X, Y), "twice"),
    (Hurried(X[0], Y), "no values there make it hold"),
    (Fickle(X), "differs on the same values"),
    (Whole(X), "say of every site"),
    (Swayed(X), "accepts depends on the rows"),
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
        Apart(X),
        Chances(X, Y),
        Chances(Y),
        Ones(X, Y),
        Ones(Y[::-1], X[:, 1]),
        Ones(X, X[0]),
        Modest(Y, X),
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


def test_weights_of_another_width_come_with_a_hint() -> None:
    class Weighed(Term):
        def __init__(self, x):
            super().__init__(x)
            self.weights = torch.ones(3, 3, dtype=torch.float64)

        def energy(self, x):
            return (x @ self.weights).flatten(1).sum(1)

    with pytest.raises(AssertionError, match="Weighed: energy raised .*register_buffer.*`dtype`"):
        check_term(Weighed(Variable("x", Finite((0, 1, 2), (2,)))))
