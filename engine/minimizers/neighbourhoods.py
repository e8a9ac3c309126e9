"""Large neighbourhoods of the best solution, beside those who prove: ever better answers."""

from dataclasses import dataclass

from engine.decimals import Ints
from engine.errors import BadQuery, Mistake
from engine.kernels.clauses import Formula
from engine.search.branching import tree_of
from engine.search.freed import Sites
from engine.search.neighbourhoods import Neighbourhoods
from engine.search.relaxation import available
from engine.search.rowwise import Rowwise


@dataclass(frozen=True)
class LargeNeighbourhoods(Rowwise):
    """Finds good solutions where rules and costs are explicit, and proves few: where a
    neighbourhood is the whole. Refuses what is not explicit, and rules without costs.

    conflicts: of one step of a row; fewer where the formula is large.
    work: literals times conflicts of a step, and half of it entries of the linear program times
    steps of the simplex method; the default is roughly 20 ms.
    patience: steps without a better solution after which a row is done; None: only when it is
    decided.
    """

    conflicts: int = 400
    work: int = 4_000_000
    patience: int | None = 60

    def __post_init__(self):
        if self.work < 1:
            raise BadQuery(Mistake("work", f"{self.work!r}", "give at least 1"))

    def begun(self, formula: Formula, owner: Ints, upper: int) -> Neighbourhoods | None:
        f = formula
        size = len(f.clause_lit) + len(f.group_lit) + len(f.sum_lit) + 20 * len(f.cost_lit)
        conflicts = min(self.conflicts, max(8, self.work // max(size, 1)))
        root = tree_of(formula, upper, self.work // 2) if available() else None
        return Neighbourhoods.of(formula, Sites.of(formula, owner), upper, conflicts, root)
