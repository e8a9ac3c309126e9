"""CSV tables with a header under a trained energy: an empty cell is asked, the others are given.

Values by `--given`: `weights`, of `basin train discrete.tabular`; `confidence`: the least chance of
an asked cell below which an answer is flagged ABSTAIN; `terms`: terms of the user's own over the
columns, as in a query file; `flip`: `{column: value}`, for the smallest change of each row that
makes the energy prefer that value; `keep`: columns that such a change must leave as they are; the
field `smallest` tells whether fewer changes were ruled out.
Words that mean a missing cell count as empty, and that is told: those the weights were trained
with, otherwise `NA`, `NULL` and the like in columns of numbers, and `?` alone in columns of names.
The solution is the whole row, `{column: text}`, with all that was given to the letter;
`probabilities` holds the chance of every value of each asked cell, given the cells that are not
empty (terms of the user's own do not enter it); null where time ended before it was there.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch

from engine.errors import BadQuery, Mistake, join, shown
from engine.sampling.marginals import Marginals
from modules.discrete.tabular.model import TableModel, load_model
from modules.discrete.tabular.reading import Grid, read_grid
from modules.discrete.tabular.schema import Column
from modules.discrete.tabular.term import identifiers
from modules.shared.reading.texts import check_utf8
from services.formats.base import Asked, Chances, Format, Values, given_values
from services.query import Query, query_of
from services.query.wish import Wish

GIVEN = ("weights", "confidence", "terms", "flip", "keep")
KIND, FLIP = "discrete.tabular", "discrete.tabular_label"
BATCH = 512  # rows of one query
BOARDS = "; where boards stand in a column, say --format sudoku"
REMEDY = """name the weights, such as --given '{"weights": "W.safetensors"}'"""


@dataclass(frozen=True, eq=False)
class Sheet:
    """A table as it is asked: its cells, and what they are under the model."""

    grid: Grid
    model: TableModel
    path: str  # of the weights
    codes: torch.Tensor  # (N, D); -1 is asked

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.model.schema.modelled

    @property
    def names(self) -> list[str]:
        """The variable of each column."""
        return identifiers([column.name for column in self.columns])


class Table(Format):
    name: ClassVar[str] = "table"
    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".tsv")

    def sniff(self, text: str) -> bool:
        del text  # any text may be a CSV: its name or --format says so
        return False

    def read(self, text: str, source: str, given: Any) -> list[Asked]:
        wrong: list[Mistake] = []
        sheet: Sheet | None = None
        try:
            given = _checked(given_values(given, GIVEN))
            model = load_model(given["weights"])
        except BadQuery as error:
            boards = BOARDS if _holds_boards(text) else ""
            wrong += [
                Mistake(_given(m.path), m.problem, f"{m.remedy}{boards}") for m in error.mistakes
            ]
        try:
            check_utf8(text)
            grid = read_grid(text)
            if not wrong:
                codes = torch.from_numpy(model.schema.codes(grid))
                sheet = Sheet(grid, model, given["weights"], codes)
        except BadQuery as error:
            wrong += error.mistakes
        if sheet is None:
            raise BadQuery(*wrong)
        if "flip" in given:
            every = _flips(sheet, source, given)
        else:
            every = [_asked(sheet, source, given, numbers) for numbers in _bunches(sheet.codes)]
        notices = (*grid.notes, *model.schema.taken(grid))
        return [replace(every[0], notices=notices), *every[1:]]


def _holds_boards(text: str) -> bool:
    """Whether a column of a table is named as those of boards are."""
    header = text.split("\n", 1)[0].lower()
    return re.search(r"\b(puzzles?|quiz(zes)?|sudokus?)\b", header) is not None


def _given(path: str) -> str:
    return path if path.startswith("--given") else join("--given", path)


def _checked(given: dict[str, Any]) -> dict[str, Any]:
    """What `--given` holds, each of its type."""
    types: dict[str, tuple[tuple[type, ...], str]] = {
        "weights": ((str,), REMEDY),
        "confidence": ((int, float), "give a chance, 0 to 1"),
        "terms": ((list,), "give a list of terms, as in a query file"),
        "flip": ((Mapping,), "give one column and its value: {column: value}"),
        "keep": ((list,), "give a list of columns"),
    }
    wrong = [
        Mistake(name, f"{shown(value)} does not fit", types[name][1])
        for name, value in given.items()
        if not isinstance(value, types[name][0]) or isinstance(value, bool)
    ]
    if "weights" not in given:
        wrong.append(Mistake("weights", "the weights are missing", REMEDY))
    if "keep" in given and "flip" not in given:
        wrong.append(Mistake("keep", "says what a flip must leave alone", "give flip as well"))
    if wrong:
        raise BadQuery(*wrong)
    return given


def _bunches(codes: torch.Tensor) -> list[list[int]]:
    """Rows with the same cells empty side by side, in bunches of at most `BATCH`."""
    groups: dict[bytes, list[int]] = {}
    for n, marks in enumerate((codes < 0).numpy()):
        groups.setdefault(marks.tobytes(), []).append(n)
    return [g[k : k + BATCH] for g in groups.values() for k in range(0, len(g), BATCH)]


def _variables(sheet: Sheet) -> dict[str, Any]:
    """One variable a column, named by it and with its values."""
    named = zip(sheet.names, sheet.columns, strict=True)
    return {name: {"values": list(column.plain)} for name, column in named}


def _evidence(sheet: Sheet, codes: Sequence[int]) -> dict[str, Any]:
    """What is given of a row: the value of each cell that is not empty."""
    every = zip(sheet.names, sheet.columns, codes, strict=True)
    return {name: column.plain[code] for name, column, code in every if code >= 0}


def _query(
    sheet: Sheet, given: Mapping[str, Any], terms: Sequence[Any], rows: Sequence[Any]
) -> Query:
    """Terms over the columns, and the user's own. Mistakes of those are told under `--given`."""
    own = list(given.get("terms", ()))
    try:
        return query_of(
            {
                "variables": _variables(sheet),
                "terms": [*own, *terms],
                "evidence": rows,
            }
        )
    except BadQuery as error:
        raise BadQuery(
            *(Mistake(_given(m.path), m.problem, m.remedy) for m in error.mistakes)
        ) from None


