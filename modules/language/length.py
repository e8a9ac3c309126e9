"""How many letters a text has."""

import random
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import Field

from engine.domain import Finite, Variable, View
from engine.errors import BadQuery, Mistake
from modules.language._automaton import AutomatonRule, automaton_of
from modules.language._examples import text_of


class Length(AutomatonRule):
    """A text has at least `low` and at most `high` letters; sites that spell nothing come last.

    E = 1 - P(the number of letters is so) + P(a site that spells nothing stands before one that
    does), the sites independent; decided: the number of these two parts that fail. Affine in each
    site; no unit. A text shorter than its sites has the value "" at the last of them: put "" among
    the values. Explicit as automata: chains with a hidden state after each site.
    BadQuery: low above high.
    """

    def __init__(
        self,
        *scope: Variable | View,
        low: Annotated[int, Field(ge=0, description="The least number of letters.")] = 0,
        high: Annotated[int | None, Field(ge=0, description="The largest; not given: any.")] = None,
    ):
        super().__init__(*scope)
        if high is not None and low > high:
            raise BadQuery(Mistake("low", f"{low} is above high, {high}", "give the less as low"))
        self.low, self.high = low, high
        n = self.layout.sites
        parts = [automaton_of(0, self._longer, lambda state: state >= low, self.tokens, n, "high")]
        if "" in self.tokens:
            parts.append(automaton_of(False, _padded, _always, self.tokens, n, "scope"))
        self.accept(parts)

    def _longer(self, state: int, token: str) -> int | None:
        after = state + len(token)
        if self.high is None:
            return min(after, self.low)
        return after if after <= self.high else None

    def holds(self, *values: Any) -> bool:
        return not self.explain(*values)

    def says(self, part: int) -> str:
        most = "any number" if self.high is None else str(self.high)
        said = [f"the text has {self.low} to {most} of letters", "what spells nothing stands last"]
        return said[part]

    def explain(self, *values: Any) -> list[str]:
        flat = [str(v[1] if self.layout.mixed else v) for v in self.layout.flat(values)]
        count, said = len("".join(flat)), []
        if count < self.low or (self.high is not None and count > self.high):
            most = "more" if self.high is None else str(self.high)
            said.append(f"part 0: the text has {count} letters, not {self.low} to {most}")
        gaps = [k for k in range(1, len(flat)) if flat[k] and not flat[k - 1]]
        if gaps:
            said.append(
                f"part 1: {self.layout.name(gaps[0] - 1)} spells nothing, but letters follow"
            )
        return said

    @classmethod
    def example(cls) -> "Length":
        return cls(Variable("text", Finite(("a", "b", ""), (4,))), low=1, high=3)

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Length"]:
        while True:
            own, _ = text_of(rng, scope)
            low = rng.randint(0, 4)
            yield cls(*own, low=low, high=rng.choice([None, low, low + 1]))


def _padded(state: bool, token: str) -> bool | None:
    """Whether nothing was spelled by the last site; None where letters follow such a site."""
    return None if state and token else not token


def _always(state: bool) -> bool:
    """A text may end anywhere."""
    del state
    return True
