"""What terms over a graph are told, state by state: features of nodes and edges, some absent."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from engine.domain import Domain, Given, Told, View
from engine.errors import BadQuery, Mistake
from modules.graph.epistemic.diffusion import Graph, graph_of

T = TypeVar("T")
FORM = "scope: [features, edges, NAME], or without edges"


def check_inputs(inputs: Sequence[View], width: int) -> None:
    """Raises BadQuery unless these are features (n, width), and perhaps edges (m, 2)."""
    shapes = [view.shape for view in inputs]
    wrong = []
    if len(inputs) not in (1, 2) or not all(view.told for view in inputs):
        wrong.append(Mistake("scope", "is not what it is told, then what is asked", FORM))
    elif len(shapes[0]) != 2 or shapes[0][1] != width or not shapes[0][0]:
        problem = f"has the shape {[*shapes[0]]}"
        wrong.append(Mistake("scope[0]", problem, f"give (nodes, {width}), as it was trained"))
    elif len(shapes) == 2 and (len(shapes[1]) != 2 or shapes[1][1] != 2):
        problem = f"has the shape {[*shapes[1]]}"
        wrong.append(Mistake("scope[1]", problem, "give (edges, 2), integer: true"))
    if wrong:
        raise BadQuery(*wrong)


def of_each(
    inputs: Sequence[Given], judge: Callable[[Tensor, Graph | None], Tensor]
) -> tuple[Tensor, Tensor]:
    """What `judge` says of the nodes that are there, state by state; 0 of absent ones. States that
    were told the same, one after the other, are asked about once.

    features (B, n, f), edges (B, m, 2) -> (B, n, ...) on the host, (B, n) bool
    """
    host = [Given(x.values.detach().cpu(), x.present.cpu()) for x in inputs]
    there = host[0].present  # (B, n)
    out: list[Tensor] = []
    for b in range(len(there)):
        if b and _same(host, b):
            out.append(out[-1])
            continue
        kept = there[b]
        if not bool(kept.any()):
            kept = torch.ones_like(kept)  # for the shape; multiplied by 0
        own = judge(host[0].values[b][kept], _graph(host, b, kept))
        whole = own.new_zeros(len(kept), *own.shape[1:])
        whole[kept] = own
        out.append(whole * there[b].reshape(-1, *[1] * (own.dim() - 1)))
    return torch.stack(out), there


def domains_given(domains: Sequence[Domain], dtype: torch.dtype) -> list[Given]:
    """What rows of domains of inputs were told."""
    return [
        Given(d.tensor.to(dtype) if d.tensor.is_floating_point() else d.tensor, d.present)
        for d in domains
        if isinstance(d, Told)
    ]


def _same(inputs: Sequence[Given], b: int) -> bool:
    """Whether a state was told what the one before it was."""
    if all(t.stride(0) == 0 for x in inputs for t in x):
        return True
    return all(torch.equal(t[b], t[b - 1]) for x in inputs for t in x)


def _graph(inputs: Sequence[Given], b: int, kept: Tensor) -> Graph | None:
    """The graph of the nodes and edges that are there; None: no edges are ever told."""
    if len(inputs) == 1:
        return None
    edges = inputs[1].values[b][inputs[1].present[b]]
    if edges.is_floating_point() and bool((edges != edges.round()).any()):
        raise BadQuery(Mistake("edges", "are no whole numbers", "integer: true, nodes from 0"))
    whole = graph_of(edges, len(kept))
    place = torch.cumsum(kept, 0) - 1
    both = kept[whole.ends].all(0)
    return Graph(int(kept.sum()), place[whole.ends[:, both]])
