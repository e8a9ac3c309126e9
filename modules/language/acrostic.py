"""A text whose words begin with given letters."""

import random
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import Field

from engine.domain import Finite, Variable, View
from engine.errors import BadQuery, Mistake
from modules.language._automaton import AutomatonRule
from modules.language._examples import text_of, words_of

State = tuple[int, bool]  # words begun, whether one goes on


class Acrostic(AutomatonRule):
    """The words of a text begin with the letters of another one, in order, and there are as many.

    E = 1 - P(they do), the sites independent; decided: 0 or 1. Affine in each site; no unit. Words
    are what stands between separators; capitals and small letters count alike. Explicit as an
    automaton: a chain with a hidden state after each site. Lines of a grid have first letters that
    a view names: language.pattern over `grid[:, 0]`. BadQuery: no letters, a separator among them.
    """

    def __init__(
        self,
        *scope: Variable | View,
        spells: Annotated[str, Field(min_length=1, description="The first letters of the words.")],
        separator: Annotated[
            str, Field(min_length=1, max_length=1, description="The sign between two words.")
        ] = " ",
    ):
        super().__init__(*scope)
        if not spells or len(separator) != 1 or separator in spells:
            told = f"{spells!r} with {separator!r} between words"
            raise BadQuery(Mistake("spells", told, "give letters without the separator"))
        self.spells, self.separator = spells.lower(), separator
        self.accept([self.built((0, False), self._step, self._ends, "spells")])

    def _step(self, state: State, letter: str) -> State | None:
        begun, inside = state
        if letter == self.separator:
            return begun, False
        if inside:
            return state
        if begun == len(self.spells) or letter.lower() != self.spells[begun]:
            return None
        return begun + 1, True

    def _ends(self, state: State) -> bool:
        return state[0] == len(self.spells)

    def _begins(self, values: Sequence[Any]) -> str:
        words = self.text(values).split(self.separator)
        return "".join(word[0].lower() for word in words if word)

    def holds(self, *values: Any) -> bool:
        return self._begins(values) == self.spells

    def says(self, part: int) -> str:
        return f"the words begin with {self.spells!r}"

    def explain(self, *values: Any) -> list[str]:
        begins = self._begins(values)
        if begins == self.spells:
            return []
        text = self.text(values)
        return [f"part 0: the words of {text!r} begin with {begins!r}, not {self.spells!r}"]

    @classmethod
    def example(cls) -> "Acrostic":
        return cls(Variable("text", Finite(("a", "b", " "), (4,))), spells="ab")

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Acrostic"]:
        while True:
            own, letters = text_of(rng, scope)
            word = words_of(rng, [t for t in letters if " " not in t])[0]
            yield cls(*own, spells=word)
