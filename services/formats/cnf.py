"""DIMACS CNF: clauses over numbered variables, as the SAT competitions and SATLIB write them.

Comments may stand on any line; a clause may run over several lines and ends with 0; SATLIB's
trailer `%` ends the file. The header must tell the numbers of variables and clauses truly.
"""

from functools import partial
from typing import Any, ClassVar

from engine.errors import Mistakes, shown
from modules.shared.lines import whole_of
from services.formats.base import Asked, Format, Values, given_values
from services.formats.dimacs import Header, begins, header_of, lines_of_words
from services.query import query_of

KINDS = ("cnf",)
FORM = "p cnf VARIABLES CLAUSES"


class Cnf(Format):
    name: ClassVar[str] = "cnf"
    suffixes: ClassVar[tuple[str, ...]] = (".cnf", ".dimacs")

    def sniff(self, text: str) -> bool:
        return begins(text, KINDS)

    def read(self, text: str, source: str, given: Any) -> list[Asked]:
        given_values(given, ())
        variables, clauses = parse(text)
        values = [False, True] if variables else [False]  # made up: nothing is left to choose
        query = query_of(
            {
                "variables": {"x": {"values": values, "shape": [max(variables, 1)]}},
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
    header: Header | None = None
    clauses: list[list[int]] = []
    clause: list[int] = []
    last = 0
    for number, words in lines_of_words(text):
        if words[0] == "%":
            break
        last = number
        if words[0] == "p":
            header = header_of(words, number, header, KINDS, FORM, wrong)
            continue
        if header is None:
            wrong.add(number, "clauses before the header", f"begin with {FORM}")
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
        wrong.add(max(last, 1), "the header is missing", f"begin with {FORM}")
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


def _literal(word: str, variables: int, number: int, wrong: Mistakes) -> int | None:
    literal = whole_of(word)
    if literal is None:
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
