"""Another objective with a price on the size of the parameters, so that few of them stay.

    loss = loss of the other + strength * sum over parameters of |w|      (L1, the lasso)

A parameter whose gain per unit is below `strength` ends near 0: the steps of a falling rate swing
around 0 with its size. Sources: Tibshirani, "Regression shrinkage and selection via the lasso",
1996; for couplings: Ravikumar, Wainwright, Lafferty, "High-dimensional Ising model selection using
l1-regularized logistic regression", 2010.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch

from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.learning.objective import Nets, Objective, Update
from engine.random import Stream

S = TypeVar("S")


@dataclass(frozen=True)
class Sparse(Objective[S], Generic[S]):
    """`inner` with the price of the parameters of the networks that each update trains."""

    inner: Objective[S]
    strength: float

    def __post_init__(self):
        if not self.strength >= 0:
            raise BadQuery(Mistake("strength", f"{self.strength!r}", "give a number >= 0"))

    def start(self, nets: Nets, rng: Stream) -> S:
        return self.inner.start(nets, rng)

    def updates(self, nets: Nets, batch: State, s: S, rng: Stream) -> Generator[Update, None, S]:
        updates = self.inner.updates(nets, batch, s, rng)
        while True:
            try:
                update = next(updates)
            except StopIteration as end:
                return end.value
            moved = [p for name in update.names for p in nets[name].parameters()]
            sizes = [p.abs().sum() for p in moved]
            price = self.strength * torch.stack(sizes).sum()
            shown = {**update.shown, "price": float(price.detach())}
            yield replace(update, loss=update.loss + price, shown=shown)
