"""From a query to a problem: kinds resolved, parameters checked, terms bound to their variables."""

import hashlib
import logging
import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cachetools import LRUCache

from engine.domain import Domain, Finite, Input, Real, Told, Variable, View
from engine.energy import Energy, Sum, Summand, Term, named, required
from engine.errors import BadQuery, BasinError, Mistake, Mistakes
from engine.problem import Problem
from modules.catalogue import Kinds
from modules.shared.files import Confine
from services.formats.arrays import nowhere, with_files
from services.query import (
    FiniteSpec,
    InputSpec,
    NamedInputSpec,
    Query,
    TermSpec,
    VariableSpec,
)
from services.query.views import parse_view
from services.reasoner.evidence import evidence_mistakes, given_row
from services.settings import DEFAULT, Limits

log = logging.getLogger(__name__)

KEPT = 64  # structures kept between questions, of all tenants together


def compile_query(query: Query, catalogue: Kinds, limits: Limits = DEFAULT) -> Problem:
    """The problem of a query, its evidence given. Raises BadQuery with every mistake found."""
    return Compiler(catalogue, limits, kept=0).problem(query)


class StructureKey(NamedTuple):
    """What a structure is known by: whose it is, and a digest of its variables, inputs and terms.
    Two kinds of digest do not meet in one compiler: of texts in this process, of messages in a
    service."""

    tenant: str
    digest: bytes


Stamp = tuple[int, int, int] | None  # of a file: its number, size and time; None: it is gone


def _stamp(file: Path) -> Stamp:
    try:
        about = file.stat()
    except OSError:
        return None
    return about.st_ino, about.st_size, about.st_mtime_ns


class Structure(NamedTuple):
    """A query without its evidence and budget, and what was compiled of it."""

    variables: dict[str, VariableSpec]
    inputs: dict[str, InputSpec]
    terms: tuple[TermSpec, ...]
    problem: Problem
    files: Mapping[Path, Stamp]  # that its terms have read


class Compiler:
    """Compiles queries; keeps the structure of the last ones, for queries that differ in evidence.

    Only what is the same under any evidence is kept, for each tenant apart, and nothing of the
    evidence itself. A hosted term is not: its stream belongs to one solve. kept: how many
    structures; with 0 no key is made either. confine: which file a name in
    evidence means; unless said, none.
    """

    def __init__(
        self,
        catalogue: Kinds,
        limits: Limits = DEFAULT,
        kept: int = KEPT,
        confine: Confine = nowhere,
    ):
        self.catalogue, self.limits, self.kept, self.confine = catalogue, limits, kept, confine
        self._known: LRUCache[StructureKey, Structure] = LRUCache(kept)
        self._lock = threading.Lock()

    def with_files(self, query: Query) -> Query:
        """The query with what the files hold that its evidence names. Raises BadQuery."""
        return with_files(query, self.confine, self.limits)

    def problem(self, query: Query, key: StructureKey | None = None) -> Problem:
        """The problem of a query; without a key it is made from the query, which then belongs to
        nobody. Raises BadQuery with every mistake found."""
        query = self.with_files(query)
        if key is None and self.kept:
            key = StructureKey("", _digest(query))
        known = None if key is None else self.known(key)
        if known is not None:
            return narrow_problem(known.problem, query, self.limits)
        mistakes: list[BadQuery] = []
        files = {} if key is None else self._files(query)  # as they stand before they are read
        problem = self._structure(query, mistakes)
        try:
            given = narrow_problem(problem, query, self.limits)
        except BadQuery as error:
            mistakes.append(error)
        if mistakes:
            raise _gathered(mistakes, self.limits)
        if key is not None and self.kept and all(s.term.reusable for s in problem.summands):
            with self._lock:
                self._known[key] = Structure(
                    query.variables, query.inputs, query.terms, problem, files
                )
        return given

    def known(self, key: StructureKey) -> Structure | None:
        """The structure of a key, where it is kept and the files it was made of are the same."""
        with self._lock:
            known = self._known.get(key)
            if known is not None and any(_stamp(f) != was for f, was in known.files.items()):
                del self._known[key]
                return None
            return known

    def _files(self, query: Query) -> dict[Path, Stamp]:
        """The files that the terms of a query name; none where a term is a mistake."""
        try:
            every = [self.catalogue.kind(term.kind).files(term.params) for term in query.terms]
        except BasinError:
            return {}
        return {file: _stamp(file) for files in every for file in files}

    def _structure(self, query: Query, mistakes: list[BadQuery]) -> Problem:
        """Variables and terms, without evidence."""
        variables = _variables(query, mistakes)
        energies = _energies(query, variables, self.catalogue, mistakes)
        if not mistakes:
            _warn_of_units(_weightless(query, energies))
        summands = [summand for energy in energies for summand in energy.summands()]
        return Problem(Sum(*summands), tuple(variables.values()))


