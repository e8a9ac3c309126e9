"""Which sites a neighbourhood frees, while all others keep the values of the best solution.

By what they share rules with, by what they pay above their least, by where a linear relaxation
disagrees with the solution, or by chance.

Source: Shaw, "Using constraint programming and local search methods to solve vehicle routing
problems", CP 1998 (large neighbourhoods); Danna, Rothberg, Le Pape, "Exploring relaxation induced
neighborhoods to improve MIP solutions", Mathematical Programming 2005.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from engine.decimals import Floats, Ints
from engine.kernels.clauses import Formula

WIDE = 64  # sites of a rule from which on it is not followed whole


def _ptr(owner: Ints, count: int) -> Ints:
    return np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=count))]).astype(np.int64)


def _pairs(left: Ints, right: Ints, width: int) -> tuple[Ints, Ints]:
    """Pairs without repetition, by the first."""
    key = np.unique(left * width + right)
    return key // width, key % width


@dataclass(frozen=True, eq=False)
class Sites:
    """The visible sites of a formula, those of several open values, and what rules they share."""

    formula: Formula
    site: Ints  # (V,) the site of each variable, from 0; -1: a variable that no site has
    count: int

    @staticmethod
    def of(formula: Formula, owner: Ints) -> "Sites":
        """owner: (V,) the site of each variable in any numbering, -1 for none."""
        seen = owner >= 0
        names, number = np.unique(owner[seen], return_inverse=True)
        site = np.full(formula.variables, -1, dtype=np.int64)
        site[seen] = number.reshape(-1)
        return Sites(formula, site, len(names))

    @cached_property
    def _rows(self) -> tuple[Ints, Ints, int]:
        """The variables of each clause, group and sum. -> row, variable, rows"""
        f = self.formula
        rows, variables, made = [], [], 0
        for ptr, lit in (
            (f.clause_ptr, f.clause_lit),
            (f.group_ptr, f.group_lit),
            (f.sum_ptr, f.sum_lit),
        ):
            count = len(ptr) - 1
            rows.append(made + np.repeat(np.arange(count), np.diff(ptr)))
            variables.append((lit >> 1).astype(np.int64))
            made += count
        return np.concatenate(rows).astype(np.int64), np.concatenate(variables), made

    @cached_property
    def of_variable(self) -> tuple[Ints, Ints]:
        """The sites of each variable: its own, or those that share a row with it where it has
        none. -> start (V + 1,), sites"""
        row, variable, _ = self._rows
        own = np.flatnonzero(self.site >= 0)
        hidden = self.site[variable] < 0
        order = np.argsort(row[~hidden], kind="stable")
        beside = row[~hidden][order], self.site[variable[~hidden]][order]
        start = _ptr(beside[0], self._rows[2])
        lengths = np.diff(start)[row[hidden]]
        at = np.repeat(start[row[hidden]], lengths) + _places(lengths)
        left = np.concatenate([own, np.repeat(variable[hidden], lengths)])
        right = np.concatenate([self.site[own], beside[1][at]])
        left, right = _pairs(left, right, max(1, self.count))
        return _ptr(left, self.formula.variables), right

    @cached_property
    def shared(self) -> tuple[Ints, Ints, Ints, Ints]:
        """The sites of each row that has several, and the rows of each site. -> start (m + 1,),
        sites, start (n + 1,), rows"""
        row, variable, count = self._rows
        start, sites = self.of_variable
        lengths = np.diff(start)[variable]
        at = np.repeat(start[variable], lengths) + _places(lengths)
        left, right = _pairs(np.repeat(row, lengths), sites[at], max(1, self.count))
        several = np.bincount(left, minlength=count)[left] > 1
        left, right = left[several], right[several]
        by = np.argsort(right, kind="stable")
        return _ptr(left, count), right, _ptr(right, self.count), left[by]

    def true(self, model: np.ndarray) -> Ints:
        """A literal that says the value each site has; -1 where none is left that does. (V,) uint8
        -> (n,)"""
        out = np.full(self.count, -1, dtype=np.int64)
        own = np.flatnonzero(self.site >= 0)
        single = np.bincount(self.site[own], minlength=self.count)[self.site[own]] == 1
        told = own[single | (model[own] > 0)]
        out[self.site[told]] = 2 * told + (model[told] == 0)
        return out

    def paid(self, model: np.ndarray) -> Floats:
        """What each site pays above the least that it could. (V,) uint8 -> (n,)"""
        f = self.formula
        group = np.repeat(np.arange(len(f.cost_ptr) - 1), np.diff(f.cost_ptr))
        out = np.zeros(self.count)
        if not len(group):
            return out
        least = np.minimum.reduceat(f.cost, f.cost_ptr[:-1])
        true = model[f.cost_lit >> 1] != (f.cost_lit & 1)
        over = np.where(true, f.cost - least[group], 0).astype(float)
        start, sites = self.of_variable
        variable = (f.cost_lit >> 1)[over > 0]
        lengths = np.diff(start)[variable]
        at = np.repeat(start[variable], lengths) + _places(lengths)
        np.add.at(out, sites[at], np.repeat(over[over > 0], lengths))
        return out

    def apart(self, model: np.ndarray, x: Floats) -> Floats:
        """How far a point of the relaxation stands from the value of each site. (V,) -> (n,)"""
        out = np.zeros(self.count)
        own = np.flatnonzero(self.site >= 0)
        np.maximum.at(out, self.site[own], np.abs(x[own] - model[own]))
        return out

    def near(self, first: int, size: int, chance: Floats) -> Ints:
        """So many sites that hang together by the rules they share, from one on; chance (n,) says
        which go before which."""
        start, sites, at, rows = self.shared
        taken, order = {first}, [first]
        for site in order:
            if len(order) >= size:
                break
            for row in rows[at[site] : at[site + 1]][:WIDE].tolist():
                more = sites[start[row] : start[row + 1]]
                if len(more) > WIDE:
                    continue
                for one in more[np.argsort(chance[more])].tolist():
                    if one not in taken and len(order) < size:
                        taken.add(one)
                        order.append(one)
        if len(order) < size:  # what is left hangs together by wide rules alone
            more = np.argsort(chance)[: size + len(order)].tolist()
            order += [one for one in more if one not in taken][: size - len(order)]
        return np.array(order, dtype=np.int64)


def _places(lengths: Ints) -> Ints:
    """0, 1, ... within each run."""
    total = int(lengths.sum())
    ends = np.cumsum(lengths)
    return np.arange(total) - np.repeat(ends - lengths, lengths)
