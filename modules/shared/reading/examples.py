"""The door of a lesson: examples as a kind reads them, a text or numbers, whatever file holds them.

    text_of(Path("loans.csv"))                              a text, .gz, .bz2 and .xz too
    read_numbers(Path("digits.npz"), (28, 28), "pictures")  numbers, (N, 28, 28)

Numbers stand in an .npy, an .npz, an IDX file (as MNIST has them, packed or not), a .mat (as the
Frey faces are), a CSV of one example a line, a folder of PNGs of one size, or a zip of them, in
folders or not (as Omniglot is). Which it is, the contents tell, not the name.
"""

import csv
import io
import math
import os
import warnings
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from engine.errors import BadQuery, Mistake, Mistakes, TooLarge, shown
from modules.shared.reading.arrays import (
    Numbers,
    number_of,
    opened,
    read_idx,
    read_npy,
    read_npz,
    read_png,
    refuse,
)
from modules.shared.reading.matlab import read_mat
from modules.shared.reading.texts import (
    as_text,
    check_there,
    check_utf8,
    head_of,
    read_bytes,
    read_text,
)
from modules.shared.weights import confined

MOST = 4 << 30  # bytes of all examples
MISTAKES = 20  # told at once
NPY, ZIP, PNG, IDX, MAT = b"\x93NUMPY", b"PK", b"\x89PNG", b"\0\0", b"MATLAB 5"  # beginnings


def text_of(path: Path) -> str:
    """A text, all of which counts. Raises BadQuery for bytes that are no UTF-8."""
    text = read_text(str(path))
    check_utf8(text)
    return text


def check_data(path: Path) -> None:
    """Refuses what no kind reads: nothing, or a text that is none. What a pipe brings is seen once,
    and so not here."""
    check_there(str(path))
    if path.is_file() and is_text(path):
        text_of(path)


def is_text(path: Path) -> bool:
    """Whether examples stand in a text; a CSV is one."""
    if not path.is_file():  # a pipe is read once, as a text
        return not path.is_dir()
    return not head_of(str(path)).startswith((NPY, ZIP, PNG, IDX, MAT))


