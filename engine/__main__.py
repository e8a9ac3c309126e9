"""Compile the kernels that most questions run, so that a first answer need not wait.

python -m engine
"""

import subprocess
import sys
import time

import numpy as np
from torch import Tensor

from engine import Budget, Energy, Factors, Finite, Problem, Term, Variable, answers, required
from engine.domain import Domain
from engine.explain.margins import margins
from engine.factors import Counted, Different, ints
from engine.kernels import fused, spent
from engine.kernels.cover import search, search_priced
from engine.kernels.flips import Clauses, local_search
from engine.kernels.min_cuts import small_cuts
from engine.kernels.odd_cycles import odd_cycles
from engine.kernels.one_trees import raise_prices, with_each
from engine.kernels.orders import shorten
from engine.kernels.tours import tour
from engine.minimizers.annealing import Annealing
from engine.minimizers.assignment import Assignment
from engine.minimizers.beam import Beam
from engine.minimizers.branch_and_bound import BranchAndBound
from engine.minimizers.elimination import LeastByElimination
from engine.minimizers.exchange import Exchange
from engine.minimizers.expansion import Expansion
from engine.minimizers.listed import Listed
from engine.minimizers.message_passing import MessagePassing
from engine.minimizers.min_cut import MinCut
from engine.minimizers.soft_consistency import SoftConsistency
from engine.minimizers.tabu import Tabu
from engine.sampling.draw import samples
from engine.search.prepared import cover_of


class Alike(Term):
    """E = <x_0, x_1>: 1 where two sites of equal values agree."""

    def energy(self, x: Tensor) -> Tensor:  # (B, 2, k) -> (B,)
        return (x[:, 0] * x[:, 1]).sum(-1)

    def holds(self, x: list[int]) -> bool:
        return x[0] != x[1]


class Unlike(Term):
    """E = 1 - <x_0, x_1>: 1 where two sites of equal values differ."""

    def energy(self, x: Tensor) -> Tensor:  # (B, 2, k) -> (B,)
        return 1 - (x[:, 0] * x[:, 1]).sum(-1)


class Apart(Term):
    """Three sites that differ."""

    def energy(self, x: Tensor) -> Tensor:  # (B, 3, k) -> (B,)
        return (x.sum(1) - 1).clamp(min=0).sum(-1)

    def holds(self, x: list[int]) -> bool:
        return len(set(x)) == len(x)

    def factors(self, *domains: Domain) -> Factors:
        sites, none = ints(range(3)), ints([0])
        lines = Different(ints([0, 3]), sites, none, none)
        return Factors(Factors.sizes_of(domains), 3, different=lines)


class Few(Term):
    """At most one of three sites has its first value."""

    def energy(self, x: Tensor) -> Tensor:  # (B, 3, k) -> (B,)
        return (x[:, :, 0].sum(-1) - 1).clamp(min=0)

    def holds(self, x: list[int]) -> bool:
        return x.count(0) <= 1

    def factors(self, *domains: Domain) -> Factors:
        none = ints([0])
        few = Counted(ints([0, 3]), ints(range(3)), ints([0] * 3), none, none, none, ints([1]))
        return Factors(Factors.sizes_of(domains), 3, counted=few)


class Spread(Term):
    """A list of allowed combinations that is long enough for a search of its own."""

    def energy(self, x: Tensor) -> Tensor:  # (B, 2, k) -> (B,)
        return (x[:, 0] * x[:, 1]).sum(-1)

    def holds(self, x: list[int]) -> bool:
        return x[0] != x[1]

    def factors(self, *domains: Domain) -> Factors:
        sizes = Factors.sizes_of(domains)
        pairs = [(a, b) for a in range(sizes[0]) for b in range(sizes[1]) if a != b]
        return Factors.table(sizes, np.array(pairs), np.zeros(len(pairs)), np.inf)


