"""Other figures of doubt, to hold the energies against; high: not known.

Sources: Liu et al., "Energy-based out-of-distribution detection", NeurIPS 2020 (logit energy); Wu
et al., "Energy-based out-of-distribution detection for graph neural networks", ICLR 2023 (GNNSafe);
Lakshminarayanan et al., "Simple and scalable predictive uncertainty estimation using deep
ensembles", NeurIPS 2017.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from modules.graph.epistemic.diffusion import Graph


def logit_energy(logits: Tensor) -> Tensor:
    """-ln sum_y exp(l_vy). (N, C) -> (N,)"""
    return -logits.double().logsumexp(1)


def gnn_safe(logits: Tensor, graph: Graph, steps: int = 2, alpha: float = 0.5) -> Tensor:
    """Logit energies that flow, a node not its own neighbour: one without edges keeps a share of
    alpha at each step. (N, C) -> (N,)"""
    energy = logit_energy(logits)
    one, other = graph.ends
    degree = torch.bincount(one, minlength=graph.nodes).clamp(min=1).double()
    for _ in range(steps):
        near = torch.zeros_like(energy).index_add_(0, one, energy[other]) / degree
        energy = alpha * energy + (1 - alpha) * near
    return energy


def entropy(logits: Tensor) -> Tensor:
    """-sum_y p ln p of the softmax. (N, C) -> (N,)"""
    logs = logits.double().log_softmax(1)
    return -(logs.exp() * logs).sum(1)


def ensemble(logits: Sequence[Tensor]) -> Tensor:
    """What members disagree on: the entropy of their mean less the mean of theirs, in nats.
    M of (N, C) -> (N,)"""
    mean = torch.stack([own.double().softmax(1) for own in logits]).mean(0)
    return -torch.xlogy(mean, mean).sum(1) - torch.stack([*map(entropy, logits)]).mean(0)
