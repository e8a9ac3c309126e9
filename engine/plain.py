"""Plain values: arrays of other libraries as lists and numbers; nested lists flat, and back."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import chain
from typing import Any

import numpy as np

from engine.errors import BadQuery, Mistake, shown

FILES = (".npy", ".npz", ".png", ".csv")  # ends of names of files that hold arrays
OWN = {int, float, bool, str, type(None)}  # types that are plain already


def plain(value: Any) -> Any:
    """Lists all the way down, with Python's own numbers in them.

    Texts and mappings stay as they are, and so do sets, which have no order to rely on.
    """
    if type(value) in OWN:
        return value
    if isinstance(value, np.generic):
        return value.item()
    torch = sys.modules.get("torch")  # where nobody loaded it, nothing is a tensor
    if torch is not None and isinstance(value, torch.Tensor):
        return value.detach().cpu().tolist()
    if hasattr(type(value), "__array__"):  # numpy's own, and series and frames of pandas
        array = np.asanyarray(value)  # what is masked becomes None
        return plain_list(array.tolist()) if array.dtype == object else array.tolist()
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping, Set)):
        return plain_list(value)
    return value


def plain_list(values: Iterable[Any]) -> list[Any]:
    """The entries of a collection, each of them plain; a set is taken too."""
    return [plain(value) for value in values]


def flatten(value: Any, shape: tuple[int, ...]) -> list[Any]:
    """Nested lists of a given shape as one flat list, row-major. Raises BadQuery with the place."""
    if not shape:
        value = plain(value)
        if isinstance(value, (list, tuple)):
            raise BadQuery(Mistake("", f"{value!r} is a list", "give one value"))
        return [value]
    flat = _rectangle(value, shape)
    return list(_walk(plain(value), shape, "")) if flat is None else flat


def _rectangle(value: Any, shape: tuple[int, ...]) -> list[Any] | None:
    """The flat list where all is plain and every length is right, the common case; else None."""
    if not isinstance(value, (list, tuple)) or len(value) != shape[0]:
        return None
    level: list[Any] = list(value)
    for size in shape[1:]:
        if any(not isinstance(entry, (list, tuple)) or len(entry) != size for entry in level):
            return None
        level = list(chain.from_iterable(level))
    return level if set(map(type, level)) <= OWN else None


def _walk(value: Any, shape: tuple[int, ...], path: str) -> Iterator[Any]:
    if not isinstance(value, (list, tuple)):
        raise BadQuery(Mistake(path, f"{shown(value)} is no list", _entries(shape[0], value)))
    if len(value) != shape[0]:
        raise BadQuery(Mistake(path, f"has {len(value)} entries", f"the shape asks for {shape[0]}"))
    if len(shape) == 1:
        for k, entry in enumerate(value):
            if isinstance(entry, (list, tuple)):
                raise BadQuery(Mistake(f"{path}[{k}]", f"{entry!r} is a list", "give one value"))
            yield entry
        return
    for k, entry in enumerate(value):
        yield from _walk(entry, shape[1:], f"{path}[{k}]")


def _entries(count: int, value: Any) -> str:
    """What to give in place of what is no list; who names a file is told where that is read."""
    named = value.get("file") if isinstance(value, Mapping) else value
    if isinstance(named, str) and named.lower().endswith(FILES):
        return f"give {count} entries; query files alone name files, as {{file: {named}}}"
    return f"give {count} entries"


def nest(flat: Sequence[Any], shape: tuple[int, ...]) -> Any:
    """A flat list, row-major, as nested lists of a given shape."""
    if not shape:
        return flat[0]
    if len(shape) == 1:
        return list(flat)
    step = len(flat) // shape[0] if shape[0] else 0
    return [nest(flat[k * step : (k + 1) * step], shape[1:]) for k in range(shape[0])]


def place_path(site: int, shape: tuple[int, ...]) -> str:
    """The place of a flat site as a path: `[3][4]`."""
    return "".join(f"[{k}]" for k in np.unravel_index(site, shape)) if shape else ""
