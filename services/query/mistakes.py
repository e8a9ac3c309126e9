"""Complaints of pydantic in Basin's words: a path, the value, and a remedy for each."""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import NoReturn

from pydantic import ValidationError, ValidationInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from engine.errors import Mistake, join, shown
from modules import validation
from modules.validation import mistake_of
from services.settings import DEFAULT, Limits

Place = tuple[int | str, ...]

_WRONG, _OVER = "basin_wrong", "basin_over"

_NO_DOMAIN = "values: [...], or low and high"  # what a variable without either should give

_MISSING = {
    "kind": "name a kind, such as kind: discrete.all_different",
    "scope": "name the variables it speaks of, such as scope: [grid]",
    "variables": "name them, such as variables: {grid: {values: [1, 2], shape: [4]}}",
    "terms": "list them, such as terms: [{kind: ..., scope: [...]}]",
    "values": "list them, such as values: [1, 2, 3]",
}

_INSTEAD: dict[Place, str] = {  # of fields that one part of a query has and another lacks
    ("variables", "integer"): "write whole numbers out, such as values: [0, 1, 2, 3]",
}
_TAGS = ("finite", "real", "named", "number")
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


def from_pydantic(
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
    tagged = len(place) > 2 and place[0] in ("variables", "inputs") and place[2] in _TAGS
    steps = (*place[:2], *place[3:]) if tagged else place
    return validation.path_of(step for step in steps if step != "[key]")


def _one(detail: ErrorDetails, path: str, fields_at: Callable[[Place], Iterable[str]]) -> Mistake:
    value = detail["input"]
    place = detail["loc"]
    if detail["type"] == "extra_forbidden" and (place[0], place[-1]) in _INSTEAD:
        problem = f"unknown field, with the value {shown(value)}"
        return Mistake(path, problem, _INSTEAD[place[0], place[-1]])
    if detail["type"] != "union_tag_not_found":
        return mistake_of(detail, path, fields_at(detail["loc"]), _MISSING)
    names = value if isinstance(value, Mapping) else ()
    near = [m for name in names for m in get_close_matches(str(name), _DOMAIN, n=1)]
    hint = f"did you mean {near[0]}? " if near else ""
    return Mistake(path, f"{shown(value)} names no domain", f"{hint}give {_NO_DOMAIN}")
