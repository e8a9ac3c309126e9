"""Independent draws from a Boltzmann distribution over finite sites, and whether it is empty.

p(x) is proportional to exp(-beta E(x)) where all required rules hold. Explicit structure of small
width is summed out site by site, and drawn backwards; else all states, or all states that satisfy
the rules, are listed where they are few.
Source: Dechter, "Bucket elimination", Artificial Intelligence 1999.
"""

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from engine.compare import verdicts
from engine.domain import Finite
from engine.encode import NotEncodable
from engine.energy import Sum
from engine.factors import Factors, whole_sum
from engine.kernels import clauses as learning
from engine.minimizers.branch_and_bound import plan_of
from engine.problem import Problem
from engine.random import Stream

CELLS = 1 << 20  # of one table while sites are summed out
SITES = 2_000  # that elimination takes on
STATES = 1 << 15  # listed one by one
JUDGED = 4_096  # of them at once
SOLUTIONS = 2_048  # of the rules, listed by search
CONFLICTS = 20_000  # that the search may spend
DRAW = 401  # lane of the stream


@dataclass(frozen=True, eq=False)
class Drawn:
    """Independent draws; no places where no state satisfies the rules."""

    places: np.ndarray | None  # (N, n) of values at the visible sites
    method: str


@dataclass(frozen=True, eq=False)
class _Potential:
    """A log-weight for each combination of the values that some open sites may take."""

    sites: tuple[int, ...]
    log: np.ndarray  # one axis a site


def drawn(
    problem: Problem, beta: float, count: int, rng: Stream, stop: Callable[[], bool]
) -> Drawn | None:
    """`count` draws of a one-row problem, or None where no exact way is short enough."""
    if not all(isinstance(domain, Finite) for domain in problem.domains.values()):
        return None
    made = potentials(problem, beta)
    if made is not None:
        buckets = _eliminated(made, _options(problem))
        if buckets is not None:
            return Drawn(_backwards(buckets, _options(problem), count, rng), "elimination")
    states = _product(problem)
    if states is None:
        states = solutions(problem, stop)
    log = None if states is None else _weights(problem, states, beta, stop)
    if states is None or log is None:
        return None
    if not len(log) or log.max() == -np.inf:
        return Drawn(None, "enumeration")
    u = rng.at(0).fork(DRAW).uniform(count, 1, dtype=torch.float64)[:, 0].numpy()
    heap = np.exp(log - log.max()).cumsum()
    place = np.searchsorted(heap, u * heap[-1], side="right")
    return Drawn(states[np.minimum(place, len(states) - 1)], "enumeration")


def _options(problem: Problem) -> list[np.ndarray]:
    """The values that evidence leaves each visible site."""
    sizes = [k for v in problem.finite for k in [v.domain.event[-1]] * v.domain.sites]
    allowed = problem.allowed[0].astype(bool)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
    return [np.flatnonzero(allowed[a:b]) for a, b in zip(starts[:-1], starts[1:], strict=True)]


# ---------------------------------------------------------------- sites summed out


def potentials(problem: Problem, beta: float) -> list[_Potential] | None:
    """The energy and the rules as log-weights over open sites; None where some part is not
    explicit, or reaches over too many combinations."""
    factors, rest = problem.factored()
    options = _options(problem)
    if rest is not None or len(factors.sizes) > factors.visible or len(options) > SITES:
        return None
    f = factors.expanded()
    out: list[_Potential] = []
    for table in f.tables:
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


def _eliminated(
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


def _backwards(
    buckets: Sequence[tuple[int, _Potential]],
    options: Sequence[np.ndarray],
    count: int,
    rng: Stream,
) -> np.ndarray | None:
    """Draws, each site given those summed out after it. -> (count, n)"""
    if buckets and buckets[-1][0] < 0:
        return None
    u = rng.at(0).fork(DRAW).uniform(count, max(1, len(options)), dtype=torch.float64).numpy()
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


# ---------------------------------------------------------------- states listed


def _product(problem: Problem) -> np.ndarray | None:
    """All states that evidence leaves, where they are few. -> (M, n)"""
    options = _options(problem)
    if math.prod(len(o) for o in options) > STATES:
        return None
    grids = np.meshgrid(*options, indexing="ij")
    return np.stack([g.reshape(-1) for g in grids], 1) if grids else np.zeros((1, 0), int)


def solutions(problem: Problem, stop: Callable[[], bool]) -> np.ndarray | None:
    """All states that satisfy the explicit rules, where they are few, found by search with each
    one found shut out. -> (M, n), or None where they are many, or not all were found"""
    rules = [part for part in problem.parts if part.required]
    if not rules:
        return None
    strict = replace(problem, energy=Sum(*rules))
    plan = plan_of(strict)
    try:
        learner = plan.learner(strict.allowed[0], 0)
    except NotEncodable:
        return None
    n = len(_options(problem))
    found: list[np.ndarray] = []
    limit = learning.conflicts(learner.state) + CONFLICTS
    while not stop():
        left = limit - learning.conflicts(learner.state)
        status, state = learning.search(learner.state, (), max(0, left))
        learner = learner._replace(state=state)
        if status == learning.REFUTED:
            return np.stack(found) if found else np.zeros((0, n), dtype=np.int64)
        if status == learning.LIMIT or len(found) == SOLUTIONS:
            return None
        places = plan.boolean.places(learner.model())
        found.append(places)
        learner = learner.without(plan.boolean.model_literals(places) ^ 1)
    return None


@torch.no_grad()
def _weights(
    problem: Problem, states: np.ndarray, beta: float, stop: Callable[[], bool]
) -> np.ndarray | None:
    """ln p of listed states, up to a constant. (M, n) -> (M,); None where some rule cannot say of
    a state whether it holds, or none has a weight and that proves nothing.

    Rules that are evaluated only are judged on plain values: a violation is no verdict.
    """
    _, rest = problem.factored()
    opaque = [] if rest is None else [part for part in rest.parts() if part.required]
    explicit = Sum(*(part for part in problem.parts if part.required and part not in opaque))
    log, shut = np.full(len(states), -np.inf), np.zeros(len(states), dtype=bool)
    for first in range(0, len(states), JUDGED):
        if stop():
            return None
        some = slice(first, first + JUDGED)
        x = problem.state(states[some])
        energy = problem.energy(x).numpy()
        shut[some] = np.isinf(problem.explicit.energy(states[some], {}).numpy())
        shut[some] |= (explicit.violation(x) > 0).numpy()
        if opaque:
            said = verdicts(opaque, problem.plain(x))
            if None in said:
                return None
            shut[some] |= np.array([holds is False for holds in said])
        log[some] = np.where(np.isfinite(energy) & ~shut[some], -beta * energy, -np.inf)
    return log if shut.all() or log.max() > -np.inf else None
