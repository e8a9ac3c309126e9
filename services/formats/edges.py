"""Edge lists: `a b`, or `a b weight`, one edge a line; a name alone is a node without edges.

Words stand apart by spaces, tabs or commas; `#` and `%` begin comments. Names are any words; nodes
are numbered as they first appear. What networkx writes is read too: `a b {}`, and
`a b {'weight': 2.5}`. What is asked of the graph is an input: colours, or what to find. An edge may
stand twice or both ways: it counts once where nodes are chosen, its weights add up in a cut, and
where edges are chosen each line is one. Edges are gone either way.
"""

import ast
import math
import re
from typing import Any, ClassVar

from engine.errors import Mistakes, shown
from modules.shared.graphs import Graph
from modules.shared.lines import lines_of
from services.formats.base import Asked, Format
from services.formats.graphs import asked_of

FORM = "write NODE NODE, NODE NODE WEIGHT, or a NODE alone"
_WORD = re.compile(r"[^\s,]+")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?", re.ASCII)


class Edges(Format):
    name: ClassVar[str] = "edges"
    suffixes: ClassVar[tuple[str, ...]] = (".edges", ".edgelist")

    def sniff(self, text: str) -> bool:
        del text
        return False  # two words a line may be anything

    def read(self, text: str, source: str, given: Any) -> list[Asked]:
        return asked_of(parse(text), source, given)


def parse(text: str) -> Graph:
    """The graph of a text. Raises BadQuery with every line where something is wrong."""
    wrong = Mistakes()
    place: dict[str, int] = {}
    edges: list[tuple[int, int]] = []
    weights: list[float | None] = []
    for number, line in enumerate(lines_of(text), 1):
        line = re.split(r"(?:^|\s)[#%]", line, maxsplit=1)[0]
        line, brace, data = line.partition("{")
        words = _WORD.findall(line)
        if not words and not brace:
            continue
        if not 1 <= len(words) <= 3 or (brace and len(words) != 2):
            wrong.add(number, f"{shown(line.strip())} is no edge", FORM)
            continue
        nodes = [place.setdefault(word, len(place)) for word in words[:2]]
        if len(nodes) < 2:
            continue
        weight = number_of(words[2]) if len(words) > 2 else None
        if len(words) > 2 and weight is None:
            wrong.add(number, f"{shown(words[2])} is no weight", "give a finite number")
        if brace:
            weight = _attribute(brace + data, number, wrong)
        edges.append((nodes[0], nodes[1]))
        weights.append(weight)
    if not place and not wrong.found:
        wrong.add(1, "no edge in the whole text", FORM)
    wrong.check()
    return Graph(list(place), edges, filled(weights))


def filled(weights: list[float | None]) -> list[float] | None:
    """Weights, 1 where one is missing; None where none was given."""
    if all(weight is None for weight in weights):
        return None
    return [1 if weight is None else weight for weight in weights]


def number_of(word: str) -> float | None:
    """The number that a word writes, whole ones as such; None: no finite number."""
    if not _NUMBER.fullmatch(word):
        return None
    if word.lstrip("+-").isdigit():
        return int(word) if len(word) < 20 else None
    value = float(word)
    return value if math.isfinite(value) else None


def _attribute(text: str, number: int, wrong: Mistakes) -> float | None:
    """The weight among the attributes that networkx writes; None where there is none."""
    try:
        data = ast.literal_eval(text.strip()) if len(text) < 4096 else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        data = None
    if not isinstance(data, dict):
        wrong.add(number, f"{shown(text.strip())} holds no attributes", "write {'weight': 2.5}")
        return None
    weight = data.get("weight")
    if weight is None:
        return None
    read = number_of(repr(weight)) if type(weight) in (int, float) else None
    if read is None:
        wrong.add(number, f"{shown(weight)} is no weight", "give a finite number")
    return read
