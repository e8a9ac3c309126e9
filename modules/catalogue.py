"""Kinds of energy by name: found in packages, in entry points, and where a user points.

The listing is the catalogue: whatever stands in a field of a package under a name without a
leading `_` is a kind, and defines exactly one concrete Term. It is a file, or a folder with a
`term.py` and whatever else it needs. Its name says where it was found:

    modules/<field>/<name>.py of a package              field.name
    modules/<field>/<name>/term.py of a package         field.name
    entry point NAME -> a module                        NAME
    entry point NAME -> a package                       NAME.<kind>, for each kind in it
    entry point NAME -> module:Class                    NAME
    `module:Class` of an importable module              module.Class
    `FILE.py`, or `FILE.py:Class`                       the stem of the file, or stem.Class

Entry points stand in the group `basin.modules`. The last two are named by the user who starts a
process (`basin check FILE.py`, `basin ask --module FILE.py`), never by a query.
"""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import pkgutil
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from pydantic import BaseModel

from engine.domain import Input, Variable, View
from engine.energy import Term
from engine.errors import BadQuery, Mistake, ModuleFault, UnknownKind, join, known, shown
from modules.parameters import Entry, Signature, concrete_terms, parameters, signature, validated
from modules.shared.files import Confine, names_files
from modules.shared.weights import confined


def kind_name(kind: str) -> str:
    """The name a catalogue gives a kind: `module:Class` is `module.Class`, FILE.py its stem."""
    path, _, name = kind.rpartition(":") if not kind.endswith(".py") else (kind, "", "")
    stem = os.path.basename(path)[:-3] if path.endswith(".py") else path
    return ".".join(part for part in (stem, name) if part)


class AnyKind(Protocol):
    """A kind of term, in this process or hosted by another."""

    @property
    def name(self) -> str:
        """What queries call it."""

    @property
    def about(self) -> str:
        """In one line, what it is."""

    @property
    def required_by_default(self) -> bool:
        """Whether a term of this kind is a constraint unless the query says otherwise."""

    @property
    def calibrated(self) -> bool:
        """Whether its energy is in nats."""

    @property
    def schema(self) -> dict[str, Any]:
        """The parameters as JSON Schema."""

    def build(self, scope: Sequence[Variable | View], params: Mapping[str, Any]) -> Term:
        """A term of this kind over a scope.

        Raises BadQuery with every mistake; paths begin with `params` or `scope`.
        """

    def check(self, params: Mapping[str, Any]) -> None:
        """Whether parameters make sense, whatever the scope. Raises BadQuery under `params`."""

    def files(self, params: Mapping[str, Any]) -> tuple[Path, ...]:
        """The files that such parameters name, in this process."""


class Kinds(Protocol):
    """A source of kinds."""

    def kind(self, name: str) -> AnyKind:
        """The kind of this name. Raises UnknownKind with a near miss."""

    def kinds(self) -> Sequence[AnyKind]:
        """Every kind that can be used now, by name."""

    def names(self) -> list[str]:
        """The names of all kinds."""


GROUP = "basin.modules"  # of entry points


SHARED = "shared"  # the folder of a package that holds no kinds


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
        self._check_scope(scope)
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

    def files(self, params: Mapping[str, Any]) -> tuple[Path, ...]:
        """The files that such parameters name, for whoever keeps what was made of them. Raises
        BadQuery as `validated`."""
        if not names_files(self.Parameters):
            return ()
        beside = self.term.shipped or Path(inspect.getfile(self.term)).parent
        found: list[Path] = []
        for text in _texts(self.validated(params)):
            with contextlib.suppress(OSError, ValueError):  # a text that no file can be called
                found += [path for path in (Path(text), beside / text) if path.is_file()]
        return tuple(found)

    @property
    def _confine(self) -> Confine | None:
        """What a name of a file may mean for a caller elsewhere."""
        if self.weights is None:
            return None
        folder, beside = self.weights, self.term.shipped or Path(inspect.getfile(self.term)).parent
        return lambda name: confined(name, folder, beside)

    @cached_property
    def _signature(self) -> Signature:
        """What its term takes."""
        return signature(self.term)

    def _check_scope(self, scope: Sequence[Variable | View]) -> None:
        """As many scope entries as the term takes, inputs where it asks for inputs."""
        entries, more, _ = self._signature
        asked = ", ".join(_described(entry) for entry in entries) or "nothing"
        if len(scope) < len(entries) or (len(scope) > len(entries) and more is None):
            raise BadQuery(Mistake("scope", f"has {len(scope)} entries", f"name {asked}, in order"))
        wrong = []
        for place, view in enumerate(scope):
            entry = entries[place] if place < len(entries) else more
            variable = view.variable if isinstance(view, View) else view
            told = isinstance(variable, Input)
            if entry is not None and entry.takes is not None and told != (entry.takes is Input):
                has, wants = ("an input", "a variable") if told else ("a variable", "an input")
                said = f"{variable.name!r} is {has}, and {entry.name} asks for {wants}"
                remedy = f"name {asked}, in order" if entries else f"name {wants}"
                wrong.append(Mistake(f"scope[{place}]", said, remedy))
        if wrong:
            raise BadQuery(*wrong)


