"""How people write Sudokus down: one a line, in a column of a table, or as rows with their boxes.

First the layout of the whole text is recognized, then every board is read in it; what does not fit
is a mistake, never a guess.

Lines: the first word is the puzzle, and what follows is ignored. Before it may stand an id: a word
of less than half the length, before a word that is no full board. The puzzle may also be n words of
n signs, or one word or number for each cell. In a CSV whose header names a column (`puzzle`,
`quizzes`, ...), that column is the puzzle.

Rows: n lines of n cells, each a sign or a number, with or without separators and rulers between
boxes; empty fields of a CSV are blanks. Lines such as `Grid 01` begin a board; empty lines may
stand between boards or bands.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from math import isqrt
from typing import NamedTuple

from engine.errors import Mistakes, shown
from modules.shared.lines import lines_of
from services.formats.signs import BLANKS, DOTTED, SIZES, SYMBOLS, Odd, Puzzle, alike, board_of

_COLUMNS = {
    "puzzle", "puzzles", "quiz", "quizzes", "question", "questions", "q", "sudoku", "sudokus",
    "board", "boards", "grid", "grids", "problem", "problems", "unsolved",
}  # fmt: skip
_WORD = re.compile(r"[^\s,;|]+")
_FIELD = re.compile(r"[,;\t]")
_HEADING = re.compile(
    r"\s*(?:grid|puzzle|sudoku|board|game|problem|number|nr|no)\b[\s.:]*[0-9]*[\s.:)]*",
    re.IGNORECASE,
)
_SECTION = re.compile(r"\s*\[\s*([A-Za-z]+)\s*\]")
_RULER = re.compile(r"[-+=*_|:\s]+")
_PLAIN = {n: re.compile(rf"[.{SYMBOLS[:n]}]+|[0{SYMBOLS[:n]}]+") for n in (4, 9)}
_BOXES = str.maketrans(
    dict.fromkeys(map(chr, range(0x2500, 0x2580)), "+")
    | dict.fromkeys("\u2502\u2503\u2506\u2507\u250a\u250b\u2551", "|")
    | dict.fromkeys("()[]{}", " ")
    | {'"': None}
)


class _Line(NamedTuple):
    number: int
    text: str  # without comment; empty where nothing stands


class _Row(NamedTuple):
    number: int
    cells: Sequence[str]
    begins: bool  # after an empty line
    ruler: bool = False  # or a row of blanks, which looks alike


def read_boards(text: str, wrong: Mistakes) -> list[Puzzle]:
    """The boards of a text, in order; what is wrong goes to `wrong`."""
    lines = [
        _Line(number, line.partition("#")[0].rstrip().lstrip(" "))  # a tab may end an empty field
        for number, line in enumerate(lines_of(text), 1)
    ]
    said = [line for line in lines if line.text]
    if not said:
        wrong.add(1, "no puzzle in the whole text", "write one puzzle a line")
        return []
    header = _header(said[0].text)
    if header is not None and len(said) > 1:
        puzzles = _table(said, header, wrong)
    elif _is_lines(said):
        puzzles = _lines(said, wrong)
    else:
        puzzles = _grids(lines, wrong)
    return alike(puzzles, wrong)


# --- one a line -----------------------------------------------------------------------------------


def _is_lines(said: Sequence[_Line]) -> bool:
    """Whether boards stand one a line: some line is too long for a row, or most are 4x4 boards."""
    small = 0
    for line in said:
        if _is_long(line.text):
            return True
        found = _WORD.findall(line.text.translate(_BOXES))[:2]
        small += any(len(word) == 16 and _is_small(word) for word in found)
    return 2 * small >= len(said)


def _is_long(text: str) -> bool:
    if len(text) < 26:
        return False
    text = text.translate(_BOXES)
    words = _WORD.findall(text)
    if _RULER.fullmatch(text) and len("".join(words)) not in SIZES:
        return False
    return any(len(word) > 25 for word in words[:2]) or _spread(words) is not None


def _is_small(word: str) -> bool:
    return set(word.translate(DOTTED)) <= set(".01234")


def _lines(said: Iterable[_Line], wrong: Mistakes) -> list[Puzzle]:
    puzzles = []
    sizes: set[int] = set()
    for line in said:
        first = _WORD.match(line.text)
        word = first[0] if first else ""
        n = SIZES.get(len(word), 0)
        if n in _PLAIN and len(line.text) < 256 and _PLAIN[n].fullmatch(word):  # the common case
            puzzles.append(Puzzle(line.number, n, 1, word))
        elif not _HEADING.fullmatch(line.text):
            cells = _of_line(line.text.translate(_BOXES))
            if cells is None:
                problem = f"{shown(word, 20)} is no puzzle, and the word after it has no blanks"
                wrong.add(line.number, problem, "write the puzzle first, its solution after it")
            else:
                _add(puzzles, line.number, cells, wrong, sizes)
    return puzzles


def _of_line(text: str) -> Sequence[str] | None:
    """The cells of the puzzle of a line; of a wrong one, what stands where it should. None: an id
    stands before a full board, which may be the solution of a puzzle that is not there."""
    words = _WORD.findall(text)
    if (cells := _spread(words)) is not None:
        return cells
    if _FIELD.match(text):
        words.insert(0, "")  # the first field is empty
    first, second = [*words, "", ""][:2]
    named = not first or any(map(str.isalnum, first))
    if len(second) not in SIZES or not named or 2 * len(first) >= len(second):
        return first
    if len(first) == 16 and _is_small(first):
        return first
    return None if _is_full(second) else second


def _spread(words: Sequence[str]) -> Sequence[str] | None:
    """The cells of a board of many words on one line: n words of n signs, or a word for each."""
    count = len(words)
    if count in SIZES and count > 16 and max(map(len, words)) <= 2:
        return words
    if count in (9, 16, 25) and {len(word) for word in words} == {count}:
        return "".join(words)
    return None


def _is_full(word: str) -> bool:
    """Whether nothing is left to fill in, so that this is a solution rather than a puzzle."""
    n = SIZES[len(word)]
    if set(word) & set(BLANKS):
        return False
    return "0" not in word or all(count == n for count in Counter(word.upper()).values())


# --- in a column of a table -----------------------------------------------------------------------


class _Header(NamedTuple):
    separator: str
    columns: int
    places: list[int]  # of columns that may be the puzzles; one, if all is well


def _header(text: str) -> _Header | None:
    """The header of a CSV that names a column of puzzles; None: the line is no such header."""
    found = _FIELD.search(text)
    separator = found[0] if found else ","
    names = [name.lower() for name in _fields(text, separator)]
    places = [k for k, name in enumerate(names) if name in _COLUMNS]
    return _Header(separator, len(names), places) if places else None


def _fields(text: str, separator: str) -> list[str]:
    """The fields of a line of a CSV; none where the line is no CSV."""
    if '"' not in text:
        return [field.strip() for field in text.split(separator)]
    try:
        rows = list(csv.reader([text], delimiter=separator, skipinitialspace=True, strict=True))
    except csv.Error:
        return []
    return [field.strip() for field in rows[0]]


def _table(said: Sequence[_Line], header: _Header, wrong: Mistakes) -> list[Puzzle]:
    if header.columns == 1:
        rest = said[1:]  # its name may be a heading as well
        return _lines(rest, wrong) if _is_lines(rest) else _grids(rest, wrong)
    puzzles: list[Puzzle] = []
    sizes: set[int] = set()
    place, *others = header.places
    if others:
        problem = f"columns {place + 1} and {others[0] + 1} both seem to be puzzles"
        wrong.add(said[0].number, problem, "call one of them puzzle, and the others otherwise")
        return []
    for line in said[1:]:
        fields = _fields(line.text, header.separator)
        if len(fields) == header.columns:
            _add(puzzles, line.number, fields[place], wrong, sizes)
        else:
            problem = f"has {len(fields)} fields" if fields else "is no line of a CSV"
            wrong.add(line.number, problem, f"the header names {header.columns}")
    return puzzles


# --- as rows --------------------------------------------------------------------------------------


def _grids(lines: Sequence[_Line], wrong: Mistakes) -> list[Puzzle]:
    puzzles: list[Puzzle] = []
    for rows in _sections(lines):
        _boards(rows, puzzles, wrong)
    if not puzzles and not wrong.found:
        wrong.add(lines[0].number, "no rows of a board", "write one puzzle a line, or n rows of n")
    return puzzles


def _sections(lines: Iterable[_Line]) -> Iterable[list[_Row]]:
    """The rows of each part of a text, which begins with a heading."""
    rows: list[_Row] = []
    begins = left_out = False
    for number, text in lines:
        if section := _SECTION.fullmatch(text):  # of a .sdk; [State] is what a player filled in
            left_out = section[1].lower() != "puzzle"
        if section or _HEADING.fullmatch(text):
            yield rows
            rows = []
        elif not text:
            begins = True
        elif not left_out:
            row = _row(number, text.translate(_BOXES), begins)
            if row is not None:
                rows.append(row)
                begins = False
    yield rows


def _row(number: int, text: str, begins: bool) -> _Row | None:
    """The row that stands on a line; None for a ruler."""
    if not _RULER.fullmatch(text):
        return _Row(number, _cells(text), begins)
    signs = [sign for sign in text if sign in BLANKS]
    if "+" in text or "=" in text or len(signs) ** 2 not in SIZES:
        return None
    return _Row(number, signs, begins, ruler="--" in text or "__" in text or "**" in text)


def _cells(text: str) -> Sequence[str]:
    """The cells of a row: fields of a CSV, numbers, or signs."""
    fields = [field.strip() for field in _FIELD.split(text)]
    if len(fields) > 1 and not fields[-1] and len(fields) ** 2 not in SIZES:
        fields.pop()  # a comma ends the row
    if len(fields) ** 2 in SIZES and max(map(len, fields)) <= 2:
        return [field or "." for field in fields]
    words = _WORD.findall(text)
    if len(words) ** 2 in SIZES and max(map(len, words)) == 2:
        return words
    return "".join(words)


def _boards(rows: list[_Row], puzzles: list[Puzzle], wrong: Mistakes) -> None:
    """The boards of rows that belong together."""
    if not rows:
        return
    lengths = Counter(len(row.cells) for row in rows if not row.ruler) or Counter(
        len(row.cells) for row in rows
    )
    n = lengths.most_common(1)[0][0]
    first = rows[0].number
    if n**2 not in SIZES:
        if lengths[n] > 1:
            wrong.add(first, *_unknown_size(n))
        else:
            wrong.add(first, f"{_shown(rows[0].cells)} is no puzzle and no row of one", _HOW)
        return
    rows = [row for row in rows if not row.ruler or len(row.cells) == n]
    odd = [row for row in rows if len(row.cells) != n]
    for row in odd:
        problem = f"{_shown(row.cells)} has {len(row.cells)} cells"
        wrong.add(row.number, problem, f"a row of a {n}x{n} board has {n}")
    if odd:
        return
    plain = [row for row in rows if not row.ruler]
    if len(plain) < len(rows) and plain and len(plain) % n == 0:
        if len(rows) % n == 0:
            ruler = next(row.number for row in rows if row.ruler)
            wrong.add(ruler, "may be a row of blanks, or a ruler", "write blanks as .")
            return
        rows = plain
    if len(rows) % n:
        problem = f"{len(rows)} rows of {n} cells"
        wrong.add(first, problem, f"a {n}x{n} board has {n}; look whether a line is missing")
        return
    if (torn := _torn(rows, n)) is not None:
        remedy = f"write empty lines only between boards of {n} rows, or between their bands"
        wrong.add(torn, f"a board of {n} rows ends inside these lines", remedy)
        return
    for k in range(0, len(rows), n):
        cells = [cell for row in rows[k : k + n] for cell in row.cells]
        _add(puzzles, rows[k].number, cells, wrong, set())


def _torn(rows: Sequence[_Row], n: int) -> int | None:
    """The line of a block without empty lines in which one board ends and another begins, though
    the first began before the block."""
    starts = [k for k, row in enumerate(rows) if row.begins or k == 0]
    for start, end in zip(starts, [*starts[1:], len(rows)]):
        if start % n and start // n != (end - 1) // n:
            return rows[start].number
    return None


# --- signs ----------------------------------------------------------------------------------------

_HOW = "write the n x n signs of a puzzle on one line, or n rows of n; n is 4, 9, 16 or 25"


def _unknown_size(n: int) -> tuple[str, str]:
    return (
        f"a board of {n}x{n} cannot be read",
        "sizes are 4x4, 9x9, 16x16 and 25x25; for another write a query with its lines and boxes, "
        "as examples/sudoku_jigsaw.yaml does",
    )


def _shown(cells: Sequence[str]) -> str:
    return shown(cells if isinstance(cells, str) else " ".join(cells), 20)


def _add(
    puzzles: list[Puzzle], number: int, cells: Sequence[str], wrong: Mistakes, sizes: set[int]
) -> None:
    """One more board, or why it is none; a size that cannot be read is told once."""
    n = SIZES.get(len(cells))
    if n is None:
        root = isqrt(len(cells))
        if root < 5 or root**2 != len(cells):
            wrong.add(number, *_wrong_length(cells))
        elif root not in sizes:
            sizes.add(root)
            wrong.add(number, *_unknown_size(root))
        return
    try:
        puzzles.append(board_of(number, n, cells))
    except Odd as odd:
        wrong.add(number, *odd.args)


def _wrong_length(cells: Sequence[str]) -> tuple[str, str]:
    near = min(SIZES, key=lambda count: abs(count - len(cells)))
    return (
        f"{_shown(cells)} has {len(cells)} characters",
        f"write 16, 81, 256 or 625 (nearest: {near}, a {SIZES[near]}x{SIZES[near]} grid)",
    )
