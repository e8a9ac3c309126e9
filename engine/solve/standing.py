"""The rows of several chunks as one problem and one report."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from engine.domain import State
from engine.problem import Problem
from engine.rows import NUMBERS, Report


class Standing:
    """Where rows stand: each at its place in the report that told of it last."""

    def __init__(self, sources: Iterable[tuple[Report, int]]):
        self._sources = [*sources]
        self._columns: dict[str, Tensor] = {}  # (R,) each, but for the rows that moved since
        self._moved = set(range(len(self._sources)))

    def take(self, row: int, report: Report, place: int) -> None:
        """A row was told of anew."""
        self._sources[row] = report, place
        self._moved.add(row)

    def report(self) -> Report:
        """One report of all rows. It costs what has moved since the last; states are put together
        when they are looked at."""
        first = self._sources[0][0]
        if len(self._sources) == len(first.done) and all(
            report is first and place == row for row, (report, place) in enumerate(self._sources)
        ):
            return first
        for report, rows, places in _parts(self._sources, self._moved):
            for name in NUMBERS:
                told = getattr(report, name)
                if name not in self._columns:
                    self._columns[name] = told.new_empty(len(self._sources))
                self._columns[name][rows] = told[places]
        self._moved.clear()
        columns = {name: column.clone() for name, column in self._columns.items()}
        sources = tuple(self._sources)
        return Report(_Gathered(sources), **columns, others=_GatheredOthers(sources))


def gather_rows(sources: Sequence[tuple[Report, int]]) -> Report:
    """A report of chosen rows of other reports: (report, row) for each."""
    return Standing(sources).report()


def _parts(
    sources: Sequence[tuple[Report, int]], rows: Iterable[int]
) -> list[tuple[Report, Tensor, Tensor]]:
    """Every report that tells of some of these rows, which ones, and at which places."""
    found: dict[int, tuple[Report, list[int], list[int]]] = {}
    for row in rows:
        report, place = sources[row]
        _, own, places = found.setdefault(id(report), (report, [], []))
        own.append(row)
        places.append(place)
    return [(r, torch.tensor(own), torch.tensor(places)) for r, own, places in found.values()]


def filled_report(problem: Problem, report: Report) -> Report:
    """A report of a minimizer with the states of all variables, those that it did not search too,
    put in their place when they are looked at."""
    if len(problem.open) == len(problem.variables):
        return report
    others = _FilledOthers(problem, report.others) if report.others else report.others
    return replace(report, x=_Filled(problem, report.x), others=others)


class _Filled(Mapping[str, Tensor]):
    """States of all variables of a problem out of those that were searched."""

    def __init__(self, problem: Problem, x: State, row: int | None = None):
        self.problem, self.x, self.row = problem, x, row

    @cached_property
    def whole(self) -> State:
        """All states."""
        owner = None if self.row is None else torch.tensor([self.row])
        return self.problem.filled(self.x, owner)

    def __getitem__(self, name: str) -> Tensor:
        return self.whole[name]

    def __iter__(self) -> Iterator[str]:
        return (v.name for v in self.problem.variables)

    def __len__(self) -> int:
        return len(self.problem.variables)


class _FilledOthers(Sequence[tuple[State, ...]]):
    """Further solutions of each row, as states of all variables."""

    def __init__(self, problem: Problem, others: Sequence[tuple[State, ...]]):
        self.problem, self.others = problem, others

    def __len__(self) -> int:
        return len(self.others)

    def __getitem__(self, row):
        return tuple(_Filled(self.problem, x, row) for x in self.others[row])


class _Gathered(Mapping[str, Tensor]):
    """States out of several reports, put together once, when they are looked at."""

    def __init__(self, sources: Sequence[tuple[Report, int]]):
        self.sources = sources
        self._together: dict[str, Tensor] = {}

    @cached_property
    def parts(self) -> list[tuple[Report, Tensor, Tensor]]:
        """The reports of these rows."""
        return _parts(self.sources, range(len(self.sources)))

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._together:
            self._together[name] = self._put(name)
        return self._together[name]

    def _put(self, name: str) -> Tensor:
        """The states of one variable. -> (R, *shape)"""
        first = self.parts[0][0].x[name]
        out = first.new_empty(len(self.sources), *first.shape[1:])
        for report, rows, places in self.parts:
            out[rows] = report.x[name][places].to(out.dtype)
        return out

    def __iter__(self) -> Iterator[str]:
        return iter(self.sources[0][0].x)

    def __len__(self) -> int:
        return len(self.sources[0][0].x)


class _GatheredOthers(Sequence[tuple[State, ...]]):
    """Alternatives of rows out of several reports."""

    def __init__(self, sources: Sequence[tuple[Report, int]]):
        self.sources = sources

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, row):
        report, k = self.sources[row]
        return tuple(report.others[k]) if report.others else ()