class Cost(Term):
    """E = 1 - x_0[0]: the first site should take its first value."""

    def energy(self, x: Tensor) -> Tensor:  # (B, 2, k) -> (B,)
        return 1 - x[:, 0, 0]


def main() -> None:
    """Toy problems of rules, of costs and of both, to minimizers that have kernels.

    The search that takes a third of the time is compiled in a process of its own, beside the rest.
    """
    began = time.perf_counter()
    beside = subprocess.Popen([sys.executable, "-c", "import engine.__main__ as m; m.searches()"])
    fused.load()
    others()
    if beside.wait():
        raise SystemExit("the search by clauses was not compiled")
    searches()
    print(f"kernels compiled in {time.perf_counter() - began:.1f} s")


def _sites() -> tuple[Variable, Variable]:
    return Variable("x", Finite((0, 1), (2,))), Variable("y", Finite((0, 1, 2), (2,)))


def _toys() -> list[Energy]:
    x, y = _sites()
    rules, costs = required(Alike(x)), 1.0 * Alike(x) + 1.0 * Cost(x)
    return [rules, costs, rules + costs, 1.0 * Alike(y)]


def searches() -> None:
    """The complete search, by clauses."""
    for energy in _toys():
        answers(Problem(energy), BranchAndBound(), budget=Budget(steps=2))


def others() -> None:
    """All the rest."""
    x, y = _sites()
    for energy in _toys():
        answers(Problem(energy), Annealing(sweeps=2), budget=Budget(steps=2))
    z = Variable("z", Finite(tuple(range(20)), (2,)))
    answers(Problem(required(Spread(z))), Listed(), budget=Budget(steps=2))
    keys = Variable("keys", Finite((0, 1, 2), (3,)))
    kept = Problem(required(Apart(keys)) + 1.0 * Cost(keys[:1]))
    for minimizer in (Annealing(sweeps=2), Assignment(), Tabu()):
        answers(kept, minimizer, budget=Budget(steps=2))
    for other in (LeastByElimination(), MessagePassing(), SoftConsistency()):
        answers(Problem(1.0 * Alike(y)), other, budget=Budget(steps=2))
    near = Problem(1.0 * Unlike(y) + 1.0 * Cost(y))
    answers(Problem(1.0 * Unlike(x) + 1.0 * Cost(x)), MinCut(), budget=Budget(steps=2))
    for settler in (Expansion(), Beam((2,))):
        answers(near, settler, budget=Budget(steps=2))
    few = Problem(required(Few(keys)) + 1.0 * Unlike(keys[:2]))
    margins(few, answers(few, Exchange(visit=20, rounds=1), budget=Budget(steps=2))[0])
    samples(near, 2)
    tour(np.ones((2, 2), dtype=np.int64))
    ways = np.ones((4, 4), dtype=np.int64)
    shorten(ways, np.arange(4), ints([1, 2, 3]).reshape(1, 3), 3)
    with_each(ways, raise_prices(ways, ways[0], 4, 1)[0])
    small_cuts(np.ones((3, 3)), 2.0)
    odd_cycles(ints([0, 0]), ints(), ints(), np.zeros(0), 1.0, 1)
    none, zero = ints(), ints([0])
    down = np.zeros(1, dtype=bool)
    box = spent.Columns(ints([0, 0]), none, none, none, none, none, zero, zero, zero, zero, down)
    spent.go(box, spent.begun(box), 0, 1)
    line = Factors(
        ints([2, 2]), 2, different=Different(ints([0, 2]), *map(ints, ([0, 1], [0], [0])))
    )
    cover = cover_of(line)
    assert cover is not None
    search(cover, np.ones((1, 4)), 10)
    search_priced(cover, np.ones((1, 4)), np.zeros((1, 4)), 10)
    one = np.array([0, 1])
    local_search(Clauses(1, one, one[:1], one[1:]), np.zeros(1, np.uint8), 2, 0, 1)


if __name__ == "__main__":
    main()