def _energy(sheet: Sheet, given: Mapping[str, Any]) -> dict[str, Any]:
    params: dict[str, Any] = {
        "weights": sheet.path,
        "columns": [c.name for c in sheet.columns],
    }
    if "confidence" in given:
        params["confidence"] = float(given["confidence"])
    return {"kind": KIND, "scope": sheet.names, "params": params}


def _asked(sheet: Sheet, source: str, given: Mapping[str, Any], numbers: list[int]) -> Asked:
    rows = [_evidence(sheet, sheet.codes[n].tolist()) for n in numbers]
    return Asked(
        _query(sheet, given, [_energy(sheet, given)], rows),
        source,
        tuple(n + 1 for n in numbers),
        partial(_solution, sheet),
        restored=partial(_restored, sheet, numbers),
        chances=_Probabilities(sheet, len(given.get("terms", ()))),  # the user's own stand first
    )


def _solution(sheet: Sheet, values: Values) -> dict[str, str]:
    """The modelled columns as texts."""
    return {
        column.name: column.values[column.code(values[name])]
        for name, column in zip(sheet.names, sheet.columns, strict=True)
    }


def _restored(
    sheet: Sheet, numbers: Sequence[int], row: int, solution: dict[str, str]
) -> dict[str, str | None]:
    """The whole row, in the order of its file: a cell that means the same stays as it stands."""
    n = numbers[row]
    cells = dict(zip(sheet.grid.header, sheet.grid.rows[n], strict=True))
    for d, column in enumerate(sheet.columns):
        said = solution[column.name]
        if column.code(said) != int(sheet.codes[n, d]):  # -1 where it was missing
            cells[column.name] = said
    return cells


class _Probabilities(Chances):
    """The field `probabilities`: what the term at `place` of the query says of the asked cells."""

    def __init__(self, sheet: Sheet, place: int):
        self.sheet, self.place = sheet, place

    def fields(self, told: Marginals) -> dict[str, Any]:
        return {"probabilities": self._found(told)}

    def beside(self, told: Marginals, solution: Mapping[str, Any]) -> dict[str, str]:
        found = self._found(told) or {}
        return {name: f"chance {found[name][solution[name]]:.4g}" for name in found}

    def _found(self, told: Marginals) -> dict[str, dict[str, float]] | None:
        """Of each asked cell the chance of every value, as texts; None: time ended before."""
        own = [term for term in told.terms if term.place == self.place]
        if not own:
            return None
        sites = {site.variable: site for site in own[0].sites}
        columns = zip(self.sheet.names, self.sheet.columns, strict=True)
        return {
            column.name: dict(zip(column.values, sites[name].chances, strict=True))
            for name, column in columns
            if name in sites
        }


def _flips(sheet: Sheet, source: str, given: Mapping[str, Any]) -> list[Asked]:
    """One query a row: how few cells must change for the energy to prefer another label."""
    wrong: list[Mistake] = []
    target, label = "", 0
    if len(given["flip"]) != 1:
        wrong.append(Mistake("flip", f"{shown(given['flip'])}", "give one column and its value"))
    for name, value in given["flip"].items():
        try:
            target, label = name, sheet.columns[sheet.model.schema.place(name)].code(value)
        except BadQuery as error:
            wrong += error.under(join("flip", name)).mistakes
    for k, name in enumerate(given.get("keep", ())):
        try:
            sheet.model.schema.place(name)
        except BadQuery as error:
            wrong += error.under(f"keep[{k}]").mistakes
    if wrong:
        raise BadQuery(*(Mistake(_given(m.path), m.problem, m.remedy) for m in wrong))
    place = sheet.model.schema.place(target)
    kept = {sheet.model.schema.place(name) for name in given.get("keep", ())}
    return [_flip(sheet, source, given, n, place, label, kept) for n in range(len(sheet.codes))]


def _flip(
    sheet: Sheet,
    source: str,
    given: Mapping[str, Any],
    n: int,
    target: int,
    label: int,
    kept: set[int],
) -> Asked:
    """The cells of a row as they stand, under the rule that the energy prefers the label."""
    names = sheet.names
    rule = {
        "kind": FLIP,
        "scope": names,
        "params": {
            "weights": sheet.path,
            "columns": [c.name for c in sheet.columns],
            "target": sheet.columns[target].name,
        },
    }
    wanted = {names[target]: sheet.columns[target].plain[label]}
    return Asked(
        _query(sheet, given, [rule], [_evidence(sheet, sheet.codes[n].tolist())]),
        source,
        (n + 1,),
        partial(_solution, sheet),
        restored=partial(_restored, sheet, [n]),
        wish=Wish(wanted, [names[d] for d in sorted(kept)]),
    )