@dataclass(frozen=True, eq=False)
class Catalogue:
    """All kinds that can be named: an object that is passed around, with nothing global.

    packages: names of packages with one folder a field; a folder `shared` holds none. entry_points:
    also what installed distributions offer. also: `module:Class`, `FILE.py` or `FILE.py:Class`.
    groups: only kinds of these fields (None: all). weights: the folder that
    files named by parameters must lie in, for callers elsewhere (None: any folder). hint: how
    whoever asks for an unknown kind may bring one.

    A kind is imported when it is asked for. What cannot be loaded stands in `failures`, by name,
    and leaves the others alone.
    """

    packages: tuple[str, ...] = ("modules",)
    entry_points: bool = True
    also: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None
    weights: Path | None = None
    hint: str = ""
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
        remedy = "; ".join(filter(None, (known(name, self.names()), self.hint)))
        raise UnknownKind(Mistake("kind", f"{shown(name)} is unknown", remedy))

    def spoken(self, spec: str) -> Kind:
        """The kind that one of `also` names. Raises BadQuery where it cannot be loaded."""
        name = kind_name(spec)
        kind = self._load(name, self._sources[name])
        if kind is None:
            why = f"could not be loaded: {self.failures[name]}"
            raise BadQuery(Mistake(spec, why, "mend it, or the name"))
        return kind

    def kinds(self) -> list[Kind]:
        """Every kind that can be loaded, by name; all of them are imported."""
        found = (self._load(name, source) for name, source in self._sources.items())
        return sorted((kind for kind in found if kind is not None), key=lambda kind: kind.name)

    def names(self) -> list[str]:
        """The names of all kinds that are listed; nothing is imported."""
        return sorted(self._sources)

    def __iter__(self) -> Iterator[Kind]:
        return iter(self.kinds())

    @cached_property
    def _sources(self) -> dict[str, Callable[[], type[Term]]]:
        """How to load what may be a kind, by name; the first to claim a name keeps it."""
        sources: dict[str, Callable[[], type[Term]]] = {}
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

    def _load(self, name: str, source: Callable[[], type[Term]]) -> Kind | None:
        with self._loading:  # who asks meanwhile waits, but for a file that asks for its own kind
            if name not in self._kinds:
                self._kinds[name] = None
                # the door to other people's code: whatever it raises is told under its name
                try:
                    term = source()
                    self._kinds[name] = Kind(name, term, parameters(term), self.weights)
                except KeyboardInterrupt:
                    raise
                except BaseException as error:  # SystemExit too
                    self.failures[name] = f"{type(error).__name__}: {error}{_line_of(error)}"
            return self._kinds[name]

    def _package(self, package: str) -> list[tuple[str, Callable[[], type[Term]]]]:
        """The kinds in the fields of a package."""
        return [
            found
            for field, is_folder in self._inside(package, package)
            if is_folder and field != SHARED
            for found in self._field(field, f"{package}.{field}")
        ]

    def _field(self, label: str, path: str) -> list[tuple[str, Callable[[], type[Term]]]]:
        """The kinds of one field."""
        return [
            (
                f"{label}.{name}",
                _of_module(f"{path}.{name}.term" if is_folder else f"{path}.{name}"),
            )
            for name, is_folder in self._inside(label, path)
        ]

    def _offered(
        self, entry: importlib.metadata.EntryPoint
    ) -> list[tuple[str, Callable[[], type[Term]]]]:
        """What an entry point offers: one kind, or a package of them."""
        if entry.attr:
            return [(entry.name, _of_class(entry.module, entry.attr))]
        found = self._field(entry.name, entry.module)
        if entry.name in self.failures or _is_package(entry.module):
            return found
        return [(entry.name, _of_module(entry.module))]

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


def _line_of(error: BaseException) -> str:
    """Where an exception began, in brackets; a mistake of syntax says so itself."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) or not frames or frames[-1].filename == __file__:
        return ""
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"


def _described(entry: Entry) -> str:
    """A scope entry, with what it must be where that is an input."""
    return f"{entry.name} (an input)" if entry.takes is Input else entry.name


def _texts(value: Any) -> Iterator[str]:
    """Every text in plain data, and in paths."""
    if isinstance(value, (str, Path)):
        yield str(value)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, BaseModel):
        yield from _texts(dict(value))


def _only(module: ModuleType) -> type[Term]:
    """The one concrete term of a module. Raises TypeError."""
    terms = concrete_terms(module)
    if len(terms) > 1:
        names = ", ".join(term.__name__ for term in terms)
        raise TypeError(f"{module.__name__} defines {names}: give each concrete term its own file")
    if not terms:
        raise TypeError(
            f"{module.__name__} defines no concrete Term: write a class with `energy`, "
            "or, where it only helps, begin its name with _"
        )
    return terms[0]


def _of_module(path: str) -> Callable[[], type[Term]]:
    return lambda: _only(importlib.import_module(path))


def _of_class(path: str, name: str) -> Callable[[], type[Term]]:
    return lambda: _named(importlib.import_module(path), name)


def _named(module: ModuleType, name: str) -> type[Term]:
    """A term of a module, by the name of its class."""
    term = getattr(module, name, None)
    if not inspect.isclass(term) or not issubclass(term, Term):
        terms = [t.__name__ for t in concrete_terms(module)]
        raise TypeError(f"{module.__name__} has no term {name}; {known(name, terms)}")
    if inspect.isabstract(term):
        left = ", ".join(sorted(term.__abstractmethods__))
        raise TypeError(f"{name} is abstract: write {left}")
    return term


def _spoken(spec: str) -> tuple[str, Callable[[], type[Term]]]:
    """The name and the source of `module:Class`, `FILE.py` or `FILE.py:Class`."""
    path, _, name = spec.rpartition(":") if re.search(r":\w+$", spec) else (spec, "", "")
    if not path.endswith(".py"):
        return f"{path}.{name}", _of_class(path, name)
    stem = Path(path).stem
    if name:
        return f"{stem}.{name}", lambda: _named(_file(path), name)
    return stem, lambda: _only(_file(path))


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
