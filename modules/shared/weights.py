"""Trained weights in one safetensors file: of which kind, with which settings, and the tensors."""

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor, nn

from engine.errors import BadQuery, Mistake

FLOAT32 = torch.finfo(torch.float32).max
LONGEST = 80  # letters of the name of a form that are told
BROKEN = (
    SafetensorError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
)  # what making something of a file raises where it holds something else


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
        return Weights(tensors, plain_values(about["settings"]))

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
    with understood(path, what, remedy):
        there = beside / path
        file = there if not Path(path).exists() and Path(path).name == path else Path(path)
        try:
            return made(file.read_bytes())
        except BadQuery as error:
            if any(mistake.path != "weights" for mistake in error.mistakes):
                raise ValueError(path) from None  # of sizes that the file says, not the caller
            raise


@contextlib.contextmanager
def understood(path: str, what: str, remedy: str) -> Iterator[None]:
    """Around what is made of a file: whatever fails there, it raises BadQuery under `weights`."""
    try:
        yield
    except OSError as error:
        raise BadQuery(Mistake("weights", f"{path}: {error.strerror or error}", remedy)) from None
    except OtherForm as error:
        problem = f"{path} holds {error}, no {what}"
        raise BadQuery(Mistake("weights", problem, remedy)) from None
    except BROKEN:
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
    return plain_values(metadata["about"]), tensors


def plain_values(text: str) -> dict[str, Any]:
    """Plain values by name. Raises ValueError where a number among them is not finite."""

    def refused(name: str) -> NoReturn:
        raise ValueError(name)

    def finite(number: str) -> float:
        return float(number) if math.isfinite(float(number)) else refused(number)

    found = json.loads(text, parse_constant=refused, parse_float=finite)
    if not isinstance(found, dict):
        raise ValueError(text[:LONGEST])
    return found


def positive(about: Mapping[str, Any], name: str) -> float:
    """A number above 0 that a file tells. Raises BadQuery under `weights` for any other number."""
    told = float(about[name])
    if not 0 < told < float("inf"):
        problem = f"the file says {name} {told:g}"
        raise BadQuery(Mistake("weights", problem, "train again: it is above 0"))
    return told


def restored(net: N, tensors: Mapping[str, Tensor], start: str = "") -> N:
    """A network with the numbers whose names begin so, in float32, no longer to be trained. It may
    have been made on the device "meta", so that what a file says of sizes takes no memory."""
    own = {
        n.removeprefix(start): t.to(torch.float32, copy=True)
        for n, t in tensors.items()
        if n.startswith(start)
    }
    net.load_state_dict(own, assign=True)
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
    under `weights` where a number is not finite, or would not be in float32, in which networks
    compute: its energies would be refused one by one.
    """
    tensors = load(raw)  # checks that the header is one
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            found = f"{name} holds numbers that are not finite"
            raise BadQuery(Mistake("weights", found, "train again, from data and steps that are"))
        if tensor.dtype == torch.float64 and (tensor.abs() > FLOAT32).any():
            found = f"{name} holds numbers beyond float32"
            raise BadQuery(Mistake("weights", found, "train again, on a smaller scale"))
    size = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + size]).get("__metadata__", {}), tensors
