"""What the parameter models of kinds share: nothing but the declared fields, and never changed."""

import inspect
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Annotated, Any, NamedTuple, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    create_model,
)
from pydantic_core import ErrorDetails

from engine.domain import Input, Variable, View
from engine.energy import Term
from engine.errors import BadQuery, Mistake, known, shown
from modules.shared.files import FILE, Confine, loose_files
from modules.validation import MISTAKES, mistake_of, path_of


def _as_given(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """A checked number; whole ones stay whole, as float64 would round those of 17 digits."""
    checked = check(value)
    return value if type(value) is int else checked


Site = Annotated[StrictInt, Field(ge=0)]  # flat place, row-major, through the whole scope


Value = Annotated[Any, WithJsonSchema({"type": ["number", "string", "boolean"]})]


Number = Annotated[float, Field(strict=True, allow_inf_nan=False), WrapValidator(_as_given)]


Literal = tuple[Site, Value]


SignedLiteral = tuple[Site, Value, StrictBool]


WeighedLiteral = tuple[Site, Value, Number]


WeighedValue = tuple[Site, Number]  # counts times the value of the site


# of kinds whose rules may bind under conditions only (`modules.shared.guards`)
GUARD: Any = Field(
    [],
    description="Literals [site, value]: the rule binds only where all of them hold; none: always.",
)
BOTH_WAYS: Any = Field(
    False,
    description="Where the guard, one literal then, does not hold, the rule must fail.",
)

Literals = list[Literal]


class Strict(BaseModel):
    """A frozen model that refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OverNodes(Strict):
    """The edges of a graph."""

    model_config = ConfigDict(title="Parameters")

    edges: list[tuple[Site, Site]] = Field(
        description="Edges [a, b] between nodes; the sites of the scope are the nodes."
    )


class OverEdges(Strict):
    """The edges of a graph, one a site."""

    model_config = ConfigDict(title="Parameters")

    edges: list[tuple[Site, Site]] = Field(
        description="Edges [a, b] between nodes that are numbers from 0, in either direction; "
        "the sites of the scope are the edges, in this order. The nodes are those that edges or "
        "other parameters name."
    )


def validated(
    model: type[BaseModel], params: Mapping[str, Any], owner: str, confine: Confine | None = None
) -> dict[str, Any]:
    """Parameters checked against a model, complete with defaults; what `confine` makes of the names
    of files in them. BadQuery under `params`."""
    if not isinstance(params, Mapping):
        raise BadQuery(Mistake("params", f"{shown(params)} is no mapping", "write name: value"))
    names = _names(model)
    mistakes = [
        Mistake(
            f"params.{name}",
            f"unknown field, with the value {shown(value)}",
            known(name, names) if names else f"{owner} takes no parameters",
        )
        for name, value in params.items()
        if name not in names
    ]
    try:
        read = model.model_validate(
            {name: value for name, value in params.items() if name in names},
            context=None if confine is None else {FILE: confine},
        )
    except ValidationError as error:
        told = [(_path(detail, params), detail) for detail in error.errors(include_url=False)]
        # of the forms that a value may have, the one it has, where only its contents are wrong
        inner = tuple(path for path, detail in told if not detail["type"].endswith("_type"))
        told = [
            (path, detail)
            for path, detail in told
            if not (detail["type"].endswith("_type") and any(p.startswith(path) for p in inner))
        ]
        raise BadQuery(
            *mistakes,
            *(
                mistake_of(detail, path, _names_at(model, detail["loc"][:-1]), _how_to_give(model))
                for path, detail in told[:MISTAKES]
            ),
        ) from None
    if mistakes:
        raise BadQuery(*mistakes)
    return {name: getattr(read, name) for name in model.model_fields}


def _path(detail: ErrorDetails, params: Any) -> str:
    """Where in the parameters a complaint is, without the names of forms that pydantic tried."""
    steps: list[int | str] = []
    value, missing = params, detail["type"] == "missing"
    for step in detail["loc"]:
        if isinstance(step, str) and not (
            isinstance(value, Mapping) and (step in value or missing)
        ):
            continue
        steps.append(step)
        try:
            value = value[step]
        except (LookupError, TypeError):
            value = None
    return path_of(steps, "params")


def parameters(term: type[Term]) -> type[BaseModel]:
    """The parameter model of a term: the class `Parameters` of its file if that holds no other
    term, else a model of the parameters of its `__init__`, without those of the scope: `*args`,
    and what is annotated Variable, Input or View. Raises TypeError where it names a file that
    callers elsewhere are not kept from."""
    model = _model(term)
    if loose := loose_files(model):
        raise TypeError(
            f"{', '.join(loose)} of {term.__name__} names a file: "
            "annotate it as modules.shared.files.File, or Annotated[Path, Confined()]"
        )
    return model


def _model(term: type[Term]) -> type[BaseModel]:
    module = sys.modules[term.__module__]
    written = getattr(module, "Parameters", None)
    if (
        inspect.isclass(written)
        and issubclass(written, BaseModel)
        and concrete_terms(module) == [term]
    ):
        return written
    rest = signature(term).rest
    fields: dict[str, Any] = {
        p.name: (
            Any if p.annotation is p.empty else p.annotation,
            ... if p.default is p.empty else p.default,
        )
        for p in rest
    }
    config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)
    return create_model("Parameters", __config__=config, **fields)


class Entry(NamedTuple):
    """A scope entry that a term takes."""

    name: str
    takes: type[Variable] | None  # Input: only an input; Variable: only what is asked; None: both


class Signature(NamedTuple):
    """What the `__init__` of a term takes."""

    entries: tuple[Entry, ...]
    more: Entry | None  # what any number of further entries is, where there may be some
    rest: tuple[inspect.Parameter, ...]  # all other parameters


def signature(term: type[Term]) -> Signature:
    """What a term takes. Raises TypeError where that cannot be told."""
    entries: list[Entry] = []
    rest: list[inspect.Parameter] = []
    more = None
    # the class itself would do, but torch's metaclass hides what `__init__` takes
    for p in list(inspect.signature(term.__init__, eval_str=True).parameters.values())[1:]:
        if p.kind is p.VAR_POSITIONAL:
            more = Entry(p.name, _takes(p.annotation))
        elif p.kind is p.VAR_KEYWORD:
            raise TypeError(f"{term.__name__}.__init__ takes **{p.name}: name every parameter")
        elif _of_scope(p.annotation):
            entries.append(Entry(p.name, _takes(p.annotation)))
        elif p.annotation is p.empty and p.default is p.empty:
            raise TypeError(
                f"{term.__name__}.__init__ takes {p.name} without a type: annotate {p.name} as "
                "Variable where it is of the scope, else with the type of its values"
            )
        else:
            rest.append(p)
    return Signature(tuple(entries), more, tuple(rest))


def _of_scope(annotation: Any) -> bool:
    """Whether a parameter is annotated as an entry of the scope."""
    kinds = get_args(annotation) or (annotation,)
    return all(kind in (Variable, Input, View) for kind in kinds)


def _takes(annotation: Any) -> type[Variable] | None:
    """What an entry of the scope must be: `Input` and `Input | View` ask for an input, `Variable`
    and `Variable | View` for what is searched; both, or neither, for whatever comes."""
    kinds = get_args(annotation) or (annotation,)
    told, asked = Input in kinds, Variable in kinds
    if told == asked:
        return None
    return Input if told else Variable


def concrete_terms(module: ModuleType) -> list[type[Term]]:
    """The terms that a module defines itself and that nothing is left open in."""
    return [
        member
        for member in vars(module).values()
        if inspect.isclass(member)
        and issubclass(member, Term)
        and member.__module__ == module.__name__
        and not inspect.isabstract(member)
    ]


def _how_to_give(model: type[BaseModel]) -> dict[str, str]:
    """What to write where a field of a model is missing, by its name."""
    said = {}
    for name, field in model.model_fields.items():
        if field.examples:
            said[name] = f"give it, such as {json.dumps({name: field.examples[0]})}"
        elif field.description:
            said[name] = f"give it: {field.description}"
    return said


def _names_at(model: type[BaseModel], place: Iterable[int | str]) -> set[str]:
    """The names under which the model at a place within another takes its fields; none where it is
    one of several that may stand there."""
    for step in place:
        if step in model.model_fields:
            inside = list(_models_in(model.model_fields[str(step)].annotation))
            if len(inside) != 1:
                return set()
            model = inside[0]
    return _names(model)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _names(model: type[BaseModel]) -> set[str]:
    """The names under which a model takes its fields."""
    return {f.alias or name for name, f in model.model_fields.items()}
