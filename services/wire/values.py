"""People's values on the wire and back, exactly: 1 stays whole, 1.0 stays a float, None stays None.

Nested lists of numbers of one shape travel packed; everything else nested travels as JSON text,
which in Python is both exact and fifty times faster than a message for every entry.
"""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from engine.errors import BadQuery, Mistake, TooLarge
from engine.plain import nest
from services.query.document import parse_json
from services.settings import DEFAULT, Limits
from services.v1 import value_pb2 as pb

_INT64 = range(-(2**63), 2**63)


def to_value(plain: Any) -> pb.Value:
    """A plain value as a message."""
    if plain is None:
        return pb.Value(null=pb.NULL_UNSPECIFIED)
    kind = type(plain)
    if kind is bool:
        return pb.Value(truth=plain)
    if kind is int and plain in _INT64:
        return pb.Value(integer=plain)
    if kind is float:
        return pb.Value(real=plain)
    if kind is str and _is_unicode(plain):
        return pb.Value(text=plain)
    if isinstance(plain, (list, tuple)):
        array = _array(plain)
        if array is not None:
            return pb.Value(array=array)
    return pb.Value(json=json.dumps(plain, allow_nan=False, separators=(",", ":")))


def from_value(message: pb.Value, limits: Limits = DEFAULT) -> Any:
    """The plain value of a message. Raises BadQuery when the message contradicts itself."""
    field = message.WhichOneof("kind")
    if field is None:
        raise BadQuery(Mistake("", "a value without content", "set null for an open site"))
    if field == "null":
        return None
    if field == "array":
        return _nested(message.array, limits)
    if field == "json":
        return parse_json(message.json, limits)
    return getattr(message, field)


def to_assignment(plain: Mapping[str, Any]) -> pb.Assignment:
    """Values by name, in order."""
    return pb.Assignment(
        entries=[pb.NamedValue(name=name, value=to_value(value)) for name, value in plain.items()]
    )


def from_assignment(message: pb.Assignment, limits: Limits = DEFAULT) -> dict[str, Any]:
    """Values by name; a name given twice is a mistake."""
    plain: dict[str, Any] = {}
    for entry in message.entries:
        if entry.name in plain:
            raise BadQuery(Mistake(entry.name, "stands twice", "give every name once"))
        try:
            plain[entry.name] = from_value(entry.value, limits)
        except BadQuery as error:
            raise error.under(entry.name) from None
    return plain


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate: JSON can say it, UTF-8 cannot
        return False
    return True


def _array(nested: Iterable[Any]) -> pb.Array | None:
    """The packed form; None when the lists are ragged or hold more than numbers of one type."""
    shape, level = [], [*nested]
    shape.append(len(level))
    while level and isinstance(level[0], (list, tuple)):
        size = len(level[0])
        if not all(isinstance(part, (list, tuple)) and len(part) == size for part in level):
            return None
        shape.append(size)
        level = [entry for part in level for entry in part]
    kinds = set(map(type, level))
    missing: list[int] = []
    if type(None) in kinds:
        missing = [place for place, entry in enumerate(level) if entry is None]
        level = [0 if entry is None else entry for entry in level]
        kinds.remove(type(None))
    if kinds == {float}:
        return pb.Array(shape=shape, reals=level, missing=missing)
    if kinds <= {int} and (not level or (min(level) in _INT64 and max(level) in _INT64)):
        return pb.Array(shape=shape, integers=level, missing=missing)
    return None


def _nested(array: pb.Array, limits: Limits) -> Any:
    shape = tuple(array.shape)
    flat: list[Any] = list(array.reals) if array.reals else list(array.integers)
    if array.reals and array.integers:
        raise BadQuery(Mistake("", "an array of both integers and reals", "fill one of the two"))
    if not shape or len(shape) > limits.nesting:
        said = f"an array of {len(shape)} axes"
        if not shape:
            raise BadQuery(Mistake("", said, "give its shape"))
        raise TooLarge(Mistake("", said, limits.told("nesting")))
    if math.prod(shape) != len(flat):
        raise BadQuery(
            Mistake("", f"{len(flat)} numbers for the shape {[*shape]}", "make them agree")
        )
    size = math.prod(max(n, 1) for n in shape)  # sizes beside a 0 count too: they become lists
    if size > limits.nodes:
        raise TooLarge(Mistake("", f"{size} entries", limits.told("nodes")))
    for place in array.missing:
        if place >= len(flat):
            raise BadQuery(Mistake("", f"missing place {place}", f"places end at {len(flat)}"))
        flat[place] = None
    return nest(flat, shape)
