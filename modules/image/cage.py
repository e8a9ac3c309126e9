"""Cages of KenKen: what each filling costs, given the picture of target and operator."""

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from engine.decimals import Floats, Ints
from engine.domain import Domain, Finite, Given, Input, Real, Variable, View
from engine.energy import Term
from engine.errors import BadQuery, Mistake
from engine.factors import Factors, Table, ints
from modules.image._boards.reading import (
    WEIGHTS,
    Read,
    Signs,
    check_signs,
    check_strips,
    reading_of,
    text_of,
    text_prices,
)
from modules.image._boards.strips import HIGH
from modules.parameters import Site, Strict
from modules.shared.files import File
from modules.shared.sites import Layout, read_sites

SIGNS = "0123456789+-x/"
LARGEST = 600_000  # fillings of a cage


class Parameters(Strict):
    """Which sites form cages, and which classifier reads characters."""

    cages: list[list[Site]] = Field(description="Sites of each cage, in the order of the pictures.")
    weights: File = Field(
        WEIGHTS,
        description="A file of `basin train image.classifier` whose labels are the signs; a bare "
        "name is also looked for beside the kinds that ship with Basin.",
    )


class Shape(NamedTuple):
    """Cages of one size over the same values: their fillings, and what these come to."""

    fillings: Ints  # (T, m) places
    texts: tuple[str, ...]  # targets with their operators
    results: Ints  # (operators, T) which text; -1 where there is no such result


class Cages(Term):
    """The price of reading what the fillings of cages come to, in pictures of targets.

    E = sum over present pictures of min over operators of price(result of the filling, operator |
    picture), price as in `image.numeral`. A cage of one site shows its number; of two, a sum, a
    product, a difference or a quotient of whole numbers (the larger by the smaller); of more, a sum
    or a product. Pictures: (cages, 32, width), ink 1 on paper 0. One table over the sites of each
    cage. BadQuery: pictures of another height or number, a cage without sites or with too many
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
        weights: str = WEIGHTS,
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
        self.spelled = {m: self.signs.spelled(s.texts) for m, s in self.shapes.items()}

    def prices(self, read: Read, size: int) -> Floats:
        """What reading each text of a shape costs. -> (texts,)"""
        texts = self.shapes[size].texts
        return text_prices(read, self.signs, self.spelled[size], len(texts))

    def costs(self, seen: Given) -> list[Floats]:  # (B, n, h, w) -> (B, T) of each cage
        values, present = (x.cpu().numpy() for x in seen)
        out = [np.zeros((len(values), len(self.shapes[len(c)].fillings))) for c in self.cages]
        reads = iter(self.reading.reads(values[present].astype(np.float32)))
        for row, cage in np.argwhere(present).tolist():
            size = len(self.cages[cage])
            shape = self.shapes[size]
            each = np.append(self.prices(next(reads), size), np.inf)[shape.results]
            out[cage][row] = each.min(0)
        return out

    def energy(self, seen: Given, *cells: Tensor) -> Tensor:  # (B, *shape, k) -> (B,)
        x = self.layout.aligned(cells)  # (B, n, k)
        total = x.new_zeros(len(x))
        for cage, costs in zip(self.cages, self.costs(seen), strict=True):
            fillings = torch.from_numpy(self.shapes[len(cage)].fillings).to(x.device)
            weight = torch.ones(len(x), len(fillings), dtype=x.dtype, device=x.device)
            for place, site in enumerate(cage):
                weight = weight * x[:, site, fillings[:, place]]
            total = total + (weight * torch.from_numpy(costs).to(x)).sum(1)
        return total

    def cost(self, seen: Given, *cells: Tensor) -> Tensor:  # (B, *shape) places -> (B,)
        places = self.layout.united(cells).cpu().numpy()
        total, k = np.zeros(len(places)), len(self.values)
        for cage, costs in zip(self.cages, self.costs(seen), strict=True):
            at = np.ravel_multi_index(tuple(places[:, s] for s in cage), (k,) * len(cage))
            total += costs[np.arange(len(places)), at]
        return torch.from_numpy(total).to(cells[0].device)

    def factors(self, *domains: Domain) -> Factors:
        told: Any = domains[0]
        tables = []
        for k, (cage, costs) in enumerate(
            zip(self.cages, self.costs(Given(told.tensor, told.present)))
        ):
            part = ints([k])
            fillings = self.shapes[len(cage)].fillings
            table = Table(ints(cage)[None], fillings, costs, 0.0, 0 * part, part, computed=True)
            tables.append(table)
        return Factors(Factors.sizes_of(domains[1:]), self.layout.sites, tables=tuple(tables))

    def floor(self) -> float:
        return 0.0

    @classmethod
    def example(cls) -> "Cages":
        pictures = Input("pictures", Real((2, HIGH, 64), 0.0, 1.0))
        cells = Variable("cells", Finite((1, 2, 3), (3,)))
        return cls(pictures, cells, cages=[[0, 1], [2]])

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Cages"]:
        while not scope:
            cells = Variable("cells", Finite((1, 2, 3), (4,)))
            cages = [rng.sample(range(4), rng.randint(1, 3)) for _ in range(rng.randint(1, 3))]
            pictures = Input("pictures", Real((len(cages), HIGH, 64), 0.0, 1.0))
            yield cls(pictures, cells, cages=cages)


def shape_of(values: Sequence[int], size: int) -> Shape:
    """The fillings of a cage of so many sites, and what they come to."""
    fillings = np.array(list(itertools.product(range(len(values)), repeat=size)), dtype=np.int64)
    x = np.array(values, dtype=np.int64)[fillings]  # (T, m)
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
