"""Exact samples by elimination of one site after the other."""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from engine.factors import Factors, whole_sum
from engine.factors.conditions import written_out
from engine.problem import Problem
from engine.random import Stream

CELLS = 1 << 20  # of one table while sites are summed out
SITES = 2_000  # that elimination takes on
STATES = 1 << 15  # listed one by one
DRAW = 401  # lane of the stream


@dataclass(frozen=True, eq=False)
class _Potential:
    """A log-weight for each combination of the values that some open sites may take."""

    sites: tuple[int, ...]
    log: np.ndarray  # one axis a site


def values_left(problem: Problem) -> list[np.ndarray]:
    """The values that evidence leaves each visible site."""
    sizes = [k for v in problem.finite for k in [v.domain.event[-1]] * v.domain.sites]
    allowed = problem.allowed[0].astype(bool)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
    return [np.flatnonzero(allowed[a:b]) for a, b in zip(starts[:-1], starts[1:], strict=True)]


def potentials(problem: Problem, beta: float) -> list[_Potential] | None:
    """The energy and the rules as log-weights over open sites; None where some part is not
    explicit, or reaches over too many combinations."""
    factors, rest = problem.concrete(), problem.form.rest
    options = values_left(problem)
    if rest is not None or len(factors.sizes) > factors.visible or len(options) > SITES:
        return None
    f = factors.expanded().plain()
    out: list[_Potential] = []
    for own in f.tables:
        table = written_out(own, factors.sizes, CELLS)
        if table is None:
            return None
        shape = [int(factors.sizes[s]) for s in table.scopes[0]]
        alike = all([int(factors.sizes[s]) for s in scope] == shape for scope in table.scopes)
        if not alike or math.prod(shape) > CELLS:
            return None
        dense = table.dense(shape)
        dense = dense if dense.ndim == len(shape) else dense[0]
        for scope in table.scopes.tolist():
            cost = dense[np.ix_(*(options[s] for s in scope))]
            out.append(_opened(scope, -beta * cost))
    if any(whole_sum(f.sums, k) is None for k in range(f.sums.count)):
        return None
    for sites, values, coefficient, low, high in _linear(f):
        part = _limited(sites, values, coefficient, low, high, options)
        if part is None:
            return None
        out.append(part)
    return out


def _linear(f: Factors):
    """Every rule that counts as: low <= sum of coefficient * [site = value] <= high, in whole
    numbers; sums that float64 does not hold as such are left out."""
    for k in range(f.counted.count):
        a, b = f.counted.start[k : k + 2]
        site, value = f.counted.site[a:b], f.counted.value[a:b]
        yield site, value, np.ones(b - a), float(f.counted.low[k]), float(f.counted.high[k])
    for k in range(f.clauses.count):  # a literal that says no counts 1 - [site = value]
        a, b = f.clauses.start[k : k + 2]
        sign = np.where(f.clauses.sign[a:b], 1.0, -1.0)
        low = 1.0 - float((sign < 0).sum())
        yield f.clauses.site[a:b], f.clauses.value[a:b], sign, low, math.inf
    for k in range(f.sums.count):
        a, b = f.sums.start[k : k + 2]
        whole = whole_sum(f.sums, k)
        if whole is not None:
            coefficient, low, high = whole
            yield f.sums.site[a:b], f.sums.value[a:b], coefficient, low, high


def _limited(
    sites: np.ndarray,
    values: np.ndarray,
    coefficient: np.ndarray,
    low: float,
    high: float,
    options: Sequence[np.ndarray],
) -> _Potential | None:
    scope = sorted(set(sites.tolist()))
    open_sites = [s for s in scope if len(options[s]) > 1]
    if math.prod(len(options[s]) for s in open_sites) > CELLS:
        return None
    total = np.zeros([len(options[s]) for s in open_sites])
    for s in scope:
        mine = sites == s
        each = ((options[s][:, None] == values[mine]) * coefficient[mine]).sum(1)  # (options,)
        if len(each) == 1:
            total = total + each[0]
        else:
            axis = open_sites.index(s)
            total = total + each.reshape([-1 if k == axis else 1 for k in range(total.ndim)])
    log = np.where((total >= low) & (total <= high), 0.0, -np.inf)
    return _Potential(tuple(open_sites), log)


