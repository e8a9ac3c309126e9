"""Successors that form one circuit through all nodes, and what that is in Boolean terms.

Each node but the first has a hidden place on the way, and a successor stands one place further on:
no shorter circuit fits. Source: Miller, Tucker, Zemlin, "Integer programming formulation of
traveling salesman problems", Journal of the ACM 1960, with places as values.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from engine.decimals import Floats, Ints
from engine.factors.families import Clauses, Counted, forbidden, ints, starts
from engine.factors.family import Derived

if TYPE_CHECKING:
    from engine.factors.factors import Factors


class Circuit(NamedTuple):
    """Node k is followed by the node that the place of its site says."""

    sites: tuple[int, ...]  # different ones, one a node
    heads: tuple[Ints, ...]  # (k,) for each site the node that each place names, -1: none

    def closes(self, places: Sequence[int]) -> bool:
        """Whether all nodes are on one circuit."""
        at, left = 0, len(self.sites)
        for _ in range(len(self.sites)):
            at = int(self.heads[at][places[self.sites[at]]])
            left -= 1
            if at <= 0:
                break
        return at == 0 and left == 0


@dataclass(frozen=True, eq=False)
class Circuits(Derived):
    """Circuits over numbered sites."""

    every: tuple[Circuit, ...] = ()
    term: Ints = field(default_factory=ints)
    part: Ints = field(default_factory=ints)

    @property
    def count(self) -> int:
        return len(self.every)

    def scopes_of(self) -> list[Ints]:
        return [ints(one.sites) for one in self.every]

    def costs_at(self, places: Ints, row: int = 0) -> Floats:
        del row
        at = places.tolist()
        return forbidden(np.array([not one.closes(at) for one in self.every], dtype=bool))

    def picked(self, which: slice) -> "Circuits":
        return Circuits(self.every[which], self.term[which], self.part[which])

    def renumbered(self, where: Ints) -> "Circuits":
        to = where.tolist()
        moved = (one._replace(sites=tuple(to[s] for s in one.sites)) for one in self.every)
        return replace(self, every=tuple(moved))

    def marked(self, term: Ints, part: Ints) -> "Circuits":
        return replace(self, term=term, part=part)

    @classmethod
    def joined(cls, families: Sequence["Circuits"]) -> "Circuits":
        return cls(
            tuple(chain.from_iterable(f.every for f in families)),
            np.concatenate([f.term for f in families]),
            np.concatenate([f.part for f in families]),
        )

    def lowered(self, sizes: Ints) -> "Factors":
        from engine.factors.factors import Factors  # made of families

        pieces, hidden = [], len(sizes)
        for one in self.every:
            pieces.append(_Places(one, hidden))
            hidden += len(one.sites) - 1
        wide = [np.full(len(p.circuit.sites) - 1, len(p.circuit.sites) - 1) for p in pieces]
        every = np.concatenate([sizes, *wide]).astype(np.int64)
        owners = list(zip(self.term.tolist(), self.part.tolist(), strict=True))
        return Factors(
            every,
            len(sizes),
            counted=Counted.joined([p.entered(*o) for p, o in zip(pieces, owners, strict=True)]),
            clauses=Clauses.joined([p.steps(*o) for p, o in zip(pieces, owners, strict=True)]),
            functional=True,
        )


class _Places:
    """What says of one circuit that successors stand one place further on."""

    def __init__(self, circuit: Circuit, hidden: int):
        self.circuit, self.n = circuit, len(circuit.sites)
        self.place = hidden + np.arange(-1, self.n - 1)  # of each node but the first
        arcs = [
            (node, int(head), site, value)
            for node, (site, heads) in enumerate(zip(circuit.sites, circuit.heads, strict=True))
            for value, head in enumerate(heads.tolist())
        ]
        self.arcs = ints([x for arc in arcs for x in arc]).reshape(-1, 4)

    def entered(self, term: int, part: int) -> Counted:
        """Each node is the successor of exactly one."""
        named = self.arcs[self.arcs[:, 1] >= 0]
        order = np.argsort(named[:, 1], kind="stable")
        lengths = np.bincount(named[:, 1], minlength=self.n)
        one = np.ones(self.n, dtype=np.int64)
        return Counted(
            starts(lengths), named[order, 2], named[order, 3], one * term, one * part, one, one
        )

    def steps(self, term: int, part: int) -> Clauses:
        tail, head, site, value = self.arcs.T
        off = (head < 0) | ((head == tail) & (self.n > 1))
        rows = [_rows([(site[off], value[off], False)])]
        last = self.n - 2
        first = (tail == 0) & (head > 0)
        rows.append(_rows([(site[first], value[first], False), (self.place[head[first]], 0, True)]))
        back = (tail > 0) & (head == 0)
        rows.append(_rows([(site[back], value[back], False), (self.place[tail[back]], last, True)]))
        on = (tail > 0) & (head > 0) & (head != tail)
        arc = (site[on], value[on], False)
        before, after = self.place[tail[on]], self.place[head[on]]
        for k in range(last):
            rows.append(_rows([arc, (before, k, False), (after, k + 1, True)]))
            rows.append(_rows([arc, (before, k, True), (after, k + 1, False)]))
        if last >= 0:
            rows.append(_rows([arc, (before, last, False)]))
            rows.append(_rows([arc, (after, 0, False)]))
        lengths = np.concatenate([np.full(len(r), r.shape[1], dtype=np.int64) for r in rows])
        flat = np.concatenate([r.reshape(-1, 3) for r in rows])
        owner = np.ones(len(lengths), dtype=np.int64)
        return Clauses(
            starts(lengths), flat[:, 0], flat[:, 1], owner * term, owner * part, flat[:, 2] == 1
        )


def _rows(literals: Sequence[tuple[Ints, Ints | int, bool]]) -> Ints:
    """Clauses of one length, given column by column: sites, values, sign. -> (m, k, 3)"""
    columns = [
        np.stack([site, np.broadcast_to(value, site.shape), np.full(len(site), sign)], 1)
        for site, value, sign in literals
    ]
    return np.stack(columns, 1).astype(np.int64)
