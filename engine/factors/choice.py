"""A choice between structures over the same sites."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from engine.factors.conditions import put_under_condition, put_under_selector
from engine.factors.factors import Factors, renumber
from engine.factors.families import ints


def conditional(branches: Sequence[Factors]) -> Factors:
    """A choice between structures over the same sites: a hidden selector says which one binds."""
    first = branches[0]
    selector = first.visible
    sizes = np.append(first.sizes[: first.visible], len(branches)).astype(np.int64)
    pieces, offset = [], 0
    for b, branch in enumerate(branches):
        rigid = branch.expanded().listed().plain()
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
            tables=tuple(
                piece
                for t in rigid.tables
                for piece in put_under_selector(t, np.full(len(t.scopes), n), b, rigid.sizes)
            ),
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
    """The same structure with its part numbers moved behind `offset`, and the next free number."""
    parts = [factors.counted.part, factors.clauses.part, factors.sums.part, factors.different.part]
    parts += [table.part for table in factors.tables]
    top = max([int(part.max()) for part in parts if len(part)], default=-1)
    moved = replace(
        factors,
        counted=replace(factors.counted, part=factors.counted.part + offset),
        clauses=replace(factors.clauses, part=factors.clauses.part + offset),
        sums=replace(factors.sums, part=factors.sums.part + offset),
        different=replace(factors.different, part=factors.different.part + offset),
        tables=tuple(replace(t, part=t.part + offset) for t in factors.tables),
    )
    return moved, offset + top + 1
