"""Records with an entry a row: a report, and how rows of a state are taken, stacked and put."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor

from engine.answer import Proof
from engine.compare import better
from engine.domain import State
from engine.problem import Problem

T = TypeVar("T")
UNKNOWN, NOT_UNIQUE, UNIQUE = -1, 0, 1
NUMBERS = ("energy", "violation", "bound", "done", "unique", "by")  # of a report, one a row
PROOFS = (None, *Proof)  # by the numbers that reports give them


@dataclass(frozen=True, eq=False)
class Report:
    """Where a minimizer stands: one entry per row."""

    x: State  # the best decided states, (R, *shape)
    energy: Tensor  # (R,) float64 of these states, infinite while there is none
    violation: Tensor  # (R,) float64: 0 where no required rule is known to fail
    bound: Tensor  # (R,) float64 proved; -inf: nothing proved; +inf: proved infeasible
    done: Tensor  # (R,) bool: this minimizer has nothing left to do
    unique: Tensor  # (R,) int8: UNKNOWN, NOT_UNIQUE or UNIQUE
    others: Sequence[tuple[State, ...]] = ()  # alternatives of each row, states of one row
    by: Tensor = None  # type: ignore[assignment] # (R,) int8 what proved the bound: PROOFS

    def __post_init__(self) -> None:
        if self.by is None:  # it is not said: that of the minimizer
            object.__setattr__(self, "by", torch.zeros_like(self.unique))

    @staticmethod
    def blank(problem: Problem, x: State) -> "Report":
        """A report in which nothing is known."""
        rows, device = problem.rows, problem.device
        infinite = torch.full((rows,), torch.inf, dtype=torch.float64, device=device)
        return Report(
            x,
            infinite,
            infinite.clone(),
            -infinite,
            torch.zeros(rows, dtype=torch.bool, device=device),
            torch.full((rows,), UNKNOWN, dtype=torch.int8, device=device),
            ((),) * rows,
        )

    def to(self, device: torch.device | str) -> "Report":
        """The numbers of each row on another device; the states stay where they lie."""
        moved = {name: getattr(self, name).to(device) for name in NUMBERS}
        return self if moved["energy"] is self.energy else replace(self, **moved)

    def unproved(self) -> "Report":
        """The states alone, without anything that was proved."""
        unknown = torch.full_like(self.unique, UNKNOWN)
        bound, by = torch.full_like(self.bound, -torch.inf), torch.zeros_like(self.by)
        return replace(self, bound=bound, unique=unknown, by=by)

    def credited(self, proof: Proof) -> "Report":
        """The same, its bounds proved in this way where nothing else is said."""
        mine = (self.by == 0) & (self.bound > -torch.inf)
        return replace(self, by=torch.where(mine, PROOFS.index(proof), self.by))

    def only(self, rows: Tensor) -> "Report":
        """What is said of some rows, nothing of the others. (R,) bool"""
        infinite = torch.inf
        return replace(
            self,
            energy=torch.where(rows, self.energy, infinite),
            violation=torch.where(rows, self.violation, infinite),
            bound=torch.where(rows, self.bound, -infinite),
            unique=torch.where(rows, self.unique, UNKNOWN),
            by=torch.where(rows, self.by, 0),
        )

    def better(self, other: "Report") -> Tensor:
        """Rows in which this report has the better state: violation first, then energy. -> (R,)"""
        return better(self.energy, self.violation, other.energy, other.violation)

    def joined(self, other: "Report") -> "Report":
        """The best of two reports about the same rows, and everything that either proved."""
        take = other.better(self)
        x = {
            n: torch.where(take.view(-1, *[1] * (t.dim() - 1)), other.x[n], t)
            for n, t in self.x.items()
        }
        return Report(
            x,
            torch.where(take, other.energy, self.energy),
            torch.where(take, other.violation, self.violation),
            torch.maximum(self.bound, other.bound),
            self.done | other.done,
            torch.maximum(self.unique, other.unique),
            tuple(
                b if len(b) > len(a) else a for a, b in zip(self.others, other.others, strict=True)
            ),
            torch.where(other.bound > self.bound, other.by, self.by),
        )


def particles_of(problem: Problem, x: State) -> int:
    """P, from the first variable of the start that is looked at; 1 where nothing is searched."""
    opened = [v for v in problem.finite if v.name not in problem.constants] or problem.open
    return len(x[opened[0].name]) // problem.rows if opened else 1


def select_rows(s: Any, rows: Sequence[int], total: int) -> Any:
    """A state record with only some of its rows."""
    index = torch.as_tensor(rows, dtype=torch.long)
    return _combined(
        [s], [total], lambda t: t[0][index], lambda every: tuple(every[0][r] for r in rows)
    )


def stack_rows(states: Sequence[Any], totals: Sequence[int]) -> Any:
    """State records one after the other: the rows of the first, then those of the others."""
    return _combined(states, totals, torch.cat, lambda every: tuple(chain.from_iterable(every)))


def put_rows(whole: T, some: T, rows: Sequence[int], total: int) -> T:
    """A state record whose `rows` are those of another that holds just these: the inverse of
    `select_rows`."""
    index = torch.as_tensor(rows, dtype=torch.long)

    def replaced(every: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
        new = dict(zip(rows, every[1], strict=True))
        return tuple(new.get(r, old) for r, old in enumerate(every[0]))

    return _combined(
        [whole, some],
        [total, len(rows)],
        lambda t: t[0].index_copy(0, index.to(t[0].device), t[1]),
        replaced,
    )


def _combined(
    fields: Sequence[Any],
    totals: Sequence[int],
    tensors: Callable[[list[Tensor]], Tensor],
    tuples: Callable[[Sequence[tuple[Any, ...]]], tuple[Any, ...]],
) -> Any:
    """State records of `totals` rows made into one, field by field: `tensors` makes one of tensors
    that lead with rows (R, n, ...), `tuples` one of tuples with an entry a row."""
    first = fields[0]
    if isinstance(first, Tensor):
        if not first.dim() or any(f.shape[0] % n for f, n in zip(fields, totals, strict=True)):
            return first
        led = [f.unflatten(0, (n, -1)) for f, n in zip(fields, totals, strict=True)]
        return tensors(led).flatten(0, 1)

    def whole(parts: Sequence[Any]) -> Any:
        return _combined(parts, totals, tensors, tuples)

    if isinstance(first, Mapping):
        return {name: whole([f[name] for f in fields]) for name in first}
    if isinstance(first, Report):
        taken = {n: whole([getattr(f, n) for f in fields]) for n in ("x", *NUMBERS)}
        return replace(first, others=tuples([tuple(f.others) for f in fields]), **taken)
    if type(first) is tuple and all(len(f) == n for f, n in zip(fields, totals, strict=True)):
        return tuples(fields)
    if isinstance(first, tuple) and type(first) is not tuple:  # a record
        return type(first)(*(whole(values) for values in zip(*fields, strict=True)))
    return first
