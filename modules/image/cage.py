"""Cages of KenKen: what each filling costs, given the picture of target and operator."""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from engine.decimals import Floats, Ints
from engine.domain import Domain, Finite, Given, Input, Real, Variable, View
from engine.energy import Term
from engine.errors import BadQuery, Mistake
from engine.factors import Factors, Table, floats, ints
from modules.image._boards.reading import (
    WEIGHTS,
    Read,
    Signs,
    check_signs,
    check_strips,
    reading_of,
    same_pictures,
    text_of,
    text_prices,
)
from modules.image._boards.strips import HIGH
from modules.parameters import Number, Site, Strict
from modules.shared.files import File
from modules.shared.sites import Layout, read_sites

SIGNS = "0123456789+-x/"
LARGEST = 600_000  # fillings of a cage
WHOLE = 1 << 62  # from which numbers may overflow 64 bits


class Parameters(Strict):
    """Which sites form cages, and which classifier reads characters."""

    cages: list[list[Site]] = Field(description="Sites of each cage, in the order of the pictures.")
    weights: File = Field(
        description="A file of `basin train image.classifier` whose labels are the signs; a bare "
        "name is also looked for beside the kinds that ship with Basin.",
    )
    within: Annotated[Number, Field(ge=0)] | None = Field(
        None,
        description="Nats above the cheapest of a cage from which on a filling is forbidden.",
    )
    lines: list[list[Site]] = Field(
        [],
        description="Sites that a rule beside keeps different: fillings of a cage that repeat a "
        "value in one of these lines are forbidden here, too, which makes tables smaller.",
    )
    unlike: list[str] | None = Field(
        None,
        description="A target with its operator for each cage: some cage must be read otherwise.",
    )


class Shape(NamedTuple):
    """Cages of one size over the same values: their fillings, and what these come to."""

    fillings: Ints  # (T, m) places
    texts: tuple[str, ...]  # targets with their operators
    results: Ints  # (operators, T) which text; -1 where there is no such result


