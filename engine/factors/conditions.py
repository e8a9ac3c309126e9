"""Structure that binds only where a literal is true."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from engine.decimals import Ints as Ints
from engine.decimals import added, decimal
from engine.factors.families import Counted, Sums, Table, floats, ints

if TYPE_CHECKING:
    from engine.factors.factors import Factors


def written_out(table: Table, sizes: Ints, most: int) -> Table | None:
    """A table of one shape under conditions as one that has their sites in its scopes, all its
    combinations written out; None where these are more than `most`."""
    if table.when is None or not table.count:
        return table.bound
    beside, values = table.when[:, :, 0], table.when[:, :, 1]
    scopes = np.concatenate([table.scopes, beside], 1)
    shape = sizes[scopes[0]].tolist()
    alike = (sizes[scopes] == shape).all() and (values == values[0]).all()
    if not alike or math.prod(shape) > most:
        return None
    dense = table.bound.dense(shape[: table.arity])
    lead = dense.ndim - table.arity
    full = np.zeros((*dense.shape[:lead], *shape))
    full[(*[slice(None)] * dense.ndim, *values[0])] = dense
    tuples = np.indices(shape).reshape(len(shape), -1).T
    costs = full.reshape(*full.shape[:lead], -1)
    return replace(table, scopes=scopes, tuples=tuples, costs=costs, default=0.0, when=None)


def put_under_condition(
    factors: "Factors",
    counted_if: Sequence[tuple[int, int]],
    clauses_if: Sequence[tuple[int, int]],
    sums_if: Sequence[tuple[int, int]],
) -> "Factors":
    """Structure that binds only where a literal is true: one condition a list.

    A clause takes the negated literal; counts and sums become sums with a large enough
    coefficient on the literal.
    """
    clauses = factors.clauses
    if clauses.count:
        at = clauses.start[1:]
        cond_site, cond_value = ints([s for s, _ in clauses_if]), ints([v for _, v in clauses_if])
        clauses = replace(
            clauses,
            start=clauses.start + np.arange(clauses.count + 1),
            site=np.insert(clauses.site, at, cond_site),
            value=np.insert(clauses.value, at, cond_value),
            sign=np.insert(clauses.sign, at, False),
        )
    c, s = factors.counted, factors.sums
    pieces = []
    for k in range(c.count):
        a, b = c.start[k], c.start[k + 1]
        pieces.append(
            (
                c.site[a:b],
                c.value[a:b],
                np.ones(b - a),
                float(c.low[k]),
                float(c.high[k]),
                counted_if[k],
                c.term[k],
                c.part[k],
            )
        )
    for k in range(s.count):
        a, b = s.start[k], s.start[k + 1]
        pieces.append(
            (
                s.site[a:b],
                s.value[a:b],
                s.coefficient[a:b],
                s.low[k],
                s.high[k],
                sums_if[k],
                s.term[k],
                s.part[k],
            )
        )
    sums = _conditional_sums(pieces)
    return replace(factors, counted=Counted(), clauses=clauses, sums=sums)


def _conditional_sums(pieces) -> Sums:
    start, site, value, coefficient = [0], [], [], []
    low, high, term, part = [], [], [], []
    for sites, values, factors, least, most, (cond_site, cond_value), owner, place in pieces:
        bottom, top = added(factors[factors < 0]), added(factors[factors > 0])
        if math.isfinite(most) and top > decimal(most):
            room = math.ceil(top - decimal(most))  # whole, so that the edge keeps its digits
            site.append(np.append(sites, cond_site))
            value.append(np.append(values, cond_value))
            coefficient.append(np.append(factors, float(room)))
            low.append(-math.inf)
            high.append(float(decimal(most) + room))
        if math.isfinite(least) and bottom < decimal(least):
            room = math.ceil(decimal(least) - bottom)
            site.append(np.append(sites, cond_site))
            value.append(np.append(values, cond_value))
            coefficient.append(np.append(factors, -float(room)))
            low.append(float(decimal(least) - room))
            high.append(math.inf)
        while len(start) <= len(site):
            start.append(start[-1] + len(site[len(start) - 1]))
            term.append(owner)
            part.append(place)
    if not site:
        return Sums()
    return Sums(
        ints(start),
        ints(np.concatenate(site)),
        ints(np.concatenate(value)),
        ints(term),
        ints(part),
        floats(np.concatenate(coefficient)),
        floats(low),
        floats(high),
    )
