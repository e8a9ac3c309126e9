"""A lower bound of the width of explicit structure, by counts alone: before tables are made for
nothing.

Each rule is a node, and every site is drawn into the first of its own: what is left is a minor of
the graph of sites, and no order is narrower than the largest least degree of its subgraphs, nor of
what is left where a node of least degree is drawn into the neighbour that shares the fewest others
with it. Source: Bodlaender and Koster, "Treewidth computations II: lower bounds", Information and
Computation 2011.
"""

import numpy as np

from engine.decimals import Ints
from engine.factors import Factors

NODES = 2_000  # rules up to which they are looked at
DRAWN = 600  # rules up to which nodes are drawn together
LONG = 3  # sites from which on a rule is a node of its own


def width_from_below(factors: Factors, enough: int) -> int:
    """So many sites at least stand together in some table of any elimination, beside one more; no
    more is looked for than `enough`."""
    rule, site = _incident(factors)
    count = int(rule.max(initial=-1)) + 1
    if count == 0 or count > NODES:
        return 0
    order = np.lexsort((rule, site))
    rule, site = rule[order], site[order]
    first = np.concatenate([[True], np.diff(site) != 0])
    into = rule[np.flatnonzero(first)][np.cumsum(first) - 1]  # the rule that takes the site in
    near = np.zeros((count, count), dtype=bool)
    near[into, rule] = near[rule, into] = True
    np.fill_diagonal(near, False)
    return _degeneracy(near) if count > DRAWN else _contracted(near, enough)


def _incident(factors: Factors) -> tuple[Ints, Ints]:
    """Long rules, numbered, beside the sites of each."""
    rules, sites, count = [], [], 0
    for family in (factors.counted, factors.clauses, factors.sums, factors.different):
        long = family.lengths() >= LONG
        number = np.cumsum(long) - 1 + count
        kept = np.repeat(long, family.lengths())
        rules.append(np.repeat(number, family.lengths())[kept])
        sites.append(family.site[kept])
        count += int(long.sum())
    return np.concatenate(rules), np.concatenate(sites)


def _degeneracy(near: np.ndarray) -> int:
    """The largest least degree, one node after the other taken away. near (n, n) bool"""
    degree, most = near.sum(1), 0
    for _ in range(len(near)):
        node = int(degree.argmin())
        most = max(most, int(degree[node]))
        degree = degree - near[node]
        degree[node] = len(near) * 2
    return most


def _contracted(near: np.ndarray, enough: int) -> int:
    """The largest least degree, one node after the other drawn into a neighbour. near (n, n) bool,
    which is used up"""
    degree, most, gone = near.sum(1), 0, len(near) * 2
    for _ in range(len(near)):
        node = int(degree.argmin())
        most = max(most, int(degree[node]))
        if most >= enough:
            break
        others = np.flatnonzero(near[node])
        if len(others):
            own = near[node].copy()
            into = int(others[(near[others] & own).sum(1).argmin()])
            near[node], near[:, node] = False, False
            near[into] |= own
            near[:, into] |= own
            near[into, into] = False
            degree[others] = near[others].sum(1)
            degree[into] = near[into].sum()
        degree[node] = gone
    return most
