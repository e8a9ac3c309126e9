"""What pydantic complains of, in words of Basin: path, value and remedy."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import ErrorDetails

from engine.errors import Mistake, join, known, shown
from modules.shared.files import FILE

MISTAKES = 100  # told at once

# what pydantic calls it -> what is wrong with the value, what to do
WORDS = {
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
    "mapping_type": ("is no mapping", "write name: value"),
    "model_type": ("is no mapping", "write name: value"),
    "model_attributes_type": ("is no mapping", "write name: value"),
    "finite_number": ("is not finite", "give a finite number"),
    "too_short": ("is empty", "give at least one entry"),
}
EDGES = {"gt": "above", "ge": "of at least", "lt": "below", "le": "of at most"}


def path_of(place: Iterable[int | str], root: str = "") -> str:
    """`("terms", 3, "weight")` -> `terms[3].weight`, behind a root."""
    for step in place:
        root = join(root, f"[{step}]" if isinstance(step, int) else step)
    return root


def mistake_of(
    detail: ErrorDetails,
    path: str,
    fields: Iterable[str] = (),
    missing: Mapping[str, str] | None = None,
) -> Mistake:
    """A complaint of pydantic about the value at a path.

    fields: the names that an unknown field may have been meant for. missing: what to do about a
    field that is missing, by its name.
    """
    kind, value = detail["type"], detail["input"]
    context: Mapping[str, Any] = detail.get("ctx", {})
    last = detail["loc"][-1] if detail["loc"] else ""
    if kind == "missing" and isinstance(last, int):  # of a list of known length
        path = path[: path.rindex("[")]
        return Mistake(
            path, f"{shown(value)} has {len(value)} entries", f"give at least {last + 1}"
        )
    if kind == "missing":
        return Mistake(path, "is missing", (missing or {}).get(str(last), "give it"))
    if kind == "too_long":
        remedy = f"give {context['max_length']}"
        return Mistake(path, f"{shown(value)} has {context['actual_length']} entries", remedy)
    if kind == "extra_forbidden":
        remedy = known(last, names) if (names := list(fields)) else "leave it out"
        return Mistake(path, f"unknown field, with the value {shown(value)}", remedy)
    if kind == "too_short" and context.get("actual_length"):
        remedy = f"give {context['min_length']}"
        return Mistake(path, f"{shown(value)} has {context['actual_length']} entries", remedy)
    if kind in WORDS:
        said, remedy = WORDS[kind]
        return Mistake(path, f"{shown(value)} {said}", remedy)
    if kind == "literal_error":
        return Mistake(path, f"{shown(value)} is unknown", f"give {context['expected']}")
    if kind == FILE:
        return Mistake(path, context["problem"], context["remedy"])
    edges = [f"{word} {context[key]:g}" for key, word in EDGES.items() if key in context]
    if edges:
        remedy = f"give a number {' and '.join(edges)}"
        return Mistake(path, f"{shown(value)} is out of range", remedy)
    return Mistake(path, f"{shown(value)}: {detail['msg']}", "mend this value")
