"""The states of a row in order of cost, after elimination: each the best of what is left.

A state found splits what it was the best of: all others leave it, in the order in which sites are
decided, at a first site, to another value, and the best of these costs what that value costs more.
Source: Lawler, "A procedure for computing the K best solutions to discrete optimization problems",
Management Science 18, 1972.
"""

import heapq
from dataclasses import dataclass, replace

import numpy as np

from engine.search.elimination import Elimination, Picked

TWINS = 16  # states found for one that is asked for, where hidden sites may tell them apart
Deviation = tuple[int, int, int, int, int]  # what it costs more, state, bucket, place, tie-break


@dataclass(frozen=True, eq=False)
class Ranked:
    """The cheapest states so far, and what may come next.

    most: how many states will be asked for at most. above: only those that cost at most so much
    more than the least. States found may differ at hidden sites alone: `states` has one of each.
    """

    of: Elimination
    most: int
    above: float
    found: tuple[Picked, ...] = ()
    more: tuple[int, ...] = ()  # what each costs more than the least
    states: tuple[tuple[np.ndarray, int], ...] = ()  # values of visible sites, what they cost more
    heap: tuple[Deviation, ...] = ()
    cut: int | None = (
        None  # what the cheapest costs more that was left out, as too many are cheaper
    )

    @property
    def room(self) -> int:
        """How many states are found at most, those included that differ at hidden sites alone."""
        return TWINS * self.most if self.of.plan.network.minimized.any() else self.most

    @property
    def done(self) -> bool:
        """Nothing further, or as many as were asked for."""
        if len(self.states) >= self.most or len(self.found) >= self.room:
            return True
        return bool(self.found) and not self.heap

    @property
    def exhausted(self) -> bool:
        """There are no other states, as cheap as asked for."""
        return bool(self.found) and not self.heap and self.cut is None

    def lists(self, level: int) -> bool:
        """All states are found that cost at most so much more than the least."""
        beyond = bool(self.found) and self.more[-1] > level
        return self.exhausted or (beyond and (self.cut is None or self.cut > level))

    def next(self) -> "Ranked":
        """With the next state."""
        buckets = len(self.of.plan.buckets.order)
        none = np.zeros(len(self.of.plan.network.sizes), dtype=np.int64)
        if not self.found:
            return self._with(self.of.least(none, 0), 0, buckets, ())
        heap = list(self.heap)
        more, parent, bucket, place, _ = heapq.heappop(heap)
        at = self.found[parent].at.copy()
        at[self.of.plan.buckets.order[bucket]] = place
        return self._with(self.of.least(at, buckets - bucket), more, bucket, tuple(heap))

    def _with(self, picked: Picked, more: int, below: int, heap: tuple[Deviation, ...]) -> "Ranked":
        """With a state, and where others leave it at the sites of buckets before `below`."""
        order, start = self.of.plan.buckets.order, self.of.left.options.start
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        owner = np.repeat(np.arange(len(order)), np.diff(start))
        option = np.arange(len(owner)) - start[owner]
        able = (place[owner] < below) & (option != picked.at[owner])
        room = min(float(self.above - more), float(self.of.semiring.limit - 1))
        able = np.flatnonzero(able & (picked.regret <= room))
        wanted, cut = self.room - len(self.found) - 1, self.cut
        if len(able) > wanted:  # the others are dearer than as many as are asked for
            able = able[np.argsort(picked.regret[able], kind="stable")]
            least = more + int(picked.regret[able[max(0, wanted)]])
            able, cut = able[: max(0, wanted)], least if cut is None else min(cut, least)
        number = len(self.found)
        fresh = [
            (more + int(picked.regret[k]), number, int(place[owner[k]]), int(option[k]), int(k))
            for k in able.tolist()
        ]
        every = [*heap, *fresh]
        heapq.heapify(every)
        values, states = self.of.values(picked.at)[: self.of.visible], self.states
        if not any(np.array_equal(values, known) for known, _ in states):
            states = (*states, (values, more))
        found, costs = (*self.found, picked), (*self.more, more)
        return replace(self, found=found, more=costs, states=states, heap=tuple(every), cut=cut)
