"""Diffusion by maximum entropy inverse reinforcement learning: an energy, a sampler of few steps.

The sampler pi (`engine.learning.refiner`) takes T Gaussian steps; the energy tells its ends from
data, and the sampler seeks low energy and keeps its entropy:

    min_E max_pi  E_p[E(x)] - E_pi[E(x_T)] + tau H(pi),     best where pi = exp(-E / tau) / Z = p
    energy    loss = mean E(x) - mean E(x_T) + square (mean E(x)^2 + mean E(x_T)^2)
    H(pi) is bounded by what each step gives:  c_t = |x_(t+1) - x_t|^2 / (2 s_t^2 D) - ln sigma_t
    value     V_T = E;  V_t(x_t) <- V_(t+1)(x_(t+1)) + tau c_t      (squares, the target stands)
    sampler   loss = mean over all t of V_(t+1)(x_(t+1)) + tau c_t,  x_(t+1) drawn anew

so that no slope goes back through time (diffusion by dynamic programming). s_t^2 is the running
mean of the squared step, a dimension: the velocity that a step may have adapts to the one it has.
tau holds a dimension; it must be small against 1 / (2 square), the most that the energy can say.
Source: Yoon, Hwang, Kwon, Choi, Noh, "Maximum entropy inverse reinforcement learning of diffusion
models with energy-based models", NeurIPS 2024. Ours: all times learn from one batch, in one step.
"""

import math
from abc import abstractmethod
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from engine.domain import Real, State
from engine.energy import Energy
from engine.errors import BadQuery, Mistake
from engine.learning.objective import Nets, Objective, Update, energy_of
from engine.learning.refiner import Refiner
from engine.random import Stream

PATH, AGAIN, BLUR = 431, 432, 433  # lanes of the stream


class Velocities(NamedTuple):
    """What the steps have been like."""

    squared: Tensor  # (T,) s_t^2, 0 before the first step
    done: int = 0  # steps of the training


class Moves(NamedTuple):
    """Every step of every path of a batch."""

    now: Tensor  # (T * B, *event)
    after: Tensor  # (T * B, *event)
    time: Tensor  # (T * B,)


@dataclass(frozen=True)
class MaxEntropyIRL(Objective[Velocities]):
    """Abstract: over the nets "energy", of one real variable, and "refiner".

    entropy: tau, of the first step; fall: its factor from one step to the next. Without a fall the
    sampler stays wider than data by about tau square, which bounds the energy; where tau is small
    from the first step on, modes are lost. velocity: tau of the quadratic part of c_t, which falls
    likewise; None: the same. square: of the squared
    energies of both kinds. noise: standard deviation of what is added to data, which smooths the
    energy. memory: of s_t^2. visits: steps of the sampler for one of the energy. clip: largest norm
    of the slope of the sampler; slope: of that of the energy and the value.
    """

    entropy: float = 0.1
    fall: float = 1.0
    velocity: float | None = None
    square: float = 1.0
    noise: float = 0.0
    memory: float = 0.99
    visits: int = 1
    clip: float | None = 0.1
    slope: float | None = None

    def __post_init__(self):
        wrong = [
            Mistake(name, f"{value!r}", "give a number >= 0")
            for name, value in (
                ("entropy", self.entropy),
                ("velocity", 0.0 if self.velocity is None else self.velocity),
                ("square", self.square),
                ("noise", self.noise),
            )
            if not 0 <= value < math.inf
        ]
        if not 0 <= self.memory < 1:
            wrong.append(Mistake("memory", f"{self.memory!r}", "give 0 <= memory < 1"))
        if not 0 < self.fall <= 1:
            wrong.append(Mistake("fall", f"{self.fall!r}", "give 0 < fall <= 1; 1: tau stays"))
        if self.visits < 1:
            wrong.append(Mistake("visits", f"{self.visits!r}", "give at least 1"))
        if wrong:
            raise BadQuery(*wrong)

    def start(self, nets: Nets, rng: Stream) -> Velocities:
        refiner, (name, shape) = refiner_of(nets), real_of(energy_of(nets))
        if refiner.event != shape:
            said = f"makes states of shape {[*refiner.event]}, {name} has {[*shape]}"
            raise BadQuery(Mistake("nets.refiner", said, "give the same"))
        return Velocities(torch.zeros_like(refiner.slow))

    def updates(
        self, nets: Nets, batch: State, s: Velocities, rng: Stream
    ) -> Generator[Update, None, Velocities]:
        refiner, (name, _) = refiner_of(nets), real_of(energy_of(nets))
        path = refiner.path(len(batch[name]), rng.fork(PATH))
        s = self.moved(s, path)
        x = batch[name].to(path)
        x = x + self.noise * rng.fork(BLUR).normal(len(x), *refiner.event).to(x)
        yield self._energy_update(nets, x, path[-1])
        times = torch.arange(refiner.steps, device=path.device)
        moves = Moves(
            path[:-1].flatten(0, 1), path[1:].flatten(0, 1), times.repeat_interleave(path.shape[1])
        )
        yield from self.value_updates(nets, moves, s)
        for visit in range(self.visits):
            noise = rng.fork(AGAIN).fork(visit).normal(len(moves.now), *refiner.event).to(path)
            after = refiner.step(moves.now, moves.time, noise)
            cost = self.cost(refiner, moves._replace(after=after), s)
            later = self.value(nets, after, moves.time + 1)
            sigma = refiner.log_sigma.detach().exp()
            shown = {"sigma.first": float(sigma[0]), "sigma.last": float(sigma[-1])}
            yield Update("refiner", (later + cost).mean(), self.clip, shown)
        return s

    def moved(self, s: Velocities, path: Tensor) -> Velocities:
        """The running mean of the squared step after one more batch."""
        now = (path[1:] - path[:-1]).square().flatten(1).mean(1)
        memory = torch.where(s.squared > 0, self.memory, 0.0)
        return Velocities((memory * s.squared + (1 - memory) * now).clamp(min=1e-12), s.done + 1)

    def cost(self, refiner: Refiner, moves: Moves, s: Velocities) -> Tensor:
        """What the steps themselves cost, tau c_t. -> (T * B,)"""
        went = (moves.after - moves.now).square().flatten(1).mean(1) / (2 * s.squared[moves.time])
        velocity = self.entropy if self.velocity is None else self.velocity
        share = self.fall ** max(0, s.done - 1)  # `moved` counts the step that is under way
        return share * (velocity * went - self.entropy * refiner.log_sigma[moves.time])

    def _energy_update(self, nets: Nets, x: Tensor, end: Tensor) -> Update:
        both = energies(energy_of(nets), torch.cat([x, end]))
        data, model = both[: len(x)], both[len(x) :]
        loss = data.mean() - model.mean()
        loss = loss + self.square * (data.square().mean() + model.square().mean())
        shown = {"data": float(data.detach().mean()), "model": float(model.detach().mean())}
        return Update("energy", loss, self.slope, shown)

    @abstractmethod
    def value(self, nets: Nets, x: Tensor, time: Tensor) -> Tensor:
        """V_t(x) of states at times 1 ... T. (N, *event), (N,) -> (N,)"""

    @abstractmethod
    def value_updates(self, nets: Nets, moves: Moves, s: Velocities) -> Iterator[Update]:
        """How the value learns from the steps of a batch."""


