"""Words that do not occur in a text."""

from typing import Any

from modules.language._automaton import Automaton
from modules.language._occurrence import WordsRule, reader


class Excludes(WordsRule):
    """None of some words occurs in the text, nowhere, to the letter.

    E = sum over words of P(it occurs), the sites independent; decided: the number of words that do.
    Affine in each site; no unit. Each word is a part, and explicit as an automaton: a chain with a
    hidden state after each site. BadQuery: no words, an empty word.
    """

    def _part(self, word: str) -> Automaton:
        read = reader(word)

        def step(state: int, letter: str) -> int | None:
            after = read(state, letter)
            return None if after == len(word) else after

        return self.built(0, step, _always, "words")

    def holds(self, *values: Any) -> bool:
        text = self.text(values)
        return not any(word in text for word in self.words)

    def says(self, part: int) -> str:
        return f"{self.words[part]!r} does not occur in the text"

    def explain(self, *values: Any) -> list[str]:
        text = self.text(values)
        return [
            f"word {k}: {word!r} occurs in {text!r}, at letter {text.index(word)}"
            for k, word in enumerate(self.words)
            if word in text
        ]


def _always(state: int) -> bool:
    """Whatever was read without such a word is a text."""
    del state
    return True
