"""The lower bound of the width never exceeds what an order of elimination reaches."""

import numpy as np

from engine import Finite, Problem, Variable, required
from engine.search.elimination import Plan
from engine.search.plans import shared_plan
from engine.search.width import _contracted, _degeneracy, width_from_below
from modules.discrete.clause import Clause
from modules.discrete.table import Table


def test_it_lies_below_the_width_of_every_order_that_is_found():
    rng, seen = np.random.default_rng(0), 0
    for _ in range(30):
        n = int(rng.integers(5, 14))
        x = Variable("x", Finite((0, 1), (n,)))
        clauses = [
            [[int(s), 1, True] for s in rng.permutation(n)[: rng.integers(3, 6)]]
            for _ in range(rng.integers(2, 12))
        ]
        energy = 1.0 * Table(x, sites=[[k] for k in range(n)], costs=[0, 1])
        problem = Problem(energy + required(Clause(x, clauses=clauses)))
        width, plan = width_from_below(problem.form.factors, 99), shared_plan(problem)
        assert isinstance(plan, Plan) and 2 ** (width + 1) <= plan.work
        seen = max(seen, width)
    assert seen >= 3  # and it says something


def test_least_degrees_of_known_graphs():
    whole = ~np.eye(5, dtype=bool)
    ring = np.roll(np.eye(6, dtype=bool), 1, 0) | np.roll(np.eye(6, dtype=bool), -1, 0)
    assert _degeneracy(whole) == 4 and _degeneracy(ring) == 2
    assert _contracted(whole.copy(), 9) == 4 and _contracted(ring.copy(), 9) == 2
    assert _degeneracy(np.zeros((3, 3), dtype=bool)) == 0
