"""What kinds over literals share: reading them, their masses site by site, and counting them.

A literal is (site, value). Literals of one site exclude each other, so sites, not literals, are
the independent events.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.decimals import Floats, Ints
from engine.domain import Domain, Variable, View
from engine.errors import BadQuery, Mistakes
from engine.factors import Counted, Factors, ints
from engine.plain import plain
from modules.shared.sites import (
    MISTAKES,
    NAMED,
    Layout,
    OverSites,
    by_length,
    check_site,
    finite,
    put_lists,
    read_lists,
)


class Literals:
    """Lists of literals in compressed rows: list i is [start[i], start[i + 1])."""

    def __init__(self, layout: Layout, lists: Any, path: str, third: type | None = None):
        lists = read_lists(lists, path)
        self.start = np.concatenate([[0], np.cumsum(ints(map(len, lists)))]).astype(np.int64)
        flat = list(chain.from_iterable(lists))

        def path_of(literal: int) -> str:
            row = int(np.searchsorted(self.start, literal, side="right")) - 1
            return f"{path}[{row}][{literal - int(self.start[row])}]"

        self.site, self.place, self.third = read_literals(layout, flat, path_of, third)
        self.column = layout.offset[self.site] + self.place

    @property
    def count(self) -> int:
        return len(self.start) - 1

    def owner(self) -> Ints:
        """The list each literal belongs to. -> (L,)"""
        return np.repeat(np.arange(self.count), np.diff(self.start))


def read_literals(
    layout: Layout, literals: Sequence[Any], path_of: Callable[[int], str], third: type | None
) -> tuple[Ints, Ints, list[Any]]:
    """Sites, places of values, and third entries (a bool, or a finite number as it was given, if
    asked for).

    Raises BadQuery with every place where something is wrong.
    """
    size = 2 if third is None else 3
    try:
        read = _read_fast(layout, literals, size, third)
    except (KeyError, TypeError, IndexError, ValueError):
        read = None
    return read if read is not None else _read_slowly(layout, literals, path_of, size, third)


def _read_fast(
    layout: Layout, literals: Sequence[Any], size: int, third: type | None
) -> tuple[Ints, Ints, list[Any]] | None:
    """All at once, or None where something looks wrong."""
    if not set(map(len, literals)) <= {size} or not {type(x[0]) for x in literals} <= {int}:
        return None
    site = ints([x[0] for x in literals])
    if len(site) and not (site.min() >= 0 and site.max() < layout.sites):
        return None
    if layout.uniform:
        lookup = layout.lookups[0]
        place = ints([lookup[type(x[1]), x[1]] for x in literals])
    else:
        owners = [layout.lookups[k] for k in layout.entry[site]]
        place = ints([own[type(x[1]), x[1]] for own, x in zip(owners, literals, strict=True)])
    extra = [x[2] for x in literals] if third else []
    if third is float:
        if not all(type(x) in (int, float) and finite(x) for x in extra):
            return None
    elif not {type(x) for x in extra} <= {bool}:
        return None
    return site, place, extra


def _read_slowly(
    layout: Layout,
    literals: Sequence[Any],
    path_of: Callable[[int], str],
    size: int,
    third: type | None,
) -> tuple[Ints, Ints, list[Any]]:
    """One by one, with a complaint for each mistake."""
    wrong = Mistakes(MISTAKES)
    forms: dict[type | None, str] = {None: "[site, value]", bool: "[site, value, true or false]"}
    form = forms.get(third, "[site, value, coefficient]")
    sites, places, extra = [], [], []
    for k, literal in enumerate(literals):
        path = path_of(k)
        literal = plain(literal)
        if not isinstance(literal, (list, tuple)) or len(literal) != size:
            wrong.add(path, f"{literal!r} is no literal", f"write it as {form}")
            continue
        site, value, *rest = literal
        if not check_site(layout, site, f"{path}[0]", wrong):
            continue
        sites.append(int(site))
        try:
            places.append(layout.domains[layout.entry[site]].place(value, f"{path}[1]"))
        except BadQuery as error:
            for mistake in error.mistakes:
                wrong.add(mistake.path, mistake.problem, mistake.remedy)
        if third is bool and not isinstance(rest[0], (bool, np.bool_)):
            wrong.add(f"{path}[2]", f"{rest[0]!r} is no sign", "write true or false")
        if third is float and not finite(rest[0]):
            wrong.add(f"{path}[2]", f"{rest[0]!r} is no finite number", "give a finite number")
        extra += [_plain(x) for x in rest if third is bool or finite(x)] if third else []
    wrong.check()
    return ints(sites), ints(places), extra


def _plain(value: Any) -> bool | int | float:
    """A truth value or number of numpy as one of Python."""
    return value.item() if isinstance(value, np.generic) else value


class Masses:
    """constant + sum of coefficient * mass over the literals of one list at one site."""

    def __init__(self, owner: Ints, site: Ints, column: Ints, coefficient: Floats, base: Floats):
        """`owner` ascending; `base` (L,) is the constant of the (list, site) of each literal."""
        key = owner * (int(site.max(initial=0)) + 1) + site
        keys, first, group = np.unique(key, return_index=True, return_inverse=True)
        self.column, self.group = torch.from_numpy(column), torch.from_numpy(group)
        self.coefficient = torch.from_numpy(coefficient)
        self.base = torch.from_numpy(base[first])  # (G,)
        lists, begin, length = np.unique(owner[first], return_index=True, return_counts=True)
        self.bunches = [
            (lists[rows], torch.from_numpy(begin[rows][:, None] + np.arange(length[rows[0]])))
            for rows in by_length(length)
        ]

    @property
    def lists(self) -> list[Ints]:
        """The numbers of the lists of each length."""
        return [numbers for numbers, _ in self.bunches]

    def __call__(self, x: Tensor) -> Iterator[Tensor]:
        """The lists of each length together. (B, C) -> (B, m, sites of a list), one per length"""
        picked = x[:, self.column.to(x.device)] * self.coefficient.to(x)
        start = self.base.to(x).expand(x.shape[0], -1)
        mass = start.index_add(1, self.group.to(x.device), picked)  # (B, G)
        for _, index in self.bunches:
            yield mass[:, index.to(x.device)]


def first_two(s: Tensor) -> tuple[Tensor, Tensor]:
    """P(count = 0) and P(count = 1) of independent events along the last axis. (..., n) -> (...)

    Halves are joined pairwise: about log2(n) tensor operations.
    """
    none, one = 1 - s, s
    if s.shape[-1] == 0:
        return s.new_ones(s.shape[:-1]), s.new_zeros(s.shape[:-1])
    while none.shape[-1] > 1:
        if none.shape[-1] % 2:
            none = torch.cat([none, torch.ones_like(none[..., :1])], -1)
            one = torch.cat([one, torch.zeros_like(one[..., :1])], -1)
        a, b = none[..., ::2], none[..., 1::2]
        none, one = a * b, a * one[..., 1::2] + one[..., ::2] * b
    return none[..., 0], one[..., 0]


class Counting(OverSites):
    """Abstract: in each group the number of true literals lies in a range.

    E = sum over groups of P(count out of range), the sites independent; affine in each site.
    """

    def __init__(self, *scope: Variable | View, groups: Sequence[Sequence[Any]]):
        super().__init__(*scope)
        self.literals = literals = Literals(self.layout, groups, "groups")
        self._check()
        values = self.layout.values_at(literals.site, literals.place)
        plain = list(zip(literals.site.tolist(), values, strict=True))
        ends = literals.start.tolist()
        self.plain = [plain[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)]

    @cached_property
    def _masses(self) -> Masses:
        """The mass of each group at each of its sites."""
        read = self.literals
        ones = np.ones(len(read.site))
        return Masses(read.owner(), read.site, read.column, ones, 0 * ones)

    def _check(self) -> None:
        """A group without literals, or with one twice, is a mistake."""
        wrong = Mistakes(MISTAKES)
        literals, owner = self.literals, self.literals.owner()
        for k in np.flatnonzero(np.diff(literals.start) == 0):
            wrong.add(f"groups[{k}]", "is empty", "name at least one literal, or leave it out")
        key = owner * self.layout.offset[-1] + literals.column
        order = np.argsort(key, kind="stable")
        again = order[1:][key[order[1:]] == key[order[:-1]]]
        for k in np.sort(again):
            place = k - literals.start[owner[k]]
            wrong.add(f"groups[{owner[k]}][{place}]", "stands twice", "name every literal once")
        wrong.check()

    @abstractmethod
    def _chance(self, none: Tensor, one: Tensor) -> Tensor:
        """P(count in range), from P(count = 0) and P(count = 1)."""

    @abstractmethod
    def _fits(self, count: int) -> bool:
        """Whether a group may have so many true literals."""

    @abstractmethod
    def _words(self) -> str:
        """What is asked, in words."""

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B,)
        x = self.layout.columns(tensors)
        total = x.new_zeros(x.shape[0])
        for failing in self._failing(x):
            total = total + failing.sum(-1)
        return total

    def violation(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B, groups)
        x = self.layout.columns(tensors)
        out = x.new_zeros(x.shape[0], self.literals.count)
        return put_lists(out, self._masses.lists, self._failing(x))

    def _failing(self, x: Tensor) -> Iterator[Tensor]:
        """The chance that a group fails. (B, C) -> (B, m), one per length"""
        for s in self._masses(x):
            yield 1 - self._chance(*first_two(s))

    def holds(self, *values: Any) -> bool:
        flat = self.layout.flat(values)
        return all(self._fits(sum(flat[s] == v for s, v in group)) for group in self.plain)

    def floor(self) -> float:
        return 0.0

    def says(self, part: int) -> str:
        group = self.plain[part]
        of = "; ".join(self.layout.at(s, v) for s, v in group[:NAMED])
        more = f"; {len(group) - NAMED} others" if len(group) > NAMED else ""
        return f"group {part}: {self._words()} of: {of}{more}"

    def explain(self, *values: Any) -> list[str]:
        flat = self.layout.flat(values)
        said = []
        for k, group in enumerate(self.plain):
            true = [(s, v) for s, v in group if flat[s] == v]
            if not self._fits(len(true)):
                which = "; ".join(self.layout.at(s, v) for s, v in (true or group)[:NAMED])
                truth = f"{len(true)} hold ({which})" if true else f"none holds of {len(group)}"
                said.append(f"group {k}: {self._words()}, but {truth}")
        return said

    def counted(self, domains: Sequence[Domain], low: int, high: int) -> Factors:
        """The groups as counted factors."""
        literals, m = self.literals, self.literals.count
        groups = Counted(
            literals.start,
            literals.site,
            literals.place,
            np.zeros(m, dtype=np.int64),
            np.arange(m),
            np.full(m, low),
            np.full(m, high),
        )
        return self.made(domains, counted=groups)
