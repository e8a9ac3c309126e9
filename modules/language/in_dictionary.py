"""Lines of letters spell words of a list."""

import random
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from engine.domain import Domain, Finite, Variable, View
from engine.energy.changes import Together, evaluated_changes
from engine.errors import BadQuery, Mistake
from engine.factors import Factors, Table
from modules.language._dictionary import WORDS, Dictionary, dictionary_of, read_words
from modules.parameters import Site, Strict
from modules.shared.files import File
from modules.shared.sites import OverSites, read_sites


class Parameters(Strict):
    """The lines, and the words."""

    lines: list[list[Site]] | None = Field(
        None, description="Lines of sites, each of which spells a word; not given: all sites."
    )
    words: list[str] | None = Field(None, description="The words; any other is none.")
    file: File | None = Field(
        None,
        description="A text file of words, one a line, in place of `words`; neither given: "
        "`common_words.txt`, a few hundred short English words that ship with Basin.",
    )


class InDictionary(OverSites):
    """Every line of sites spells a word of a list.

    E = sum over lines of 1 - P(the line is one of the words), the sites independent; decided: the
    number of lines that are none. Affine in each site; no unit. A value of a site is a letter, a
    number or several letters, and a line spells what its values give one after the other; capitals
    differ from small letters unless the values have only one of both. Explicit: one table of the
    words of each length serves all lines of that length.
    BadQuery: no such file, no word at all, a site that is out of range or stands twice in a line.
    """

    shipped: ClassVar[Path | None] = WORDS.parent

    def __init__(
        self,
        *scope: Variable | View,
        lines: Sequence[Sequence[int]] | None = None,
        words: Sequence[str] | None = None,
        file: str | None = None,
    ):
        super().__init__(*scope)
        every = [[*range(self.layout.sites)]] if lines is None else lines
        self.lines = read_sites(self.layout, every, "lines")
        if not self.layout.uniform:
            told = "has entries of different values"
            raise BadQuery(Mistake("scope", told, "name variables of the same letters"))
        self.dictionary: Dictionary = dictionary_of(
            read_words(words, file), self.layout.domains[0].values
        )
        self._by_length: dict[int, list[int]] = {}
        for k, line in enumerate(self.lines):
            self._by_length.setdefault(len(line), []).append(k)

    @cached_property
    def _bunches(self) -> list[tuple[list[int], Tensor, Tensor]]:
        """The lines of each length: their numbers, their sites (m, n), and the words (T, n)."""
        return [
            (
                numbers,
                torch.tensor([self.lines[k] for k in numbers]),
                torch.from_numpy(self.dictionary.spelled(n).astype(np.int64)),
            )
            for n, numbers in self._by_length.items()
        ]

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B,)
        return self.violation(*tensors).sum(1)

    def violation(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B, lines)
        x = self.layout.aligned(tensors)  # (B, n, k)
        out: list[Tensor] = [x.new_zeros(0)] * len(self.lines)
        for numbers, sites, words in self._bunches:
            for k, line in zip(numbers, sites, strict=True):
                chance = x.new_ones(len(x), len(words))
                for j, site in enumerate(line.tolist()):
                    chance = chance * x[:, site, words[:, j].to(x.device)]
                out[k] = 1 - chance.sum(1)
        return torch.stack(out, 1) if out else x.new_zeros(len(x), 0)

    def cost(self, *tensors: Tensor) -> Tensor:  # (B, *shape) int64 -> (B,) float64
        x = self.layout.decided(tensors)
        total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        for _, sites, _ in self._bunches:
            at = x[:, sites.to(x.device)]  # (B, m, n)
            keys = self.dictionary.keys(at.shape[2])
            found = np.isin(self.dictionary.numbers(at.cpu().numpy()), keys)
            total = total + torch.from_numpy((~found).sum(1)).to(total)
        return total

    def changes(self, sites: Tensor, *decided: Tensor) -> Tensor:
        """By looking lines up: a slope would ask every word."""
        return evaluated_changes(self, Together.apart(sites), decided)

    def holds(self, *values: Any) -> bool:
        return not any(self._wrong(values))

    def _spelled(self, values: Sequence[Any]) -> Iterator[str]:
        """What each line spells."""
        flat = self.layout.flat(values)
        plain = [v[1] if self.layout.mixed else v for v in flat]
        return ("".join(str(plain[s]) for s in line) for line in self.lines)

    def _wrong(self, values: Sequence[Any]) -> Iterator[bool]:
        return (word not in self.dictionary.words for word in self._spelled(values))

    def factors(self, *domains: Domain) -> Factors:
        tables = []
        for numbers, sites, words in self._bunches:
            none, part = np.zeros(len(numbers), np.int64), np.array(numbers, np.int64)
            costs = np.zeros(len(words))
            default = 0.0 if self.dictionary.full(sites.shape[1]) else np.inf
            tables.append(Table(sites.numpy(), words.numpy(), costs, default, none, part))
        return self.made(domains, tables=tuple(tables))

    def floor(self) -> float:
        return 0.0

    def says(self, part: int) -> str:
        line = self.lines[part]
        return f"line {part}: {self.layout.names(line)} spell a word"

    def explain(self, *values: Any) -> list[str]:
        spelled = self._spelled(values)
        return [
            f"line {k}: {word!r} is no word of the list"
            for k, word in enumerate(spelled)
            if word not in self.dictionary.words
        ]

    @classmethod
    def example(cls) -> "InDictionary":
        grid = Variable("grid", Finite(("a", "n", "t"), (2, 2)))
        return cls(grid, lines=[[0, 1], [2, 3], [0, 2]], words=["an", "at", "tan", "ta"])

    @classmethod
    def examples(
        cls, rng: random.Random, scope: Sequence[Variable] = ()
    ) -> Iterator["InDictionary"]:
        if scope:
            return  # their values are no letters
        while True:
            letters = tuple(rng.sample(["a", "n", "t", "", "an", 3], rng.randint(2, 3)))
            own = [Variable(f"v{k}", Finite(letters, (2,))) for k in range(2)]
            lines = [rng.sample(range(4), rng.randint(1, 4)) for _ in range(rng.randint(1, 3))]
            words = ["".join(map(str, rng.choices(letters, k=rng.randint(1, 4)))) for _ in range(5)]
            words = [w for w in words if w] or ["a"]
            yield cls(*own, lines=rng.choice([None, lines]), words=words)
