"""Arrays of the files that evidence names: .npy, .npz, .png, .csv.

A name may mean a file of one folder alone; what a file holds is measured before it is read, and
nothing in it is code.
"""

import csv
import io
import math
import os
import stat
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
import numpy.typing as npt

from engine.errors import BadQuery, Mistake, Mistakes, TooLarge, known, shown
from modules.shared.files import Confine
from modules.shared.weights import confined
from services.query import (
    ArrayFile,
    EvidenceArray,
    InputSpec,
    NumberInputSpec,
    Query,
    RealSpec,
    VariableSpec,
)
from services.query.arrays import evidence_array
from services.settings import DEFAULT, Limits

Numbers = npt.NDArray[Any]

HEADER = 10_000  # bytes of the header of an .npy
CELL = 64  # bytes of a number as text, at most


@dataclass(frozen=True)
class Wanted:
    """What a file must hold."""

    shape: tuple[int, ...]
    whole: bool  # whole numbers are asked for: a picture then has those of its file, 0 to 255
    key: str | None  # of an array in an .npz
    limits: Limits

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    def check_bytes(self, size: int) -> None:
        """Raises TooLarge for what would take so much memory."""
        if size > self.limits.file_bytes:
            raise TooLarge(Mistake("file", f"{size} bytes", self.limits.told("file_bytes")))


def inside(folder: Path) -> Confine:
    """A name means a file of a folder; links out of it are refused."""
    return lambda name: confined(name, folder, folder)


def nowhere(name: str) -> str:
    """No file may be named."""
    problem = f"{shown(name)}: no files are read here"
    raise BadQuery(Mistake("", problem, "give the numbers, or permit a folder: --files DIR"))


def with_files(query: Query, confine: Confine, limits: Limits = DEFAULT) -> Query:
    """The query with what the files hold that its evidence names. Raises BadQuery with every
    mistake."""
    if not any(isinstance(value, ArrayFile) for row in query.evidence for value in row.values()):
        return query
    specs = {**query.variables, **query.inputs}
    mistakes = Mistakes(limits.mistakes)
    known_ones: dict[tuple[str, ArrayFile], EvidenceArray] = {}  # rows may name the same
    rows = []
    for place, row in enumerate(query.evidence):
        read = dict(row)
        for name, value in row.items():
            if isinstance(value, ArrayFile):
                path = f"evidence[{place}].{name}" if query.rows > 1 else f"evidence.{name}"
                try:
                    if (name, value) not in known_ones:
                        known_ones[name, value] = read_array(value, specs[name], confine, limits)
                    read[name] = known_ones[name, value]
                except BadQuery as error:
                    mistakes.take(*error.under(path).mistakes)
        rows.append(read)
    mistakes.check()
    return query.model_copy(update={"evidence": tuple(rows)})


def row_with_files(
    row: Mapping[str, Any], query: Query, confine: Confine, limits: Limits = DEFAULT
) -> Mapping[str, Any]:
    """The same for one row of evidence of a query."""
    return with_files(query.model_copy(update={"evidence": (row,)}), confine, limits).evidence[0]


def read_array(
    named: ArrayFile,
    spec: VariableSpec | InputSpec,
    confine: Confine,
    limits: Limits = DEFAULT,
) -> EvidenceArray:
    """What a file holds for a variable or an input. Raises BadQuery under `file` or `key`."""
    whole = not isinstance(spec, (RealSpec, NumberInputSpec)) or (
        isinstance(spec, NumberInputSpec) and spec.integer
    )
    wanted = Wanted(spec.shape, whole, named.key, limits)
    suffix = Path(named.file).suffix.lower()
    if suffix not in READERS:
        problem = f"{shown(named.file)} is no array"
        raise BadQuery(Mistake("file", problem, f"name one of {', '.join(READERS)}"))
    if named.key is not None and suffix != ".npz":
        raise BadQuery(Mistake("key", f"{shown(named.key)} of a {suffix}", "leave it out"))
    try:
        with _opened(confine(named.file), wanted) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old formats: what they hold is checked
            array = evidence_array(READERS[suffix](file, wanted))
    except BadQuery as error:
        raise type(error)(
            *(Mistake(m.path or "file", m.problem, m.remedy) for m in error.mistakes)
        ) from None
    except Exception as error:  # what readers of broken files may raise is not told anywhere
        said = (isinstance(error, OSError) and error.strerror) or error
        problem = f"{shown(named.file)} cannot be read: {said}"
        raise BadQuery(Mistake("file", problem, "name a file that is whole")) from None
    if array is None:
        _refuse("holds numbers beyond 64 bits with a sign", "save them as int64 or float64")
    if array.shape != spec.shape:
        _shaped(array.shape, spec.shape)
    if wrong := array.mistakes():
        raise BadQuery(*wrong)
    return array


