"""Views as people write them: `grid`, `grid[0, :]`, `grid[::2, -1]`, `grid[[0, 3]]`. No eval."""

import re
from collections.abc import Sequence

from engine.errors import BadQuery, Mistake, shown

Index = int | slice | list[int]

_INTEGER = r"[+-]?\d{1,12}"
_SLICE = re.compile(rf"({_INTEGER})?\s*:\s*({_INTEGER})?\s*(?::\s*({_INTEGER})?)?")
_LIST = re.compile(rf"\[\s*({_INTEGER}(?:\s*,\s*{_INTEGER})*)\s*,?\s*\]")
_WHOLE = re.compile(r"([^\[\]]*?)\s*(?:\[(.*)\])?", re.DOTALL)
_REMEDY = "write a variable, or a view of one such as grid[0, :]"


def parse_view(text: str) -> tuple[str, tuple[Index, ...]]:
    """`"grid[0, 1:]"` -> `("grid", (0, slice(1, None)))`; a bare name has the index `()`."""
    match = _WHOLE.fullmatch(text.strip())
    if match is None or not match[1].isidentifier():
        raise BadQuery(Mistake("", f"{shown(text)} is no view", _REMEDY))
    if match[2] is None:
        return match[1], ()
    index = tuple(_item(item.strip(), text) for item in _split(match[2]))
    if sum(isinstance(item, list) for item in index) > 1:
        raise BadQuery(Mistake("", f"{shown(text)} has two lists of places", "give one list"))
    return match[1], index


def check_view(index: Sequence[Index], shape: Sequence[int]) -> None:
    """Raise BadQuery when an index does not fit a shape, or takes no site at all."""
    if len(index) > len(shape):
        raise BadQuery(
            Mistake("", f"{len(index)} places for {len(shape)} axes", f"the shape is {[*shape]}")
        )
    for axis, (item, size) in enumerate(zip(index, shape, strict=False)):
        places = item if isinstance(item, list) else [item] if isinstance(item, int) else []
        for place in places:
            if not -size <= place < size:
                raise BadQuery(
                    Mistake(
                        "",
                        f"place {place} of axis {axis} is out of range",
                        f"the shape is {[*shape]}: give {-size} to {size - 1}"
                        if size
                        else f"the shape is {[*shape]}: axis {axis} has no places",
                    )
                )
        if isinstance(item, slice) and size and not range(size)[item]:
            raise BadQuery(
                Mistake("", f"axis {axis} of the view is empty", f"the shape is {[*shape]}")
            )


def _split(inside: str) -> list[str]:
    """Split at the commas that stand in no inner bracket."""
    items, depth, start = [], 0, 0
    for place, letter in enumerate(inside):
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            items.append(inside[start:place])
            start = place + 1
    tail = inside[start:]
    return [*items, tail] if tail.strip() or not items else items


def _item(item: str, text: str) -> Index:
    if re.fullmatch(_INTEGER, item):
        return int(item)
    if match := _SLICE.fullmatch(item):
        start, stop, step = (int(part) if part else None for part in match.groups())
        if step == 0:
            raise BadQuery(Mistake("", f"{shown(text)} has step 0", "give a step of 1 or more"))
        return slice(start, stop, step)
    if match := _LIST.fullmatch(item):
        return [int(part) for part in match[1].split(",")]
    raise BadQuery(
        Mistake("", f"{shown(item)} in {shown(text)} is no place", "write 0, -1, 1:3 or [0, 2]")
    )
