"""A text under a substitution of letters, and what it costs deciphered."""

import random
import string
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from engine.decimals import Floats, Ints
from engine.domain import Domain, Finite, Variable, View
from engine.errors import BadQuery, Mistake, Mistakes, known
from engine.factors import Factors, Table
from modules.language._likeliest import straight
from modules.language.ngram.chain import BESIDE, read_chain
from modules.parameters import Strict
from modules.shared.files import File
from modules.shared.sites import MISTAKES, OverSites

TABLE = 1 << 20  # combinations up to which runs of letters are tables
OPEN = -1  # a letter of the text that is under the key


class Parameters(Strict):
    """The text, and the counts that judge it."""

    text: str = Field(
        description="The text in cipher. A letter of `letters` is deciphered, a blank stands for "
        "itself where the counts know blanks; all else counts as a blank, or not at all."
    )
    letters: str = Field(
        string.ascii_lowercase,
        description="The letters of the cipher, one for each site of the key, in order; capitals "
        "count as the small ones where it has none.",
    )
    weights: File = Field(
        "english.safetensors",
        description="A file of `basin train language.ngram`; a bare name is also looked for beside "
        "the kind language.ngram.",
    )
    order: int = Field(4, ge=1, le=8, description="Letters of the longest runs that are looked at.")


