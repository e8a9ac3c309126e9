"""A site has the value that stands at an index: of a list of sites, or of values."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pydantic import Field
from torch import Tensor

from engine.decimals import Ints
from engine.domain import Domain, Finite, Variable, View
from engine.errors import BadQuery, Mistake, Mistakes
from engine.factors import Clauses, Counted, Factors, floats, ints
from engine.factors import Table as Costs
from engine.factors.families import starts
from modules.parameters import Site, Strict, Value
from modules.shared.numbers import read_whole
from modules.shared.sites import MISTAKES, OverSites, check_site, listed


class Parameters(Strict):
    """Which entry of a list of sites, or of values, a site equals."""

    index: Site = Field(description="The site whose value says which entry, counted from 0.")
    result: Site = Field(description="The site that has the value of that entry.")
    array: list[Site] | None = Field(
        None, description="The entries, sites of the scope; a site may stand several times."
    )
    values: list[Value] | None = Field(None, description="The entries, values that are known.")


class Element(OverSites):
    """The result equals the entry at the index: result = array[index], a price list, a look-up.

    E = 1 - sum over entries of P(index) * P(entry and result agree), the sites independent;
    decided: 0 or 1. Not affine; no unit. Entries are either sites (`array`) or plain `values`. An
    index without an entry never holds. Values of different variables match when type and value are
    alike. BadQuery: a site out of range, both lists or none, values of the index that are no whole
    numbers.
    """

    affine = False

    def __init__(
        self,
        *scope: Variable | View,
        index: int,
        result: int,
        array: Sequence[int] | None = None,
        values: Sequence[Any] | None = None,
    ):
        super().__init__(*scope)
        wrong = Mistakes(MISTAKES)
        if (array is None) == (values is None):
            problem = "is missing" if array is None else "stands beside values"
            raise BadQuery(Mistake("array", problem, "give either array or values"))
        name = "values" if array is None else "array"
        entries = listed(values if array is None else array)
        if not entries:
            raise BadQuery(Mistake(name, "holds no entries", "write it as [...]"))
        for key, site in (("index", index), ("result", result)):
            check_site(self.layout, site, key, wrong)
        if array is not None:
            for k, site in enumerate(entries):
                check_site(self.layout, site, f"array[{k}]", wrong)
        wrong.check()
        self.index, self.result = int(index), int(result)
        self.array = None if array is None else [int(s) for s in entries]
        self.values = None if array is not None else entries
        (self.entry_of,) = read_whole(self.layout, [self.index], "index")  # (k,) by place
        self.count = len(entries)

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B,)
        x = self.layout.aligned(tensors)  # (B, n, U)
        right, rank = x[:, self.result], self._rank()
        total = x.new_zeros(x.shape[0])
        for place, entry in self._entries():
            chosen = x[:, self.index, int(rank[self.index][place])]
            if self.array is not None:
                agree = chosen * (x[:, self.array[entry]] * right).sum(1)
            else:
                value = self._union_place(entry)
                agree = chosen * right[:, value] if value >= 0 else 0 * chosen
            total = total + agree
        return (1 - total).clamp(min=0)

    def _rank(self) -> list[Ints]:
        """The place in the union of values of each place of each site."""
        return list(self.layout.ranked.numpy())

    def _union_place(self, entry: int) -> int:
        """Where a value stands in the union of values; -1: nowhere."""
        value = self.values[entry] if self.values is not None else None
        union = self.layout.union
        return union.index((type(value), value)) if (type(value), value) in union else -1

    def _entries(self) -> Iterator[tuple[int, int]]:
        """The places of the index that name an entry, and which."""
        for place, entry in enumerate(self.entry_of.tolist()):
            if 0 <= entry < self.count:
                yield place, entry

    def holds(self, *values: Any) -> bool:
        return not self._wrong(values)

    def _wrong(self, values: Sequence[Any]) -> str:
        """What is wrong, in words; nothing where it holds."""
        flat, layout = self.layout.flat(values), self.layout
        at = flat[self.index]
        entry = int(at[1] if isinstance(at, tuple) else at)
        if not 0 <= entry < self.count:
            return f"{layout.at(self.index, at)}, and there are entries 0 to {self.count - 1}"
        wanted = flat[self.array[entry]] if self.array is not None else self._plain(entry)
        own = flat[self.result]
        if own == wanted and self._typed(entry, own):
            return ""
        of = f" at {layout.name(self.array[entry])}" if self.array is not None else ""
        said = f"{layout.at(self.result, own)}, but entry {entry}{of}"
        return f"{said} is {layout.shown(wanted)}"

    def _plain(self, entry: int) -> Any:
        assert self.values is not None
        return self.layout.plain(self.values[entry])

    def _typed(self, entry: int, own: Any) -> bool:
        """Whether a known value that is equal is of the type of the result's, too."""
        if self.values is None:
            return True
        value = own[1] if isinstance(own, tuple) else own
        return type(self.values[entry]) is type(value)

    def factors(self, *domains: Domain) -> Factors:
        if self.array is None:
            return self._looked_up(domains)
        return _Chosen(self, Factors.sizes_of(domains), self.array).made()

    def _looked_up(self, domains: Sequence[Domain]) -> Factors:
        """A table over index and result; over one site where they are one."""
        lookup = self.layout.lookups[int(self.layout.entry[self.result])]
        assert self.values is not None
        pairs = [
            (place, lookup[type(self.values[entry]), self.values[entry]])
            for place, entry in self._entries()
            if (type(self.values[entry]), self.values[entry]) in lookup
        ]
        scope = ints([self.index, self.result])[None]
        tuples = ints([x for pair in pairs for x in pair]).reshape(-1, 2)
        if self.index == self.result:
            scope, tuples = scope[:, :1], tuples[tuples[:, 0] == tuples[:, 1]][:, :1]
        zero = ints([0])
        table = Costs(scope, tuples, floats([0.0] * len(tuples)), np.inf, zero, zero)
        full = len(tuples) == int(np.prod(self.layout.sizes[scope[0]]))
        return self.made(domains, tables=() if full else (table,))

    def structured(self, weight: float | None, *domains: Domain) -> Factors | None:
        own = self.factors(*domains)
        return own if weight is None else own.priced(weight)

    def floor(self) -> float:
        return 0.0

    def says(self, part: int) -> str:
        del part
        layout = self.layout
        return f"{layout.name(self.result)} is the entry at {layout.name(self.index)}"

    def explain(self, *values: Any) -> list[str]:
        said = self._wrong(values)
        return [said] if said else []

    @classmethod
    def example(cls) -> "Element":
        x = Variable("x", Finite((0, 1, 2), (4,)))
        return cls(x, index=0, result=3, array=[1, 2, 1])

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Element"]:
        while not scope:
            x = Variable("x", Finite(rng.choice([(0, 1, 2), (2, 0), (1, 0, 5)]), (2,)))
            y = Variable("y", Finite(rng.choice([(0, 1, 2), ("red", 1), (True, 1, 0)]), (2,)))
            index, result = rng.randrange(2), rng.randrange(4)
            count = rng.randint(1, 3)
            if rng.random() < 0.5:
                yield cls(x, y, index=index, result=result, array=rng.choices(range(4), k=count))
            else:
                values = rng.choices([0, 1, 2, "red", True, 5], k=count)
                yield cls(x, y, index=index, result=result, values=values)


