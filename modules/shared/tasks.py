"""Tasks: sites whose values say when each starts, and how long it lasts from then on."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from engine.decimals import Ints
from engine.domain import Variable, View
from engine.errors import Mistakes
from engine.factors import ints
from modules.shared.numbers import LARGEST, padded, read_whole
from modules.shared.sites import MISTAKES, OverSites, listed, read_sites, whole


class Tasks(OverSites):
    """Abstract: a term over sites that say when tasks start. BadQuery: values that are no whole
    numbers, a duration below 0, not one a site."""

    def __init__(self, *scope: Variable | View, sites: Sequence[int], durations: Sequence[int]):
        super().__init__(*scope)
        (self.sites,) = read_sites(self.layout, [sites], "sites") if listed(sites) else ([],)
        self.durations = read_amounts_of(durations, "durations", len(self.sites))
        self.worths = read_whole(self.layout, self.sites, "sites")
        self._site = torch.tensor(self.sites, dtype=torch.int64)
        self._worth = torch.from_numpy(padded(self.worths))  # (n, k)
        self._long = torch.from_numpy(self.durations)

    def starts_of(self, decided: Sequence[Tensor]) -> Tensor:
        """When tasks start. (B, *shape) int64 of each entry -> (B, n)"""
        places = self.layout.decided(decided)
        worth, site = self._worth.to(places.device), self._site.to(places.device)
        task = torch.arange(len(self.sites), device=places.device)
        return worth[task, places[:, site]]

    def begun(self, values: Sequence[Any]) -> list[int]:
        """The same of plain values."""
        flat = self.layout.flat(values)
        return [_number(flat[site]) for site in self.sites]

    def spans(self, start: Sequence[int], task: int) -> str:
        """When a task runs, in words."""
        until = start[task] + int(self.durations[task])
        return f"{self.layout.name(self.sites[task])} from {start[task]} to {until}"

    def floor(self) -> float:
        return 0.0


def read_amounts_of(numbers: Any, path: str, count: int) -> Ints:
    """Whole numbers from 0, one a task. Raises BadQuery with every place where something is
    wrong."""
    wrong, every = Mistakes(MISTAKES), listed(numbers)
    if every is None or len(every) != count:
        problem = f"{numbers!r} is no list" if every is None else f"has {len(every)} entries"
        wrong.add(path, problem, f"give one for each of the {count} sites")
        every = []
    for k, number in enumerate(every):
        if not whole(number) or not 0 <= number < LARGEST:
            problem = f"{number!r} is no whole number from 0"
            wrong.add(f"{path}[{k}]", problem, "give a whole number from 0")
    wrong.check()
    return ints(every)


def _number(entry: Any) -> int:
    """A value out of `Layout.flat`."""
    return int(entry[1] if isinstance(entry, tuple) else entry)
