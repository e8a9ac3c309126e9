"""A picture of a graph, its nodes coloured by three energies; what is not stood by is ringed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import BadQuery, Mistake
from modules.graph.epistemic.energies import ENERGIES

MOST = 3000  # nodes that a layout is made for


def draw(
    edges: Any, doubt: Any, outside: Sequence[Sequence[int]], file: str | Path, seed: int = 0
) -> None:
    """Three panels side by side, one an energy, in a file of any form that matplotlib writes.

    edges: (m, 2). doubt: (n, 3), as `graph.doubt` answers. outside: [node, energy] of each number
    that is not stood by, as the answer names them under ABSTAIN. BadQuery for more than 3,000
    nodes, and without networkx and matplotlib (extra `graph`).
    """
    energies, edges = np.asarray(doubt, float), np.asarray(edges, np.int64).reshape(-1, 2)
    if energies.ndim != 2 or energies.shape[1] != len(ENERGIES):
        problem = f"has the shape {[*energies.shape]}"
        raise BadQuery(Mistake("doubt", problem, "give (nodes, 3), as graph.doubt answers"))
    if len(energies) > MOST:
        raise BadQuery(Mistake("doubt", f"{len(energies)} nodes", f"draw at most {MOST}"))
    try:
        import networkx
        from matplotlib.figure import Figure
    except ImportError:
        remedy = "pip install 'basin[graph]'"
        problem = "pictures of graphs need networkx and matplotlib"
        raise BadQuery(Mistake("file", problem, remedy)) from None
    graph = networkx.Graph()
    graph.add_nodes_from(range(len(energies)))
    graph.add_edges_from(edges.tolist())
    place = networkx.spring_layout(graph, seed=seed)
    figure = Figure(figsize=(15, 5), layout="constrained")
    for k, (panel, name) in enumerate(zip(figure.subplots(1, 3), ENERGIES, strict=True)):
        ringed = {int(node) for node, energy in outside if energy == k}
        networkx.draw_networkx_edges(graph, place, ax=panel, alpha=0.3)
        shown = networkx.draw_networkx_nodes(
            graph,
            place,
            ax=panel,
            node_size=40,
            node_color=energies[:, k],
            cmap="viridis",
            edgecolors=["red" if node in ringed else "none" for node in graph],
            linewidths=2,
        )
        figure.colorbar(shown, ax=panel)
        panel.set_title(f"{name}: {len(ringed)} nodes not stood by")
        panel.set_axis_off()
    figure.savefig(file)
