"""A graph as plain data, and the doors through which one comes in: arrays of a file, networkx, PyG.

None of the libraries is imported here: a networkx graph or a PyG `Data` is asked for what it holds.
"""

import zipfile
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from engine.errors import BadQuery, Mistake, shown
from modules.shared.sites import finite

ADJACENCY = ("adj_indptr", "adj_indices", "adj_shape")
NUMBERS = {
    "adj_indptr": 1,
    "adj_indices": 1,
    "adj_shape": 1,
    "adj_data": 1,
    "nodes": 0,
    "weights": 1,
}
MOST = 1 << 31  # nodes


class Graph(NamedTuple):
    """Nodes by number, and edges between them, gone either way; loops and repeats as they came."""

    names: Sequence[Hashable]  # of each node
    edges: list[tuple[int, int]]
    weights: list[float] | None = None  # of each edge; None: none was given
    worth: list[float] | None = None  # of each node, likewise

    @property
    def weight(self) -> list[float]:
        """Of each edge, 1 where none was given."""
        return [1] * len(self.edges) if self.weights is None else self.weights

    @property
    def weighted_edges(self) -> list[list[Any]]:
        """The edges as `graph.cut` takes them: [a, b, weight]."""
        return [[a, b, w] for (a, b), w in zip(self.edges, self.weight, strict=True)]

    def simple(self) -> "Graph":
        """Without loops, and each edge once; repeated edges add their weights up."""
        total: dict[tuple[int, int], float] = {}
        for (a, b), w in zip(self.edges, self.weight, strict=True):
            if a != b:
                key = min(a, b), max(a, b)
                total[key] = total.get(key, 0) + w
        weights = None if self.weights is None else list(total.values())
        return Graph(self.names, list(total), weights, self.worth)


def from_networkx(graph: Any, weight: str = "weight") -> Graph:
    """A networkx graph, directed ones without their directions; nodes and edges in its own order.

    `weight` names the attribute of edges, and of nodes; it counts where any of them has it, and 1
    stands in for the others. Raises BadQuery where one is no finite number.
    """
    names = list(graph.nodes)
    place = {name: k for k, name in enumerate(names)}
    edges, weights = [], []
    for a, b, data in graph.edges(data=True):
        edges.append((place[a], place[b]))
        weights.append(data.get(weight))
    worth = [data.get(weight) for _, data in graph.nodes(data=True)]
    return Graph(names, edges, _numbers(weights, "edges"), _numbers(worth, "nodes"))


def _numbers(values: Sequence[Any], path: str) -> list[float] | None:
    """Weights, 1 where one is missing; None where none was given."""
    if all(value is None for value in values):
        return None
    for k, value in enumerate(values):
        if value is not None and not finite(value):
            raise BadQuery(
                Mistake(f"{path}[{k}]", f"weight {shown(value)}", "give a finite number")
            )
    return [1 if value is None else _plain(value) for value in values]


def _plain(value: Any) -> float:
    return value.item() if isinstance(value, np.generic) else value


def from_pyg(data: Any) -> Graph:
    """A PyG `Data`: `edge_index` (2, m), each undirected edge once or both ways, and `edge_weight`
    or `edge_attr` of one column. Raises BadQuery where they do not fit together.
    """
    index = np.asarray(data.edge_index)
    if index.ndim != 2 or index.shape[0] != 2:
        problem = f"edge_index has the shape {list(index.shape)}"
        raise BadQuery(Mistake("data.edge_index", problem, "give it as (2, edges)"))
    nodes = int(data.num_nodes)
    given = getattr(data, "edge_weight", None)
    if given is None:
        given = getattr(data, "edge_attr", None)
    weights = None
    if given is not None and np.asarray(given).size == index.shape[1]:
        weights = np.asarray(given).reshape(-1)
    return _undirected(nodes, index[0], index[1], weights, "data.edge_index")


