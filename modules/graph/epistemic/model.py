"""A trained graph network and the energies fitted to it, in one safetensors file."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import BadQuery, Mistake
from modules.graph.epistemic.backbones import backbone, outputs
from modules.graph.epistemic.data import as_features, unit_rows
from modules.graph.epistemic.diffusion import Graph, graph_of
from modules.graph.epistemic.energies import Energies, FittedEnergy, GraphEnergy, fitted_of
from modules.shared.weights import Weights, loaded, parsed, plain_values

KIND = "graph.epistemic"
FOLDER = Path(__file__).parent  # of what ships with Basin
NETWORK, FITTED = "network.", "fitted."


@dataclass(frozen=True, eq=False)
class Judged:
    """What a model says of the nodes of a graph. logits: with messages. evidence: log-evidence."""

    logits: Tensor  # (n, C)
    energies: Energies
    inside: Tensor  # (n,) bool
    parts_inside: Tensor  # (n, 3) bool
    logs: Tensor  # (n, C) float64, ln of the chance of each class


@dataclass(frozen=True, eq=False)
class GraphModel:
    """Any network with the energies fitted to it. width: numbers of a node's features. unit:
    whether they are divided by their length first. classes: as people name them."""

    network: nn.Module
    fitted: FittedEnergy
    width: int
    unit: bool
    classes: tuple[Any, ...]

    def prepared(self, features: Any) -> Tensor:
        """Features as the network takes them. BadQuery for another width."""
        x = as_features(features)
        if x.dim() != 2 or x.shape[1] != self.width:
            problem = f"has the shape {[*x.shape]}"
            raise BadQuery(Mistake("features", problem, f"give {self.width} numbers a node"))
        return unit_rows(x) if self.unit else x

    def energies(self, features: Any, graph: Graph | None) -> Energies:
        """The energies of the nodes: no message is sent, values flow."""
        return self.fitted.score(*outputs(self.network, self.prepared(features), None), graph)

    def judge(self, features: Any, graph: Graph | None) -> Judged:
        """Energies, verdicts and chances of the nodes of a graph.

        The chances of a node that is stood by are the network's; those of any other are what the
        evidence around it says, even where there is none.
        """
        x = self.prepared(features)
        free = outputs(self.network, x, None)
        _, logits = outputs(self.network, x, graph)
        found = self.fitted.score(*free, graph)
        inside = self.fitted.inside(found)
        doubted = self.fitted.log_chances(*free, graph, gated=True)
        logs = torch.where(inside[:, None], logits.double().log_softmax(1), doubted)
        return Judged(logits, found, inside, self.fitted.parts_inside(found), logs)


def model_of(
    network: nn.Module,
    features: Any,
    edges: Any,
    labels: Tensor,
    labelled: Tensor,
    settings: GraphEnergy | None = None,
    *,
    unit: bool = False,
    classes: tuple[Any, ...] | None = None,
) -> GraphModel:
    """A trained network, whichever it is, with energies fitted on the graph that it learned from.

    edges: (m, 2), or a `Graph`; None: there is none, and every example stands alone.
    """
    x = as_features(features)
    x = unit_rows(x) if unit else x
    graph = edges if edges is None or isinstance(edges, Graph) else graph_of(edges, len(x))
    free = outputs(network, x, None)
    h, logits = outputs(network, x, graph)
    fitted = (settings or GraphEnergy()).fit(h, logits, labels, labelled, free=free, graph=graph)
    names = tuple(range(logits.shape[1])) if classes is None else classes
    return GraphModel(network, fitted, x.shape[1], unit, names)


def weights_of(model: GraphModel, name: str, hidden: int, made: str) -> Weights:
    """What a file of weights keeps of a model over a named backbone."""
    tensors = {NETWORK + n: t for n, t in model.network.state_dict().items()}
    tensors |= {FITTED + n: t for n, t in model.fitted.tensors().items()}
    settings = {
        "backbone": name,
        "hidden": hidden,
        "features": model.width,
        "classes": list(model.classes),
        "unit": model.unit,
        "made": made,
    }
    return Weights(tensors, settings)


def load_model(path: str) -> GraphModel:
    """What a file holds; a bare name is also looked for beside the kinds that ship with Basin.

    Raises BadQuery under `weights`.
    """
    remedy = f"make it with `basin train {KIND} --data FILE.npz --out W.safetensors`"
    return loaded(path, FOLDER, _model, "trained graph", remedy)


@lru_cache(maxsize=8)
def _model(raw: bytes) -> GraphModel:
    about, tensors = parsed(raw)
    if about["kind"] != KIND:
        raise ValueError(about["kind"])
    settings = plain_values(about["settings"])

    def under(start: str) -> dict[str, Tensor]:
        return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}

    classes = tuple(settings["classes"])
    width, hidden = int(settings["features"]), int(settings["hidden"])
    network = backbone(settings["backbone"], width, len(classes), hidden)
    network.load_state_dict(under(NETWORK))
    network.requires_grad_(False).eval()
    return GraphModel(network, fitted_of(under(FITTED)), width, bool(settings["unit"]), classes)
