"""Graph networks of two layers, by PyTorch Geometric (extra `graph`): features and edges to
embeddings and logits.

    network = backbone("gcn", features=1433, classes=7)
    embeddings, logits = network(features, edges)     # (n, f), (2, m) -> (n, 64), (n, 7)

Any other `torch.nn.Module` of that form will do. Edges stand once each way; without any, a node
hears nothing but itself. Features may be sparse rows of torch. Sources: Kipf, Welling (GCN), ICLR
2017; Veličković et al. (GAT), ICLR 2018; Xu et al. (GIN), ICLR 2019; Hamilton et al. (SAGE),
NeurIPS 2017; Gasteiger et al. (APPNP), ICLR 2019.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import BadQuery, Mistake
from modules.graph.epistemic.diffusion import Graph, sparse_rows

HEADS = 8  # of attention in the first layer
FLOWS, RETURN = 10, 0.1  # steps of APPNP, and its share of where it started
DROPPED = 0.5


class _Product(torch.autograd.Function):
    """Sparse rows times weights; only these have a gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, across: Tensor, weight: Tensor) -> Tensor:
        ctx.across = across
        return x @ weight

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.across @ slopes[0]


class Last:
    """What was made of the last tensor; a copy of it remembers nothing."""

    def __init__(self) -> None:
        self.held: tuple[Tensor, int, Tensor] | None = None

    def made(self, of: Tensor, size: int, make: Callable[[], Tensor]) -> Tensor:
        """What `make` gives, made once for one tensor and size after the other."""
        if self.held is None or self.held[0] is not of or self.held[1] != size:
            self.held = (of, size, make())
        return self.held[2]

    def __deepcopy__(self, memo: Any) -> "Last":
        return Last()

    def __reduce__(self) -> tuple[type["Last"], tuple[()]]:
        return Last, ()


class Projection(nn.Module):
    """A linear map of features, dense or sparse rows. It remembers the transpose of the last."""

    def __init__(self, features: int, width: int, bias: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, features))
        nn.init.xavier_uniform_(self.weight)
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None
        self.last = Last()

    def forward(self, x: Tensor) -> Tensor:  # (n, f) -> (n, width)
        if x.layout == torch.strided:
            return nn.functional.linear(x, self.weight, self.bias)
        across = self.last.made(x, len(x), lambda: transposed(x)) if self.training else x
        out = _Product.apply(x, across, self.weight.T)
        return out if self.bias is None else out + self.bias