class Cages(Term):
    """The price of reading what the fillings of cages come to, in pictures of targets.

    E = sum over present pictures of min over operators of price(result of the filling, operator
    | picture), price as in `image.numeral`. A cage of one site shows its number; of two, a sum,
    a product, a difference or a quotient of whole numbers (the larger by the smaller); of more,
    a sum or a product. Pictures: (cages, 32, width), ink 1 on paper 0. One table over the sites
    of each cage. `within` leaves out fillings that are much dearer than the cheapest of their
    cage, `lines` those that repeat a value in a line; `unlike` asks for the best other reading:
    E is then the least sum in which some cage is read as another text than its own of these.
    BadQuery: pictures of another height or number, a cage without sites or with too many
    fillings, values that are no whole numbers above 0, weights that lack a sign.
    """

    affine = False
    calibrated = True
    partial = True
    fixed_structure = True

    def __init__(
        self,
        pictures: Input | View,
        *cells: Variable | View,
        cages: Sequence[Sequence[int]],
        weights: str,
        within: float | None = None,
        lines: Sequence[Sequence[int]] = (),
        unlike: Sequence[str] | None = None,
    ):
        super().__init__(pictures, *cells)
        self.layout = Layout(self.scope[1:])
        if not self.layout.uniform:
            problem, remedy = "names variables of different values", "give all of them the same"
            raise BadQuery(Mistake("scope", problem, remedy))
        self.cages = read_sites(self.layout, cages, "cages")
        check_strips(self.scope[0], len(self.cages))
        self.values = [value for _, value in self.layout.union]
        for k, value in enumerate(self.values):
            text_of(value, "decimal", f"values[{k}]")
        for k, cage in enumerate(self.cages):
            if len(self.values) ** len(cage) > LARGEST:
                said = f"{len(cage)} sites have more than {LARGEST} fillings"
                raise BadQuery(Mistake(f"cages[{k}]", said, "part the cage"))
        self.reading = reading_of(weights)
        self.signs = Signs(self.reading.characters.labels, SIGNS)
        check_signs(self.signs)
        self.shapes = {m: shape_of(self.values, m) for m in {len(cage) for cage in self.cages}}
        self.repeats = self._repeats(read_sites(self.layout, lines, "lines"))
        self.within, self.unlike = within, None if unlike is None else list(unlike)
        # what is forbidden hangs on the pictures otherwise
        self.fixed_structure = within is None  # type: ignore[misc]
        if unlike is not None and len(unlike) != len(self.cages):
            said = f"has {len(unlike)} texts"
            raise BadQuery(Mistake("unlike", said, f"give one for each of {len(self.cages)} cages"))

    def _repeats(self, lines: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """Which fillings of each cage repeat a value in a line. -> (T,) bool each"""
        unlike = {pair for line in lines for pair in itertools.permutations(line, 2)}
        out = []
        for cage in self.cages:
            fillings = self.shapes[len(cage)].fillings
            pairs = [
                (a, b)
                for a, b in itertools.combinations(range(len(cage)), 2)
                if (cage[a], cage[b]) in unlike
            ]
            same = [fillings[:, a] == fillings[:, b] for a, b in pairs]
            out.append(np.any(same, axis=0) if same else np.zeros(len(fillings), bool))
        return out

    def costs(self, seen: Given) -> list[Floats]:
        """What each filling of each cage costs where it is read as what `unlike` says, and as
        anything else; all as anything else without `unlike`. (B, n, h, w) -> (2, B, T) each"""
        values, present = (x.cpu().numpy() for x in seen)
        shapes = [self.shapes[len(cage)] for cage in self.cages]
        out = [np.zeros((2, len(values), len(shape.fillings))) for shape in shapes]
        for row in range(len(values)):
            if row and same_pictures(values, present, row):
                for costs in out:
                    costs[:, row] = costs[:, row - 1]
                continue
            reads = self.reading.reads(values[row, present[row]].astype(np.float32))
            for k, read in zip(np.flatnonzero(present[row]).tolist(), reads, strict=True):
                out[k][:, row] = self._paid(k, read)
        return out

    def _paid(self, k: int, read: Read) -> Floats:
        """What each filling of one cage costs, as in `costs`. -> (2, T)"""
        shape = self.shapes[len(self.cages[k])]
        prices = cage_prices(read, self.signs, shape)
        if self.within is not None:
            prices = np.where(prices <= prices.min() + self.within, prices, np.inf)
        own = None if self.unlike is None else self.unlike[k]
        same = np.array([text == own for text in shape.texts])
        each = [np.append(np.where(same != other, prices, np.inf), np.inf) for other in (0, 1)]
        paid = np.stack([prices[shape.results].min(0) for prices in each])
        paid[:, self.repeats[k]] = np.inf
        return paid

    def energy(self, seen: Given, *cells: Tensor) -> Tensor:  # (B, *shape, k) -> (B,)
        x = self.layout.aligned(cells)  # (B, n, k)
        weights = []
        for cage in self.cages:
            fillings = torch.from_numpy(self.shapes[len(cage)].fillings).to(x.device)
            weight = torch.ones(len(x), len(fillings), dtype=x.dtype, device=x.device)
            for place, site in enumerate(cage):
                weight = weight * x[:, site, fillings[:, place]]
            weights.append(weight)
        return self._summed(
            [_expected(w, torch.from_numpy(c).to(x)) for w, c in zip(weights, self.costs(seen))]
        )

    def cost(self, seen: Given, *cells: Tensor) -> Tensor:  # (B, *shape) places -> (B,)
        places, k = self.layout.united(cells).cpu().numpy(), len(self.values)
        every = []
        for cage, costs in zip(self.cages, self.costs(seen), strict=True):
            at = np.ravel_multi_index(tuple(places[:, s] for s in cage), (k,) * len(cage))
            every.append(torch.from_numpy(costs[:, np.arange(len(places)), at]))
        return self._summed(every).to(cells[0].device)

    def _summed(self, every: Sequence[Tensor]) -> Tensor:  # (2, B) of each cage -> (B,)
        if self.unlike is None:
            return torch.stack([one[1] for one in every]).sum(0)
        own, other = torch.stack([one[0] for one in every]), torch.stack([one[1] for one in every])
        least = torch.minimum(own, other)  # (cages, B)
        more = torch.where(other.isfinite(), other - least, torch.full_like(least, torch.inf))
        return least.sum(0) + more.amin(0)

    def factors(self, *domains: Domain) -> Factors:
        told: Any = domains[0]
        n, every = self.layout.sites, self.costs(Given(told.tensor, told.present))
        sizes, tables, chosen = Factors.sizes_of(domains[1:]), [], self.unlike is not None
        for k, (cage, costs) in enumerate(zip(self.cages, every, strict=True)):
            fillings, scope = self.shapes[len(cage)].fillings, list(cage)
            if chosen:  # a hidden site: whether the cage is read as anything else
                fillings = np.concatenate(
                    [np.insert(fillings, len(cage), other, axis=1) for other in (0, 1)]
                )
                scope, paid = [*scope, n + k], np.concatenate(list(costs), 1)
            else:
                paid = costs[1]
            default = 0.0
            if self.within is not None:
                kept = np.isfinite(paid).any(0)
                fillings, paid, default = fillings[kept], paid[:, kept], np.inf
            part = ints([k])
            table = Table(ints(scope)[None], fillings, paid, default, 0 * part, part)
            tables.append(replace(table, computed=True))
        if not chosen:
            return Factors(sizes, n, tables=tuple(tables))
        hidden = np.arange(n, n + len(self.cages))
        none, part = np.zeros((1, len(hidden)), dtype=np.int64), ints([len(hidden)])
        tables.append(Table(hidden[None], none, floats([np.inf]), 0.0, 0 * part, part))
        sizes = np.concatenate([sizes, np.full(len(hidden), 2)])
        return Factors(sizes, n, tables=tuple(tables))

    def floor(self) -> float:
        return 0.0

    @classmethod
    def example(cls) -> "Cages":
        pictures = Input("pictures", Real((2, HIGH, 64), 0.0, 1.0))
        cells = Variable("cells", Finite((1, 2, 3), (3,)))
        return cls(pictures, cells, cages=[[0, 1], [2]], weights=WEIGHTS)

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Cages"]:
        while not scope:
            cells = Variable("cells", Finite((1, 2, 3), (4,)))
            cages = [rng.sample(range(4), rng.randint(1, 3)) for _ in range(rng.randint(1, 3))]
            pictures = Input("pictures", Real((len(cages), HIGH, 64), 0.0, 1.0))
            yield cls(pictures, cells, cages=cages, weights=WEIGHTS)


def _expected(weight: Tensor, costs: Tensor) -> Tensor:
    """Of fillings under their weights; infinite where one that is forbidden has any. (B, T),
    (2, B, T) -> (2, B)"""
    shut = costs.isinf()
    total = (weight * costs.masked_fill(shut, 0.0)).sum(2)
    return total.masked_fill((shut & (weight > 0)).any(2), torch.inf)


def shape_of(values: Sequence[int], size: int) -> Shape:
    """The fillings of a cage of so many sites, and what they come to."""
    fillings = np.array(list(itertools.product(range(len(values)), repeat=size)), dtype=np.int64)
    large = max(map(abs, values), default=0) ** size >= WHOLE or sum(values) >= WHOLE
    x = np.array(values, dtype=object if large else np.int64)[fillings]  # (T, m)
    results: list[tuple[str, Ints]] = []
    if size == 1:
        results.append(("", x[:, 0]))
    else:
        results += [("+", x.sum(1)), ("x", x.prod(1))]
    if size == 2:
        large, small = x.max(1), x.min(1)
        results.append(("-", large - small))
        divides = (small > 0) & (large % np.maximum(small, 1) == 0)
        results.append(("/", np.where(divides, large // np.maximum(small, 1), -1)))
    texts: dict[str, int] = {}
    places = []
    for sign, result in results:
        kinds, at = np.unique(result, return_inverse=True)
        own = [texts.setdefault(f"{r}{sign}", len(texts)) if r >= 0 else -1 for r in kinds.tolist()]
        places.append(np.array(own)[at])
    return Shape(fillings, tuple(texts), np.array(places))


def cage_prices(read: Read, signs: Signs, shape: Shape) -> Floats:
    """What reading each text of a shape costs. -> (texts,)"""
    return text_prices(read, signs, signs.spelled(shape.texts), len(shape.texts))
