"""Where a word occurs in a text: how much of it the last letters spell."""

from collections.abc import Callable
from typing import Any

from engine.errors import BadQuery, Mistake
from modules.shared.sites import listed


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
