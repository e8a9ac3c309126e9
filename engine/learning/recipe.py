"""How a training is run, and what comes of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.errors import BadQuery, Mistake
from engine.learning.objective import Nets
from engine.learning.optimizers import AdamW, Optimizer


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to train.

    rate: of `AdamW(rate)`, by which networks step that `optimizers` does not name. warm: first
    steps over which all rates rise; decay: whether they then fall to 0 along a cosine, beside the
    fall of an optimizer. average: memory of the running mean of weights and buffers, None: none.
    every: steps between checkpoints, log lines and looks at held-out data. patience: looks without
    a better one after which training stops; the networks then end with the averaged weights of the
    best look, the one before the first step among them. seconds: limit on wall time, checkpoints
    included, over all resumptions.
    """

    steps: int
    batch: int = 128
    rate: float = 1e-3
    optimizers: Mapping[str, Optimizer] = field(default_factory=dict)
    warm: int = 0
    decay: bool = True
    average: float | None = 0.999
    every: int = 500
    patience: int | None = None
    seconds: float | None = None
    seed: int = 0

    def __post_init__(self):
        for name in ("steps", "batch", "every"):
            if getattr(self, name) < 1:
                raise BadQuery(Mistake(name, f"{getattr(self, name)!r}", "give at least 1"))
        AdamW(self.rate)  # checks the rate
        if self.average is not None and not 0 < self.average < 1:
            raise BadQuery(Mistake("average", f"{self.average!r}", "give 0 < average < 1"))

    def optimizer(self, name: str) -> Optimizer:
        """How a network steps."""
        return self.optimizers.get(name, AdamW(self.rate))

    def share(self, step: int) -> float:
        """The rates of a step as a share of those of the optimizers."""
        rise = min(1.0, (step + 1) / self.warm) if self.warm else 1.0
        fall = 0.5 * (1 + math.cos(math.pi * step / self.steps)) if self.decay else 1.0
        return rise * fall


@dataclass(frozen=True, eq=False)
class Trained:
    """What a run ended with; the networks themselves now hold the averaged weights.

    kept: the step that these weights are of.
    """

    nets: Nets
    steps: int
    seconds: float
    stopped: str  # "steps", "seconds" or "patience"
    state: Any  # of the objective
    history: tuple[Mapping[str, float], ...]  # one record every `every` steps, of this start
    kept: int
