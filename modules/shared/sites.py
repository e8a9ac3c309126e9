"""Energies over finite sites, numbered flat and row-major, on through the entries of the scope."""

import operator
from collections.abc import Iterable, Sequence, Set
from functools import cached_property
from itertools import accumulate, chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.decimals import Ints
from engine.domain import Domain, Finite, Variable, View, flatten
from engine.energy import Term
from engine.errors import BadQuery, Mistake, Mistakes
from engine.factors import Counted, Different, Factors, ints
from engine.plain import plain, plain_list

MISTAKES = 20  # told at once by one constructor
NAMED = 8  # literals that words spell out


class Layout:
    """How the sites of a scope are numbered, and which values they take."""

    def __init__(self, scope: Sequence[View]):
        if not scope:
            raise BadQuery(Mistake("scope", "is empty", "name at least one variable"))
        self.scope = tuple(scope)
        self.domains: tuple[Finite, ...] = tuple(_finite(k, view) for k, view in enumerate(scope))
        counts = ints([view.places.size for view in scope])
        widths = ints([len(domain.values) for domain in self.domains])
        self.counts = counts.tolist()
        self.sites = int(counts.sum())
        self.entry = np.repeat(np.arange(len(scope)), counts)  # (n,) the scope entry of each site
        self.sizes = widths[self.entry]  # (n,)
        self.offset = np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.int64)  # (n + 1,)
        self.lookups = [domain.lookup for domain in self.domains]
        # values of different entries match when type and value are alike
        first = list(self.lookups[0])
        self.uniform = all(list(lookup) == first for lookup in self.lookups)
        self.union = list(dict.fromkeys(chain.from_iterable(self.lookups)))
        self.mixed = len({value for _, value in self.union}) < len(self.union)  # such as 1 and True
        self._gather = None if self.uniform else self._columns_of_union()

    def _columns_of_union(self) -> Tensor:
        """The column of each union value at each site, C where the site lacks it. -> (n, U)"""
        rank = {value: u for u, value in enumerate(self.union)}
        table = np.full((self.sites, len(self.union)), self.offset[-1])
        for k, lookup in enumerate(self.lookups):
            mine = np.flatnonzero(self.entry == k)
            for value, place in lookup.items():
                table[mine, rank[value]] = self.offset[mine] + place
        return torch.from_numpy(table)

    def ranks(self) -> list[Ints]:
        """For each scope entry the place of its values in the union."""
        rank = {value: u for u, value in enumerate(self.union)}
        return [ints([rank[value] for value in lookup]) for lookup in self.lookups]

    def columns(self, tensors: Sequence[Tensor]) -> Tensor:
        """All literals side by side. (B, *shape, k) of each entry -> (B, C)"""
        if len(tensors) == 1:
            return tensors[0].flatten(1)
        return torch.cat([x.flatten(1) for x in tensors], 1)

    def aligned(self, tensors: Sequence[Tensor]) -> Tensor:
        """The mass of each value at each site. (B, *shape, k) of each entry -> (B, n, U)"""
        x = self.columns(tensors)
        if self._gather is None:
            return x.reshape(x.shape[0], self.sites, len(self.union))
        padded = torch.cat([x, x.new_zeros(x.shape[0], 1)], 1)
        return padded[:, self._gather.to(x.device)]

    def decided(self, tensors: Sequence[Tensor]) -> Tensor:
        """The places of all sites side by side. (B, *shape) int64 of each entry -> (B, n)"""
        flat = [x.reshape(len(x), n) for x, n in zip(tensors, self.counts, strict=True)]
        return flat[0] if len(flat) == 1 else torch.cat(flat, 1)

    def united(self, tensors: Sequence[Tensor]) -> Tensor:
        """The places of all sites in the union of values. -> (B, n)"""
        places = self.decided(tensors)
        if self.uniform:
            return places
        site = torch.arange(self.sites, device=places.device)
        return self.ranked.to(places.device)[site, places]

    @cached_property
    def ranked(self) -> Tensor:
        """The place in the union of each value of each site; 0 beyond its values. -> (n, k)"""
        out = np.zeros((self.sites, int(self.sizes.max(initial=0))), dtype=np.int64)
        for k, ranks in enumerate(self.ranks()):
            out[self.entry == k, : len(ranks)] = ranks
        return torch.from_numpy(out)

    def numbers(self, sites: Tensor) -> Tensor:
        """Sites given as entry of the scope and flat place in it, as they are numbered here.
        (m, 2) -> (m,)"""
        first = torch.tensor([0, *self.counts[:-1]], device=sites.device).cumsum(0)
        return first[sites[:, 0]] + sites[:, 1]

    def values_of(self, numbers: Tensor) -> Tensor:
        """How many values these sites have. (m,) -> (m,)"""
        return torch.from_numpy(self.sizes).to(numbers.device)[numbers]

    def flat(self, values: Sequence[Any]) -> list[Any]:
        """Plain values as one list; equal entries mean equal values, whatever their types."""
        out: list[Any] = []
        for value, view, count in zip(values, self.scope, self.counts, strict=True):
            out += _entries(value, view.shape, count)
        return [(type(v), v) for v in out] if self.mixed else out

    def plain(self, value: Any) -> Any:
        """A person's value as it stands in `flat`."""
        return (type(value), value) if self.mixed else value

    def values_at(self, sites: Ints, places: Ints) -> list[Any]:
        """The values at these places, as they stand in `flat`."""
        values = [list(d) if self.mixed else [v for _, v in d] for d in self.lookups]
        if self.uniform:
            return [values[0][place] for place in places.tolist()]
        entries = self.entry[sites].tolist()
        return [values[k][place] for k, place in zip(entries, places.tolist(), strict=True)]

    def shown(self, value: Any) -> str:
        """A value out of `flat` in words."""
        return repr(value[1] if self.mixed else value)

    def name(self, site: int) -> str:
        """The place of a site in its variable, in words: `[0, 2]`, with the name if need be."""
        entry = int(self.entry[site])
        name, shape, first, places = self._named[entry]
        if not shape:
            return name
        place, where = int(places[site - first]), []
        for size in reversed(shape):
            place, at = divmod(place, size)
            where.append(at)
        return f"{name if self._several else ''}{where[::-1]}"

    @cached_property
    def _named(self) -> list[tuple[str, tuple[int, ...], int, Ints]]:
        """Of each scope entry the variable, its shape, the first site and the places of all."""
        first = [0, *accumulate(self.counts)]
        return [
            (v.variable.name, v.variable.domain.shape, at, v.places.reshape(-1))
            for v, at in zip(self.scope, first, strict=False)
        ]

    @cached_property
    def _several(self) -> bool:
        """The scope is over more than one variable."""
        return len({view.variable.name for view in self.scope}) > 1

    def names(self, sites: Sequence[int]) -> str:
        """Several places in words: `[0, 2] and [0, 7]`."""
        said = [self.name(site) for site in sites]
        return " and ".join([", ".join(said[:-1]), said[-1]] if len(said) > 1 else said)

    def at(self, site: int, value: Any, sign: bool = True) -> str:
        """What stands at a site, or does not, in words: `[0, 2] is 5`."""
        return f"{self.name(site)} is {'' if sign else 'not '}{self.shown(value)}"


