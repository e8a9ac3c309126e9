"""Branch and bound on the linear relaxation of explicit structure: bounds where sums decide.

Counted groups, clauses, linear sums and tables are rows of an integer program over the Booleans of
complete search. HiGHS tells where its relaxation is least; what is proved by that is said in whole
numbers (`engine.search.safe`).
"""

from dataclasses import dataclass
from typing import ClassVar

from engine.answer import Proof
from engine.decimals import Ints
from engine.errors import BadQuery, Mistake
from engine.kernels.clauses import Formula
from engine.problem import Problem
from engine.search.branching import Tree, tree_of
from engine.search.linear import Linear
from engine.search.relaxation import available
from engine.search.rowwise import Rowwise


@dataclass(frozen=True)
class LinearRelaxation(Rowwise):
    """Proves least where rules and costs are close to linear: assignments, knapsacks, covers,
    locations, rosters. Refuses what is not explicit, rules without costs, and very large programs.

    work: entries of the program times steps of the simplex method in one step of a row; the
    default is roughly 20 ms.
    patience: steps without a better solution or a higher bound after which a row is done; None:
    only when it is decided.
    """

    proof: ClassVar[Proof] = Proof.RELAXATION

    work: int = 2_000_000
    patience: int | None = 200

    def __post_init__(self):
        if self.work < 1:
            raise BadQuery(Mistake("work", f"{self.work!r}", "give at least 1"))

    def refuses(self, problem: Problem) -> str | None:
        if not available():
            return "LinearRelaxation needs highspy; install it"
        return super().refuses(problem)

    def begun(self, formula: Formula, owner: Ints, upper: int) -> Tree | None:
        del owner
        return tree_of(formula, upper, self.work)

    def begun_exactly(self, formula: Formula, linear: Linear, upper: int | None) -> Tree | None:
        return tree_of(formula, upper, self.work, linear)