def _opened(scope: Sequence[int], log: np.ndarray) -> _Potential:
    """Without the axes of sites that have one value left."""
    keep = tuple(s for s, size in zip(scope, log.shape, strict=True) if size > 1)
    return _Potential(keep, log.reshape([size for size in log.shape if size > 1]))


def eliminate(
    parts: Sequence[_Potential], options: Sequence[np.ndarray]
) -> list[tuple[int, _Potential]] | None:
    """Each open site with its weights given those summed out later, in the order of elimination;
    None where a table would grow too large. An empty distribution has a bucket of -inf alone."""
    around: dict[int, set[_Potential]] = {s: set() for s, o in enumerate(options) if len(o) > 1}
    constant = sum(float(part.log) for part in parts if not part.sites)
    for part in parts:
        for s in part.sites:
            around[s].add(part)
    sizes = [len(o) for o in options]

    def cells(site: int) -> int:
        scope = {site}.union(*(p.sites for p in around[site]))
        return math.prod(sizes[s] for s in scope)

    heap = [(cells(site), site) for site in around]
    heapq.heapify(heap)
    out: list[tuple[int, _Potential]] = []
    left = set(around)
    while left:
        size, site = heapq.heappop(heap)
        if site not in left:
            continue
        now = cells(site)
        if now > size:
            heapq.heappush(heap, (now, site))
            continue
        if now > CELLS:
            return None
        joint = _joint(sorted(around[site], key=lambda p: p.sites), site, sizes)
        out.append((site, joint))
        left.discard(site)
        message = _Potential(joint.sites[:-1], np.logaddexp.reduce(joint.log, axis=-1))
        for part in around.pop(site):
            for s in part.sites:
                if s in left:
                    around[s].discard(part)
        if not message.sites:
            constant += float(message.log)
        for s in message.sites:
            around[s].add(message)
            heapq.heappush(heap, (cells(s), s))
    if constant == -math.inf:
        out.append((-1, _Potential((), np.array(-np.inf))))
    return out


def _joint(parts: Sequence[_Potential], site: int, sizes: Sequence[int]) -> _Potential:
    """The product of some potentials, with a site as the last axis."""
    others = sorted({s for part in parts for s in part.sites} - {site})
    scope = (*others, site)
    log = np.zeros([sizes[s] for s in scope])
    for part in parts:
        axes = sorted(range(len(part.sites)), key=lambda k: scope.index(part.sites[k]))
        shape = [sizes[s] if s in part.sites else 1 for s in scope]
        log = log + part.log.transpose(axes).reshape(shape)
    return _Potential(scope, log)


def draw_backwards(
    buckets: Sequence[tuple[int, _Potential]],
    options: Sequence[np.ndarray],
    count: int,
    rng: Stream,
) -> np.ndarray | None:
    """Draws, each site given those summed out after it. -> (count, n)"""
    if buckets and buckets[-1][0] < 0:
        return None
    drawn = rng.at(0).fork(DRAW).uniform(count, max(1, len(options)), dtype=torch.float64)
    u = drawn.cpu().numpy()
    chosen = np.zeros((count, len(options)), dtype=np.int64)  # places among the options
    for site, bucket in reversed(buckets):
        log = bucket.log[tuple(chosen[:, s] for s in bucket.sites[:-1])]  # (count, k)
        log = np.broadcast_to(log, (count, len(options[site])))
        chosen[:, site] = _inverse(log, u[:, site])
    return np.stack([o[chosen[:, s]] for s, o in enumerate(options)], 1)


def _inverse(log: np.ndarray, u: np.ndarray) -> np.ndarray:
    """The place that each uniform number falls to. (N, k), (N,) -> (N,)"""
    weight = np.exp(log - log.max(-1, keepdims=True))
    heap = weight.cumsum(-1)
    place = (heap <= (u * heap[:, -1])[:, None]).sum(-1)
    return np.minimum(place, log.shape[-1] - 1)


def states_left(problem: Problem) -> np.ndarray | None:
    """All states that evidence leaves, where they are few. -> (M, n)"""
    options = values_left(problem)
    if math.prod(len(o) for o in options) > STATES:
        return None
    grids = np.meshgrid(*options, indexing="ij")
    return np.stack([g.reshape(-1) for g in grids], 1) if grids else np.zeros((1, 0), int)
