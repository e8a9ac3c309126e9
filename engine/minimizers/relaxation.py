"""Branch and bound on the linear relaxation of explicit structure: bounds where sums decide.

Counted groups, clauses, linear sums and tables are rows of an integer program over the Booleans of
complete search. HiGHS tells where its relaxation is least; what is proved by that is said in whole
numbers (`engine.search.safe`).
"""

from dataclasses import dataclass
from typing import ClassVar

from engine.answer import Proof
from engine.errors import BadQuery, Mistake
from engine.kernels.clauses import Formula
from engine.problem import Problem
from engine.search.branching import Tree
from engine.search.program import program_of
from engine.search.relaxation import available
from engine.search.rowwise import Rowwise

MOST = 1 << 21  # entries of the rows


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

    def begun(self, formula: Formula, upper: int) -> Tree | None:
        program = program_of(formula)
        entries = len(program.rows.col)
        if entries > MOST:
            return None
        work = max(20, self.work // (entries + 4 * program.columns + 1000))
        return Tree.of(program, upper, work)
