"""What a single cell of a table says: a number, a name, or that it is missing."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

ASKED = "?"  # in a column of names the one sign, beside an empty cell, of a missing one
WORDS = frozenset(
    ("?", ".", "-", "--", "na", "n/a", "n.a.", "#n/a", "#na", "<na>", "nan", "-nan", "null", "none")
    + (
        "nil",
        "\\n",
        "missing",
        "unknown",
        "#null!",
        "#div/0!",
        "#value!",
        "#ref!",
        "#name?",
        "#num!",
    )
    + ("#num!", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan")
)  # in small letters; in a column of numbers they say that one is missing

_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")  # 1,234: a thousand, or one and a part
_DECORATION = re.compile(r"[\s$€£¥%‰,'’()_]|(?<=\d)\.(?=\d{3}\b)|\b[A-Z]{3}\b")
_DATE = re.compile(
    r"\d{8}T\d+|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ].*)?|\d{1,2}[-. ][A-Za-z]{3,9}[-. ]\d{2,4}"
)


class Quoted(str):
    """A cell that stood in quotes."""


@dataclass(frozen=True)
class Missing:
    """Which cells are missing: empty ones, and those that say one of some words.

    words: as the user gave them; None: in a column of numbers those of `WORDS`, in any case of
    letters, in a column of names `?` alone, as NA and None are names too. A name in quotes is a
    name.
    """

    words: tuple[str, ...] | None = None

    def means(self, cell: str, numbers: bool) -> bool:
        """Whether a cell, of a column of numbers or of names, is a missing one."""
        if not cell:
            return True
        if isinstance(cell, Quoted) and not numbers:
            return False
        if self.words is not None:
            return cell in self.words
        return cell.casefold() in WORDS if numbers else cell == ASKED


def number(text: str) -> float | None:
    """A finite number as programs write it, or None."""
    try:
        made = float(text)
    except ValueError:
        return None
    return made if math.isfinite(made) and "_" not in text else None


def numbers(texts: Iterable[str]) -> dict[str, float]:
    """The different cells of one column that are numbers.

    Decimal commas are read where they can be nothing else: no cell has a point, and one at least
    cannot be a whole number whose thousands are parted by a comma.
    """
    every = set(texts)
    found = {text: n for text in every if (n := number(text)) is not None}
    commas = [text for text in every - found.keys() if _DECIMAL_COMMA.fullmatch(text)]
    if all(_GROUPED.fullmatch(text) for text in commas) or any("." in text for text in every):
        return found
    return found | {text: float(text.replace(",", ".")) for text in commas}


def decorated(text: str) -> bool:
    """Whether a cell that is no number looks like one in a writing that is not read.

    $1,234.50  12%  (1.00)  1 234  1.234,5  inf
    """
    bare = _DECORATION.sub("", text)
    try:
        return not math.isnan(float(bare))
    except ValueError:
        return False


def dated(text: str) -> bool:
    """Whether a cell looks like a date."""
    return _DATE.fullmatch(text) is not None
