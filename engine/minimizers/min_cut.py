"""The exact minimum over sites of two values whose pairs would rather agree, as a minimum cut.

    E(x) = const + sum of u_i x_i + sum of w_ij (1 - x_i) x_j,  w_ij = B + C - A - D >= 0

for a table [[A, B], [C, D]] of two sites. A node for each site; x_i = 1 where the cut leaves it on
the side of the sink. The largest flow equals the least cut, which is the proof. Sources: Greig,
Porteous, Seheult, "Exact maximum a posteriori estimation for binary images", JRSS B 1989;
Kolmogorov, Zabih, "What energy functions can be minimized via graph cuts?", PAMI 2004.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.answer import Proof
from engine.domain import State
from engine.errors import BadQuery
from engine.kernels.flow import Pipes, fill_shortest, laid, reach
from engine.minimizer import Minimizer, score, sound
from engine.problem import Problem
from engine.random import Stream
from engine.rows import NOT_UNIQUE, UNIQUE, UNKNOWN, Report, particles_of
from engine.search.network import Network
from engine.search.placed import placed_report
from engine.search.plans import network_of
from engine.search.semiring import Least

UNLIKE = "min_cut needs pairs that would rather agree, and forbid nothing"


class Cut(NamedTuple):
    """A row as a network of pipes, and how much room is left in them."""

    options: np.ndarray  # (N, 2) values of each site, twice the same where one is left
    constant: int
    pipes: Pipes
    room: np.ndarray  # (2E,) int64
    flow: int


class MinCutState(NamedTuple):
    """Where every row stands."""

    begun: tuple[Cut | None, ...]
    fixed: dict[str, Tensor]  # (R, *event) states of the variables that are not finite
    places: Tensor  # (R, n) the least state; before, the first particle
    energy: Tensor  # (R,)
    violation: Tensor  # (R,)
    bound: Tensor  # (R,)
    done: Tensor  # (R,) bool
    unique: Tensor  # (R,) int8


@dataclass(frozen=True)
class MinCut(Minimizer[MinCutState]):
    """Settles rows one by one, a phase of the flow a step; refuses more than two values a site,
    tables over more than two, pairs that forbid something or would rather differ."""

    proof: ClassVar[Proof] = Proof.CUT

    def refuses(self, problem: Problem) -> str | None:
        """By the structure, which all rows share, and by what each row is told and pays."""
        why = self.unlike(problem)
        network = network_of(problem) if why is None else why
        if isinstance(network, str):
            return network
        every = (_whole(problem, network, row) for row in range(problem.rows))
        return UNLIKE if any(isinstance(cut, str) for cut in every) else None

    def unlike(self, problem: Problem) -> str | None:
        """Why the structure is of another sort, whatever rows pay; told once for all its rows."""
        if "cut" not in problem.memo:
            problem.memo["cut"] = self._unlike(problem)
        return problem.memo["cut"]

    def _unlike(self, problem: Problem) -> str | None:
        """Why the structure is of another sort."""
        if problem.form.rest is not None:
            return f"{problem.form.rest.summands()[0].label} has no explicit structure"
        factors = problem.form.factors
        if factors.rules or (factors.sizes > 2).any():
            return "min_cut takes no rules, and sites of two values"
        if any(table.arity > 2 for table in factors.tables):
            return "min_cut needs tables over at most two sites"
        factors = problem.form.factors
        every = (factors.counted, factors.clauses, factors.sums)
        if any((np.diff(lists.start) > 2).any() for lists in every):
            return "min_cut takes no rules"
        network = network_of(problem)
        if isinstance(network, str):
            return f"min_cut has no tables for {network}"
        if len(network.rules) or (np.diff(network.scopes.start) > 2).any():
            return "min_cut takes costs of at most two sites, and no rules"
        if (network.sizes > 2).any():
            return "min_cut needs sites of at most two values"
        return None

    def prepare(self, problem: Problem) -> Iterator[None]:
        yield from problem.prepare()
        _ = network_of(problem)

    def init(self, problem: Problem, x: State, rng: Stream) -> MinCutState:
        del rng
        why, network = self.unlike(problem), network_of(problem)
        if why is not None or isinstance(network, str):
            raise BadQuery(why or str(network))
        cuts = [_whole(problem, network, row) for row in range(problem.rows)]
        if any(isinstance(cut, str) for cut in cuts):
            raise BadQuery(UNLIKE)
        rows, particles = problem.rows, particles_of(problem, x)
        first = {v.name: x[v.name][::particles] for v in problem.open}
        told = score(problem, first)
        return MinCutState(
            tuple(cut for cut in cuts if not isinstance(cut, str)),
            {v.name: first[v.name] for v in problem.open if v not in problem.finite},
            torch.from_numpy(problem.places(first)),
            sound(told.energy).cpu(),
            told.violation.cpu(),
            torch.full((rows,), -math.inf, dtype=torch.float64),
            torch.zeros(rows, dtype=torch.bool),
            torch.full((rows,), UNKNOWN, dtype=torch.int8),
        )

    def step(self, problem: Problem, s: MinCutState, rng: Stream) -> MinCutState:
        begun = list(s.begun)
        names = ("places", "energy", "violation", "bound", "done", "unique")
        out = {name: getattr(s, name).clone() for name in names}
        for row in (~s.done).nonzero().reshape(-1).tolist():
            cut = begun[row]
            assert cut is not None
            level = reach(*cut.pipes, cut.room, len(cut.options), False)
            if level[len(cut.options) + 1] >= 0:
                begun[row] = filled(cut, level)
                continue
            scale = problem.explicits[row].scale
            side = (level[: len(cut.options)] < 0).astype(np.int64)
            places = cut.options[np.arange(len(side)), side][: s.places.shape[1]]
            total = cut.constant + cut.flow
            energy = scale.value(total)
            if problem.explicits[row].resolves:
                energy = float(problem.exactly(places, row))
            out["places"][row] = torch.from_numpy(places)
            out["energy"][row], out["violation"][row] = energy, 0.0
            out["bound"][row] = min(scale.below(total), energy) if scale.error else energy
            out["unique"][row] = UNKNOWN if scale.error else _only(cut, level)
            out["done"][row], begun[row] = True, None
        return s._replace(begun=tuple(begun), **out)

    def report(self, problem: Problem, s: MinCutState) -> Report:
        return placed_report(problem, s, s.violation, s.unique)

    def width(self, s: MinCutState) -> int:
        sizes = [len(cut.room) for cut in s.begun if cut is not None]
        return max(1, min(256, 500_000 // max(1, *sizes, 1)))


def cut_of(problem: Problem, network: Network, row: int, options: np.ndarray) -> Cut | str:
    """A row as pipes, all of them empty, each site with two values to take, (N, 2); a word where
    pairs are of another sort."""
    pool, scopes = network.costs(problem, row, Least()), network.scopes
    arity, first = np.diff(scopes.start), scopes.start[:-1]
    one, two = np.flatnonzero(arity == 1), np.flatnonzero(arity == 2)
    price = np.zeros(len(options), dtype=np.int64)  # of the second value over the first
    site, stride, base = scopes.site[first[one]], scopes.stride[first[one]], scopes.base[one]
    low, high = (pool[base + stride * options[site, k]] for k in (0, 1))
    pairs = [
        [
            pool[
                scopes.base[two]
                + scopes.stride[first[two]] * options[scopes.site[first[two]], a]
                + scopes.stride[first[two] + 1] * options[scopes.site[first[two] + 1], b]
            ]
            for b in (0, 1)
        ]
        for a in (0, 1)
    ]
    (nought, right), (left, both) = pairs
    agree = right + left - nought - both
    worst = max(int(np.abs(c).max(initial=0)) for c in (low, high, *pairs[0], *pairs[1]))
    if worst >= Least.limit or (agree < 0).any():
        return "pairs that would rather differ, or forbid something"
    np.add.at(price, site, high - low)
    i, j = scopes.site[first[two]], scopes.site[first[two] + 1]
    np.add.at(price, i, left - nought)
    np.add.at(price, j, both - left)
    constant = int(low.sum()) + int(nought.sum()) + int(np.minimum(price, 0).sum())
    n, apart = len(options), agree > 0
    dear, cheap = np.flatnonzero(price > 0), np.flatnonzero(price < 0)
    tail = np.concatenate([np.full(len(dear), n), cheap, i[apart]])
    head = np.concatenate([dear, np.full(len(cheap), n + 1), j[apart]])
    capacity = np.concatenate([price[dear], -price[cheap], agree[apart]])
    room: np.ndarray = np.stack([capacity, np.zeros_like(capacity)], 1).reshape(-1)
    return Cut(options, constant, laid(n + 2, tail, head), room, 0)


def _whole(problem: Problem, network: Network, row: int) -> Cut | str:
    """The cut of a row whose sites have two values, or one."""
    return cut_of(problem, network, row, _options(problem, network, row))


def _options(problem: Problem, network: Network, row: int) -> np.ndarray:
    """The first and the last value that evidence leaves each site. -> (N, 2)"""
    sizes = network.sizes
    start = np.cumsum(sizes) - sizes
    owner = np.repeat(np.arange(len(sizes)), sizes)
    value = np.arange(len(owner)) - start[owner]
    open_: np.ndarray = np.ones(len(owner), dtype=bool)
    allowed = problem.allowed[row]
    open_[: len(allowed)] = allowed != 0
    low: np.ndarray = np.full(len(sizes), len(owner), dtype=np.int64)
    high: np.ndarray = np.zeros(len(sizes), dtype=np.int64)
    np.minimum.at(low, owner[open_], value[open_])
    np.maximum.at(high, owner[open_], value[open_])
    return np.stack([low, high], 1)


def filled(cut: Cut, level: np.ndarray) -> Cut:
    """After one phase more."""
    room = cut.room.copy()
    n = len(cut.options)
    more = fill_shortest(*cut.pipes, room, level.copy(), n, n + 1)
    return cut._replace(room=room, flow=cut.flow + int(more))


def _only(cut: Cut, level: np.ndarray) -> int:
    """Whether no other cut is as small: each site of two values reaches the sink, or is reached."""
    n = len(cut.options)
    back = reach(*cut.pipes, cut.room, n + 1, True)
    free = (level[:n] < 0) & (back[:n] < 0) & (cut.options[:, 0] != cut.options[:, 1])
    return NOT_UNIQUE if bool(free.any()) else UNIQUE
