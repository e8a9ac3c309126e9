"""Pseudo-likelihood: each site is predicted from the others, some of which may be hidden.

    loss = - mean over rows and sites i of ln p(x_i | x_-(i and H))
    p(x_i = v | .) = exp(-E(x_i = v, .)) / sum_w exp(-E(x_i = w, .))

H is a set of `holes` sites drawn anew for each row (Emmental pseudo-likelihood): a hidden site has
the zero row, so that every product it stands in vanishes. Hidden sites are predicted as well, from
what is not hidden. Without holes a pair that others already imply is learned too weakly or not at
all; with them, redundant rules are found (a Sudoku row is implied by the rest of its board).
Sources: Besag, "Statistical analysis of non-lattice data", 1975; Defresne, Barbe, Schiex,
"Scalable coupling of deep learning with logical reasoning", IJCAI 2023.
"""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.domain import Finite, State
from engine.energy import Energy
from engine.errors import BadQuery, Mistake
from engine.learning.objective import (
    Nets,
    Objective,
    Update,
    decided_of,
    energy_of,
    problem_of,
    relaxed_of,
)
from engine.learning.objectives.erasure import erased_losses
from engine.random import Stream

HIDE, PICK = 401, 402  # lanes of the stream
BUNCHES = 16  # of rows that are asked at the same sites


@dataclass(frozen=True)
class PseudoLikelihood(Objective[tuple[()]]):
    """Over the finite variables of the energy.

    holes: sites hidden in each row. sites: how many sites of each row are predicted, drawn at
    random, the same for a bunch of rows where the energy is not affine; None: all. An energy that
    is affine in each site gives all predictions in one gradient; any other is asked what each value
    of every site that is predicted would change.
    """

    holes: int = 0
    sites: int | None = None
    clip: float | None = None

    def __post_init__(self):
        if self.holes < 0:
            raise BadQuery(Mistake("holes", f"{self.holes!r}", "give a number >= 0"))
        if self.sites is not None and self.sites < 1:
            raise BadQuery(Mistake("sites", f"{self.sites!r}", "give at least 1, or null"))

    def start(self, nets: Nets, rng: Stream) -> tuple[()]:
        energy = energy_of(nets)
        if self.holes and not is_affine(energy):
            raise BadQuery(
                Mistake("holes", "hide sites, and the energy is not affine in each site", "give 0")
            )
        return ()

    def updates(
        self, nets: Nets, batch: State, s: tuple[()], rng: Stream
    ) -> Generator[Update, None, tuple[()]]:
        energy = energy_of(nets)
        if is_affine(energy):
            batch = relaxed_of(energy, batch)
            seen = hide(energy, batch, self.holes, rng.fork(HIDE))
            each = site_losses(conditionals(energy, seen, train=True), batch)  # (B, n)
            loss = _some(each, self.sites, rng.fork(PICK)).mean()
        else:
            loss = single_site_losses(energy, batch, self.sites, rng.fork(PICK)).mean()
        yield Update("energy", loss, self.clip)
        return s


def is_affine(energy: Energy) -> bool:
    """Whether the energy is affine in each finite site."""
    return all(part.term.affine for part in energy.summands())


def finite_names(energy: Energy) -> list[str]:
    """The finite variables of an energy, in order. Raises BadQuery where there is none."""
    names = [v.name for v in energy.variables() if isinstance(v.domain, Finite)]
    if not names:
        raise BadQuery(Mistake("nets.energy", "has no finite variable", "use another objective"))
    return names


def conditionals(energy: Energy, x: State, train: bool = False) -> dict[str, Tensor]:
    """ln p(x_i = v | the other sites) of an affine energy, by one gradient.

    A site with the zero row is hidden from the others. `train`: the result has a gradient towards
    the parameters. {name: (B, *event)} -> {name: (B, *event)} of the finite variables
    """
    names = finite_names(energy)
    leaves = {n: x[n].detach().requires_grad_() for n in names}
    with torch.enable_grad():
        total = energy({**x, **leaves}).sum()
        slopes = torch.autograd.grad(total, list(leaves.values()), create_graph=train)
    return {n: torch.log_softmax(-g, -1) for n, g in zip(names, slopes, strict=True)}


def site_losses(logs: State, x: State) -> Tensor:
    """- ln p of what stands at each site. {name: (B, *event)} -> (B, n)"""
    each = [-(log * x[n]).sum(-1).flatten(1) for n, log in logs.items()]
    return torch.cat(each, 1)


def hide(energy: Energy, x: State, holes: int, rng: Stream) -> dict[str, Tensor]:
    """The rows with `holes` random sites of each set to the zero row."""
    if not holes:
        return dict(x)
    names = finite_names(energy)
    counts = [x[n][0, ..., 0].numel() for n in names]
    draw = rng.uniform(len(x[names[0]]), sum(counts)).to(x[names[0]].device)
    rank = draw.argsort(-1).argsort(-1)  # (B, n)
    kept = (rank >= holes).split(counts, -1)
    return {
        **x,
        **{
            n: x[n] * keep.reshape(*x[n].shape[:-1], 1).to(x[n].dtype)
            for n, keep in zip(names, kept, strict=True)
        },
    }


def single_site_losses(energy: Energy, x: State, sites: int | None, rng: Stream) -> Tensor:
    """- ln p of what stands at some sites of each row, from what their other values would change.
    -> (B, m)

    `sites` are drawn without repetition, anew for each of `BUNCHES` of the rows; None: all of them
    in order. Equal to ln(1 + sum of exp(E(x) - E(x')) over the x' that differ in the one site).
    """
    problem, x = problem_of(1.0 * energy), decided_of(energy, x)
    names = finite_names(energy)
    batch, total = len(x[names[0]]), sum(v.domain.sites for v in problem.finite)
    if sites is None or sites >= total:
        return erased_losses(problem, x, np.arange(total))
    rows = torch.arange(batch).tensor_split(min(BUNCHES, batch))
    picked = rng.uniform(len(rows), total).topk(sites, -1).indices.cpu().numpy()
    return torch.cat(
        [
            erased_losses(problem, {n: t[own] for n, t in x.items()}, at)
            for own, at in zip(rows, picked, strict=True)
        ]
    )


def _some(each: Tensor, sites: int | None, rng: Stream) -> Tensor:
    """Some random columns of each row. (B, n) -> (B, sites)"""
    if sites is None or sites >= each.shape[1]:
        return each
    draw = rng.uniform(*each.shape).to(each.device)
    return each.gather(1, draw.topk(sites, -1).indices)
