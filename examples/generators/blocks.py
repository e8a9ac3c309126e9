"""A graph of blocks: nodes of one block are alike and mostly joined, drawn from a known law."""

from typing import Any

import numpy as np

BLOCKS, WIDTH, APART = 3, 12, 0.7  # blocks, numbers of a node, distance of the blocks' means
WITHIN, BETWEEN = 4.0, 0.3  # mean number of neighbours in the own block, and in each other one
STRANGE = 6  # nodes of the open graph that are like none of the blocks


def blocks(seed: int, size: int, each: float = WITHIN) -> dict[str, np.ndarray]:
    """A stochastic block model with normal features. -> features (n, f), edges (m, 2), labels (n,)

    The means of the blocks are the same whatever the seed. Edges are drawn by their number, so that
    time and memory are linear in them.
    """
    means = np.random.default_rng(0).normal(0, APART, (BLOCKS, WIDTH))
    rng = np.random.default_rng(seed)
    labels = np.arange(size) % BLOCKS
    features = means[labels] + rng.normal(0, 1, (size, WIDTH))
    members = [np.flatnonzero(labels == y) for y in range(BLOCKS)]
    pairs = []
    for a in range(BLOCKS):
        for b in range(a, BLOCKS):
            mean = each * len(members[a]) / 2 if a == b else BETWEEN * len(members[a])
            count = rng.poisson(mean)
            pairs.append(np.stack([rng.choice(members[k], count) for k in (a, b)], 1))
    edges = np.concatenate(pairs)
    edges = np.unique(np.sort(edges[edges[:, 0] != edges[:, 1]], 1), axis=0)
    return {"features": features.astype(np.float32), "edges": edges, "labels": labels}


def strange_blocks(seed: int, size: int) -> dict[str, np.ndarray]:
    """Another graph of these blocks, the last `STRANGE` nodes of which have features of noise, four times
    as wide."""
    made = blocks(seed, size)
    rng = np.random.default_rng(seed + 1)
    noise = rng.normal(0, 4, (STRANGE, WIDTH)).astype(np.float32)
    return {**made, "features": np.concatenate([made["features"][:-STRANGE], noise])}


def trust_query(seed: int, size: int, file: str) -> dict[str, Any]:
    """Which nodes should I not trust, and by which energy? Beside their labels."""
    edges = len(strange_blocks(seed, size)["edges"])
    weights = {"weights": "blocks.safetensors"}
    return {
        "variables": {
            "labels": {"values": list(range(BLOCKS)), "shape": [size]},
            "doubt": {"low": -1e9, "high": 1e9, "shape": [size, 3]},
        },
        "inputs": {
            "features": {"shape": [size, WIDTH], "low": -1e9, "high": 1e9},
            "edges": {"shape": [edges, 2], "low": 0, "high": size - 1, "integer": True},
        },
        "terms": [
            {
                "kind": "graph.epistemic",
                "scope": ["features", "edges", "labels"],
                "params": weights,
            },
            {"kind": "graph.doubt", "scope": ["features", "edges", "doubt"], "params": weights},
        ],
        "evidence": {
            "features": {"file": file, "key": "features"},
            "edges": {"file": file, "key": "edges"},
        },
    }
