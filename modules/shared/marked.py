"""Terms over sites that are 0 or 1, of which those at 1 are chosen: nodes or edges of a graph."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.decimals import Ints
from engine.domain import Domain, Variable, View
from engine.errors import Mistakes
from engine.factors import Clauses, Factors, ints
from modules.shared.sites import (
    MISTAKES,
    NAMED,
    Layout,
    OverSites,
    by_length,
    check_site,
    put_lists,
    read_lists,
    whole,
)

FORM = "write it as [node, node], such as [0, 1]"


class Marked(OverSites):
    """Abstract: a term over sites whose values are 0 and 1; a site at 1 is chosen.

    BadQuery: a variable of other values.
    """

    def __init__(self, *scope: Variable | View):
        super().__init__(*scope)
        wrong, remedy = Mistakes(MISTAKES), "give values: [0, 1]; 1 says that it is chosen"
        places = []
        for k, (view, lookup) in enumerate(zip(self.scope, self.layout.lookups, strict=True)):
            by_value = {value: place for (_, value), place in lookup.items()}
            if set(by_value) != {0, 1} or len(lookup) != 2:
                shown = [value for _, value in lookup]
                wrong.add(f"scope[{k}]", f"{view.variable.name} has the values {shown}", remedy)
            places.append(by_value.get(1, 0))
        wrong.check()
        self.on: Ints = ints(places)[self.layout.entry]  # (n,) the place of 1 at each site
        self._column = torch.from_numpy(self.layout.offset[:-1] + self.on)

    def chances(self, tensors: Sequence[Tensor]) -> Tensor:
        """The chance that each site is chosen. (B, *shape, 2) of each entry -> (B, n)"""
        x = self.layout.columns(tensors)
        return x[:, self._column.to(x.device)]

    def _at(self, site: Ints, value: int) -> Ints:
        """The place of 1, or of 0, at some sites."""
        return self.on[site] if value else 1 - self.on[site]

    def chosen(self, values: Sequence[Any]) -> list[bool]:
        """Which sites are chosen, of plain values."""
        flat = self.layout.flat(values)
        return [bool(x[1] if self.layout.mixed else x) for x in flat]

    def floor(self) -> float:
        return 0.0


class SomeOf(Marked):
    """Abstract: of each list of sites, at least one is `wanted`, 1 or 0; each list is a part.

    E = sum over lists of the product over its sites of 1 - (chance of the wanted value): affine in
    each site; decided: the number of failing lists.
    """

    wanted: int

    def __init__(self, *scope: Variable | View, edges: Sequence[Sequence[int]]):
        super().__init__(*scope)
        self.lists = self._lists(read_edges(self.layout, edges))
        lengths = ints(map(len, self.lists))
        self.numbers = by_length(lengths)
        self._bunches = [
            torch.tensor([self.lists[k] for k in rows.tolist()], dtype=torch.int64)
            for rows in self.numbers
        ]

    @abstractmethod
    def _lists(self, edges: list[tuple[int, int]]) -> list[list[int]]:
        """The sites of each part, each once, for edges between sites."""

    def _failing(self, tensors: Sequence[Tensor]) -> Iterator[Tensor]:
        """The chance that a list fails. -> (B, m), one per length"""
        p = self.chances(tensors)
        missing = 1 - p if self.wanted else p
        for bunch in self._bunches:
            yield missing[:, bunch.to(p.device)].prod(-1)

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, 2) -> (B,)
        total = tensors[0].new_zeros(tensors[0].shape[0])
        for failing in self._failing(tensors):
            total = total + failing.sum(-1)
        return total

    def violation(self, *tensors: Tensor) -> Tensor:  # (B, *shape, 2) -> (B, lists)
        out = tensors[0].new_zeros(tensors[0].shape[0], len(self.lists))
        return put_lists(out, self.numbers, self._failing(tensors))

    def holds(self, *values: Any) -> bool:
        return not any(True for _ in self.missed(values))

    def missed(self, values: Sequence[Any]) -> Iterator[int]:
        """The parts that fail."""
        chosen, wanted = self.chosen(values), bool(self.wanted)
        for k, sites in enumerate(self.lists):
            if not any(chosen[s] is wanted for s in sites):
                yield k

    def factors(self, *domains: Domain) -> Factors:
        lengths = ints(map(len, self.lists))
        site = ints([s for sites in self.lists for s in sites])
        value = self._at(site, self.wanted)
        clauses = Clauses(
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            site,
            value,
            np.zeros(len(lengths), dtype=np.int64),
            np.arange(len(lengths)),
            np.ones(len(site), dtype=bool),
        )
        return self.made(domains, clauses=clauses)

    def some(self, sites: Sequence[int]) -> str:
        """A few sites in words."""
        more = f", {len(sites) - NAMED} others" if len(sites) > NAMED else ""
        return ", ".join(self.layout.name(s) for s in sites[:NAMED]) + more


class EachEdge(SomeOf):
    """Abstract: of both ends of each edge at least one is `wanted`."""

    def _lists(self, edges: list[tuple[int, int]]) -> list[list[int]]:
        return [list(dict.fromkeys(edge)) for edge in edges]


def read_edges(layout: Layout, edges: Any) -> list[tuple[int, int]]:
    """Both ends of each edge between sites, which may be one and the same. Raises BadQuery with
    every place where something is wrong."""
    wrong, out = Mistakes(MISTAKES), []
    for k, edge in enumerate(_pairs(edges, wrong)):
        if edge is None:
            continue
        good = [check_site(layout, s, f"edges[{k}][{j}]", wrong) for j, s in enumerate(edge)]
        if all(good):
            out.append((int(edge[0]), int(edge[1])))
    wrong.check()
    return out


def read_links(sites: int, edges: Any, **more: int | None) -> "Links":
    """One edge a site, between nodes that are any whole numbers from 0. `more`: parameters that
    name a node, by name. Raises BadQuery with every place where something is wrong."""
    wrong, ends = Mistakes(MISTAKES), []
    for k, edge in enumerate(read := list(_pairs(edges, wrong))):
        if edge is None:
            continue
        for j, node in enumerate(edge):
            _check_node(node, f"edges[{k}][{j}]", wrong)
        ends.append((edge[0], edge[1]))
    if len(read) != sites:
        remedy = f"give one edge a site: {sites}"
        wrong.add("edges", f"names {len(read)} edges, and the scope has {sites} sites", remedy)
    for name, node in more.items():
        if node is not None:
            _check_node(node, name, wrong)
    wrong.check()
    nodes = {int(x) for x in more.values() if x is not None} | {int(x) for e in ends for x in e}
    return Links(sorted(nodes), [(int(a), int(b)) for a, b in ends])


class Links:
    """Edges between named nodes, the nodes numbered in ascending order of their names."""

    def __init__(self, names: list[int], edges: list[tuple[int, int]]):
        place = {name: k for k, name in enumerate(names)}
        self.names = names
        self.place = place
        self.a = ints([place[a] for a, _ in edges])  # (m,)
        self.b = ints([place[b] for _, b in edges])

    @property
    def nodes(self) -> int:
        return len(self.names)

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """Both ends of each edge."""
        return list(zip(self.a.tolist(), self.b.tolist(), strict=True))

    @cached_property
    def proper(self) -> Ints:
        """The edges between two different nodes."""
        return np.flatnonzero(self.a != self.b)

    @cached_property
    def incident(self) -> list[list[int]]:
        """The edges at each node, those from it to itself left out."""
        out: list[list[int]] = [[] for _ in self.names]
        for k in self.proper.tolist():
            a, b = self.pairs[k]
            out[a].append(k)
            out[b].append(k)
        return out

    def reached(self, p: Tensor, root: int) -> Tensor:
        """How surely each node hangs together with `root`: the largest product of chances along a
        walk. (B, m) -> (B, nodes)"""
        out = p.new_zeros(p.shape[0], self.nodes)
        out[:, root] = 1.0
        if not len(self.proper):
            return out
        tail = torch.from_numpy(np.concatenate([self.a[self.proper], self.b[self.proper]]))
        head = torch.from_numpy(np.concatenate([self.b[self.proper], self.a[self.proper]]))
        tail, head = tail.to(p.device), head.to(p.device)
        own = p[:, torch.from_numpy(self.proper).to(p.device)].repeat(1, 2)
        place = head.expand(p.shape[0], -1)
        for _ in range(self.nodes - 1):
            grown = out.scatter_reduce(1, place, out[:, tail] * own, "amax", include_self=True)
            if torch.equal(grown, out):
                break
            out = grown
        return out

    def component(self, chosen: Sequence[bool], root: int) -> set[int]:
        """The nodes that chosen edges join to `root`."""
        seen, waiting = {root}, [root]
        while waiting:
            at = waiting.pop()
            for k in self.incident[at]:
                a, b = self.pairs[k]
                other = b if at == a else a
                if chosen[k] and other not in seen:
                    seen.add(other)
                    waiting.append(other)
        return seen


def _pairs(edges: Any, wrong: Mistakes) -> Iterator[list[Any] | None]:
    """Each edge as a list of two entries; None where it is none."""
    for k, edge in enumerate(read_lists(edges, "edges")):
        if len(edge) == 2:
            yield edge
        else:
            wrong.add(f"edges[{k}]", f"{list(edge)!r} has {len(edge)} entries", FORM)
            yield None


def _check_node(node: Any, path: str, wrong: Mistakes) -> None:
    if not whole(node) or node < 0:
        wrong.add(path, f"{node!r} is no node", "give a whole number from 0")
