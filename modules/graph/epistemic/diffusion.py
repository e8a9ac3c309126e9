"""A graph as sparse rows, and what flows along its edges; memory is linear in edges.

    Diff(z): k times  z <- alpha z + (1 - alpha) D^-1 (A + I) z

Each node is its own neighbour, so that one without edges keeps what it has.
"""

import warnings
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from engine.errors import BadQuery, Mistake

PIECE = 1 << 22  # numbers of one piece of a sum over neighbours


@dataclass(frozen=True, eq=False)
class Graph:
    """Undirected, each edge once each way, in the order of its ends; no edge from a node to itself.

    ends: (2, m) int64.
    """

    nodes: int
    ends: Tensor

    @cached_property
    def rows(self) -> tuple[Tensor, Tensor]:
        """The neighbours of each node, itself among them. -> starts (n + 1,), nodes (m + n,)"""
        own = torch.arange(self.nodes)
        key = torch.cat([self.ends[0] * self.nodes + self.ends[1], own * self.nodes + own])
        key = key.sort().values
        count = torch.bincount(key // self.nodes, minlength=self.nodes)
        starts = torch.zeros(self.nodes + 1, dtype=torch.int64)
        torch.cumsum(count, 0, out=starts[1:])
        return starts, key % self.nodes

    @cached_property
    def average(self) -> Tensor:
        """D^-1 (A + I), sparse. (n, n) float64"""
        starts, nodes = self.rows
        degree = starts.diff()
        share = (1.0 / degree.double()).repeat_interleave(degree)
        return sparse_rows(starts, nodes, share, (self.nodes, self.nodes))


def graph_of(edges: Tensor, nodes: int) -> Graph:
    """The graph of a list of edges, whichever way and however often each is named; one from a node
    to itself is left out. (m, 2) -> BadQuery for an end that is no node."""
    edges = edges.long().reshape(-1, 2)
    outside = ((edges < 0) | (edges >= nodes)).any(1).nonzero().reshape(-1)
    if len(outside):
        at = int(outside[0])
        raise BadQuery(
            Mistake(
                f"edges[{at}]",
                f"{edges[at].tolist()} of {nodes} nodes",
                f"name nodes by 0 to {nodes - 1}",
            )
        )
    edges = edges[edges[:, 0] != edges[:, 1]]
    key = torch.cat([edges[:, 0] * nodes + edges[:, 1], edges[:, 1] * nodes + edges[:, 0]]).unique()
    return Graph(nodes, torch.stack([key // max(1, nodes), key % max(1, nodes)]))


def without_edges(nodes: int) -> Graph:
    """Every node alone."""
    return Graph(nodes, torch.zeros(2, 0, dtype=torch.int64))


def sparse_rows(starts: Tensor, columns: Tensor, x: Tensor, shape: tuple[int, int]) -> Tensor:
    """A sparse matrix in compressed rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls them beta
        return torch.sparse_csr_tensor(starts, columns, x, shape, check_invariants=False)


def diffuse(z: Tensor, graph: Graph | None, steps: int, alpha: float) -> Tensor:
    """Diff(z). None: there is no graph, nothing flows. (n, ...) float64 -> (n, ...)"""
    if graph is None:
        return z
    flat = z.reshape(len(z), -1)
    for _ in range(steps):
        flat = alpha * flat + (1 - alpha) * (graph.average @ flat)
    return flat.reshape(z.shape)


def diffuse_logs(z: Tensor, graph: Graph | None, steps: int, alpha: float) -> Tensor:
    """ln Diff(exp z), no number of which overflows; -inf is nothing. (n, C) -> (n, C)"""
    if graph is None:
        return z
    keep, give = torch.tensor([alpha, 1 - alpha], dtype=z.dtype).log()
    for _ in range(steps):
        z = torch.logaddexp(z + keep, _neighbours(z, graph) + give)
    return z


def _neighbours(z: Tensor, graph: Graph) -> Tensor:
    """ln of the mean of exp z over the neighbours of each node, so many edges at a time."""
    starts, nodes = graph.rows
    out, first, most = [], 0, max(1, PIECE // max(1, z.shape[1]))
    while first < graph.nodes:
        last = int(torch.searchsorted(starts, starts[first] + most, right=True)) - 1
        last = min(max(last, first + 1), graph.nodes)
        near = z[nodes[starts[first] : starts[last]]]  # (edges, C)
        offsets = starts[first : last + 1] - starts[first]
        count = offsets.diff()
        top = torch.segment_reduce(near, "max", offsets=offsets, axis=0)
        top = torch.where(top.isfinite(), top, 0.0)
        near = (near - top.repeat_interleave(count, 0)).exp()
        total = torch.segment_reduce(near, "sum", offsets=offsets, axis=0)
        out.append(top + total.log() - count.to(z.dtype).log()[:, None])
        first = last
    return torch.cat(out) if out else z
