"""A proof that clauses cannot hold together, which others can check: DRAT, in text.

The search of a proof is one of its own, over exactly the clauses that were given, so that the
proof is about them and about nothing that was made of them.
"""

import numpy as np

from engine.errors import BadQuery, Mistake
from engine.explain.rup import drat_text
from engine.kernels import clauses as learning
from engine.problem import Problem
from engine.search.boolean import encode
from engine.solve import Budget, budget_of

SLICE = 500  # conflicts between two looks at the budget


def check_provable(problem: Problem) -> None:
    """Raises BadQuery unless the problem is clauses over sites of two values, without evidence.

    Sites of one value, which no clause names, stand for no site at all.
    """
    factors, rest = problem.factored()
    literals = len(factors.clauses.site)
    clausal = (
        rest is None
        and not (factors.counted.count or factors.sums.count or factors.different.count)
        and not factors.tables
        and (np.all(factors.sizes == 2) or np.all(factors.sizes == 1) and not literals)
        and len(problem.finite) == len(problem.variables)
    )
    if not clausal:
        said = "is written for clauses over sites of two values alone"
        raise BadQuery(
            Mistake("options.proof", said, "ask without it; --explain says what clashes")
        )
    if not problem.allowed.all():
        said = "cannot take evidence: it is about the clauses alone"
        raise BadQuery(Mistake("options.proof", said, "give evidence as clauses of one literal"))


def refutation(problem: Problem, budget: Budget | None = None) -> str | None:
    """The proof that the clauses of a problem cannot hold together, in the DRAT format: site k is
    variable k + 1. None: they can, or time ran out. Raises BadQuery as `check_provable`."""
    check_provable(problem)
    b = encode(problem.factored()[0])
    none = learning.formula(b.variables)
    clauses = none._replace(clause_ptr=b.clauses.start, clause_lit=b.clauses.literal)
    state = learning.load(clauses, log=True)
    over = budget_of(budget).clock()
    status = learning.LIMIT
    while status == learning.LIMIT:
        status, state = learning.search(state, (), SLICE)
        if status == learning.LIMIT and over():
            return None
    return drat_text(learning.proof(state).tolist()) if status == learning.REFUTED else None