def _opened(path: str, wanted: Wanted) -> BinaryIO:
    """An open file that is one, no larger than may be."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise BadQuery(Mistake("file", "no such file", "name one that is there")) from None
    file = os.fdopen(descriptor, "rb")
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            _refuse("is no file to read from", "name a file")
        wanted.check_bytes(about.st_size)
    except BaseException:
        file.close()
        raise
    return file


def _npy(file: Any, wanted: Wanted) -> Numbers:
    """An array of numpy: its header is read first, then so many bytes as it says."""
    head = file.read(8)
    width = 2 if head[6:7] == b"\x01" else 4
    raw = file.read(width)
    if head[:6] != b"\x93NUMPY" or head[6:] not in (b"\x01\x00", b"\x02\x00") or len(raw) < width:
        _refuse("is no .npy of version 1 or 2", "save it by numpy.save")
    size = int.from_bytes(raw, "little")
    if size > HEADER:
        _refuse(f"has a header of {size} bytes", "save it by numpy.save")
    header = io.BytesIO(raw + file.read(size))
    read = (
        np.lib.format.read_array_header_1_0 if width == 2 else np.lib.format.read_array_header_2_0
    )
    shape, by_columns, dtype = read(header)
    if dtype.hasobject or dtype.kind not in "biuf" or dtype.itemsize > 8:
        _refuse(f"holds {dtype}, no numbers", "save numbers of at most 64 bits")
    if shape != wanted.shape:
        _shaped(shape, wanted.shape)
    count = wanted.count * dtype.itemsize
    wanted.check_bytes(count)
    content = file.read(count)
    if len(content) < count:
        _refuse(f"ends after {len(content)} of {count} bytes", "copy the file again, whole")
    flat: Numbers = np.frombuffer(content, dtype)
    return flat.reshape(shape[::-1]).T if by_columns else flat.reshape(shape)


def _npz(file: BinaryIO, wanted: Wanted) -> Numbers:
    """One array of a packed set of them; of a bomb no more is unpacked than is asked for."""
    with zipfile.ZipFile(file) as pack:
        names = [name.removesuffix(".npy") for name in pack.namelist()]
        key = wanted.key if wanted.key is not None else next(iter(names), "")
        if not names:
            _refuse("holds no array", "save one by numpy.savez")
        if key not in names:
            raise BadQuery(Mistake("key", f"{shown(key)} is not in the file", known(key, names)))
        with pack.open(pack.infolist()[names.index(key)]) as member:
            return _npy(member, wanted)


def _png(file: BinaryIO, wanted: Wanted) -> Numbers:
    """A picture, grey (h, w) or in colour (h, w, 3): numbers from 0 to 1, or whole, to 255."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        _refuse("is a picture, which needs Pillow", "pip install 'basin[images]'")
    try:
        picture = Image.open(file, formats=["PNG"])
    except (UnidentifiedImageError, Image.DecompressionBombError):
        _refuse("is no PNG", "save it as PNG")
    with picture:
        size = (picture.height, picture.width)
        if size != wanted.shape[:2] or len(wanted.shape) > 3 or wanted.shape[2:] not in ((), (3,)):
            _shaped(size if picture.mode in ("1", "L", "I;16") else (*size, 3), wanted.shape)
        if picture.mode.startswith("I") or _depth(file) > 8:
            _refuse("has 16 bits a number", "save it with 8")
        wanted.check_bytes(4 * math.prod(size))
        pixels = np.asarray(picture.convert("RGBA"))
    if (pixels[..., 3] < 255).any():
        _refuse("is transparent in part", "save it without an alpha channel")
    if len(wanted.shape) == 3:
        found = pixels[..., :3]
    else:
        found = pixels[..., 0]
        if (pixels[..., :3] != found[..., None]).any():
            _refuse("is in colour", f"declare the shape {[*size, 3]}, or save it in grey")
    return found if wanted.whole else found / np.float32(255)


def _depth(file: BinaryIO) -> int:
    """Bits of one number of a PNG: byte 24 of its header."""
    file.seek(24)
    return int.from_bytes(file.read(1), "big")


def _csv(file: BinaryIO, wanted: Wanted) -> Numbers:
    """Numbers: a line for each entry of the first axis, or one line; an empty cell is absent."""
    count, limits = wanted.count, wanted.limits
    if count > limits.nodes:
        limit = f"{limits.told('nodes')}: use .npy"
        raise TooLarge(Mistake("file", f"{count} numbers as text", limit))
    raw = file.read(CELL * (count + 9) + 1)
    if len(raw) > CELL * (count + 9):
        _refuse(f"is longer than {count} numbers can be", f"give {[*wanted.shape]}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        _refuse("is not UTF-8", "save it as UTF-8")
    lines = [line for line in csv.reader(io.StringIO(text)) if line]
    widths = [len(line) for line in lines]
    tall = wanted.shape[:1] in ((), (len(lines),)) or len(lines) == 1
    if sum(widths) != count or len(set(widths)) > 1 or not tall:
        found = (len(lines), widths[0]) if len(set(widths)) == 1 else tuple(widths[:9])
        _shaped(found, wanted.shape)
    numbers = [
        _number(cell, line, column)
        for line, cells in enumerate(lines, 1)
        for column, cell in enumerate(cells, 1)
    ]
    absent = np.array([number is None for number in numbers], dtype=bool)
    flat = np.array([0 if number is None else number for number in numbers])
    masked: Numbers = np.ma.MaskedArray(flat, absent)
    return (masked if absent.any() else flat).reshape(wanted.shape)


def _number(cell: str, line: int, column: int) -> float | int | None:
    text = cell.strip()
    if not text:
        return None
    try:
        whole = int(text) if text.lstrip("+-").isdecimal() else None
        return float(text) if whole is None or abs(whole) >= 2**63 else whole
    except ValueError:
        where = f"line {line}, column {column}"
        _refuse(f"{where}: {shown(text)} is no number", "write numbers alone")


READERS: Mapping[str, Callable[[BinaryIO, Wanted], Numbers]] = {
    ".npy": _npy, ".npz": _npz, ".png": _png, ".csv": _csv,
}  # fmt: skip


def _shaped(found: tuple[int, ...], wanted: tuple[int, ...]) -> NoReturn:
    _refuse(f"holds an array of shape {[*found]}", f"give {[*wanted]}")


def _refuse(problem: str, remedy: str) -> NoReturn:
    raise BadQuery(Mistake("file", problem, remedy))
