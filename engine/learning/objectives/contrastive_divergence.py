"""Contrastive divergence, persistent, and pseudo-spherical: the data against samples of the energy.

With gamma = 0 the gradient is that of likelihood, E_p[grad E] - E_q[grad E], q = exp(-E) / Z. Any
other gamma > -1 is the pseudo-spherical score of order gamma, in which Z cancels:

    L(E) = -(1/gamma) ln E_p[e^(-gamma E)] + 1/(gamma+1) ln sum_x e^(-(gamma+1) E(x))
    grad L = sum_i a_i grad E(x_i) - E_r[grad E]
    a = softmax(-gamma E(x_i)),   r(x) ~ e^(-(gamma+1) E(x))

Its minimum is at E = -ln p + c as well; gamma > 0 weighs what already fits, and so passes over
outliers where the model has no mass, gamma < 0 what fits badly. E_r is estimated from samples of q,
weighted by b = softmax(-gamma E(x_j)) (self-normalized), or from samples of r itself (`tempered`).
Negatives start at the data (CD), or where they stood (persistent, in a replay buffer).
Sources: Hinton, Neural Computation 2002; Tieleman, ICML 2008; Du and Mordatch, NeurIPS 2019 (replay
buffer); Yu, Song, Song, Ermon, "Pseudo-spherical contrastive divergence", NeurIPS 2021.
"""

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.learning.objective import Nets, Objective, Update, decided_of, energy_of, problem_of
from engine.moves.sampler import Sampler
from engine.problem import Problem
from engine.random import Stream

PICK, FRESH, WALK = 411, 412, 413  # lanes of the stream


class Buffer(NamedTuple):
    """The particles that persist; empty where negatives start at the data."""

    x: dict[str, Tensor]  # {name: (size, *shape)} decided


@dataclass(frozen=True)
class ContrastiveDivergence(Objective[Buffer]):
    """sampler, steps: how negatives move. buffer: particles that persist, 0: start at the data.
    fresh: share of a batch's negatives that begin at random states. gamma: order of the score.
    tempered: negatives from r, with equal weights. penalty: of the squared energies of both kinds
    (L2), which holds them near 0 and breaks invariance to a constant.

    For |gamma| >= 0.5 take batches of 256 and more: (1/gamma) ln mean is biased by -gamma Var / 2.
    """

    sampler: Sampler
    steps: int = 10
    buffer: int = 10_000
    fresh: float = 0.0
    gamma: float = 0.0
    tempered: bool = False
    penalty: float = 0.0
    clip: float | None = 5.0

    def __post_init__(self):
        if self.steps < 1:
            raise BadQuery(Mistake("steps", f"{self.steps!r}", "give at least 1"))
        if not 0 <= self.fresh <= 1:
            raise BadQuery(Mistake("fresh", f"{self.fresh!r}", "give a share, 0 to 1"))
        check_order(self.gamma)

    def start(self, nets: Nets, rng: Stream) -> Buffer:
        if not self.buffer:
            return Buffer({})
        return Buffer(_random(problem_of(energy_of(nets)), self.buffer, rng))

    def updates(
        self, nets: Nets, batch: State, s: Buffer, rng: Stream
    ) -> Generator[Update, None, Buffer]:
        energy = energy_of(nets)
        problem, batch = problem_of(energy), decided_of(energy, batch)
        size = len(next(iter(batch.values())))
        start, places = self._start(problem, batch, s, size, rng)
        beta = 1 + self.gamma if self.tempered else 1.0
        negative = self.sampler.walk(problem, start, self.steps, rng.fork(WALK), beta)
        negative = {n: t.detach() for n, t in negative.items()}
        both = energy({n: torch.cat([batch[n], negative[n]]) for n in negative})
        data, model = both[:size], both[size:]
        loss = surrogate(data, model, self.gamma, self.tempered)
        if self.penalty:
            loss = loss + self.penalty * (data.square().mean() + model.square().mean())
        with torch.no_grad():
            shown = {"data": float(data.mean()), "model": float(model.mean())}
            if self.gamma:
                shown["effective"] = effective(torch.softmax(-self.gamma * data, 0)) / size
        yield Update("energy", loss, self.clip, shown)
        if places is None:
            return s
        return Buffer({n: t.index_copy(0, places, negative[n].to(t)) for n, t in s.x.items()})

    def _start(
        self, problem: Problem, batch: State, s: Buffer, size: int, rng: Stream
    ) -> tuple[State, Tensor | None]:
        """Where the negatives of this step begin, and their places in the buffer."""
        names = [v.name for v in problem.variables]
        if not s.x:
            return {n: batch[n] for n in names}, None
        places = rng.fork(PICK).uniform(1, self.buffer)[0].topk(min(size, self.buffer)).indices
        x = {n: s.x[n][places] for n in names}
        renewed = int(self.fresh * len(places))
        if renewed:
            new = _random(problem, renewed, rng.fork(FRESH))
            x = {n: torch.cat([new[n].to(t), t[renewed:]]) for n, t in x.items()}
        return x, places


def _random(problem: Problem, count: int, rng: Stream) -> dict[str, Tensor]:
    """Random states inside the domains. -> {name: (count, *shape)}"""
    return {
        v.name: problem.domains[v.name].sample(count, rng.fork(lane))
        for lane, v in enumerate(problem.variables)
    }


def check_order(gamma: float) -> None:
    """Raises BadQuery where the score has no such order."""
    if not -1 < gamma < math.inf:
        raise BadQuery(Mistake("gamma", f"{gamma!r}", "give a number above -1; 0 is likelihood"))


def surrogate(data: Tensor, model: Tensor, gamma: float, tempered: bool) -> Tensor:
    """A loss whose gradient is the estimate of grad L. (N,), (M,) -> ()

    model: energies of samples of q, or of r where `tempered`.
    """
    if tempered or abs(gamma) < 1e-4:
        negative = model.mean()
    else:
        negative = (torch.softmax(-gamma * model.detach(), 0) * model).sum()
    return positive(data, gamma) - negative


def positive(data: Tensor, gamma: float) -> Tensor:
    """-(1/gamma) ln mean e^(-gamma E), the mean of E where gamma is 0. (N,) -> ()"""
    if abs(gamma) < 1e-4:
        return data.mean()
    return -(torch.logsumexp(-gamma * data, 0) - math.log(len(data))) / gamma


def effective(weight: Tensor) -> float:
    """1 / sum w^2 of normalized weights: how many samples count. Below a tenth of them, lower
    |gamma| or sample r."""
    return float(1 / weight.square().sum())
