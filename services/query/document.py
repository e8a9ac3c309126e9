"""One text, YAML or JSON, as plain data: nothing is executed, nothing explodes.

YAML is read as version 1.2 means it (core schema): `no` is a text, `1e-3` is a number, dates are
texts. Aliases count as what they stand for, so that a small text cannot become a large object.
"""

import json
import re
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from engine.errors import BadQuery, Mistake, TooLarge, shown
from modules.shared.lines import lines_of
from services.settings import DEFAULT, Limits

# the C parser where PyYAML was built with it: five times faster, the same events
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_INTEGER = re.compile(r"[-+]?[0-9]{1,400}|0o[0-7]{1,400}|0x[0-9a-fA-F]{1,400}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_ENDS_OF_1_1 = "\x85\u2028\u2029"
_WORDS = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
    ".nan": float("nan"), ".NaN": float("nan"), ".NAN": float("nan"),
}  # fmt: skip


def parse_document(text: str | bytes, source: str = "", limits: Limits = DEFAULT) -> Any:
    """A text as lists, mappings and plain values; `source` is its file name, for the syntax."""
    if len(text) > limits.message_bytes:
        raise TooLarge(Mistake("", f"{len(text)} bytes of text", limits.told("message_bytes")))
    text = _decoded(text)
    if not text.strip():
        raise BadQuery(Mistake("line 1", "the text is empty", "give variables and terms"))
    if source.endswith(".json"):
        return parse_json(text, limits)
    # JSON most likely where a bracket comes first, yet a YAML flow mapping looks alike
    if text.lstrip()[:1] in ("{", "["):
        try:
            return _load(text, limits)
        except json.JSONDecodeError as error:
            if re.match(r'\s*[{\[]\s*"', text) and not source.endswith((".yaml", ".yml")):
                _no_json(error, text)
    return parse_yaml(text, limits)


def parse_json(text: str, limits: Limits = DEFAULT) -> Any:
    """JSON, strictly: every name once, bounded depth and size."""
    try:
        return _load(text, limits)
    except json.JSONDecodeError as error:
        _no_json(error, text)


def _load(text: str, limits: Limits) -> Any:
    if text.count(",") + text.count("[") + text.count("{") > limits.nodes:
        raise TooLarge(Mistake("", "too many entries", limits.told("nodes")))
    try:
        return json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        _too_deep("", limits)
    except ValueError as error:  # a number of thousands of digits
        _fail("", f"no JSON: {shown(str(error))}", "give shorter numbers")


def _no_json(error: json.JSONDecodeError, text: str) -> NoReturn:
    line = text.split("\n")[error.lineno - 1 : error.lineno] or [""]
    raise BadQuery(
        Mistake(
            f"line {error.lineno}, column {error.colno}",
            f"no JSON: {error.msg} in {shown(line[0].strip())}",
            "mend the syntax here",
        )
    ) from None


def parse_yaml(text: str, limits: Limits = DEFAULT) -> Any:
    """YAML 1.2 core schema, one document, built from parser events."""
    hidden = _hidden(text)
    text = text.translate(hidden)
    builder = _Builder(limits, {ord(put): sign for sign, put in hidden.items()})
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.YAMLError as error:
        why = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
        where, seen = _seen(text, getattr(error, "problem_mark", None))
        _fail(where, f"no YAML: {why}{seen}", "mend the syntax here")
    return builder.result


@dataclass
class _Open:
    """A list or mapping that is still being filled."""

    value: Any
    anchor: str | None
    size: int = 1  # entries inside, aliases counted as what they stand for
    key: Any = None
    has_key: bool = False


