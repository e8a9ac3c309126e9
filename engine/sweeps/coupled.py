"""Structure that is nothing but costs of single sites and of pairs, as leaner arrays."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from engine.decimals import Floats, Ints
from engine.kernels.sweeps import Couplings, Pairs


class Block(NamedTuple):
    """Scopes of one shape that share a table, or the list of its combinations."""

    scopes: Ints  # (m, arity)
    shape: list[int]
    costs: Floats  # (1 or R, 1 or m, combinations); where it has keys, of what they list, of the
    # rest, and 0 for where it does not bind
    keys: Ints | None = None  # sorted places of the listed combinations; None: all are written out
    strides: Ints | None = None  # what a step of each site adds to the place; None: row-major
    span: tuple[int, int] = (0, 2**62)  # the places at which it binds, where it has keys

    @property
    def couples(self) -> bool:
        """It is costs of pairs of different sites, the same in all rows, and forbids nothing."""
        written = len(self.shape) == 2 and self.keys is None and len(self.costs) == 1
        return (
            written
            and bool(np.isfinite(self.costs).all())
            and not (self.scopes[:, 0] == self.scopes[:, 1]).any()
        )


def couplings(sizes: Ints, blocks: Sequence[Block]) -> Couplings:
    """Of sites of any number of values: what each pair costs, seen from both of its ends."""
    none = np.zeros(0, np.int32)
    site, ends, begins, pool, filled = [none], [none], [none], [np.zeros(0)], 0
    for scopes, shape, costs, *_ in blocks:
        tables = costs[0].reshape(-1, *shape)  # (1 or m, k, k')
        both = [tables.swapaxes(1, 2).reshape(len(tables), -1), tables.reshape(len(tables), -1)]
        pool.append(np.stack(both, 1).reshape(-1))
        size = math.prod(shape)
        begin = filled + np.array([0, size]) + 2 * size * np.arange(len(tables))[:, None]
        filled += 2 * tables.size
        site.append(scopes.reshape(-1).astype(np.int32))
        ends.append(scopes[:, ::-1].reshape(-1).astype(np.int32))
        begins.append(np.broadcast_to(begin, scopes.shape).reshape(-1).astype(np.int32))
    owner = np.concatenate(site)
    order = np.argsort(owner, kind="stable")
    near, base = np.concatenate(ends)[order], np.concatenate(begins)[order]
    return Couplings(starts(owner[order], len(sizes)), near, base, np.concatenate(pool))


def pairs(sizes: Ints, field: Floats, blocks: Sequence[Block]) -> tuple[Pairs, Floats, Floats]:
    """Of sites of two values: couplings, with fields (1 or R, n) and constants (1 or R,). field
    (1 or R, 2 n)"""
    n = len(sizes)
    own = field[:, 1::2] - field[:, ::2]
    constant = field[:, ::2].sum(1)
    linear = np.zeros(n)
    first, second, coupling = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    for ends, _, costs, *_ in blocks:
        every = costs[0].reshape(-1, 2, 2)
        constant = constant + every[:, 0, 0].sum() * (len(ends) // len(every))
        t = np.moveaxis(np.broadcast_to(every, (len(ends), 2, 2)), 0, 2)
        np.add.at(linear, ends[:, 0], t[1, 0] - t[0, 0])
        np.add.at(linear, ends[:, 1], t[0, 1] - t[0, 0])
        first.append(ends[:, 0])
        second.append(ends[:, 1])
        coupling.append(t[1, 1] - t[1, 0] - t[0, 1] + t[0, 0])
    a = np.concatenate([*first, *second])
    b = np.concatenate([*second, *first])
    both, inverse = np.unique(a * max(1, n) + b, return_inverse=True)
    merged = np.zeros(len(both))
    np.add.at(merged, inverse, np.concatenate([*coupling, *coupling]))
    kept = merged != 0
    both, merged = both[kept], merged[kept]
    near = (both % max(1, n)).astype(np.int32)
    couples = Pairs(starts(both // max(1, n), n), near, merged)
    return couples, np.ascontiguousarray(own + linear), constant


def starts(owner: np.ndarray, count: int) -> np.ndarray:
    """Beginnings of the blocks of a sorted list of owners. -> (count + 1,) int32"""
    return np.searchsorted(owner, np.arange(count + 1)).astype(np.int32)