def layout_of(scope: Sequence[View]) -> Layout:
    """The layout of a scope, made once for all terms that see the same views."""
    if not scope:
        return Layout(scope)  # says what is wrong
    known: dict[tuple[int, ...], Layout] = vars(scope[0]).setdefault("_layouts", {})
    key = tuple(map(id, scope))  # of views that the layout keeps; a copy holds others
    found = known.get(key)
    if found is None or not all(map(operator.is_, found.scope, scope)):
        found = known[key] = Layout(scope)
    return found


class OverSites(Term):
    """Abstract: a term over finite sites; `layout` says how they are numbered."""

    fixed_structure = True

    def __init__(self, *scope: Variable | View):
        super().__init__(*scope)
        self.layout = layout_of(self.scope)

    def made(self, domains: Sequence[Domain], **fields: Any) -> Factors:
        """Factors over the visible sites of these domains."""
        return Factors(Factors.sizes_of(domains), self.layout.sites, **fields)


def different(term: OverSites, domains: Sequence[Domain], start: Ints, site: Ints) -> Factors:
    """Lines of pairwise different sites as factors; each line is a part.

    Where all sites take the same values the lines stand as they are, and values are
    interchangeable; else each value that two sites of a line share is a counted group.
    """
    layout, m = term.layout, len(start) - 1
    if layout.uniform:
        lines = Different(start, site, np.zeros(m, dtype=np.int64), np.arange(m))
        return term.made(domains, different=lines, interchangeable=True)
    ranks, union = layout.ranks(), len(layout.union)
    part = np.repeat(np.arange(m), np.diff(start))
    keys, sites, places = [], [], []
    for k, rank in enumerate(ranks):  # every literal of every line, one scope entry at a time
        mine = np.flatnonzero(layout.entry[site] == k)
        keys.append((part[mine][:, None] * union + rank).reshape(-1))
        sites.append(np.repeat(site[mine], len(rank)))
        places.append(np.tile(np.arange(len(rank)), len(mine)))
    key, literal_site, place = map(np.concatenate, (keys, sites, places))
    order = np.argsort(key, kind="stable")
    groups, length = np.unique(key, return_counts=True)
    shared = np.repeat(length > 1, length)
    length, owner = length[length > 1], groups[length > 1] // union
    counted = Counted(
        np.concatenate([[0], np.cumsum(length)]).astype(np.int64),
        literal_site[order][shared],
        place[order][shared],
        np.zeros(len(length), dtype=np.int64),
        owner,
        np.zeros(len(length), dtype=np.int64),
        np.ones(len(length), dtype=np.int64),
    )
    return term.made(domains, counted=counted)


