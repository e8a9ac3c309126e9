"""Rules that know their cheapest states (`Term.cheapest`), beside costs of sites and other rules:
trees of least weight, alone or with few edges at a node.

Alone such a rule is asked once. What else must hold gets prices, and branch and bound ends it
(`engine/search/cheapest.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from engine.answer import Proof
from engine.decimals import Ints, Scale
from engine.energy import Sum, Term
from engine.errors import BadQuery, Mistake
from engine.problem import Problem
from engine.search.cheapest import Choice, Search
from engine.search.messages import NEVER, coupled_of
from engine.search.placewise import Placewise, PlacewiseState

KEPT = "_priced"  # of a problem: the same without the rules that choose


@dataclass(frozen=True)
class Cheapest(Placewise[Search]):
    """Proves least, or that nothing holds. Needs a required rule that writes `cheapest`; all else
    explicit, of which single sites cost, and tables over two sites at most forbid.

    visit: sites that one step of a row looks at, roughly; the default is roughly 10 ms.
    patience: steps without a gain after which a row is done; None: only when it is decided.
    """

    proof: ClassVar[Proof] = Proof.CHEAPEST
    visit: int = 20_000
    patience: int | None = None

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

    def scale(self, problem: Problem, row: int) -> Scale:
        return priced(problem).explicits[row].scale

    def begin(self, problem: Problem, row: int, upper: int | None) -> Search:
        return _begun(problem, row, NEVER if upper is None else upper)

    def advance(self, search: Search) -> None:
        search.advance(self.visit)

    def found(self, problem: Problem, row: int, search: Search) -> Ints | None:
        del problem, row
        return search.best

    def width(self, s: PlacewiseState) -> int:
        return max(1, self.visit // (8 * max(1, s.places.shape[1])))


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


def _begun(problem: Problem, row: int, upper: int) -> Search:
    """The search of a row at its root."""
    under = priced(problem)
    rules: list[tuple] = []
    for place in choosers(problem):
        term = problem.summands[place].term
        assert isinstance(term, Term)
        sites = problem.structures.sites_of(term)
        rules.append((_cheapest(term, under.form.factors.sizes[sites]), sites))
    return Search.of(Choice.of(_coupled(under, row), tuple(rules)), upper)


def _cheapest(term: Term, sizes: Ints):
    """`Term.cheapest`, over as many values as the term has."""
    most = int(sizes.max(initial=0))

    def ask(costs: Ints, allowed: np.ndarray) -> Ints | None:
        if not allowed.any(1).all():
            return None
        return term.cheapest(costs[:, :most], allowed[:, :most])

    return ask
