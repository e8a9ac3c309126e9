"""KenKen in a picture: one PNG of a board of 3 x 3 to 9 x 9, its cages by thick borders.

Target and operator stand in the top left corner of a cage: in its first cell, row by row. What they
say stands in the energy, one table over the cells of each cage (`image.cage`), beside rows and
columns of pairwise different numbers; readings dearer than `within` of a cage's cheapest are left
out at first, and asked again where the answer does not rule them out.
Values by `--given`: `weights`, of `basin train image.classifier`; `margin`: ABSTAIN where the
runner-up reading costs so many nats more, or fewer; `dear`: ABSTAIN where a target costs so many
nats on the average, or more.
Further fields: `reading`, the target of each cage; `misread`, those that are not what their
pictures look like most; `alternatives`, the runner-up reading. The solution is rows of numbers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from engine.answer import Alternative, Answer, Flag, Status
from engine.decimals import Floats
from engine.errors import BadQuery, Mistake
from modules.image._boards.grid import cages_of
from modules.image._boards.reading import Signs, reading_of
from modules.image._boards.strips import HIGH
from modules.image.cage import SIGNS, Shape, cage_prices, shape_of
from services.formats.base import Ask, Asked, Pictured, Values
from services.formats.pictured import (
    PNG,
    WEIGHTS,
    Cells,
    Otherwise,
    PictureFormat,
    Said,
    cells_in,
    told_apart,
    wishes,
)
from services.formats.sheets import Mark, judged, sheet_of
from services.query import Query, query_of

SIZES = tuple(range(3, 10))
WIDTH = 128  # pixels of a strip
LARGEST = 6  # cells of a cage
GIVEN = {"weights": WEIGHTS, "margin": 1.0, "dear": 1.84}
STEPS = 200  # of the search under one price
OPEN = 2  # searches may be given up; a third took half a minute of a board of 9 x 9
WITHIN = (
    1.0,
    3.0,
    6.0,
    10.0,
    15.0,
    21.0,
    28.0,
    64.0,
)  # nats above the cheapest reading of each cage, in turn


class KenKen(PictureFormat):
    name: ClassVar[str] = "kenken"

    def sniff_raw(self, raw: bytes) -> bool:
        if not raw.startswith(PNG):
            return False
        try:
            cells = cells_in(raw, SIZES, WIDTH)
            cages = cages_of(cells.grid)
        except BadQuery:
            return False
        n = cells.n
        return not (len(cages) in (1, n) and all(len(c) in (n, n * n) for c in cages))

    def read_raw(self, raw: bytes, source: str, given: Any) -> list[Asked]:
        asked = wishes(given, GIVEN)
        told = kenken_of(raw, asked)
        return [Asked(told.query(WITHIN[0]), source, (1,), _rows, _drawn, pictured=told)]


def kenken_of(raw: bytes, asked: dict[str, Any]) -> "KenKenRead":
    """The board of a picture, as it is asked. Raises BadQuery where its cages lack targets."""
    cells = cells_in(raw, SIZES, WIDTH)
    cages = cages_of(cells.grid)
    firsts = [cage[0] for cage in cages]
    wrong = []
    for cage in cages:
        at = f"cell {[*divmod(cage[0], cells.n)]}"
        if len(cage) > LARGEST:
            wrong.append(Mistake(at, f"a cage of {len(cage)} cells", f"give at most {LARGEST}"))
        elif not cells.inked[cage[0]]:
            wrong.append(
                Mistake(at, "no target stands in the first cell of its cage", "turn the picture")
            )
    stray = [k for k in np.flatnonzero(cells.inked).tolist() if k not in firsts]
    if stray:
        said = "something stands in a cell that is not the first of its cage"
        wrong.append(Mistake(f"cell {[*divmod(stray[0], cells.n)]}", said, "give an empty board"))
    if wrong:
        raise BadQuery(*wrong[:5])
    return KenKenRead(cells, tuple(tuple(cage) for cage in cages), asked)


def _rows(values: Values) -> list[list[int]]:
    return [[*row] for row in values["grid"]]


def _drawn(values: Values) -> str:
    return "\n".join(" ".join(map(str, row)) for row in values["grid"])


@dataclass(frozen=True, eq=False)
class KenKenRead(Pictured):
    """What a board was read as, and what else it may say."""

    cells: Cells
    cages: tuple[tuple[int, ...], ...]
    asked: dict[str, Any]

    def query(self, within: float, unlike: Sequence[str] | None = None) -> Query:
        """The board with the readings that cost so much more than the cheapest of each cage, or
        less; unlike: a reading, from which this must differ in some cage."""
        n = self.cells.n
        at = np.arange(n * n).reshape(n, n)
        lines = [*at.tolist(), *at.T.tolist()]
        params: dict[str, Any] = {
            "cages": [list(cage) for cage in self.cages],
            "weights": self.asked["weights"],
            "within": within,
            "lines": lines,
        }
        if unlike is not None:
            params["unlike"] = list(unlike)
        return query_of(
            {
                "variables": {"grid": {"values": list(range(1, n + 1)), "shape": [n, n]}},
                "inputs": {
                    "pictures": {"shape": [len(self.cages), HIGH, WIDTH], "low": 0.0, "high": 1.0}
                },
                "terms": [
                    {
                        "kind": "discrete.all_different",
                        "scope": ["grid"],
                        "params": {"lines": lines},
                    },
                    {
                        "kind": "image.cage",
                        "scope": ["pictures", "grid"],
                        "required": False,
                        "params": params,
                    },
                ],
                "budget": {"steps": STEPS},
                "evidence": {"pictures": self.cells.given([cage[0] for cage in self.cages])},
            }
        )

    @cached_property
    def shapes(self) -> dict[int, Shape]:
        values = list(range(1, self.cells.n + 1))
        return {m: shape_of(values, m) for m in {len(cage) for cage in self.cages}}

    @cached_property
    def prices(self) -> list[Floats]:
        """What each text costs in the picture of each cage."""
        reading = reading_of(self.asked["weights"])
        signs = Signs(reading.characters.labels, SIGNS)
        reads = reading.reads(self.cells.strips[[cage[0] for cage in self.cages]])
        return [
            cage_prices(read, signs, self.shapes[len(cage)])
            for read, cage in zip(reads, self.cages, strict=True)
        ]

    @property
    def least(self) -> float:
        """What the cheapest readings of all cages cost in all."""
        return float(sum(prices.min() for prices in self.prices))

    def reading(self, values: Values, unlike: Sequence[str] | None = None) -> list[str]:
        """The cheapest target of each cage, as the filling has it; unlike: another reading, from
        which this differs in one cage at least."""
        every = self._targets(values)
        out = [min(own, key=lambda text: own[text]) for own in every]
        if unlike is None or out != list(unlike):
            return out
        others = [
            (own[text] - own[first], k, text)
            for k, (own, first) in enumerate(zip(every, out, strict=True))
            for text in own
            if text != first
        ]
        for _, k, text in sorted(others)[:1]:
            out[k] = text
        return out

    def _targets(self, values: Values) -> list[dict[str, float]]:
        """What each cage may say as it is filled, and the price of that."""
        flat = np.array(values["grid"]).reshape(-1) - 1
        out = []
        for cage, prices in zip(self.cages, self.prices, strict=True):
            shape = self.shapes[len(cage)]
            filling = np.ravel_multi_index(tuple(flat[list(cage)]), (self.cells.n,) * len(cage))
            each = shape.results[:, filling].tolist()
            out.append({shape.texts[k]: float(prices[k]) for k in each if k >= 0})
        return out

    def otherwise(self, values: Values, other: Values) -> list[Otherwise]:
        """In which cages another filling is read otherwise, and what that costs more."""
        first = self.reading(values)
        second = self.reading(other, first)
        out = []
        for k, (read, told) in enumerate(zip(first, second, strict=True)):
            if read != told:
                texts, prices = self.shapes[len(self.cages[k])].texts, self.prices[k]
                price = float(prices[texts.index(told)] - prices[texts.index(read)])
                site = [*divmod(self.cages[k][0], self.cells.n)]
                out.append(Otherwise("pictures", site, read, told, price))
        return out

    def misread(self, values: Values) -> list[Said]:
        out = []
        for cage, prices, read in zip(self.cages, self.prices, self.reading(values), strict=True):
            texts = self.shapes[len(cage)].texts
            plain = int(prices.argmin())
            if texts[plain] != read:
                price = float(prices[texts.index(read)] - prices[plain])
                site = [*divmod(cage[0], self.cells.n)]
                out.append(Said("pictures", site, texts[plain], read, price))
        return out

    def fields(self, row: int, answer: Answer) -> dict[str, Any]:
        del row
        if answer.values is None:
            return {"reading": None, "misread": []}
        reading = self.reading(answer.values)
        return {
            "reading": self._named(reading),
            "misread": [one.written() for one in self.misread(answer.values)],
            "alternatives": [
                {
                    "solution": _rows(other.values),
                    "reading": self._named(self.reading(other.values, reading)),
                    "energy": other.energy,
                    "otherwise": [
                        one.written() for one in self.otherwise(answer.values, other.values)
                    ],
                }
                for other in answer.alternatives
            ],
        }

    def _named(self, reading: Sequence[str]) -> list[dict[str, Any]]:
        n = self.cells.n
        return [
            {"cells": [[*divmod(site, n)] for site in cage], "target": text}
            for cage, text in zip(self.cages, reading, strict=True)
        ]

    def said(self, row: int, answer: Answer) -> list[str]:
        del row
        if answer.values is None:
            return []
        out = [f"reading {' '.join(self.reading(answer.values))}"] + [
            f"at {one.site} it looks like {one.plain} and is read as {one.read}, "
            f"for {one.price:.3g} nats"
            for one in self.misread(answer.values)
        ]
        for other in answer.alternatives:
            apart = self.otherwise(answer.values, other.values)
            more = other.energy - (answer.energy or 0.0)
            out += told_apart(apart, more, other.values["grid"] == answer.values["grid"])
        return out

    def sheet(self, row: int, answer: Answer) -> npt.NDArray[np.uint8] | None:
        del row
        if answer.values is None:
            return None
        other = {tuple(one.site): one.plain for one in self.misread(answer.values)}
        marks = {
            cage[0]: Mark(text, other.get(divmod(cage[0], self.cells.n)))
            for cage, text in zip(self.cages, self.reading(answer.values), strict=True)
        }
        solution = [str(value) for line in answer.values["grid"] for value in line]
        return sheet_of(self.cells.grid, marks, solution, self.cages, judged(answer))

    def settled(self, answers: Sequence[Answer], ask: Ask, far: bool) -> list[Answer]:
        answer = self.deepened(answers[0], ask)
        if answer.values is None or answer.energy is None:
            open_end = () if answer.status is Status.INFEASIBLE else (Flag.ABSTAIN,)
            return [replace(answer, flags=tuple(dict.fromkeys((*answer.flags, *open_end))))]
        proved = answer.status is Status.OPTIMAL
        other = self.rival(answer, ask, far) if proved or far else None
        near = answer.energy >= self.asked["dear"] * len(self.cages)
        near = near or not proved
        if other is not None and other.values is not None and other.energy is not None:
            near = near or other.energy - answer.energy <= self.asked["margin"]
            answer = replace(answer, alternatives=(Alternative(other.values, other.energy),))
        flags = (*answer.flags, *([Flag.ABSTAIN] if near else []))
        return [replace(answer, flags=tuple(dict.fromkeys(flags)))]

    def deepened(self, answer: Answer, ask: Ask) -> Answer:
        """The answer once no reading that was left out can be better: such a reading costs more by
        itself than the answer does above the least of all cages. What is left open with few
        readings is asked again with more. SATISFIED where no search was ended by a proof."""
        within, best, least, below, left = WITHIN[0], None, math.inf, 0.0, OPEN
        while True:
            proved = answer.status in (Status.OPTIMAL, Status.INFEASIBLE)
            below = within if answer.status is Status.INFEASIBLE else below
            energy = math.inf if answer.values is None or answer.energy is None else answer.energy
            if energy < math.inf and energy <= least:
                best, least = answer, energy
            above = min(least - self.least, WITHIN[-1])
            left -= not proved
            if within >= above or not left:
                break
            within = min(above, next(step for step in WITHIN if step > within))
            (answer,) = ask(self.query(within))
        if best is None or (proved and best.status is Status.OPTIMAL):
            return best or answer
        return replace(best, status=Status.SATISFIED, bound=self.least + below, ended=answer.ended)

    def rival(self, answer: Answer, ask: Ask, far: bool = False) -> Answer | None:
        """The best answer of another reading, at most `margin` dearer unless it may be far; None:
        no cage may be read otherwise at such a price."""
        assert answer.values is not None and answer.energy is not None
        reading = self.reading(answer.values)
        above = answer.energy - self.least + self.asked["margin"]
        for within in (above, *(w for w in WITHIN if far and w > above)):
            if self._may_differ(reading, within):
                (other,) = ask(self.query(within, reading))
                if other.values is not None:
                    return other
        return None

    def _may_differ(self, reading: Sequence[str], within: float) -> bool:
        """Some cage has another text at such a price."""
        for cage, prices, own in zip(self.cages, self.prices, reading, strict=True):
            texts = self.shapes[len(cage)].texts
            near = np.flatnonzero(prices <= prices.min() + within).tolist()
            if any(texts[k] != own for k in near):
                return True
        return False