def whole(value: Any) -> bool:
    """True for whole numbers, numpy's as well, but not for booleans."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def finite(value: Any) -> bool:
    """True for finite numbers that float64 can hold the size of, but not for booleans."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return abs(int(value)) < 2**1023
    return isinstance(value, (float, np.floating)) and bool(np.isfinite(value))


def rounds(value: Any) -> bool:
    """True for a finite whole number that float64 holds only rounded."""
    return isinstance(value, (int, np.integer)) and int(float(value)) != int(value)


ROUNDS = "give it with at most 15 digits, or give all costs in a larger unit"


def check_site(layout: Layout, site: Any, path: str, wrong: Mistakes) -> bool:
    """Whether this is the number of a site; a complaint if not."""
    if not whole(site):
        wrong.add(path, f"{site!r} is no site", "give its flat place, row-major, from 0")
    elif not 0 <= site < layout.sites:
        wrong.add(path, f"site {site} is out of range", f"give 0 to {layout.sites - 1}")
    else:
        return True
    return False


def read_lists(lists: Any, path: str) -> list[list[Any]]:
    """A list of lists, whatever holds them. Raises BadQuery with the place of what is none."""
    wrong = Mistakes(MISTAKES)
    every = listed(lists)
    if every is None:
        raise BadQuery(Mistake(path, f"{lists!r} is no list", "write it as [[...], ...]"))
    for k, entry in enumerate(every):
        if isinstance(entry, (list, tuple)):
            continue
        if (inner := listed(entry)) is None:
            wrong.add(f"{path}[{k}]", f"{entry!r} is no list", "write it as [...]")
        else:
            every[k] = inner
    wrong.check()
    return every


def listed(value: Any) -> list[Any] | None:
    """The entries of a list, an array, a range, a set, a view of edges; None: it has none."""
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, Set):
        return plain_list(value)
    made = plain(value)
    return made if isinstance(made, list) else None


def read_sites(layout: Layout, lists: Any, path: str) -> list[list[int]]:
    """Lists of different sites. Raises BadQuery with every place where something is wrong."""
    lists = read_lists(lists, path)
    every = list(chain.from_iterable(lists))
    known = set(map(type, every)) == {int} and min(every) >= 0 and max(every) < layout.sites
    if known and all(len(line) == len(set(line)) > 0 for line in lists):
        return [list(line) for line in lists]
    wrong = Mistakes(MISTAKES)
    read = []
    for k, line in enumerate(lists):
        sites = [
            int(site)
            for j, site in enumerate(line)
            if check_site(layout, site, f"{path}[{k}][{j}]", wrong)
        ]
        if len(set(sites)) < len(sites):
            again = next(s for j, s in enumerate(sites) if s in sites[:j])
            wrong.add(f"{path}[{k}]", f"site {again} stands twice", "name every site once")
        if not len(line):
            wrong.add(f"{path}[{k}]", "is empty", "name at least one site, or leave it out")
        read.append(sites)
    wrong.check()
    return read


def by_length(lengths: Ints) -> list[Ints]:
    """The numbers of the lists of each length, so that each bunch is one tensor."""
    return [np.flatnonzero(lengths == length) for length in np.unique(lengths)]


def put_lists(out: Tensor, numbers: Sequence[Ints], bunches: Iterable[Tensor]) -> Tensor:
    """What each list comes to, (B, m) a bunch, in the place of its number. (B, lists) -> same"""
    every = list(bunches)
    if not every:
        return out
    place = torch.from_numpy(np.concatenate(numbers)).to(out.device)
    return out.index_copy(1, place, torch.cat(every, 1))


def _finite(place: int, view: View) -> Finite:
    domain = view.variable.domain
    if not isinstance(domain, Finite):
        raise BadQuery(
            Mistake(
                f"scope[{place}]",
                f"{view.variable.name} has real values",
                "name a variable with a list of values",
            )
        )
    return domain


def _entries(value: Any, shape: tuple[int, ...], count: int) -> list[Any]:
    """Nested lists of a known shape as one list, without looking at every level."""
    if not shape:
        return [value]
    out = value
    try:
        for _ in range(len(shape) - 1):
            out = chain.from_iterable(out)
        out = list(out)
    except TypeError:
        return flatten(value, shape)  # says where the shape is wrong
    return out if len(out) == count else flatten(value, shape)
