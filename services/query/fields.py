"""The types of a query's fields: what may stand in each, and what is said of anything else."""

import math
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, Strict, ValidationInfo

from engine.errors import BadQuery, Mistake, join, known, shown
from engine.plain import plain
from services.query.arrays import ArrayFile, evidence_array, given_list, is_given
from services.query.mistakes import limits_of, over, wrong

Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Truth = Annotated[bool, Strict()]


def _text(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, str):
        return value
    limits = limits_of(info)
    if len(value) > limits.name:
        over(f"{len(value)} characters", limits.told("name"))
    if not value or not value.isprintable():
        wrong(f"{shown(value)} is no name", "give printable characters, at least one")
    return value


Text = Annotated[str, Strict(), BeforeValidator(_text)]


def _plain(value: Any, depth: int, path: str, found: list[Mistake]) -> Any:
    """The same value, all that holds a list as a list; what is not plain goes to `found`."""
    value = plain(value) if type(value) not in _KNOWN else value
    if isinstance(value, (list, tuple)):
        if depth <= 0:
            found.append(Mistake(path, "nested too deep", "give flatter lists"))
            return None
        kinds = set(map(type, value))
        if (
            kinds <= _SIMPLE_OR_FLOAT
            and (float not in kinds or all(math.isfinite(x) for x in value if type(x) is float))
            and (str not in kinds or all(_whole(x) for x in value if type(x) is str))
        ):
            return list(value)
        return [_plain(entry, depth - 1, f"{path}[{k}]", found) for k, entry in enumerate(value)]
    if isinstance(value, Mapping):
        if depth <= 0:
            found.append(Mistake(path, "nested too deep", "give flatter mappings"))
            return None
        for name in value:
            if not isinstance(name, str):
                found.append(Mistake(path, f"the name {shown(name)} is no text", "quote it"))
            elif not _whole(name):
                found.append(_half(path, name))
        return {
            name: _plain(entry, depth - 1, f"{path}.{name}" if path else str(name), found)
            for name, entry in value.items()
        }
    if type(value) is float and not math.isfinite(value):
        remedy = "give a finite number, or null where that is allowed"
        found.append(Mistake(path, f"{value} is not finite", remedy))
    elif type(value) is str and not _whole(value):
        found.append(_half(path, value))
    elif type(value) not in _SIMPLE_OR_FLOAT:
        found.append(
            Mistake(
                path,
                f"{shown(value)} of type {type(value).__name__} is no plain value",
                "give numbers, texts, true, false, null or lists of them",
            )
        )
    return value


