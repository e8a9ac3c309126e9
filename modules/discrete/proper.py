"""The puzzle that clues give has exactly one solution."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pydantic import Field
from torch import Tensor

from engine.decimals import Ints
from engine.domain import Finite, Variable, View
from engine.errors import BadQuery, Mistake
from engine.kernels.cover import EXHAUSTED, Cover, cover, search
from modules.parameters import Site, Strict, Value
from modules.shared.sites import OverSites, read_sites, whole

NONE, ONE, SEVERAL, UNDECIDED = range(4)  # solutions of a puzzle


class Parameters(Strict):
    """Which sites must differ in the solution, and what stands for a blank."""

    lines: list[list[Site]] = Field(
        description="Lines of sites; in a solution the sites of a line differ pairwise."
    )
    blank: Value = Field(0, description="The value that gives no clue.")
    nodes: int = Field(
        20_000, ge=1, description="Decisions that counting the solutions may take, at most."
    )


class Proper(OverSites):
    """The clues give a puzzle with exactly one solution: a reading of evidence counts only so.

    Sites are the cells of a puzzle: a value other than `blank` is a clue, a blank is left to the
    solver. A solution puts a value other than the blank at every site, the clues kept, pairwise
    different along each line. E = 0 where there is exactly one solution, else 1 (also where
    `nodes` decisions do not tell: then `holds` is None); a relaxed state counts as its likeliest
    reading, so the gradient is 0. Not affine; no unit. No explicit structure beyond that of a few
    open cells. BadQuery: a blank that is no value, no other value, variables of different values,
    a site out of range or twice in a line, an empty line.
    """

    affine = False
    fixed_structure = False  # the default structure enumerates what evidence leaves

    def __init__(
        self,
        *clues: Variable | View,
        lines: Sequence[Sequence[int]],
        blank: Any = 0,
        nodes: int = 20_000,
    ):
        super().__init__(*clues)
        layout = self.layout
        if not layout.uniform:
            raise BadQuery(
                Mistake("scope", "names variables of different values", "give all of them the same")
            )
        self.blank = layout.domains[0].place(blank, "blank")
        if len(layout.union) < 2:
            raise BadQuery(Mistake("blank", f"{blank!r} is the only value", "give others, too"))
        if not (whole(nodes) and nodes > 0):
            raise BadQuery(Mistake("nodes", f"{nodes!r}", "give a whole number above 0"))
        self.lines = read_sites(layout, lines, "lines")
        self.nodes = int(nodes)
        self.filled = np.delete(np.arange(len(layout.union)), self.blank)  # all but the blank
        self.cover = puzzle(layout.sites, len(self.filled), self.lines)

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B,)
        x = self.layout.aligned(tensors)  # (B, n, k)
        count, _ = self._count(x.argmax(-1).cpu().numpy())
        return x.new_tensor(count != ONE)

    def holds(self, *values: Any) -> bool | None:
        count, _ = self._count(self._places(values)[None])
        return None if count[0] == UNDECIDED else bool(count[0] == ONE)

    def floor(self) -> float:
        return 0.0

    def explain(self, *values: Any) -> list[str]:
        count, solutions = self._count(self._places(values)[None])
        if count[0] == NONE:
            return ["no solution agrees with the clues"]
        if count[0] != SEVERAL:
            return []
        site = int(np.flatnonzero(solutions[0, 0] != solutions[0, 1])[0])
        first, second = (
            self.layout.shown(self.layout.values_at(np.array([site]), self.filled[[s]])[0])
            for s in solutions[0, :, site]
        )
        return [f"more than one solution: {self.layout.name(site)} may be {first} or {second}"]

    def _places(self, values: Sequence[Any]) -> Ints:
        """The places of plain values. -> (n,)"""
        flat = self.layout.flat(values)
        place = {self.layout.plain(v): k for k, (_, v) in enumerate(self.layout.union)}
        return np.array([place[v] for v in flat], dtype=np.int64)

    def _count(self, places: Ints) -> tuple[Ints, Ints]:
        """How many solutions each reading has, and up to two of them. (B, n) -> (B,), (B, 2, n)"""
        clue = places[:, :, None] == self.filled  # (B, n, k - 1)
        allowed = clue | (places == self.blank)[:, :, None]
        found = search(self.cover, allowed.reshape(len(places), -1), self.nodes, wanted=2)
        count = np.where(found.found >= 2, SEVERAL, np.where(found.found == 1, ONE, NONE))
        open_end = (found.found < 2) & (found.status != EXHAUSTED)
        return np.where(open_end, UNDECIDED, count), found.solutions

    @classmethod
    def example(cls) -> "Proper":
        x = Variable("x", Finite((0, 1, 2), (2, 2)))
        return cls(x, lines=[[0, 1], [2, 3], [0, 2], [1, 3]])

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Proper"]:
        while not scope:
            clues = Variable("clues", Finite((0, 1, 2), (4,)))
            lines = [rng.sample(range(4), rng.randint(1, 2)) for _ in range(rng.randint(1, 4))]
            yield cls(clues, lines=lines)


def puzzle(sites: int, values: int, lines: Sequence[Sequence[int]]) -> Cover:
    """Each value at most once in a line; exactly once where a line has as many sites as values."""
    groups = [[site * values + v for site in line] for line in lines for v in range(values)]
    exact = [len(line) == values for line in lines for _ in range(values)]
    start = np.concatenate([[0], np.cumsum([len(group) for group in groups])]).astype(np.int64)
    flat = np.array([literal for group in groups for literal in group], dtype=np.int64)
    return cover(np.full(sites, values), start, flat, exact)
