"""Chosen edges as arcs that lead away from one node, and how many steps away each node lies.

Hidden sites say of each edge which way it leads, and of each node but the root its level: how many
arcs lead to it. An arc leads from one level to the next, so arcs form no cycle. Both are determined
by the chosen edges, so structure made of them is functional.
"""

from collections.abc import Sequence

import numpy as np

from engine.decimals import Ints
from engine.factors import Clauses, Counted, Factors, ints
from engine.factors.families import starts
from modules.shared.marked import Links

MOST = 1 << 21  # clauses of levels, beyond which nothing is made explicit


class Oriented:
    """The structure of some edges, site by site of a term, oriented away from a root.

    Sites: those of the edges; then two arcs for each edge between different nodes, a to b and b to
    a; then a level for each node but the root. Places of levels are levels - `least`, where `least`
    is 0 where a node may also lie off (then its level is 0), else 1.
    """

    def __init__(self, links: Links, root: int, sizes: Ints, on: Ints, off: bool):
        self.links, self.on, self.off = links, on, off
        edges, inner = links.proper, [k for k in range(links.nodes) if k != root]
        first = len(sizes)
        self.root, self.inner = root, inner
        self.forward = first + np.arange(len(edges))  # the arc from a to b of each proper edge
        self.backward = self.forward + len(edges)
        self.levels = links.nodes - 1 + off  # values of a level
        self.level = np.full(links.nodes, -1, dtype=np.int64)
        self.level[inner] = first + 2 * len(edges) + np.arange(len(inner))
        arcs = np.full(2 * len(edges), 2, dtype=np.int64)
        levels = np.full(len(inner), self.levels, dtype=np.int64)
        self.sizes = np.concatenate([sizes, arcs, levels]).astype(np.int64)
        self.visible = first
        self.tail = np.concatenate([links.a[edges], links.b[edges]])
        self.head = np.concatenate([links.b[edges], links.a[edges]])
        self.arc = np.concatenate([self.forward, self.backward])
        self._clauses: list[np.ndarray] = []  # (m, k, 3) site, value, sign
        self._groups: list[tuple[np.ndarray, int, int]] = []  # literals (k, 2), low, high
        self._orient()
        self._step()

    @staticmethod
    def fits(links: Links) -> bool:
        """Whether so many levels are made explicit."""
        return 4 * len(links.proper) * links.nodes <= MOST

    def require(self, *clauses: Sequence[tuple[int, int, bool]]) -> None:
        """Adds clauses of (site, value, sign)."""
        for clause in clauses:
            self._clauses.append(np.array(clause, dtype=np.int64).reshape(1, -1, 3))

    def count(self, literals: Sequence[tuple[int, int]], low: int, high: int) -> None:
        """Adds how many of some (site, value) are true."""
        if not literals:
            if low > 0:
                self.require(())
            return
        self._groups.append((np.array(literals, dtype=np.int64), low, high))

    def into(self, node: int) -> list[tuple[int, int]]:
        """The arcs to a node, as literals."""
        return [(int(s), 1) for s in self.arc[self.head == node]]

    def out(self, node: int) -> list[tuple[int, int]]:
        """The arcs from a node, as literals."""
        return [(int(s), 1) for s in self.arc[self.tail == node]]

    def _orient(self) -> None:
        """An edge is chosen exactly where one of its arcs is; the root has no arc to it."""
        edges = self.links.proper
        on = self.on[edges]
        one = np.ones(len(edges), dtype=np.int64)
        for arc in (self.forward, self.backward):
            self._rows([(arc, one, 0 * one), (edges, on, one)])
        self._rows([(edges, on, 0 * one), (self.forward, one, one), (self.backward, one, one)])
        self._rows([(self.forward, one, 0 * one), (self.backward, one, 0 * one)])
        loops = np.flatnonzero(self.links.a == self.links.b)
        self._rows([(loops, self.on[loops], np.zeros(len(loops), dtype=np.int64))])
        for site, _ in self.into(self.root):
            self.require([(site, 1, False)])

    def _step(self) -> None:
        """An arc leads from one level to the next."""
        least = 1 - self.off
        first = self.tail == self.root
        rest = ~first & (self.head != self.root)
        arc, head = self.arc[first], self.level[self.head[first]]
        one = np.ones(len(arc), dtype=np.int64)
        self._rows([(arc, one, 0 * one), (head, (1 - least) * one, one)])
        arc, tail, head = self.arc[rest], self.level[self.tail[rest]], self.level[self.head[rest]]
        one = np.ones(len(arc), dtype=np.int64)
        for k in range(self.levels):
            level = k + least  # of the tail; the last leads nowhere, and off nothing leads
            if k + 1 >= self.levels or level < 1:
                self._rows([(arc, one, 0 * one), (tail, k * one, 0 * one)])
            else:
                self._rows(
                    [(arc, one, 0 * one), (tail, k * one, 0 * one), (head, (k + 1) * one, one)]
                )
            if level < 2:  # nothing but the root leads to the first level
                self._rows([(arc, one, 0 * one), (head, k * one, 0 * one)])
            else:
                self._rows(
                    [(arc, one, 0 * one), (head, k * one, 0 * one), (tail, (k - 1) * one, one)]
                )

    def _rows(self, literals: Sequence[tuple[Ints, Ints, Ints]]) -> None:
        """Clauses of one length, given column by column: sites, values, signs."""
        self._clauses.append(np.stack([np.stack(column, 1) for column in literals], 1))

    def made(self) -> Factors:
        """All of it, one part."""
        flat = [block.reshape(-1, 3) for block in self._clauses]
        lengths = [np.full(len(block), block.shape[1], dtype=np.int64) for block in self._clauses]
        every, m = np.concatenate(flat), sum(map(len, lengths))
        zero = np.zeros(m, dtype=np.int64)
        clauses = Clauses(
            starts(np.concatenate(lengths)), every[:, 0], every[:, 1], zero, zero, every[:, 2] == 1
        )
        return Factors(
            self.sizes, self.visible, counted=self._counted(), clauses=clauses, functional=True
        )

    def _counted(self) -> Counted:
        if not self._groups:
            return Counted()
        every = np.concatenate([literals for literals, _, _ in self._groups])
        zero = np.zeros(len(self._groups), dtype=np.int64)
        return Counted(
            starts(ints([len(literals) for literals, _, _ in self._groups])),
            every[:, 0],
            every[:, 1],
            zero,
            zero,
            ints([low for _, low, _ in self._groups]),
            ints([high for _, _, high in self._groups]),
        )
