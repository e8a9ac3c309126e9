"""Words that occur in a text."""

import random
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import Field

from engine.domain import Finite, Variable, View
from modules.language._automaton import Automaton, AutomatonRule
from modules.language._examples import text_of, words_of
from modules.language._occurrence import read_words, reader


class Contains(AutomatonRule):
    """Every one of some words occurs in the text, anywhere, to the letter.

    E = sum over words of 1 - P(it occurs), the sites independent; decided: the number of words that
    do not. Affine in each site; no unit. Each word is a part, and explicit as an automaton: a chain
    with a hidden state after each site. BadQuery: no words, an empty word.
    """

    def __init__(
        self,
        *scope: Variable | View,
        words: Annotated[
            list[str], Field(description="The words, each a text without a wildcard.")
        ],
    ):
        super().__init__(*scope)
        self.words = read_words(words)
        self.accept([self._part(word) for word in self.words])

    def _part(self, word: str) -> Automaton:
        return self.built(0, reader(word), lambda state: state == len(word), "words")

    def holds(self, *values: Any) -> bool:
        text = self.text(values)
        return all(word in text for word in self.words)

    def says(self, part: int) -> str:
        return f"{self.words[part]!r} occurs in the text"

    def explain(self, *values: Any) -> list[str]:
        text = self.text(values)
        return [
            f"word {k}: {word!r} does not occur in {text!r}"
            for k, word in enumerate(self.words)
            if word not in text
        ]

    @classmethod
    def example(cls) -> "Contains":
        return cls(Variable("text", Finite(("a", "b", ""), (4,))), words=["ab", "aa"])

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Contains"]:
        while True:
            own, letters = text_of(rng, scope)
            yield cls(*own, words=words_of(rng, letters))
