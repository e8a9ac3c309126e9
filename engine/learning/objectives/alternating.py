"""Several objectives in turn on the same networks: each takes its updates, step by step.

    Alternating((HatRefinement(...), MultiscaleScoreMatching(...)))

What each demands of a network they share is weighed by the size of its updates, which an adaptive
optimizer sees as one gradient after the other.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.learning.objective import Nets, Objective, Update
from engine.random import Stream

TURN = 491  # lane of the stream of the first; those of others follow


@dataclass(frozen=True)
class Alternating(Objective[tuple[Any, ...]]):
    """The state is that of all of them."""

    objectives: tuple[Objective, ...]

    def __post_init__(self):
        if not self.objectives:
            raise BadQuery(Mistake("objectives", "is empty", "give one or more"))

    def start(self, nets: Nets, rng: Stream) -> tuple[Any, ...]:
        every = enumerate(self.objectives)
        return tuple(own.start(nets, rng.fork(TURN + k)) for k, own in every)

    def updates(
        self, nets: Nets, batch: State, s: tuple[Any, ...], rng: Stream
    ) -> Generator[Update, None, tuple[Any, ...]]:
        after = []
        for k, (own, state) in enumerate(zip(self.objectives, s, strict=True)):
            after.append((yield from own.updates(nets, batch, state, rng.fork(TURN + k))))
        return tuple(after)
