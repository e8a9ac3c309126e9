"""The query as people and programs write it: frozen, checked, every mistake told at once.

`Query(...)`, `query_of(data)` and `parse_query(text)` all raise `BadQuery` (or `TooLarge`) with a
path, the value and a remedy for each mistake; kinds and their parameters are the catalogue's to
check, when the query is compiled.
"""

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    ModelWrapValidatorHandler,
    SerializationInfo,
    Tag,
    ValidationError,
    ValidationInfo,
    field_serializer,
    model_validator,
)

from engine.errors import BadQuery, Mistake, Mistakes, TooLarge, known, shown
from services.query.arrays import ArrayFile, EvidenceArray
from services.query.document import parse_document
from services.query.fields import (
    InputShape,
    Number,
    Params,
    Rows,
    Shape,
    Text,
    Truth,
    Values,
    Whole,
    edge,
)
from services.query.mistakes import from_pydantic, limits_of, over, wrong
from services.query.views import check_view, parse_view
from services.settings import DEFAULT, Limits

_IDENTIFIER = "use letters, digits and _, a letter first"


class Spec(BaseModel):
    """Root of the parts of a query: frozen, and unknown fields are mistakes."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    inner: ClassVar[Mapping[str, type["Spec"]]] = {}  # what stands inside a field


S = TypeVar("S", bound=Spec)


class FiniteSpec(Spec):
    """An array of sites that each take one of the same values."""

    values: Values = Field(description="Numbers, texts or truth values; each once.")
    shape: Shape = Field((), description="Of the array of sites; empty for a single site.")


class _Edged(Spec):
    """Numbers between two edges."""

    low: Annotated[Number | None, edge(-math.inf)] = Field(
        None, description="Lower edge; null when there is none."
    )
    high: Annotated[Number | None, edge(math.inf)] = Field(
        None, description="Upper edge; null when there is none."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        if low > high or low == math.inf or high == -math.inf:
            wrong(
                f"low {low:g} lies above high {high:g}: the domain is empty"
                if low > high
                else f"[{low:g}, {high:g}] holds no number",
                "give low <= high",
            )
        return self


class RealSpec(_Edged):
    """An array of sites that are real numbers between two edges."""

    shape: Shape = Field((), description="Of the array of sites; empty for a single site.")


class NamedInputSpec(Spec):
    """An array of values that is told and never asked for, such as the letters of a text."""

    values: Values = Field(description="Numbers, texts or truth values; each once.")
    shape: InputShape = Field((), description="Of the array; empty for a single value.")


class NumberInputSpec(_Edged):
    """An array of numbers that is told and never asked for, such as a picture."""

    integer: Truth = Field(False, description="Whether all of them are whole.")
    shape: InputShape = Field((), description="Of the array; empty for a single number.")


def _family(value: Any) -> str | None:
    if isinstance(value, FiniteSpec) or (isinstance(value, Mapping) and "values" in value):
        return "finite"
    if isinstance(value, RealSpec):
        return "real"
    return "real" if isinstance(value, Mapping) and ("low" in value or "high" in value) else None


VariableSpec = Annotated[
    Annotated[FiniteSpec, Tag("finite")] | Annotated[RealSpec, Tag("real")],
    Discriminator(_family),
]


def _input_family(value: Any) -> str | None:
    if isinstance(value, NamedInputSpec) or (isinstance(value, Mapping) and "values" in value):
        return "named"
    return "number" if isinstance(value, (NumberInputSpec, Mapping)) else None


InputSpec = Annotated[
    Annotated[NamedInputSpec, Tag("named")] | Annotated[NumberInputSpec, Tag("number")],
    Discriminator(_input_family),
]


class TermSpec(Spec):
    """One energy term: a kind of the catalogue, what it speaks of, and its parameters."""

    kind: Text = Field(description="Such as discrete.all_different.")
    scope: Annotated[tuple[Text, ...], Field(min_length=1)] = Field(
        description="Variables, or views of them such as grid[0, :]."
    )
    params: Params = Field(default_factory=dict, description="What the kind asks for.")
    required: Truth | None = Field(None, description="null: what the kind says.")
    weight: Annotated[Number, Field(gt=0, allow_inf_nan=False)] = 1.0
    name: Text | None = Field(None, description="What answers call the term.")


class Budget(Spec):
    """How long to search, and with how many particles."""

    seconds: Annotated[Number, Field(gt=0, allow_inf_nan=False)] | None = None
    seed: Annotated[Whole, Field(ge=0, lt=2**63)] = 0
    particles: Annotated[Whole, Field(ge=1)] = 64
    steps: Annotated[Whole, Field(ge=1, lt=2**63)] | None = None


class Options(Spec):
    """What to find out beside the best values."""

    prove: Truth = Field(False, description="Go on until proved least, and unique or not.")
    alternatives: Annotated[Whole, Field(ge=0)] = 0
    distance: Annotated[Whole, Field(ge=1)] = Field(
        1, description="Sites in which alternatives differ, from the answer and from each other."
    )
    explain: Truth = Field(
        False, description="When infeasible the conflict and its repair, else the runner-up."
    )
    score: Truth = Field(False, description="No search: judge the values given.")
    differ: tuple[Text, ...] = Field(
        (), description="Variables in which the runner-up differs; none: in any."
    )
    proof: Truth = Field(
        False, description="When infeasible, and only clauses are asked for: the proof, as DRAT."
    )
    margins: Truth = Field(False, description="By how much each site is ahead of its other values.")
    minimizer: Text | None = Field(
        None, description="By name, such as cp_sat; null: the portfolio picks."
    )

    @model_validator(mode="after")
    def _used(self) -> Self:
        """What says something only beside another option must not stand alone."""
        found = []
        if self.differ and not self.explain:
            remedy = "ask for explain too, or leave it out"
            found.append(Mistake("differ", "speaks of the runner-up of explain", remedy))
        if self.distance > 1 and not self.alternatives:
            remedy = "ask for alternatives too, or leave it out"
            found.append(Mistake("distance", "speaks of alternatives", remedy))
        if self.margins and self.score:
            remedy = "ask for one of them"
            found.append(Mistake("margins", "speaks of the answer of a search", remedy))
        if found:
            wrong(mistakes=found)
        return self

    @model_validator(mode="after")
    def _bounded(self, info: ValidationInfo) -> Self:
        limits = limits_of(info)
        if self.alternatives > limits.alternatives:
            over(f"alternatives {self.alternatives}", limits.told("alternatives"))
        return self


class Query(Spec):
    """A question: variables, a sum of energy terms over them, and evidence.

    Arrays in `evidence` (of numpy, torch, `engine.Given`) are kept as `EvidenceArray`s.
    """

    variables: Annotated[dict[str, VariableSpec], Field(min_length=1)]
    inputs: dict[str, InputSpec] = Field({}, description="What is told and never asked for.")
    terms: tuple[TermSpec, ...]
    evidence: Rows = ({},)
    budget: Budget = Budget()

    @model_validator(mode="wrap")
    @classmethod
    def _checked(
        cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Self:
        """Turn every complaint of pydantic, and of the checks across fields, into one error."""
        limits = limits_of(info)
        if isinstance(data, cls):
            return data
        if not isinstance(data, Mapping):
            raise BadQuery(Mistake("", f"{shown(data)} is no mapping", "give variables and terms"))
        if crowded := list(_counts(data, limits)):
            raise TooLarge(*crowded)
        query: Self | None = None
        found: list[Mistake] = []
        large: list[Mistake] = []
        try:
            query = handler(data)
        except ValidationError as error:
            found, large = from_pydantic(error, _fields_at)
        found += _references(data if query is None else dict(query), limits)
        if query is not None:
            large += _sizes(query, limits)
        if found or large:
            raise _gathered(found, large, limits)
        assert query is not None
        return query

    @field_serializer("evidence")
    def _written(
        self, evidence: Sequence[Mapping[str, Any]], info: SerializationInfo
    ) -> tuple[dict[str, Any], ...]:
        return tuple(written_row(row, self.inputs, info.mode_is_json()) for row in evidence)

    @property
    def rows(self) -> int:
        """How many evidences stand side by side; each gets one answer."""
        return len(self.evidence)

    def changed(self, limits: Limits = DEFAULT, **fields: Any) -> "Query":
        """The same query with other fields, checked anew; `budget` may be given in part."""
        budget = fields.get("budget")
        if isinstance(budget, Mapping):
            fields["budget"] = dict(self.budget) | dict(budget)
        return query_of({**dict(self), **fields}, limits)


def query_of(data: Any, limits: Limits = DEFAULT) -> Query:
    """A query from plain data. Raises BadQuery with every mistake, or TooLarge."""
    return Query.model_validate(data, context={"limits": limits})


def spec_of(kind: type[S], data: Any, limits: Limits = DEFAULT) -> S:
    """What is asked beside a query, from plain data. Raises BadQuery with every mistake, or
    TooLarge."""
    try:
        return kind.model_validate(data, context={"limits": limits})
    except ValidationError as error:
        found, large = from_pydantic(
            error,
            lambda place: list(
                (kind.inner.get(str(place[0]), kind) if len(place) > 1 else kind).model_fields
            ),
        )
        raise _gathered(found, large, limits) from None


def options_of(data: Mapping[str, Any], limits: Limits = DEFAULT) -> Options:
    """Options from plain data. Raises BadQuery with every mistake, or TooLarge."""
    try:
        return spec_of(Options, data, limits)
    except BadQuery as error:
        raise error.under("options") from None


def parse_query(text: str | bytes, source: str = "", limits: Limits = DEFAULT) -> Query:
    """A query from YAML or JSON text; `source` is its file name, whose ending tells which.

    Paths of mistakes do not repeat `source`: who prints them puts it in front.
    """
    return query_of(parse_document(text, source, limits), limits)


def plain_query(query: Query) -> dict[str, Any]:
    """The query as plain data, as a YAML or JSON file would hold it."""
    data = query.model_dump(mode="json", exclude_defaults=True)
    data.setdefault("terms", [])
    for spec in data["variables"].values():
        if "values" not in spec and "high" not in spec:
            spec.setdefault("low", None)  # tells a real variable without edges
    return data


def written_row(
    row: Mapping[str, Any], inputs: Container[str] = (), as_json: bool = False
) -> dict[str, Any]:
    """The evidence of a row as plain data, with arrays of numpy, masked where numbers are absent.

    as_json: with nested lists in their place, null for each absent number, of an input for each
    absent entry of its first axis.
    """
    written = {}
    for name, value in row.items():
        if isinstance(value, EvidenceArray) and as_json:
            value = value.entries() if name in inputs else value.lists()
        elif isinstance(value, EvidenceArray):
            value = value.array()
        written[name] = value.written() if isinstance(value, ArrayFile) else value
    return written


def _counts(data: Mapping[str, Any], limits: Limits) -> Iterator[Mistake]:
    """Too many of something, told before anything is walked through."""
    for path, limit, kind in (
        ("variables", "variables", Mapping),
        ("inputs", "variables", Mapping),
        ("terms", "terms", Sequence),
        ("evidence", "rows", Sequence),
    ):
        part = data.get(path)
        if not isinstance(part, kind) or isinstance(part, str):
            continue
        if len(part) > getattr(limits, limit):
            yield Mistake(path, f"{len(part)} entries", limits.told(limit))


def _sizes(query: Query, limits: Limits) -> list[Mistake]:
    """Totals over the limits."""
    totals: list[tuple[str, float, str, str]] = []
    sites = cells = 0
    for spec in query.variables.values():
        count = math.prod(spec.shape)
        sites += count
        cells += count * (len(spec.values) if isinstance(spec, FiniteSpec) else 16)
    budget = query.budget
    told = sum(math.prod(spec.shape) for spec in query.inputs.values())
    totals.append(("inputs", told * query.rows, "input_numbers", "rows * numbers"))
    totals.append(("variables", sites, "sites", "sites"))
    totals.append(("variables", cells * query.rows, "cells", "rows * sites * values"))
    totals.append(("budget.particles", budget.particles, "particles", "particles"))
    totals.append(("budget.seconds", budget.seconds or 0, "seconds", "seconds"))
    totals += [
        (f"terms[{k}].scope", len(term.scope), "scope", "entries")
        for k, term in enumerate(query.terms)
    ]
    return [
        Mistake(path, f"{total:g} {what}", limits.told(limit))
        for path, total, limit, what in totals
        if total > getattr(limits, limit)
    ]


def _references(data: Mapping[str, Any], limits: Limits) -> list[Mistake]:
    """Names that must be identifiers, exist, or be given once; `data` may be half wrong."""
    variables = data.get("variables")
    if not isinstance(variables, Mapping):
        return []
    told = data.get("inputs")
    inputs = told if isinstance(told, Mapping) else {}
    found = [
        Mistake(f"{part}.{name}"[: limits.name], f"{shown(name)} is no name", _IDENTIFIER)
        for part, names_of_part in (("variables", variables), ("inputs", inputs))
        for name in names_of_part
        if not (isinstance(name, str) and name.isidentifier() and len(name) <= limits.name)
    ]
    found += [
        Mistake(f"inputs.{name}", f"{shown(name)} is a variable too", "give every name once")
        for name in inputs
        if name in variables
    ]
    every = {**variables, **inputs}
    names: dict[str, int] = {}
    terms = data.get("terms")
    for k, term in enumerate(terms if isinstance(terms, (list, tuple)) else ()):
        scope, name = _part(term, "scope"), _part(term, "name")
        if isinstance(name, str) and names.setdefault(name, k) != k:
            found.append(
                Mistake(
                    f"terms[{k}].name",
                    f"{shown(name)} is the name of terms[{names[name]}]",
                    "give every term its own name",
                )
            )
        for j, view in enumerate(scope if isinstance(scope, (list, tuple)) else ()):
            if isinstance(view, str) and len(view) <= limits.name:
                try:
                    _check_scope(view, every)
                except BadQuery as error:
                    found += error.under(f"terms[{k}].scope[{j}]").mistakes
    return found + _evidence_mistakes(data.get("evidence"), every)


def _check_scope(view: str, every: Mapping[str, Any]) -> None:
    name, index = parse_view(view)
    if name not in every:
        raise BadQuery(Mistake("", f"{shown(name)} is no variable", known(name, every)))
    shape = _shape_of(every[name])
    if shape is not None:
        check_view(index, shape)


def _shape_of(spec: Any) -> tuple[int, ...] | None:
    """The shape of a variable or an input; None where it is none."""
    shape = _part(spec, "shape") or ()
    if isinstance(shape, (list, tuple)) and all(type(n) is int and n >= 0 for n in shape):
        return tuple(shape)
    return None


def _evidence_mistakes(evidence: Any, every: Mapping[str, Any]) -> list[Mistake]:
    """Names that are nobody's, and arrays of another shape."""
    single = isinstance(evidence, Mapping)
    rows = [evidence] if single else evidence if isinstance(evidence, (list, tuple)) else []
    many = not single and len(rows) > 1
    found = []
    for k, row in enumerate(rows):
        for name, value in row.items() if isinstance(row, Mapping) else ():
            path = f"evidence[{k}].{name}" if many else f"evidence.{name}"
            if name not in every:
                found.append(Mistake(path, f"{shown(name)} is no variable", known(name, every)))
                continue
            shape = _shape_of(every[name])
            if isinstance(value, EvidenceArray) and shape is not None and value.shape != shape:
                found.append(
                    Mistake(path, f"an array of shape {[*value.shape]}", f"give {[*shape]}")
                )
    return found


def _part(value: Any, name: str) -> Any:
    """A field of a part that may be a mapping or a model already."""
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _gathered(found: list[Mistake], large: list[Mistake], limits: Limits) -> BadQuery:
    """One error of all mistakes; TooLarge when limits are all that is wrong."""
    every = Mistakes(limits.mistakes)
    every.take(*found, *large)
    return (BadQuery if found else TooLarge)(*every.told())


def _fields_at(place: tuple[int | str, ...]) -> list[str]:
    """The fields that may stand at a place of a query."""
    named = "named" in place[2:3]
    models: dict[Any, list[type[Spec]]] = {
        "terms": [TermSpec],
        "budget": [Budget],
        "variables": [FiniteSpec] if "finite" in place[2:3] else [RealSpec, FiniteSpec],
        "inputs": [NamedInputSpec] if named else [NumberInputSpec, NamedInputSpec],
    }
    inside = models.get(place[0], [Query]) if len(place) > 1 else [Query]
    return [name for model in inside for name in model.model_fields]
