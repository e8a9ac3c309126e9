"""The one exception tree: each class names a gRPC status code and a stable reason.

Finding no solution is no exception: that is a `Status` of an answer. Exceptions are for requests
that make no sense and for parts that broke.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Mistake:
    """One thing wrong in a request: where it stands, what stands there, what would be right."""

    path: str  # such as `terms[3].params.lines[0][4]`, or `line 7`
    problem: str  # what is wrong, with the value
    remedy: str = ""  # what to do instead

    def __str__(self) -> str:
        said = f"{self.path}: {self.problem}" if self.path else self.problem
        return f"{said}; {self.remedy}" if self.remedy else said


class BasinError(Exception):
    """Root of every error Basin raises on purpose."""

    code: ClassVar[str] = "INTERNAL"  # name of the gRPC status code
    reason: ClassVar[str] = "BUG"  # stable, UPPER_SNAKE, at most 63 characters


class BadQuery(BasinError):
    """A request makes no sense: every mistake found, each with path, value and remedy."""

    code = "INVALID_ARGUMENT"
    reason = "QUERY_INVALID"

    def __init__(self, *mistakes: Mistake | str):
        self.mistakes = tuple(m if isinstance(m, Mistake) else Mistake("", m) for m in mistakes)
        super().__init__("\n".join(str(m) for m in self.mistakes))

    def under(self, path: str) -> "BadQuery":
        """The same mistakes, seen from one level further out."""
        return type(self)(
            *(Mistake(join(path, m.path), m.problem, m.remedy) for m in self.mistakes)
        )


class UnknownKind(BadQuery):
    """A term names a kind that no catalogue entry has."""

    code = "NOT_FOUND"
    reason = "KIND_NOT_FOUND"


class TooLarge(BadQuery):
    """A request is over one of the limits; the limit is named."""

    code = "RESOURCE_EXHAUSTED"
    reason = "LIMIT_EXCEEDED"


class ModuleUnavailable(BasinError):
    """The process that hosts a module does not answer (any more)."""

    code = "UNAVAILABLE"
    reason = "MODULE_UNREACHABLE"

    def __init__(self, module: str, why: str):
        self.module, self.why = module, why
        super().__init__(f"module {module}: {why}")

    def __reduce__(self) -> Any:
        return type(self), (self.module, self.why)


class ModuleFault(BasinError):
    """A module answered, but wrongly: bad shapes, NaN, or structure and judgement disagree."""

    code = "INTERNAL"
    reason = "MODULE_FAULT"

    def __init__(self, module: str, why: str):
        self.module, self.why = module, why
        super().__init__(f"module {module}: {why}")

    def __reduce__(self) -> Any:
        return type(self), (self.module, self.why)


class Unavailable(BasinError):
    """The service cannot be reached or is shutting down."""

    code = "UNAVAILABLE"
    reason = "NOT_READY"


class Overloaded(BasinError):
    """The service has more work than it may queue."""

    code = "RESOURCE_EXHAUSTED"
    reason = "QUEUE_FULL"


class SessionNotFound(BasinError):
    """No such session: closed, expired, or never the caller's."""

    code = "NOT_FOUND"
    reason = "SESSION_NOT_FOUND"


class TooManySessions(BasinError):
    """A tenant, or the service, has as many sessions open as it may."""

    code = "RESOURCE_EXHAUSTED"
    reason = "TOO_MANY_SESSIONS"


class OutOfTime(BasinError):
    """The caller's deadline passed before there was anything to answer with."""

    code = "DEADLINE_EXCEEDED"
    reason = "NO_CANDIDATE_IN_TIME"


class Cancelled(BasinError):
    """The caller went away."""

    code = "CANCELLED"
    reason = "CLIENT_CANCELLED"


class Mistakes:
    """Collects what is wrong, to be told at once: at most `most`, and how many more there are."""

    def __init__(self, most: int = 100):
        self.found: list[Mistake] = []
        self.most, self.more = most, 0

    def add(self, path: int | str, problem: str, remedy: str = "") -> None:
        """One more; a number is that of a line."""
        self.take(Mistake(f"line {path}" if isinstance(path, int) else path, problem, remedy))

    def take(self, *mistakes: Mistake) -> None:
        """More that somebody else found."""
        room = max(0, self.most - len(self.found))
        self.found += mistakes[:room]
        self.more += len(mistakes[room:])

    def told(self) -> tuple[Mistake, ...]:
        """What is to be told."""
        if not self.more:
            return tuple(self.found)
        return (*self.found, Mistake("", f"{self.more} more mistakes", "mend these first"))

    def check(self) -> None:
        """Raise what was found, if anything."""
        if self.found:
            raise BadQuery(*self.told())


def join(path: str, rest: str) -> str:
    """Two pieces of a field path as one: `terms[0]` + `params.lines` -> `terms[0].params.lines`."""
    if not path or not rest:
        return path or rest
    return f"{path}{rest}" if rest.startswith("[") else f"{path}.{rest}"


LISTED = 30  # names in a remedy


def known(value: Any, options: Iterable[Any]) -> str:
    """A remedy for a misspelt name: the nearest option, if one is nearest, and the list of all,
    numbers in their order. A number is no misspelt number."""
    by_name = {str(option): option for option in options}
    counted = all(isinstance(option, (int, float)) for option in by_name.values())
    names = sorted(by_name, key=lambda name: by_name[name]) if counted else sorted(by_name)
    misspelt = not (counted and isinstance(value, (int, float)))
    near = _nearest(str(value), names) if misspelt else None
    listed = ", ".join(names[:LISTED])
    if len(names) > LISTED:
        listed += f" and {len(names) - LISTED} more"
    return f"did you mean {near}? known: {listed}" if near else f"known: {listed}"


def _nearest(value: str, names: list[str]) -> str | None:
    """The name that is closest to a value; of several, the only one made of the same letters."""
    matcher = difflib.SequenceMatcher(b=value)
    ratios = {}
    for name in difflib.get_close_matches(value, names, n=len(names) or 1):
        matcher.set_seq1(name)
        ratios[name] = matcher.ratio()
    nearest = [name for name, ratio in ratios.items() if ratio == max(ratios.values())]
    if len(nearest) > 1:
        nearest = [name for name in nearest if set(name) <= set(value)]
    return nearest[0] if len(nearest) == 1 else None


def shown(value: object, room: int = 80) -> str:
    """A value as it stands in a mistake: short enough to read."""
    # slicing first keeps the work small when the value is huge
    text = repr(value[:room] if isinstance(value, (str, list, tuple)) else value)
    cut = isinstance(value, (str, list, tuple)) and len(value) > room
    return f"{text[:room]}..." if cut or len(text) > room else text
