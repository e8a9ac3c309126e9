"""Lower bounds where the width is too large: what stands in a bucket is split into mini-buckets of
few cells, and each is minimized over its site by itself, as if every one had a copy of it.

The least sum over copies is at most the least sum where all copies agree.
Source: Dechter and Rish, "Mini-buckets: a general scheme for bounded inference", J. ACM 50, 2003.
"""

import math
from collections.abc import Generator, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from engine.decimals import Ints, surely_below
from engine.kernels.elimination import Buckets, order_sites
from engine.problem import Problem
from engine.search.elimination import ROOM, Elimination, Plan
from engine.search.network import Network
from engine.search.plans import network_of
from engine.search.semiring import Least

FEW = 1 << 12  # cells of a mini-bucket
PIECE = 128  # sites between two looks at the clock
WORK = 4_000_000  # table entries added up in one go

Part = tuple[tuple[int, ...], int]  # the sites it reaches over, its number


def minibucket_bounds(problem: Problem, cells: int = FEW) -> Tensor | None:
    """A proved lower bound of the energy of each row, infinite where nothing keeps the rules; None
    where the structure has no tables. More cells, better bounds. -> (R,) float64"""
    plan = split_plan(problem, cells)
    if plan is None:
        return None
    out = []
    for row in range(problem.rows):
        made = Elimination.of(plan, problem, row, Least())
        while not made.done:
            made = made.advanced(WORK)
        out.append(bound_of(problem, row, made))
    return torch.tensor(out, dtype=torch.float64, device=problem.device)


def bound_of(problem: Problem, row: int, made: Elimination) -> float:
    """The bound that a row comes to after the elimination of all copies."""
    if made.total is None:
        return math.inf
    bound = problem.explicits[row].scale.below(int(made.total))
    rest = problem.form.rest
    return bound if rest is None else surely_below(bound + rest.floor())


def split_plan(problem: Problem, cells: int) -> Plan | None:
    """The plan of a structure, made once."""
    for _ in split_in_pieces(problem, cells):
        pass
    return problem.memo[_key(cells)]


def split_in_pieces(problem: Problem, cells: int) -> Iterator[None]:
    """Makes `split_plan` in pieces of a few milliseconds."""
    if _key(cells) in problem.memo:
        return
    network, made = network_of(problem), None
    yield
    if not isinstance(network, str):
        made = Plan(network, *(yield from _planned(network, cells)))
    problem.memo[_key(cells)] = made


def _key(cells: int) -> str:
    return f"minibuckets {cells}"


def _planned(network: Network, cells: int) -> Generator[None, None, tuple[Buckets, Ints]]:
    scopes, sizes = network.scopes, network.sizes
    order = _order(network, cells)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    sites = [scopes.site[a:b].tolist() for a, b in zip(scopes.start[:-1], scopes.start[1:])]
    homes: list[list[Part]] = [[] for _ in range(len(order) + 1)]
    for number, scope in enumerate(sites):
        homes[min(place[s] for s in scope)].append((tuple(scope), number))
    number, count = len(sites), sizes.tolist()
    made: list[tuple[tuple[int, ...], list[Part]]] = []
    for step, site in enumerate(order.tolist()):
        if step % PIECE == PIECE - 1:
            yield
        for held, others in _minis(homes[step], site, count, cells):
            made.append(((*others, site), held))
            home = min((int(place[s]) for s in others), default=len(order))
            homes[home].append((others, number))
            number += 1
    axes = [axis for axis, _ in made]
    parts: list[list[Part]] = [own for _, own in made]
    slots = [[axis.index(s) for s in scope] for axis, own in made for scope, _ in own]
    parts, slots = [*parts, homes[-1]], [*slots, *([] for _ in homes[-1])]
    buckets = Buckets(
        np.array([axis[-1] for axis in axes], dtype=np.int64),
        _starts(axes),
        _flat(axes),
        _starts(parts),
        np.array([k for own in parts for _, k in own], dtype=np.int64),
        _starts(slots),
        _flat(slots),
    )
    return buckets, sizes


def _order(network: Network, cells: int) -> Ints:
    """Sites in an order that is good as long as buckets stay small; then as they stand."""
    scopes, size = network.scopes, np.log2(np.maximum(network.sizes, 1))
    widest, none = math.log2(cells), np.zeros(len(size))
    first = order_sites(scopes.start, scopes.site, size, none, widest, float(ROOM), False)[0]
    rest = np.ones(len(size), dtype=bool)
    rest[first] = False
    return np.concatenate([first, np.flatnonzero(rest)])


def _minis(
    parts: Sequence[Part], site: int, count: Sequence[int], cells: int
) -> Iterator[tuple[list[Part], tuple[int, ...]]]:
    """The parts of a bucket, the widest first, each in the first mini-bucket it fits into; and the
    other sites of each."""
    minis: list[tuple[set[int], list[Part]]] = []
    for part in sorted(parts, key=lambda one: (-len(one[0]), one)):
        scope = set(part[0])
        for own, held in minis:
            if math.prod(count[s] for s in own | scope) <= cells:
                own |= scope
                held.append(part)
                break
        else:
            minis.append((scope, [part]))
    if not minis:
        yield [], ()
    for own, held in minis:
        yield held, tuple(sorted(own - {site}))


def _starts(lists: Sequence[Sequence]) -> Ints:
    return np.concatenate([[0], np.cumsum([len(one) for one in lists])]).astype(np.int64)


def _flat(lists: Sequence[Sequence[int]]) -> Ints:
    return np.array([x for one in lists for x in one], dtype=np.int64)
