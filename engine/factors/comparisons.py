"""Linear comparisons of whole numbers that sites stand for, and what they are in Boolean terms.

A search knows literals. A comparison of two numbers says what follows from a bound on one of them
for the other; of more, it is a sum. Both need "at least v" as a literal: hidden sites that all
comparisons of a site share, k - 1 for k values, with "exactly v" the step between two of them.

Source: Tamura, Taga, Kitagawa, Banbara, "Compiling finite linear CSP into SAT", Constraints 2009
(order encoding); Ohrimenko, Stuckey, Codish, "Propagation via lazy clause generation", Constraints
2009.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from engine.decimals import Floats, Ints
from engine.factors.families import Clauses, Counted, Sums, floats, forbidden, ints, starts
from engine.factors.family import Derived

if TYPE_CHECKING:
    from engine.factors.factors import Factors

OPEN = 1 << 62  # an edge of a comparison that is none
SPELLED = 8  # combinations of a sum's narrow sites, up to which each is a comparison of two sites
ALWAYS = -1  # the part of what only says what a hidden site means: it binds whatever is left out

Signed = tuple[int, int, bool]  # a literal: site, place, and whether the site has it


class Comparison(NamedTuple):
    """low <= the sum over some different sites of what their places are worth <= high, unless a
    literal of `when` is false."""

    sites: tuple[int, ...]
    worths: tuple[Ints, ...]  # (k,) whole numbers for each site
    low: int  # -OPEN: none
    high: int  # OPEN: none
    when: tuple[Signed, ...] = ()


@dataclass(frozen=True, eq=False)
class Comparisons(Derived):
    """Comparisons over numbered sites."""

    rules: tuple[Comparison, ...] = ()
    term: Ints = field(default_factory=ints)
    part: Ints = field(default_factory=ints)

    @property
    def count(self) -> int:
        return len(self.rules)

    def scopes_of(self) -> list[Ints]:
        return [np.unique(ints([*r.sites, *(s for s, _, _ in r.when)])) for r in self.rules]

    def costs_at(self, places: Ints, row: int = 0) -> Floats:
        del row
        at, bad = places.tolist(), []
        for rule in self.rules:
            pairs = zip(rule.worths, rule.sites, strict=True)
            total = sum(int(worth[at[s]]) for worth, s in pairs)
            binds = all((at[s] == v) is sign for s, v, sign in rule.when)
            bad.append(binds and not rule.low <= total <= rule.high)
        return forbidden(np.array(bad, dtype=bool))

    def picked(self, which: slice) -> "Comparisons":
        return Comparisons(self.rules[which], self.term[which], self.part[which])

    def renumbered(self, where: Ints) -> "Comparisons":
        to = where.tolist()
        rules = (
            rule._replace(
                sites=tuple(to[s] for s in rule.sites),
                when=tuple((to[s], v, sign) for s, v, sign in rule.when),
            )
            for rule in self.rules
        )
        return replace(self, rules=tuple(rules))

    def marked(self, term: Ints, part: Ints) -> "Comparisons":
        return replace(self, term=term, part=part)

    @classmethod
    def joined(cls, families: Sequence["Comparisons"]) -> "Comparisons":
        return cls(
            tuple(chain.from_iterable(f.rules for f in families)),
            np.concatenate([f.term for f in families]),
            np.concatenate([f.part for f in families]),
        )

    def lowered(self, sizes: Ints) -> "Factors":
        lowering = _Lowering(sizes)
        owners = zip(self.rules, self.term.tolist(), self.part.tolist(), strict=True)
        alike = []
        for rule, *owner in owners:
            if _tells_values(rule):
                alike.append((rule, (owner[0], owner[1])))
            else:
                lowering.add(rule, (owner[0], owner[1]))
        for rule, own in alike:
            lowering.match(rule, own)
        return lowering.made()


class _Entry(NamedTuple):
    """What a site adds to a sum, beyond its least: each step where a literal is true, which then
    all before are, too."""

    sums: Ints  # (p,) above 0 and ascending: at least so much where ...
    literals: Ints  # (p, 2) ... this is true, (site, place)
    negations: Ints  # (p, 2) what is true otherwise

    def below(self, count: int) -> "_Entry":
        return _Entry(self.sums[:count], self.literals[:count], self.negations[:count])


class _Order(NamedTuple):
    """The places of a site in an order, and the literals that say that it stands at or behind
    each but the first."""

    places: Ints  # (k,)
    behind: Ints  # (k - 1, 2)
    before: Ints  # (k - 1, 2) the negations


class _Lowering:
    """Counts, clauses and sums that say what comparisons say, with hidden sites for orders."""

    def __init__(self, sizes: Ints):
        self.sizes, self.hidden = sizes, 0
        self.orders: dict[int, list[_Order]] = {}
        self.groups: list[tuple[Ints, Ints, int]] = []  # literals (L, 2), lengths, term
        self.clauses: list[tuple[Ints, tuple[int, int]]] = []  # (m, k, 3), owner
        self.sums: list[tuple[Ints, Floats, float, tuple[int, int]]] = []

    def add(self, rule: Comparison, owner: tuple[int, int]) -> None:
        off = ints([x for s, v, sign in rule.when for x in (s, v, not sign)]).reshape(-1, 3)
        if rule.high < OPEN:
            self._at_most(rule.sites, rule.worths, rule.high, off, owner)
        if rule.low > -OPEN:
            turned = tuple(-worth for worth in rule.worths)
            self._at_most(rule.sites, turned, -rule.low, off, owner)

    def match(self, rule: Comparison, owner: tuple[int, int]) -> None:
        """Of two sites, each value of one goes with one of the other, or with none; and so do
        bounds, where other rules speak of bounds on both."""
        (one, other), (own, its) = rule.sites, rule.worths
        place = {rule.low - worth: q for q, worth in enumerate(its.tolist())}
        partner = ints([place.get(worth, -1) for worth in own.tolist()])
        p = np.flatnonzero(partner >= 0)
        for left, right in ((0, 1), (1, 0)):
            pair = [np.stack([np.full(len(p), one), p, np.full(len(p), left)], 1)]
            pair.append(np.stack([np.full(len(p), other), partner[p], np.full(len(p), right)], 1))
            self.clauses.append((np.stack(pair, 1), owner))
        alone = [(one, q) for q in np.flatnonzero(partner < 0).tolist()]
        alone += [(other, q) for q in np.setdiff1d(np.arange(len(its)), partner).tolist()]
        rows = ints([x for site, q in alone for x in (site, q, 0)]).reshape(-1, 1, 3)
        self.clauses.append((rows, owner))
        if one in self.orders and other in self.orders:
            self.add(rule, owner)

    def _at_most(
        self,
        sites: Sequence[int],
        worths: Sequence[Ints],
        bound: int,
        off: Ints,
        owner: tuple[int, int],
    ) -> None:
        """The sum is at most a bound, or a literal of `off` (c, 3) is true."""
        left = bound - sum(int(worth.min()) for worth in worths)
        if sum(int(np.ptp(worth)) for worth in worths) <= left:
            return
        if left < 0:
            self._rows([], off, owner, 1)
            return
        entries = []
        for site, worth in zip(sites, worths, strict=True):
            if np.ptp(worth):
                entry = self._entry(site, worth, owner[0])
                fits = int(np.searchsorted(entry.sums, left, side="right"))
                if fits < len(entry.sums):
                    self._rows([entry.negations[fits : fits + 1]], off, owner, 1)
                entries.append(entry.below(fits))
        entries = sorted((e for e in entries if len(e.sums)), key=lambda e: len(e.sums))
        self._among(entries, left, off, owner)

    def _among(self, entries: list[_Entry], left: int, off: Ints, owner: tuple[int, int]) -> None:
        """What entries add is at most what is left; each of them alone is."""
        if sum(int(e.sums[-1]) for e in entries) <= left:
            return
        if len(entries) == 2:
            self._pair(entries[1], entries[0], left, off, owner)
            return
        if math.prod(len(e.sums) + 1 for e in entries[:-2]) > SPELLED:
            self._sum(entries, left, off, owner)
            return
        first, rest = entries[0], entries[1:]
        self._among(rest, left, off, owner)
        steps = zip(first.sums.tolist(), first.negations, strict=True)
        for amount, negation in steps:
            unless = np.concatenate([off, [[*negation, 1]]])
            self._trimmed(rest, left - amount, unless, owner)

    def _trimmed(self, entries: list[_Entry], left: int, off: Ints, owner: tuple[int, int]) -> None:
        """What entries add is at most what is left, each of them alone as well."""
        kept = []
        for entry in entries:
            fits = int(np.searchsorted(entry.sums, left, side="right"))
            if fits < len(entry.sums):
                self._rows([entry.negations[fits : fits + 1]], off, owner, 1)
            if fits:
                kept.append(entry.below(fits))
        self._among(kept, left, off, owner) if len(kept) > 1 else None

    def _pair(
        self, one: _Entry, other: _Entry, left: int, off: Ints, owner: tuple[int, int]
    ) -> None:
        """Of two entries: as soon as one adds so much, the other must not add too much."""
        reach = np.searchsorted(other.sums, left - one.sums, side="right")  # (p,)
        first = np.concatenate([[len(other.sums)], reach[:-1]])
        new = reach < first  # where the same follows from a smaller step, that says more
        if new.any():
            pair = [one.negations[new], other.negations[reach[new]]]
            self._rows(pair, off, owner, int(new.sum()))

    def _sum(self, entries: list[_Entry], left: int, off: Ints, owner: tuple[int, int]) -> None:
        literals = np.concatenate([e.literals for e in entries])
        steps = np.concatenate([np.diff(e.sums, prepend=0) for e in entries])
        over = int(steps.sum()) - left
        # where a literal of `off` is true the edge is out of reach
        more = np.where(off[:, 2] == 1, -over, over)
        high = left + over * int((off[:, 2] == 0).sum())
        literals = np.concatenate([literals, off[:, :2]])
        self.sums.append((literals, np.concatenate([steps, more]).astype(float), high, owner))

    def _rows(self, columns: Sequence[Ints], off: Ints, owner: tuple[int, int], count: int) -> None:
        """Clauses of one length: literals (m, 2) column by column, and `off` in each."""
        every = [np.concatenate([c, np.ones((count, 1), np.int64)], 1) for c in columns]
        every += [np.tile(literal, (count, 1)) for literal in off]
        rows = np.stack(every, 1) if every else np.zeros((count, 0, 3), np.int64)
        self.clauses.append((rows.astype(np.int64), owner))

    def _entry(self, site: int, worth: Ints, term: int) -> _Entry:
        """What a site adds, by an order along which it rises."""
        for order in self.orders.setdefault(site, []):
            along = worth[order.places]
            steps = np.diff(along)
            if (steps >= 0).all():
                return _entry(along - along[0], order.behind, order.before)
            if (steps <= 0).all():
                along = along[::-1]
                return _entry(along - along[0], order.before[::-1], order.behind[::-1])
        self.orders[site].append(self._order(site, np.argsort(worth, kind="stable"), term))
        return self._entry(site, worth, term)

    def _order(self, site: int, places: Ints, term: int) -> _Order:
        k = len(places)
        if k == 2:
            own = np.stack([np.full(2, site), places], 1)
            return _Order(places, own[1:], own[:1])
        at = len(self.sizes) + self.hidden + np.arange(k - 1)
        self.hidden += k - 1
        behind, before = (np.stack([at, np.full(k - 1, v)], 1) for v in (1, 0))
        stands = np.stack([np.full(k, site), places], 1)
        # behind[j] = stands[j + 1] or behind[j + 1]; before[0] = stands[0]
        inner = np.stack([before[:-1], stands[1:-1], behind[1:]], 1).reshape(-1, 2)
        ends = np.stack([behind[0], stands[0], before[-1], stands[-1]])
        lengths = np.concatenate([np.full(k - 2, 3), [2, 2]])
        self.groups.append((np.concatenate([inner, ends]), lengths, term))
        return _Order(places, behind, before)

    def made(self) -> "Factors":
        from engine.factors.factors import Factors  # made of families

        every = np.concatenate([self.sizes, np.full(self.hidden, 2)]).astype(np.int64)
        return Factors(
            every,
            len(self.sizes),
            counted=self._counted(),
            clauses=self._clauses(),
            sums=self._sums(),
            functional=True,
        )

    def _counted(self) -> Counted:
        if not self.groups:
            return Counted()
        lengths = np.concatenate([g[1] for g in self.groups])
        literals = np.concatenate([g[0] for g in self.groups])
        term = np.concatenate([np.full(len(g[1]), g[2], dtype=np.int64) for g in self.groups])
        one = np.ones(len(lengths), dtype=np.int64)
        return Counted(
            starts(lengths), literals[:, 0], literals[:, 1], term, one * ALWAYS, one, one
        )

    def _clauses(self) -> Clauses:
        if not self.clauses:
            return Clauses()
        lengths = [np.full(len(rows), rows.shape[1], dtype=np.int64) for rows, _ in self.clauses]
        flat = np.concatenate([rows.reshape(-1, 3) for rows, _ in self.clauses])
        term, part = (
            np.concatenate([np.full(len(r), o[k], dtype=np.int64) for r, o in self.clauses])
            for k in (0, 1)
        )
        start = starts(np.concatenate(lengths))
        return Clauses(start, flat[:, 0], flat[:, 1], term, part, flat[:, 2] == 1)

    def _sums(self) -> Sums:
        if not self.sums:
            return Sums()
        literals = np.concatenate([literals for literals, _, _, _ in self.sums])
        return Sums(
            starts(ints([len(one[0]) for one in self.sums])),
            literals[:, 0],
            literals[:, 1],
            ints([one[3][0] for one in self.sums]),
            ints([one[3][1] for one in self.sums]),
            np.concatenate([one[1] for one in self.sums]),
            np.full(len(self.sums), -math.inf),
            floats([one[2] for one in self.sums]),
        )


def _tells_values(rule: Comparison) -> bool:
    """An equality of two sites whose values are worth something else each."""
    if len(rule.sites) != 2 or rule.low != rule.high or rule.when:
        return False
    return all(len(np.unique(worth)) == len(worth) for worth in rule.worths)


def _entry(along: Ints, literals: Ints, negations: Ints) -> _Entry:
    """Steps where something is added. along: (k,) from 0 up; literals: (k - 1, 2)"""
    rises = np.flatnonzero(np.diff(along) > 0)
    return _Entry(along[rises + 1], literals[rises], negations[rises])


def whole_worths(values: Sequence[float | int], coefficient: int) -> Ints:
    """What the values of a site are worth, times a coefficient."""
    return ints([coefficient * int(v) for v in values])


__all__ = ["ALWAYS", "OPEN", "Comparison", "Comparisons", "Signed", "whole_worths"]