def compile_terms(
    query: Query, variables: Mapping[str, Variable], catalogue: Kinds, limits: Limits = DEFAULT
) -> list[Energy]:
    """The terms of a query over variables that stand. Raises BadQuery with every mistake."""
    mistakes: list[BadQuery] = []
    energies = _energies(query, variables, catalogue, mistakes)
    if mistakes:
        raise _gathered(mistakes, limits)
    return energies


def narrow_problem(problem: Problem, query: Query, limits: Limits = DEFAULT) -> Problem:
    """A problem under the evidence of a query. Raises BadQuery, site by site."""
    told = {v.name for v in problem.inputs}
    try:
        return problem.given_rows([given_row(row, told) for row in query.evidence])
    except BadQuery as error:
        every = {v.name: v for v in (*problem.variables, *problem.inputs)}
        raise evidence_mistakes(query, every, limits) or error from None


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


def _weightless(query: Query, energies: list[Energy]) -> list[Summand]:
    """The summands of terms whose query gives them no weight."""
    pairs = zip(query.terms, energies, strict=True)
    unsaid = [energy for term, energy in pairs if "weight" not in term.model_fields_set]
    return [summand for energy in unsaid for summand in energy.summands()]


def _warn_of_units(weightless: list[Summand]) -> None:
    """A learned term in units of its own, given no weight beside another or beside one in nats,
    may outvote it by accident. Costs that people wrote are what they are."""
    costs = [part for part in weightless if part.weight is not None]
    alone = [part for part in costs if not part.term.required_by_default]
    learned = [p for p in alone if next(p.term.parameters(), None) is not None]
    loose = dict.fromkeys(p.label for p in learned if not p.term.calibrated)
    if loose and len(loose) + any(p.term.calibrated for p in alone) > 1:
        log.warning("%s: learned, uncalibrated, without a weight; give weights", ", ".join(loose))


def _variables(query: Query, mistakes: list[BadQuery]) -> dict[str, Variable]:
    """The variables and the inputs."""
    variables: dict[str, Variable] = {}
    for name, spec in query.variables.items():
        try:
            variables[name] = Variable(name, _domain(spec))
        except BadQuery as error:
            mistakes.append(error.under(f"variables.{name}"))
    for name, told in query.inputs.items():
        try:
            variables[name] = Input(name, _told(told))
        except BadQuery as error:
            mistakes.append(error.under(f"inputs.{name}"))
    return variables


def _domain(spec: VariableSpec) -> Domain:
    if isinstance(spec, FiniteSpec):
        return Finite(spec.values, spec.shape)
    low = -math.inf if spec.low is None else spec.low
    high = math.inf if spec.high is None else spec.high
    return Real(spec.shape, low, high)


def _told(spec: InputSpec) -> Told:
    if isinstance(spec, NamedInputSpec):
        return Told(spec.shape, values=spec.values)
    low = -math.inf if spec.low is None else spec.low
    high = math.inf if spec.high is None else spec.high
    return Told(spec.shape, low, high, spec.integer)


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


def _gathered(errors: list[BadQuery], limits: Limits) -> BadQuery:
    """All mistakes as one error, an unknown kind kept as such when nothing else is wrong."""
    every = Mistakes(limits.mistakes)
    every.take(*dict.fromkeys(m for error in errors for m in error.mistakes))
    kinds = {type(error) for error in errors if error.mistakes}
    return (kinds.pop() if len(kinds) == 1 else BadQuery)(*every.told())


def _digest(query: Query) -> bytes:
    """Of the variables, inputs and terms of a query."""
    text = query.model_dump_json(include={"variables", "inputs", "terms"})
    return hashlib.blake2b(text.encode(), digest_size=20).digest()