class Cipher(OverSites):
    """What a text under a substitution costs, deciphered: the key is what is asked for.

    E(key) = - sum over t of ln p(key[c_t] | the letters before it), in nats: `language.ngram` of
    the text c_1 c_2 ... with every letter c replaced by key[c]. Site i of the scope is the letter
    that stands for letter i of `letters`; that no two are the same is a rule beside it,
    discrete.all_different. Not affine. Explicit where runs have at most 2^20 combinations: a change
    of the key then costs the runs that hold a letter which changes, no others.
    BadQuery: no letter in the text, another number of sites than letters, an unknown plain letter.
    """

    affine = False
    calibrated = True
    shipped: ClassVar[Path | None] = BESIDE

    def __init__(
        self,
        *scope: Variable | View,
        text: str,
        letters: str = string.ascii_lowercase,
        weights: str = "english.safetensors",
        order: int = 4,
    ):
        super().__init__(*scope)
        self.told = {"text": text, "letters": letters, "weights": weights}
        self.chain = read_chain(weights, order)
        wrong = Mistakes(MISTAKES)
        if len(letters) != self.layout.sites or len(set(letters)) < len(letters):
            told = f"{len(letters)} letters for {self.layout.sites} sites"
            wrong.add("letters", told, "name one letter for each site of the key, each once")
        if not self.layout.uniform:
            wrong.add("scope", "has entries of different values", "name one key")
        values = self.layout.domains[0].values
        codes = [OPEN if p is None else p for p in self.chain.places(values)]
        for value, code in zip(values, codes, strict=True):
            if code == OPEN:
                every = list(map(repr, self.chain.alphabet))
                wrong.add(
                    "scope[0]", f"{value!r} is no letter of {weights}", known(repr(value), every)
                )
        wrong.check()
        self.codes = np.array(codes, dtype=np.int64)  # (k,) of the plain letters
        self.cipher, self.fixed = self._read(text, letters)
        if not (self.cipher >= 0).any():
            told = f"{text[:40]!r} has no letter of {letters!r}"
            raise BadQuery(Mistake("text", told, "give a text in cipher"))
        for name, own in (
            ("_codes", self.codes),
            ("_cipher", np.maximum(self.cipher, 0)),
            ("_fixed", self.fixed),
            ("_costs", self.chain.costs),
            ("_following", self.chain.following),
        ):
            self.register_buffer(name, torch.from_numpy(own), persistent=False)
        self._codes: Tensor
        self._cipher: Tensor
        self._fixed: Tensor
        self._costs: Tensor
        self._following: Tensor

    def _read(self, text: str, letters: str) -> tuple[Ints, Ints]:
        """The site of the key that each place of the text hangs on, and the plain letter where it
        hangs on none; each OPEN where the other stands. (T,) both"""
        site = {letter: k for k, letter in enumerate(letters)}
        blank = self.chain.alphabet.index(" ") if " " in self.chain.alphabet else None
        folded = letters == letters.lower()
        read: list[tuple[int, int]] = []
        for sign in text.lower() if folded else text:
            if sign in site:
                read.append((site[sign], OPEN))
            elif blank is not None and read and read[-1] != (OPEN, blank):
                read.append((OPEN, blank))
        both = np.array(read, dtype=np.int64).reshape(-1, 2)
        return both[:, 0].copy(), both[:, 1].copy()

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B,)
        return straight(self, *tensors)

    def cost(self, *tensors: Tensor) -> Tensor:  # (B, *shape) int64 -> (B,) float64
        key = self._codes[self.layout.decided(tensors)]  # (B, n)
        plain = torch.where(self._fixed >= 0, self._fixed, key[:, self._cipher])  # (B, T)
        state = torch.zeros_like(plain[:, 0])
        total = torch.zeros(len(plain), dtype=torch.float64, device=plain.device)
        for letter in plain.unbind(1):
            total = total + self._costs[state, letter].double()
            state = self._following[state, letter].long()
        return total

    def factors(self, *domains: Domain) -> Factors | None:
        order, k = min(self.chain.order, len(self.cipher)), len(self.codes)
        if float(k) ** order > TABLE:
            return None
        tables: list[Table] = []
        for length in range(1, order + 1):
            last = len(self.cipher) if length == order else length
            ends = np.arange(length, last + 1)
            runs = ends[:, None] - np.arange(length, 0, -1)  # (m, length) places in the text
            tables += self._tables(self.cipher[runs], self.fixed[runs])
        return self.made(domains, tables=tuple(tables))

    def _tables(self, sites: Ints, fixed: Ints) -> Iterator[Table]:
        """What the last letters of runs cost: a table for all runs that have the same letters fixed
        in the same places, over the sites of the others. (m, length) both"""
        full = self.chain.table(sites.shape[1])
        for row in np.unique(fixed, axis=0):
            mine = (fixed == row).all(1)
            under = row == OPEN
            each = [self.codes if u else np.array([c]) for u, c in zip(under, row, strict=True)]
            costs = full[np.ix_(*each)].astype(np.float64)
            scopes = sites[mine][:, under]
            if not under.any():  # costs the same under every key
                costs = np.broadcast_to(costs.reshape(-1), len(self.codes))
                scopes = np.zeros((int(mine.sum()), 1), dtype=np.int64)
            yield self._table(costs.reshape([len(self.codes)] * scopes.shape[1]), scopes)

    def _table(self, costs: Floats, scopes: Ints) -> Table:
        tuples = np.indices(costs.shape).reshape(costs.ndim, -1).T
        none = np.zeros(len(scopes), np.int64)
        return Table(
            scopes, np.ascontiguousarray(tuples), costs.reshape(-1), 0.0, none, none, computed=True
        )

    def stand_in(self) -> "Cipher | None":
        """The same by the longest runs that are explicit."""
        order, k = self.chain.order, len(self.codes)
        while order > 1 and float(k) ** min(order, len(self.cipher)) > TABLE:
            order -= 1
        return None if order == self.chain.order else Cipher(*self.scope, order=order, **self.told)

    def floor(self) -> float:
        return float(self.chain.costs.min()) * len(self.cipher)

    @classmethod
    def example(cls) -> "Cipher":
        key = Variable("key", Finite(("a", "e", "t"), (3,)))
        return cls(key, text="xyz xx zy!", letters="xyz", order=3)

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Cipher"]:
        if scope:
            return  # their values are no letters
        while True:
            plain = tuple(rng.sample("adeinorst", rng.randint(2, 3)))
            key = Variable("key", Finite(plain, (3,)))
            text = "".join(rng.choices("xyz -", k=rng.randint(1, 9))) + rng.choice("xyz")
            weights = rng.choice(["english.safetensors", "english_joined.safetensors"])
            order = rng.randint(1, 5)
            yield cls(key, text=text, letters="xyz", weights=weights, order=order)
