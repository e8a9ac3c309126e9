"""What pydantic complains of, in words of Basin: path, value and remedy."""

from typing import Any

from pydantic_core import ErrorDetails

from engine.errors import Mistake, join
from modules.shared.files import FILE

SHOWN = 80  # characters of a value in a mistake
MISTAKES = 100  # told at once


# what pydantic calls it -> what is wrong with the value, what to do
_WORDS = {
    "int_type": ("is no whole number", "give a whole number"),
    "int_from_float": ("is no whole number", "give a whole number"),
    "int_parsing": ("is no whole number", "give a whole number"),
    "float_type": ("is no number", "give a number"),
    "float_parsing": ("is no number", "give a number"),
    "bool_type": ("is neither true nor false", "write true or false"),
    "bool_parsing": ("is neither true nor false", "write true or false"),
    "string_type": ("is no text", "write it in quotes"),
    "tuple_type": ("is no list", "write it as [...]"),
    "list_type": ("is no list", "write it as [...]"),
    "dict_type": ("is no mapping", "write name: value"),
    "model_type": ("is no mapping", "write name: value"),
    "finite_number": ("is not finite", "give a finite number"),
}


_EDGES = {"gt": "above", "ge": "of at least", "lt": "below", "le": "of at most"}


def mistake_of(detail: ErrorDetails) -> Mistake:
    """A complaint of pydantic with its path, the value and a remedy."""
    place, kind, value = detail["loc"], detail["type"], detail["input"]
    context = detail.get("ctx", {})
    path = "params"
    for step in place:
        path = join(path, f"[{step}]" if isinstance(step, int) else step)
    if kind == "missing" and place and isinstance(place[-1], int):  # of a list of known length
        path = path[: path.rindex("[")]
        return Mistake(path, f"{shown(value)} has {len(value)} entries", "give more")
    if kind == "missing":
        return Mistake(path, "is missing", "give it")
    if kind == "too_long":
        remedy = f"give {context['max_length']}"
        return Mistake(path, f"{shown(value)} has {context['actual_length']} entries", remedy)
    if kind == "extra_forbidden":
        return Mistake(path, f"unknown field, with the value {shown(value)}", "leave it out")
    if kind in _WORDS:
        said, remedy = _WORDS[kind]
        return Mistake(path, f"{shown(value)} {said}", remedy)
    if kind == "literal_error":
        return Mistake(path, f"{shown(value)} is unknown", f"give {context['expected']}")
    if kind == FILE:
        return Mistake(path, context["problem"], context["remedy"])
    edges = [f"{word} {context[key]:g}" for key, word in _EDGES.items() if key in context]
    if edges:
        return Mistake(
            path, f"{shown(value)} is out of range", f"give a number {' and '.join(edges)}"
        )
    return Mistake(path, f"{shown(value)}: {detail['msg']}", "mend this value")


def shown(value: Any) -> str:
    """A value short enough to read."""
    text = repr(value[:SHOWN] if isinstance(value, (str, list, tuple)) else value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
