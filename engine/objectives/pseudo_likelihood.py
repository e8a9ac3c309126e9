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

import torch
from torch import Tensor

from engine.domain import Finite, State
from engine.energy import Energy
from engine.errors import BadQuery, Mistake
from engine.objective import Nets, Objective, Update, energy_of
from engine.random import Stream

HIDE, PICK = 401, 402  # lanes of the stream


@dataclass(frozen=True)
class PseudoLikelihood(Objective[tuple[()]]):
    """Over the finite variables of the energy.

    holes: sites hidden in each row. sites: how many sites of each row are predicted, drawn at
    random; None: all. An energy that is affine in each site gives all predictions in one gradient;
    any other is evaluated at every value of every site that is predicted.
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
            seen = hide(energy, batch, self.holes, rng.fork(HIDE))
            each = site_losses(conditionals(energy, seen, train=True), batch)  # (B, n)
            loss = _some(each, self.sites, rng.fork(PICK)).mean()
        else:
            loss = single_site_losses(energy, batch, self.sites, rng.fork(PICK)).mean()
        yield Update("energy", loss, self.clip)
        return s


def is_affine(energy: Energy) -> bool:
    """Whether the energy is affine in each finite site."""
    return all(part.term.affine for part in energy.parts())


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
    """- ln p of some sites of each row, each by evaluating the energy at all its values. -> (B, m)

    `sites` are drawn for each row without repetition; None: all of them in order.
    """
    names = finite_names(energy)
    batch = len(x[names[0]])
    counts = [x[n][0, ..., 0].numel() for n in names]
    total = sum(counts)
    most = max(x[n].shape[-1] for n in names)
    if sites is None or sites >= total:
        picked = torch.arange(total).expand(batch, total)
    else:
        picked = rng.uniform(batch, total).topk(sites, -1).indices  # (B, m)
    m = picked.shape[1]
    changed = {}
    valid = torch.zeros(batch, m, most, dtype=torch.bool)
    present = torch.zeros(batch, m, dtype=torch.long)
    start = 0
    for n, count in zip(names, counts, strict=True):
        k = x[n].shape[-1]
        flat = x[n].reshape(batch, count, k)
        wide = flat[:, None, None].expand(batch, m, most, count, k)
        local = picked - start  # (B, m)
        mine = (local >= 0) & (local < count)
        at = local.clamp(0, count - 1)
        values = torch.eye(most, k, dtype=flat.dtype)  # (most, k)
        hot = torch.nn.functional.one_hot(at, count).bool() & mine[..., None]  # (B, m, count)
        wide = torch.where(hot[:, :, None, :, None], values[None, None, :, None, :], wide)
        changed[n] = wide.reshape(batch * m * most, *x[n].shape[1:])
        row = torch.arange(batch)[:, None].expand(batch, m)
        present = torch.where(mine, flat.argmax(-1)[row, at], present)
        valid |= mine[..., None] & (torch.arange(most) < k)
        start += count
    rest = {n: t.repeat_interleave(m * most, 0) for n, t in x.items() if n not in changed}
    energies = energy({**rest, **changed}).reshape(batch, m, most)
    logs = torch.log_softmax((-energies).masked_fill(~valid, -torch.inf), -1)
    return -logs.gather(-1, present[..., None])[..., 0]


def _some(each: Tensor, sites: int | None, rng: Stream) -> Tensor:
    """Some random columns of each row. (B, n) -> (B, sites)"""
    if sites is None or sites >= each.shape[1]:
        return each
    draw = rng.uniform(*each.shape).to(each.device)
    return each.gather(1, draw.topk(sites, -1).indices)
