"""Complaints of pydantic in Basin's words: a path, the value, and a remedy for each."""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, NoReturn

from pydantic import ValidationError, ValidationInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from engine.errors import Mistake, join, known
from services.query.views import shown
from services.settings import DEFAULT, Limits

Place = tuple[int | str, ...]

_WRONG, _OVER = "basin_wrong", "basin_over"

# what pydantic calls it -> what is wrong with the value, what to do
_WORDS = {
    "int_type": ("is no whole number", "give a whole number"),
    "int_from_float": ("is no whole number", "give a whole number"),
    "float_type": ("is no number", "give a number"),
    "bool_type": ("is neither true nor false", "write true or false"),
    "string_type": ("is no text", "write it in quotes"),
    "tuple_type": ("is no list", "write it as [...]"),
    "list_type": ("is no list", "write it as [...]"),
    "dict_type": ("is no mapping", "write name: value"),
    "mapping_type": ("is no mapping", "write name: value"),
    "model_type": ("is no mapping", "write name: value"),
    "model_attributes_type": ("is no mapping", "write name: value"),
    "finite_number": ("is not finite", "give a finite number"),
    "too_short": ("is empty", "give at least one entry"),
    "union_tag_not_found": ("names no domain", "give values: [...], or low and high"),
}

_MISSING = {
    "kind": "name a kind, such as kind: discrete.all_different",
    "scope": "name the variables it speaks of, such as scope: [grid]",
    "variables": "name them, such as variables: {grid: {values: [1, 2], shape: [4]}}",
    "terms": "list them, such as terms: [{kind: ..., scope: [...]}]",
    "values": "list them, such as values: [1, 2, 3]",
}

_TAGS = ("finite", "real")
_DOMAIN = ("values", "low", "high")


def limits_of(info: ValidationInfo) -> Limits:
    """The limits a validation runs under."""
    return info.context["limits"] if info.context and "limits" in info.context else DEFAULT


def wrong(problem: str = "", remedy: str = "", mistakes: Iterable[Mistake] = ()) -> NoReturn:
    """Complain from inside a pydantic validator: one mistake here, or several below."""
    found = tuple(mistakes) or (Mistake("", problem, remedy),)
    raise PydanticCustomError(_WRONG, "{said}", {"said": str(found[0]), "found": found})


def over(problem: str, remedy: str) -> NoReturn:
    """Complain from inside a pydantic validator that something is over a limit."""
    found = (Mistake("", problem, remedy),)
    raise PydanticCustomError(_OVER, "{said}", {"said": str(found[0]), "found": found})


def told(
    error: ValidationError, fields_at: Callable[[Place], Iterable[str]]
) -> tuple[list[Mistake], list[Mistake]]:
    """What is wrong, and what is over a limit; `fields_at` names the fields of a place."""
    found: list[Mistake] = []
    large: list[Mistake] = []
    for detail in error.errors(include_url=False):
        path = path_of(detail["loc"])
        inner = detail.get("ctx", {}).get("found")
        if inner is None:
            found.append(_one(detail, path, fields_at))
            continue
        mistakes = [Mistake(join(path, m.path), m.problem, m.remedy) for m in inner]
        (large if detail["type"] == _OVER else found).extend(mistakes)
    return found, large


def path_of(place: Place) -> str:
    """`("terms", 3, "weight")` -> `terms[3].weight`; tags of unions are left out."""
    path = ""
    for k, step in enumerate(place):
        if k == 2 and place[0] == "variables" and step in _TAGS:
            continue
        if step == "[key]":
            continue
        path = join(path, f"[{step}]" if isinstance(step, int) else step)
    return path


def _one(detail: ErrorDetails, path: str, fields_at: Callable[[Place], Iterable[str]]) -> Mistake:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    field = detail["loc"][-1] if detail["loc"] else ""
    if kind == "extra_forbidden":
        remedy = known(field, fields_at(detail["loc"]))
        return Mistake(path, f"unknown field, with the value {shown(value)}", remedy)
    if kind == "missing":
        return Mistake(path, "is missing", _MISSING.get(str(field), "give it"))
    if kind in _WORDS:
        said, remedy = _WORDS[kind]
        if kind == "union_tag_not_found" and isinstance(value, Mapping):
            near = [m for name in value for m in get_close_matches(str(name), _DOMAIN, n=1)]
            remedy = f"did you mean {near[0]}? {remedy}" if near else remedy
        return Mistake(path, f"{shown(value)} {said}", remedy)
    if edge := _edge(context):
        return Mistake(path, f"{shown(value)} is out of range", f"give a number {edge}")
    return Mistake(path, f"{shown(value)}: {detail['msg']}", "mend this value")


def _edge(context: dict[str, Any]) -> str:
    words = {"gt": "above", "ge": "of at least", "lt": "below", "le": "of at most"}
    return " and ".join(f"{words[k]} {context[k]:g}" for k in words if k in context)
