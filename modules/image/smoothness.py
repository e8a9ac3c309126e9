"""Neighbouring pixels are alike: Potts, or the difference of numbers up to a most."""

import random
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from engine.domain import Domain, Finite, Variable, View
from engine.errors import BadQuery, Mistake
from engine.factors import Factors, Table
from modules.parameters import Number, Strict
from modules.shared.sites import OverSites

ACROSS, DIAGONAL = 1.0, 0.7071  # what a pair costs, by the length of the edge between its pixels
OFFSETS = {4: ((0, 1), (1, 0)), 8: ((0, 1), (1, 0), (1, 1), (1, -1))}


class Parameters(Strict):
    """Which pixels are neighbours, and what a difference costs."""

    neighbours: Literal[4, 8] = Field(4, description="4, or 8 with those across corners.")
    most: Annotated[Number, Field(gt=0)] | None = Field(
        None,
        description="Labels are numbers, and a pair costs their difference up to this; without "
        "it, 1 where they differ.",
    )


class Smoothness(OverSites):
    """Neighbouring pixels have the same label, or near numbers.

    E = sum over neighbours i, j of w_ij d(x_i, x_j); d = [x_i != x_j] (Potts), or min(|x_i - x_j|,
    most); w = 1, and 0.7071 across corners. Affine in each pixel, no unit; one table for all pairs
    of one direction. Scope: one variable or view of shape (height, width). Sources: Potts, 1952;
    Boykov, Veksler, Zabih, "Fast approximate energy minimization via graph cuts", PAMI 2001.
    BadQuery: pixels that are no (height, width), labels that are no numbers beside `most`.
    """

    fixed_structure = True

    def __init__(
        self,
        labels: Variable | View,
        neighbours: Literal[4, 8] = 4,
        most: float | None = None,
    ):
        super().__init__(labels)
        self.shape = picture_shape(self.scope[0], "scope[0]")
        if neighbours not in OFFSETS:
            raise BadQuery(Mistake("neighbours", f"{neighbours!r}", "give 4 or 8"))
        self.offsets = OFFSETS[neighbours]
        self.price = _prices(self.layout.domains[0], most)  # (k, k)
        self.potts = most is None
        self.register_buffer("prices", torch.from_numpy(self.price), persistent=False)
        self.prices: Tensor

    def energy(self, labels: Tensor) -> Tensor:  # (B, h, w, k) -> (B,)
        x = labels.reshape(len(labels), *self.shape, -1)
        paid = torch.einsum("bhwk,kl->bhwl", x, self.prices.to(x))
        total = x.new_zeros(len(x))
        for offset in self.offsets:
            here, there = _ends(offset, self.shape)
            pairs = paid[(slice(None), *here)] * x[(slice(None), *there)]
            total = total + _weight(offset) * pairs.sum((1, 2, 3))
        return total

    def cost(self, labels: Tensor) -> Tensor:  # (B, h, w) int64 -> (B,) float64
        x = labels.reshape(len(labels), *self.shape)
        total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for offset in self.offsets:
            here, there = _ends(offset, self.shape)
            paid = self.prices[x[(slice(None), *here)], x[(slice(None), *there)]]
            total = total + _weight(offset) * paid.sum((1, 2))
        return total

    def factors(self, *domains: Domain) -> Factors:
        """One table for all pairs across sides, and one for those across corners."""
        place = np.arange(self.shape[0] * self.shape[1]).reshape(self.shape)
        tuples = np.argwhere(self.price != 0)
        tables, first = [], 0
        for weight in (ACROSS, DIAGONAL):
            ends = [_ends(o, self.shape) for o in self.offsets if _weight(o) == weight]
            pairs = [np.stack([place[a].reshape(-1), place[b].reshape(-1)], 1) for a, b in ends]
            scopes = np.concatenate(pairs) if pairs else np.zeros((0, 2), dtype=np.int64)
            if not len(scopes) or not len(tuples):
                continue
            part = np.arange(first, first + len(scopes))
            costs = weight * self.price[tuples[:, 0], tuples[:, 1]]
            tables.append(Table(scopes, tuples, costs, term=0 * part, part=part))
            first += len(scopes)
        return self.made(domains, tables=tuple(tables), interchangeable=self.potts)

    def floor(self) -> float:
        return 0.0

    @classmethod
    def example(cls) -> "Smoothness":
        return cls(Variable("labels", Finite(("sky", "sea", "sand"), (2, 3))), neighbours=8)

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Smoothness"]:
        while not scope:
            size = rng.randint(1, 3), rng.randint(1, 2)
            labels = Variable("labels", Finite(tuple(range(rng.randint(1, 3))), size))
            yield cls(labels, rng.choice([4, 8]), rng.choice([None, 1, 1.5]))


def picture_shape(view: View, path: str) -> tuple[int, int]:
    """The height and width of pixels. Raises BadQuery where a view is none of a picture."""
    if len(view.shape) != 2:
        problem = f"{view.variable.name} has the shape {[*view.shape]}"
        raise BadQuery(Mistake(path, problem, "name pixels of a shape [height, width]"))
    return view.shape[0], view.shape[1]


def _prices(domain: Finite, most: float | None) -> np.ndarray:
    """What each pair of values costs. -> (k, k)"""
    if most is None:
        return 1.0 - np.eye(len(domain.values))
    numbers = numbers_of(domain, "scope[0]")
    return np.minimum(np.abs(numbers[:, None] - numbers), float(most))


def numbers_of(domain: Finite, path: str) -> np.ndarray:
    """The values of a domain as numbers. Raises BadQuery where one is none. -> (k,)"""
    odd = [v for v in domain.values if isinstance(v, bool) or not isinstance(v, (int, float))]
    if odd:
        raise BadQuery(Mistake(path, f"the value {odd[0]!r} is no number", "give numbers"))
    return np.array([float(v) for v in domain.values])


def _weight(offset: tuple[int, int]) -> float:
    return DIAGONAL if all(offset) else ACROSS


def _ends(
    offset: tuple[int, int], shape: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where the pixels lie that have a neighbour at an offset, and where these neighbours do."""
    down, right = offset
    high, wide = shape
    rows = slice(0, max(0, high - down)), slice(min(down, high), high)
    if right >= 0:
        columns = slice(0, max(0, wide - right)), slice(min(right, wide), wide)
    else:
        columns = slice(min(-right, wide), wide), slice(0, max(0, wide + right))
    return (rows[0], columns[0]), (rows[1], columns[1])
