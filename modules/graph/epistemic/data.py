"""A graph with features and labels, out of arrays, a file, PyTorch Geometric or networkx."""

import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.errors import BadQuery, Mistake
from modules.graph.epistemic.diffusion import Graph, graph_of, sparse_rows

SPARSE = 0.1  # share of numbers other than 0 up to which features are kept as sparse rows
FORM = "features (n, f) or attr_*, edges (m, 2) or adj_*, labels (n,)"


@dataclass(frozen=True, eq=False)
class Nodes:
    """features: (n, f) float32, dense or sparse rows. labels: (n,) int64, -1 where not known."""

    features: Tensor
    graph: Graph
    labels: Tensor

    def at(self, kept: Tensor) -> "Nodes":
        """The part of it that some nodes make, in order. (n,) bool"""
        place = torch.cumsum(kept, 0) - 1
        both = kept[self.graph.ends].all(0)
        graph = Graph(int(kept.sum()), place[self.graph.ends[:, both]])
        return Nodes(rows_at(self.features, kept), graph, self.labels[kept])


def nodes_of(features: Any, edges: Any, labels: Any = None) -> Nodes:
    """Checked arrays. BadQuery with every mistake."""
    x = as_features(features)
    wrong = []
    if x.dim() != 2 or not len(x):
        wrong.append(Mistake("features", f"has the shape {[*x.shape]}", "give (n, f), n >= 1"))
    elif not bool(x.values().isfinite().all() if x.layout != torch.strided else x.isfinite().all()):
        wrong.append(Mistake("features", "has nan or inf", "give finite numbers"))
    y = torch.full((len(x),), -1) if labels is None else torch.as_tensor(np.asarray(labels))
    if y.shape != (len(x),):
        wrong.append(Mistake("labels", f"has the shape {[*y.shape]}", f"give ({len(x)},)"))
    ends = torch.as_tensor(np.asarray(edges))
    if ends.numel() and (ends.dim() != 2 or ends.shape[1] != 2):
        wrong.append(Mistake("edges", f"has the shape {[*ends.shape]}", "give (m, 2)"))
    for name, whole in (("labels", y), ("edges", ends)):
        if whole.is_floating_point() and bool((whole != whole.round()).any()):
            wrong.append(Mistake(name, "are no whole numbers", "give places from 0"))
    if wrong:
        raise BadQuery(*wrong)
    return Nodes(x, graph_of(ends, len(x)), y.long())


def as_features(x: Any) -> Tensor:
    """Numbers as float32; as sparse rows where most are 0. (n, f)"""
    x = x if isinstance(x, Tensor) else torch.as_tensor(np.asarray(x))
    if x.layout != torch.strided:
        return x.to_sparse_csr().float() if x.layout != torch.sparse_csr else x.float()
    x = x.float()
    if x.dim() != 2 or not x.numel() or int((x != 0).sum()) > SPARSE * x.numel():
        return x
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), (x != 0).sum(1).cumsum(0)])
    return sparse_rows(starts, x.nonzero()[:, 1], x[x != 0], (x.shape[0], x.shape[1]))


def rows_at(x: Tensor, kept: Tensor) -> Tensor:
    """Some rows of features. (n,) bool"""
    if x.layout == torch.strided:
        return x[kept]
    count = x.crow_indices().diff()
    starts = torch.cat([count.new_zeros(1), count[kept].cumsum(0)])
    own = kept.repeat_interleave(count)
    size = (int(kept.sum()), x.shape[1])
    return sparse_rows(starts, x.col_indices()[own], x.values()[own], size)


def unit_rows(x: Tensor) -> Tensor:
    """Each row by its length; a row of zeros stays."""
    if x.layout == torch.strided:
        return torch.nn.functional.normalize(x, dim=1)
    count = x.crow_indices().diff()
    rows = torch.arange(len(count)).repeat_interleave(count)
    length = torch.zeros(len(count)).index_add_(0, rows, x.values().square()).sqrt()
    scale = length.clamp(min=1e-12).reciprocal()
    return sparse_rows(
        x.crow_indices(), x.col_indices(), x.values() * scale[rows], (x.shape[0], x.shape[1])
    )


def read_nodes(path: Path) -> Nodes:
    """A graph in an .npz of plain arrays: features, edges and labels, or compressed rows
    `attr_data`, `attr_indices`, `attr_indptr`, `attr_shape` and `adj_*`, and labels. Nothing in it
    is code."""
    if not zipfile.is_zipfile(path):
        raise BadQuery(Mistake("", "is no .npz", f"save one by numpy.savez: {FORM}"))
    try:
        with np.load(path, allow_pickle=False) as file:
            held = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        remedy = f"save numbers by numpy.savez: {FORM}"
        raise BadQuery(Mistake("", "holds other things than numbers", remedy)) from None
    try:
        features = held["features"] if "features" in held else _rows(held, "attr")
        edges = held["edges"] if "edges" in held else _pairs(held, "adj")
        labels = held.get("labels")
        return nodes_of(features, edges, labels)
    except KeyError as error:
        raise BadQuery(Mistake("", f"holds no {error.args[0]}", f"give {FORM}")) from None
    except (TypeError, RuntimeError, IndexError, ValueError) as error:
        raise BadQuery(Mistake("", f"is no graph: {error}", f"give {FORM}")) from None


def _rows(held: dict[str, np.ndarray], name: str) -> Tensor:
    """Compressed rows of a file, whose columns may stand in any order."""
    rows, columns = _pairs(held, name).T
    shape = [int(n) for n in held[f"{name}_shape"]]
    x = torch.as_tensor(held[f"{name}_data"]).float()
    at = torch.as_tensor(np.stack([rows, columns]))
    made = torch.sparse_coo_tensor(at, x, shape, check_invariants=True).coalesce()
    if len(x) > SPARSE * shape[0] * shape[1]:
        return made.to_dense()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls them beta
        return made.to_sparse_csr()


def _pairs(held: dict[str, np.ndarray], name: str) -> np.ndarray:
    """Row and column of each entry of compressed rows. -> (m, 2)"""
    starts = held[f"{name}_indptr"].astype(np.int64)
    rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    return np.stack([rows, held[f"{name}_indices"].astype(np.int64)], 1)


def from_data(data: Any) -> Nodes:
    """Of PyTorch Geometric's `Data`: x, edge_index, y."""
    return nodes_of(data.x, data.edge_index.T, data.y)


def from_networkx(graph: Any, features: str = "x", label: str | None = None) -> Nodes:
    """Of a networkx graph, whose nodes hold their features, and perhaps a label, as attributes; in
    the order of its nodes."""
    place = {node: k for k, node in enumerate(graph.nodes)}
    try:
        x = np.array([graph.nodes[node][features] for node in place], np.float32)
        y = None if label is None else [graph.nodes[node][label] for node in place]
    except KeyError as error:
        name = error.args[0]
        problem = f"a node has no {name!r}"
        raise BadQuery(Mistake("graph", problem, "give every node one")) from None
    return nodes_of(x, [[place[a], place[b]] for a, b in graph.edges], y)
