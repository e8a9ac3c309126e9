"""Arrays of the files that evidence names: .npy, .npz, .png, .csv.

A name may mean a file of one folder alone; what a file holds is measured before it is read, and
nothing in it is code.
"""

import csv
import io
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from engine.errors import BadQuery, Mistake, Mistakes, TooLarge, shown
from modules.shared.files import Confine
from modules.shared.reading.arrays import (
    Numbers,
    number_of,
    opened,
    read_npy,
    read_npz,
    read_png,
    refuse,
)
from modules.shared.weights import confined
from services.query import (
    ArrayFile,
    EvidenceArray,
    InputSpec,
    NamedInputSpec,
    NumberInputSpec,
    Query,
    RealSpec,
    VariableSpec,
)
from services.query.arrays import evidence_array
from services.settings import DEFAULT, Limits

NAMED = 80  # characters of the name of a file that are told
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

    def check(self, shape: tuple[int, ...], size: int) -> None:
        """Raises BadQuery for another shape, or one of too many bytes."""
        if shape != self.shape:
            _shaped(shape, self.shape)
        self.check_bytes(size)

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
        file, size = opened(confine(named.file))
        with file, warnings.catch_warnings():
            wanted.check_bytes(size)
            warnings.simplefilter("ignore")  # of old formats: what they hold is checked
            array = evidence_array(READERS[suffix](file, wanted))
        if array is None:
            refuse("holds numbers beyond 64 bits with a sign", "save them as int64 or float64")
        if array.shape != spec.shape:
            _shaped(array.shape, spec.shape)
        _check_numbers(array, spec)
    except BadQuery as error:
        raise type(error)(*(_of_file(named.file, m) for m in error.mistakes)) from None
    except Exception as error:  # what readers of broken files may raise is not told anywhere
        said = (isinstance(error, OSError) and error.strerror) or error
        problem = f"{shown(named.file)} cannot be read: {said}"
        raise BadQuery(Mistake("file", problem, "name a file that is whole")) from None
    return array


def _check_numbers(array: EvidenceArray, spec: VariableSpec | InputSpec) -> None:
    """Raises BadQuery where a number is not finite, and where an entry of an input is there in
    part."""
    wrong = array.mistakes()
    if isinstance(spec, (NumberInputSpec, NamedInputSpec)) and array.present is not None:
        missing = array.missing.reshape(len(array.missing) if spec.shape else 1, -1)
        for entry in np.flatnonzero(missing.any(1) & ~missing.all(1))[:1].tolist():
            what = "some of its cells are empty, and an entry of an input is absent as a whole"
            wrong.append(Mistake(f"[{entry}]", what, "leave all of them empty, or fill them"))
    if wrong:
        raise BadQuery(*wrong)


def _of_file(name: str, mistake: Mistake) -> Mistake:
    """A mistake in a file, under its name."""
    short = name if len(name) <= NAMED else f"{name[:NAMED]}..."
    told = name in mistake.problem or short in mistake.problem
    problem = mistake.problem if told else f"{short}: {mistake.problem}"
    return Mistake(mistake.path or "file", problem, mistake.remedy)


def _npy(file: BinaryIO, wanted: Wanted) -> Numbers:
    return read_npy(file, wanted.check)


def _npz(file: BinaryIO, wanted: Wanted) -> Numbers:
    return read_npz(file, wanted.key, wanted.check)


def _png(file: BinaryIO, wanted: Wanted) -> Numbers:
    """A picture, grey (h, w) or in colour (h, w, 3): numbers from 0 to 1, or whole, to 255."""

    def check(size: tuple[int, int, int]) -> None:
        if size[:2] != wanted.shape[:2] or wanted.shape[2:] not in ((), (3,)):
            _shaped(size if size[2] == 3 else size[:2], wanted.shape)
        wanted.check_bytes(4 * size[0] * size[1])

    pixels = read_png(file, check)
    if len(wanted.shape) == 3:
        found = pixels
    else:
        found = pixels[..., 0]
        if (pixels != found[..., None]).any():
            refuse("is in colour", f"declare the shape {[*pixels.shape]}, or save it in grey")
    return found if wanted.whole else found / np.float32(255)


def _csv(file: BinaryIO, wanted: Wanted) -> Numbers:
    """Numbers: a line for each entry of the first axis, or one line; an empty cell is absent, and
    so are all cells of an empty line, but for those at the end."""
    count, limits = wanted.count, wanted.limits
    if count > limits.nodes:
        limit = f"{limits.told('nodes')}: use .npy"
        raise TooLarge(Mistake("file", f"{count} numbers as text", limit))
    raw = file.read(CELL * (count + 9) + 1)
    if len(raw) > CELL * (count + 9):
        refuse(f"is longer than {count} numbers can be", f"give {[*wanted.shape]}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        refuse("is not UTF-8", "save it as UTF-8")
    lines = list(csv.reader(io.StringIO(text)))
    while lines and not lines[-1]:
        del lines[-1]
    width = max(map(len, lines), default=0)
    lines = [line or [""] * width for line in lines]
    widths = [len(line) for line in lines]
    tall = wanted.shape[:1] in ((), (len(lines),)) or len(lines) == 1
    if sum(widths) != count or len(set(widths)) > 1 or not tall:
        found = (len(lines), widths[0]) if len(set(widths)) == 1 else tuple(widths[:9])
        _shaped(found, wanted.shape)
    numbers = [
        number_of(cell, line, column)
        for line, cells in enumerate(lines, 1)
        for column, cell in enumerate(cells, 1)
    ]
    absent = np.array([number is None for number in numbers], dtype=bool)
    flat = np.array([0 if number is None else number for number in numbers])
    masked: Numbers = np.ma.MaskedArray(flat, absent)
    return (masked if absent.any() else flat).reshape(wanted.shape)


READERS: Mapping[str, Callable[[BinaryIO, Wanted], Numbers]] = {
    ".npy": _npy, ".npz": _npz, ".png": _png, ".csv": _csv,
}  # fmt: skip


def _shaped(found: tuple[int, ...], wanted: tuple[int, ...]) -> NoReturn:
    raise BadQuery(Mistake("file", f"holds an array of shape {[*found]}", f"give {[*wanted]}"))