class Network(nn.Module):
    """Abstract: two layers, what stands between them is the embedding. It remembers the last edges
    in the form that its layers take."""

    def __init__(self) -> None:
        super().__init__()
        self.last = Last()

    def forward(self, features: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        """(n, f), (2, m) -> (n, d), (n, C)"""
        n = len(features)
        along = self.last.made(edges, n, lambda: self.prepared(edges, n))
        h = self.embedded(features, along).relu()
        kept = nn.functional.dropout(h, DROPPED, self.training)
        return h, self.judged(kept, along)

    def prepared(self, edges: Tensor, nodes: int) -> Tensor:
        """Edges as the layers take them: sparse rows of who hears whom."""
        return adjacency(edges, nodes)

    def embedded(self, features: Tensor, along: Tensor) -> Tensor:
        """Before what is negative is cut off. -> (n, d)"""
        raise NotImplementedError

    def judged(self, h: Tensor, along: Tensor) -> Tensor:
        """-> (n, C)"""
        raise NotImplementedError


class TwoLayers(Network):
    """Both layers are convolutions of PyTorch Geometric; `first` sees what `inside` maps."""

    def __init__(self, inside: nn.Module, first: nn.Module, second: nn.Module, form: str):
        super().__init__()
        self.inside, self.first, self.second, self.form = inside, first, second, form

    def prepared(self, edges: Tensor, nodes: int) -> Tensor:
        if self.form == "edges":
            return edges
        return normalized(edges, nodes) if self.form == "normalized" else adjacency(edges, nodes)

    def embedded(self, features: Tensor, along: Tensor) -> Tensor:
        return self.first(self.inside(features), along)

    def judged(self, h: Tensor, along: Tensor) -> Tensor:
        return self.second(h, along)


class Personalized(Network):
    """APPNP: two linear maps, then logits that flow and return."""

    def __init__(self, features: int, classes: int, width: int):
        super().__init__()
        from torch_geometric.nn import APPNP

        self.first = Projection(features, width, bias=True)
        self.second = nn.Linear(width, classes)
        self.flow = APPNP(FLOWS, RETURN, normalize=False)

    def prepared(self, edges: Tensor, nodes: int) -> Tensor:
        return normalized(edges, nodes)

    def embedded(self, features: Tensor, along: Tensor) -> Tensor:
        del along
        return self.first(features)

    def judged(self, h: Tensor, along: Tensor) -> Tensor:
        return self.flow(self.second(h), along)


def _gcn(features: int, classes: int, width: int) -> Network:
    from torch_geometric.nn import GCNConv

    first = GCNConv(width, width, normalize=False)
    first.lin = Projection(features, width)  # the layer's own map, of features that may be sparse
    second = GCNConv(width, classes, normalize=False)
    return TwoLayers(nn.Identity(), first, second, "normalized")


def _gat(features: int, classes: int, width: int) -> Network:
    from torch_geometric.nn import GATConv

    each = max(1, width // HEADS)
    first = GATConv(each * HEADS, each, HEADS, bias=True)
    first.lin = Projection(features, each * HEADS)
    return TwoLayers(_Unchanged(), first, GATConv(each * HEADS, classes), "edges")


def _gin(features: int, classes: int, width: int) -> Network:
    from torch_geometric.nn import GINConv

    inside = Projection(features, width)  # linear, as a sum over neighbours is: it may stand first
    second = GINConv(nn.Linear(width, classes))
    return TwoLayers(inside, GINConv(_Shifted(width)), second, "adjacency")


def _sage(features: int, classes: int, width: int) -> Network:
    from torch_geometric.nn import SAGEConv

    inside = Projection(features, width)
    return TwoLayers(inside, SAGEConv(width, width), SAGEConv(width, classes), "adjacency")


class _Unchanged(nn.Identity):
    """Features as they are."""


class _Shifted(nn.Module):
    """x + b"""

    def __init__(self, width: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


BACKBONES: Mapping[str, Callable[[int, int, int], Network]] = {
    "gcn": _gcn,
    "gat": _gat,
    "gin": _gin,
    "sage": _sage,
    "appnp": Personalized,
}


def backbone(name: str, features: int, classes: int, width: int = 64, seed: int = 0) -> Network:
    """An untrained network. BadQuery where PyTorch Geometric is missing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return BACKBONES[name](features, classes, width)
        except ImportError:
            remedy = "pip install 'basin[graph]'"
            problem = f"{name} needs PyTorch Geometric"
            raise BadQuery(Mistake("backbone", problem, remedy)) from None


def adjacency(edges: Tensor, nodes: int) -> Tensor:
    """A, sparse rows: who hears whom. (2, m) -> (n, n)"""
    return _square(edges, nodes, torch.ones(edges.shape[1]))


def normalized(edges: Tensor, nodes: int) -> Tensor:
    """D^-1/2 (A + I) D^-1/2, sparse rows. (2, m) -> (n, n)"""
    own = torch.arange(nodes)
    every = torch.cat([edges, torch.stack([own, own])], 1)
    scale = torch.bincount(every[0], minlength=nodes).float().rsqrt()
    return _square(every, nodes, scale[every[0]] * scale[every[1]])


def _square(edges: Tensor, nodes: int, x: Tensor) -> Tensor:
    order = (edges[0] * nodes + edges[1]).argsort()
    count = torch.bincount(edges[0], minlength=nodes)
    starts = torch.cat([count.new_zeros(1), count.cumsum(0)])
    return sparse_rows(starts, edges[1][order], x[order], (nodes, nodes))


def transposed(x: Tensor) -> Tensor:
    """Sparse rows of the transpose."""
    starts, columns = x.crow_indices(), x.col_indices()
    rows = torch.arange(x.shape[0]).repeat_interleave(starts.diff())
    order = columns.argsort(stable=True)
    count = torch.bincount(columns, minlength=x.shape[1])
    across = torch.cat([count.new_zeros(1), count.cumsum(0)])
    return sparse_rows(across, rows[order], x.values()[order], (x.shape[1], x.shape[0]))


def outputs(network: nn.Module, features: Tensor, graph: Graph | None) -> tuple[Tensor, Tensor]:
    """Embeddings and logits of a network at rest; None: no node hears another.

    Raises BadQuery where it gives anything else.
    """
    edges = torch.zeros(2, 0, dtype=torch.int64) if graph is None else graph.ends
    was = network.training
    network.eval()
    try:
        with torch.no_grad():
            made = network(features, edges)
    finally:
        network.train(was)
    fits = isinstance(made, tuple) and len(made) == 2
    if not fits or any(x.dim() != 2 or len(x) != len(features) for x in made):
        remedy = "give (embeddings, logits), one row for each node"
        raise BadQuery(Mistake("network", "gives no such pair", remedy))
    return made
