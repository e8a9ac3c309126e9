"""Labels of pairs that would rather agree, improved by the best switch of many sites to one label.

    x' = argmin of E over all x'' with x''_i = x_i or x''_i = label

which is a minimum cut. Labels take turns until none improves; for Potts the energy is then at most
twice the least. It proves nothing: bounds come from others. Source: Boykov, Veksler, Zabih, "Fast
approximate energy minimization via graph cuts", PAMI 2001.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.answer import Proof
from engine.domain import State
from engine.errors import BadQuery
from engine.kernels.flow import reach
from engine.minimizer import Minimizer, score, sound
from engine.minimizers.min_cut import Cut, cut_of, filled
from engine.problem import Problem
from engine.random import Stream
from engine.rows import UNKNOWN, Report
from engine.search.network import Network
from engine.search.placed import Placed, first_places
from engine.search.plans import network_of
from engine.search.semiring import Least

SITES = 20_000  # of a network whose moves are short enough
NEAR = 1e-9  # by which pairs may seem not to agree


class ExpansionState(NamedTuple):
    """Where every row stands."""

    places: Tensor  # (R, n) of the best state
    energy: Tensor  # (R,)
    violation: Tensor  # (R,)
    turn: Tensor  # (R,) int64 moves tried
    idle: Tensor  # (R,) int64 moves since the last that improved it
    fixed: dict[str, Tensor]  # (R, *event) states of the variables that are not finite


@dataclass(frozen=True)
class Expansion(Minimizer[ExpansionState]):
    """A move of every row a step. Refuses tables over more than two sites, rules, sites that come
    in beside the visible ones, and pairs that would rather differ."""

    proof: ClassVar[Proof] = Proof.FLOOR

    def refuses(self, problem: Problem) -> str | None:
        if problem.form.rest is not None:
            return f"{problem.form.rest.summands()[0].label} has no explicit structure"
        if any(table.arity > 2 for table in problem.form.factors.tables):
            return "expansion needs tables over at most two sites"
        network = network_of(problem)
        if isinstance(network, str):
            return f"expansion has no tables for {network}"
        if len(network.rules) or (np.diff(network.scopes.start) > 2).any():
            return "expansion takes costs of at most two sites, and no rules"
        sites = len(network.sizes)
        if sites > SITES or sites != first_places(problem).shape[1]:
            return f"expansion takes {SITES} sites, and none but visible ones"
        pairs = [t for t in network.tables if t.arity == 2 and not t.varies]
        agree = all(_agrees(t.dense(s)) for t, s in zip(network.tables, network.shapes, strict=True)
                    if any(t is p for p in pairs))  # fmt: skip
        return None if pairs and agree else "expansion needs pairs that would rather agree"

    def init(self, problem: Problem, x: State, rng: Stream) -> ExpansionState:
        del rng
        why, network = self.refuses(problem), network_of(problem)
        if why is not None or isinstance(network, str):
            raise BadQuery(why or str(network))
        rows = problem.rows
        particles = len(next(iter(x.values()))) // rows
        fixed = {v.name: x[v.name][::particles] for v in problem.open if v not in problem.finite}
        each = [_by_itself(problem, network, row) for row in range(rows)]
        places = torch.from_numpy(np.stack(each))
        told = score(problem, dict(Placed(problem, places.numpy(), fixed)))
        zero = torch.zeros(rows, dtype=torch.int64)
        return ExpansionState(
            places, sound(told.energy).cpu(), told.violation.cpu(), zero, zero, fixed
        )

    def step(self, problem: Problem, s: ExpansionState, rng: Stream) -> ExpansionState:
        network = network_of(problem)
        assert isinstance(network, Network)
        most = int(network.sizes.max())
        places, idle = s.places.clone(), s.idle.clone()
        going = (s.idle < most).nonzero().reshape(-1).tolist()
        for row in going:
            idle[row] += 1
            label = int(s.turn[row]) % most
            better = _moved(problem, network, row, places[row].numpy(), label)
            if better is not None:
                places[row], idle[row] = torch.from_numpy(better), 0
        told = score(problem, dict(Placed(problem, places.numpy(), s.fixed)))
        energy, violation = sound(told.energy).cpu(), told.violation.cpu()
        gone = s.turn + (s.idle < most)
        return s._replace(places=places, energy=energy, violation=violation, turn=gone, idle=idle)

    def report(self, problem: Problem, s: ExpansionState) -> Report:
        network = network_of(problem)
        assert isinstance(network, Network)
        return Report(
            Placed(problem, s.places.numpy(), s.fixed),
            s.energy,
            s.violation,
            torch.full_like(s.energy, -math.inf),
            s.idle >= int(network.sizes.max()),
            torch.full((len(s.idle),), UNKNOWN, dtype=torch.int8),
            ((),) * len(s.idle),
        ).to(problem.device)

    def width(self, s: ExpansionState) -> int:
        return max(1, 4_000 // max(1, s.places.shape[1]))


def _agrees(costs: np.ndarray) -> bool:
    """Whether every switch to one label is a cut: M[b, c] + M[a, a] <= M[b, a] + M[a, c]."""
    if costs.shape[-2] != costs.shape[-1] or not np.isfinite(costs).all():
        return False
    own = np.diagonal(costs, axis1=-2, axis2=-1)  # (..., a)
    less = costs[..., :, None, :] + own[..., None, :, None]  # (..., b, a, c)
    more = costs[..., :, :, None] + costs[..., None, :, :]
    return bool((less <= more + NEAR).all())


def _by_itself(problem: Problem, network: Network, row: int) -> np.ndarray:
    """The cheapest value of each site by itself. -> (N,)"""
    pool, scopes = network.costs(problem, row, Least()), network.scopes
    most = int(network.sizes.max())
    price = np.zeros((len(network.sizes), most), dtype=np.float64)
    one = np.flatnonzero(np.diff(scopes.start) == 1)
    first = scopes.start[one]
    for value in range(most):
        has = network.sizes[scopes.site[first]] > value
        at = scopes.base[one] + value * scopes.stride[first]
        np.add.at(price[:, value], scopes.site[first][has], pool[at[has]])
    return np.where(_open(problem, network, row), price, math.inf).argmin(1).astype(np.int64)


def _open(problem: Problem, network: Network, row: int) -> np.ndarray:
    """Which values evidence leaves each site. -> (N, most) bool"""
    sizes = network.sizes
    out: np.ndarray = np.zeros((len(sizes), int(sizes.max())), dtype=bool)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    out[owner, np.arange(len(owner)) - (np.cumsum(sizes) - sizes)[owner]] = (
        problem.allowed[row] != 0
    )
    return out


def _moved(
    problem: Problem, network: Network, row: int, places: np.ndarray, label: int
) -> np.ndarray | None:
    """The best state in which some sites have switched to a label; None where none is better."""
    inside = np.minimum(label, network.sizes - 1)
    may = _open(problem, network, row)[np.arange(len(places)), inside] & (inside == label)
    options = np.stack([places, np.where(may, label, places)], 1)
    cut = cut_of(problem, network, row, options)
    if isinstance(cut, str):
        return None
    before = _total(problem, network, row, places)
    cut, level = _full(cut)
    if cut.constant + cut.flow >= before:
        return None
    side = (level[: len(places)] < 0).astype(np.int64)
    return options[np.arange(len(places)), side]


def _full(cut: Cut) -> tuple[Cut, np.ndarray]:
    """A cut with the largest flow, and what it leaves in reach of the source."""
    sink = len(cut.options) + 1
    level = reach(*cut.pipes, cut.room, len(cut.options), False)
    while level[sink] >= 0:
        cut = filled(cut, level)
        level = reach(*cut.pipes, cut.room, len(cut.options), False)
    return cut, level


def _total(problem: Problem, network: Network, row: int, places: np.ndarray) -> int:
    """The energy of a state in whole units."""
    stays = cut_of(problem, network, row, np.stack([places, places], 1))
    assert not isinstance(stays, str)
    return stays.constant
