"""Whose code raised: the method of a term that was asked, and the line in which it ended."""

import inspect
import traceback
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from engine.energy.term import Term

HERE = str(Path(__file__).resolve().parent.parent)  # the engine: its defaults are nobody's fault
OTHER_NUMBERS = (
    "a term is handed float32: keep weights in float32, by register_buffer, or say another `dtype`"
)


class Blame(NamedTuple):
    """Where a term raised."""

    term: str  # the name of its class
    method: str
    file: str  # its name, without folders
    line: int
    what: str  # the type of the exception and what it says, on one line

    def __str__(self) -> str:
        return f"{self.method} raised {self.what} ({self.file}, line {self.line})"


def blamed(error: BaseException) -> Blame | None:
    """The method of a term, not of the engine, that was asked when an exception was raised, with
    the innermost line of its class; None: no such method was."""
    found: Blame | None = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        owner = _owner(frame)
        if owner is not None:
            code = frame.f_code
            found = found or Blame(owner, code.co_name, "", 0, said(error))
            found = found._replace(file=Path(code.co_filename).name, line=line)
    return found


def said(error: BaseException) -> str:
    """The type of an exception and what it says, on one line."""
    text = " ".join(str(error).split())
    told = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"{told}; {OTHER_NUMBERS}" if isinstance(error, RuntimeError) and _mixed(text) else told


def _mixed(text: str) -> bool:
    """Whether torch speaks of numbers of two widths."""
    return any(words in text for words in ("same dtype", "scalar type", "but found Double"))


def _owner(frame: FrameType) -> str | None:
    """The class of the term whose method a frame is."""
    code = frame.f_code
    if not code.co_argcount or code.co_filename.startswith(HERE):
        return None
    own = frame.f_locals.get(code.co_varnames[0])
    kind = own if inspect.isclass(own) else type(own)
    return kind.__name__ if issubclass(kind, Term) else None
