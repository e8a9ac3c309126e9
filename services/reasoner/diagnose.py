"""Every mistake of a query at once, term by term and site by site."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from engine.errors import BadQuery, Mistake
from modules.catalogue import Kinds
from services.query import query_of
from services.reasoner.compile import compile_query
from services.settings import DEFAULT, Limits


def diagnosis(kinds: Kinds | None) -> Callable[[Any], list[Mistake]] | None:
    """`mistakes_apart` by these kinds; None without any."""
    return None if kinds is None else lambda data: mistakes_apart(data, kinds)


def mistakes_apart(data: Any, catalogue: Kinds, limits: Limits = DEFAULT) -> list[Mistake]:
    """What is wrong with the parts of a query that is wrong as a whole, each looked at by itself.

    data: plain, as a file holds it. Each term is compiled alone over the variables that make
    sense, and so is the evidence of each variable; what shows only when all else is right is not
    told.
    """

    def told(**parts: Any) -> list[Mistake]:
        try:
            compile_query(
                query_of({"variables": variables, "inputs": inputs, "terms": [], **parts}, limits),
                catalogue,
                limits,
            )
        except BadQuery as error:
            return list(error.mistakes)
        return []

    if not isinstance(data, Mapping) or not isinstance(data.get("variables"), Mapping):
        return []
    variables: dict[str, Any] = {}
    inputs: dict[str, Any] = {}
    named = list(data["variables"].items())[: limits.variables]
    variables = {name: spec for name, spec in named if not told(variables={name: spec})}
    declared = data.get("inputs")
    beside = list(declared.items())[: limits.variables] if isinstance(declared, Mapping) else []
    alone = {"values": [0]}  # a query has a variable
    inputs = {
        name: spec
        for name, spec in beside
        if not told(variables={f"{name}_": alone}, inputs={name: spec})
    }
    sound = variables.keys() | inputs.keys()
    unsound = {*data["variables"], *(name for name, _ in beside)} - sound
    found: list[Mistake] = []
    terms = data.get("terms")
    for place, term in enumerate(terms[: limits.mistakes] if isinstance(terms, list) else ()):
        if not isinstance(term, Mapping):
            continue
        scope = term.get("scope")
        every = scope if isinstance(scope, list) else []
        names = {str(view).partition("[")[0].strip() for view in every}
        bare = {name: term[name] for name in ("kind", "scope", "params") if name in term}
        mistakes = told(terms=[bare]) if unsound.isdisjoint(names) else []
        if not names or not names <= sound:  # its scope says nothing: what does not ask for it
            mistakes += _of_kind(bare, catalogue)
        found += [
            replace(m, path=m.path.replace("terms[0]", f"terms[{place}]", 1)) for m in mistakes
        ]
    evidence = data.get("evidence", {})
    rows = evidence if isinstance(evidence, list) else [evidence]
    rows = [row if isinstance(row, Mapping) else {} for row in rows]
    for name in (*variables, *inputs):
        given = [
            {name: row[name]} if not isinstance(row.get(name), Mapping | None) else {}
            for row in rows
        ]  # files are read elsewhere
        if any(given):
            found += told(evidence=given)
    return found


def _of_kind(term: Mapping[str, Any], catalogue: Kinds) -> list[Mistake]:
    """What is wrong with the kind and the parameters of a term, whatever its scope."""
    kind, params = term.get("kind"), term.get("params", {})
    if not isinstance(kind, str) or not isinstance(params, Mapping):
        return []  # told by the query already
    try:
        catalogue.kind(kind).check(params)
    except BadQuery as error:
        return list(error.under("terms[0]").mistakes)
    return []
