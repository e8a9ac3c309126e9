"""DIMACS graph colouring: `p edge n m`, then `e u v`; the number of colours is an input.

An edge given twice, or both ways, counts once. A self-loop is left out, as colouring programs
do: taken literally it would rule out every colouring. Lines of nodes (`n`, `d`, `v`, `x`) say
nothing about colours and are skipped.
"""

from typing import Any, ClassVar

from engine.errors import BadQuery, Mistake, Mistakes, shown
from modules.shared.lines import whole_of
from services.formats.base import Asked, Format, given_values
from services.formats.dimacs import Header, begins, header_of, lines_of_words
from services.query import query_of

KINDS = ("edge", "edges", "col")
FORM = "p edge NODES EDGES"
SKIPPED = ("n", "d", "v", "x")


class Col(Format):
    name: ClassVar[str] = "col"
    suffixes: ClassVar[tuple[str, ...]] = (".col",)

    def sniff(self, text: str) -> bool:
        return begins(text, KINDS)

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
        values = list(range(colors if nodes else 1))  # a node made up: nothing is left to choose
        query = query_of(
            {
                "variables": {"color": {"values": values, "shape": [max(nodes, 1)]}},
                "terms": [
                    {"kind": "graph.coloring", "scope": ["color"], "params": {"edges": edges}}
                ],
            }
        )
        return [Asked(query, source, (1,), lambda values: values["color"][:nodes])]


def _colors(given: Any) -> int:
    remedy = """say how many, such as --given '{"colors": 3}'"""
    given = given_values(given, ("colors",))
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
    header: Header | None = None
    edges: dict[tuple[int, int], None] = {}
    lines = last = 0
    for number, words in lines_of_words(text):
        if words[0] in SKIPPED:
            continue
        last = number
        if words[0] == "p":
            header = header_of(words, number, header, KINDS, FORM, wrong)
        elif words[0] != "e":
            wrong.add(number, f"{shown(words[0])} begins no line", "write p, e, or c")
        elif header is None:
            wrong.add(number, "edges before the header", f"begin with {FORM}")
            wrong.check()
        else:
            lines += 1
            a, b = _edge(words, header[0], number, wrong)
            if a != b:
                edges[min(a, b), max(a, b)] = None
    if header is None:
        wrong.add(max(last, 1), "the header is missing", f"begin with {FORM}")
    elif lines < header[1] and 2 * lines != header[1] and not wrong.found:  # may count both ways
        wrong.add(
            last,
            f"{lines} edges, but the header says {header[1]}",
            "mend the header, or look whether the file was cut off",
        )
    wrong.check()
    assert header is not None
    return header[0], [[a, b] for a, b in edges]


def _edge(words: list[str], nodes: int, number: int, wrong: Mistakes) -> tuple[int, int]:
    """The ends of an edge, from 0; (0, 0) when it cannot be read."""
    ends = [whole_of(word) for word in words[1:]]
    if len(ends) != 2 or ends[0] is None or ends[1] is None:
        wrong.add(number, f"{shown(' '.join(words))} is no edge", "write e NODE NODE")
        return 0, 0
    for end in ends:
        if end is None or not 1 <= end <= nodes:
            wrong.add(
                number, f"node {shown(end)}, but the header names {nodes}", f"give 1 to {nodes}"
            )
            return 0, 0
    return ends[0] - 1, ends[1] - 1
