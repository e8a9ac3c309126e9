"""Trained weights in one safetensors file: of which kind, with which settings, and the tensors."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from engine.errors import BadQuery, Mistake


@dataclass(frozen=True, eq=False)
class Weights:
    """What a file holds. settings: plain values, among them `made`, the command that made it."""

    tensors: Mapping[str, Tensor]
    settings: Mapping[str, Any]


def write_weights(path: Path, kind: str, weights: Weights) -> None:
    """Writes the weights of a kind."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in weights.tensors.items()}
    about = {"kind": kind, "settings": json.dumps(dict(weights.settings), sort_keys=True)}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(path), metadata=about)


def read_weights(path: str, kind: str, beside: Path) -> Weights:
    """The weights of a kind; a bare name is also looked for in the folder `beside`.

    Raises BadQuery under `weights`.
    """
    remedy = f"make it with `basin train {kind} --data FILE --out W.safetensors`"
    there = beside / path
    file = there if not Path(path).exists() and Path(path).name == path else Path(path)
    try:
        with safe_open(str(file), framework="pt") as opened:
            about = opened.metadata() or {}
            if about.get("kind") != kind:
                problem = f"{path} holds weights of {about.get('kind', 'another program')}"
                raise BadQuery(Mistake("weights", problem, remedy))
            names = opened.keys()
            tensors = {name: opened.get_tensor(name) for name in names}
        return Weights(tensors, json.loads(about["settings"]))
    except OSError as error:
        raise BadQuery(Mistake("weights", f"{path}: {error.strerror or error}", remedy)) from None
    except (SafetensorError, KeyError, ValueError):
        raise BadQuery(Mistake("weights", f"{path} holds no weights", remedy)) from None
