"""Structures beside what rows are given: one shape, and the costs of each row."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from engine.domain import Domain, Finite
from engine.errors import BadQuery, Mistake
from engine.factors import Factors
from services.wire.arrays import Array
from services.wire.structure import digest_of, skeleton_of, with_costs


class CostsOfRow(NamedTuple):
    """What a structure costs one row."""

    skeleton: Factors  # with 0 for every cost that differs by row
    digest: str  # of the skeleton
    costs: Array | None  # (T,); None: all rows pay the same

    @staticmethod
    def of(factors: Factors | None, rows: int) -> "list[CostsOfRow | None]":
        """Those of each of so many rows; None where there is no structure."""
        if factors is None:
            return [None] * rows
        skeleton, costs = skeleton_of(factors)
        digest = digest_of(skeleton)
        if costs is None:
            return [CostsOfRow(skeleton, digest, None)] * rows
        every = np.broadcast_to(costs, (rows, costs.shape[1]))
        return [CostsOfRow(skeleton, digest, one) for one in every]


def together(rows: Sequence[CostsOfRow | None]) -> Factors | None:
    """The structure of rows side by side; None where one has none. Raises BadQuery where their
    shapes differ."""
    every = [row for row in rows if row is not None]
    if len(every) < len(rows):
        return None
    first = every[0]
    if any(row.digest != first.digest for row in every):
        raise BadQuery(Mistake("digest", "its shape differs by row", "let only costs differ"))
    costs = [row.costs for row in every if row.costs is not None]
    return with_costs(first.skeleton, np.stack(costs)) if costs else first.skeleton


def row_keys(domains: Sequence[Domain], fixed: bool) -> list[bytes]:
    """What tells the structures of rows apart; fixed: what evidence leaves of finite sites is no
    part of it."""
    rows = max((domain.rows for domain in domains), default=1)
    columns = [d.fingerprints for d in domains if not (fixed and isinstance(d, Finite))]
    keys = []
    for row in range(rows):
        made = hashlib.blake2b(digest_size=20)
        for column in columns:
            one = column[row if len(column) > 1 else 0]
            made.update(b"|%d|" % len(one) + one)
        keys.append(made.digest())
    return keys
