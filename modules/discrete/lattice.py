"""Spins on a lattice, or on any graph: couplings of pairs and fields of sites, given or learned."""

import random
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from engine.decimals import Ints
from engine.domain import Domain, Finite, Variable, View
from engine.energy.lesson import Lesson
from engine.errors import BadQuery, Mistake
from engine.factors import Factors, Table
from modules.parameters import Number, Site, Strict, validated
from modules.shared.bits import read_bits
from modules.shared.files import File
from modules.shared.pairs import read_pairs
from modules.shared.sites import OverSites
from modules.shared.training import train_and_save
from modules.shared.weights import Weights, read_weights, understood

KIND = "discrete.lattice"
REMEDY = f"make it with `basin train {KIND} --data FILE --out W.safetensors`"


class Parameters(Strict):
    """Which pairs are coupled, and how strongly."""

    pairs: Literal["neighbours", "torus", "all"] | list[tuple[Site, Site]] = Field(
        "neighbours",
        description="Coupled pairs of sites: neighbours in the shape of the variable, the same "
        "with opposite edges joined, all pairs, or a list [[a, b], ...].",
    )
    couplings: Number | list[Number] = Field(
        0.0, description="J of all pairs, or one a pair in order; above 0 both ends like to agree."
    )
    fields: Number | list[Number] = Field(
        0.0, description="h of all sites, or one a site; above 0 the second value is liked."
    )
    weights: File | None = Field(
        None, description="A file of learned pairs, couplings and fields, instead of these."
    )


class Options(Strict):
    """What may be given as `params` of `basin train`."""

    shape: list[Annotated[int, Field(ge=1)]] = Field(examples=[[5, 5]])
    pairs: Literal["neighbours", "torus", "all"] | list[tuple[Site, Site]] = "neighbours"


class Lattice(OverSites):
    """Spins with pair couplings: E = - sum over pairs of J_ab s_a s_b - sum over sites of h_a s_a.

    s = -1 at the first of the two values of a site, +1 at the second. Affine in each site; in nats
    where learned: exp(-E) / Z is the chance of a state. All structure is explicit, so that search
    proves what it finds where the graph allows. Parameters `couplings` (m,) and `fields` (n,) are
    trained by any objective (`engine.learning.objectives`). BadQuery: a site with other than two
    values, a wrong number of couplings or fields, weights of another size.
    """

    calibrated = True

    def __init__(
        self,
        *scope: Variable | View,
        pairs: str | Sequence[Sequence[int]] = "neighbours",
        couplings: float | Sequence[float] = 0.0,
        fields: float | Sequence[float] = 0.0,
        weights: str | None = None,
    ):
        super().__init__(*scope)
        for k, domain in enumerate(self.layout.domains):
            if len(domain.values) != 2:
                problem = f"has {len(domain.values)} values"
                raise BadQuery(Mistake(f"scope[{k}]", problem, "a spin has two"))
        if weights is not None:
            pairs, couplings, fields = _learned(weights, self.layout.sites)
        self.a, self.b = _read(self, pairs)
        one, other = torch.from_numpy(self.a), torch.from_numpy(self.b)
        self.register_buffer("one", one, persistent=False)
        self.register_buffer("other", other, persistent=False)
        self.one: Tensor
        self.other: Tensor
        self.couplings = nn.Parameter(_each(couplings, len(self.a), "couplings"))
        self.fields = nn.Parameter(_each(fields, self.layout.sites, "fields"))

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, 2) -> (B,)
        x = self.layout.columns(tensors).double().reshape(len(tensors[0]), -1, 2)
        s = x[..., 1] - x[..., 0]  # (B, n)
        both = s.index_select(1, self.one) * s.index_select(1, self.other)  # (B, m)
        return -(both @ self.couplings) - s @ self.fields

    def factors(self, *domains: Domain) -> Factors:
        """One table for all pairs of one coupling, one for all sites of one field."""
        with torch.no_grad():
            j, h = self.couplings.numpy(), self.fields.numpy()
        two = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
        tables = []
        for value in np.unique(j[j != 0]):
            at = np.flatnonzero(j == value)
            scopes = np.stack([self.a[at], self.b[at]], 1)
            tables.append(_table(scopes, two, value * np.array([-1.0, 1.0, 1.0, -1.0])))
        for value in np.unique(h[h != 0]):
            at = np.flatnonzero(h == value)
            tables.append(_table(at[:, None], np.array([[0], [1]]), value * np.array([1.0, -1.0])))
        return self.made(domains, tables=tuple(tables))

    def floor(self) -> float:
        with torch.no_grad():
            return -float(self.couplings.abs().sum() + self.fields.abs().sum())

    def weights(self, made: str) -> Weights:
        """What `write_weights` keeps; `made` is the command that made it."""
        pairs = torch.stack([self.one, self.other], 1)
        learned = {"couplings": self.couplings.float(), "fields": self.fields.float()}
        tensors = {"pairs": pairs, **learned}
        return Weights(tensors, {"made": made, "sites": self.layout.sites})

    @classmethod
    def learn(cls, lesson: Lesson) -> list[str]:
        """Params: the shape of the lattice, and which pairs may be coupled."""
        from engine.learning.objectives.pseudo_likelihood import PseudoLikelihood

        options = Options(**validated(Options, lesson.params, KIND))
        spin = Variable("spin", Finite((0, 1), tuple(options.shape)))
        try:
            term = cls(spin, pairs=options.pairs)
        except BadQuery as error:
            raise error.under("params") from None
        examples = read_bits(lesson.data, options.shape)
        return train_and_save(lesson, KIND, term, examples, PseudoLikelihood(), term.weights, 1e-2)

    @classmethod
    def example(cls) -> "Lattice":
        spin = Variable("spin", Finite((-1, 1), (2, 3)))
        return cls(spin, couplings=[0.5, -1.0, 0.25, 2.0, 0.5, 0.5, 1.5], fields=0.3)

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Lattice"]:
        while not scope:
            spin = Variable(
                "spin", Finite(rng.choice([(-1, 1), (0, 1)]), rng.choice([(3,), (2, 2)]))
            )
            pairs = rng.choice(["neighbours", "all"])
            yield cls(spin, pairs=pairs, couplings=rng.uniform(-2, 2), fields=rng.uniform(-1, 1))


