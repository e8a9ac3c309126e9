"""Runs the sweeps of the kernels over the rows of a problem."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from torch import Tensor

from engine.decimals import Floats, Scale
from engine.factors import Factors, Table
from engine.kernels.sweeps import seat, sweep, sweep_couplings, sweep_pairs
from engine.problem import Problem
from engine.random import Stream
from engine.sweeps.layout import Layout, lay_out, lines_to_keep

PIECE = 1 << 18  # numbers that drawing holds at once


@dataclass(frozen=True, eq=False)
class PreparedSweeps:
    """What all steps and rows share."""

    layout: Layout
    particles: int
    scale: Scale | None = None  # of its costs, where they are whole numbers of units

    def field(self, row: int) -> np.ndarray:
        field = self.layout.field
        return field[row if len(field) > 1 else 0]


class OpenValues(NamedTuple):
    """What the evidence leaves open."""

    choices: np.ndarray  # (R, C) int16 allowed values of each site, packed
    options: np.ndarray  # (R, n) int32 how many

    def open(self, row: int, layout: Layout) -> np.ndarray:
        """Which literals may be taken. -> (C,) bool"""
        offset = layout.structure.offset[:-1].astype(np.int64)
        options = self.options[row]
        owner = np.repeat(np.arange(len(options)), options)
        rank = np.arange(len(owner)) - (np.cumsum(options) - options)[owner]
        out = np.zeros(self.choices.shape[1], dtype=bool)
        out[offset[owner] + self.choices[row][offset[owner] + rank]] = True
        return out


def layout_of(problem: Problem) -> Layout:
    """The arrays of a structure whose moves keep lines of sites that differ, made once; their costs
    are whole numbers of units where there is a `unit_of` them."""
    if problem.form.factors.varying:
        gathered = problem.gathered()
        return lay_out(gathered, lines_to_keep(gathered))
    if "layout" not in problem.memo:
        factors, scale = problem.form.factors, unit_of(problem)
        counted = factors if scale is None else in_units(factors, scale)
        problem.memo["layout"] = lay_out(counted, lines_to_keep(factors))
    return problem.memo["layout"]


def unit_of(problem: Problem) -> Scale | None:
    """The scale by which costs are whole numbers whose sums float64 holds, so that moves never lose
    the least of them beside the largest; None: there is none, or each row has its own."""
    factors = problem.form.factors
    return factors.scale if not factors.varying and factors.scale.fine else None


def in_units(factors: Factors, scale: Scale) -> Factors:
    """A structure whose costs are told in units."""
    if scale.unit == 1:
        return factors

    def counted(table: Table) -> Table:
        costs = np.append(table.costs.reshape(-1), table.default)
        finite = np.isfinite(costs)
        units = scale.units(np.where(finite, costs, 0.0), table.read).astype(np.float64)
        units = np.where(finite, units, costs)
        own = units[:-1].reshape(table.costs.shape)
        return replace(table, costs=own, default=float(units[-1]), computed=False, products=None)

    return replace(factors, tables=tuple(counted(table) for table in factors.tables))


def run_sweeps(
    plan: PreparedSweeps, row: int, left: OpenValues, weight, betas, key, lane, first, arrays, blame
) -> None:
    """The kernel that fits the structure."""
    layout = plan.layout
    x, best, scores = arrays
    if layout.pairs is not None:
        assert layout.pair_field is not None and layout.pair_constant is not None
        at = row if len(layout.pair_field) > 1 else 0
        sweep_pairs(
            layout.pairs,
            left.options,
            layout.pair_field[at],
            float(layout.pair_constant[at]),
            betas,
            key,
            lane,
            first,
            x,
            best,
            scores,
        )
    elif layout.couplings is not None:
        sweep_couplings(
            layout.couplings,
            layout.structure.offset,
            left.choices,
            left.options,
            plan.field(row),
            betas,
            key,
            lane,
            first,
            x,
            best,
            scores,
            np.zeros((0, 0, 2)),
        )
    else:
        sweep(
            layout.structure,
            row,
            left.choices,
            left.options,
            plan.field(row),
            weight,
            betas,
            key,
            lane,
            first,
            x,
            best,
            scores,
            blame,
            np.zeros((0, 0, 2)),
        )


def open_values(problem: Problem, layout: Layout) -> OpenValues:
    """The allowed values of every site, packed, and how many; what a table over one site forbids
    is left out, unless nothing else is left."""
    offset = layout.structure.offset.astype(np.int64)
    owner = np.repeat(np.arange(len(layout.sizes)), layout.sizes)
    value = np.arange(len(owner)) - offset[owner]
    allowed = problem.allowed.astype(bool)
    tight = allowed & ~layout.closed
    options = np.zeros((len(allowed), len(layout.sizes)), dtype=np.int32)
    choices = np.zeros(allowed.shape, dtype=np.int16)
    for r in range(len(allowed)):
        count = np.bincount(owner[tight[r]], minlength=len(layout.sizes))
        mask = tight[r] | (allowed[r] & (count == 0)[owner])
        count = np.bincount(owner[mask], minlength=len(layout.sizes))
        start = np.concatenate([[0], np.cumsum(count)])
        rank = np.arange(int(start[-1])) - start[owner[mask]]
        choices[r, offset[owner[mask]] + rank] = value[mask]
        options[r] = count
    return OpenValues(choices, options)


def move_inside(plan: PreparedSweeps, left: OpenValues, places: Tensor, rng: Stream) -> None:
    """Draws hidden sites, moves visible ones that a table forbids to an allowed value, and parts
    the sites of kept lines that agree."""
    layout = plan.layout
    rows, n = left.options.shape
    offset = layout.structure.offset[:-1].astype(np.int64)
    values = places.numpy().reshape(rows, -1, n)  # the same memory
    opened = [left.open(r, layout) for r in range(rows)]
    width = 4 * max(1, PIECE // (4 * len(places)))  # words come in fours
    for start in range(0, n, width):
        count = min(width, n - start)
        at = slice(start, start + count)
        words = rng.bits(plan.particles, count, start).cpu().numpy().reshape(rows, -1, count)
        for r in range(rows):
            fresh = left.choices[r][offset[at] + ((words[r] * left.options[r, at]) >> 32)]
            keep = opened[r][offset[at] + values[r, :, at]]
            keep[:, max(0, layout.visible - start) :] = False
            values[r, :, at] = np.where(keep, values[r, :, at], fresh)
    seat_lines(layout, left, values)


def seat_lines(layout: Layout, left: OpenValues, values: np.ndarray) -> None:
    """Gives the sites of kept lines values that differ, where evidence leaves such. (R, P, n)"""
    if not layout.kept:
        return
    start = np.cumsum([0, *map(len, layout.kept)])
    sites, s = np.concatenate(layout.kept), layout.structure
    for r, own in enumerate(values):
        lost = np.zeros(len(own), dtype=np.uint8)
        choices, options = left.choices[r], left.options[r]
        seat(s.offset, choices, options, start, sites, s.keeps, s.holders, own, lost)


def probed(out: Layout, row: int, choices, options, field, weight, x) -> Floats:
    """What single moves of some states would change: cost and violation. -> (moves, 2)"""
    if out.pairs is not None:
        assert out.pair_field is not None
        owner = np.repeat(np.arange(len(out.sizes)), np.diff(out.pairs.start))
        change = out.pair_field[row if len(out.pair_field) > 1 else 0] + np.stack(
            [np.bincount(owner, out.pairs.coupling * y[out.pairs.near], len(out.sizes)) for y in x]
        )
        change = np.where(options > 1, change, 0.0).reshape(-1)
        return np.stack([change, np.zeros_like(change)], 1)
    probe, key, hot = np.zeros((*x.shape, 2)), np.zeros(2, dtype=np.uint64), np.zeros(1)
    drawn = (hot, key, 0, 0, x.copy(), x.copy(), np.zeros((len(x), 4)))
    if out.couplings is not None:
        offset = out.structure.offset
        sweep_couplings(out.couplings, offset, choices, options, field, *drawn, probe)
    else:
        blame = np.zeros(out.rules)
        sweep(out.structure, row, choices, options, field, weight, *drawn, blame, probe)
    return probe.reshape(-1, 2)
