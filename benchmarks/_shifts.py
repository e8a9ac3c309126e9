"""The shifts by which energies of graphs are held against their peers, and one split of each.

Protocol of GEBM (NeurIPS 2024): undirected, rows of length 1; nodes that are shifted are not in the
graph that is learned from, and stand in the whole graph at the test; a fixed fifth of each class is
tested, 20 nodes of each class are labelled, the others known to the early stop.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.common import auroc
from modules.graph.epistemic import baselines
from modules.graph.epistemic.backbones import backbone, outputs
from modules.graph.epistemic.data import Nodes
from modules.graph.epistemic.diffusion import Graph
from modules.graph.epistemic.energies import FittedEnergy, GraphEnergy
from modules.graph.epistemic.training import labelled_nodes, train_network

EACH, TESTED = 20, 0.2  # labelled nodes of a class; share of a class that is tested
TELEPORT, POWERS = 0.2, 10  # of PageRank
FEATURES = ("Bernoulli(mean)", "Bernoulli(0.5)", "N(0,1)")
SHIFTS = ("leave out classes", "homophily", "PageRank", *FEATURES)
METHODS = ("GEBM", "logit energy", "GNNSafe", "entropy")  # those that are compared


@dataclass(frozen=True, eq=False)
class Trained:
    """A network that learned from the nodes that are not shifted."""

    network: nn.Module
    fitted: FittedEnergy
    whole: Nodes  # all nodes, as they were
    shifted: Tensor  # (n,) bool
    tested: Tensor  # (n,) bool


def stratified(labels: Tensor, share: float, seed: int) -> Tensor:
    """A share of the nodes of each class, at random. -> (n,) bool"""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    out = torch.zeros(len(labels), dtype=torch.bool)
    for y in labels.unique().tolist():
        own = order[labels[order] == y]
        out[own[: round(share * len(own))]] = True
    return out


def lowest_half(figure: Tensor, labels: Tensor) -> Tensor:
    """The half of each class with the lowest figure. -> (n,) bool"""
    out = torch.zeros(len(labels), dtype=torch.bool)
    for y in labels.unique().tolist():
        own = (labels == y).nonzero().reshape(-1)
        out[own[figure[own].argsort(stable=True)[: len(own) // 2]]] = True
    return out


def homophily(graph: Graph, labels: Tensor) -> Tensor:
    """The share of neighbours of the same class. -> (n,)"""
    one, other = graph.ends
    alike = (labels[one] == labels[other]).double()
    total = torch.zeros(graph.nodes, dtype=torch.float64).index_add_(0, one, alike)
    return total / torch.bincount(one, minlength=graph.nodes).clamp(min=1)


def page_rank(graph: Graph) -> Tensor:
    """Where a walk that starts anew with chance 0.2 stands after ten steps. -> (n,)"""
    rank = torch.full((graph.nodes,), 1 / graph.nodes, dtype=torch.float64)
    starts, near = graph.rows
    degree = starts.diff()
    for _ in range(POWERS):
        moved = torch.zeros_like(rank)
        moved.index_add_(0, near, (rank / degree).repeat_interleave(degree))
        rank = TELEPORT / graph.nodes + (1 - TELEPORT) * moved
    return rank


def shifted_nodes(name: str, nodes: Nodes, left_out: int, seed: int) -> Tensor:
    """Which nodes a shift is about. -> (n,) bool"""
    classes = int(nodes.labels.max()) + 1
    if name == "leave out classes":
        return nodes.labels >= classes - left_out
    if name == "homophily":
        return lowest_half(homophily(nodes.graph, nodes.labels), nodes.labels)
    if name == "PageRank":
        return lowest_half(page_rank(nodes.graph), nodes.labels)
    return stratified(nodes.labels, 0.5, 1000 + seed)


def perturbed(name: str, nodes: Nodes, shifted: Tensor, seed: int) -> Tensor:
    """Features with those of shifted nodes drawn anew; rows of bits then have length 1. (n, f)"""
    if name not in FEATURES:
        return nodes.features
    dense = nodes.features.to_dense() if nodes.features.layout != torch.strided else nodes.features
    rng = torch.Generator().manual_seed(seed)
    shape = (int(shifted.sum()), dense.shape[1])
    if name == "N(0,1)":
        drawn = torch.randn(shape, generator=rng)
    else:
        mean = (dense[~shifted] > 0).float().mean(0) if name == "Bernoulli(mean)" else 0.5
        drawn = (torch.rand(shape, generator=rng) < mean).float()
        drawn = nn.functional.normalize(drawn, dim=1)
    out = dense.clone()
    out[shifted] = drawn
    return out


def learned(nodes: Nodes, shifted: Tensor, seed: int, split: int, name: str = "gcn") -> Trained:
    """One split: trained on the nodes that are not shifted."""
    tested = stratified(nodes.labels, TESTED, 0)
    kept = ~shifted
    own = nodes.at(kept)
    open_ = torch.where(tested[kept], -1, own.labels)
    labelled = labelled_nodes(open_, EACH, seed + split)
    classes = int(own.labels.max()) + 1
    network = backbone(name, own.features.shape[1], classes, seed=seed + split)
    train_network(network, Nodes(own.features, own.graph, open_), labelled, seed=seed + split)
    free = outputs(network, own.features, None)
    h, logits = outputs(network, own.features, own.graph)
    fitted = GraphEnergy().fit(h, logits, own.labels, labelled, free=free, graph=own.graph)
    return Trained(network, fitted, nodes, shifted, tested)


def areas(made: Trained, features: Tensor) -> dict[str, float]:
    """The area under the ROC curve of each figure of doubt: shifted among tested nodes."""
    graph = made.whole.graph
    free = outputs(made.network, features, None)
    _, logits = outputs(made.network, features, graph)
    found = made.fitted.score(*free, graph)
    near = replace(made.fitted, evidence=replace(made.fitted.evidence, gamma=0.0))
    figures: Mapping[str, Tensor] = {
        "GEBM": found.total,
        "independent": found.independent,
        "local": found.local,
        "group": found.group,
        "gamma = 0": near.score(*free, graph).total,
        "logit energy": baselines.logit_energy(logits),
        "GNNSafe": baselines.gnn_safe(logits, graph),
        "entropy": baselines.entropy(logits),
    }
    return {name: area(figure, made.shifted, made.tested) for name, figure in figures.items()}


def area(figure: Tensor, shifted: Tensor, tested: Tensor) -> float:
    """The chance that a shifted tested node has the higher figure."""
    return auroc(figure[tested & shifted].tolist(), figure[tested & ~shifted].tolist())


def accuracies(made: Trained, features: Tensor) -> dict[str, float]:
    """How many tested nodes are right, shifted and others, by the network and by evidence."""
    graph, labels = made.whole.graph, made.whole.labels
    free = outputs(made.network, features, None)
    _, logits = outputs(made.network, features, graph)
    said = {
        "network": logits,
        "evidence": made.fitted.predict(*free, graph),
        "gated evidence": made.fitted.predict(*free, graph, gated=True),
    }
    out = {}
    for name, own in said.items():
        right = (own.argmax(1) == labels).double()
        out[f"{name}, shifted"] = float(right[made.tested & made.shifted].mean())
        out[f"{name}, others"] = float(right[made.tested & ~made.shifted].mean())
    return out


def mean_sd(values: list[float]) -> tuple[float, float]:
    """Mean and standard deviation over splits."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
