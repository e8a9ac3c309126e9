"""Elimination of sites, one after the other, over a semiring: exact where the width is small.

A plan is an order of the sites of a network and what is summed in each bucket; it holds for all
rows. A table holds what a row pays and the messages sent so far: all of them tell the total, and
states follow from the last site eliminated back to the first.
Source: Dechter, "Bucket elimination", Artificial Intelligence 113, 1999.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from engine.decimals import Ints
from engine.kernels.elimination import (
    Buckets,
    Options,
    draw_places,
    extend_states,
    fill_buckets,
    lay_messages,
    order_sites,
    pick_least,
    send_messages,
)
from engine.problem import Problem
from engine.search.network import CELLS, Network
from engine.search.semiring import Semiring

ROOM = 1 << 23  # cells of all buckets
FILLED = 4_096  # sites up to which both orders are tried


@dataclass(frozen=True, eq=False)
class Plan:
    """An order in which the sites of a network are eliminated."""

    network: Network
    buckets: Buckets
    counts: Ints  # (N,) values of each site for which it was made, at most

    @cached_property
    def work(self) -> float:
        """Table entries added up, where nothing is given."""
        b = self.buckets
        return float(lay_messages(b.axis_start, b.axis, b.part_start, self.counts)[1].sum())

    @staticmethod
    def of(network: Network, counts: Ints, hidden_first: bool = False) -> "Plan | str":
        """The plan of least work among few, or why there is none. counts: (N,) values that each
        site may take. hidden_first: sites that are minimized over come before all others."""
        scopes, size = network.scopes, np.log2(np.maximum(counts, 1))
        later = (~network.minimized & hidden_first).astype(np.float64)
        best, wide = None, math.inf
        for filling in (False, True) if len(counts) <= FILLED else (False,):
            order, start, axis, cells = order_sites(
                scopes.start, scopes.site, size, later, math.log2(CELLS), float(ROOM), filling
            )
            if len(order) < len(counts):
                wide = min(wide, cells)
            elif best is None or cells < best[0]:
                best = cells, order, start, axis
            if best is not None and best[0] <= 64 * len(counts):
                break  # nothing to gain
        if best is None:
            many = f"more than {ROOM} cells in all"
            return f"a table of {wide:.3g} cells on the way" if wide > CELLS else many
        _, order, start, axis = best
        parts = fill_buckets(scopes.start, scopes.site, size, order, start, axis)
        return Plan(network, Buckets(order, start, axis, *parts), counts)

    @staticmethod
    def in_order(network: Network, counts: Ints, rank: Ints) -> "Plan | str":
        """The plan that eliminates sites by falling rank, of equal rank the least first, or why
        there is none: states are then extended by rising rank."""
        scopes, size = network.scopes, np.log2(np.maximum(counts, 1))
        later = (rank.max(initial=0) - rank).astype(np.float64)
        order, start, axis, _ = order_sites(
            scopes.start, scopes.site, size, later, math.log2(CELLS), float(ROOM), False
        )
        if len(order) < len(counts):
            return f"a table of more than {CELLS} cells on the way"
        parts = fill_buckets(scopes.start, scopes.site, size, order, start, axis)
        return Plan(network, Buckets(order, start, axis, *parts), counts)


class Left(NamedTuple):
    """The options of a row, and the work of its buckets."""

    options: Options
    end: int  # of `data`
    heap: np.ndarray  # (B,) work up to and with each bucket

    @staticmethod
    def of(plan: Plan, allowed: np.ndarray, begin: int) -> "Left":
        """allowed (C,) which literals are possible; messages begin at `begin`."""
        network, b = plan.network, plan.buckets
        owner = np.repeat(np.arange(len(network.sizes)), network.sizes)
        first = np.repeat(np.cumsum(network.sizes) - network.sizes, network.sizes)
        open_ = np.ones(len(owner), dtype=bool)
        open_[: len(allowed)] = allowed != 0
        counts = np.bincount(owner[open_], minlength=len(network.sizes))
        cells, work = lay_messages(b.axis_start, b.axis, b.part_start, counts)
        start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        value = (np.arange(len(owner)) - first)[open_]
        message = begin + np.cumsum(cells) - cells
        return Left(Options(start, value, message), begin + int(cells.sum()), np.cumsum(work))


@dataclass(frozen=True, eq=False)
class Elimination:
    """A row and its messages, of which `sent` have been computed.

    `data` is written once and shared by all later stages of the row: what stands in it is the same
    whoever computes it.
    """

    plan: Plan
    semiring: Semiring
    left: Left
    data: np.ndarray
    soft: np.ndarray  # (B,) bool
    visible: int  # sites
    sent: int = 0

    @staticmethod
    def of(plan: Plan, problem: Problem, row: int, semiring: Semiring) -> "Elimination":
        """Nothing is eliminated yet."""
        pool = plan.network.costs(problem, row, semiring)
        left = Left.of(plan, problem.allowed[row], len(pool))
        data: np.ndarray = np.empty(left.end, dtype=semiring.dtype)
        data[: len(pool)] = pool
        soft = semiring.soft & ~plan.network.minimized[plan.buckets.order]
        return Elimination(plan, semiring, left, data, soft, problem.form.factors.visible)

    @property
    def empty(self) -> bool:
        """Some site has no value left."""
        return bool((np.diff(self.left.options.start) == 0).any())

    @property
    def done(self) -> bool:
        return self.empty or self.sent == len(self.plan.buckets.order)

    def advanced(self, work: float) -> "Elimination":
        """After about so much more work, at least one bucket."""
        if self.done:
            return self
        heap, sent = self.left.heap, self.sent
        spent = heap[sent - 1] if sent else 0.0
        last = max(sent + 1, int(np.searchsorted(heap, spent + work, side="right")))
        send_messages(
            sent, last, self.plan.network.scopes, *self._rest(), self.soft, *self._edges()
        )
        return replace(self, sent=last)

    def _rest(self) -> tuple[Buckets, Options, np.ndarray]:
        return self.plan.buckets, self.left.options, self.data

    def _edges(self):
        kind = self.semiring.dtype
        return kind(self.semiring.limit), kind(self.semiring.forbidden)

    @cached_property
    def total(self) -> int | float | None:
        """What the whole comes to; None where nothing is allowed."""
        if self.empty:
            return None
        b, factors = self.plan.buckets, len(self.plan.network.scopes.base)
        parts = b.part[b.part_start[-2] : b.part_start[-1]]
        left = self.data[self.left.options.message[parts - factors]]
        if bool((left >= self.semiring.limit).any()):
            return None
        total = left.sum()
        return float(total) if self.semiring.soft else int(total)

    def least(self, fixed: np.ndarray, decided: int) -> "Picked":
        """The cheapest state beside the places of the sites that were eliminated in the last
        `decided` buckets; `fixed` (N,) holds them."""
        at = fixed.copy()
        regret: np.ndarray = np.zeros(len(self.left.options.value), dtype=self.semiring.dtype)
        last = len(self.plan.buckets.order) - decided
        pick_least(last, self.plan.network.scopes, *self._rest(), *self._edges(), at, regret)
        return Picked(at, regret)

    def extended(self, bucket: int, at: np.ndarray) -> np.ndarray:
        """What each option left to the site of a bucket costs, with all that follows at its best
        (or summed), beside the places of the sites eliminated later. (D, N) -> (D, k)"""
        site = self.plan.buckets.order[bucket]
        start = self.left.options.start
        cost: np.ndarray = np.empty((len(at), start[site + 1] - start[site]), self.semiring.dtype)
        scopes = self.plan.network.scopes
        extend_states(bucket, scopes, *self._rest(), *self._edges(), at, cost)
        return cost

    def drawn(self, u: np.ndarray) -> np.ndarray:
        """Draws. u (D, N) uniform numbers -> (D, N) values"""
        at = np.zeros(u.shape, dtype=np.int64)
        draw_places(self.plan.network.scopes, *self._rest(), *self._edges(), self.soft, u, at)
        return self.values(at)

    def values(self, at: np.ndarray) -> np.ndarray:
        """The values at places among the options left. (..., N) -> same"""
        options = self.left.options
        return options.value[options.start[:-1] + at]


class Picked(NamedTuple):
    """A state, and what any other option of a site costs more, later ones at their best."""

    at: np.ndarray  # (N,) places among the options left
    regret: np.ndarray  # one entry an option; 0 for those not looked at
