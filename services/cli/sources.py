"""Where settings come from: flags before the environment, the environment before a file, a file
before the defaults.

Each source is checked by itself, so that a mistake is told under the name it was given by, also
where another source would have counted more.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource

from engine.errors import BadQuery, Mistake, Mistakes, shown
from modules.shared.reading.texts import read_text
from services.query.document import parse_document, parse_json
from services.query.mistakes import from_pydantic
from services.settings import HostSettings, ServerSettings, Settings

PREFIX = "BASIN_"
OTHERS = ("BASIN_DATA", "BASIN_FUZZ", "BASIN_BENCH_WORK")  # of tests and benchmarks
S = TypeVar("S", bound=Settings)


class Given(NamedTuple):
    """One value that was given."""

    spelled: str  # as its source names it, such as `--listen` or `BASIN_LIMITS__ROWS`
    name: str  # such as `limits.rows`; "" for all settings at once
    value: Any


@dataclass(frozen=True)
class Source:
    """The values of one source. texts: all are texts, whatever they mean. mistakes: what could not
    be read at all."""

    given: Sequence[Given]
    texts: bool = False
    mistakes: Sequence[Mistake] = ()

    def layer(self, kind: type[S]) -> dict[str, Any]:
        """What it says of the settings of a kind, by name. Raises BadQuery with every mistake."""
        values, mistakes = [], [*self.mistakes]
        for one in self.given:
            try:
                values.append(one._replace(value=self._value(one, kind)))
            except BadQuery:
                said = f"{shown(one.value)} is no JSON"
                mistakes.append(Mistake(one.spelled, said, "write a list as [...], names as {...}"))
        try:
            checked = kind.model_validate(_nested(values), strict=not self.texts)
        except ValidationError as error:
            found, large = from_pydantic(error, lambda place: _fields_at(kind, place))
            mistakes += [
                Mistake(self._spelled(m.path), m.problem, m.remedy) for m in (*found, *large)
            ]
        if mistakes:
            raise BadQuery(*mistakes)
        return checked.model_dump(exclude_unset=True)

    def _value(self, one: Given, kind: type[Settings]) -> Any:
        """What a text stands for: lists and mappings are written as JSON."""
        field = fields_of(kind).get(one.name)
        if not self.texts or field is None or isinstance(_default(field), (str, int, float)):
            return one.value
        if str in get_args(field.annotation):  # a text or nothing
            return one.value
        return parse_json(one.value)

    def names(self, path: str) -> str | None:
        """A setting it gives, or what stands in one, in its own words; None: it gives no such."""
        for one in self.given:
            inside = path if not one.name else path.removeprefix(one.name).removeprefix(".")
            if _begins(path, one.name) and _stands(inside, one.value):
                return self._spelled(path)
        return None

    def _spelled(self, path: str) -> str:
        """The path of a mistake in the words of the source."""
        for one in sorted(self.given, key=lambda one: -len(one.name)):
            if not one.name:
                return f"{one.spelled}: {path}" if path else one.spelled
            if _begins(path, one.name):
                return one.spelled + path.removeprefix(one.name)
        return next((one.spelled for one in self.given if one.name.startswith(f"{path}.")), path)


def settings_of(
    kind: type[S],
    flags: Sequence[Given] = (),
    pairs: Sequence[str] = (),
    config: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    wrong: Sequence[Mistake] = (),
) -> S:
    """The settings of a process, as `settings_from` reads them off `sources_of`."""
    return settings_from(kind, sources_of(kind, flags, pairs, config, environment), wrong)


def sources_of(
    kind: type[Settings],
    flags: Sequence[Given] = (),
    pairs: Sequence[str] = (),
    config: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> tuple[Source, ...]:
    """All sources of the settings of a process, the first of which counts most; pairs: NAME=VALUE
    of `--set`."""
    return (
        Source([one for one in flags if one.value is not None]),
        _pairs(pairs),
        Source(list(_environment(kind, environment)), texts=True),
        _document(config),
    )


def settings_from(kind: type[S], sources: Sequence[Source], wrong: Sequence[Mistake] = ()) -> S:
    """The settings that sources give; wrong: mistakes of flags that were found before. Raises
    BadQuery with every mistake of every source."""
    mistakes = Mistakes()
    mistakes.take(*wrong)
    layers: list[dict[str, Any]] = []
    for source in sources:
        try:
            layers.append(source.layer(kind))
        except BadQuery as error:
            mistakes.take(*error.mistakes)
    mistakes.check()
    return _layered(kind, layers)


def spelled(error: BadQuery, sources: Sequence[Source]) -> BadQuery:
    """Mistakes that came to light once settings were used, under the names these were given by."""

    def renamed(mistake: Mistake) -> Mistake:
        named = (source.names(mistake.path) for source in sources)
        path = next((name for name in named if name is not None), mistake.path)
        return replace(mistake, path=path)

    return type(error)(*map(renamed, error.mistakes))


def fields_of(kind: type[Settings], prefix: str = "") -> dict[str, FieldInfo]:
    """Every single setting of a kind by its whole name, such as `limits.rows`."""
    found: dict[str, FieldInfo] = {}
    for name, field in kind.model_fields.items():
        group = _group(field)
        found |= {prefix + name: field} if group is None else fields_of(group, f"{prefix}{name}.")
    return found


def _layered(kind: type[S], layers: Sequence[dict[str, Any]]) -> S:
    """The settings of checked layers, the first of which counts most."""

    class Read(BaseSettings, kind):  # type: ignore[misc, valid-type]
        """The settings, with layers for their sources."""

        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], **_: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return tuple(InitSettingsSource(settings_cls, layer) for layer in layers)

    return kind(**dict(Read()))


def _group(field: FieldInfo) -> type[Settings] | None:
    """The settings that stand under a name; None for a single one."""
    one = field.annotation
    return one if isinstance(one, type) and issubclass(one, Settings) else None


def _default(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True)


def _fields_at(kind: type[Settings], place: tuple[int | str, ...]) -> list[str]:
    """The names that may stand at a place."""
    for step in place[:-1]:
        field = kind.model_fields.get(str(step))
        kind = (field and _group(field)) or kind
    return list(kind.model_fields)


def _begins(path: str, name: str) -> bool:
    """Whether a path leads to a name or into what it holds; anything does to no name."""
    return not name or path == name or path.startswith((f"{name}.", f"{name}["))


def _stands(path: str, value: Any) -> bool:
    """Whether a value says something at a path."""
    return not (path and isinstance(value, Mapping)) or any(_begins(path, k) for k in value)


def _nested(values: Sequence[Given]) -> Any:
    """`limits.rows` -> {"limits": {"rows": ...}}; the last value of a name counts."""
    whole: dict[str, Any] = {}
    for _, name, value in values:
        if not name:
            return value
        *above, last = name.split(".")
        inside = whole
        for step in above:
            if not isinstance(inside.get(step), dict):
                inside[step] = {}
            inside = inside[step]
        inside[last] = value
    return whole


def _pairs(pairs: Sequence[str]) -> Source:
    """What `--set` gives."""
    found, wrong = [], []
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if name and equals:
            found.append(Given(f"--set {name}", name, value))
        else:
            remedy = "write NAME=VALUE, such as limits.rows=1000"
            wrong.append(Mistake("--set", f"{shown(pair)} is no name with a value", remedy))
    return Source(found, True, wrong)


def _environment(kind: type[Settings], environment: Mapping[str, str]) -> Iterator[Given]:
    """What the environment gives; it may name settings of the other command, which has its own."""
    every = ServerSettings.model_fields.keys() | HostSettings.model_fields.keys()
    for spelled, value in environment.items():
        name = spelled.removeprefix(PREFIX).lower().replace("__", ".")
        if not spelled.startswith(PREFIX) or spelled in OTHERS:
            continue
        if (first := name.partition(".")[0]) in kind.model_fields or first not in every:
            yield Given(spelled, name, value)


def _document(config: Path | None) -> Source:
    """What a settings file gives."""
    if config is None:
        return Source(())
    try:
        data = parse_document(read_text(str(config)), config.name)
    except BadQuery as error:
        every = error.mistakes
    else:
        if isinstance(data, dict):
            return Source([Given(str(config), "", data)])
        every = (Mistake("line 1", "is no mapping", "write listen: HOST:PORT and so on"),)
    return Source(
        (),
        mistakes=[
            Mistake(f"{config}: {m.path}" if m.path else str(config), m.problem, m.remedy)
            for m in every
        ],
    )
