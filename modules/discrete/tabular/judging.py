"""How good a learned table is on rows held out, beside the frequencies of its columns alone."""

import copy
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.errors import BadQuery, Mistake
from modules.discrete.tabular.network import TableNet, fitted_temperature
from modules.discrete.tabular.split import Split, shares


class Judged(NamedTuple):
    """Held-out cells of one column, and what is held against their chances.

    chances: one for the value that stands there; but values that no held-out cell has keep their
    share of the whole table, spread over all cells. So a rare value that happens to be missing from
    them costs what it should, and a chance below its frequency is never rewarded.
    """

    column: int
    rows: Tensor  # (M, D)
    chances: Tensor  # (M, K) float64
    one: bool  # whether all cells are the same


def judged_cells(split: Split) -> list[Judged]:
    """The cells that tell how good a network is, column by column."""
    out = []
    for d in range(len(split.schema.modelled)):
        rows = split.held[split.held[:, d] >= 0]
        if not len(rows):
            continue
        size = split.schema.sizes[d]
        here = torch.bincount(rows[:, d], minlength=size)
        every = torch.cat([split.rows[:, d], rows[:, d]])
        absent = shares(every, split.schema.modelled[d]) * (here == 0)
        chances = torch.nn.functional.one_hot(rows[:, d], size).double()
        chances = (1 - absent.sum()) * chances + absent
        out.append(Judged(d, rows, chances, int((here > 0).sum()) == 1))
    if not out:
        raise BadQuery(Mistake("", "no held-out cell is present", "give more cells"))
    return out


class Judge:
    """How good a network is on held-out cells: its cross-entropy in nats, mean over columns; with
    a target that of the target is added.

    What a network gains on the first one, which knows frequencies alone, is lessened by one
    standard error: with few cells, chance alone finds a network that seems a little better.
    """

    def __init__(self, first: TableNet, judged: Sequence[Judged], target: int | None):
        self.judged, self.target = judged, target
        self.first = [cell_losses(first, j) for j in judged]

    def __call__(self, net: TableNet) -> float:
        total, doubt, favoured = 0.0, 0.0, 0.0
        for j, first in zip(self.judged, self.first, strict=True):
            losses = cell_losses(net, j)
            _, unsure = _gain(losses, first)
            total, doubt = total + float(losses.mean()), doubt + unsure**2
            if j.column == self.target:
                favoured = float(losses.mean()) + unsure
        return favoured + (total + math.sqrt(doubt)) / len(self.judged)


@torch.no_grad()
def cell_losses(net: TableNet, j: Judged) -> Tensor:
    """Cross-entropy of the chances held against each cell. -> (M,) float64"""
    logits = net.logits(j.rows, j.column)
    return torch.nn.functional.cross_entropy(logits, j.chances, reduction="none")


@torch.no_grad()
def conditional_loss(net: TableNet, rows: Tensor, target: int | None) -> float:
    """Mean of -ln p of a cell given the others, over columns, or of the target alone; in nats."""
    columns = range(len(net.sizes)) if target is None else [target]
    told = [(d, rows[rows[:, d] >= 0]) for d in columns]
    loss = torch.nn.functional.cross_entropy
    return float(np.mean([float(loss(net.logits(x, d), x[:, d])) for d, x in told if len(x)]))


def begin_at_marginals(net: TableNet, split: Split) -> None:
    """Single values start at the logarithm of their share: training learns the rest."""
    with torch.no_grad():
        for d, column in enumerate(split.schema.modelled):
            start = net.starts[d]
            logs = shares(split.rows[:, d], column).log()
            net.single[start : start + len(logs)] = logs.float()


def plain_net(split: Split) -> TableNet:
    """A network that knows frequencies alone."""
    net = TableNet(split.schema.sizes, 1)
    begin_at_marginals(net, split)
    return net


def cut_off(net: TableNet, split: Split, judge: Judge) -> tuple[TableNet, list[int]]:
    """The network with every column standing alone that it is better without: a column that others
    hardly tell, and that hardly tells others. With a target that one alone is cut off, as what
    tells a little about it is worth keeping. -> network, these columns"""
    cut: list[int] = []
    for j, first in zip(judge.judged, judge.first, strict=True):
        gain, unsure = _gain(cell_losses(net, j), first)
        if gain > unsure or judge.target not in (None, j.column):
            continue
        trial = copy.deepcopy(net)
        column = split.schema.modelled[j.column]
        trial.stand_alone(j.column, shares(split.rows[:, j.column], column))
        if judge(trial) < judge(net):
            net, cut = trial, [*cut, j.column]
    return net, cut


def _gain(losses: Tensor, first: Tensor) -> tuple[float, float]:
    """By how much losses are below others on average, and the standard error of that."""
    less = first - losses
    return float(less.mean()), math.sqrt(float(less.var()) / len(less)) if len(less) > 1 else 0.0


@torch.no_grad()
def temperature_of(net: TableNet, judged: Sequence[Judged]) -> float:
    """Fitted on held-out cells; cells that are all the same say nothing about being surer."""
    found = fitted_temperature([(net.logits(j.rows, j.column), j.chances) for j in judged])
    return max(1.0, found) if all(j.one for j in judged) else found
