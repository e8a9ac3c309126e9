"""DIMACS graph colouring: `p edge n m`, then `e u v`; the number of colours is an input.

An edge given twice, or both ways, counts once. A self-loop is left out, as colouring programs
do: taken literally it would rule out every colouring. Lines of nodes (`n`, `d`, `v`, `x`) say
nothing about colours and are skipped.
"""

from typing import Any, ClassVar

from engine.errors import BadQuery, Mistake
from services.formats.base import Asked, Format, Mistakes, inputs
from services.query import query_of
from services.views import shown

HEADERS = ("edge", "edges", "col")
SKIPPED = ("n", "d", "v", "x")


class Col(Format):
    name: ClassVar[str] = "col"
    suffixes: ClassVar[tuple[str, ...]] = (".col",)

    def sniff(self, text: str) -> bool:
        for line in text[:100_000].splitlines():
            words = line.split()
            if words and words[0] != "c":
                return words[0] == "p" and words[1:2] != [] and words[1] in HEADERS
        return False

    def read(self, text: str, source: str, given: Any) -> list[Asked]:
        mistakes: list[Mistake] = []
        colors, nodes = 1, 1
        edges: list[list[int]] = []
        try:
            colors = _colors(given)
        except BadQuery as error:
            mistakes += error.mistakes
        try:
            nodes, edges = parse(text)
        except BadQuery as error:
            mistakes += error.mistakes
        if mistakes:
            raise BadQuery(*mistakes)
        query = query_of(
            {
                "variables": {"color": {"values": list(range(colors)), "shape": [max(nodes, 1)]}},
                "terms": [
                    {"kind": "graph.coloring", "scope": ["color"], "params": {"edges": edges}}
                ],
            }
        )
        return [Asked(query, source, (1,), lambda values: values["color"][:nodes])]


def _colors(given: Any) -> int:
    remedy = """say how many, such as --given '{"colors": 3}'"""
    given = inputs(given, ("colors",))
    if "colors" not in given:
        raise BadQuery(Mistake("--given.colors", "the number of colours is missing", remedy))
    colors = given["colors"]
    if type(colors) is not int or colors < 1:
        raise BadQuery(
            Mistake("--given.colors", f"{shown(colors)} is no number of colours", remedy)
        )
    return colors


def parse(text: str) -> tuple[int, list[list[int]]]:
    """The number of nodes, and each edge once, as pairs of nodes from 0."""
    wrong = Mistakes()
    header: tuple[int, int] | None = None
    edges: dict[tuple[int, int], None] = {}
    lines = last = 0
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0][0] == "c" or words[0] in SKIPPED:
            continue
        last = number
        if words[0] == "p":
            header = _header(words, number, header, wrong)
        elif words[0] != "e":
            wrong.add(number, f"{shown(words[0])} begins no line", "write p, e, or c")
        elif header is None:
            wrong.add(number, "edges before the header", "begin with p edge NODES EDGES")
            wrong.check()
        else:
            lines += 1
            a, b = _edge(words, header[0], number, wrong)
            if a != b:
                edges[min(a, b), max(a, b)] = None
    if header is None:
        wrong.add(max(last, 1), "the header is missing", "begin with p edge NODES EDGES")
    elif lines < header[1] and 2 * lines != header[1] and not wrong.found:  # may count both ways
        wrong.add(
            last,
            f"{lines} edges, but the header says {header[1]}",
            "mend the header, or look whether the file was cut off",
        )
    wrong.check()
    assert header is not None
    return header[0], [[a, b] for a, b in edges]


def _header(
    words: list[str], number: int, before: tuple[int, int] | None, wrong: Mistakes
) -> tuple[int, int]:
    if before is not None:
        wrong.add(number, "a second header", "give one p line a file")
        return before
    counts = words[2:]
    named = len(words) > 1 and words[1] in HEADERS
    if not named or len(counts) != 2 or not all(c.isdecimal() for c in counts):
        wrong.add(number, f"{shown(' '.join(words))} is no header", "write p edge NODES EDGES")
        wrong.check()  # nothing that follows can be judged
    return int(counts[0][:18]), int(counts[1][:18])


def _edge(words: list[str], nodes: int, number: int, wrong: Mistakes) -> tuple[int, int]:
    """The ends of an edge, from 0; (0, 0) when it cannot be read."""
    ends = words[1:]
    if len(ends) != 2 or not all(end.isdecimal() for end in ends):
        wrong.add(number, f"{shown(' '.join(words))} is no edge", "write e NODE NODE")
        return 0, 0
    a, b = (int(end[:18]) for end in ends)
    for end in (a, b):
        if not 1 <= end <= nodes:
            wrong.add(number, f"node {end}, but the header names {nodes}", f"give 1 to {nodes}")
            return 0, 0
    return a - 1, b - 1
