"""Labels of nodes: each as its scores say, and neighbours alike."""

import random
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from engine.domain import Domain, Finite, Given, Input, Real, Variable, View
from engine.energy import Term
from engine.energy.lesson import Lesson
from engine.errors import BadQuery, Mistake, Mistakes
from engine.factors import Factors, Table, floats
from modules.graph._couplings import learn, load_couplings
from modules.parameters import Number, Site, Strict
from modules.shared.files import File
from modules.shared.sites import MISTAKES, Layout, check_site, finite, read_lists

FINE = float(1 << 24)  # scores are read to so small a part of a nat, so that energies are exact


class Parameters(Strict):
    """The edges of a graph, and what it costs if the ends of one differ."""

    edges: list[tuple[Site, Site] | tuple[Site, Site, Number]] = Field(
        description="Edges [a, b], or [a, b, weight]; the sites of the labels are the nodes."
    )
    smoothness: Annotated[Number, Field(ge=0)] = Field(
        1.0,
        description="Nats that an edge of weight 1 costs if its ends have different labels; a "
        "factor of what was learned where that is read.",
    )
    weights: File | None = Field(
        None,
        description="A file of `basin train graph.labels`: what an edge costs by the labels of "
        "both its ends.",
    )


class Labels(Term):
    """Labels of nodes: each as its scores say, and neighbours alike.

    E = sum over nodes of -ln softmax(scores)[label] + smoothness * sum over edges of weight *
    c[label of one end, label of the other], where c is 1 for labels that differ and 0 for others,
    or what the file `weights` learned from a labelled graph.

    `scores` (nodes, classes) is what a classifier says of each node alone: logits, or logarithms of
    probabilities; a node whose scores are absent is told by its neighbours alone. `labels` has a
    site for each node and a value for each class, in the order of the scores. Affine in each site;
    in nats: the conditional random field of Lafferty et al. (ICML 2001) over pairs. Scores and c
    are read to 2^-24 nats. An edge from a node to itself costs nothing, one named twice counts
    twice. How many nodes have a label, and which have to have one label, are rules beside it.
    BadQuery: scores of another shape, a node out of range, a weight below 0, a file of another
    number of classes.
    """

    calibrated = True
    partial = True
    fixed_structure = True
    dtype = torch.float64

    def __init__(
        self,
        scores: Input | View,
        labels: Variable | View,
        edges: Sequence[Sequence[Any]],
        smoothness: float = 1.0,
        weights: str | None = None,
    ):
        super().__init__(scores, labels)
        told, asked = self.scope
        self.layout = Layout([asked])
        n, k = self.layout.sites, len(self.layout.domains[0].values)
        if tuple(told.shape) != (n, k):
            remedy = f"give it as [{n}, {k}]: a node a row, a class a column"
            problem = f"{told.variable.name} has the shape {list(told.shape)}"
            raise BadQuery(Mistake("scope[0]", problem, remedy))
        if getattr(told.variable.domain, "values", None):
            problem = f"{told.variable.name} has a list of values"
            raise BadQuery(Mistake("scope[0]", problem, "make it an input of numbers"))
        if not finite(smoothness) or smoothness < 0:
            remedy = "give a finite number of at least 0"
            raise BadQuery(Mistake("smoothness", f"{smoothness!r}", remedy))
        self.smoothness = float(smoothness)
        self.prices = _prices(weights, k)
        a, b, self.weight = _read(self.layout, edges)
        self.ends = torch.stack([torch.from_numpy(a), torch.from_numpy(b)])

    def costs(self, told: Given) -> Tensor:  # (B, n, k), (B, n) -> (B, n, k)
        """What each label of each node costs, a whole number of the finest part of a nat."""
        values, present = told
        nats = -values.log_softmax(-1)
        rounded = nats + ((nats.detach() * FINE).round() / FINE - nats.detach())
        return torch.where(present[..., None], rounded, torch.zeros_like(rounded))

    def energy(self, told: Given, labels: Tensor) -> Tensor:  # labels (B, ..., k) -> (B,)
        labels = labels.flatten(1, -2)
        one, other = self.ends.to(labels.device)
        paid = (labels[:, one] @ self.prices.to(labels) * labels[:, other]).sum(-1)
        weight = torch.from_numpy(self.weight * self.smoothness).to(labels)
        return (self.costs(told) * labels).sum((1, 2)) + (paid * weight).sum(1)

    def cost(self, told: Given, labels: Tensor) -> Tensor:  # labels (B, ...) int64 -> (B,)
        labels = labels.flatten(1)
        one, other = self.ends.to(labels.device)
        paid = self.prices.to(labels.device)[labels[:, one], labels[:, other]]
        weight = torch.from_numpy(self.weight * self.smoothness).to(paid)
        own = self.costs(told).gather(2, labels[..., None])[..., 0]
        return own.sum(1) + paid @ weight

    def factors(self, told: Any, labels: Domain) -> Factors:
        given = Given(told.tensor.to(self.dtype), told.present)
        own = Factors.unary(self.costs(given).numpy())
        prices = self.prices.numpy()
        tuples = np.argwhere(prices > 0)
        costs = prices[tuples[:, 0], tuples[:, 1]]
        tables = list(own.tables)
        price = self.weight * self.smoothness
        for level in np.unique(price[price > 0]):
            scopes = self.ends.numpy().T[price == level]
            zero = np.zeros(len(scopes), dtype=np.int64)
            part = len(self.layout.entry) + np.flatnonzero(price == level)
            tables.append(Table(scopes, tuples, floats(level * costs), term=zero, part=part))
        return Factors(Factors.sizes_of([labels]), self.layout.sites, tables=tuple(tables))

    def floor(self) -> float:
        return 0.0

    @classmethod
    def learn(cls, lesson: Lesson) -> list[str]:
        return learn(lesson)

    @classmethod
    def example(cls) -> "Labels":
        scores = Input("scores", Real((4, 3)))
        labels = Variable("labels", Finite(("a", "b", "c"), (4,)))
        return cls(scores, labels, edges=[[0, 1], [1, 2], [2, 2], [2, 3, 0.5]], smoothness=0.7)

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Labels"]:
        while not scope:
            n, k = rng.randint(1, 4), rng.randint(1, 3)
            scores = Input("scores", Real((n, k)))
            shape = (2, 2) if n == 4 and rng.random() < 0.5 else (n,)
            labels = Variable("labels", Finite(tuple(range(k)), shape))
            edges = [
                [rng.randrange(n), rng.randrange(n), rng.choice([0, 1, 0.5, 2])][
                    : rng.choice([2, 3])
                ]
                for _ in range(rng.randint(0, 4))
            ]
            yield cls(scores, labels, edges=edges, smoothness=rng.choice([0, 0.3, 1, 2.5]))


