"""Markov chains whose draws, where the rules hold, come from a Boltzmann distribution in the end.

They run on exp(-beta (E + multiplier * violation)): to look only at states without violation leaves
exp(-beta E) among those, whatever the multiplier. Multipliers and step lengths adapt while a chain
warms up, and stand still afterwards, as detailed balance asks.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from engine.domain import State
from engine.minimizer import score, sound
from engine.moves.gradient import Evaluated, Frame, Move, evaluate, frame_of, where
from engine.moves.proposals import Single
from engine.problem import Problem
from engine.random import Stream
from engine.sweeps.layout import lay_out
from engine.sweeps.run import OpenValues, PreparedSweeps, open_values, probed, run_sweeps

S = TypeVar("S")

ROUNDS = 12  # of warming up, at falling temperatures
MORE = 24  # further ones at most, until the rules hold often enough
HOT = 0.1  # of beta, at the start
OFTEN = 0.5  # share of the chains in which all rules should hold
GROWTH = 1.5  # of the multipliers of rules that fail
SWEEP, TAKE, FREE = 402, 403, 410  # lanes of the stream; free variables count on from theirs


class ChainReport(NamedTuple):
    """Where the chains of a row stand."""

    state: State  # (P, *shape) decided
    energy: Tensor  # (P,) float64
    violation: Tensor  # (P,)


class Chains(ABC, Generic[S]):
    """Moves that leave the distribution of a one-row problem as it is."""

    name: ClassVar[str]
    beta: float
    pause: int  # moves between two records, at first

    @abstractmethod
    def warm(self, problem: Problem, x: State, rng: Stream, over: Callable[[], bool]) -> S:
        """Chains near the distribution, from starting states (P, *shape); adapted, then fixed.
        Cut short as soon as it is `over`."""

    @abstractmethod
    def moved(self, problem: Problem, s: S, rng: Stream, count: int) -> S:
        """The chains some moves later."""

    @abstractmethod
    def now(self, problem: Problem, s: S) -> ChainReport:
        """Where they stand."""

    @abstractmethod
    def moves(self, s: S) -> int:
        """How many moves were made."""


class SweepState(NamedTuple):
    """Chains over explicit structure."""

    plan: PreparedSweeps
    left: OpenValues
    places: np.ndarray  # (P, n) int16
    multiplier: np.ndarray  # (rules,)
    sweeps: int


@dataclass(frozen=True)
class SweepChains(Chains[SweepState]):
    """Metropolis sweeps; a move is one sweep over all sites. Explicit structure without hidden
    sites only."""

    name = "sweeps"

    beta: float
    pause: int = 4

    def warm(self, problem: Problem, x: State, rng: Stream, over: Callable[[], bool]) -> SweepState:
        places = problem.places(x).astype(np.int16)
        plan = PreparedSweeps(lay_out(problem.concrete()), len(places))
        every = open_values(problem, plan.layout)
        left = OpenValues(every.choices[0], every.options[0])
        multiplier = np.full(plan.layout.rules, 2 / self.beta + _unit(plan, left, places))
        s = SweepState(plan, left, places, multiplier, 0)
        for k in range(ROUNDS + MORE):
            if over():
                break
            beta = self.beta * HOT ** max(0.0, 1 - k / (ROUNDS - 1))
            s, blame = self._swept(s, rng, beta, 5 * self.pause)
            if not len(blame):
                if k >= ROUNDS:
                    break
                continue
            held = float((self.now(problem, s).violation == 0).double().mean())
            if k >= ROUNDS and held >= OFTEN:
                break
            if held < OFTEN:
                growth = np.where(blame > 0, GROWTH, 1.0)
                s = s._replace(multiplier=s.multiplier * growth)
        return s

    def moved(self, problem: Problem, s: SweepState, rng: Stream, count: int) -> SweepState:
        del problem
        return self._swept(s, rng, self.beta, count)[0]

    def now(self, problem: Problem, s: SweepState) -> ChainReport:
        state = problem.state(s.places)
        return ChainReport(state, *score(problem, state))

    def moves(self, s: SweepState) -> int:
        return s.sweeps

    def _swept(
        self, s: SweepState, rng: Stream, beta: float, count: int
    ) -> tuple[SweepState, np.ndarray]:
        """Some sweeps, and the violation of each rule in the last states."""
        places = s.places.copy()
        blame = np.zeros(s.plan.layout.rules)
        arrays = (places, places.copy(), np.full((len(places), 4), math.inf))
        key = rng.words[0].cpu().numpy().astype(np.uint64)
        lane = rng.at(0).fork(SWEEP).lane
        betas = np.full(count, beta)
        run_sweeps(s.plan, 0, s.left, s.multiplier, betas, key, lane, s.sweeps, arrays, blame)
        return s._replace(places=places, sweeps=s.sweeps + count), blame


def _unit(plan: PreparedSweeps, left: OpenValues, places: np.ndarray) -> float:
    """What a single move changes of the cost, on average over those that change it."""
    weight = np.ones(plan.layout.rules)
    field, some = plan.field(0), places[:16]
    changes = probed(plan.layout, 0, left.choices, left.options, field, weight, some)
    cost = np.abs(changes[..., 0])
    return float(cost[cost > 1e-12].mean()) if (cost > 1e-12).any() else 0.0


class SlopeState(NamedTuple):
    """Chains on an energy that can only be evaluated."""

    frame: Frame
    free: State  # (P, *shape) of variables that no term asks for: drawn anew at each step
    seen: Evaluated
    pace: Tensor  # (P,) Langevin step
    multiplier: float
    steps: int


@dataclass(frozen=True)
class SlopeChains(Chains[SlopeState]):
    """Gradient-informed moves of one finite site, or Langevin moves of all real ones, each kept or
    refused by Metropolis and Hastings; a move that leaves a box is refused."""

    name = "slopes"

    beta: float
    pause: int = 8

    def warm(self, problem: Problem, x: State, rng: Stream, over: Callable[[], bool]) -> SlopeState:
        s = self._begun(problem, x)
        sites = sum(domain.sites for domain in problem.domains.values())
        length = max(20, min(200, 2 * sites))
        for k in range(ROUNDS + MORE):
            beta = self.beta * HOT ** max(0.0, 1 - k / (ROUNDS - 1))
            for _ in range(length):
                if over():
                    return s
                s = self._step(problem, s, rng, beta, adapt=True)
            held = float((s.seen.violation == 0).double().mean())
            if k >= ROUNDS and held >= OFTEN:
                break
            if held < OFTEN:
                s = s._replace(multiplier=s.multiplier * GROWTH)
        return s

    def moved(self, problem: Problem, s: SlopeState, rng: Stream, count: int) -> SlopeState:
        for _ in range(count):
            s = self._step(problem, s, rng, self.beta, adapt=False)
        return s

    def now(self, problem: Problem, s: SlopeState) -> ChainReport:
        del problem
        state = dict(s.free) | s.frame.decided(s.seen.hot, s.seen.real)
        fine = s.seen.energy.isfinite()  # elsewhere p is 0
        return ChainReport(
            state, s.seen.energy, torch.where(fine, sound(s.seen.violation), math.inf)
        )

    def moves(self, s: SlopeState) -> int:
        return s.steps

    def _begun(self, problem: Problem, x: State) -> SlopeState:
        frame = frame_of(problem)
        particles = len(next(iter(x.values()))) if x else 1
        names = {n for n, _ in (*frame.finite, *frame.real)}
        free = {n: t for n, t in x.items() if n not in names}
        seen = evaluate(problem, frame, *frame.sides(x, particles))
        pace = torch.full_like(seen.energy, 0.01 * self.beta)
        return SlopeState(frame, free, seen, pace, 2 / self.beta, 0)

    def _step(
        self, problem: Problem, s: SlopeState, rng: Stream, beta: float, adapt: bool
    ) -> SlopeState:
        """One move of every chain; `adapt` sets the step length by what is taken."""
        rng = rng.at(s.steps)
        full = torch.ones_like(s.pace)
        move = Move(
            problem, s.frame, Single(), s.multiplier * full, beta * full, s.pace, walls=True
        )
        seen, _, ratio, flips = move.propose(s.seen, move.tilt(s.seen), rng)
        u = rng.fork(TAKE).uniform(len(full), dtype=torch.float64)
        taken = u.log() <= ratio
        pace = s.pace
        if adapt:  # to about 6 in 10 that are taken
            pace = torch.where(flips, pace, pace * torch.where(taken, 1.15, 0.8))
        seen = Evaluated(*(where(taken, a, b) for a, b in zip(seen, s.seen, strict=True)))
        free = {
            n: problem.domain(n).sample(len(full), rng.fork(FREE + k)) for k, n in enumerate(s.free)
        }
        return s._replace(free=free, seen=seen, pace=pace, steps=s.steps + 1)