@dataclass
class _Builder:
    """Plain data from YAML events."""

    limits: Limits
    unhidden: dict[int, int] = field(default_factory=dict)  # what stands for a hidden sign
    result: Any = None
    documents: int = 0
    nodes: int = 0
    stack: list[_Open] = field(default_factory=list)
    anchors: dict[str, tuple[Any, int]] = field(default_factory=dict)

    def take(self, event: Any) -> None:
        """One event further."""
        where = f"line {event.start_mark.line + 1}, column {event.start_mark.column + 1}"
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, where)
            if event.anchor:
                self.anchors[event.anchor] = (value, 1)
            self._place(value, 1, where)
        elif isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            self._tagless(event, where)
            if len(self.stack) > self.limits.nesting + 8:  # the query's own levels come on top
                _too_deep(where, self.limits)
            if event.anchor:
                self.anchors.pop(event.anchor, None)
            kind = list if isinstance(event, yaml.SequenceStartEvent) else dict
            self.stack.append(_Open(kind(), event.anchor))
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            done = self.stack.pop()
            if done.anchor:
                self.anchors[done.anchor] = (done.value, done.size)
            self._place(done.value, done.size, where)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                _fail(where, f"*{event.anchor} stands for nothing", "name an anchor that has ended")
            self._place(*self.anchors[event.anchor], where)
        elif isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                _fail(where, "a second document begins", "give one document a file")

    def _place(self, value: Any, size: int, where: str) -> None:
        """Put a finished value where it belongs."""
        self.nodes += 1
        if size > self.limits.nodes or self.nodes > self.limits.nodes:
            raise TooLarge(
                Mistake(
                    where,
                    "too many entries, aliases written out",
                    self.limits.told("nodes"),
                )
            )
        if not self.stack:
            self.result = value
            return
        top = self.stack[-1]
        top.size += size
        if isinstance(top.value, list):
            top.value.append(value)
        elif top.has_key:
            top.value[top.key] = value
            top.has_key = False
        else:
            if not isinstance(value, Hashable):
                _fail(where, f"{shown(value)} is no name", "names are texts")
            if value in top.value:
                _fail(where, f"{shown(value)} stands twice", "give every name once")
            top.key, top.has_key = value, True

    def _scalar(self, event: Any, where: str) -> Any:
        self._tagless(event, where)
        text = event.value.translate(self.unhidden)
        if not event.implicit[0]:
            return text  # quoted
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text):
            return int(text, 8 if text[:2] == "0o" else 16 if text[:2] == "0x" else 10)
        if _FLOAT.fullmatch(text):
            return float(text)
        if match := _INFINITY.fullmatch(text):
            return float(f"{match[1]}inf")
        return text

    def _tagless(self, event: Any, where: str) -> None:
        if event.tag not in (None, "!"):
            _fail(where, f"the tag {shown(event.tag)} is not read", "write plain values")


def _hidden(text: str) -> dict[int, str]:
    """Something else for the signs that end a line in YAML 1.1 and are plain signs in 1.2."""
    free = (sign for sign in map(chr, range(0xE000, 0xF900)) if sign not in text)
    return {ord(sign): next(free, sign) for sign in _ENDS_OF_1_1 if sign in text}


def _seen(text: str, mark: Any) -> tuple[str, str]:
    """Where a mark of the YAML parser stands, and what stands there."""
    lines = lines_of(text)
    if mark is None:
        return "", ""
    if mark.line >= len(lines):
        return f"line {len(lines)}", " where the text ends"
    return (
        f"line {mark.line + 1}, column {mark.column + 1}",
        f" in {shown(lines[mark.line].strip())}",
    )


def _decoded(text: str | bytes) -> str:
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        _fail(f"line {line}", f"byte {text[error.start]:#04x} is not UTF-8", "save it as UTF-8")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        times = Counter(name for name, _ in pairs)
        double = max(times, key=times.__getitem__)
        _fail(double, f"{shown(double)} stands twice in one mapping", "give every name once")
    return made


def _too_deep(where: str, limits: Limits) -> NoReturn:
    raise TooLarge(Mistake(where, "lists nested too deep", limits.told("nesting")))


def _fail(where: str, problem: str, remedy: str) -> NoReturn:
    raise BadQuery(Mistake(where, problem, remedy))