def _table(scopes: Ints, tuples: Ints, costs: np.ndarray) -> Table:
    none = np.zeros(len(scopes), dtype=np.int64)
    return Table(scopes, tuples, costs, term=none, part=none)


def _read(term: Lattice, pairs: str | Sequence[Sequence[int]]) -> tuple[Ints, Ints]:
    """Both ends of each coupled pair."""
    if not isinstance(pairs, str):
        return read_pairs(term.layout, pairs, "pairs")
    if pairs == "all":
        every = list(combinations(range(term.layout.sites), 2))
        return read_pairs(term.layout, every, "pairs")
    if len(term.scope) != 1 or not term.scope[0].shape:
        raise BadQuery(
            Mistake("pairs", f"{pairs!r} needs one variable with a shape", 'give a list, or "all"')
        )
    return read_pairs(term.layout, _adjacent(term.scope[0].shape, pairs == "torus"), "pairs")


def _adjacent(shape: tuple[int, ...], joined: bool) -> list[tuple[int, int]]:
    """Neighbours along each axis; on a torus an axis of two joins its ends once."""
    place = np.arange(int(np.prod(shape))).reshape(shape)
    found: list[tuple[int, int]] = []
    for axis, length in enumerate(shape):
        ahead = np.roll(place, -1, axis)
        keep = length if joined and length > 2 else length - 1
        one, other = (np.take(t, range(keep), axis).reshape(-1) for t in (place, ahead))
        found += zip(one.tolist(), other.tolist(), strict=True)
    return found


def _each(value: float | Sequence[float], count: int, path: str) -> Tensor:
    """One number for each of `count`."""
    if isinstance(value, (int, float)):
        return torch.full((count,), float(value), dtype=torch.float64)
    if len(value) != count:
        raise BadQuery(Mistake(path, f"has {len(value)} numbers", f"give {count}, or one for all"))
    return torch.tensor([float(v) for v in value], dtype=torch.float64)


def _learned(path: str, sites: int) -> tuple[list[Any], list[float], list[float]]:
    """Pairs, couplings and fields of a file."""
    learned = read_weights(path, KIND, Path(__file__).parent)
    with understood(path, "couplings of pairs", REMEDY):
        own = int(learned.settings["sites"])
        pairs = [(int(a), int(b)) for a, b in learned.tensors["pairs"].tolist()]
        couplings, fields = (
            [float(value) for value in learned.tensors[name].tolist()]
            for name in ("couplings", "fields")
        )
    if own != sites:
        problem = f"{path} was learned on {own} sites"
        raise BadQuery(Mistake("weights", problem, f"the scope has {sites}"))
    return pairs, couplings, fields
