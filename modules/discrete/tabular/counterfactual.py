"""Which cells of a row must change for a learned table to prefer another label: the fewest.

One and two changed cells are enumerated, so that nothing smaller is overlooked; more are found by
adding the column that brings the label nearest, which may not be the fewest.
Source: Wachter, Mittelstadt, Russell, "Counterfactual explanations without opening the black box",
Harvard JOLT, 2017.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from engine.minimizer import never
from modules.discrete.tabular.marginals import CHUNK
from modules.discrete.tabular.network import TableNet


class Change(NamedTuple):
    """Columns whose cells are changed together; smallest: fewer were ruled out by enumeration."""

    columns: tuple[int, ...]
    smallest: bool


class _Best(NamedTuple):
    """The best values of some columns: by how much the label is then preferred, in nats."""

    margin: float
    columns: tuple[int, ...]
    codes: Tensor  # (D,)


@torch.no_grad()
def smallest_change(
    net: TableNet,
    codes: Tensor,
    target: int,
    label: int,
    free: Sequence[int],
    stop: Callable[[], bool] = never,
) -> Change | None:
    """The fewest of the `free` columns to change. codes (D,), -1 missing. None: it found none, or
    `stop` came before, which is asked before each group of columns."""
    best = _best(net, codes, target, label, ())
    if best.margin > 0:
        return Change((), True)
    for count in (1, 2):
        every = itertools.combinations(free, count)
        found = []
        for columns in every:
            if stop():
                return None
            found.append(_best(net, codes, target, label, columns))
        best = max([best, *found], key=lambda b: b.margin)
        if best.margin > 0:
            return Change(best.columns, True)
    changed = set(best.columns)
    while left := [d for d in free if d not in changed]:
        if stop():
            return None
        found = [_best(net, best.codes, target, label, (d,)) for d in left]
        best = max(found, key=lambda b: b.margin)
        changed |= set(best.columns)
        if best.margin > 0:
            return Change(tuple(sorted(changed)), False)
    return None


def _best(net: TableNet, codes: Tensor, target: int, label: int, columns: tuple[int, ...]) -> _Best:
    """All values of a few columns, evaluated together."""
    rows = codes[None]
    if columns:
        values = torch.cartesian_prod(*(torch.arange(net.sizes[d]) for d in columns))
        values = values.reshape(-1, len(columns))
        rows = rows.repeat(len(values), 1)
        rows[:, list(columns)] = values
    margins = []
    for chunk in rows.split(CHUNK):
        logits = net.logits(chunk, target)
        own = logits[:, label].clone()
        logits[:, label] = -torch.inf
        margins.append(own - logits.max(-1).values)
    margin, at = torch.cat(margins).max(0)
    return _Best(float(margin), columns, rows[at])
