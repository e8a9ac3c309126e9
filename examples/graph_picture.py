"""Draws which nodes of a graph not to trust, from the answer to `examples/blocks_trust.yaml`.

basin ask examples/blocks_trust.yaml --json > answer.json
python -m examples.graph_picture examples/blocks_open.npz answer.json trust.png
"""

import json
import sys
from pathlib import Path

import numpy as np

from modules.graph.epistemic.picture import draw


def main(graph: str, answer: str, out: str) -> None:
    """Reads a graph and the answer of `graph.doubt` about it, and writes the picture."""
    told = json.loads(Path(answer).read_text())
    with np.load(graph) as file:
        edges = file["edges"]
    doubted = [p["site"] for p in told["abstained"] if p["variable"] == "doubt"]
    draw(edges, told["solution"]["doubt"], doubted, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
