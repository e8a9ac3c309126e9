"""Energies that are read site by site, beside explicit structure: an order of all sites, and what
is known of those to come.

Sites are extended in the order of reading; a site that none of them reads follows the first site
that stands in a factor with it. Elimination goes the other way round, so that its messages tell of
every beginning what explicit structure still costs, and which beginnings no state goes on from.
Readers may lend guesses of what they will say (`Reader.ahead`); these stand in the messages beside
the structure, and are taken off again where a site has been read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from engine.decimals import Floats, Ints
from engine.energy import Sum
from engine.energy.reader import Reader
from engine.problem import Problem
from engine.search.elimination import Plan
from engine.search.network import CELLS, Network
from engine.search.plans import counts_of, network_of

WIDTHS = (3, 2)  # of windows that readers are asked to guess by, the widest that is quick
WORK = 3e8  # table entries added up with guesses


@dataclass(frozen=True, eq=False)
class Read:
    """A reader in a problem: what it says counts `weight`; `sites`: numbers among all sites."""

    reader: Reader[Any]
    weight: float
    sites: Ints


@dataclass(frozen=True, eq=False)
class Guess:
    """What the last site of a window costs beside the others, by the readers' guess."""

    sites: Ints  # (m, w)
    costs: Floats  # (k, ..., k)

    @cached_property
    def ending(self) -> dict[int, Ints]:
        """The window that ends at a site. -> (w,)"""
        return {int(window[-1]): window for window in self.sites}


@dataclass(frozen=True, eq=False)
class Lane:
    """Explicit structure that is looked ahead by together: its problem, plan, and guesses."""

    problem: Problem
    plan: Plan
    guesses: tuple[Guess, ...] = ()


def lanes_of(problem: Problem, row: int, every: Sequence[Read]) -> tuple[Lane, ...] | str:
    """How to look ahead in one row, or why there is no way: all structure together where that is
    narrow enough, with the widest guesses that are quick; else in as many lanes as that takes: what
    each of them forbids and costs is foreseen, and not what they do together."""
    whole = _lane(problem, row, every, False)
    if not isinstance(whole, str):
        return (whole,)
    lacking = problem.form.lacking
    told = [summand for k, summand in enumerate(problem.summands) if k not in lacking]
    out: list[Lane] = []
    for summand in told if len(told) > 1 else ():
        for k, lane in enumerate(out):  # beside others, where that is narrow enough
            joined = replace(problem, energy=Sum(*lane.problem.summands, summand))
            wider = _lane(joined, row, every, True, not lane.guesses)
            if not isinstance(wider, str):
                out[k] = wider
                break
        else:
            alone = replace(problem, energy=Sum(summand))
            own = _lane(alone, row, every, True, any(one.guesses for one in out))
            if isinstance(own, str):
                return own
            out.append(own)
    return tuple(out) or whole


def _lane(
    problem: Problem, row: int, every: Sequence[Read], apart: bool, plain: bool = False
) -> Lane | str:
    """The structure of a problem as one lane. apart: beside others. plain: without guesses."""
    network = network_of(problem)
    if isinstance(network, str):
        return network
    counts = counts_of(problem, row)
    rank = ranks(network, every, problem.form.factors.visible if apart else 0)
    for width in () if plain else WIDTHS:
        guesses = guessed(every, width)
        if guesses is None:
            continue
        wide = network
        for guess in guesses:
            wide = wide.with_guess(guess.sites, guess.costs)
        plan = Plan.in_order(wide, counts, rank)
        if isinstance(plan, Plan) and plan.work <= WORK:
            return Lane(problem, plan, guesses)
    plan = Plan.in_order(network, counts, rank)
    return plan if isinstance(plan, str) else Lane(problem, plan)


def readers_of(problem: Problem) -> tuple[Read, ...] | str:
    """Everything that is not explicit as readers, or why it is not read."""
    out = []
    for place in sorted(problem.form.lacking):
        summand = problem.summands[place]
        term = summand.term
        if summand.weight is None:
            return f"{summand.label} is required and not explicit"
        if any(v.name not in problem.starts for v in term.variables()):
            return f"{summand.label} sees numbers"
        reader = term.reader(*problem.scope(term))
        if reader is None:
            return f"{summand.label} has no order of its sites"
        flat = [problem.starts[v.variable.name] + v.places.reshape(-1) for v in term.scope]
        sites = np.array([flat[e][s] for e, s in reader.sites.tolist()], dtype=np.int64)
        if len(np.unique(sites)) < len(sites):
            return f"{summand.label} reads a site twice"
        out.append(Read(reader, float(summand.weight), sites))
    if len(out) > 1 and any((np.diff(one.sites) < 0).any() for one in out):
        return "several terms are read in orders that do not agree"
    return tuple(out)


def guessed(every: Sequence[Read], width: int) -> tuple[Guess, ...] | None:
    """What readers guess by windows of one width; None: none of them does."""
    out = []
    for one in every:
        windows = one.reader.ahead(width)
        if windows is not None and windows.costs.size <= CELLS:
            out.append(Guess(one.sites[windows.places], one.weight * windows.costs))
    return tuple(out) or None


def ranks(network: Network, every: Sequence[Read], visible: int = 0) -> Ints:
    """When each site is extended; those that no reader reads right behind the first site that
    stands in a factor with them, or behind all others if they are among the first `visible`, whose
    order is then the same in every network. -> (N,)"""
    count = len(network.sizes)
    far = 4 * count + 4
    rank = np.full(count, far, dtype=np.int64)
    order = every[0].sites if len(every) == 1 else _sites(every)
    rank[order] = 2 * np.arange(len(order))
    late = np.flatnonzero(rank[:visible] == far)
    rank[late] = 2 * (len(order) + np.arange(len(late)))
    scopes = network.scopes
    owner = np.repeat(np.arange(len(scopes.base)), np.diff(scopes.start))
    fixed = rank < far
    while len(owner):
        least = np.full(len(scopes.base), far, dtype=np.int64)
        np.minimum.at(least, owner, rank[scopes.site])
        near = np.full(count, far, dtype=np.int64)
        np.minimum.at(near, scopes.site, np.where(least[owner] < far, least[owner] | 1, far))
        found = ~fixed & (near < far)
        if not found.any():
            break
        rank[found] = near[found]
        fixed |= found
    return rank


def _sites(every: Sequence[Read]) -> Ints:
    """All sites that are read, in order."""
    return np.unique(np.concatenate([np.zeros(0, np.int64), *(one.sites for one in every)]))
