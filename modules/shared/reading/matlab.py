"""One array of a MATLAB file of version 5, packed or not (save -v6, -v7), read by hand: nothing is
believed of sizes and types before it is checked, and a packed array is unpacked no further than it
says.

Source: MathWorks, "MAT-File Format" (Level 5): elements of a type, a size and so many bytes; a
matrix is an element of flags, lengths, name and numbers, which are elements themselves.
"""

import math
import zlib
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

import numpy as np

from modules.shared.reading.arrays import Fits, Numbers, chosen, refuse

MATRIX, PACKED = 14, 15
NUMERIC = range(6, 16)  # classes of matrices of numbers: double, single, whole ones
COMPLEX = 0x800
TYPES = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
AXES, NAME = 32, 4096  # of an array; bytes of a name
CHUNK = 1 << 16
Read = Callable[[int], bytes]


class Matrix(NamedTuple):
    """What stands before the numbers of an array."""

    name: str
    shape: tuple[int, ...]
    complex: bool


def read_mat(file: BinaryIO, key: str | None, fits: Fits) -> Numbers:
    """One array, of the type its numbers are stored in; examples stand along its last axis, as
    columns do there. -> (N, ...)"""
    size = file.seek(0, 2)
    file.seek(0)
    order = {b"IM": "<", b"MI": ">"}.get(file.read(128)[126:])
    if order is None:
        refuse("is no .mat of version 5", "save it by MATLAB with -v6 or -v7")
    places: dict[str, int] = {}
    while (place := file.tell()) < size:
        kind, length = _tag(file.read, order)
        if file.tell() + length > size:
            refuse(f"ends after {size} bytes, within an array", "copy the file again, whole")
        file.seek(place)
        matrix = _begun(_reader(file, order), order) if kind in (MATRIX, PACKED) else None
        if matrix is not None:
            places.setdefault(matrix.name, place)
        file.seek(place + 8 + length)
    key = chosen([*places], key, "save of MATLAB, -v6 or -v7")
    file.seek(places[key])
    return np.ascontiguousarray(np.moveaxis(_array(_reader(file, order), order, fits), -1, 0))


def _array(read: Read, order: str, fits: Fits) -> Numbers:
    """The numbers of the matrix that comes next."""
    matrix = _begun(read, order)
    assert matrix is not None
    if matrix.complex:
        refuse("holds complex numbers", "save real numbers")
    kind, length, small = _small(read, order)
    if kind not in TYPES:
        refuse(f"holds numbers of type {kind}", "save it again, by MATLAB")
    dtype = np.dtype(order + TYPES[kind])
    count = math.prod(matrix.shape) * dtype.itemsize
    fits(matrix.shape, count)
    if length != count:
        refuse(f"holds {length} bytes of {[*matrix.shape]} numbers", "copy the file again, whole")
    content = read(count) if small is None else small
    if len(content) < count:
        refuse(f"ends after {len(content)} of {count} bytes", "copy the file again, whole")
    flat = np.frombuffer(content, dtype).astype(dtype.newbyteorder("="), copy=False)
    return flat.reshape(matrix.shape, order="F")


def _begun(read: Read, order: str) -> Matrix | None:
    """What stands before the numbers of the matrix that comes next; None: it holds none."""
    kind, _ = _tag(read, order)
    flags = _element(read, order, 8)
    if kind != MATRIX or len(flags) != 8:
        return None
    told = int(np.frombuffer(flags, order + "u4")[0])
    if told & 0xFF not in NUMERIC:
        return None
    lengths = _element(read, order, 4 * AXES)
    if len(lengths) % 4 or len(lengths) < 8:
        refuse(f"has lengths of axes in {len(lengths)} bytes", "copy the file again, whole")
    shape = tuple(np.frombuffer(lengths, order + "i4").tolist())
    if min(shape) < 0:
        refuse(f"has an array of shape {[*shape]}", "copy the file again, whole")
    name = _element(read, order, NAME).decode("latin-1")
    return Matrix(name, shape, bool(told & COMPLEX))


def _element(read: Read, order: str, most: int) -> bytes:
    """The contents of a short element."""
    _, length, small = _small(read, order)
    if small is not None:
        return small
    if length > most:
        refuse(f"has an element of {length} bytes, where {most} fit", "copy the file again, whole")
    return read(length + -length % 8)[:length]


def _small(read: Read, order: str) -> tuple[int, int, bytes | None]:
    """Type and size of an element, and its contents where they stand in the tag: four bytes or
    fewer, the size in the upper half of the type."""
    raw = read(8)
    kind, length = _tag(lambda _: raw, order)
    if kind >> 16:
        length = kind >> 16
        return kind & 0xFFFF, length, raw[4 : 4 + length] if length <= 4 else b""
    return kind, length, None


def _tag(read: Read, order: str) -> tuple[int, int]:
    raw = read(8)
    if len(raw) < 8:
        refuse("ends within an array", "copy the file again, whole")
    kind, length = np.frombuffer(raw, order + "u4").tolist()
    return kind, length


def _reader(file: BinaryIO, order: str) -> Read:
    """What reads a top element, unpacked where it is packed."""
    place = file.tell()
    kind, length = _tag(file.read, order)
    if kind == PACKED:
        return _Unpacked(file, length).read
    file.seek(place)
    return file.read


class _Unpacked:
    """Reads so many packed bytes of a file, unpacking no more than is asked for."""

    def __init__(self, file: BinaryIO, length: int):
        self.file, self.left, self.held = file, length, zlib.decompressobj()

    def read(self, count: int) -> bytes:
        out = bytearray()
        while len(out) < count:
            packed = self.held.unconsumed_tail
            if not packed:
                packed = self.file.read(min(self.left, CHUNK))
                self.left -= len(packed)
            found = self.held.decompress(packed, count - len(out))
            if not found and not packed:
                break
            out += found
        return bytes(out)
