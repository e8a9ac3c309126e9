"""From a query to a problem: kinds resolved, parameters checked, terms bound to their variables."""

import logging
import math
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic_core import PydanticSerializationError

from engine.domain import Domain, Finite, Real, Variable, View, flatten, place_path
from engine.energy import Energy, Part, Sum, Term, named, required
from engine.errors import BadQuery, Mistake
from engine.problem import Problem
from modules.catalogue import Kinds
from services.limits import DEFAULT, Limits
from services.query import FiniteSpec, Query, TermSpec, VariableSpec, query_of
from services.views import parse_view

log = logging.getLogger(__name__)

SITES_TOLD = 10_000  # sites of wrong evidence that are looked at one by one


def compile_query(query: Query, catalogue: Kinds, limits: Limits = DEFAULT) -> Problem:
    """The problem of a query, its evidence given. Raises BadQuery with every mistake found."""
    return Compiler(catalogue, limits, kept=0).problem(query)


def mistakes_apart(data: Any, catalogue: Kinds, limits: Limits = DEFAULT) -> list[Mistake]:
    """What is wrong with the parts of a query that is wrong as a whole, each looked at by itself.

    data: plain, as a file holds it. Each term is compiled alone over the variables that make
    sense, and so is the evidence of each variable; what shows only when all else is right is not
    told.
    """

    def told(**parts: Any) -> list[Mistake]:
        try:
            compile_query(query_of({"variables": variables, "terms": [], **parts}), catalogue)
        except BadQuery as error:
            return list(error.mistakes)
        return []

    if not isinstance(data, Mapping) or not isinstance(data.get("variables"), Mapping):
        return []
    variables: dict[str, Any] = {}
    named = list(data["variables"].items())[: limits.variables]
    variables = {name: spec for name, spec in named if not told(variables={name: spec})}
    unsound = data["variables"].keys() - variables.keys()
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
        if (
            not names or not names <= variables.keys()
        ):  # its scope says nothing: what does not ask for it
            mistakes += _of_kind(bare, catalogue)
        found += [
            replace(m, path=m.path.replace("terms[0]", f"terms[{place}]", 1)) for m in mistakes
        ]
    evidence = data.get("evidence", {})
    rows = evidence if isinstance(evidence, list) else [evidence]
    rows = [row if isinstance(row, Mapping) else {} for row in rows]
    for name in variables:
        given = [{name: row[name]} if name in row else {} for row in rows]
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


class Compiler:
    """Compiles queries; keeps the structure of the last ones, for queries that differ in evidence.

    Only what is the same under any evidence is kept, for each tenant apart, and nothing of the
    evidence itself. A hosted term is not: its stream belongs to one solve.
    """

    def __init__(self, catalogue: Kinds, limits: Limits = DEFAULT, kept: int = 64):
        self.catalogue, self.limits, self.kept = catalogue, limits, kept
        self._known: OrderedDict[tuple[str, str], Problem] = OrderedDict()
        self._lock = threading.Lock()

    def problem(self, query: Query, tenant: str = "") -> Problem:
        """The problem of a query. Raises BadQuery with every mistake found."""
        mistakes: list[BadQuery] = []
        key = tenant, _written(query) if self.kept else ""
        with self._lock:
            problem = self._known.get(key)
            if problem is not None:
                self._known.move_to_end(key)
        fresh = problem is None
        if problem is None:
            problem = self._structure(query, mistakes)
        try:
            given = narrowed(problem, query, self.limits)
        except BadQuery as error:
            mistakes.append(error)
        if mistakes:
            raise _gathered(mistakes, self.limits)
        if fresh and self.kept and all(part.term.reusable for part in problem.parts):
            self._keep(key, problem)
        return given

    def _structure(self, query: Query, mistakes: list[BadQuery]) -> Problem:
        """Variables and terms, without evidence."""
        variables = _variables(query, mistakes)
        energies = _energies(query, variables, self.catalogue, mistakes)
        parts = [part for energy in energies for part in energy.parts()]
        _warn_of_units(parts)
        return Problem(Sum(*parts), tuple(variables.values()))

    def _keep(self, key: tuple[str, str], problem: Problem) -> None:
        with self._lock:
            self._known[key] = problem
            while len(self._known) > self.kept:
                self._known.popitem(last=False)


def compile_terms(
    query: Query, variables: Mapping[str, Variable], catalogue: Kinds, limits: Limits = DEFAULT
) -> list[Energy]:
    """The terms of a query over variables that stand. Raises BadQuery with every mistake."""
    mistakes: list[BadQuery] = []
    energies = _energies(query, variables, catalogue, mistakes)
    if mistakes:
        raise _gathered(mistakes, limits)
    return energies


def narrowed(problem: Problem, query: Query, limits: Limits = DEFAULT) -> Problem:
    """A problem under the evidence of a query. Raises BadQuery, site by site."""
    try:
        return problem.given_rows(query.evidence)
    except BadQuery as error:
        variables = {v.name: v for v in problem.variables}
        raise _evidence_mistakes(query, variables, limits) or error from None


def _energies(
    query: Query,
    variables: Mapping[str, Variable],
    catalogue: Kinds,
    mistakes: list[BadQuery],
) -> list[Energy]:
    energies = []
    for place, spec in enumerate(query.terms):
        try:
            energies.append(_energy(spec, variables, catalogue))
        except BadQuery as error:
            mistakes.append(error.under(f"terms[{place}]"))
    return energies


