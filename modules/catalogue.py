"""Kinds of energy by name: found in packages, in entry points, and where a user points.

A kind is a file that defines exactly one concrete Term. Its name says where it was found:

    modules/<group>/<name>.py of a package              group.name
    entry point NAME -> a module                        NAME
    entry point NAME -> a package                       NAME.<file stem>, for each kind in it
    entry point NAME -> module:Class                    NAME
    `module:Class` of an importable module              module.Class
    `FILE.py`, or `FILE.py:Class`                       the stem of the file, or stem.Class

Entry points stand in the group `basin.modules`. The last two are named by the user who starts a
process (`basin check`, `basin host`), never by a query.
"""

import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import ErrorDetails

from engine.domain import Variable, View
from engine.energy import Term
from engine.errors import BadQuery, Mistake, ModuleFault, UnknownKind, join, known
from modules.files import FILE, Confine, loose_files
from modules.weights import confined

GROUP = "basin.modules"  # of entry points
SHOWN = 80  # characters of a value in a mistake
MISTAKES = 100  # told at once


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind of energy: a Term class, and the model of its parameters."""

    name: str
    term: type[Term]
    Parameters: type[BaseModel]
    weights: Path | None = None  # the folder that parameters which are files may name; None: any

    @property
    def about(self) -> str:
        """The first line of the docstring of the class."""
        said = inspect.cleandoc(self.term.__doc__ or "").split("\n")[0]
        return said or self.name

    @property
    def required_by_default(self) -> bool:
        """Whether a term of this kind is a constraint unless the query says otherwise."""
        return self.term.required_by_default

    @property
    def calibrated(self) -> bool:
        """Whether its energy is in nats."""
        return self.term.calibrated

    @property
    def schema(self) -> dict[str, Any]:
        """The parameters as JSON Schema."""
        return self.Parameters.model_json_schema()

    def build(self, scope: Sequence[Variable | View], params: Mapping[str, Any]) -> Term:
        """A term of this kind over a scope.

        Raises BadQuery with every mistake; paths begin with `params` or `scope`.
        """
        fields = self.validated(params)
        self._check_scope(len(scope))
        try:
            return self.term(*scope, **fields)
        except BadQuery as error:
            raise BadQuery(
                *(
                    m
                    if re.match(r"scope\b", m.path)
                    else Mistake(join("params", m.path), m.problem, m.remedy)
                    for m in error.mistakes
                )
            ) from None

    def check(self, params: Mapping[str, Any]) -> None:
        """Whether parameters make sense, whatever the scope. Raises BadQuery under `params`."""
        self.validated(params)

    def validated(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters, checked and complete with defaults. Raises BadQuery under `params`."""
        return validated(self.Parameters, params, self.name, self._confine)

    @property
    def _confine(self) -> Confine | None:
        """What a name of a file may mean for a caller elsewhere."""
        if self.weights is None:
            return None
        folder, beside = self.weights, Path(inspect.getfile(self.term)).parent
        return lambda name: confined(name, folder, beside)

    @cached_property
    def _scope(self) -> tuple[list[str], bool]:
        """Names of the scope entries, and whether there may be more of them."""
        entries, many, _ = _signature(self.term)
        return entries, many

    def _check_scope(self, count: int) -> None:
        """The number of scope entries that the term takes."""
        entries, many = self._scope
        if count < len(entries) or (count > len(entries) and not many):
            asked = ", ".join(entries) or "nothing"
            raise BadQuery(Mistake("scope", f"has {count} entries", f"name {asked}, in order"))


