"""Tasks that run side by side never demand more than there is."""

import random
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from engine.decimals import Ints
from engine.domain import Domain, Finite, Variable, View
from engine.errors import BadQuery, Mistake
from engine.factors import Counted, Factors, Sums, floats, ints
from engine.factors.families import starts
from modules.parameters import Site, Strict
from modules.shared.numbers import LARGEST
from modules.shared.sites import NAMED, whole
from modules.shared.tasks import Tasks, read_amounts_of

MOST = 1 << 21  # literals that say when tasks run, beyond which sums name every start
SPAN = 1 << 20  # points in time

Whole = Annotated[int, Field(strict=True, ge=0)]


class Parameters(Strict):
    """Tasks by the sites of their starts, how long they last, what they demand meanwhile."""

    sites: list[Site] = Field(description="The sites whose values say when each task starts.")
    durations: list[Whole] = Field(description="How long each task lasts, a whole number.")
    demands: list[Whole] = Field(description="How much each task takes while it runs.")
    capacity: Whole = Field(description="How much there is at any time.")


class Cumulative(Tasks):
    """At no time do running tasks demand more than the capacity: staff, power, machines alike.

    A task runs from its start until start + duration, this not included. E = sum over points in
    time of max(0, expected demand - capacity); decided: the demand that is not met, point by point.
    Not affine; no unit. Values are whole numbers. Parts are the points in time from the earliest
    start on. BadQuery: a site out of range or named twice, a value that is no whole number, numbers
    below 0, a span of more than a million points in time.
    """

    affine = False

    def __init__(
        self,
        *scope: Variable | View,
        sites: Sequence[int],
        durations: Sequence[int],
        demands: Sequence[int],
        capacity: int,
    ):
        super().__init__(*scope, sites=sites, durations=durations)
        self.demands = read_amounts_of(demands, "demands", len(self.sites))
        if not whole(capacity) or not 0 <= capacity < LARGEST:
            problem = f"{capacity!r} is no whole number from 0"
            raise BadQuery(Mistake("capacity", problem, "give a whole number from 0"))
        self.capacity = int(capacity)
        self.first = min((int(w.min()) for w in self.worths), default=0)
        ends = zip(self.worths, self.durations.tolist(), strict=True)
        self.points = max(0, *(int(w.max()) + d - self.first for w, d in ends), 0)
        if self.points > SPAN:
            remedy = "count time in a larger unit"
            raise BadQuery(Mistake("sites", f"span {self.points} points in time", remedy))
        columns = [self.layout.offset[s] + np.arange(len(w)) for s, w in self._tasks()]
        self._column = torch.from_numpy(np.concatenate([ints(), *columns]))
        begins = np.concatenate([ints(), *(w - self.first for _, w in self._tasks())])
        widths = [len(w) for w in self.worths]
        self._begin = torch.from_numpy(begins)
        self._end = torch.from_numpy(begins + np.repeat(self.durations, widths))
        self._demand = torch.from_numpy(np.repeat(self.demands, widths))

    def _tasks(self) -> Iterator[tuple[int, Ints]]:
        return zip(self.sites, self.worths, strict=True)

    def violation(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B, points) float64
        x = self.layout.columns(tensors).double()
        device = x.device
        share = x[:, self._column.to(device)] * self._demand.to(x)
        change = x.new_zeros(len(x), self.points + 1)
        change = change.index_add(1, self._begin.to(device), share)
        change = change.index_add(1, self._end.to(device), -share)
        over = change.cumsum(1)[:, : self.points] - self.capacity
        return torch.where(over > 1e-9 * (1 + self.capacity), over, torch.zeros_like(over))

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B,) float64
        return self.violation(*tensors).sum(1)

    def cost(self, *tensors: Tensor) -> Tensor:  # (B, *shape) int64 -> (B,) float64
        begin = self.starts_of(tensors) - self.first
        long, demand = (
            torch.from_numpy(x).to(begin.device).expand_as(begin)
            for x in (self.durations, self.demands)
        )
        change = torch.zeros(len(begin), self.points + 1, dtype=torch.int64, device=begin.device)
        change = change.scatter_add(1, begin, demand).scatter_add(1, begin + long, -demand)
        return (change.cumsum(1) - self.capacity).clamp(min=0).sum(1).double()

    def holds(self, *values: Any) -> bool:
        return not any(True for _ in self._short(values))

    def _short(self, values: Sequence[Any]) -> Iterator[tuple[int, int, list[int]]]:
        """Points in time at which too much is demanded, how much, and by which tasks."""
        begin, long = self.begun(values), self.durations.tolist()
        demand = self.demands.tolist()
        for t in range(self.first, self.first + self.points):
            run = [k for k, s in enumerate(begin) if s <= t < s + long[k]]
            total = sum(demand[k] for k in run)
            if total > self.capacity:
                yield t, total, run

    def structured(self, weight: float | None, *domains: Domain) -> Factors | None:
        """At a price, sums alone: the amount is paid."""
        return self.factors(*domains) if weight is None else self._sums(domains).priced(weight)

    def factors(self, *domains: Domain) -> Factors:
        """Hidden sites say of each task and point in time whether it runs then: exactly where no
        start outside the window is left. Points at which all tasks together fit are left out."""
        width = sum(len(w) * int(d) for w, d in zip(self.worths, self.durations, strict=True))
        runs = [self._running(t) for t in range(self.points)]
        if width > MOST or sum(len(w) * len(runs) for w in self.worths) > 4 * MOST:
            return self._sums(domains)
        sizes, lists, sums = Factors.sizes_of(domains), [], []
        hidden = len(sizes)
        for t, run in enumerate(runs):
            if sum(int(self.demands[k]) for k, _ in run) <= self.capacity:
                continue
            literals, demand = [], []
            for k, inside in run:
                outside = np.flatnonzero(~inside)
                literal = (hidden, 1)
                if len(outside):
                    line = [(self.sites[k], int(v)) for v in outside]
                    lists.append(([*line, literal], t))
                else:
                    lists.append(([literal], t))
                hidden += 1
                literals.append(literal)
                demand.append(float(self.demands[k]))
            sums.append((literals, demand, t))
        every = np.concatenate([sizes, np.full(hidden - len(sizes), 2)]).astype(np.int64)
        return Factors(
            every, len(sizes), counted=_exactly_one(lists), sums=self._limits(sums), functional=True
        )

    def _running(self, point: int) -> list[tuple[int, np.ndarray]]:
        """The tasks that may run at a point in time, and by which starts. (k,) bool each"""
        t, out = point + self.first, []
        for k, worth in enumerate(self.worths):
            inside = (worth <= t) & (t < worth + self.durations[k])
            if self.demands[k] and inside.any():
                out.append((k, inside))
        return out

    def _sums(self, domains: Sequence[Domain]) -> Factors:
        """A sum over starts for each point in time."""
        sums = []
        for t in range(self.points):
            literals, demand = [], []
            for k, inside in self._running(t):
                places = np.flatnonzero(inside).tolist()
                literals += [(self.sites[k], v) for v in places]
                demand += [float(self.demands[k])] * len(places)
            if literals:
                sums.append((literals, demand, t))
        return self.made(domains, sums=self._limits(sums))

    def _limits(self, sums: Sequence[tuple[list[tuple[int, int]], list[float], int]]) -> Sums:
        literals = ints([x for each, _, _ in sums for pair in each for x in pair]).reshape(-1, 2)
        return Sums(
            starts(ints([len(each) for each, _, _ in sums])),
            literals[:, 0],
            literals[:, 1],
            np.zeros(len(sums), dtype=np.int64),
            ints([t for _, _, t in sums]),
            floats([x for _, demand, _ in sums for x in demand]),
            np.full(len(sums), -np.inf),
            np.full(len(sums), float(self.capacity)),
        )

    def says(self, part: int) -> str:
        names = [self.layout.name(s) for s in self.sites[:NAMED]]
        more = f", {len(self.sites) - NAMED} others" if len(self.sites) > NAMED else ""
        at = self.first + part
        return f"at {at}: {', '.join(names)}{more} demand at most {self.capacity} together"

    def explain(self, *values: Any) -> list[str]:
        begin, said = self.begun(values), []
        for t, total, run in self._short(values):
            tasks = ", ".join(self.spans(begin, k) for k in run[:NAMED])
            more = f", {len(run) - NAMED} others" if len(run) > NAMED else ""
            said.append(f"at {t}: {total} demanded of {self.capacity}, by {tasks}{more}")
        return said

    @classmethod
    def example(cls) -> "Cumulative":
        start = Variable("start", Finite((0, 1, 2, 3), (3,)))
        return cls(start, sites=[0, 1, 2], durations=[2, 1, 3], demands=[2, 1, 1], capacity=2)

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Cumulative"]:
        while not scope:
            values = rng.choice([(0, 1, 2), (2, 0, 1), (5, 3, 4)])
            first = Variable("a", Finite(values, (2,)))
            more = Variable("b", Finite(rng.choice([values, (1, 2)])))
            own = [first, more] if rng.random() < 0.7 else [first]
            sites = rng.sample(range(len(own) + 1), rng.randint(1, len(own) + 1))
            yield cls(
                *own,
                sites=sites,
                durations=[rng.randint(0, 3) for _ in sites],
                demands=[rng.randint(0, 3) for _ in sites],
                capacity=rng.randint(0, 4),
            )


def _exactly_one(lists: Sequence[tuple[list[tuple[int, int]], int]]) -> Counted:
    """Of each list of literals exactly one is true; with its part."""
    literals = ints([x for each, _ in lists for pair in each for x in pair]).reshape(-1, 2)
    one = np.ones(len(lists), dtype=np.int64)
    return Counted(
        starts(ints([len(each) for each, _ in lists])),
        literals[:, 0],
        literals[:, 1],
        0 * one,
        ints([part for _, part in lists]),
        one,
        one,
    )
