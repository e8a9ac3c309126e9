"""Sudoku in a picture: one PNG of a board of 4 x 4, 9 x 9 or 16 x 16, read and solved at once.

The grid is found by its lines (or the picture is n x 28 pixels a side, cells of 28 x 28 without
lines), light on dark or dark on light. Which cells are blank is told by their ink; what the others
say stands in the energy: `image.numeral` over the clues, which the solution keeps, and which must
leave one solution (`discrete.proper`). Numbers above 9 are written in digits or as A-G.
Values by `--given`: `weights`, of `basin train image.classifier`; `notation`: decimal, letters or
either; `margin`: ABSTAIN where the runner-up reading costs so many nats more, or fewer; `dear`:
ABSTAIN where a clue costs so many nats on the average, or more.
Further fields: `reading`, one string; `misread`, the pictures that were not read as what they look
like most; `alternatives`, the runner-up reading.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np

from engine.answer import Alternative, Answer, Flag, Status
from engine.decimals import Floats
from engine.domain import Finite, Given, Input, Real, Variable
from engine.errors import BadQuery, Mistake
from modules.image._boards.grid import cages_of
from modules.image._boards.strips import HIGH
from modules.image.numeral import Numeral
from services.formats.base import Ask, Asked, Format, Pictured, Values
from services.formats.pictured import PNG, WEIGHTS, Cells, Said, cells_in, wishes
from services.formats.sudoku import SIGNS, board, drawn, written
from services.query import Query, query_of

SIZES = (4, 9, 16)
WIDTH = 64  # pixels of a strip
GIVEN = {"weights": WEIGHTS, "notation": "either", "margin": 1.0, "dear": 2.0}
MOST = 48  # of such clues and values; a board with more is not stood by
STEPS = 40  # of the search for other readings
FAR = 16  # clues and values that are tried for a runner-up that may be far


class VisualSudoku(Format):
    name: ClassVar[str] = "visual-sudoku"

    def sniff(self, text: str) -> bool:
        del text
        return False

    def sniff_raw(self, raw: bytes) -> bool:
        if not raw.startswith(PNG):
            return False
        try:
            return not _cages(cells_in(raw, tuple(range(3, 17)), WIDTH))
        except BadQuery:
            return True  # which says what is wrong with it

    def read(self, text: str, source: str, given: Any) -> list[Asked]:
        del text, source, given
        raise BadQuery(Mistake("", "is no picture", "give a PNG of a board"))

    def read_raw(self, raw: bytes, source: str, given: Any) -> list[Asked]:
        asked = wishes(given, GIVEN)
        if asked["notation"] not in ("decimal", "letters", "either"):
            problem = f"{asked['notation']!r} is unknown"
            raise BadQuery(Mistake("--given.notation", problem, "known: decimal, letters, either"))
        cells = cells_in(raw, SIZES, WIDTH)
        if cells.n < 16:
            asked["notation"] = "decimal"
        query = sudoku_of_pictures([cells], asked["weights"], asked["notation"])
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


def sudoku_of_pictures(
    boards: Sequence[Cells], weights: str, notation: str = "either", proper: bool = True
) -> Query:
    """Boards of one size as the rows of one query."""
    n = boards[0].n
    lines = board(n).lines
    terms: list[dict[str, Any]] = [
        {"kind": "discrete.all_different", "scope": ["grid"], "params": {"lines": lines}},
        {"kind": "discrete.kept", "scope": ["clues", "grid"]},
        {
            "kind": "image.numeral",
            "scope": ["pictures", "clues"],
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
            "inputs": {"pictures": {"shape": [n * n, HIGH, WIDTH], "low": 0.0, "high": 1.0}},
            "terms": terms,
            "evidence": [
                {
                    "pictures": cells.given(),
                    "clues": [[None if x else 0 for x in row] for row in cells.inked.reshape(n, n)],
                }
                for cells in boards
            ],
        }
    )


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
        pictures = Input("pictures", Real((n * n, HIGH, WIDTH), 0.0, 1.0))
        clues = Variable("clues", Finite(tuple(range(n + 1)), (n, n)))
        weights, notation = self.asked["weights"], self.asked["notation"]
        term = Numeral(pictures, clues, weights=weights, notation=notation, blank=0)
        domain: Any = pictures.domain.narrow([cells.given() for cells in self.boards])
        return list(term.costs(Given(domain.tensor, domain.present)))

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
        return out

    def settled(self, answers: Sequence[Answer], ask: Ask, far: bool) -> list[Answer]:
        return [self._settled(row, answer, ask, far) for row, answer in enumerate(answers)]

    def _settled(self, row: int, answer: Answer, ask: Ask, far: bool) -> Answer:
        if answer.values is None or answer.energy is None:
            return answer
        energy = answer.energy
        near = dear(self.boards[row], answer) >= self.asked["dear"]
        others, crowded = self.rivals(row, answer, ask, far) if far or not near else ((), False)
        near = near or crowded
        for other in others:
            if other.values is not None and other.energy is not None:
                known = [*answer.alternatives, Alternative(other.values, other.energy)]
                best = min(known, key=lambda one: one.energy)
                answer = replace(answer, alternatives=(best,))
            least = other.energy if other.status is Status.OPTIMAL else other.bound
            if other.status is not Status.INFEASIBLE:
                near = near or least is None or least - energy <= self.asked["margin"]
        flags = (*answer.flags, *([Flag.ABSTAIN] if near else []))
        return replace(answer, flags=tuple(dict.fromkeys(flags)))

    def rivals(
        self, row: int, answer: Answer, ask: Ask, far: bool
    ) -> tuple[Sequence[Answer], bool]:
        """The best answers with one clue read otherwise, for each clue and value that alone cost no
        more than `margin` above the answer; where the runner-up may be far, also for the next ones;
        and whether there are too many to try."""
        assert answer.values is not None and answer.energy is not None
        prices = self.prices[row]
        flat = np.array(answer.values["clues"]).reshape(-1)
        cells = np.flatnonzero(self.boards[row].inked)
        above = prices[cells] - prices[cells].min(1, keepdims=True)
        above[np.arange(len(cells)), flat[cells]] = np.inf
        within = answer.energy - float(prices[cells].min(1).sum()) + self.asked["margin"]
        order = np.argsort(above, axis=None, kind="stable")
        near = int((above <= within).sum())
        chosen = order[: min(max(near, FAR), MOST) if far else min(near, MOST)]
        forced = [(int(cells[k // above.shape[1]]), int(k % above.shape[1])) for k in chosen]
        answers = ask(rival_query(self.query, row, forced)) if forced else ()
        return answers, near > MOST


def dear(cells: Cells, answer: Answer) -> float:
    """What a clue costs on the average, in nats."""
    return (answer.energy or 0.0) / max(1, int(cells.inked.sum()))


def rival_query(query: Query, row: int, forced: Sequence[tuple[int, int]]) -> Query:
    """The same board once for each clue and value, the clue given: (flat place, value)."""
    own = query.evidence[row]
    rows = []
    for site, value in forced:
        clues = [[*line] for line in own["clues"]]
        n = len(clues)
        clues[site // n][site % n] = value
        rows.append({**own, "clues": clues})
    budget = query.budget.model_copy(update={"steps": STEPS})
    return query.model_copy(update={"evidence": tuple(rows), "budget": budget})