@dataclass(frozen=True, eq=False)
class Catalogue:
    """All kinds that can be named: an object that is passed around, with nothing global.

    packages: names of packages with one folder a group and one file a kind. entry_points: also
    what installed distributions offer. also: `module:Class`, `FILE.py` or `FILE.py:Class`.
    groups: only kinds whose name begins with one of these (None: all). weights: the folder that
    files named by parameters must lie in, for callers elsewhere (None: any folder).

    A kind is imported when it is asked for. What cannot be loaded stands in `failures`, by name,
    and leaves the others alone.
    """

    packages: tuple[str, ...] = ("modules",)
    entry_points: bool = True
    also: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None
    weights: Path | None = None
    failures: dict[str, str] = field(default_factory=dict, init=False)  # why, by name
    _kinds: dict[str, Kind | None] = field(default_factory=dict, init=False, repr=False)
    _loading: Any = field(default_factory=threading.RLock, init=False, repr=False)

    def __post_init__(self) -> None:
        for spec in self.also:
            if re.fullmatch(r"(.+\.py)(:\w+)?|[\w.]+:\w+", spec) is None:
                raise BadQuery(
                    Mistake("", f"{spec!r} names no term", "write module:Class, or a FILE.py")
                )

    def kind(self, name: str) -> Kind:
        """The kind of this name; only its own file is imported.

        Raises UnknownKind with a near miss, or ModuleFault where it cannot be loaded.
        """
        source = self._sources.get(name) if isinstance(name, str) else None
        kind = self._load(name, source) if source else None
        if kind is not None:
            return kind
        if name in self.failures:
            raise ModuleFault(name, self.failures[name])
        for failed, why in self.failures.items():
            if str(name).startswith(f"{failed}."):
                raise ModuleFault(failed, why)
        raise UnknownKind(Mistake("kind", f"{_shown(name)} is unknown", known(name, self.names())))

    def kinds(self) -> list[Kind]:
        """Every kind that can be loaded, by name; all of them are imported."""
        found = (self._load(name, source) for name, source in self._sources.items())
        return sorted((kind for kind in found if kind is not None), key=lambda kind: kind.name)

    def names(self) -> list[str]:
        """The names of all kinds that can be loaded."""
        return [kind.name for kind in self.kinds()]

    def __iter__(self) -> Iterator[Kind]:
        return iter(self.kinds())

    @cached_property
    def _sources(self) -> dict[str, Callable[[], type[Term] | None]]:
        """How to load what may be a kind, by name; the first to claim a name keeps it."""
        sources: dict[str, Callable[[], type[Term] | None]] = {}
        for spec in self.also:
            sources.setdefault(*_spoken(spec))
        offered = [self._package(package) for package in self.packages]
        if self.entry_points:
            offered += [self._offered(e) for e in importlib.metadata.entry_points(group=GROUP)]
        for found in offered:
            for name, source in found:
                if self.groups is None or name.split(".")[0] in self.groups:
                    sources.setdefault(name, source)
        return sources

    def _load(self, name: str, source: Callable[[], type[Term] | None]) -> Kind | None:
        with self._loading:  # who asks meanwhile waits, but for a file that asks for its own kind
            if name not in self._kinds:
                self._kinds[name] = None
                # the door to other people's code: whatever it raises is told under its name
                try:
                    term = source()
                    found = (
                        None if term is None else Kind(name, term, parameters(term), self.weights)
                    )
                    self._kinds[name] = found
                except Exception as error:
                    self.failures[name] = f"{type(error).__name__}: {error}"
            return self._kinds[name]

    def _package(self, package: str) -> list[tuple[str, Callable[[], type[Term] | None]]]:
        """The files of the groups of a package."""
        found = []
        for group, is_group in self._inside(package, package):
            if is_group:
                path = f"{package}.{group}"
                for name, deeper in self._inside(path, path):
                    if not deeper:
                        found.append((f"{group}.{name}", _of_module(f"{path}.{name}")))
        return found

    def _offered(
        self, entry: importlib.metadata.EntryPoint
    ) -> list[tuple[str, Callable[[], type[Term] | None]]]:
        """What an entry point offers: one kind, or a package of them."""
        if entry.attr:
            return [(entry.name, _of_class(entry.module, entry.attr))]
        inside = self._inside(entry.name, entry.module)
        if inside is None or not _is_package(entry.module):
            return [] if entry.name in self.failures else [(entry.name, _of_module(entry.module))]
        return [
            (f"{entry.name}.{name}", _of_module(f"{entry.module}.{name}"))
            for name, deeper in inside
            if not deeper
        ]

    def _inside(self, label: str, package: str) -> list[tuple[str, bool]]:
        """The modules of a package, and whether each is a package; nothing is imported but the
        packages around it."""
        try:
            spec = importlib.util.find_spec(package)
        except Exception as error:  # a package around it may be anybody's
            self.failures[label] = f"{type(error).__name__}: {error}"
            return []
        if spec is None:
            self.failures[label] = f"there is no package {package}"
            return []
        folders = spec.submodule_search_locations or []
        return [
            (info.name, info.ispkg)
            for info in pkgutil.iter_modules(folders)
            if not info.name.startswith("_")
        ]


