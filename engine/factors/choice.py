"""A choice between structures over the same sites."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from engine.factors.conditions import put_under_condition
from engine.factors.factors import Factors, renumber
from engine.factors.families import ints


def conditional(branches: Sequence[Factors]) -> Factors:
    """A choice between structures over the same sites: a hidden selector says which one binds."""
    first = branches[0]
    selector = first.visible
    sizes = np.append(first.sizes[: first.visible], len(branches)).astype(np.int64)
    pieces, offset = [], 0
    for b, branch in enumerate(branches):
        rigid = branch.expanded()
        n = len(rigid.sizes)
        bound = put_under_condition(
            rigid,
            [(n, b)] * rigid.counted.count,
            [(n, b)] * rigid.clauses.count,
            [(n, b)] * rigid.sums.count,
        )
        bound = replace(
            bound,
            sizes=np.append(rigid.sizes, len(branches)).astype(np.int64),
            tables=tuple(t.under(np.full(t.count, n), b) for t in rigid.tables),
        )
        bound, offset = parts_after(bound, offset)
        # the selector is the last hidden site of the branch: bring it to its common place
        hidden = n - branch.visible
        order = [
            *range(branch.visible),
            *range(branch.visible + 1, branch.visible + 1 + hidden),
            branch.visible,
        ]
        bound = renumber(bound, ints(order))
        bound = replace(
            bound,
            sizes=np.concatenate([sizes, rigid.sizes[branch.visible :]]).astype(np.int64),
            visible=selector + 1,
        )
        pieces.append((bound, list(range(selector + 1))))
    merged = Factors.merge(sizes, pieces)
    return replace(merged, visible=selector, interchangeable=False, functional=False)


def parts_after(factors: Factors, offset: int) -> tuple[Factors, int]:
    """The same structure with its part numbers moved behind `offset`, and the next free number;
    what has no number, as it says only what a hidden site means, has none."""
    top = max((int(f.part.max()) for f in factors.families() if f.count), default=-1)
    moved = factors.mapped(
        lambda family: family.marked(
            family.term, np.where(family.part < 0, family.part, family.part + offset)
        )
    )
    return moved, offset + top + 1
