"""Rows of one energy that are searched together: they join and leave between steps.

How rows are put together for a step may depend on the clock, because what a row does depends on no
other row. Rows of several owners may share a batch; where a step fails, it is repeated for each
owner apart, so that a fault reaches none but its own.
"""

import time
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from engine.domain import State
from engine.minimizer import Minimizer
from engine.moves.start import StartRows
from engine.problem import Problem
from engine.random import Stream
from engine.rows import Report
from engine.solve.standing import filled_report, gather_rows

K = TypeVar("K")  # an owner of rows
STEP = 0.03  # seconds of this thread that a step should take at most


@dataclass(frozen=True, eq=False)
class _Chunk(Generic[K]):
    """Rows that are stepped in one call."""

    problem: Problem
    state: Any
    rng: Stream  # at the steps done
    tickets: tuple[tuple[K, int], ...]  # the owner of each row, and its number there
    energy: Tensor  # (R,) as last reported
    violation: Tensor  # (R,)
    bound: Tensor  # (R,)
    kin: Hashable  # only rows of one kin are put together
    apart: bool = False  # never put beside others: a step failed in company, or its structure is
    # that of its own evidence

    @property
    def rows(self) -> int:
        return len(self.tickets)


class Stepped(NamedTuple, Generic[K]):
    """What a step has come to, one entry a row that was moved."""

    tickets: Sequence[tuple[K, int]]
    report: Report
    steps: list[int]  # that the row has made by now
    better: list[bool]  # than before: its state, or what is proved
    done: list[bool]


class Failed(NamedTuple, Generic[K]):
    """A step that raised; the rows of its owner have left."""

    owner: K
    error: BaseException