def validated(
    model: type[BaseModel], params: Mapping[str, Any], owner: str, confine: Confine | None = None
) -> dict[str, Any]:
    """Parameters checked against a model, complete with defaults; what `confine` makes of the names
    of files in them. BadQuery under `params`."""
    if not isinstance(params, Mapping):
        raise BadQuery(Mistake("params", f"{_shown(params)} is no mapping", "write name: value"))
    names = _names(model)
    mistakes = [
        Mistake(
            f"params.{name}",
            f"unknown field, with the value {_shown(value)}",
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
        details = error.errors(include_url=False)[:MISTAKES]
        raise BadQuery(*mistakes, *(_mistake(detail) for detail in details)) from None
    if mistakes:
        raise BadQuery(*mistakes)
    return {name: getattr(read, name) for name in model.model_fields}


def parameters(term: type[Term]) -> type[BaseModel]:
    """The parameter model of a term: the class `Parameters` of its file if that holds no other
    term, else a model of the parameters of its `__init__`, without those of the scope: `*args`,
    and what is annotated Variable or View. Raises TypeError where it names a file that callers
    elsewhere are not kept from."""
    model = _model(term)
    if loose := loose_files(model):
        raise TypeError(
            f"{', '.join(loose)} of {term.__name__} names a file: "
            "annotate it as modules.files.File, or Annotated[Path, Confined()]"
        )
    return model


def _model(term: type[Term]) -> type[BaseModel]:
    module = sys.modules[term.__module__]
    written = getattr(module, "Parameters", None)
    if inspect.isclass(written) and issubclass(written, BaseModel) and _concrete(module) == [term]:
        return written
    _, _, rest = _signature(term)
    fields: dict[str, Any] = {
        p.name: (
            Any if p.annotation is p.empty else p.annotation,
            ... if p.default is p.empty else p.default,
        )
        for p in rest
    }
    config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)
    return create_model("Parameters", __config__=config, **fields)


def _signature(term: type[Term]) -> tuple[list[str], bool, list[inspect.Parameter]]:
    """Names of the scope entries, whether there may be more of them, and all other parameters."""
    entries, many, rest = [], False, []
    # the class itself would do, but torch's metaclass hides what `__init__` takes
    for p in list(inspect.signature(term.__init__, eval_str=True).parameters.values())[1:]:
        if p.kind is p.VAR_POSITIONAL:
            many = True
        elif p.kind is p.VAR_KEYWORD:
            raise TypeError(f"{term.__name__}.__init__ takes **{p.name}: name every parameter")
        elif p.annotation in (Variable, View, Variable | View, View | Variable):
            entries.append(p.name)
        elif p.annotation is p.empty and p.default is p.empty:
            raise TypeError(
                f"{term.__name__}.__init__ takes {p.name} without a type: annotate {p.name} as "
                "Variable where it is of the scope, else with the type of its values"
            )
        else:
            rest.append(p)
    return entries, many, rest


def _concrete(module: ModuleType) -> list[type[Term]]:
    """The terms that a module defines itself and that nothing is left open in."""
    return [
        member
        for member in vars(module).values()
        if inspect.isclass(member)
        and issubclass(member, Term)
        and member.__module__ == module.__name__
        and not inspect.isabstract(member)
    ]


def _only(module: ModuleType) -> type[Term] | None:
    """The one concrete term of a module; None where it has none."""
    terms = _concrete(module)
    if len(terms) > 1:
        names = ", ".join(term.__name__ for term in terms)
        raise TypeError(f"{module.__name__} defines {names}: give each concrete term its own file")
    return terms[0] if terms else None


def _of_module(path: str) -> Callable[[], type[Term] | None]:
    return lambda: _only(importlib.import_module(path))


def _of_class(path: str, name: str) -> Callable[[], type[Term] | None]:
    return lambda: _named(importlib.import_module(path), name)


def _named(module: ModuleType, name: str) -> type[Term]:
    """A term of a module, by the name of its class."""
    term = getattr(module, name, None)
    if not inspect.isclass(term) or not issubclass(term, Term):
        terms = [t.__name__ for t in _concrete(module)]
        raise TypeError(f"{module.__name__} has no term {name}; {known(name, terms)}")
    if inspect.isabstract(term):
        left = ", ".join(sorted(term.__abstractmethods__))
        raise TypeError(f"{name} is abstract: write {left}")
    return term


def _spoken(spec: str) -> tuple[str, Callable[[], type[Term] | None]]:
    """The name and the source of `module:Class`, `FILE.py` or `FILE.py:Class`."""
    path, _, name = spec.rpartition(":") if re.search(r":\w+$", spec) else (spec, "", "")
    if not path.endswith(".py"):
        return f"{path}.{name}", _of_class(path, name)
    stem = Path(path).stem
    if name:
        return f"{stem}.{name}", lambda: _named(_file(path), name)
    return stem, lambda: _required(_only(_file(path)), path)


def _required(term: type[Term] | None, path: str) -> type[Term]:
    if term is None:
        raise TypeError(f"{path} defines no concrete Term; write a class with `energy`")
    return term


class _Source(SourceFileLoader):
    """Reads the text each time: bytecode is kept by size and whole seconds, which an edit of a
    moment ago may share."""

    def path_stats(self, path: Any) -> Mapping[str, Any]:
        raise OSError(f"nothing is kept of {path}")


def _file(path: str) -> ModuleType:
    """A file as a module, under a name of its own."""
    where = Path(path).resolve()
    if not where.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    name = f"basin_file_{where.stem}"
    spec = importlib.util.spec_from_file_location(name, where, loader=_Source(name, str(where)))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its classes are looked up by this name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module


def _is_package(path: str) -> bool:
    spec = importlib.util.find_spec(path)
    return spec is not None and spec.submodule_search_locations is not None


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


def _mistake(detail: ErrorDetails) -> Mistake:
    """A complaint of pydantic with its path, the value and a remedy."""
    place, kind, value = detail["loc"], detail["type"], detail["input"]
    context = detail.get("ctx", {})
    path = "params"
    for step in place:
        path = join(path, f"[{step}]" if isinstance(step, int) else step)
    if kind == "missing" and place and isinstance(place[-1], int):  # of a list of known length
        path = path[: path.rindex("[")]
        return Mistake(path, f"{_shown(value)} has {len(value)} entries", "give more")
    if kind == "missing":
        return Mistake(path, "is missing", "give it")
    if kind == "too_long":
        remedy = f"give {context['max_length']}"
        return Mistake(path, f"{_shown(value)} has {context['actual_length']} entries", remedy)
    if kind == "extra_forbidden":
        return Mistake(path, f"unknown field, with the value {_shown(value)}", "leave it out")
    if kind in _WORDS:
        said, remedy = _WORDS[kind]
        return Mistake(path, f"{_shown(value)} {said}", remedy)
    if kind == "literal_error":
        return Mistake(path, f"{_shown(value)} is unknown", f"give {context['expected']}")
    if kind == FILE:
        return Mistake(path, context["problem"], context["remedy"])
    edges = [f"{word} {context[key]:g}" for key, word in _EDGES.items() if key in context]
    if edges:
        return Mistake(
            path, f"{_shown(value)} is out of range", f"give a number {' and '.join(edges)}"
        )
    return Mistake(path, f"{_shown(value)}: {detail['msg']}", "mend this value")


def _names(model: type[BaseModel]) -> set[str]:
    """The names under which a model takes its fields."""
    return {f.alias or name for name, f in model.model_fields.items()}


def _shown(value: Any) -> str:
    """A value short enough to read."""
    text = repr(value[:SHOWN] if isinstance(value, (str, list, tuple)) else value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


__all__ = ["Catalogue", "Kind", "parameters"]
