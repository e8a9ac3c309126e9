"""A CSV text with a header, read into cells: its separator is told by the header or by `sep=;`."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from engine.errors import BadQuery, Mistake
from modules.discrete.tabular.cells import Quoted

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
LOOKED_AT = 100  # lines that tell the separator
MISTAKES = 100


@dataclass(frozen=True)
class Grid:
    """A table as it was read: cells are stripped texts, None where one is empty.

    lines: of the file, one a row. separator: of its cells. notes: what was left out, in words.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]
    lines: tuple[int, ...]
    separator: str = ","
    notes: tuple[str, ...] = ()


def read_grid(text: str) -> Grid:
    """A CSV text with a header. Raises BadQuery with every line that does not fit."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    first = re.match(r"\s*sep=([^\n])[ ;,\t]*\n", text, re.IGNORECASE)
    start = first.end() if first else 0
    separator = first[1] if first else _told(text)
    header: tuple[str, ...] = ()
    rows: list[tuple[str | None, ...]] = []
    lines: list[int] = []
    wrong: list[Mistake] = []
    for line, cells in _records(text, separator, start):
        if not any(cells) and (not header or len(cells) <= 1 < len(header)):
            continue
        if not header:
            header = tuple(map(str, cells))
        elif len(cells) != len(header):
            wrong.append(_uneven(line, cells, header, separator))
        else:
            rows.append(tuple(cell or None for cell in cells))
            lines.append(line)
    if not header:
        wrong.append(Mistake("line 1", "the file is empty", "begin with a header of column names"))
    grid = _without_nameless(Grid(header, tuple(rows), tuple(lines), separator))
    for name, times in Counter(grid.header).items():
        if times > 1 or not name:
            said = f"column {name!r} stands {times} times" if name else "a column has no name"
            wrong.append(Mistake("line 1", said, "give every column a name of its own"))
    if header and not rows and not wrong:
        wrong.append(Mistake("line 2", "there are no rows", "give at least one below the header"))
    if wrong:
        raise BadQuery(*wrong[:MISTAKES])
    return grid


def _uneven(line: int, cells: Sequence[str], header: Sequence[str], separator: str) -> Mistake:
    problem = f"{len(cells)} cells, but the header names {len(header)} columns"
    called = SEPARATORS.get(separator, repr(separator))
    remedy = f"give one cell a column; the separator is the {called}: quote cells that hold one"
    return Mistake(f"line {line}", problem, remedy)


def _told(text: str) -> str:
    """The separator that most lines agree on with the header; then the one of most columns."""

    def fit(separator: str) -> tuple[float, int]:
        try:
            records = [cells for _, cells in islice(_records(text, separator), LOOKED_AT)]
        except BadQuery:
            records = []
        header, *rows = [cells for cells in records if any(cells)] or [[]]
        agreed = sum(len(cells) == len(header) for cells in rows)
        return (agreed / max(1, len(rows)) if len(header) > 1 else -1.0), len(header)

    return max(SEPARATORS, key=fit)  # the first of equals: the comma


def _records(text: str, separator: str, start: int = 0) -> Iterator[tuple[int, list[str]]]:
    """Line number and stripped cells of each record. BadQuery: a quote that is never closed."""
    line, at = text.count("\n", 0, start) + 1, start
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        if text.find('"', at, end) < 0:
            yield line, [cell.strip() for cell in text[at:end].split(separator)]
        else:
            cells, end = _quoted(text, at, separator, line)
            yield line, cells
            line += text.count("\n", at, end)
        line, at = line + 1, end + 1


def _quoted(text: str, at: int, separator: str, line: int) -> tuple[list[str], int]:
    """The cells of a record with quotes, and where it ends."""
    sep = re.escape(separator)
    blank = r"(?:(?!" + sep + r")[^\S\n])*"
    opened = re.compile(rf'{blank}"([^"]*(?:""[^"]*)*)"([^{sep}\n]*)')
    plain = re.compile(rf"[^{sep}\n]*")
    cells: list[str] = []
    while True:
        found = opened.match(text, at)
        if found is not None:
            cells.append(Quoted((found[1].replace('""', '"') + found[2]).strip()))
        else:
            found = plain.match(text, at)
            assert found is not None
            cells.append(found[0].strip())
            if cells[-1].startswith('"'):
                problem = "a quote is opened and never closed"
                raise BadQuery(Mistake(f"line {line}", problem, 'close it, or write it as ""'))
        at = found.end()
        if at >= len(text) or text[at] == "\n":
            return cells, at
        at += 1


def _without_nameless(grid: Grid) -> Grid:
    """Without a nameless first column that numbers the rows, and nameless empty columns."""
    keep, notes = [], []
    for k, name in enumerate(grid.header):
        cells = [row[k] for row in grid.rows]
        if name or not cells:
            keep.append(k)
        elif not any(cells):
            notes.append(f"column {k + 1} has no name and no cells: it is left out")
        elif k == 0 and None not in cells and len(set(cells)) == len(cells):
            notes.append("the first column has no name and numbers the rows: it is left out")
        else:
            keep.append(k)
    if not notes:
        return grid
    rows = tuple(tuple(row[k] for k in keep) for row in grid.rows)
    header = tuple(grid.header[k] for k in keep)
    return Grid(header, rows, grid.lines, grid.separator, tuple(notes))
