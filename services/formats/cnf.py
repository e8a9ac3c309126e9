"""DIMACS CNF: clauses over numbered variables, as the SAT competitions and SATLIB write them.

Comments may stand on any line; a clause may run over several lines and ends with 0; SATLIB's
trailer `%` ends the file. The header must tell the numbers of variables and clauses truly.
"""

from functools import partial
from typing import Any, ClassVar

from services.formats.base import Asked, Format, Mistakes, Values, inputs
from services.query import query_of
from services.views import shown


class Cnf(Format):
    name: ClassVar[str] = "cnf"
    suffixes: ClassVar[tuple[str, ...]] = (".cnf", ".dimacs")

    def sniff(self, text: str) -> bool:
        for line in text[:100_000].splitlines():
            words = line.split()
            if words and words[0] != "c":
                return words[:2] == ["p", "cnf"]
        return False

    def read(self, text: str, source: str, given: Any) -> list[Asked]:
        inputs(given, ())
        variables, clauses = parse(text)
        query = query_of(
            {
                "variables": {"x": {"values": [False, True], "shape": [max(variables, 1)]}},
                "terms": [
                    {
                        "kind": "discrete.clause",
                        "scope": ["x"],
                        "params": {
                            "clauses": [
                                [[abs(literal) - 1, True, literal > 0] for literal in clause]
                                for clause in clauses
                            ]
                        },
                    }
                ],
            }
        )
        return [Asked(query, source, (1,), partial(signed, variables), partial(text_of, variables))]


def parse(text: str) -> tuple[int, list[list[int]]]:
    """The number of variables, and the clauses as lists of signed literals."""
    wrong = Mistakes()
    header: tuple[int, int] | None = None
    clauses: list[list[int]] = []
    clause: list[int] = []
    last = number = 0
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0][0] == "c":
            continue
        if words[0] == "%":
            break
        last = number
        if words[0] == "p":
            header = _header(words, number, header, wrong)
            continue
        if header is None:
            wrong.add(number, "clauses before the header", "begin with p cnf VARIABLES CLAUSES")
            wrong.check()
        assert header is not None
        for word in words:
            literal = _literal(word, header[0], number, wrong)
            if literal:
                clause.append(literal)
            elif literal == 0:
                clauses.append(list(dict.fromkeys(clause)))
                clause = []
    if header is None:
        wrong.add(max(last, 1), "the header is missing", "begin with p cnf VARIABLES CLAUSES")
        wrong.check()
    assert header is not None
    if clause:
        wrong.add(last, "the last clause does not end", "end every clause with 0")
    elif len(clauses) != header[1] and not wrong.found:
        wrong.add(
            last,
            f"{len(clauses)} clauses, but the header says {header[1]}",
            "mend the header, or look whether the file was cut off",
        )
    wrong.check()
    return header[0], clauses


def _header(
    words: list[str], number: int, before: tuple[int, int] | None, wrong: Mistakes
) -> tuple[int, int]:
    if before is not None:
        wrong.add(number, "a second header", "give one p line a file")
        return before
    counts = words[2:]
    if words[1:2] != ["cnf"] or len(counts) != 2 or not all(c.isdecimal() for c in counts):
        wrong.add(number, f"{shown(' '.join(words))} is no header", "write p cnf VARIABLES CLAUSES")
        wrong.check()  # nothing that follows can be judged
    return int(counts[0][:18]), int(counts[1][:18])


def _literal(word: str, variables: int, number: int, wrong: Mistakes) -> int | None:
    try:
        literal = int(word)
    except ValueError:
        wrong.add(number, f"{shown(word)} is no literal", "write signed whole numbers")
        return None
    if abs(literal) > variables:
        wrong.add(
            number,
            f"literal {shown(literal)}, but the header names {variables} variables",
            f"give -{variables} to {variables}",
        )
    return literal


def signed(variables: int, values: Values) -> list[int]:
    """The assignment as signed literals. (A variable is made up where the file has none.)"""
    return [k if true else -k for k, true in enumerate(values["x"][:variables], 1)]


def text_of(variables: int, values: Values) -> str:
    """The assignment as SAT solvers print it."""
    return "v " + " ".join(map(str, [*signed(variables, values), 0]))
