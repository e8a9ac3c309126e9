"""Large neighbourhoods of the best solution, beside those who prove: ever better answers."""

from dataclasses import dataclass

from engine.decimals import Ints
from engine.errors import BadQuery, Mistake
from engine.kernels.clauses import Formula
from engine.problem import Problem
from engine.search.branching import tree_of
from engine.search.freed import Sites
from engine.search.neighbourhoods import Neighbourhoods, Spent
from engine.search.relaxation import available
from engine.search.rowwise import Rowwise


@dataclass(frozen=True)
class LargeNeighbourhoods(Rowwise):
    """Finds good solutions where rules and costs are explicit, and proves few: where a
    neighbourhood is the whole. Refuses what is not explicit, rules without costs, and costs
    that are rounded.

    conflicts, spread: of one step of a row by clause learning, and literals that it propagates.
    work: entries of the program times steps of the simplex method in one step of a row; the
    defaults are roughly 20 ms.
    patience: steps without a better solution after which a row is done; None: only when it is
    decided.
    """

    conflicts: int = 400
    spread: int = 20_000
    work: int = 2_000_000
    patience: int | None = 60

    def __post_init__(self):
        if self.work < 1:
            raise BadQuery(Mistake("work", f"{self.work!r}", "give at least 1"))

    def refuses(self, problem: Problem) -> str | None:
        why = super().refuses(problem)
        if why is None and any(own.scale.error for own in problem.explicits):
            return f"{type(self).__name__} needs costs with a common unit"
        return why

    def begun(self, formula: Formula, owner: Ints, upper: int) -> Neighbourhoods | None:
        root = tree_of(formula, upper, self.work) if available() else None
        spent = Spent(self.conflicts, self.spread)
        return Neighbourhoods.of(formula, Sites.of(formula, owner), upper, spent, root)
