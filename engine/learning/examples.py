"""Where a training takes its examples from: stored ones, or drawn ones."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.random import Stream


class Examples(ABC):
    """What is learned from: batches of states, drawn as a function of the step alone."""

    @abstractmethod
    def batch(self, size: int, step: int, rng: Stream) -> State:
        """The examples of one step, relaxed or decided. -> {variable: (size, ...)}"""

    def epoch(self, size: int, step: int) -> int | None:
        """The pass over all examples in which a batch begins; None: they never end."""
        del size, step
        return None

    @abstractmethod
    def mark(self) -> str:
        """Tells these examples from others, so that a run is never resumed on other data."""


@dataclass(frozen=True, eq=False)
class Stored(Examples):
    """A finite set: every pass takes each example once, in a new order."""

    x: State  # {variable: (N, ...)}, relaxed or decided

    def __post_init__(self):
        sizes = {name: len(t) for name, t in self.x.items()}
        if not sizes or min(sizes.values()) != max(sizes.values()) or not self.count:
            raise BadQuery(Mistake("examples", f"{sizes} examples", "give as many of each, not 0"))
        for name, t in self.x.items():
            if not t.isfinite().all():
                raise BadQuery(Mistake(f"examples.{name}", "has nan or inf", "leave these out"))

    @property
    def count(self) -> int:
        """N, the number of examples."""
        return len(next(iter(self.x.values())))

    def batch(self, size: int, step: int, rng: Stream) -> State:
        place = step * size + torch.arange(size)
        epoch, within = place // self.count, place % self.count
        index = torch.empty(size, dtype=torch.long)
        for e in epoch.unique().tolist():
            order = self._order(e, rng)
            index[epoch == e] = order[within[epoch == e]]
        return {name: t[index] for name, t in self.x.items()}

    def epoch(self, size: int, step: int) -> int | None:
        return step * size // self.count

    def mark(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for name, t in sorted(self.x.items()):
            digest.update(f"{name} {tuple(t.shape)} {t.dtype}".encode())
            digest.update(t.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def _orders(self) -> dict[tuple[int, int], Tensor]:
        return {}

    def _order(self, epoch: int, rng: Stream) -> Tensor:
        """A random order of the examples, remembered for the last two passes."""
        key = (rng.seed, epoch)
        if key not in self._orders:
            while len(self._orders) > 1:
                self._orders.pop(next(iter(self._orders)))
            draw = rng.at(epoch).uniform(1, self.count, dtype=torch.float64)
            self._orders[key] = draw[0].cpu().argsort()
        return self._orders[key]


@dataclass(frozen=True, eq=False)
class Drawn(Examples):
    """An endless supply: `draw(size, rng)` makes fresh examples; `name` tells it from others."""

    draw: Callable[[int, Stream], State]
    name: str

    def batch(self, size: int, step: int, rng: Stream) -> State:
        return self.draw(size, rng.at(step))

    def mark(self) -> str:
        return self.name
