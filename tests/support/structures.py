"""Terms that say a structure, and nothing else."""

from functools import cached_property

import torch

from engine import Finite, Problem, Term, Variable, answers
from engine.factors import Factors
from engine.minimizers.branch_and_bound import BranchAndBound
from engine.testing import evaluate_factors


class Said(Term):
    """A structure over sites of a variable each; its energy is what the plain oracle says."""

    affine = False
    fixed_structure = True

    def __init__(self, structure: Factors, *scope: Variable):
        sizes = structure.sizes[: structure.visible].tolist()
        super().__init__(
            *(scope or (Variable(f"x{k}", Finite(tuple(range(n)))) for k, n in enumerate(sizes)))
        )
        self.structure = structure

    def cost(self, *places):
        rows = torch.stack([x.reshape(-1) for x in places], 1).tolist()
        return torch.tensor([evaluate_factors(self.structure, row) for row in rows])

    def energy(self, *tensors):
        return self.cost(*(x.argmax(-1) for x in tensors))

    def factors(self, *domains):
        return self.structure

    @cached_property
    def problem(self) -> Problem:
        return Problem(1.0 * self)

    @cached_property
    def twice(self) -> Problem:
        """The problem with the same once more."""
        return Problem(1.0 * self + 1.0 * Said(self.structure, *self.variables()))


def least_of(structure: Factors) -> float:
    """The least energy that complete search finds and proves; infinite: there is none."""
    answer = answers(Said(structure).problem, BranchAndBound())[0]
    assert answer.status in ("OPTIMAL", "INFEASIBLE"), answer
    return float("inf") if answer.energy is None else answer.energy
