"""A text that a regular expression describes."""

import random
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import Field

from engine.domain import Finite, Variable, View
from engine.errors import BadQuery, Mistake
from modules.language._automaton import AutomatonRule
from modules.language._examples import text_of
from modules.language._regex import machine_of


def _check_ascii(regex: str, values: Sequence[object]) -> None:
    """Raises BadQuery where classes of ASCII meet other letters, which Python reads otherwise."""
    foreign = [v for v in values if isinstance(v, str) and not v.isascii()]
    if foreign and re.search(r"\\[wWdDsSbB]|\(\?[a-z]*i", regex):
        problem = f"{regex!r} has a class that knows ASCII alone, and {foreign[0]!r} is beyond it"
        raise BadQuery(Mistake("regex", problem, "name the letters, such as [a-zé]"))


class Pattern(AutomatonRule):
    """The whole text, what its sites spell one after the other, is as a regular expression says.

    E = 1 - P(the expression accepts), the sites independent; decided: 0 or 1. Affine in each site;
    no unit. Explicit as an automaton: a chain with a hidden state after each site. Beside a model
    that is explicit (language.ngram up to order 3) the best text is proved, and samples are exact.
    BadQuery: no expression; look-ahead, references, anchors (the whole text is meant anyway);
    more than 4,096 states.
    """

    def __init__(
        self,
        *scope: Variable | View,
        regex: Annotated[
            str,
            Field(
                description="A regular expression of Python, held against the whole text; \\w, "
                "\\d, \\s and (?i) know the letters of ASCII.",
                examples=["[a-z]+(ing|ed)"],
            ),
        ],
    ):
        super().__init__(*scope)
        self.regex = regex
        domains = [view.variable.domain for view in self.scope]
        _check_ascii(regex, [v for d in domains if isinstance(d, Finite) for v in d.values])
        self.machine = machine_of(regex)
        self.accept([self.built(self.machine.first, self.machine.step, self.machine.ends, "regex")])

    def holds(self, *values: Any) -> bool:
        return self.machine.accepts(self.text(values))

    def says(self, part: int) -> str:
        return f"the text matches {self.regex!r}"

    def explain(self, *values: Any) -> list[str]:
        text = self.text(values)
        if self.machine.accepts(text):
            return []
        return [f"part 0: {text!r} does not match {self.regex!r}"]

    @classmethod
    def example(cls) -> "Pattern":
        return cls(Variable("text", Finite(("a", "b", ""), (4,))), regex="a+(b|ab)*")

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Pattern"]:
        while True:
            own, letters = text_of(rng, scope)
            yield cls(*own, regex=_drawn(rng, letters, 3))


def _drawn(rng: random.Random, letters: Sequence[str], depth: int) -> str:
    """An expression at random."""
    pick = rng.randrange(7) if depth else 0
    if pick < 2:
        return rng.choice([*map(_quoted, letters), ".", "[^b]", ""])
    inner = [_drawn(rng, letters, depth - 1) for _ in range(2)]
    if pick < 4:
        return "".join(inner)
    if pick == 4:
        return f"({inner[0]}|{inner[1]})"
    return f"({inner[0]})" + rng.choice(["*", "+", "?", "{2}", "{1,3}", "{0,}"])


def _quoted(letters: str) -> str:
    return "".join(f"\\{c}" if not c.isalnum() and c != " " else c for c in letters)
