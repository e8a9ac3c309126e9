"""What an edge costs by the labels of both its ends: learned from a labelled graph, kept in a file.

    c(a, b) = -ln (share of edges between a and b / what it were if ends were drawn by themselves)

less its least entry, in nats: 0 for the pair that neighbours prefer most. Each count begins at 1.
Source: Church and Hanks, "Word association norms, mutual information", Computational Linguistics
1990.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from engine.energy.lesson import Lesson
from engine.errors import BadQuery, Mistake
from modules.graph.epistemic.data import read_nodes
from modules.shared.weights import described, loaded, save_described

FOLDER = Path(__file__).parent
FORMAT = "basin.labels.1"
REMEDY = "make it with `basin train graph.labels --data FILE.npz --out W.safetensors`"
MOST = 4096  # classes


@dataclass(frozen=True, eq=False)
class Couplings:
    """prices: (k, k) float64, symmetric, at least 0. made: the command that made it."""

    prices: Tensor
    made: str = ""

    def save(self, path: str | Path) -> None:
        """Writes the file; it is whole, or the one before."""
        save_described(path, FORMAT, {"prices": self.prices}, {"made": self.made})


def load_couplings(path: str) -> Couplings:
    """What a file holds. Raises BadQuery under `weights`."""
    return loaded(path, FOLDER, _read, "couplings of labels", REMEDY)


@lru_cache(maxsize=8)
def _read(raw: bytes) -> Couplings:
    about, tensors = described(raw, FORMAT)
    prices = tensors["prices"].double()
    square = prices.dim() == 2 and prices.shape[0] == prices.shape[1] <= MOST
    if not square or not bool(prices.isfinite().all()) or bool((prices < 0).any()):
        raise ValueError("prices")
    if not torch.equal(prices, prices.T):
        raise ValueError("prices")
    return Couplings(prices, str(about.get("made", "")))


def counted(labels: Tensor, ends: Tensor, classes: int, made: str = "") -> Couplings:
    """From the edges both of whose ends are known. labels (n,), -1 where not known; ends (2, m),
    each edge once each way."""
    a, b = labels[ends[0]], labels[ends[1]]
    known = (a >= 0) & (b >= 0)
    place = a[known] * classes + b[known]
    pairs = torch.bincount(place, minlength=classes**2).double().reshape(classes, classes)
    pairs = (pairs + pairs.T) / 2 + 1  # the same whichever way an edge is written
    share = pairs / pairs.sum()
    own = share.sum(1)
    prices = -(share / (own[:, None] * own)).log()
    prices = (prices + prices.T) / 2
    return Couplings(prices - prices.min(), made)


def learn(lesson: Lesson) -> list[str]:
    """Counts the edges of an .npz of features, edges and labels, and writes the file."""
    if lesson.params:
        name = next(iter(lesson.params))
        raise BadQuery(Mistake(f"params.{name}", "is unknown", "couplings are counted: give none"))
    nodes = read_nodes(lesson.data)
    classes = int(nodes.labels.max()) + 1 if len(nodes.labels) else 0
    if not 2 <= classes <= MOST or int(nodes.labels.min()) < -1:
        problem = f"name {classes} classes" if int(nodes.labels.min()) >= -1 else "fall below -1"
        raise BadQuery(Mistake("labels", problem, "number classes from 0; -1 where not known"))
    made = counted(nodes.labels, nodes.graph.ends, classes, lesson.command)
    made.save(lesson.out)
    alike = made.prices.diagonal().mean().item()
    apart = (made.prices.sum() - made.prices.trace()).item() / (classes * (classes - 1))
    return [
        f"{nodes.graph.nodes} nodes, {nodes.graph.ends.shape[1] // 2} edges, {classes} classes",
        f"neighbours of one label cost {alike:.2f} nats on average, others {apart:.2f}",
        f"wrote {lesson.out}",
    ]
