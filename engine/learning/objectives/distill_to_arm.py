"""Distillation of an energy over sequences into an autoregressive model, step by step.

    loss = sum over states s of p(s) KL(pi*(. | s) | pi_q(. | s)) = KL(p_R | p_q)

where p(s) is the chance that the teacher passes through s, and pi* its chances of the next token:
the softmax of q* = M(r), rewards and all that may follow them (soft Bellman). By the chain rule the
sum over the steps is the divergence of whole sequences, so no sum over sequences is needed. With
eps = the largest |q* - q| over states and tokens, once what all logits of a state have in common is
taken off (it changes no chance),

    KL(p_R | p_q) and KL(p_q | p_R) <= 2 T eps   and   <= T eps^2 / 2,

as -ln softmax is 1-smooth in the largest norm; the second is the sharper one below eps = 4.
Source: Blondel et al., "Autoregressive language models are secretly energy-based models", arXiv
2512.15605, prop. 4.2 (the first bound).
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.learning.objective import Nets, Objective, Update
from engine.random import Stream


class Distilled(NamedTuple):
    """How far a model is from what it learns from."""

    divergence: Tensor  # () KL(p_R | p_q), of the states that were looked at
    eps: Tensor  # ()
    bound: Tensor  # () 2 T eps
    sharper: Tensor  # () T eps^2 / 2


@dataclass(frozen=True)
class DistillToARM(Objective[tuple[()]]):
    """A batch holds `tokens` (B, n), whatever the network "student" reads; `teacher` (B, t, k),
    its logits q* at the states along them, -inf where a token may not be; `chance` (B, t), how
    likely the teacher passes through each of these states (0: a state that is not counted here,
    as another row holds it too). length: T, tokens of a sequence.
    """

    length: int
    clip: float | None = None

    def __post_init__(self):
        if self.length < 1:
            raise BadQuery(Mistake("length", f"{self.length!r}", "give at least 1"))

    def start(self, nets: Nets, rng: Stream) -> tuple[()]:
        del rng
        if "student" not in nets:
            raise BadQuery(Mistake("nets.student", "is missing", 'give {"student": network}'))
        return ()

    def updates(
        self, nets: Nets, batch: State, s: tuple[()], rng: Stream
    ) -> Generator[Update, None, tuple[()]]:
        del rng
        student = nets["student"](batch["tokens"])  # (B, t, k)
        told = distilled(batch["teacher"], student, batch["chance"], self.length)
        shown = {"eps": float(told.eps), "bound": float(torch.minimum(told.bound, told.sharper))}
        yield Update("student", told.divergence, self.clip, shown)
        return s


def distilled(teacher: Tensor, student: Tensor, chance: Tensor, length: int) -> Distilled:
    """The divergence step by step, and both bounds. (..., k), (..., k), (...)"""
    allowed = teacher > -torch.inf
    log_p, log_q = (x.masked_fill(~allowed, -torch.inf).log_softmax(-1) for x in (teacher, student))
    gap = torch.where(allowed, log_p - log_q, 0.0)
    divergence = (chance * (log_p.exp() * gap).sum(-1)).sum()
    eps = largest_gap(teacher, student, allowed, chance > 0).detach()
    return Distilled(divergence, eps, 2 * length * eps, length * eps.square() / 2)


def largest_gap(teacher: Tensor, student: Tensor, allowed: Tensor, counted: Tensor) -> Tensor:
    """The largest |q* - q|, less what all tokens of a state have in common: half the range of the
    difference. (..., k), (..., k), (..., k), (...) -> ()"""
    gap = torch.where(allowed, teacher - student, torch.nan)
    high = gap.nan_to_num(-torch.inf).amax(-1)
    low = gap.nan_to_num(torch.inf).amin(-1)
    return torch.where(counted & allowed.any(-1), (high - low) / 2, 0.0).max()
