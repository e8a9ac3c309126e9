"""Cross-entropy: a classifier learns the labels of examples.

    loss = - mean over the batch of ln softmax(net(x))[y]

The network named "network" maps what the batch calls "x" to logits, one row an example; "label"
holds places of classes. Of a graph "x" are nodes, and the network holds features and edges: only
labelled nodes are ever in a batch, while all of them send messages.
"""

from collections.abc import Generator
from dataclasses import dataclass

import torch

from engine.domain import State
from engine.errors import BadQuery, Mistake, known
from engine.learning.objective import Nets, Objective, Update
from engine.random import Stream


@dataclass(frozen=True)
class CrossEntropy(Objective[tuple[()]]):
    """smoothing: the share of each label that is spread over all classes."""

    smoothing: float = 0.0
    clip: float | None = None

    def __post_init__(self):
        if not 0 <= self.smoothing < 1:
            raise BadQuery(Mistake("smoothing", f"{self.smoothing!r}", "give 0 <= smoothing < 1"))

    def start(self, nets: Nets, rng: Stream) -> tuple[()]:
        del rng
        if "network" not in nets:
            said = f"there is none among {sorted(nets)}"
            raise BadQuery(Mistake("nets.network", said, known("network", nets)))
        return ()

    def updates(
        self, nets: Nets, batch: State, s: tuple[()], rng: Stream
    ) -> Generator[Update, None, tuple[()]]:
        del rng
        logits = nets["network"](batch["x"])  # (B, C)
        loss = torch.nn.functional.cross_entropy(
            logits, batch["label"].long(), label_smoothing=self.smoothing
        )
        right = (logits.argmax(-1) == batch["label"]).double().mean()
        yield Update("network", loss, self.clip, {"accuracy": float(right)})
        return s
