"""Teacher forcing: each token is predicted from those that truly stand before it.

    loss = - mean over texts and places t of ln p(y_t | y_1 ... y_(t-1))

This is maximum likelihood of a sequence model, and as good as any energy over whole sequences can
be learned: min over q of L_ARM = min over R of L_EBM (Blondel et al., arXiv 2512.15605, prop. 4.1).
Long texts come piece by piece; what the network knows at the end of one piece is carried to the
next, without a gradient (truncated backpropagation through time: Williams and Peng, Neural
Computation 2, 1990).
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor

from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.learning.objective import Nets, Objective, Update
from engine.random import Stream

Carried = tuple[Tensor, ...]  # what is known of the text so far, (rows, ...) each


class Recurrent(Protocol):
    """What a network must be to learn so; it is called "model" among the networks."""

    def blank(self, rows: int) -> Carried:
        """What is known before anything is read."""

    def learned(self, before: Tensor, carried: Carried) -> tuple[Tensor, Carried]:
        """Logits of the token after each of those read, and what is known behind the last.
        (rows, T) -> (rows, T, V)"""


@dataclass(frozen=True)
class TeacherForcing(Objective[Carried]):
    """A batch holds `before` and `text`, (rows, T) tokens, and `fresh`, (rows,): 1 where a piece
    begins a text of its own, of which nothing is known yet."""

    rows: int
    clip: float | None = 1.0

    def __post_init__(self):
        if self.rows < 1:
            raise BadQuery(Mistake("rows", f"{self.rows!r}", "give at least 1"))

    def start(self, nets: Nets, rng: Stream) -> Carried:
        del rng
        if "model" not in nets:
            raise BadQuery(Mistake("nets.model", "is missing", 'give {"model": network}'))
        return cast(Recurrent, nets["model"]).blank(self.rows)

    def updates(
        self, nets: Nets, batch: State, s: Carried, rng: Stream
    ) -> Generator[Update, None, Carried]:
        del rng
        model = cast(Recurrent, nets["model"])
        known = (batch["fresh"] == 0).to(s[0].dtype)
        s = tuple(t * known.reshape(-1, *[1] * (t.dim() - 1)) for t in s)
        logits, carried = model.learned(batch["before"].long(), s)
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), batch["text"].long().flatten()
        )
        yield Update("model", loss, self.clip)
        return tuple(t.detach() for t in carried)
