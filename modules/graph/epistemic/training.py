"""Training a graph network on the labels of some nodes, until those held out tell it to stop."""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from engine.learning.recipe import Trained
from modules.graph.epistemic.data import Nodes

RATE, DECAY = 1e-3, 1e-4  # the method's own
STEPS, LOOK, WAIT, LEAST = (
    10_000,
    10,
    5,
    1e-3,
)  # at most; one look; looks in vain; a gain that counts


class OnGraph(nn.Module):
    """A network with the graph it is trained on: nodes to logits."""

    def __init__(self, network: nn.Module, nodes: Nodes):
        super().__init__()
        self.network, self.nodes = network, nodes

    def forward(self, at: Tensor) -> Tensor:  # (B,) -> (B, C)
        return self.network(self.nodes.features, self.nodes.graph.ends)[1][at]


def train_network(
    network: nn.Module,
    nodes: Nodes,
    labelled: Tensor,
    *,
    rate: float = RATE,
    steps: int = STEPS,
    seconds: float | None = None,
    seed: int = 0,
    work: Path | None = None,
) -> Trained:
    """Trains in place, all labelled nodes at each step. The cross-entropy of the other nodes whose
    label is known, looked at every ten steps, ends it where five looks bring no gain of 1e-3."""
    from engine.learning.examples import Stored
    from engine.learning.objectives.cross_entropy import CrossEntropy
    from engine.learning.optimizers import Adam
    from engine.learning.recipe import Recipe
    from engine.learning.train import train  # Lightning is loaded to train, not to ask

    at = labelled.nonzero().reshape(-1)
    held = (~labelled & (nodes.labels >= 0)).nonzero().reshape(-1)

    @torch.no_grad()
    def loss(nets: Mapping[str, nn.Module]) -> float:
        own = nets["network"](held)
        found = float(nn.functional.cross_entropy(own, nodes.labels[held]))
        return math.floor(found / LEAST) * LEAST

    recipe = Recipe(
        steps,
        len(at),
        optimizers={"network": Adam(rate, weight_decay=DECAY)},
        decay=False,
        average=None,
        every=LOOK,
        patience=WAIT if len(held) else None,
        seconds=seconds,
        seed=seed,
    )
    data = Stored({"x": at, "label": nodes.labels[at]})
    nets = {"network": OnGraph(network, nodes)}
    judge = loss if len(held) else None
    return train(CrossEntropy(), nets, data, recipe, work=work, held_out=judge)


def labelled_nodes(labels: Tensor, each: int, seed: int) -> Tensor:
    """So many nodes of each class, at random; all of a class that has no more. -> (n,) bool"""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    out = torch.zeros(len(labels), dtype=torch.bool)
    for y in labels[labels >= 0].unique().tolist():
        out[order[labels[order] == y][:each]] = True
    return out
