"""Trained weights in one safetensors file: of which kind, with which settings, and the tensors."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn

from engine.errors import BadQuery, Mistake

LONGEST = 80  # letters of the name of a form that are told


class OtherForm(ValueError):
    """A file is in another form than the one asked for; its text names that."""


T = TypeVar("T")
N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True, eq=False)
class Weights:
    """What a file holds. settings: plain values, among them `made`, the command that made it."""

    tensors: Mapping[str, Tensor]
    settings: Mapping[str, Any]


def write_weights(path: Path, kind: str, weights: Weights) -> None:
    """Writes the weights of a kind."""
    about = {"kind": kind, "settings": json.dumps(dict(weights.settings), sort_keys=True)}
    path.parent.mkdir(parents=True, exist_ok=True)
    save(path, weights.tensors, about)


def read_weights(path: str, kind: str, beside: Path) -> Weights:
    """The weights of a kind; a bare name is also looked for in the folder `beside`.

    Raises BadQuery under `weights`.
    """
    remedy = f"make it with `basin train {kind} --data FILE --out W.safetensors`"

    def made(raw: bytes) -> Weights:
        about, tensors = parsed(raw)
        if about.get("kind") != kind:
            problem = f"{path} holds weights of {about.get('kind', 'another program')}"
            raise BadQuery(Mistake("weights", problem, remedy))
        return Weights(tensors, _settings(about["settings"]))

    return loaded(path, beside, made, "weights", remedy)


def save(path: str | Path, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Writes a safetensors file; it is whole, or the one before."""
    plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    part = Path(f"{path}.part")
    save_file(plain, part, metadata=dict(about))
    os.replace(part, path)


def loaded(path: str, beside: Path, made: Callable[[bytes], T], what: str, remedy: str) -> T:
    """What `made` makes of the contents of a file; a bare name is also looked for in `beside`.

    Raises BadQuery under `weights`: there is no such file, or it does not hold `what`.
    """
    try:
        there = beside / path
        file = there if not Path(path).exists() and Path(path).name == path else Path(path)
        return made(file.read_bytes())
    except OSError as error:
        raise BadQuery(Mistake("weights", f"{path}: {error.strerror or error}", remedy)) from None
    except OtherForm as error:
        problem = f"{path} holds {error}, no {what}"
        raise BadQuery(Mistake("weights", problem, remedy)) from None
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError):
        raise BadQuery(Mistake("weights", f"{path} holds no {what}", remedy)) from None


def save_described(
    path: str | Path, form: str, tensors: Mapping[str, Tensor], about: Mapping[str, Any]
) -> None:
    """Writes tensors beside plain values in a form that has a name."""
    save(path, tensors, {"format": form, "about": json.dumps(dict(about))})


def described(raw: bytes, form: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The plain values and the tensors of a file in a form. Raises ValueError or KeyError for any
    other, as `loaded` expects."""
    metadata, tensors = parsed(raw)
    if metadata["format"] != form:
        raise OtherForm(metadata["format"][:LONGEST])
    return _settings(metadata["about"]), tensors


def _settings(text: str) -> dict[str, Any]:
    """Plain values. Raises ValueError where a number among them is not finite."""

    def refused(name: str) -> NoReturn:
        raise ValueError(name)

    found: dict[str, Any] = json.loads(text, parse_constant=refused)
    return found


def restored(net: N, tensors: Mapping[str, Tensor], start: str = "") -> N:
    """A network with the numbers whose names begin so, in float32, no longer to be trained."""
    own = {n.removeprefix(start): t.float() for n, t in tensors.items() if n.startswith(start)}
    net.load_state_dict(own)
    return net.eval().requires_grad_(False)


def confined(path: str, folder: Path, beside: Path) -> str:
    """The file that a caller elsewhere may mean: one in a folder, or by its bare name one in
    `beside`. Raises BadQuery for any other, links out of the folder too."""
    home = folder.resolve()
    try:
        inside = (home / path).resolve()
        if not inside.is_relative_to(home):
            told = f"{path!r} lies outside the folder of files that may be named"
            raise BadQuery(Mistake("", told, "name a file inside it"))
        shipped = beside / path
        if inside.is_file() or Path(path).name != path or not shipped.is_file():
            return str(inside)
        return str(shipped)
    except (OSError, RuntimeError, ValueError):  # a name that no file can have, links in a circle
        raise BadQuery(Mistake("", "names no file", "name one that is there")) from None


def parsed(raw: bytes) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The texts of a safetensors header, and the tensors; nothing in it is code.

    The format: eight bytes tell the length of a JSON header, tensors follow it. Raises BadQuery
    under `weights` where a number is not finite: its energies would be refused one by one.
    """
    tensors = load(raw)  # checks that the header is one
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            found = f"{name} holds numbers that are not finite"
            raise BadQuery(Mistake("weights", found, "train again, from data and steps that are"))
    size = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + size]).get("__metadata__", {}), tensors
