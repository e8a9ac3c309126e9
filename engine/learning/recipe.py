"""How a training is run, and what comes of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.errors import BadQuery, Mistake
from engine.learning.objective import Nets


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to train.

    rate: step of AdamW; rates: of single networks, by name. warm: first steps over which the rate
    rises; decay: whether it then falls to 0 along a cosine. average: memory of the running mean of
    the weights, None: none. every: steps between checkpoints, log lines and looks at held-out data.
    patience: looks without a better one after which training stops; the networks then end with the
    averaged weights of the best look, the one before the first step among them. seconds: limit on
    wall time, checkpoints included, over all resumptions.
    """

    steps: int
    batch: int = 128
    rate: float = 1e-3
    rates: Mapping[str, float] = field(default_factory=dict)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
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
        for name, rate in {"rate": self.rate, **self.rates}.items():
            if not 0 < rate < math.inf:
                raise BadQuery(Mistake(name, f"{rate!r}", "give a number above 0"))
        if self.average is not None and not 0 < self.average < 1:
            raise BadQuery(Mistake("average", f"{self.average!r}", "give 0 < average < 1"))

    def share(self, step: int) -> float:
        """The rate of a step as a share of `rate`."""
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
