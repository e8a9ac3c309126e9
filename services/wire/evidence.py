"""Rows of evidence as messages and back: plain values by name, arrays as raw bytes beside them."""

from collections.abc import Container, Iterable, Mapping, MutableSequence, Sequence
from functools import partial
from typing import Any

import numpy as np

from engine.errors import BadQuery, Mistake, TooLarge
from services.query import EvidenceArray
from services.query.arrays import evidence_array
from services.query.model import written_row
from services.settings import DEFAULT, Limits
from services.v1 import query_pb2 as pb
from services.v1 import tensor_pb2, value_pb2
from services.wire.arrays import Array, Content, put_array, view
from services.wire.fields import collect_mistakes
from services.wire.values import from_assignment, to_assignment

Row = Mapping[str, Any]


def rows_to_proto(
    rows: Sequence[Row],
    evidence: Any,
    arrays: Any,
    raw: MutableSequence[bytes] | None,
    inputs: Container[str] = (),
) -> None:
    """Rows in the repeated fields `evidence` and `arrays`; bytes of arrays are appended to `raw`.
    Arrays of one name and type stand in one tensor. Without `raw` they become nested lists."""
    if raw is None:
        evidence.extend(to_assignment(written_row(row, inputs, True)) for row in rows)
        return
    alike: dict[tuple[Any, ...], list[int]] = {}
    for place, row in enumerate(rows):
        rest = {}
        for name, value in row.items():
            if isinstance(value, EvidenceArray):
                masked = None if value.present is None else value.present.shape
                key = name, value.values.dtype.str, value.shape, masked
                alike.setdefault(key, []).append(place)
            else:
                rest[name] = value
        evidence.append(to_assignment(written_row(rest)))
    for (name, *_), places in alike.items():
        message = arrays.add(name=name)
        if places != [*range(len(places))]:
            message.rows.extend(places)
        every: list[EvidenceArray] = [rows[place][name] for place in places]
        put_array(np.stack([one.values for one in every]), message.values, raw)
        masks = [one.present for one in every if one.present is not None]
        if masks:
            put_array(np.stack(masks), message.present, raw)


def rows_from_proto(
    evidence: Sequence[value_pb2.Assignment],
    arrays: Sequence[pb.EvidenceArray],
    raw: Sequence[Content],
    limits: Limits = DEFAULT,
) -> list[dict[str, Any]]:
    """The rows of messages. Raises BadQuery with every mistake, paths as in a query."""
    found: list[Mistake] = []
    rows: list[dict[str, Any]] = [
        collect_mistakes(found, f"evidence[{k}]", partial(from_assignment, row, limits))
        for k, row in enumerate(evidence)
    ] or [{}]
    if found:
        raise BadQuery(*found[: limits.mistakes])
    if len(arrays) > limits.tensors:
        raise TooLarge(Mistake("arrays", f"{len(arrays)}", limits.told("tensors")))
    for k, message in enumerate(arrays):
        try:
            for place, array in _arrays(message, raw, len(rows), limits):
                if message.name in rows[place]:
                    path = f"evidence[{place}].{message.name}"
                    found.append(Mistake(path, "stands twice", "give every name once a row"))
                rows[place][message.name] = array
        except BadQuery as error:
            found += error.under(f"arrays[{k}]").mistakes
    if found:
        raise BadQuery(*found[: limits.mistakes])
    return rows


def _arrays(
    message: pb.EvidenceArray, raw: Sequence[Content], count: int, limits: Limits
) -> Iterable[tuple[int, EvidenceArray]]:
    """Rows and their arrays."""
    values = _viewed("values", message.values, raw, limits)
    present = None
    if message.HasField("present"):
        present = _viewed("present", message.present, raw, limits)
        if present.dtype != np.bool_ or present.shape not in (values.shape, values.shape[:2]):
            problem = f"{present.dtype} of shape {[*present.shape]}"
            remedy = f"give bool of shape {[*values.shape[:2]]} or {[*values.shape]}"
            raise BadQuery(Mistake("present", problem, remedy))
    if values.ndim < 2:
        problem = f"shape {[*values.shape]}"
        raise BadQuery(Mistake("values", problem, "give rows of arrays: a single one as a value"))
    places = [*message.rows] or [*range(len(values))]
    if (
        len(places) != len(values)
        or len({*places}) < len(places)
        or max(places, default=0) >= count
    ):
        problem = f"{len(places)} rows for {len(values)} arrays and {count} rows of evidence"
        raise BadQuery(Mistake("rows", problem, "name the row of each array, each once"))
    for k, place in enumerate(places):
        one = values[k]
        if present is not None:
            mask = present[k].reshape(*present.shape[1:], *[1] * (one.ndim - present.ndim + 1))
            one = np.ma.MaskedArray(one, np.broadcast_to(~mask, one.shape))
        array = evidence_array(one)
        assert array is not None
        yield place, array


def _viewed(
    path: str, spec: tensor_pb2.TensorSpec, raw: Sequence[Content], limits: Limits
) -> Array:
    try:
        return view(spec, raw, limits)
    except BadQuery as error:
        raise error.under(path) from None