def _whole(text: str) -> bool:
    """Whether a text can be written: JSON can say half of a surrogate pair, UTF-8 cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _half(path: str, text: str) -> Mistake:
    said = f"{shown(text)} holds half of a surrogate pair"
    return Mistake(path, said, "write whole characters")


_SIMPLE_OR_FLOAT = {int, str, bool, type(None), float}
_KNOWN = _SIMPLE_OR_FLOAT | {list, tuple, dict}


def _mapping(value: Any, info: ValidationInfo) -> Any:
    """Parameters: a mapping of plain values."""
    if not isinstance(value, Mapping):
        return value
    found: list[Mistake] = []
    plain = _plain(value, limits_of(info).nesting + 1, "", found)
    if found:
        wrong(mistakes=found)
    return plain


def _rows(value: Any, info: ValidationInfo) -> Any:
    """Evidence: a mapping (one row), or a list of them; always kept as a tuple of rows."""
    if isinstance(value, Mapping):
        entries, paths = [value], [""]
    elif isinstance(value, (list, tuple)) and value:
        entries, paths = list(value), [f"[{k}]" for k in range(len(value))]
    else:
        wrong(
            f"{shown(value)} is neither a mapping nor a list of mappings",
            "write {grid: [...]}, one mapping for each row, or leave evidence out",
        )
    found: list[Mistake] = []
    rows = []
    for entry, path in zip(entries, paths, strict=True):
        if not isinstance(entry, Mapping):
            found.append(
                Mistake(path, f"{shown(entry)} is no mapping", "write variable: nested values")
            )
            continue
        rows.append(_evidence(entry, limits_of(info).nesting, path, found))
    if found:
        wrong(mistakes=found)
    return tuple(rows)


def _row(value: Any, info: ValidationInfo) -> Any:
    """Evidence of one row."""
    if not isinstance(value, Mapping):
        return value
    found: list[Mistake] = []
    row = _evidence(value, limits_of(info).nesting, "", found)
    if found:
        wrong(mistakes=found)
    return row


def _evidence(
    row: Mapping[Any, Any], depth: int, path: str, found: list[Mistake]
) -> dict[str, Any]:
    """The entries of one row: arrays as they are, names of files, everything else plain."""
    rest = dict(row)
    read = {}
    for name, given in row.items():
        at = join(path, str(name))
        try:
            if isinstance(given, ArrayFile):
                read[name] = rest.pop(name)
            elif isinstance(given, Mapping):
                del rest[name]
                read[name] = _file(given)
            elif (array := evidence_array(given)) is not None:
                del rest[name]
                read[name] = array
                found += BadQuery(*array.mistakes()).under(at).mistakes
            elif is_given(given):
                rest[name] = given_list(given)
        except BadQuery as error:
            found += error.under(at).mistakes
    plain_ones = _plain(rest, depth + 1, path, found)
    return {name: read[name] if name in read else plain_ones.get(name) for name in row}


def _file(given: Mapping[Any, Any]) -> ArrayFile:
    """A mapping that stands for what a file holds. Raises BadQuery."""
    fields = ("file", "key")
    if "file" not in given:
        near = [name for name in given if get_close_matches(str(name), fields)]
        remedy = "nest lists as the shape, null where a site is open, or write {file: PATH}"
        remedy = f"did you mean {{file: PATH}}? {remedy}" if near else remedy
        raise BadQuery(Mistake("", f"{shown(dict(given))} is a mapping", remedy))
    wrong_names = [name for name in given if name not in fields]
    if wrong_names:
        raise BadQuery(
            *(
                Mistake(
                    str(name),
                    f"unknown field, with the value {shown(given[name])}",
                    known(name, fields),
                )
                for name in wrong_names
            )
        )
    for name, text in given.items():
        if not (isinstance(text, str) and text and _whole(text)):
            raise BadQuery(Mistake(name, f"{shown(text)} is no name", "give a text"))
    return ArrayFile(**given)


def _shape(value: Any, info: ValidationInfo) -> Any:
    return _bounded(value, info, "sites", "sites")


def _input_shape(value: Any, info: ValidationInfo) -> Any:
    return _bounded(value, info, "numbers", "input_numbers")


def _bounded(value: Any, info: ValidationInfo, what: str, limit: str) -> Any:
    """A shape of at most so many entries, as far as it is one."""
    value = plain(value)
    if isinstance(value, int) and not isinstance(value, bool):
        wrong(f"{value} is no list", f"write [{value}]")
    if isinstance(value, (list, tuple)):
        limits = limits_of(info)
        if len(value) > limits.rank:
            over(f"{len(value)} axes", limits.told("rank"))
        if all(type(size) is int and size >= 0 for size in value):
            total = math.prod(max(size, 1) for size in value)
            if total > getattr(limits, limit):
                over(f"{total} {what}", limits.told(limit))
    return value


_Sizes = tuple[Annotated[Whole, Field(ge=0)], ...]
Shape = Annotated[_Sizes, BeforeValidator(_shape)]
InputShape = Annotated[_Sizes, BeforeValidator(_input_shape)]


def _values(value: Any, info: ValidationInfo) -> Any:
    value = plain(value)
    if not isinstance(value, (list, tuple)):
        return value
    limits = limits_of(info)
    if not value:
        wrong("the domain is empty", "name at least one value")
    if len(value) > limits.values:
        over(f"{len(value)} values", limits.told("values"))
    found: list[Mistake] = []
    seen: dict[Any, int] = {}
    for k, entry in enumerate(value):
        if entry is None:
            found.append(Mistake(f"[{k}]", "null is no value", "null marks an open site"))
        elif type(entry) not in _SIMPLE_OR_FLOAT:
            found.append(
                Mistake(f"[{k}]", f"{shown(entry)} is no single value", "give numbers or texts")
            )
        elif type(entry) is float and not math.isfinite(entry):
            found.append(Mistake(f"[{k}]", f"{entry} is not finite", "give a finite number"))
        elif type(entry) is str and not _whole(entry):
            found.append(_half(f"[{k}]", entry))
        elif (first := seen.setdefault((type(entry), entry), k)) != k:
            found.append(
                Mistake(
                    f"[{k}]",
                    f"{shown(entry)} stands twice, first at [{first}]",
                    "name every value once",
                )
            )
    if found:
        wrong(mistakes=found)
    return value


def edge(open_end: float) -> BeforeValidator:
    """No NaN; an infinite edge is no edge."""

    def check(value: Any) -> Any:
        if isinstance(value, float) and math.isnan(value):
            wrong("nan is no edge", "give a number, or leave it out")
        return None if value == open_end else value

    return BeforeValidator(check)


Params = Annotated[dict[str, Any], BeforeValidator(_mapping)]
Row = Annotated[dict[str, Any], BeforeValidator(_row)]
Rows = Annotated[tuple[dict[str, Any], ...], BeforeValidator(_rows)]
Values = Annotated[tuple[Any, ...], BeforeValidator(_values)]
