"""What a structure is like, as far as it decides who searches it."""

import numpy as np

from engine.domain import Real
from engine.factors import Factors
from engine.factors.comparisons import ALWAYS
from engine.problem import Problem
from engine.search.prepared import prepared_of

ORDERED = 256  # hidden sites that say which values others have at least


def covers(problem: Problem) -> bool:
    """Complete search begins with a short one for an exact cover."""
    return prepared_of(problem).cover is not None


def packs(problem: Problem) -> bool:
    """A cover in which everything may stay uncovered."""
    factors = problem.form.factors
    least = bool((factors.counted.low > 0).any())
    return not (least or factors.clauses.count or factors.different.lines())


def clauses_alone(factors: Factors) -> bool:
    """Clauses over two values a site and costs of single sites, at which cores are better than
    small tables."""
    single = all(table.arity == 1 for table in factors.tables)
    others = (factors.counted, factors.sums, factors.different)
    plain = single and not any(family.count for family in others)
    return plain and bool(factors.clauses.count) and bool((factors.sizes == 2).all())


def free_at_halves(factors: Factors) -> bool:
    """Clauses alone of which a linear relaxation says nothing: at halves, and at nought where a
    literal is paid for, all of them hold. Each has two literals that are free, or the negation of
    one that is paid for."""
    if not clauses_alone(factors):
        return False
    cost = np.zeros((len(factors.sizes), 2))
    for table in factors.tables:
        if table.by_row or table.when is not None:
            return False
        np.add.at(cost, table.scopes[:, 0], table.dense((2,)))
    c = factors.clauses
    paid = cost[c.site, c.value ^ ~c.sign] > cost[c.site, c.value ^ c.sign]
    sure = cost[c.site, c.value ^ ~c.sign] < cost[c.site, c.value ^ c.sign]
    count = np.zeros(c.count)
    np.add.at(count, np.repeat(np.arange(c.count), c.lengths()), 2.0 * sure + ~(paid | sure))
    return bool((count >= 2).all())


def weighs_few_at_once(factors: Factors) -> bool:
    """Annealing takes part where something is soft, and no table is over very many sites."""
    wide = max((t.arity for t in factors.tables), default=0)
    return factors.soft and 0 < wide <= 8 and not ordered(factors)


def paid_at_one_site(factors: Factors) -> bool:
    """All that is paid is paid at one site, such as the end of the last task."""
    sites = {s for t in factors.tables if t.soft for s in t.scopes.reshape(-1).tolist()}
    return len(sites) < 2


def ordered(factors: Factors) -> bool:
    """Hidden sites order the values of others: nothing moves by itself, and no width is small."""
    return int((factors.counted.part == ALWAYS).sum()) > ORDERED


def held(problem: Problem) -> bool:
    """Something that must hold sees real numbers; what defines some is that too."""
    views = (view for s in problem.unreduced.summands if s.required for view in s.term.scope)
    return any(isinstance(view.variable.domain, Real) for view in views)