def _warn_of_units(parts: list[Part]) -> None:
    """Soft terms in units of their own, added at weight 1, may outvote each other by accident."""
    loose = [p.label for p in parts if p.weight == 1.0 and not p.term.calibrated]
    rules = {p.label for p in parts if p.term.required_by_default}
    if len([label for label in loose if label not in rules]) > 1:
        log.warning(
            "%s: uncalibrated terms at weight 1; give weights that compare them",
            ", ".join(dict.fromkeys(loose)),
        )


def _variables(query: Query, mistakes: list[BadQuery]) -> dict[str, Variable]:
    variables = {}
    for name, spec in query.variables.items():
        try:
            variables[name] = Variable(name, _domain(spec))
        except BadQuery as error:
            mistakes.append(error.under(f"variables.{name}"))
    return variables


def _domain(spec: VariableSpec) -> Domain:
    if 0 in spec.shape:
        raise BadQuery(
            Mistake("shape", f"{[*spec.shape]} has no sites", "give sizes of at least 1")
        )
    if isinstance(spec, FiniteSpec):
        return Finite(spec.values, spec.shape)
    low = -math.inf if spec.low is None else spec.low
    high = math.inf if spec.high is None else spec.high
    return Real(spec.shape, low, high)


def _energy(spec: TermSpec, variables: Mapping[str, Variable], catalogue: Kinds) -> Energy:
    """The term of a specification, required or weighed, under the name answers call it by."""
    kind = catalogue.kind(spec.kind)
    scope: list[View] = []
    mistakes: list[Mistake] = []
    for place, text in enumerate(spec.scope):
        try:
            name, index = parse_view(text)
            if name in variables:  # else its domain is wrong, which is told there
                scope.append(variables[name][index] if index else variables[name].view)
        except BadQuery as error:
            mistakes += error.under(f"scope[{place}]").mistakes
    if mistakes or len(scope) < len(spec.scope):
        kind.check(spec.params)
        raise BadQuery(*mistakes)
    term = kind.build(scope, spec.params)
    return named(spec.name or spec.kind, _weighed(spec, term))


def _weighed(spec: TermSpec, term: Term) -> Energy:
    """A rule is required unless it is given a weight."""
    if spec.required is None and spec.weight == 1.0:
        return term
    if not spec.required:
        return spec.weight * term
    if spec.weight != 1.0:
        raise BadQuery(
            Mistake(
                "weight",
                f"{spec.weight:g} on a required term, which has no weight",
                "leave weight out, or say required: false",
            )
        )
    try:
        return required(term)
    except BadQuery as error:
        problem, remedy = error.mistakes[0].problem, error.mistakes[0].remedy
        raise BadQuery(Mistake("required", f"{spec.kind} {problem}", remedy)) from None


def _evidence_mistakes(
    query: Query, variables: Mapping[str, Variable], limits: Limits
) -> BadQuery | None:
    """Everything wrong with the evidence, site by site."""
    found: list[Mistake] = []
    for row, evidence in enumerate(query.evidence):
        path = "evidence" if query.rows == 1 else f"evidence[{row}]"
        for name, value in evidence.items():
            if name in variables and value is not None:
                told = _wrong_sites(variables[name].domain, value)
                found += BadQuery(*told).under(f"{path}.{name}").mistakes
        if len(found) > limits.mistakes:
            break
    return BadQuery(*found) if found else None


def _wrong_sites(domain: Domain, value: Any) -> list[Mistake]:
    """What is wrong with one entry of evidence: its shape, or else some of its sites."""
    try:
        domain.narrow([value])
        return []
    except BadQuery as error:
        first = list(error.mistakes)
    try:
        flat = flatten(value, domain.shape)
    except BadQuery:
        return first
    found: list[Mistake] = []
    one = _single(domain)
    for site, entry in enumerate(flat[:SITES_TOLD]):
        if entry is None:
            continue
        try:
            one.narrow([entry])
        except BadQuery as error:
            found += error.under(place_path(site, domain.shape)).mistakes
    return found or first


def _single(domain: Domain) -> Domain:
    """A domain of one site that takes what each site of this one takes."""
    variable = Variable("site", domain)
    return variable[(0,) * len(domain.shape)].of(domain) if domain.shape else domain


def _gathered(errors: list[BadQuery], limits: Limits) -> BadQuery:
    """All mistakes as one error, an unknown kind kept as such when nothing else is wrong."""
    every = list(dict.fromkeys(m for error in errors for m in error.mistakes))
    if len(every) > limits.mistakes:
        more = len(every) - limits.mistakes
        every = [
            *every[: limits.mistakes],
            Mistake("", f"{more} more mistakes", "mend these first"),
        ]
    kinds = {type(error) for error in errors if error.mistakes}
    return (kinds.pop() if len(kinds) == 1 else BadQuery)(*every)


def _written(query: Query) -> str:
    """The structure of a query as text. Raises BadQuery for text that is none."""
    try:
        return query.model_dump_json(include={"variables", "terms"})
    except PydanticSerializationError:
        raise BadQuery(
            Mistake("", "a text holds half of a surrogate pair", "write whole characters")
        ) from None
