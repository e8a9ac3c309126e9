"""Words that occur in a text."""

from typing import Any

from modules.language._automaton import Automaton
from modules.language._occurrence import WordsRule, reader


class Contains(WordsRule):
    """Every one of some words occurs in the text, anywhere, to the letter.

    E = sum over words of 1 - P(it occurs), the sites independent; decided: the number of words that
    do not. Affine in each site; no unit. Each word is a part, and explicit as an automaton: a chain
    with a hidden state after each site. BadQuery: no words, an empty word.
    """

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