@dataclass(frozen=True)
class SeparateValue(MaxEntropyIRL):
    """With a net "value", (x, t) -> (B,), beside the energy: the energy is then of the data alone,
    and its scale is held by `square`. For densities and what lies outside them.

    trace: how much a target is what came of the path, and not what the value says of its next step,

        G_t = tau c_t + (1 - trace) V_(t+1)(x_(t+1)) + trace G_(t+1),   V_T = G_T = E(x_T)

    With 0 a change of the energy takes as many updates as there are steps to reach the first, and a
    sampler of ten steps follows too late. Source: Sutton, "Learning to predict by the methods of
    temporal differences", Machine Learning 1988.
    """

    trace: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.trace <= 1:
            raise BadQuery(Mistake("trace", f"{self.trace!r}", "give 0 <= trace <= 1"))

    def value(self, nets: Nets, x: Tensor, time: Tensor) -> Tensor:
        steps = refiner_of(nets).steps
        end = energies(energy_of(nets), x)
        return torch.where(time == steps, end, nets["value"](x, time.clamp(max=steps - 1)))

    def value_updates(self, nets: Nets, moves: Moves, s: Velocities) -> Iterator[Update]:
        with torch.no_grad():
            refiner = refiner_of(nets)
            later = self.value(nets, moves.after, moves.time + 1)
            target = self.returns(later, self.cost(refiner, moves, s), refiner.steps)
        missed = nets["value"](moves.now, moves.time) - target
        yield Update("value", missed.square().mean(), self.slope)

    def returns(self, later: Tensor, cost: Tensor, steps: int) -> Tensor:
        """G_t of what the value says of the next states, and of what steps cost; times one after
        another, each with all paths. (T * B,), (T * B,) -> (T * B,)"""
        ahead, price = later.reshape(steps, -1), cost.reshape(steps, -1)
        out = [ahead[-1] + price[-1]]
        for t in reversed(range(steps - 1)):
            out.append(price[t] + torch.lerp(ahead[t], out[-1], self.trace))
        return torch.cat(out[::-1])


@dataclass(frozen=True)
class SharedValue(MaxEntropyIRL):
    """V_t = E at all times: one network less, for pictures. A fixed price of each step,

        V(x_t) <- V(x_(t+1)) + d (sigmoid(T/2 - t) - sigmoid(T/2 - t - 1)),

    stands for what the steps cost in the target alone. d: drop. Two losses train one network: keep
    its rate low."""

    drop: float = 1.0

    def value(self, nets: Nets, x: Tensor, time: Tensor) -> Tensor:
        return energies(energy_of(nets), x)

    def value_updates(self, nets: Nets, moves: Moves, s: Velocities) -> Iterator[Update]:
        middle = refiner_of(nets).steps / 2
        energy = energy_of(nets)
        left = middle - moves.time
        with torch.no_grad():
            price = torch.sigmoid(left) - torch.sigmoid(left - 1)
            target = energies(energy, moves.after) + self.drop * price
        missed = energies(energy, moves.now) - target
        yield Update("energy", missed.square().mean(), self.slope)


def refiner_of(nets: Nets) -> Refiner:
    """The sampler that an objective trains. Raises BadQuery where there is none."""
    refiner = nets.get("refiner")
    if not isinstance(refiner, Refiner):
        said = f"there is none among {sorted(nets)}" if refiner is None else f"is {type(refiner)}"
        raise BadQuery(Mistake("nets.refiner", said, "give a Refiner"))
    return refiner


def real_of(energy: Energy) -> tuple[str, tuple[int, ...]]:
    """The name and shape of the one variable of an energy. Raises BadQuery for any other."""
    found = energy.variables()
    if len(found) != 1 or not isinstance(found[0].domain, Real):
        remedy = "give an energy of one variable of real numbers"
        raise BadQuery(Mistake("nets.energy", f"is of {[v.name for v in found]}", remedy))
    return found[0].name, found[0].domain.shape


def energies(energy: Energy, x: Tensor) -> Tensor:
    """Of states of its one variable. (N, *event) -> (N,)"""
    return energy({real_of(energy)[0]: x}).to(x.dtype)
