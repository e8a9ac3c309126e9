"""A machine for each of two jobs, and an hour of work to share out: sites and numbers that meet in
one quadratic cost, solved leaf by leaf."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine import Finite, Problem, Real, Status, Term, Variable, answers
from engine.minimizers.leaves import Leaves
from engine.testing import check_minimizer, check_term
from modules.discrete.table import Table

PULL = torch.tensor([[[1.0, 0.2], [0.3, -0.5], [-0.8, 0.9]], [[0.4, 0.1], [-0.2, 0.7], [0.6, 0.6]]])
RENT = [[0.05, 0.30, 0.12], [0.20, 0.02, None]]  # of a machine; the last is not for the second job
SHARED = [[0.5, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.5]]  # two jobs on one machine wait


class Wish(Term):
    """E = (|x - sum over jobs of PULL[job, machine]|^2 + (x_0 + x_1 - 1)^2) / 2."""

    affine = False  # a square is not, in what its sites say
    dtype = torch.float64

    def __init__(self, machine: Variable, x: Variable, pull: Tensor = PULL):
        super().__init__(machine, x)
        self.register_buffer("pull", pull.double())

    def residual(self, *tensors: Any) -> Tensor:  # (B, 2, 3), (B, 2) -> (B, 3)
        machine, x = tensors
        off = x - torch.einsum("bjm,jmd->bd", machine, self.pull)
        return torch.cat([off, x.sum(1, keepdim=True) - 1], 1)

    def energy(self, *tensors: Any) -> Tensor:
        return self.residual(*tensors).square().sum(1) / 2


def problem() -> Problem:
    machine = Variable("machine", Finite(("a", "b", "c"), (2,)))
    x = Variable("x", Real((2,), -3.0, 3.0))
    energy = 1.0 * Wish(machine, x) + 1.0 * Table(machine, sites=[0, 1], costs=SHARED)
    for job, costs in enumerate(RENT):
        energy = energy + 1.0 * Table(machine, sites=[job], costs=costs)
    rows = [{}, {"machine": ["c", None]}, {"x": [0.25, None]}, {"machine": ["a", "c"]}]
    return Problem(energy, (machine, x)).given_rows(rows)


def exact(machine: list[str | None], x: list[float | None]) -> float:
    """By enumeration, and the normal equations of the numbers that are open."""
    a, best = np.array([[1.0, 0], [0, 1], [1, 1]]), np.inf
    loose = [k for k in (0, 1) if x[k] is None]
    held = a @ np.array([value or 0.0 for value in x])
    for places in itertools.product(range(3), repeat=2):
        rent = [RENT[job][at] for job, at in enumerate(places)]
        if None in rent or any(m not in (None, "abc"[at]) for m, at in zip(machine, places)):
            continue
        wanted = np.append(sum(PULL[j, at].double().numpy() for j, at in enumerate(places)), 1.0)
        at = np.linalg.solve(a[:, loose].T @ a[:, loose], a[:, loose].T @ (wanted - held))
        off = np.square(a[:, loose] @ at + held - wanted).sum() / 2
        best = min(best, off + sum(rent) + SHARED[places[0]][places[1]])
    return best


@pytest.mark.parametrize("minimizer", [Leaves(), None])
def test_the_least_of_all_leaves(minimizer: Leaves | None) -> None:
    told = answers(problem(), minimizer)
    none = [None, None]
    given = [(none, none), (["c", None], none), (none, [0.25, None])]
    for answer, (machine, x) in zip(told, given):
        assert answer.energy == pytest.approx(exact(machine, x), abs=1e-9)
        assert answer.status in (Status.SATISFIED, Status.OPTIMAL)
        assert answer.bound is not None and answer.bound <= exact(machine, x)
        assert answer.converged in (True, None)
    assert told[3].status is Status.INFEASIBLE  # explicit structure refutes the only leaf


def test_they_keep_their_contracts() -> None:
    check_minimizer(Leaves(), problem(), steps=12)
    machine = Variable("machine", Finite(("a", "b", "c"), (2,)))
    check_term(Wish(machine, Variable("x", Real((2,), -3.0, 3.0))), samples=8)
