"""Texts by counts of short runs of letters: what each letter costs after those before it."""

import math
import random
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from engine.domain import Domain, Finite, Variable, View
from engine.energy.changes import settled
from engine.energy.lesson import Lesson
from engine.errors import Mistakes, known
from engine.factors import Factors, Table
from modules.language._likeliest import straight
from modules.language.ngram.chain import BESIDE as BESIDE
from modules.language.ngram.chain import KIND as KIND
from modules.language.ngram.chain import Chain, read_chain
from modules.parameters import Strict
from modules.shared.files import File
from modules.shared.sites import MISTAKES, OverSites

TABLE = 1 << 20  # combinations up to which runs are a table
PIECE = 1 << 20  # numbers that a lookup holds at once


class Parameters(Strict):
    """Which counts."""

    weights: File = Field(
        "english.safetensors",
        description="A file of `basin train language.ngram`; `english.safetensors` (a to z and "
        "the blank) and `english_joined.safetensors` (a to z, without blanks) ship with Basin.",
    )
    order: int | None = Field(
        None,
        ge=1,
        le=8,
        description="Letters of the longest runs that are looked at; not given: as many as the "
        "file has. Up to 3 or 4 letters are explicit structure, open to proofs and exact samples.",
    )


class NGram(OverSites):
    """The chance of a text, letter by letter, after the few letters before each.

    E(x) = - sum over t of ln p(x_t | x_(t-order+1) ... x_(t-1)), in nats, by modified Kneser-Ney
    smoothing; the first letters come after fewer. The letters are the sites of the scope in order.
    Not affine. Explicit as one table that all runs share where it has at most 2^20 entries; else
    changes of single letters are told from the counts. The shipped weights were counted in the
    Brown corpus and WikiText-2. Source: Chen and Goodman, Computer Speech and Language 1999.
    BadQuery: no such file, a value that is no letter of its alphabet, a larger order than it has.
    """

    affine = False
    calibrated = True

    def __init__(
        self,
        *scope: Variable | View,
        weights: str = "english.safetensors",
        order: int | None = None,
    ):
        super().__init__(*scope)
        self._read(read_chain(weights, order), weights)

    @classmethod
    def of(cls, chain: Chain, *scope: Variable | View) -> "NGram":
        """The term of a chain that is at hand."""
        term = cls.__new__(cls)
        OverSites.__init__(term, *scope)
        term._read(chain, "the chain")
        return term

    def _read(self, chain: Chain, weights: str) -> None:
        self.chain = chain
        codes = np.zeros((self.layout.sites, int(self.layout.sizes.max())), dtype=np.int64)
        wrong = Mistakes(MISTAKES)
        for k, domain in enumerate(self.layout.domains):
            places = [-1 if p is None else p for p in chain.places(domain.values)]
            for value, place in zip(domain.values, places, strict=True):
                if place < 0:
                    letters = [repr(letter) for letter in chain.alphabet]
                    said = f"{value!r} is no letter of {weights}"
                    wrong.add(f"scope[{k}]", said, known(repr(value), letters))
            if min(places) >= 0:
                codes[self.layout.entry == k, : len(places)] = places
        wrong.check()
        self.codes = codes
        self.register_buffer("_codes", torch.from_numpy(codes), persistent=False)
        self.register_buffer("_costs", torch.from_numpy(chain.costs), persistent=False)
        self.register_buffer("_following", torch.from_numpy(chain.following), persistent=False)
        self._codes: Tensor
        self._costs: Tensor
        self._following: Tensor

    @cached_property
    def order(self) -> int:
        """Letters of the longest run that fits."""
        return max(1, min(self.chain.order, self.layout.sites))

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B,)
        return straight(self, *tensors)

    def _letters(self, tensors: Sequence[Tensor]) -> Tensor:
        """The letters of decided texts, by their place in the alphabet. -> (B, n)"""
        places = self.layout.decided(tensors)
        return self._codes[torch.arange(places.shape[1], device=places.device), places]

    def _walked(self, letters: Tensor) -> tuple[Tensor, Tensor]:
        """What is known before each letter, and what each costs. (B, n) -> both"""
        states, costs = [], []
        state = torch.zeros_like(letters[:, 0])
        for t in range(letters.shape[1]):
            states.append(state)
            costs.append(self._costs[state, letters[:, t]])
            state = self._following[state, letters[:, t]].long()
        return torch.stack(states, 1), torch.stack(costs, 1)

    def cost(self, *tensors: Tensor) -> Tensor:  # (B, *shape) int64 -> (B,) float64
        return self._walked(self._letters(tensors))[1].double().sum(1)

    def changes(self, sites: Tensor, *decided: Tensor) -> Tensor:
        """A letter counts in its own run, and in those of the next `order` - 1 letters."""
        numbers = self.layout.numbers(sites)
        size, stands = self.layout.values_of(numbers), self.layout.decided(decided)[:, numbers]
        most = int(size.max()) if len(size) else 0
        letters = self._letters(decided)
        each = max(1, PIECE // max(1, len(numbers) * most))
        out = [
            self._changed(letters[i : i + each], numbers, most)
            for i in range(0, len(letters), each)
        ]
        none = torch.zeros(0, len(numbers), most, dtype=torch.float64, device=letters.device)
        return settled(torch.cat([none, *out]), stands, size)

    def _changed(self, letters: Tensor, numbers: Tensor, most: int) -> Tensor:
        """(b, n) letters, (m,) sites -> (b, m, most)"""
        n = letters.shape[1]
        states, costs = self._walked(letters)
        state = states[:, numbers, None].expand(-1, -1, most)
        letter = self._codes[numbers, :most].expand(len(letters), -1, -1)
        change = self._costs[state, letter].double() - costs[:, numbers, None]
        for step in range(1, self.order):
            state = self._following[state, letter].long()
            after = numbers + step
            inside = (after < n)[:, None]
            after = after.clamp(max=n - 1)
            letter = letters[:, after, None].expand(-1, -1, most)
            rise = self._costs[state, letter].double() - costs[:, after, None]
            change = change + torch.where(inside, rise, 0.0)
        return change

    def factors(self, *domains: Domain) -> Factors | None:
        n = self.layout.sites
        if math.prod(self.layout.sizes[: self.order].tolist()) > TABLE or not self.layout.uniform:
            return None if self.layout.sites > 1 else super().factors(*domains)
        tables = []
        for length in range(1, self.order + 1):
            ends = [length - 1] if length < self.order else range(length - 1, n)
            scopes = np.array([np.arange(end - length + 1, end + 1) for end in ends])
            tables.append(self._table(length, scopes))
        return self.made(domains, tables=tuple(tables))

    def _table(self, length: int, scopes: np.ndarray) -> Table:
        """What the last letters of runs of one length cost, one table for all of them."""
        codes = self.codes[0, : self.layout.sizes[0]]
        full = self.chain.table(length)
        costs = full[np.ix_(*[codes] * length)].astype(np.float64)
        tuples = np.indices(costs.shape).reshape(length, -1).T
        return Table(
            scopes,
            np.ascontiguousarray(tuples),
            costs.reshape(-1),
            0.0,
            np.zeros(len(scopes), np.int64),
            scopes[:, -1].copy(),
            computed=True,
        )

    def floor(self) -> float:
        return float(self.chain.costs.min()) * self.layout.sites

    @classmethod
    def learn(cls, lesson: Lesson) -> list[str]:
        from modules.language.ngram.train import learn  # not needed to ask

        return learn(lesson)

    @classmethod
    def example(cls) -> "NGram":
        return cls(Variable("text", Finite(("a", "e", "t"), (3,))), order=3)

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["NGram"]:
        if scope:
            return  # their values are no letters
        while True:
            letters = tuple(rng.sample("abdeinorst ", rng.randint(1, 3)))
            shapes = rng.choice([((3,),), ((2, 2),), ((2,), (2,)), ((1,),), ((4,),)])
            own = [Variable(f"v{k}", Finite(letters, shape)) for k, shape in enumerate(shapes)]
            yield cls(*own, order=rng.choice([None, 1, 2, 3, 4]))
