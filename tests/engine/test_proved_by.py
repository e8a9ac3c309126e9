"""What proved an answer stands in it, whoever of several members did, and whoever was told."""

import pytest
import torch

from engine import Budget, Finite, Problem, Variable, answers, required
from engine.answer import Proof
from engine.minimizers.annealing import Annealing
from engine.minimizers.apart import _credits
from engine.minimizers.branch_and_bound import BranchAndBound
from engine.minimizers.core_guided import CoreGuided
from engine.minimizers.elimination import LeastByElimination
from engine.minimizers.enumeration import Enumeration
from engine.minimizers.portfolio import Portfolio, PortfolioState, _named
from engine.minimizers.relaxation import LinearRelaxation
from engine.rows import PROOFS, Report
from modules.discrete.all_different import AllDifferent
from modules.discrete.clause import Clause
from modules.discrete.linear import Linear
from modules.discrete.table import Table


def costs(x):
    n, k = x.domain.sites, len(x.domain.values)
    own = [
        1.0 * Table(x, sites=[s], costs=[(5 * s + 3 * v) % 7 for v in range(k)]) for s in range(n)
    ]
    return sum(own[1:], own[0])


def small(rules=True) -> Problem:
    x = Variable("x", Finite((0, 1, 2), (4,)))
    either = Clause(x, clauses=[[[0, 1, True], [1, 2, True]], [[2, 0, True], [3, 1, False]]])
    return Problem(costs(x) + required(either) if rules else costs(x))


@pytest.mark.parametrize(
    ("minimizer", "proof"),
    [
        (LeastByElimination(), Proof.ELIMINATION),
        (LinearRelaxation(), Proof.RELAXATION),
        (CoreGuided(), Proof.CORES),
        (BranchAndBound(), Proof.SEARCH),
        (Enumeration(), Proof.ENUMERATION),
        (Portfolio(), Proof.ELIMINATION),
        (Portfolio(narrow=0), Proof.RELAXATION),
    ],
)
def test_each_says_its_own(minimizer, proof) -> None:
    (answer,) = answers(small(), minimizer)
    assert (answer.status, answer.proved_by) == ("OPTIMAL", proof)


def test_structure_says_its_method() -> None:
    x = Variable("x", Finite((0, 1, 2, 3), (4,)))
    differ = required(AllDifferent(x, lines=[[0, 1, 2, 3]]))
    packs = required(Linear(x, terms=[[k, 1, 3] for k in range(4)], compare="<=", constant=7))
    for rule, proof in ((differ, Proof.ASSIGNMENT), (packs, Proof.PROGRAM)):
        assert answers(Problem(costs(x) + rule))[0].proved_by is proof


def test_what_has_nothing_names_who_refuted_it() -> None:
    x = Variable("x", Finite((0, 1), (3,)))
    none = required(Clause(x, clauses=[[[0, 1, True]], [[0, 1, False]]]))
    (answer,) = answers(Problem(costs(x) + none), BranchAndBound())
    assert (answer.status, answer.proved_by) == ("INFEASIBLE", Proof.SEARCH)


def test_without_a_bound_nothing_is_named() -> None:
    (answer,) = answers(small(), Annealing(), budget=Budget(steps=1))
    assert answer.bound is None or answer.proved_by is Proof.FLOOR
    if answer.bound is None:
        assert answer.proved_by is None


def report(bound: float) -> Report:
    none = torch.full((1,), torch.inf, dtype=torch.float64)
    told = torch.tensor([bound], dtype=torch.float64)
    over, unique = torch.zeros(1, dtype=torch.bool), torch.full((1,), -1, dtype=torch.int8)
    return Report({}, none, none, told, over, unique, ((),))


def of(report: Report) -> Proof | None:
    return PROOFS[int(report.by[0])]


def test_the_higher_bound_is_named() -> None:
    nothing, low, high = report(-torch.inf), report(3.0), report(5.0)
    assert of(nothing.credited(Proof.CORES)) is None
    low, high = low.credited(Proof.SEARCH), high.credited(Proof.CORES)
    assert of(low.joined(high)) is of(high.joined(low)) is of(nothing.joined(high)) is Proof.CORES
    assert of(high.credited(Proof.SEARCH)) is Proof.CORES and of(high.unproved()) is None


def test_a_member_that_was_told_a_bound_did_not_prove_it() -> None:
    rows = torch.zeros(1, dtype=torch.int64)
    told = report(5.0).credited(Proof.CORES)
    s = PortfolioState((), [], (None,), 1, rows, rows, told.bound, told.by)
    heard = report(5.0).credited(Proof.SEARCH)
    assert of(_named(s, heard)) is Proof.CORES
    assert of(_named(s, report(6.0).credited(Proof.SEARCH))) is Proof.SEARCH


def test_parts_that_are_proved_differently_say_so() -> None:
    one, other = report(3.0).credited(Proof.CUT), report(5.0).credited(Proof.CORES)
    shut = report(torch.inf).credited(Proof.SEARCH)
    for reports, proof in (
        ([one, one], Proof.CUT),
        ([one, other], Proof.PARTS),
        ([one, shut], Proof.SEARCH),
    ):
        assert PROOFS[int(_credits(reports)[0])] is proof
