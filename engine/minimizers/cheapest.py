"""Rules that know their cheapest states (`Term.cheapest`), beside costs of sites and other rules:
trees of least weight, alone or with few edges at a node.

Alone such a rule is asked once. What else must hold gets prices, and branch and bound ends it
(`engine/search/cheapest.py`).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.answer import Proof
from engine.decimals import Ints
from engine.domain import State
from engine.energy import Sum, Term
from engine.errors import BadQuery, Mistake
from engine.minimizer import Best, Minimizer, best_start, heard
from engine.problem import Problem
from engine.random import Stream
from engine.rows import Report
from engine.search.cheapest import Choice, Search
from engine.search.messages import NEVER, coupled_of
from engine.search.placed import placed_report

KEPT = "_priced"  # of a problem: the same without the rules that choose


class CheapestState(NamedTuple):
    """Where every row stands."""

    begun: tuple[Search | None, ...]  # none before a row's first step
    fixed: dict[str, Tensor]  # (R, *event) states of the variables that are not finite
    places: Tensor  # (R, n) the best state
    energy: Tensor  # (R,) of it
    violation: Tensor  # (R,) 0 where it is a solution
    bound: Tensor  # (R,)
    done: Tensor  # (R,) bool


@dataclass(frozen=True)
class Cheapest(Minimizer[CheapestState]):
    """Proves least, or that nothing holds. Needs a required rule that writes `cheapest`; all else
    explicit, of which single sites cost, and tables over two sites at most forbid.

    visit: sites that one step of a row looks at, roughly; the default is roughly 10 ms.
    """

    proof: ClassVar[Proof] = Proof.CHEAPEST

    visit: int = 20_000

    def __post_init__(self):
        if self.visit < 1:
            raise BadQuery(Mistake("visit", f"{self.visit!r}", "give at least 1"))

    def refuses(self, problem: Problem) -> str | None:
        """By the structure, told once for all its rows."""
        if "cheapest" not in problem.memo:
            problem.memo["cheapest"] = _refusal(problem)
        return problem.memo["cheapest"]

    def prepare(self, problem: Problem) -> Iterator[None]:
        if self.refuses(problem) is None:
            yield from priced(problem).prepare()

    def init(self, problem: Problem, x: State, rng: Stream) -> CheapestState:
        del rng
        why = self.refuses(problem)
        if why is not None:
            raise BadQuery(why)
        rows, best = problem.rows, best_start(problem, x)
        free = {v.name for v in problem.open if v not in problem.finite}
        return CheapestState(
            (None,) * rows,
            {name: best.x[name] for name in free},
            torch.from_numpy(problem.places(best.x)).long(),
            best.energy.cpu().double(),
            best.violation.cpu().double(),
            torch.full((rows,), -math.inf, dtype=torch.float64),
            torch.zeros(rows, dtype=torch.bool),
        )

    def step(self, problem: Problem, s: CheapestState, rng: Stream) -> CheapestState:
        del rng
        begun = list(s.begun)
        names = ("places", "energy", "violation", "bound", "done")
        out = {name: getattr(s, name).clone() for name in names}
        for row in (~s.done).nonzero().reshape(-1).tolist():
            scale = priced(problem).explicits[row].scale
            old = begun[row]
            search = _begun(problem, row, _known(s, row)) if old is None else old.copy()
            before = search.upper
            search.advance(self.visit)
            begun[row] = search
            if search.best is not None and search.upper < before:
                out["places"][row] = torch.from_numpy(search.best)
                out["energy"][row], out["violation"][row] = scale.value(search.upper), 0.0
            energy = _known(s._replace(**out), row)
            out["done"][row] = search.done
            bound = scale.below(search.bound) if search.bound > -NEVER else -math.inf
            exact = search.done and (not scale.error or energy == math.inf)
            told = energy if exact else min(bound, energy)
            out["bound"][row] = max(float(out["bound"][row]), told)
        return s._replace(begun=tuple(begun), **out)

    def told(self, problem: Problem, s: CheapestState, report: Report) -> CheapestState:
        """Takes better solutions, which the next must beat, and higher bounds."""
        own = self.report(problem, s)
        best, bound, _ = heard(problem, report, Best(dict(own.x), own.energy, own.violation))
        known = torch.where(own.violation == 0, own.energy, math.inf)
        better = (best.energy < known) & (best.violation == 0) & ~own.done
        begun, places = list(s.begun), problem.places(best.x)
        out = {n: getattr(s, n).clone() for n in ("places", "energy", "violation")}
        for row in better.nonzero().reshape(-1).tolist():
            out["places"][row] = torch.from_numpy(places[row])
            out["energy"][row], out["violation"][row] = best.energy[row].cpu(), 0.0
            search = begun[row]
            if search is not None:
                begun[row] = search = search.copy()
                scale = priced(problem).explicits[row].scale
                search.told(scale.from_on(float(best.energy[row])))
        known = torch.where(out["violation"] == 0, out["energy"], math.inf)
        bound = torch.minimum(torch.maximum(s.bound, bound.to(s.bound.device)), known)
        bound = torch.where(s.done, s.bound, torch.maximum(bound, s.bound))
        return s._replace(begun=tuple(begun), bound=bound, **out)

    def report(self, problem: Problem, s: CheapestState) -> Report:
        return placed_report(problem, s, s.violation)

    def width(self, s: CheapestState) -> int:
        return max(1, self.visit // (8 * max(1, s.places.shape[1])))


def _known(s: CheapestState, row: int) -> float:
    """The energy of the best solution of a row; infinite while there is none."""
    return float(s.energy[row]) if s.violation[row] == 0 else math.inf


def choosers(problem: Problem) -> list[int]:
    """The places of required rules that choose, over sites of their own."""
    taken: set[int] = set()
    out = []
    for place, summand in enumerate(problem.summands):
        if not isinstance(summand.term, Term) or not summand.term.chooses:
            continue
        every = all(v.variable.name in problem.starts for v in summand.term.scope)
        sites = problem.structures.sites_of(summand.term).tolist()
        apart = len(set(sites)) == len(sites) and taken.isdisjoint(sites)
        if summand.required and every and apart:
            out.append(place)
            taken.update(sites)
    return out


def alone(problem: Problem) -> bool:
    """Nothing else has to hold."""
    return not priced(problem).form.factors.rules


def priced(problem: Problem) -> Problem:
    """The same rows without the rules that choose."""
    if KEPT not in vars(problem):
        base = problem.root or problem
        if KEPT not in vars(base):
            left = set(choosers(base))
            rest = [s for place, s in enumerate(base.summands) if place not in left]
            vars(base)[KEPT] = replace(base, energy=Sum(*rest), root=None)
        root: Problem = vars(base)[KEPT]
        vars(problem)[KEPT] = root if base is problem else root._with(problem.every, root)
    own: Problem = vars(problem)[KEPT]
    return own


def _refusal(problem: Problem) -> str | None:
    own = choosers(problem)
    if not own or len(own) == len(problem.summands):
        return "cheapest needs a required rule that knows its cheapest state, and what costs"
    if len(problem.finite) < len(problem.open) or problem.lifted is not None:
        return "cheapest needs finite variables alone"
    under = priced(problem)
    factors, rest = under.factored()
    if rest is not None:
        return f"{rest.summands()[0].label} has no explicit structure"
    if not factors.soft or factors.others or factors.scale.error:
        return "cheapest needs costs of single sites, with a common unit"
    if len(factors.sizes) != factors.visible:
        return "cheapest takes no sites beside the visible ones"
    if any(t.when is not None or t.arity > 2 or (t.soft and t.arity > 1) for t in factors.tables):
        return "cheapest takes costs of single sites, and rules that are no large tables"
    if under.explicits[0].scale.error or not _coupled(under, 0).whole:
        return "cheapest takes no sums without a common unit"
    return None


def _coupled(under: Problem, row: int):
    return coupled_of(under.concrete(row), under.explicits[row].scale, under.allowed[row])


def _begun(problem: Problem, row: int, energy: float) -> Search:
    """The search of a row at its root."""
    under = priced(problem)
    rules: list[tuple] = []
    for place in choosers(problem):
        term = problem.summands[place].term
        assert isinstance(term, Term)
        sites = problem.structures.sites_of(term)
        rules.append((_cheapest(term, under.form.factors.sizes[sites]), sites))
    upper = NEVER
    if energy < math.inf:
        upper = under.explicits[row].scale.from_on(energy)
    return Search.of(Choice.of(_coupled(under, row), tuple(rules)), upper)


def _cheapest(term: Term, sizes: Ints):
    """`Term.cheapest`, over as many values as the term has."""
    most = int(sizes.max(initial=0))

    def ask(costs: Ints, allowed: np.ndarray) -> Ints | None:
        if not allowed.any(1).all():
            return None
        return term.cheapest(costs[:, :most], allowed[:, :most])

    return ask
