"""What a sampler is: moves of many particles that leave exp(-beta * energy) as it is.

Samplers are the negative phase of training and what draws from a trained energy. Required rules
are kept hard: no move may raise their violation, so a start that holds stays among states that
hold. Samplers over one kind of variables leave the others where they are; `InTurn` joins them.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.problem import Problem
from engine.random import Stream


class Sampler(ABC):
    """Frozen hyper-parameters; the particles travel as states."""

    @abstractmethod
    def walk(
        self, problem: Problem, x: State, steps: int, rng: Stream, beta: float = 1.0
    ) -> dict[str, Tensor]:
        """`steps` moves of every particle at inverse temperature beta.

        Evidence is never left. {name: (R * P, *shape)} decided -> same
        """


@dataclass(frozen=True)
class InTurn(Sampler):
    """Several samplers, `moves[k]` moves of the k-th a round; a step is a round."""

    samplers: tuple[Sampler, ...]
    moves: tuple[int, ...]

    def __post_init__(self):
        if len(self.samplers) != len(self.moves) or min(self.moves, default=0) < 1:
            raise BadQuery(Mistake("moves", f"{self.moves!r}", "give one number >= 1 a sampler"))

    def walk(
        self, problem: Problem, x: State, steps: int, rng: Stream, beta: float = 1.0
    ) -> dict[str, Tensor]:
        x = dict(x)
        for step in range(steps):
            for k, (sampler, moves) in enumerate(zip(self.samplers, self.moves, strict=True)):
                lane = step * len(self.samplers) + k
                x = sampler.walk(problem, x, moves, rng.fork(lane), beta)
        return x
