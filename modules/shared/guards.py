"""A guard: literals under which a rule binds, and otherwise says nothing.

What every kind with a guard has in common stands here. The parameter `guard` is a list of literals
[site, value]; where all of them hold, the rule must hold (a half-reified rule). With `both_ways`,
the rule must fail where the guard does not hold, so that the guard says exactly whether it holds (a
reified rule); its guard is one literal. E = the chance that the guard holds, its sites independent,
times the energy of the rule; with `both_ways`, plus the chance that it does not where the rule
holds. Sites of a guard count on through the scope like all others.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from engine.errors import BadQuery, Mistake
from engine.factors import Factors
from engine.factors.comparisons import Signed
from engine.factors.conditions import put_under_condition
from modules.shared.literals import read_literals
from modules.shared.sites import Layout, read_lists


class Guard:
    """The literals of a guard; none: it always holds."""

    def __init__(self, layout: Layout, guard: Sequence[Sequence[Any]], both_ways: bool = False):
        read = read_lists(guard, "guard")
        if both_ways and len(read) != 1:
            remedy = "name one literal, such as [[0, 1]]: a site of its own can stand for several"
            problem = f"has {len(read)} literals, and the rule is bound both ways"
            raise BadQuery(Mistake("guard", problem, remedy))
        self.layout, self.both_ways = layout, both_ways
        self.site, self.place, _ = read_literals(layout, read, "guard[{}]".format, None)
        self.plain = list(
            zip(self.site.tolist(), layout.values_at(self.site, self.place), strict=True)
        )
        self._column = torch.from_numpy(layout.offset[self.site] + self.place)

    def __bool__(self) -> bool:
        return len(self.plain) > 0

    def chance(self, x: Tensor) -> Tensor:
        """That all literals hold. (B, C) all literals side by side -> (B,)"""
        return x[:, self._column.to(x.device)].prod(1)

    def stands(self, places: Tensor) -> Tensor:
        """Whether all literals hold at decided sites. (B, n) -> (B,) bool"""
        site, place = (torch.from_numpy(x).to(places.device) for x in (self.site, self.place))
        return (places[:, site] == place).all(1)

    def weighed(self, x: Tensor, energy: Tensor, held: Tensor) -> Tensor:
        """The energy of a rule under the guard. x (B, C); energy (B, ...); held (B, 1) or (B,):
        whether the whole rule holds. -> the shape of `energy`, what is to fail in its first part"""
        chance = self.chance(x).to(energy)
        if energy.dim() == 1:
            own = chance * energy
            return own + (1 - chance) * held if self.both_ways else own
        own = chance[:, None] * energy
        if not self.both_ways:
            return own
        return torch.cat([own[:, :1] + ((1 - chance) * held)[:, None], own[:, 1:]], 1)

    def true(self, flat: Sequence[Any]) -> bool:
        """Whether all literals hold at plain values, as `Layout.flat` gives them."""
        return all(flat[s] == v for s, v in self.plain)

    def judged(self, flat: Sequence[Any], holds: bool) -> bool:
        """Whether the guarded rule holds, where the rule itself does or does not."""
        if self.both_ways:
            return self.true(flat) is holds
        return holds or not self.true(flat)

    @property
    def when(self) -> tuple[Signed, ...]:
        """The literals as conditions."""
        return tuple((s, v, True) for s, v in zip(self.site.tolist(), self.place.tolist()))

    @property
    def otherwise(self) -> tuple[Signed, ...]:
        """The condition that its only literal does not hold."""
        ((site, place, _),) = self.when
        return ((site, place, False),)

    def words(self) -> str:
        """What a rule begins with, in words."""
        if not self:
            return ""
        literals = " and ".join(self.layout.at(s, v) for s, v in self.plain)
        return f"{'exactly ' if self.both_ways else ''}if {literals}: "

    def unwanted(self) -> str:
        """What is wrong where the rule holds and must not."""
        return f"the rule holds, though not {self.words().removeprefix('exactly if ')[:-2]}"


def under(factors: Factors, when: Sequence[Signed]) -> Factors:
    """Counts, clauses and sums that bind only under conditions that are values of sites."""
    for site, place, _ in when:
        lists = (factors.counted, factors.clauses, factors.sums)
        factors = put_under_condition(factors, *([(site, place)] * x.count for x in lists))
    return factors