class _Chosen:
    """The structure where entries are sites: a hidden site for each entry and value, 1 where the
    index is at that entry and it has that value."""

    def __init__(self, term: Element, sizes: Ints, array: Sequence[int]):
        self.term, self.sizes = term, sizes
        layout = term.layout
        self.groups: list[list[tuple[int, int]]] = []
        self.clauses: list[list[tuple[int, int, bool]]] = []
        lookups = layout.lookups
        result = lookups[int(layout.entry[term.result])]
        by_value: dict[int, list[int]] = {place: [] for place in result.values()}
        hidden, open_ = len(sizes), set[int]()
        for place, entry in term._entries():
            open_.add(place)
            site = array[entry]
            shared = [
                (own, result[value])
                for value, own in lookups[int(layout.entry[site])].items()
                if value in result
            ]
            others = [(term.index, p) for p in range(int(sizes[term.index])) if p != place]
            line = list(others)
            for own, wanted in shared:
                self.clauses.append([(hidden, 1, False), (site, own, True)])
                by_value[wanted].append(hidden)
                line.append((hidden, 1))
                hidden += 1
            self.groups.append(line)
        for wanted, sites in by_value.items():
            others = [(term.result, p) for p in range(int(sizes[term.result])) if p != wanted]
            self.groups.append([*others, *((s, 1) for s in sites)])
        for place in range(int(sizes[term.index])):
            if place not in open_:
                self.clauses.append([(term.index, place, False)])
        self.hidden = hidden - len(sizes)

    def made(self) -> Factors:
        sizes = np.concatenate([self.sizes, np.full(self.hidden, 2)]).astype(np.int64)
        literals = ints([x for g in self.groups for pair in g for x in pair]).reshape(-1, 2)
        m = len(self.groups)
        zero, one = np.zeros(m, dtype=np.int64), np.ones(m, dtype=np.int64)
        lengths = ints([len(g) for g in self.groups])
        counted = Counted(starts(lengths), literals[:, 0], literals[:, 1], zero, zero, one, one)
        signed = ints([int(x) for c in self.clauses for lit in c for x in lit]).reshape(-1, 3)
        zero = np.zeros(len(self.clauses), dtype=np.int64)
        clauses = Clauses(
            starts(ints([len(c) for c in self.clauses])),
            signed[:, 0],
            signed[:, 1],
            zero,
            zero,
            signed[:, 2] == 1,
        )
        return Factors(sizes, len(self.sizes), counted=counted, clauses=clauses, functional=True)