class Batch(Generic[K]):
    """Rows under way, stepped in turn; every problem that joins has the same energy and structure,
    and as many particles a row."""

    def __init__(self, minimizer: Minimizer):
        self.minimizer = minimizer
        self._chunks: deque[_Chunk[K]] = deque()  # in turn
        self._fresh: deque[_Chunk[K]] = deque()  # not stepped yet: every second turn is theirs
        self._welcomed = False  # the last turn was
        self._gone: set[tuple[K, int]] = set()  # left, and not taken out yet
        self._pace = 0.0  # seconds a row of the last step

    def join(
        self, problem: Problem, x: State, rng: Stream, tickets: Sequence[tuple[K, int]]
    ) -> Report:
        """Begin the rows of a problem, P particles each: x (R * P, *shape). -> how they stand"""
        begun = []
        for kin, rows, apart in self._groups(problem):
            own, start, stream = _some(problem, rows), x, rng.at(0)
            if len(rows) < problem.rows:
                start, stream = StartRows(x, rows, problem.rows), stream.select(torch.tensor(rows))
            state = self.minimizer.init(own, start, stream)
            report = filled_report(own, self.minimizer.credited(own, state))
            stands = (report.energy, report.violation, report.bound)
            owners = tuple(tickets[r] for r in rows)
            chunk = _Chunk(own, state, stream, owners, *stands, kin, apart)
            begun.append((chunk, report, rows))
        self._fresh.extend(chunk for chunk, _, _ in begun)
        at = {row: (report, k) for _, report, rows in begun for k, row in enumerate(rows)}
        return gather_rows([at[row] for row in range(problem.rows)])

    def resume(
        self, problem: Problem, state: Any, rng: Stream, tickets: Sequence[tuple[K, int]]
    ) -> Report:
        """Go on with a problem of one row from a state of it. -> how it stands"""
        report = filled_report(problem, self.minimizer.credited(problem, state))
        stands = (report.energy, report.violation, report.bound)
        (kin,), owners = self.minimizer.kin(problem), tuple(tickets)
        chunk = _Chunk(
            problem,
            state,
            rng.at(0),
            owners,
            *stands,
            (kin, problem.form),
            problem.structures.particular,
        )
        self._fresh.append(chunk)
        return report

    def state_of(self, ticket: tuple[K, int]) -> Any:
        """The state of a row that was stepped alone, also when it has just left; None where there
        is none."""
        every = (*self._chunks, *self._fresh)
        return next((one.state for one in every if one.tickets == (ticket,)), None)

    def _groups(self, problem: Problem) -> Iterator[tuple[Hashable, list[int], bool]]:
        """Rows that may be stepped together, and whether they never are put beside others: of equal
        kin, with the same constants, and of one structure."""
        kins = self.minimizer.kin(problem)
        for rows in problem.groups:
            own = _some(problem, rows)
            by_kin: dict[Hashable, list[int]] = {}
            for row in rows:
                by_kin.setdefault((kins[row], own.form), []).append(row)
            alone = len(rows) == 1 and own.structures.particular
            yield from ((kin, same, alone) for kin, same in by_kin.items())

    def leave(self, tickets: Iterable[tuple[K, int]]) -> None:
        """Take rows out, before the next step."""
        self._gone.update(tickets)

    def step(self) -> Stepped[K] | Failed[K] | None:
        """Move the rows whose turn it is by one step; None when no row is left."""
        chunk = self._next()
        if chunk is None:
            return None
        rng = chunk.rng.at(chunk.rng.step + 1)
        began = time.thread_time()
        try:
            state = self.minimizer.step(chunk.problem, chunk.state, rng)
            report = filled_report(chunk.problem, self.minimizer.credited(chunk.problem, state))
        except BaseException as error:  # whatever a term raises
            return self._failed(chunk, error)
        self._pace = (time.thread_time() - began) / chunk.rows
        before = replace(report, energy=chunk.energy, violation=chunk.violation, bound=chunk.bound)
        better = report.better(before) | (report.bound > chunk.bound)
        stands = {name: getattr(report, name) for name in ("energy", "violation", "bound")}
        self._chunks.append(replace(chunk, state=state, rng=rng, **stands))
        steps = rng.steps.tolist()
        return Stepped(chunk.tickets, report, steps, better.tolist(), report.done.tolist())

    def _next(self) -> _Chunk[K] | None:
        """The rows whose turn it is, no more than a step should move. Rows that join do not wait
        for all that run, nor do these for all that join."""
        while self._chunks or self._fresh:
            self._welcomed = bool(self._fresh) and not (self._welcomed and self._chunks)
            queue = self._fresh if self._welcomed else self._chunks
            chunk = self._staying(queue.popleft())
            if chunk is None:
                continue
            width = self._width(chunk)
            if chunk.rows > width:
                starts = range(0, chunk.rows, width)
                pieces = [self._select(chunk, range(chunk.rows)[at : at + width]) for at in starts]
                self._chunks.extendleft(reversed(pieces[1:]))
                return pieces[0]
            return chunk if chunk.apart else self._grown(chunk, width)
        return None

    def _grown(self, chunk: _Chunk[K], width: int) -> _Chunk[K]:
        """With the rows of others that may be stepped in the same call."""
        total, beside = chunk.rows, [chunk]
        for queue in (self._chunks, self._fresh):
            for _ in range(len(queue)):
                other = self._staying(queue.popleft())
                if other is None:
                    continue
                both = min(width, self._width(other))
                if other.apart or other.kin != chunk.kin or total + other.rows > both:
                    queue.append(other)
                    continue
                beside.append(other)
                total, width = total + other.rows, both
        if len(beside) == 1:
            return chunk
        try:
            return self._stack(beside)
        except Exception:  # they go on, each by itself
            alone = [replace(one, apart=True) for one in beside]
            self._chunks.extendleft(reversed(alone[1:]))
            return alone[0]

    def _width(self, chunk: _Chunk[K]) -> int:
        timely = int(STEP / self._pace) if self._pace > 0 else chunk.rows
        return max(1, min(self.minimizer.width(chunk.state), timely))

    def _staying(self, chunk: _Chunk[K]) -> _Chunk[K] | None:
        """Without the rows that have left."""
        if self._gone.isdisjoint(chunk.tickets):
            return chunk
        stay = [k for k, ticket in enumerate(chunk.tickets) if ticket not in self._gone]
        self._gone.difference_update(chunk.tickets)
        return self._select(chunk, stay) if stay else None

    def _failed(self, chunk: _Chunk[K], error: BaseException) -> Stepped[K] | Failed[K] | None:
        """Nothing has moved, as steps are pure: the owners go on apart, or the only one fails."""
        owners = list(dict.fromkeys(owner for owner, _ in chunk.tickets))
        if len(owners) == 1:
            others = (*self._chunks, *self._fresh)
            every = (ticket for other in others for ticket in other.tickets)
            self.leave(ticket for ticket in every if ticket[0] == owners[0])
            return Failed(owners[0], error)
        for owner in reversed(owners):
            own = [k for k, ticket in enumerate(chunk.tickets) if ticket[0] == owner]
            self._chunks.appendleft(replace(self._select(chunk, own), apart=True))
        return self.step()

    def _select(self, chunk: _Chunk[K], rows: Sequence[int]) -> _Chunk[K]:
        index = torch.as_tensor(rows)
        return replace(
            chunk,
            problem=chunk.problem.select(rows),
            state=self.minimizer.select(chunk.state, rows, chunk.rows),
            rng=chunk.rng.select(index),
            tickets=tuple(chunk.tickets[k] for k in rows),
            energy=chunk.energy[index],
            violation=chunk.violation[index],
            bound=chunk.bound[index],
        )

    def _stack(self, chunks: Sequence[_Chunk[K]]) -> _Chunk[K]:
        return _Chunk(
            Problem.stack([c.problem for c in chunks]),
            self.minimizer.stack([c.state for c in chunks], [c.rows for c in chunks]),
            Stream.join([c.rng for c in chunks]),
            tuple(ticket for c in chunks for ticket in c.tickets),
            torch.cat([c.energy for c in chunks]),
            torch.cat([c.violation for c in chunks]),
            torch.cat([c.bound for c in chunks]),
            chunks[0].kin,
        )


def _some(problem: Problem, rows: Sequence[int]) -> Problem:
    """The problem of some of its rows, in order; itself where these are all."""
    return problem if len(rows) == problem.rows else problem.select(rows)
