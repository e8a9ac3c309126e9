"""The formats of instances, found in this package: to add one, add a file that holds it."""

import importlib
import pkgutil
from collections.abc import Callable
from functools import lru_cache
from inspect import isabstract
from typing import Any

from engine.errors import BadQuery, Mistake, known
from modules.shared.reading.texts import as_text, bare_name, read_bytes
from services.formats.base import Asked, Format


@lru_cache
def formats() -> tuple[Format, ...]:
    """One of each format, by name."""
    found: dict[str, Format] = {}
    for module in pkgutil.iter_modules(__path__):
        held = importlib.import_module(f"{__name__}.{module.name}")
        for entry in vars(held).values():
            if isinstance(entry, type) and issubclass(entry, Format) and not isabstract(entry):
                found[entry.name] = entry()
    return tuple(found[name] for name in sorted(found))


def format_of(source: str, text: str, asked: str | None = None) -> Format:
    """The format asked for by name, else the one its file name tells, else what the text says."""
    every = {format.name: format for format in formats()}
    if asked is not None:
        if asked not in every:
            raise BadQuery(Mistake("--format", f"{asked!r} is unknown", known(asked, every)))
        return every[asked]
    name = bare_name(source).lower()
    by_name = [format for format in every.values() if name.endswith(format.suffixes)]
    by_text = (format for format in every.values() if format.sniff(text))
    chosen = by_name[0] if by_name else next(by_text, None)
    if chosen is None:
        raise BadQuery(
            Mistake("", "is in no known format", f"say --format; known: {', '.join(every)}")
        )
    return chosen


def _format_of_raw(source: str, raw: bytes, asked: str | None) -> Format:
    """The format of what a file holds: of pictures by what they show, else as `format_of`."""
    if asked is None:
        for format in formats():
            if format.sniff_raw(raw):
                return format
    return format_of(source, "" if asked is not None else as_text(raw), asked)


def read(
    source: str,
    asked: str | None = None,
    given: Any = None,
    diagnose: Callable[[Any], list[Mistake]] | None = None,
) -> list[Asked]:
    """The queries of a file, or of standard input (`-`). Raises BadQuery with every mistake.

    `diagnose` looks at a query that is refused part by part, so that all is told at once.
    """
    if asked is not None:
        format_of(source, "", asked)  # a wrong name is told before anything is opened
    raw = read_bytes(source)
    chosen = _format_of_raw(source, raw, asked)
    try:
        return chosen.read_raw(raw, source, given)
    except BadQuery as error:
        text = None if diagnose is None else _text_of(raw)
        data = None if text is None else chosen.plain(text)
        if diagnose is None or data is None:
            raise
        every = [*error.mistakes, *diagnose(data)]
        told: dict[tuple[str, str], Mistake] = {}
        for mistake in every:
            told.setdefault((mistake.path, mistake.problem), mistake)
        raise type(error)(*told.values()) from None


def _text_of(raw: bytes) -> str | None:
    try:
        return as_text(raw)
    except BadQuery:
        return None


__all__ = ["Asked", "Format", "format_of", "formats", "read"]