def from_npz(path: str | Path) -> Graph:
    """A graph in an archive of numpy: an adjacency matrix in compressed rows (`adj_indptr`,
    `adj_indices`, `adj_shape`, and `adj_data` where edges have weights), or `edges` (m, 2) with
    `nodes` and `weights`. An edge may stand once or both ways. Nothing is unpickled. Raises
    BadQuery with what is wrong."""
    try:
        with np.load(path, allow_pickle=False) as file:
            held = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise BadQuery(Mistake(str(path), f"cannot be read: {error}", "give a .npz file")) from None
    for name, array in held.items():
        if name in NUMBERS and (array.dtype.kind not in "iufb" or array.ndim != NUMBERS[name]):
            problem = f"{name} has the shape {list(array.shape)} and the type {array.dtype}"
            raise BadQuery(
                Mistake(str(path), problem, "give numbers, as the other tools write them")
            )
    if "edges" in held:
        return _listed(held, str(path))
    missing = [name for name in ADJACENCY if name not in held]
    if missing:
        remedy = f"give edges, or {', '.join(ADJACENCY)}"
        raise BadQuery(Mistake(str(path), f"holds no {missing[0]}", remedy))
    start, column, shape = (held[name].astype(np.int64) for name in ADJACENCY)
    n = int(shape[0]) if len(shape) else -1
    fits = len(shape) == 2 and shape[0] == shape[1] and len(start) == n + 1
    fits = fits and start[0] == 0 and bool((np.diff(start) >= 0).all()) and start[-1] == len(column)
    if not fits:
        problem = (
            f"{len(start)} row starts and {len(column)} columns for the shape {shape.tolist()}"
        )
        raise BadQuery(Mistake(str(path), problem, "give a square matrix in compressed rows"))
    data = held.get("adj_data")
    plain = data is None or len(data) != len(column) or bool((data == 1).all())
    row = np.repeat(np.arange(n), np.diff(start))
    return _undirected(n, row, column, None if plain else data, str(path))


def _listed(held: Mapping[str, Any], path: str) -> Graph:
    edges = held["edges"]
    if edges.ndim != 2 or edges.shape[1] != 2 or edges.dtype.kind not in "iu":
        problem = f"edges has the shape {list(edges.shape)} and the type {edges.dtype}"
        raise BadQuery(Mistake(path, problem, "give whole numbers, (edges, 2)"))
    edges = edges.astype(np.int64)
    nodes = int(held["nodes"]) if "nodes" in held else int(edges.max(initial=-1)) + 1
    if not 0 <= nodes < MOST:
        raise BadQuery(Mistake(path, f"has {nodes} nodes", f"give 0 to {MOST - 1}"))
    return _undirected(nodes, edges[:, 0], edges[:, 1], held.get("weights"), path)


def _undirected(nodes: int, a: Any, b: Any, weights: Any, path: str) -> Graph:
    """Each edge once, ends in ascending order, where some stand both ways or repeat; of those the
    first weight counts."""
    a, b = np.asarray(a, dtype=np.int64), np.asarray(b, dtype=np.int64)
    if len(a) and (min(a.min(), b.min()) < 0 or max(a.max(), b.max()) >= nodes):
        problem = f"edges name nodes {min(a.min(), b.min())} to {max(a.max(), b.max())}"
        raise BadQuery(Mistake(path, problem, f"there are {nodes}: give 0 to {nodes - 1}"))
    if weights is not None and (len(weights) != len(a) or not np.isfinite(weights).all()):
        raise BadQuery(Mistake(path, "weights that fit not", "give a finite one for each edge"))
    low, high = np.minimum(a, b), np.maximum(a, b)
    _, first = np.unique(low * nodes + high, return_index=True)
    first.sort()
    edges = list(zip(low[first].tolist(), high[first].tolist(), strict=True))
    picked = None if weights is None else np.asarray(weights)[first].tolist()
    return Graph(range(nodes), edges, picked)
