"""A failing case made small: greedily without terms, rows, evidence, parts, options."""

import copy
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from tests.support.fuzz.draw import Case

LISTS = ("lines", "pairs", "groups", "clauses", "edges", "terms", "tuples", "words")
SECONDS = 30.0


def shrunk(case: Case, fails: Callable[[Case], bool], seconds: float = SECONDS) -> Case:
    """The smallest case found that still fails."""
    end = time.monotonic() + seconds
    moved = True
    while moved:
        moved = False
        for smaller in _smaller(case):
            if time.monotonic() > end:
                return case
            if fails(smaller):
                case, moved = smaller, True
                break
    return case


def _smaller(case: Case) -> Iterator[Case]:
    if len(case.rows) > 1:
        for k in range(len(case.rows)):
            yield replace(case, rows=[case.rows[k]])
            yield replace(case, rows=case.rows[:k] + case.rows[k + 1 :])
    for k in range(1, len(case.script)):
        yield replace(case, script=_consistent(case.script[:k] + case.script[k + 1 :]))
    for name in list(case.options):
        yield replace(case, options={n: v for n, v in case.options.items() if n != name})
    terms = case.query["terms"]
    for k in range(len(terms)):
        yield _without(case, k)
    for k, row in enumerate(case.rows):
        for name in row:
            less = {n: v for n, v in row.items() if n != name}
            yield replace(case, rows=[*case.rows[:k], less, *case.rows[k + 1 :]])
    for k, term in enumerate(terms):
        for smaller in _smaller_term(term):
            yield replace(
                case, query={**case.query, "terms": [*terms[:k], smaller, *terms[k + 1 :]]}
            )
    used = json.dumps(terms)
    for name in case.query["variables"]:
        if f'"{name}"' not in used and f'"{name}[' not in used and len(case.query["variables"]) > 1:
            left = {n: v for n, v in case.query["variables"].items() if n != name}
            rows = [{n: v for n, v in row.items() if n != name} for row in case.rows]
            script = [
                {k: {n: w for n, w in v.items() if n != name} if k == "evidence" else v
                 for k, v in step.items()}
                for step in case.script
            ]  # fmt: skip
            yield replace(case, query={**case.query, "variables": left}, rows=rows, script=script)


def _without(case: Case, k: int) -> Case:
    """The case without a term, in its script as well."""
    gone = case.query["terms"][k]["name"]
    terms = [t for j, t in enumerate(case.query["terms"]) if j != k]
    script = []
    for step in case.script:
        kept = dict(step)
        for word in ("add", "drop"):
            if word in kept:
                kept[word] = [n for n in kept[word] if n != gone]
        script.append(kept)
    return replace(case, query={**case.query, "terms": terms}, script=script)


def _consistent(script: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Only terms that stand are dropped, only others added."""
    out: list[dict[str, Any]] = []
    gone: set[str] = set()
    for step in script:
        kept = dict(step)
        if "drop" in kept:
            kept["drop"] = [n for n in kept["drop"] if n not in gone]
            gone |= set(kept["drop"])
        if "add" in kept:
            kept["add"] = [n for n in kept["add"] if n in gone]
            gone -= set(kept["add"])
        out.append(kept)
    return out


def _smaller_term(term: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "any" in term:
        for j, branch in enumerate(term["any"]):
            for k in range(len(branch)):
                if len(branch) > 1:
                    own = [*branch[:k], *branch[k + 1 :]]
                    yield {**term, "any": [*term["any"][:j], own, *term["any"][j + 1 :]]}
                for smaller in _smaller_term(branch[k]):
                    own = [*branch[:k], smaller, *branch[k + 1 :]]
                    yield {**term, "any": [*term["any"][:j], own, *term["any"][j + 1 :]]}
    for name in LISTS:
        entries = term.get("params", {}).get(name)
        if isinstance(entries, list) and len(entries) > 1:
            for k in range(len(entries)):
                made = copy.deepcopy(term)
                del made["params"][name][k]
                yield made
    if term.get("weight", 1.0) != 1.0:
        yield {**term, "weight": 1.0, "required": False}


def shown(case: Case, door: str, complaint: Any) -> str:
    """A case as text: what to run, what is wrong, and the query."""
    lines = [
        f"seed {case.seed}, door {door}: {complaint.kind}: {complaint.text}",
        f"query: {json.dumps(case.query)}",
        f"rows: {json.dumps(case.rows)}",
    ]
    if case.options:
        lines.append(f"options: {json.dumps(case.options)}")
    if "session" in door:
        lines.append(f"script: {json.dumps(case.script)}")
    return "\n".join(lines)
