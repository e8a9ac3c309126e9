"""A graph of blocks: nodes of one block have words alike and are mostly joined, by a known law."""

from typing import Any

import numpy as np

BLOCKS, WIDTH = 3, 48  # blocks, words that a node may have
OWN, OTHER = 0.25, 0.05  # chance of a word of the own block, and of any other
WITHIN, BETWEEN = 4.0, 0.3  # mean number of neighbours in the own block, and in each other one
SEED = 1  # of the files
OPEN, WEIGHTS = "blocks_open.npz", "blocks.safetensors"
STRANGE = 6  # nodes of the open graph that have each word with chance 0.5


def blocks(seed: int, size: int, within: float = WITHIN) -> dict[str, np.ndarray]:
    """A stochastic block model whose nodes have words. -> features (n, f), edges (m, 2), labels

    within: mean number of neighbours in the own block; those of others grow with it. Edges are
    drawn by their number, so that time and memory are linear in them.
    """
    rng = np.random.default_rng(seed)
    between = BETWEEN / WITHIN * within
    labels = np.arange(size) % BLOCKS
    own = np.arange(WIDTH) % BLOCKS == labels[:, None]
    features = rng.random((size, WIDTH)) < np.where(own, OWN, OTHER)
    members = [np.flatnonzero(labels == y) for y in range(BLOCKS)]
    pairs = []
    for a in range(BLOCKS):
        for b in range(a, BLOCKS):
            mean = within * len(members[a]) / 2 if a == b else between * len(members[a])
            count = rng.poisson(mean)
            pairs.append(np.stack([rng.choice(members[k], count) for k in (a, b)], 1))
    edges = np.concatenate(pairs)
    edges = np.unique(np.sort(edges[edges[:, 0] != edges[:, 1]], 1), axis=0)
    return {"features": features.astype(np.uint8), "edges": edges, "labels": labels}


def strange_blocks(seed: int, size: int) -> dict[str, np.ndarray]:
    """Another graph of these blocks, in which the last `STRANGE` nodes have words of any kind."""
    made = blocks(seed, size)
    noise = np.random.default_rng(seed + 1).random((STRANGE, WIDTH)) < 0.5
    return {**made, "features": np.concatenate([made["features"][:-STRANGE], noise])}


def open_blocks() -> dict[str, np.ndarray]:
    """The graph that `blocks_open.npz` holds."""
    return strange_blocks(SEED + 1, 120)


def trust_query() -> dict[str, Any]:
    """Which nodes should I not trust, and by which energy?"""
    term = {
        "kind": "graph.doubt",
        "scope": ["features", "edges", "doubt"],
        "params": {"weights": WEIGHTS},
    }
    size = len(open_blocks()["labels"])
    doubt = {"low": -1000000, "high": 1000000, "shape": [size, 3]}
    return _query({"doubt": doubt}, term)


def labels_query() -> dict[str, Any]:
    """To which block does each node belong?"""
    term = {
        "kind": "graph.epistemic",
        "scope": ["features", "edges", "labels"],
        "params": {"weights": WEIGHTS},
    }
    size = len(open_blocks()["labels"])
    return _query({"labels": {"values": list(range(BLOCKS)), "shape": [size]}}, term)


def _query(variables: dict[str, Any], term: dict[str, Any]) -> dict[str, Any]:
    made = open_blocks()
    size, edges = len(made["labels"]), len(made["edges"])
    return {
        "variables": variables,
        "inputs": {
            "features": {"shape": [size, WIDTH]},
            "edges": {"shape": [edges, 2], "low": 0, "high": size - 1, "integer": True},
        },
        "terms": [term],
        "evidence": {name: {"file": OPEN, "key": name} for name in ("features", "edges")},
    }