def _prices(weights: str | None, classes: int) -> Tensor:
    """What an edge of weight 1 costs by both labels. -> (k, k) float64"""
    if weights is None:
        return 1.0 - torch.eye(classes, dtype=torch.float64)
    prices = load_couplings(weights).prices
    if len(prices) != classes:
        problem = f"{weights} is of {len(prices)} classes, and the labels have {classes}"
        raise BadQuery(Mistake("weights", problem, "give a file made for these labels"))
    return (prices * FINE).round() / FINE


def _read(layout: Layout, edges: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both ends and the weight of each edge between two nodes. Raises BadQuery with mistakes."""
    wrong, read = Mistakes(MISTAKES), []
    for k, edge in enumerate(read_lists(edges, "edges")):
        path = f"edges[{k}]"
        if len(edge) not in (2, 3):
            remedy = "write it as [node, node] or [node, node, weight]"
            wrong.add(path, f"{list(edge)!r} has {len(edge)} entries", remedy)
            continue
        good = [check_site(layout, s, f"{path}[{j}]", wrong) for j, s in enumerate(edge[:2])]
        weight = edge[2] if len(edge) == 3 else 1.0
        if not finite(weight) or weight < 0:
            wrong.add(f"{path}[2]", f"{weight!r}", "give a finite weight of at least 0")
        elif all(good) and edge[0] != edge[1]:
            read.append((int(edge[0]), int(edge[1]), float(weight)))
    wrong.check()
    a, b, weights = zip(*read, strict=True) if read else ((), (), ())
    return np.array(a, np.int64), np.array(b, np.int64), floats(weights)