def read_numbers(path: Path, shape: Sequence[int] | None = None, key: str | None = None) -> Numbers:
    """Examples of a shape; None: of that of the first. -> (N, *shape), of the file's own type

    key: of an array in an .npz or a .mat; None: the only one. Pictures have whole numbers, 0 to
    255, (h, w) where all of them are grey, else (h, w, 3). Raises BadQuery, and TooLarge, with
    every mistake.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old formats: what they hold is checked
            found = _folder(path) if path.is_dir() else _file(path, key)
    except (BadQuery, MemoryError):
        raise
    except Exception as error:  # what readers of broken files may raise is not told anywhere
        said = (isinstance(error, OSError) and error.strerror) or error
        refuse(f"cannot be read: {said}", "name a file that is whole")
    return _checked(found, shape)


def _file(path: Path, key: str | None) -> Numbers:
    file, size = opened(str(path))
    with file:
        _fits((), size)
        head = file.read(8)
        file.seek(0)
        if key is not None and not head.startswith((ZIP, MAT)):
            raise BadQuery(Mistake("key", f"{key!r} of a file that has no names", "leave it out"))
        if head.startswith(NPY):
            return read_npy(file, _fits)
        if head.startswith(ZIP):
            return _pack(file) if _is_pack(file) else read_npz(file, key, _fits)
        if head.startswith(MAT):
            return read_mat(file, key, _fits)
        if head.startswith(PNG):
            refuse("is one picture", "name a folder of them")
    raw = read_bytes(str(path))
    if raw.startswith(IDX):
        return read_idx(io.BytesIO(raw), _fits)
    text = as_text(raw)
    check_utf8(text)
    return _csv(text)


def _fits(shape: tuple[int, ...], size: int) -> None:
    """Any shape may come, and TooLarge is raised for what would take too much memory."""
    del shape
    if size > MOST:
        raise TooLarge(Mistake("", f"{size} bytes of numbers", f"the limit is {MOST}: give fewer"))


def _csv(text: str) -> Numbers:
    """A line for each example; a first line without a number is a header."""
    lines = [line for line in csv.reader(io.StringIO(text)) if line]
    first = 1
    if lines and not any(_is_number(cell) for cell in lines[0]):
        lines, first = lines[1:], 2
    wrong, width = Mistakes(MISTAKES), len(lines[0]) if lines else 0
    rows = []
    for line, cells in enumerate(lines, first):
        if len(cells) != width:
            wrong.add(
                f"line {line}", f"has {len(cells)} numbers, the first {width}", "give as many"
            )
            continue
        try:
            row = [number_of(cell, line, column) for column, cell in enumerate(cells, 1)]
        except BadQuery as error:
            wrong.take(*error.mistakes)
            continue
        if None in row:
            wrong.add(
                f"line {line}", f"column {row.index(None) + 1} is empty", "leave the line out"
            )
        rows.append(row)
    wrong.check()
    return np.array(rows).reshape(len(rows), width)


def _is_number(cell: str) -> bool:
    try:
        return number_of(cell, 1, 1) is not None
    except BadQuery:
        return False


def _folder(path: Path) -> Numbers:
    """Pictures by name, all of one size. Nothing else may lie there, and no link may lead out."""
    names = sorted(entry.name for entry in os.scandir(path) if not entry.name.startswith("."))
    if not names:
        refuse("is an empty folder", "put PNGs of one size into it")
    return _gallery(names, lambda name: opened(confined(name, path, path)))


def _is_pack(file: BinaryIO) -> bool:
    """Whether a zip holds pictures, and no arrays."""
    with zipfile.ZipFile(file) as pack:
        found = any(_is_png(name) for name in pack.namelist())
    file.seek(0)
    return found


def _pack(file: BinaryIO) -> Numbers:
    """The same in a zip: pictures in any folders, by name."""
    with zipfile.ZipFile(file) as pack:
        names = [name for name in pack.namelist() if not name.endswith("/") and not _hidden(name)]
        if not names:
            refuse("holds no picture", "put PNGs of one size into it")
        total = sum(member.file_size for member in pack.infolist())
        _fits((), total)

        def member(name: str) -> tuple[BinaryIO, int]:
            size = pack.getinfo(name).file_size
            with pack.open(name) as one:
                begin = one.read(len(PNG))  # of what is none no more is unpacked
                return io.BytesIO(begin + (one.read(size) if begin == PNG else b"")), size

        return _gallery(sorted(names), member)


def _is_png(name: str) -> bool:
    return name.lower().endswith(".png")


def _hidden(name: str) -> bool:
    """What systems put beside what was packed."""
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def _gallery(names: Iterable[str], pixels: Callable[[str], tuple[BinaryIO, int]]) -> Numbers:
    """Pictures by name, all of one size; `pixels` opens one. -> (n, h, w), or (n, h, w, 3)"""
    wrong, pictures = Mistakes(MISTAKES), list[Numbers]()
    grey, total = True, 0
    for name in names:
        try:
            picture, flat = _picture(name, pixels)
            if pictures and picture.shape != pictures[0].shape:
                size, first = (f"{t.shape[0]} x {t.shape[1]}" for t in (picture, pictures[0]))
                refuse(f"is {size}, the first {first}", "give pictures of one size")
            total += picture.nbytes
            _fits((), total)
            grey = grey and flat
            pictures.append(picture)
        except TooLarge:
            raise
        except BadQuery as error:
            told = name if name.isprintable() else shown(name)
            wrong.take(*error.under(f"picture {told}").mistakes)
    wrong.check()
    every: Numbers = np.stack([one[..., 0] for one in pictures] if grey else pictures)
    return every


def _picture(name: str, pixels: Callable[[str], tuple[BinaryIO, int]]) -> tuple[Numbers, bool]:
    """-> (h, w, 3) uint8, and whether it is grey"""
    if not _is_png(name):
        refuse("is no .png", "leave pictures alone in the folder")
    try:
        file, _ = pixels(name)
        with file:
            found = read_png(file, lambda shape: _fits(shape, 4 * shape[0] * shape[1]))
    except (BadQuery, MemoryError):
        raise
    except Exception as error:  # a broken file: each reader says it in its own way
        refuse(f"cannot be read: {error}", "copy it again, whole")
    return found, bool((found == found[..., :1]).all())


def _checked(found: Numbers, shape: Sequence[int] | None) -> Numbers:
    """As many examples of one shape, all of finite numbers."""
    if not found.ndim or not len(found):
        refuse("holds no example", "give at least one, along the first axis")
    if shape is not None and found.shape[1:] != tuple(shape):
        if found.ndim != 2 or found.shape[1] != math.prod(shape):
            refuse(f"holds examples of shape {[*found.shape[1:]]}", f"give {[*shape]}")
        found = found.reshape(len(found), *shape)
    if found.dtype.kind == "f":
        wild = ~np.isfinite(found.reshape(len(found), -1)).all(1)
        wrong = Mistakes(MISTAKES)
        for place in np.flatnonzero(wild)[:MISTAKES]:
            wrong.add(f"example {place}", "has a number that is nan or inf", "leave it out")
        wrong.check()
    return found
