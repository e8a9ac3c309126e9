"""Solved examples: one a line of a text, with the lines of sites that the example itself gives.

    534678912672195348...                   one character a site
    red,green,red                           or split at commas or blanks
    0120 edge=0-1,1-2,2-3                   lines of a relation that differ from example to example

`#` begins a comment. Examples over the same lines form one board.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.decimals import Ints
from engine.errors import BadQuery, Mistake, Mistakes, known
from modules.discrete.learned_rules.relations import GEOMETRY, Lines, check_names, geometric
from modules.shared.lines import lines_of
from modules.shared.sites import MISTAKES

BLANKS = (".", "?", "_")
LARGEST = 4096  # sites of one example
FORM = "write one solved example a line, such as 5346789126721953..."


@dataclass(frozen=True, eq=False)
class Board:
    """Examples over the same sites and lines."""

    places: Ints  # (N, n) the place of the value at each site
    lines: Mapping[str, Lines]  # of each relation
    numbers: Ints  # (N,) where each example stands in its text

    @property
    def sites(self) -> int:
        return self.places.shape[1]


@dataclass(frozen=True, eq=False)
class Solved:
    """Solved examples by board, and the values they take."""

    values: tuple[str, ...]
    relations: tuple[str, ...]  # none: every pair of sites is a relation of its own
    boards: tuple[Board, ...]

    @property
    def count(self) -> int:
        """N, the number of examples."""
        return sum(len(board.places) for board in self.boards)

    @property
    def numbers(self) -> Ints:
        """Where each example stands in its text, board by board. -> (N,)"""
        return np.concatenate([board.numbers for board in self.boards])

    def kept(self, keep: np.ndarray) -> "Solved":
        """Some of the examples. keep: (N,) bool, board by board"""
        ends = np.cumsum([len(board.places) for board in self.boards])
        boards = []
        for board, mine in zip(self.boards, np.split(keep, ends[:-1]), strict=True):
            if mine.any():
                chosen = replace(board, places=board.places[mine], numbers=board.numbers[mine])
                boards.append(chosen)
        return replace(self, boards=tuple(boards))


def read_solved(
    text: str, relations: Sequence[str] = (), values: Sequence[str] | None = None
) -> Solved:
    """The examples of a text.

    relations: their names; those that `GEOMETRY` lacks are given on each line. values: what may
    stand at a site; None: whatever does. Raises BadQuery with the line of each mistake: a blank, an
    unknown symbol, a wrong number of sites, lines of an unknown relation, no or only one example.
    """
    relations = check_names(relations, "relations")
    wrong = Mistakes(MISTAKES)
    read: list[tuple[int, list[str], dict[str, Lines]]] = []
    for number, line in enumerate(lines_of(text), 1):
        words = line.split("#")[0].split()
        if words:
            symbols = _symbols([word for word in words if "=" not in word])
            given = [word for word in words if "=" in word]
            _check_symbols(symbols, values, f"line {number}", wrong)
            read.append((number, symbols, _given(given, relations, len(symbols), number, wrong)))
    wrong.check()
    if len(read) < 2:
        found = "has one example" if read else "has no example"
        raise BadQuery(Mistake("", found, f"rules need many; {FORM}"))
    _check_sizes([(number, len(symbols)) for number, symbols, _ in read], relations)
    order = tuple(values) if values else _ordered({s for _, symbols, _ in read for s in symbols})
    if len(order) < 2:
        raise BadQuery(Mistake("", f"every site of every example is {order[0]}", FORM))
    place = {symbol: k for k, symbol in enumerate(order)}
    boards: dict[str, tuple[dict[str, Lines], list[int], list[list[int]]]] = {}
    for number, symbols, given_lines in read:
        lines = {**_geometry(relations, len(symbols), number), **given_lines}
        key = f"{len(symbols)} {sorted(given_lines.items())}"
        _, numbers, places = boards.setdefault(key, (lines, [], []))
        numbers.append(number)
        places.append([place[s] for s in symbols])
    return Solved(
        order,
        relations,
        tuple(
            Board(np.array(places, dtype=np.int64), lines, np.array(numbers, dtype=np.int64))
            for lines, numbers, places in boards.values()
        ),
    )


def _symbols(words: list[str]) -> list[str]:
    if len(words) == 1:
        return words[0].split(",") if "," in words[0] else list(words[0])
    return [symbol for word in words for symbol in word.split(",") if symbol]


def _check_symbols(
    symbols: list[str], values: Sequence[str] | None, path: str, wrong: Mistakes
) -> None:
    if not symbols:
        wrong.add(path, "has no values", FORM)
    if len(symbols) > LARGEST:
        wrong.add(path, f"has {len(symbols)} sites", f"give at most {LARGEST}")
    for site, symbol in enumerate(symbols):
        if symbol in BLANKS or not symbol:
            wrong.add(f"{path}, site {site}", "is blank", "give solved examples only")
        elif values is not None and symbol not in values:
            wrong.add(f"{path}, site {site}", f"{symbol!r} is no value", known(symbol, values))


def _given(
    words: list[str], relations: Sequence[str], sites: int, number: int, wrong: Mistakes
) -> dict[str, Lines]:
    """The lines that an example itself gives: `edge=0-1,1-2`."""
    path = f"line {number}"
    asked = [name for name in relations if name not in GEOMETRY]
    found: dict[str, Lines] = {}
    for word in words:
        name, _, rest = word.partition("=")
        if name not in asked:
            remedy = known(name, asked) if asked else "name it in `relations`"
            wrong.add(path, f"{name!r} is no relation of these examples", remedy)
            continue
        lines = [
            [int(s) if s.isdecimal() else -1 for s in line.split("-")]
            for line in rest.split(",")
            if line
        ]
        for k, line in enumerate(lines):
            if len(set(line)) < max(2, len(line)) or not 0 <= min(line) <= max(line) < sites:
                wrong.add(
                    f"{path}, {name}[{k}]",
                    f"{rest.split(',')[k]!r} is no line of different sites",
                    f"write sites of 0 to {sites - 1} as 0-1,1-2",
                )
        found[name] = lines
    for name in asked:
        if name not in found:
            wrong.add(path, f"gives no lines of {name}", f"add {name}=0-1,1-2 (or {name}=)")
    return found


def _check_sizes(sizes: list[tuple[int, int]], relations: Sequence[str]) -> None:
    """Without relations, a pair of sites is the same pair in every example."""
    first = sizes[0][1]
    wrong = Mistakes(MISTAKES)
    for number, size in sizes:
        if not relations and size != first:
            wrong.add(
                f"line {number}",
                f"has {size} sites, the first example {first}",
                "give examples of one size, or name relations",
            )
    wrong.check()


def _geometry(relations: Sequence[str], sites: int, number: int) -> dict[str, Lines]:
    side = math.isqrt(sites)
    if side * side != sites and any(name in GEOMETRY for name in relations):
        raise BadQuery(
            Mistake(f"line {number}", f"has {sites} sites", "give a square board, row by row")
        )
    try:
        return geometric(relations, (side, side))
    except BadQuery as error:
        raise error.under(f"line {number}") from None


def _ordered(symbols: set[str]) -> tuple[str, ...]:
    """Whole numbers by size, before all else by spelling."""
    return tuple(
        sorted(symbols, key=lambda s: (not s.isdecimal(), int(s) if s.isdecimal() else 0, s))
    )
