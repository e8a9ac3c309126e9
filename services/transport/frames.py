"""Messages whose tensors stand last on the wire, coded without copying what the tensors hold.

A frame is an ordinary protobuf message to everyone else: its head, then every tensor as one entry
of `raw_contents`, field 15. Here only the head goes through protobuf.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import DecodeError, Message

from services.wire.arrays import Content

M = TypeVar("M", bound=Message)

_TAG = b"\x7a"  # field 15, a length and so many bytes
_FIXED = {1: 8, 5: 4}  # bytes of a field, by its wire type


@dataclass(frozen=True)
class Frame(Generic[M]):
    """A message without its `raw_contents`, and these beside it."""

    head: M
    raw: Sequence[Content]

    def dump(self) -> bytes:
        """The message as bytes, every tensor copied once."""
        pieces: list[Content] = [self.head.SerializeToString()]
        for content in self.raw:
            pieces += (_TAG, _varint(len(content)), content)
        return b"".join(pieces)


def load(make: type[M], data: bytes) -> Frame[M]:
    """The frame of a message; its tensors are views of `data`. Raises DecodeError."""
    view, at = memoryview(data), 0
    head: list[Content] = []
    raw: list[Content] = []
    kept = 0  # where the piece of the head that is being read begins
    while at < len(view):
        start = at
        tag, at = _number(view, at)
        wire = tag & 7
        if wire == 2:
            length, at = _number(view, at)
            at += length
        elif wire == 0:
            length, at = _number(view, at)
        elif wire in _FIXED:
            at += _FIXED[wire]
        else:
            raise DecodeError(f"wire type {wire}")
        if at > len(view):
            raise DecodeError("a field is longer than its message")
        if tag == _TAG[0]:
            head.append(view[kept:start])
            raw.append(view[at - length : at])
            kept = at
    head.append(view[kept:])
    return Frame(make.FromString(b"".join(head)), raw)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _number(view: memoryview, at: int) -> tuple[int, int]:
    """The varint at a place, and where the next thing begins."""
    number = shift = 0
    while at < len(view) and shift < 70:
        byte = view[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
    raise DecodeError("a number without an end")
