"""Where a word occurs in a text, and rules whose parts are words."""

import random
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Self

from pydantic import Field

from engine.domain import Finite, Variable, View
from engine.errors import BadQuery, Mistake
from modules.language._automaton import Automaton, AutomatonRule
from modules.language._examples import text_of, words_of
from modules.shared.sites import listed


class WordsRule(AutomatonRule):
    """Abstract: a rule over the whole text each of whose parts is one of some words."""

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

    @abstractmethod
    def _part(self, word: str) -> Automaton:
        """What accepts the texts that keep the part of this word."""

    @classmethod
    def example(cls) -> Self:
        return cls(Variable("text", Finite(("a", "b", ""), (4,))), words=["ab", "aa"])

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator[Self]:
        while True:
            own, letters = text_of(rng, scope)
            yield cls(*own, words=words_of(rng, letters))


def reader(word: str) -> Callable[[int, str], int]:
    """The letters of the word that stand at the end of what was read, after one more letter; the
    whole word stays. Source: Knuth, Morris, Pratt, SIAM J. Computing 1977."""
    back = [0] * (len(word) + 1)  # the next shorter beginning that is also an end
    k = 0
    for j in range(1, len(word)):
        while k and word[j] != word[k]:
            k = back[k]
        k += word[j] == word[k]
        back[j + 1] = k

    def step(state: int, letter: str) -> int:
        if state == len(word):
            return state
        while state and letter != word[state]:
            state = back[state]
        return state + (letter == word[state])

    return step


def read_words(words: Any) -> list[str]:
    """A list of words. Raises BadQuery under `words`."""
    every = listed(words)
    if not every or not all(isinstance(word, str) and word for word in every):
        told = f"{words!r}"[:80]
        raise BadQuery(Mistake("words", told, "write it as [word, ...], none of them empty"))
    return list(every)
