"""The rows of a table parted into those to learn from and those held out, fairly by the label."""

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.errors import BadQuery, Mistake
from engine.random import Stream
from modules.discrete.tabular.schema import Column, Schema, Type

HELD_OUT, MOST = 0.1, 5_000  # share of the rows that are held out, and how many at most
SMALL_HELD_OUT, SMALL = 0.3, 90  # of few rows: a larger share, up to so many
LEAST = 20  # rows, and cells of the target, to learn from
SPLIT = 621  # lane of the stream


@dataclass(frozen=True, eq=False)
class Split:
    """Rows to learn from, and rows that tell when to stop, temperature and band; -1: missing.

    notes: what was left out of the file, in words.
    """

    schema: Schema
    rows: Tensor  # (N, D)
    held: Tensor  # (M, D)
    notes: tuple[str, ...] = ()


def parted(
    schema: Schema, codes: Tensor, target: int | None, seed: int, notes: tuple[str, ...] = ()
) -> Split:
    """The rows, split at random. BadQuery: too few of them, or a target that teaches nothing."""
    if len(codes) < LEAST:
        raise BadQuery(Mistake("", f"{len(codes)} rows are too few to learn from", f"give {LEAST}"))
    if target is not None:
        _check_label(schema.modelled[target], codes[:, target])
    order = _order(codes, target, seed)
    held = order[: _held_out(len(order))]
    rest = torch.ones(len(codes), dtype=torch.bool)
    rest[held] = False
    return Split(schema, codes[rest], codes[held], notes)


def _check_label(column: Column, codes: Tensor) -> None:
    """BadQuery where nothing can be learned about the target."""
    present = int((codes >= 0).sum())
    if present < LEAST:
        problem = f"{present} cells are present, too few to learn from"
        raise BadQuery(Mistake(f"column {column.name}", problem, f"give {LEAST}, or no target"))
    if len(column.values) < 2:
        problem = f"has one value, {column.values[0]!r}: there is nothing to tell apart"
        raise BadQuery(
            Mistake(f"column {column.name}", problem, "give rows with others, or no target")
        )


def _held_out(rows: int) -> int:
    """How many rows are held out, of those that can be."""
    few = min(SMALL, int(SMALL_HELD_OUT * rows))
    return min(MOST, max(1, few, int(HELD_OUT * rows)))


def _order(codes: Tensor, target: int | None, seed: int) -> Tensor:
    """Rows in the order in which they are held out: at random, those with a target, each value
    of it in its share; of every value that two rows have, one comes first."""
    stream = Stream(seed, torch.zeros(1, dtype=torch.int64)).fork(SPLIT)
    drawn = stream.uniform(1, len(codes), dtype=torch.float64)[0]
    order = drawn.argsort()
    if target is None:
        return order
    order = order[codes[order, target] >= 0]
    labels = codes[order, target]
    place = torch.zeros(len(order), dtype=torch.float64)  # of each row within its value, 0 to 1
    for label in labels.unique():
        own = (labels == label).nonzero()[:, 0]
        place[own] = (torch.arange(len(own)) + 0.5).double() / len(own)
        if len(own) > 1:
            place[own[0]] = 0.0
        else:
            place[own[0]] = 1.0  # the only one is learned from
    return order[place.argsort(stable=True)]


def shares(codes: Tensor, column: Column) -> Tensor:
    """How often each value stands in a column, with some cells added to each: more to bins, as
    these were made about equal. -> (K,) float64"""
    added = 2.0 if column.type is Type.NUMERIC else 0.5
    counts = torch.bincount(codes[codes >= 0], minlength=len(column.values)).double() + added
    return counts / counts.sum()
