"""Sudoku in a picture: one PNG of a board of 4 x 4, 9 x 9 or 16 x 16, read and solved at once.

The grid is found by its lines (or the picture is n x 28 pixels a side, cells of 28 x 28 without
lines), light on dark or dark on light. Which cells are blank is told by their ink; what the others
say stands in the energy: `image.numeral` over the clues, which the solution keeps, and which must
leave one solution (`discrete.proper`). Numbers above 9 are written in digits or as A-G.
Values by `--given`: `weights`, of `basin train image.classifier`; `notation`: decimal, letters or
either; `sizes`: whether digits and letters are told apart by their sizes too; `margin`: ABSTAIN
where the runner-up reading costs so many nats more, or fewer; `dear`: ABSTAIN where a clue costs so
many nats on the average, or more.
Further fields: `reading`, one string; `misread`, the pictures that were not read as what they look
like most; `alternatives`, the runner-up reading.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from engine.answer import Alternative, Answer, Flag, Status
from engine.decimals import Floats, Ints
from engine.domain import Finite, Given, Input, Real, Variable
from engine.errors import BadQuery, Mistake
from modules.image._boards.grid import cages_of
from modules.image._boards.reading import UNIT
from modules.image._boards.strips import HIGH
from modules.image.numeral import Numeral
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
from services.formats.readings import Priced, Reading, least_reading, near_readings, priced
from services.formats.sheets import Mark, judged, sheet_of
from services.formats.sudoku import SIGNS, board, drawn, written
from services.query import Query, query_of

SIZES = (4, 9, 16)
WIDTH = 64  # pixels of a strip
GIVEN = {"weights": WEIGHTS, "notation": "either", "sizes": True, "margin": 1.0, "dear": 0.32}
STEPS = 2  # of the search for an answer: what it leaves open is searched by readings
FAR = (4.0, 16.0, 64.0)  # nats above the answer in which a runner-up is sought, in turn


class VisualSudoku(PictureFormat):
    name: ClassVar[str] = "visual-sudoku"

    def sniff_raw(self, raw: bytes) -> bool:
        if not raw.startswith(PNG):
            return False
        try:
            return not _cages(cells_in(raw, tuple(range(3, 17)), WIDTH))
        except BadQuery:
            return True  # which says what is wrong with it

    def read_raw(self, raw: bytes, source: str, given: Any) -> list[Asked]:
        asked = wishes(given, GIVEN)
        if asked["notation"] not in ("decimal", "letters", "either"):
            problem = f"{asked['notation']!r} is unknown"
            raise BadQuery(Mistake("--given.notation", problem, "known: decimal, letters, either"))
        cells = cells_in(raw, SIZES, WIDTH)
        if cells.n < 16:
            asked["notation"] = "decimal"
        query = sudoku_of_pictures(
            [cells], asked["weights"], asked["notation"], sizes=asked["sizes"]
        )
        told = SudokuRead(query, (cells,), asked)
        return [Asked(query, source, (1,), written, partial(drawn, cells.n), pictured=told)]


def _cages(cells: Cells) -> bool:
    """Whether thick edges make cages that are no boxes."""
    try:
        cages = cages_of(cells.grid)
    except BadQuery:
        return False
    n = cells.n
    if n not in SIZES:
        return True
    return not (len(cages) in (1, n) and all(len(c) in (n, n * n) for c in cages))


def inputs_of(boards: Sequence[Cells], sizes: bool) -> dict[str, tuple[Input, list[Given]]]:
    """What boards of one size are told, and each of them: pictures of clues, and their sizes."""
    n = boards[0].n
    pictures = Input("pictures", Real((n * n, HIGH, WIDTH), 0.0, 1.0))
    out = {"pictures": (pictures, [cells.given() for cells in boards])}
    if sizes:
        large = Input("sizes", Real((n * n,), 0.0, math.inf))
        out["sizes"] = (large, [cells.given_sizes() for cells in boards])
    return out


def sudoku_of_pictures(
    boards: Sequence[Cells],
    weights: str,
    notation: str = "either",
    proper: bool = True,
    sizes: bool = True,
) -> Query:
    """Boards of one size as the rows of one query."""
    n = boards[0].n
    lines = board(n).lines
    told = inputs_of(boards, sizes)
    terms: list[dict[str, Any]] = [
        {"kind": "discrete.all_different", "scope": ["grid"], "params": {"lines": lines}},
        {"kind": "discrete.kept", "scope": ["clues", "grid"]},
        {
            "kind": "image.numeral",
            "scope": [*told, "clues"],
            "params": {"weights": weights, "notation": notation, "blank": 0},
        },
    ]
    if proper:
        terms.append({"kind": "discrete.proper", "scope": ["clues"], "params": {"lines": lines}})
    return query_of(
        {
            "variables": {
                "grid": {"values": list(range(1, n + 1)), "shape": [n, n]},
                "clues": {"values": list(range(n + 1)), "shape": [n, n]},
            },
            "budget": {"steps": STEPS},
            "inputs": {name: _declared(one.domain) for name, (one, _) in told.items()},
            "terms": terms,
            "evidence": [
                {
                    **{name: given[k] for name, (_, given) in told.items()},
                    "clues": [[None if x else 0 for x in row] for row in cells.inked.reshape(n, n)],
                }
                for k, cells in enumerate(boards)
            ],
        }
    )


def _declared(told: Any) -> dict[str, Any]:
    high = {} if math.isinf(told.high) else {"high": told.high}
    return {"shape": list(told.shape), "low": told.low, **high}


@dataclass(frozen=True, eq=False)
class SudokuRead(Pictured):
    """What boards were read as, and what else they may say."""

    query: Query
    boards: tuple[Cells, ...]
    asked: dict[str, Any]

    @cached_property
    def prices(self) -> list[Floats]:
        """What each clue costs in each cell of each board. -> (n * n, n + 1) each"""
        n = self.boards[0].n
        told = inputs_of(self.boards, self.asked["sizes"])
        clues = Variable("clues", Finite(tuple(range(n + 1)), (n, n)))
        weights, notation = self.asked["weights"], self.asked["notation"]
        inputs = [one for one, _ in told.values()]
        term = Numeral(*inputs, clues, weights=weights, notation=notation, blank=0)
        domains: list[Any] = [one.domain.narrow(given) for one, given in told.values()]
        return list(term.costs(*(Given(one.tensor, one.present) for one in domains)))

    def misread(self, row: int, values: Values) -> list[Said]:
        """The clues that are not what their pictures look like most."""
        prices, n = self.prices[row], self.boards[row].n
        out = []
        for site in np.flatnonzero(self.boards[row].inked).tolist():
            value = values["clues"][site // n][site % n]
            plain = int(prices[site].argmin())
            if plain != value:
                price = float(prices[site, value] - prices[site, plain])
                out.append(Said("clues", [site // n, site % n], SIGNS[plain], SIGNS[value], price))
        return out

    def otherwise(self, row: int, values: Values, other: Values) -> list[Otherwise]:
        """The clues that another reading has otherwise, and what that costs more."""
        prices, n = self.prices[row], self.boards[row].n
        out = []
        for site in np.flatnonzero(self.boards[row].inked).tolist():
            i, j = divmod(site, n)
            read, told = values["clues"][i][j], other["clues"][i][j]
            if read != told:
                price = float(prices[site, told] - prices[site, read])
                out.append(Otherwise("clues", [i, j], SIGNS[read], SIGNS[told], price))
        return out

    def fields(self, row: int, answer: Answer) -> dict[str, Any]:
        if answer.values is None:
            return {"reading": None, "misread": []}
        return {
            "reading": self.reading(answer.values),
            "misread": [one.written() for one in self.misread(row, answer.values)],
            "alternatives": [
                {
                    "solution": written(other.values),
                    "reading": self.reading(other.values),
                    "energy": other.energy,
                    "otherwise": [
                        one.written() for one in self.otherwise(row, answer.values, other.values)
                    ],
                }
                for other in answer.alternatives
            ],
        }

    @staticmethod
    def reading(values: Values) -> str:
        return "".join(SIGNS[v] if v else "." for row in values["clues"] for v in row)

    def said(self, row: int, answer: Answer) -> list[str]:
        if answer.values is None:
            return []
        out = [f"reading {self.reading(answer.values)}"]
        for one in self.misread(row, answer.values):
            out.append(
                f"at {one.site} it looks like {one.plain} and is read as {one.read}, "
                f"for {one.price:.3g} nats"
            )
        for other in answer.alternatives:
            apart = self.otherwise(row, answer.values, other.values)
            more = other.energy - (answer.energy or 0.0)
            out += told_apart(apart, more, other.values["grid"] == answer.values["grid"])
        return out

    def sheet(self, row: int, answer: Answer) -> npt.NDArray[np.uint8] | None:
        if answer.values is None:
            return None
        cells, solution = self.boards[row], [*written(answer.values)]
        other = {tuple(one.site): one.plain for one in self.misread(row, answer.values)}
        marks = {
            place: Mark(text, other.get(divmod(place, cells.n)))
            for place, text in enumerate(self.reading(answer.values))
            if text != "."
        }
        return sheet_of(cells.grid, marks, solution, title=judged(answer))

    def settled(self, answers: Sequence[Answer], ask: Ask, far: bool) -> list[Answer]:
        every = self.finished(answers, ask)
        return [self._settled(row, answer, far) for row, answer in enumerate(every)]

    def finished(self, answers: Sequence[Answer], ask: Ask) -> list[Answer]:
        """The answers, and where the search for them was given up, the least reading by another:
        the answer to the board whose clues are given so, which costs what that search proved."""
        out = list(answers)
        for row, answer in enumerate(answers):
            if answer.status in (Status.OPTIMAL, Status.INFEASIBLE):
                continue
            reading = least_reading(self.board(row))
            if reading is None:
                continue
            (told,) = ask(given_query(self.query, row, reading))
            off = math.inf if told.energy is None else abs(told.energy - reading.energy)
            if told.status is Status.OPTIMAL and off <= 1 / UNIT:
                out[row] = told
        return out

    def board(self, row: int) -> Priced:
        n = self.boards[row].n
        return priced(self.prices[row], self.boards[row].inked, board(n).lines)

    def _settled(self, row: int, answer: Answer, far: bool) -> Answer:
        if answer.status is Status.INFEASIBLE:
            return answer
        if answer.values is None or answer.energy is None:
            return replace(answer, flags=tuple(dict.fromkeys((*answer.flags, Flag.ABSTAIN))))
        near = answer.status is not Status.OPTIMAL
        near = near or dear(self.boards[row], answer) >= self.asked["dear"]
        margin, energy = self.asked["margin"], answer.energy
        if far or not near:
            own, told = np.array(answer.values["clues"]).reshape(-1), self.board(row)
            listed, others = rivals(told, own, energy + margin)
            near = near or not listed or bool(others)
            for more in FAR if far else ():
                if not others and listed and more > margin:
                    listed, others = rivals(told, own, energy + more)
            if others:
                answer = replace(answer, alternatives=(self._alternative(others[0]),))
        flags = (*answer.flags, *([Flag.ABSTAIN] if near else []))
        return replace(answer, flags=tuple(dict.fromkeys(flags)))

    def _alternative(self, reading: Reading) -> Alternative:
        n = self.boards[0].n
        values = {name: getattr(reading, name).reshape(n, n).tolist() for name in ("grid", "clues")}
        return Alternative(values, reading.energy)


def rivals(told: Priced, own: Ints, most: float) -> tuple[bool, list[Reading]]:
    """The readings that cost at most so much, other than one's own, and whether they are all there;
    they are not where one's own is not among them."""
    near = near_readings(told, most)
    others = [one for one in near.readings if (one.clues != own).any()]
    return near.complete and len(others) < len(near.readings), others


def given_query(query: Query, row: int, reading: Reading) -> Query:
    """A board whose clues are given."""
    own = query.evidence[row]
    n = len(own["clues"])
    told = {**own, "clues": reading.clues.reshape(n, n).tolist()}
    return query.model_copy(update={"evidence": (told,)})


def dear(cells: Cells, answer: Answer) -> float:
    """What a clue costs on the average, in nats."""
    return (answer.energy or 0.0) / max(1, int(cells.inked.sum()))
