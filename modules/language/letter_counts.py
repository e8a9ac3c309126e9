"""How often letters stand in a text."""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field, WithJsonSchema

from engine.domain import Domain, Finite, Variable, View
from engine.errors import BadQuery, Mistake, Mistakes
from engine.factors import Counted, Factors
from modules.language._automaton import Automaton, AutomatonRule
from modules.language._examples import text_of
from modules.shared.sites import MISTAKES, whole

COUNTS = {
    "type": "object",
    "additionalProperties": {
        "anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "array", "minItems": 2, "maxItems": 2},
        ]
    },
}


class LetterCounts(AutomatonRule):
    """Some letters stand in a text as often as is said.

    E = sum over letters of 1 - P(their number is so), the sites independent; decided: how many of
    them do not. Affine in each site; no unit. Each letter is a part. Explicit as counts where no
    value spells a letter twice, else as automata. BadQuery: no counts, a count below 0, low above
    high, a name of more than one letter.
    """

    def __init__(
        self,
        *scope: Variable | View,
        counts: Annotated[
            dict[str, Any],
            WithJsonSchema(COUNTS),
            Field(
                description="For each letter how often it stands: a number, or [least, most], "
                "where null leaves an end open.",
                examples=[{"e": 2, "a": [1, None]}],
            ),
        ],
    ):
        super().__init__(*scope)
        self.counts = _read(counts)
        self.accept([self._part(*count) for count in self.counts])

    def _part(self, letter: str, low: int, high: int | None) -> Automaton:
        def step(state: int, own: str) -> int | None:
            after = state + (own == letter)
            if high is None:
                return min(after, low)
            return after if after <= high else None

        return self.built(0, step, lambda state: state >= low, "counts")

    def holds(self, *values: Any) -> bool:
        return not self.explain(*values)

    def says(self, part: int) -> str:
        letter, low, high = self.counts[part]
        return f"{letter!r} stands {low} to {'any number of' if high is None else high} times"

    def explain(self, *values: Any) -> list[str]:
        text = self.text(values)
        return [
            f"letter {k}: {letter!r} stands {text.count(letter)} times, not {low} to "
            f"{'more' if high is None else high}"
            for k, (letter, low, high) in enumerate(self.counts)
            if not low <= text.count(letter) <= (len(text) if high is None else high)
        ]

    def factors(self, *domains: Domain) -> Factors | None:
        if any(token.count(letter) > 1 for token in self.tokens for letter, _, _ in self.counts):
            return super().factors(*domains)
        n, start, value = self.layout.sites, [0], list[int]()
        site = list[int]()
        for letter, _, _ in self.counts:
            own = [k for k, token in enumerate(self.tokens) if letter in token]
            site += [s for s in range(n) for _ in own]
            value += own * n
            start.append(len(site))
        low = [count[1] for count in self.counts]
        high = [n if count[2] is None else min(n, count[2]) for count in self.counts]
        every = (start, site, value, [0] * len(low), range(len(low)), low, high)
        return self.made(domains, counted=Counted(*(np.array(x, np.int64) for x in every)))

    @classmethod
    def example(cls) -> "LetterCounts":
        text = Variable("text", Finite(("a", "b", ""), (4,)))
        return cls(text, counts={"a": [1, 2], "b": 1})

    @classmethod
    def examples(
        cls, rng: random.Random, scope: Sequence[Variable] = ()
    ) -> Iterator["LetterCounts"]:
        while True:
            own, letters = text_of(rng, scope)
            some = sorted({c for t in letters for c in t}) or ["a"]
            counts: dict[str, Any] = {}
            for letter in rng.sample(some, rng.randint(1, min(2, len(some)))):
                low = rng.randint(0, 2)
                counts[letter] = rng.choice([low, [low, None], [low, low + 1]])
            yield cls(*own, counts=counts)


def _read(counts: Any) -> list[tuple[str, int, int | None]]:
    """Letters with the least and most of each; None: any number."""
    if not isinstance(counts, Mapping) or not counts:
        raise BadQuery(Mistake("counts", f"{counts!r}"[:80], 'write {"e": 2} or {"e": [1, 3]}'))
    wrong, out = Mistakes(MISTAKES), list[tuple[str, int, int | None]]()
    for letter, given in counts.items():
        pair = list(given) if isinstance(given, (list, tuple)) else [given, given]
        low, high = pair if len(pair) == 2 else (-1, -1)
        low = 0 if low is None else low
        sound = whole(low) and low >= 0 and (high is None or (whole(high) and high >= low))
        if not isinstance(letter, str) or len(letter) != 1:
            wrong.add(f"counts.{letter}", "is no single letter", "name one letter")
        elif not sound:
            wrong.add(
                f"counts.{letter}", f"{given!r} is no count", "give a number, or [least, most]"
            )
        else:
            out.append((letter, int(low), None if high is None else int(high)))
    wrong.check()
    return out
