"""Bounds from cores, beside those who search: sets of costs that cannot all be avoided."""

from dataclasses import dataclass
from typing import ClassVar

from engine.answer import Proof
from engine.decimals import Ints
from engine.errors import BadQuery, Mistake
from engine.kernels.clauses import Formula
from engine.search.cores import LOOKS, Cores
from engine.search.rowwise import Rowwise


@dataclass(frozen=True)
class CoreGuided(Rowwise):
    """Proves least by clause learning where few of many costs must be paid: weighted clauses, soft
    rules. Refuses what is not explicit, and rules without costs.

    conflicts: of one step of a row; fewer where the formula is large.
    looks: what one looks at, about: clauses, groups, sums, and what explains conflicts.
    work: literals times conflicts of a step; the default is roughly 20 ms.
    patience: steps without a better solution or a higher bound after which a row is done; None:
    only when it is decided.
    """

    proof: ClassVar[Proof] = Proof.CORES

    conflicts: int = 400
    looks: int = LOOKS
    work: int = 4_000_000
    patience: int | None = 200

    def __post_init__(self):
        for name in ("looks", "work"):
            if getattr(self, name) < 1:
                raise BadQuery(Mistake(name, f"{getattr(self, name)!r}", "give at least 1"))

    def begun(self, formula: Formula, owner: Ints, upper: int) -> Cores | None:
        del owner
        f = formula
        size = len(f.clause_lit) + len(f.group_lit) + len(f.sum_lit) + 20 * len(f.cost_lit)
        conflicts = min(self.conflicts, max(8, self.work // max(size, 1)))
        return Cores.of(formula, upper, conflicts, self.looks)
