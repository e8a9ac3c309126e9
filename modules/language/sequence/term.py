"""Sequences of a few tokens, each step of which has a reward: E = -R."""

import random
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from engine.domain import Finite, Variable, View
from engine.energy.reader import Reader
from engine.errors import BadQuery, Mistake
from modules.language.sequence.tree import Levels, SequenceTree
from modules.shared.sites import OverSites


class Sequences(OverSites):
    """Minus the rewards along a sequence: E(y) = - sum_t r(y_1 ... y_(t-1), y_t), in nats.

    rewards[t][s][a] is the reward of value a behind prefix s, its t values as a number in base V,
    the first one first. exp(-E) / Z is the chance of a sequence; the
    autoregressive model of the same chances has the logits M(r) (`tree.py` beside this file).
    Source: Blondel et al., arXiv 2512.15605. BadQuery: rewards of another shape.
    """

    affine = False
    calibrated = True

    def __init__(
        self,
        text: Variable | View,
        rewards: Annotated[
            list[list[list[float]]],
            Field(
                description="For each length of a prefix, prefix, and value, its reward.",
                examples=[[[[0.5, -1.0]], [[0.25, 2.0], [1.0, 0.0]]]],
            ),
        ],
    ):
        super().__init__(text)
        (domain,) = self.layout.domains
        self.tree = SequenceTree(len(domain.values), max(1, self.layout.sites), ends=False)
        for t, own in enumerate(_levels(rewards, self.tree)):
            self.register_buffer(f"level{t}", own, persistent=False)

    @property
    def levels(self) -> Levels:
        """The rewards, a tensor for each length of a prefix."""
        return tuple(getattr(self, f"level{t}") for t in range(self.tree.length))

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, T, k) -> (B,)
        x = self.layout.columns(tensors).reshape(len(tensors[0]), self.layout.sites, -1)
        mass, total = x.new_ones(len(x), 1), x.new_zeros(len(x))
        for t, own in enumerate(self.levels):
            mass = (mass[:, :, None] * x[:, t, None]).flatten(1)  # of each prefix
            flat = own.to(x.dtype).reshape(-1)
            total = total - mass @ flat
        return total

    def cost(self, *decided: Tensor) -> Tensor:  # (B, T) -> (B,) float64
        places = self.layout.decided(decided)
        at = torch.zeros(len(places), dtype=torch.long, device=places.device)
        total = torch.zeros(len(places), dtype=torch.float64, device=places.device)
        for t, own in enumerate(self.levels):
            total = total - own[at, places[:, t]]
            at = at * self.tree.values + places[:, t]
        return total

    def reader(self, *domains: Any) -> "RewardReader":
        del domains
        return RewardReader(self.levels, self.tree.values)

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Sequences"]:
        while not scope:
            values, length = rng.randint(2, 3), rng.randint(1, 3)
            text = Variable("text", Finite(tuple("abc"[:values]), (length,)))
            sizes = (values**t for t in range(length))
            rewards = [
                [[rng.randint(-8, 8) / 4 for _ in range(values)] for _ in range(n)] for n in sizes
            ]
            yield cls(text, rewards)

    @classmethod
    def example(cls) -> "Sequences":
        rewards = [[[0.5, -1.0]], [[0.25, 2.0], [1.0, 0.0]]]
        return cls(Variable("text", Finite(("a", "b"), (2,))), rewards)


class RewardReader(Reader[tuple[Tensor, int]]):
    """A prefix is a number."""

    def __init__(self, levels: Levels, values: int):
        self.levels, self.values = levels, values
        self.sites = torch.tensor([[0, t] for t in range(len(levels))]).reshape(-1, 2)

    def begin(self, row: int) -> tuple[Tensor, int]:
        del row
        return torch.zeros(1, dtype=torch.long), 0

    def costs(self, s: tuple[Tensor, int]) -> Tensor:
        return -self.levels[s[1]].cpu()[s[0]]

    def read(self, s: tuple[Tensor, int], places: Tensor) -> tuple[Tensor, int]:
        return s[0] * self.values + places, s[1] + 1

    def picked(self, s: tuple[Tensor, int], index: Tensor) -> tuple[Tensor, int]:
        return s[0][index], s[1]


def _levels(rewards: Any, tree: SequenceTree) -> Levels:
    """Rewards as tensors. Raises BadQuery where the shape is another."""
    shapes = [list(shape) for shape in tree.shapes]
    remedy = f"give lists of the shapes {shapes}"
    try:
        out = [
            torch.tensor(
                [[float(a) for a in row] for row in level],
                dtype=torch.float64,
            )
            for level in rewards
        ]
    except (TypeError, ValueError):
        raise BadQuery(Mistake("rewards", "holds what is no number", remedy)) from None
    found = [list(level.shape) for level in out]
    if found != shapes:
        raise BadQuery(Mistake("rewards", f"has the shapes {found}", remedy))
    if any(not bool(level.isfinite().all()) for level in out):
        raise BadQuery(Mistake("rewards", "holds nan or inf", "give finite numbers"))
    return tuple(out)
