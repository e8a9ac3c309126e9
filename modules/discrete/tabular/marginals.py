"""Chances of cells given the others: counted where few are open, else by a chain."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from engine.random import Stream
from modules.discrete.tabular.model import TableModel
from modules.discrete.tabular.network import TableNet

COMBINATIONS = 65_536  # of open cells up to which chances are exact
CHUNK = 8_192  # rows evaluated together
ROUNDS, CHAINS, SETTLED = 60, 64, 20  # of sampled chances: sweeps, chains a row, sweeps let go
DRAW = 611  # lane of the stream


@torch.no_grad()
def chances(net: TableNet, codes: Tensor, allowed: Sequence[Tensor], seed: int = 0) -> list[Tensor]:
    """p(x_d = v | what is given), for every column of every row. -> D of (N, K_d) float64

    codes (N, D): what is given. allowed: D of (N, K_d), how often each value counts, such as by the
    numbers that fall into its bin; all but one are 0 (or False) where a cell is given. Exact where
    the open cells of a row have at most `COMBINATIONS` combinations; beyond, the mean of the exact
    conditionals along sampled chains. A row has the same chances whatever stands beside it.
    """
    out = [a.double() / a.sum(-1, keepdim=True).clamp(min=1) for a in allowed]
    groups: dict[tuple[bytes, ...], list[int]] = {}
    for n in range(len(codes)):
        opened = tuple(
            a[n].numpy().tobytes() if int((a[n] > 0).sum()) > 1 else b"" for a in allowed
        )
        groups.setdefault(opened, []).append(n)
    for opened, members in groups.items():
        columns = [d for d, mark in enumerate(opened) if mark]
        if not columns:
            continue
        rows = torch.tensor(members)
        values = [allowed[d][members[0]].nonzero()[:, 0] for d in columns]
        known = codes[rows].clone()
        logs = [allowed[d][members[0]].double().log() for d in columns]
        if math.prod(len(v) for v in values) <= COMBINATIONS:
            found = _enumerated(net, known, columns, values, logs)
        else:
            found = _sampled(net, known, columns, values, logs, seed)
        for d, own, p in zip(columns, values, found, strict=True):
            full = torch.zeros(len(rows), net.sizes[d], dtype=torch.float64)
            full[:, own] = p
            out[d][rows] = full
    return out


def _enumerated(
    net: TableNet,
    codes: Tensor,
    columns: Sequence[int],
    values: Sequence[Tensor],
    logs: Sequence[Tensor],
) -> list[Tensor]:
    """Marginals over all combinations of the open cells; one column is taken in one go.

    logs: of how often each value of the columns counts, (K,) each.
    """
    *outer, last = columns
    combos = torch.cartesian_prod(*values[:-1]).reshape(-1, len(outer)) if outer else None
    count = 1 if combos is None else len(combos)
    parts: list[list[Tensor]] = []
    for chunk in codes.split(max(1, CHUNK // count)):
        full = chunk.repeat_interleave(count, 0)
        if combos is not None:
            full[:, outer] = combos.repeat(len(chunk), 1)
        log = _with_each_value(net, full, last)[:, values[-1]]
        log = log.reshape(len(chunk), *(len(v) for v in values))
        for axis, (own, counted) in enumerate(zip(values, logs, strict=True)):
            log = log + counted[own].reshape(-1, *[1] * (len(values) - axis - 1))
        joint = log.reshape(len(chunk), -1).softmax(-1).reshape(log.shape)
        axes = range(1, joint.dim())
        parts.append([joint.sum([a for a in axes if a != k]) if outer else joint for k in axes])
    return [torch.cat(part) for part in zip(*parts, strict=True)]


def _with_each_value(net: TableNet, codes: Tensor, column: int) -> Tensor:
    """-energy of the rows with each value in a column. (B, D) -> (B, K) float64"""
    return net.logits(codes, column) - net.cost(net.places(codes))[:, None]


def _sampled(
    net: TableNet,
    codes: Tensor,
    columns: Sequence[int],
    values: Sequence[Tensor],
    logs: Sequence[Tensor],
    seed: int,
) -> list[Tensor]:
    """Means of the conditionals along chains of exact single-column draws; logs as `_enumerated`.

    All rows draw the same uniform numbers.
    """
    rng = Stream(seed, torch.zeros(len(codes), dtype=torch.int64)).fork(DRAW)
    chains = codes.repeat_interleave(CHAINS, 0)
    counted = {d: log.float() for d, log in zip(columns, logs, strict=True)}
    totals = [torch.zeros(len(codes), len(v), dtype=torch.float64) for v in values]
    for t in range(ROUNDS):
        u = rng.at(t).uniform(CHAINS, len(columns), dtype=torch.float64)
        chains, seen = swept(net, chains, columns, counted, u, keep=t >= SETTLED)
        for total, p, own in zip(totals, seen, values, strict=False):
            total += p[:, own].reshape(len(codes), CHAINS, -1).mean(1)
    return [total / (ROUNDS - SETTLED) for total in totals]


@torch.no_grad()
def swept(
    net: TableNet,
    codes: Tensor,
    columns: Sequence[int],
    logs: dict[int, Tensor],
    u: Tensor,
    keep: bool = False,
) -> tuple[Tensor, list[Tensor]]:
    """One Gibbs sweep: every open column drawn from its exact conditional, in order.

    codes (B, D); logs: of how often each value of a column counts, -inf: it may not be, (K,) or
    (B, K); u (B, open) uniform.
    -> codes, and with `keep` the conditionals that were drawn from, (B, K) float64 each
    """
    codes = codes.clone()
    seen = []
    for j, d in enumerate(columns):
        p = (net.logits(codes, d) + logs[d]).softmax(-1)
        heap = p.cumsum(-1)
        drawn = torch.searchsorted(heap, (u[:, j] * heap[:, -1])[:, None], right=True)[:, 0]
        codes[:, d] = drawn.clamp(max=p.shape[1] - 1)
        if keep:
            seen.append(p)
    return codes, seen


def generated(
    model: TableModel, rows: int, rounds: int = 40, seed: int = 0, start: Tensor | None = None
) -> Tensor:
    """Rows drawn from exp(-energy): `rounds` Gibbs sweeps from random cells. -> (rows, D)

    start: codes to begin at, such as independent draws of each column.
    """
    net = model.net
    rng = Stream(seed, torch.zeros(1, dtype=torch.int64)).fork(DRAW)
    if start is None:
        u = rng.at(0).uniform(rows, len(net.sizes), dtype=torch.float64)
        start = (u * torch.tensor(net.sizes)).long()
    columns = list(range(len(net.sizes)))
    logs = {d: torch.zeros(size) for d, size in enumerate(net.sizes)}  # any value
    out = []
    for k, chunk in enumerate(start.split(CHUNK // 4)):
        for t in range(rounds):
            u = rng.fork(k).at(t + 1).uniform(*chunk.shape, dtype=torch.float64)
            chunk, _ = swept(net, chunk, columns, logs, u)
        out.append(chunk)
    return torch.cat(out)
