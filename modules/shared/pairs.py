"""What kinds over pairs of sites share: reading pairs, and the chance that two sites agree."""

from collections.abc import Callable, Sequence
from functools import cached_property
from operator import eq, itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.decimals import Floats, Ints
from engine.domain import Variable, View
from engine.energy.changes import settled
from engine.errors import Mistakes
from modules.shared.incidence import Incidence
from modules.shared.sites import MISTAKES, Layout, OverSites, check_site, read_lists, whole

FORM = "write it as two different sites, such as [0, 1]"


PIECE = 1 << 20  # ends of pairs that are looked at in one go


class Weighed:
    """The sum over pairs of decided sites of w, where both take one value, or where they do not."""

    def __init__(self, layout: Layout, a: Ints, b: Ints, weight: Floats):
        self.layout = layout
        self.ends = torch.from_numpy(np.stack([a, b], 1))
        self.weight = torch.from_numpy(weight)

    @cached_property
    def incidence(self) -> Incidence:
        """The pairs that each site stands in."""
        return Incidence(self.ends.numpy(), self.layout.sites)

    def total(self, decided: Sequence[Tensor]) -> Tensor:
        """Of pairs that take one value. (B, *shape) int64 of each entry -> (B,) float64"""
        return self._sum(decided, torch.eq)

    def parted(self, decided: Sequence[Tensor]) -> Tensor:
        """Of pairs that take two values, added up by itself: as all less `total`, small weights
        would drown in large ones that do not count. -> (B,) float64"""
        return self._sum(decided, torch.ne)

    def _sum(self, decided: Sequence[Tensor], counts: Callable[..., Tensor]) -> Tensor:
        x = self.layout.united(decided)
        one, other = self.ends.to(x.device).unbind(1)
        weight = self.weight.to(x.device)
        each = max(1, PIECE // max(1, len(weight)))
        out = [counts(p[:, one], p[:, other]).double() @ weight for p in x.split(each)]
        return torch.cat(out)

    def changes(self, sites: Tensor, decided: Sequence[Tensor]) -> Tensor:
        """`Term.changes` of `total`: the weight of the neighbours that have each value."""
        x, numbers = self.layout.united(decided), self.layout.numbers(sites)
        size, met = self.layout.values_of(numbers), self.incidence.met(numbers)
        most = int(size.max()) if len(size) else 0
        other = self.ends.to(x.device)[met.row, 1 - met.column]  # (L,)
        weight = self.weight.to(x.device)[met.row]
        union = len(self.layout.union)
        values = self.layout.ranked.to(x.device)[numbers, :most]  # (m, k) in the union
        stands = self.layout.decided(decided)[:, numbers]
        out = [torch.zeros(0, len(numbers), most, dtype=torch.float64, device=x.device)]
        each = max(1, PIECE // max(1, len(other), len(numbers) * union))
        for i in range(0, len(x), each):
            part, mine = x[i : i + each], stands[i : i + each]
            near = torch.zeros(len(part), len(numbers) * union, dtype=torch.float64).to(x.device)
            place = met.owner * union + part[:, other]  # (b, L)
            near.scatter_add_(1, place, weight.expand(place.shape))
            near = near.reshape(len(part), len(numbers), union)
            rise = near.gather(-1, values.expand(len(part), *values.shape))
            rise = rise - rise.gather(-1, mine[..., None])
            out.append(settled(rise, mine, size))
        return torch.cat(out)


class Pairs(OverSites):
    """Abstract: a term over pairs of different sites, `a[i]` and `b[i]`."""

    def __init__(self, *scope: Variable | View, pairs: Sequence[Sequence[int]], path: str):
        super().__init__(*scope)
        self.a, self.b = read_pairs(self.layout, pairs, path)
        self._ends = _getter(self.a), _getter(self.b)

    def agreement(self, *tensors: Tensor) -> Tensor:
        """The chance that both ends take one value. (B, *shape, k) -> (B, m)"""
        return agreement(self.layout.aligned(tensors), self.a, self.b)

    def agreeing(self, *values: Any) -> list[bool]:
        """Whether the ends of each pair have the same plain value."""
        flat = self.layout.flat(values)
        first, second = (get(flat) for get in self._ends)
        return list(map(eq, first, second))

    def ends(self, pair: int) -> str:
        """Both ends of a pair in words."""
        return self.layout.names([int(self.a[pair]), int(self.b[pair])])

    def floor(self) -> float:
        return 0.0


class Unequal(Pairs):
    """Abstract: the ends of each pair differ. E = sum over pairs of <p_a, p_b>."""

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B,)
        return self.agreement(*tensors).sum(-1)

    def violation(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B, pairs)
        return self.agreement(*tensors)

    def cost(self, *tensors: Tensor) -> Tensor:  # (B, *shape) int64 -> (B,)
        return self.weighed.total(tensors)

    def changes(self, sites: Tensor, *decided: Tensor) -> Tensor:
        return self.weighed.changes(sites, decided)

    @cached_property
    def weighed(self) -> Weighed:
        """The same sum over decided sites."""
        return Weighed(self.layout, self.a, self.b, np.ones(len(self.a)))

    def says(self, part: int) -> str:
        return f"{self.ends(part)} differ"

    def holds(self, *values: Any) -> bool:
        return True not in self.agreeing(*values)


def agreement(x: Tensor, a: Ints, b: Ints) -> Tensor:
    """(B, n, U) -> (B, m): sum over values of the product of masses."""
    left, right = (torch.from_numpy(end).to(x.device) for end in (a, b))
    return (x[:, left] * x[:, right]).sum(-1)


def read_pairs(layout: Layout, pairs: Any, path: str) -> tuple[Ints, Ints]:
    """Both ends of each pair. Raises BadQuery with every place where something is wrong."""
    pairs = read_lists(pairs, path)
    if set(map(len, pairs)) <= {2} and {type(s) for p in pairs for s in p} <= {int}:
        ends = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        if ((ends >= 0) & (ends < layout.sites)).all() and (ends[:, 0] != ends[:, 1]).all():
            return np.ascontiguousarray(ends[:, 0]), np.ascontiguousarray(ends[:, 1])
    wrong = Mistakes(MISTAKES)
    read = []
    for k, pair in enumerate(pairs):
        if len(pair) != 2:
            wrong.add(f"{path}[{k}]", f"{list(pair)!r} has {len(pair)} entries", FORM)
            continue
        good = [check_site(layout, s, f"{path}[{k}][{j}]", wrong) for j, s in enumerate(pair)]
        if all(good) and pair[0] == pair[1]:
            wrong.add(f"{path}[{k}]", f"both ends are site {pair[0]}", FORM)
        read.append([int(s) if whole(s) else 0 for s in pair])
    wrong.check()
    ends = np.array(read, dtype=np.int64).reshape(-1, 2)
    return np.ascontiguousarray(ends[:, 0]), np.ascontiguousarray(ends[:, 1])


def interleaved(a: Ints, b: Ints) -> tuple[Ints, Ints]:
    """Pairs as lists in compressed rows: starts and sites."""
    return np.arange(0, 2 * len(a) + 1, 2), np.stack([a, b], 1).reshape(-1)


def _getter(ends: Ints) -> Any:
    if len(ends) > 1:
        return itemgetter(*ends.tolist())
    return lambda flat: tuple(flat[k] for k in ends.tolist())
