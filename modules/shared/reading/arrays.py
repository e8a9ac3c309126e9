"""One array of a file: .npy, .npz, IDX, PNG. What a file says of itself is asked about before
its contents are read, and nothing in it is code.

Mistakes have no path but `key`: who names the file says where.
"""

import io
import math
import os
import stat
import zipfile
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, NoReturn

import numpy as np
import numpy.typing as npt

from engine.errors import BadQuery, Mistake, known, shown

Numbers = npt.NDArray[Any]
Fits = Callable[[tuple[int, ...], int], None]  # of a shape and its bytes; raises BadQuery

LISTED = 30  # names that a mistake tells
HEADER = 10_000  # bytes of the header of an .npy
_IDX = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def opened(path: str) -> tuple[BinaryIO, int]:
    """A file to read from, and its bytes. Raises BadQuery for what is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        refuse("no such file", "name one that is there")
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        os.close(descriptor)
        refuse("is no file to read from", "name a file")
    return os.fdopen(descriptor, "rb"), about.st_size


def read_npy(file: Any, fits: Fits) -> Numbers:
    """An array of numpy: its header is read first, then so many bytes as it says."""
    head = file.read(8)
    width = 2 if head[6:7] == b"\x01" else 4
    raw = file.read(width)
    if head[:6] != b"\x93NUMPY" or head[6:] not in (b"\x01\x00", b"\x02\x00") or len(raw) < width:
        refuse("is no .npy of version 1 or 2", "save it by numpy.save")
    size = int.from_bytes(raw, "little")
    if size > HEADER:
        refuse(f"has a header of {size} bytes", "save it by numpy.save")
    header = io.BytesIO(raw + file.read(size))
    read = (
        np.lib.format.read_array_header_1_0 if width == 2 else np.lib.format.read_array_header_2_0
    )
    shape, by_columns, dtype = read(header)
    if dtype.hasobject or dtype.kind not in "biuf" or dtype.itemsize > 8:
        refuse(f"holds {dtype}, no numbers", "save numbers of at most 64 bits")
    flat = _filled(file, shape, dtype, fits)
    return flat.reshape(shape[::-1]).T if by_columns else flat.reshape(shape)


def read_npz(file: BinaryIO, key: str | None, fits: Fits) -> Numbers:
    """One array of a packed set of them, by its name where there are several; of a bomb no more is
    unpacked than fits."""
    with zipfile.ZipFile(file) as pack:
        members = [one for one in pack.infolist() if not one.is_dir()]
        if members and not any(one.filename.endswith(".npy") for one in members):
            refuse("is a zip without arrays or PNGs", "pack .npy by numpy.savez, or PNGs")
        names = [one.filename.removesuffix(".npy") for one in members]
        key = chosen(names, key, "numpy.savez")
        with pack.open(members[names.index(key)]) as member:
            return read_npy(member, fits)


def chosen(names: Sequence[str], key: str | None, by: str) -> str:
    """The name of the array that is meant. by: what makes a file with one."""
    if not names:
        refuse("holds no array", f"save one by {by}")
    if key is None and len(names) > 1:
        listed = ", ".join(shown(name) for name in sorted(names)[:LISTED])
        refuse(f"holds {len(names)} arrays, {listed}", "name one by its key, or save it alone")
    key = names[0] if key is None else key
    if key not in names:
        raise BadQuery(Mistake("key", f"{shown(key)} is not in the file", known(key, names)))
    return key


def read_idx(file: BinaryIO, fits: Fits) -> Numbers:
    """An array as MNIST has them: 0, 0, type, number of axes, their lengths, numbers, all with the
    high byte first."""
    head = file.read(4)
    axes = file.read(4 * head[3]) if len(head) == 4 else b""
    if head[:2] != b"\0\0" or len(head) < 4 or head[2] not in _IDX or not head[3]:
        refuse("is no IDX file", "begin with 0, 0, a type of 8 to 14 and the number of axes")
    if len(axes) < 4 * head[3]:
        refuse(f"ends within the lengths of its {head[3]} axes", "copy the file again, whole")
    shape = tuple(int(n) for n in np.frombuffer(axes, ">u4"))
    dtype = np.dtype(_IDX[head[2]])
    flat = _filled(file, shape, dtype, fits)
    if more := len(file.read(1)):
        refuse(f"goes on after {flat.nbytes} bytes ({more} more)", "copy the file again, whole")
    return flat.astype(dtype.newbyteorder("=")).reshape(shape)


def read_png(file: BinaryIO, fits: Callable[[tuple[int, int, int]], None]) -> Numbers:
    """The pixels of a picture; `fits` is told height, width, and 1 for a grey file or 3.
    -> (h, w, 3) uint8"""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        refuse("is a picture, which needs Pillow", "pip install 'basin[images]'")
    try:
        Image.open(file, formats=["PNG"]).verify()  # to its end, pixels or not
        file.seek(0)
        picture = Image.open(file, formats=["PNG"])
    except Image.DecompressionBombError:
        refuse("has more pixels than are read", "give a smaller picture")
    except UnidentifiedImageError:
        refuse("is no PNG", "save it as PNG")
    with picture:
        grey = picture.mode in ("1", "L") or picture.mode.startswith("I")
        fits((picture.height, picture.width, 1 if grey else 3))
        if picture.mode.startswith("I") or _depth(file) > 8:
            refuse("has 16 bits a number", "save it with 8")
        pixels: Numbers = np.asarray(picture.convert("RGBA"))
    if (pixels[..., 3] < 255).any():
        refuse("is transparent in part", "save it without an alpha channel")
    return pixels[..., :3]


def _depth(file: BinaryIO) -> int:
    """Bits of one number of a PNG: byte 24 of its header."""
    file.seek(24)
    return int.from_bytes(file.read(1), "big")


def _filled(file: Any, shape: tuple[int, ...], dtype: np.dtype[Any], fits: Fits) -> Numbers:
    """The numbers of a shape, all of them."""
    count = math.prod(shape) * dtype.itemsize
    fits(shape, count)
    content = file.read(count)
    if len(content) < count:
        refuse(f"ends after {len(content)} of {count} bytes", "copy the file again, whole")
    return np.frombuffer(content, dtype)


def number_of(cell: str, line: int, column: int) -> float | int | None:
    """What a cell of a CSV says; None where it is empty."""
    text = cell.strip()
    if not text:
        return None
    try:
        whole = int(text) if text.lstrip("+-").isdecimal() else None
        return float(text) if whole is None or abs(whole) >= 2**63 else whole
    except ValueError:
        where = f"line {line}, column {column}"
        refuse(f"{where}: {shown(text)} is no number", "write numbers alone")


def refuse(problem: str, remedy: str) -> NoReturn:
    """Raises BadQuery."""
    raise BadQuery(Mistake("", problem, remedy))
