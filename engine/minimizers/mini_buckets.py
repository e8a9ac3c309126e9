"""Bounds by mini-buckets beside those who search: a proved bound of each row, and no search.

Buckets of more cells bring better bounds; each step works on one of them, and the next size
begins where the last one ended.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from engine.answer import Proof
from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.minimizer import WIDE, Best, Minimizer, best_start
from engine.problem import Problem
from engine.random import Stream
from engine.rows import Report
from engine.search.elimination import Elimination
from engine.search.minibuckets import bound_of, split_in_pieces, split_plan
from engine.search.plans import network_of
from engine.search.semiring import Least

SIZES = (1 << 8, 1 << 12, 1 << 16)  # cells of a mini-bucket, one after the other
FACTORS = 1 << 13  # that are split
MOST = 1 << 26  # table entries added up for one row at one size


class MiniBucketsState(NamedTuple):
    """Where every row stands."""

    x: dict[str, Tensor]  # (R, *shape) the best of the particles that came
    energy: Tensor  # (R,) of it
    violation: Tensor  # (R,)
    bound: Tensor  # (R,)
    size: Tensor  # (R,) int64 place among the sizes
    begun: tuple[Elimination | None, ...]


@dataclass(frozen=True)
class MiniBuckets(Minimizer[MiniBucketsState]):
    """Tells bounds; its states are those it was given. Refuses many factors.

    visit: table entries added up in one step of a row, the last bucket beyond; the default is
    roughly 10 ms.
    """

    proof: ClassVar[Proof] = Proof.BUCKETS

    visit: int = 8_000_000

    def __post_init__(self):
        if self.visit < 1:
            raise BadQuery(Mistake("visit", f"{self.visit!r}", "give at least 1"))

    def refuses(self, problem: Problem) -> str | None:
        network = network_of(problem)
        if isinstance(network, str):
            return f"mini_buckets has no tables for {network}"
        count = len(network.scopes.base)
        return f"mini_buckets takes {FACTORS} factors, not {count}" if count > FACTORS else None

    def prepare(self, problem: Problem) -> Iterator[None]:
        yield from problem.prepare()
        if self.refuses(problem) is not None:
            return
        for cells in SIZES:
            yield from split_in_pieces(problem, cells)

    def init(self, problem: Problem, x: State, rng: Stream) -> MiniBucketsState:
        del rng
        why = self.refuses(problem)
        if why is not None:
            raise BadQuery(why)
        rows, device = problem.rows, problem.device
        return MiniBucketsState(
            *best_start(problem, x),
            torch.full((rows,), -math.inf, dtype=torch.float64, device=device),
            torch.zeros(rows, dtype=torch.int64, device=device),
            (None,) * rows,
        )

    def step(self, problem: Problem, s: MiniBucketsState, rng: Stream) -> MiniBucketsState:
        begun, bound, size = list(s.begun), s.bound.clone(), s.size.clone()
        for row in (s.size < len(SIZES)).nonzero().reshape(-1).tolist():
            now = begun[row]
            if now is None:
                plan = split_plan(problem, SIZES[int(size[row])])
                assert plan is not None
                if plan.work > MOST:  # and the next is larger still
                    size[row] = len(SIZES)
                    continue
                now = Elimination.of(plan, problem, row, Least())
            begun[row] = now = now.advanced(self.visit)
            if now.done:
                begun[row] = None
                told = bound_of(problem, row, now)
                bound[row] = max(float(bound[row]), told)
                size[row] = len(SIZES) if told == math.inf else size[row] + 1
        return s._replace(begun=tuple(begun), bound=bound, size=size)

    def report(self, problem: Problem, s: MiniBucketsState) -> Report:
        best = Best(s.x, s.energy, s.violation)
        return best.reported(problem, s.bound, s.size >= len(SIZES))

    def width(self, s: MiniBucketsState) -> int:
        works = [one.plan.work for one in s.begun if one is not None]
        return max(1, min(WIDE, int(self.visit / max([1.0, *works]))))
