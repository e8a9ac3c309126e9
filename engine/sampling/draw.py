"""Draws from the Boltzmann distribution of a problem, each judged on plain values as an answer is.

p(x) is proportional to exp(-E(x) / temperature) among the states that keep all required rules.
Where an exact way is short enough the draws are independent; otherwise they come from Markov
chains, and how well those mixed is told beside them.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.answer import Flag, Status
from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.judgement import score_plain
from engine.moves.start import Start
from engine.problem import Problem
from engine.random import Stream
from engine.sampling.chains import ChainReport, Chains, SlopeChains, SweepChains
from engine.sampling.exact import draw_exactly
from engine.sampling.mixing import mixing
from engine.sampling.samples import Mixing, Sample, Samples
from engine.solve import Budget, budget_of

RECORDS = 24  # of each chain, at least


LONGER = 4  # times as many, where the rules often fail


ROUNDS = 6  # of records, each with twice the moves between two of them


Ahead = Callable[[Problem, Sequence[Mapping[str, Any]]], None]  # told of values to be judged


def at_once(problem: Problem, plain: Sequence[Mapping[str, Any]]) -> None:
    """Nothing is to be prepared: every term judges in this process."""
    del problem, plain


def samples(
    problem: Problem,
    count: int,
    temperature: float = 1.0,
    *,
    particles: int = 64,
    budget: Budget | None = None,
    seed: int = 0,
    ahead: Ahead = at_once,
) -> list[Samples]:
    """`count` draws for each row. Without a time limit a function of (problem, count, seed).

    temperature: in units of the energy. particles: chains side by side, where there are chains.
    ahead: told of the draws of a row before its terms are asked about them one by one.
    """
    if count < 1:
        raise BadQuery(Mistake("count", f"{count!r}", "give at least 1"))
    if not 0 < temperature < float("inf"):
        raise BadQuery(Mistake("temperature", f"{temperature!r}", "give a number above 0"))
    if particles < 1:
        raise BadQuery(Mistake("particles", f"{particles!r}", "give at least 1"))
    return [
        _row(
            problem.select([row]),
            count,
            1 / temperature,
            particles,
            budget_of(budget),
            seed,
            ahead,
        )
        for row in range(problem.rows)
    ]


def _row(
    problem: Problem,
    count: int,
    beta: float,
    particles: int,
    budget: Budget,
    seed: int,
    ahead: Ahead,
) -> Samples:
    began = time.perf_counter()
    clock = _Clock(budget)
    rng = Stream(seed, problem.keys)
    exact = draw_exactly(problem, beta, count, rng, clock)
    if exact is None:
        made = _approximate(problem, count, beta, particles, clock, rng, ahead)
    elif exact.places is None:
        made = Samples((), Status.INFEASIBLE, True, exact.method)
    else:
        plain = problem.plain(problem.state(exact.places))
        ahead(problem, plain)
        made = _judged(problem, plain, True, exact.method)
        made = replace(made, log_partition=exact.log_partition)
    return replace(made, seconds=time.perf_counter() - began)


class _Clock:
    """Whether the time of a row is over, or its caller wants an end."""

    def __init__(self, budget: Budget):
        self.budget, self.began = budget, time.perf_counter()

    def late(self) -> bool:
        seconds = self.budget.seconds
        return seconds is not None and time.perf_counter() - self.began >= seconds

    def __call__(self) -> bool:
        return self.budget.stop() or self.late()

    def flags(self) -> tuple[Flag, ...]:
        return (Flag.DEADLINE,) if self.late() else (Flag.CANCELLED,)


@dataclass(frozen=True, eq=False)
class _Records:
    """What the chains showed: K records of P chains."""

    state: dict[str, Tensor]  # (K, P, *shape)
    violation: Tensor  # (K, P)

    @property
    def valid(self) -> Tensor:
        return self.violation == 0


def _approximate(
    problem: Problem,
    count: int,
    beta: float,
    particles: int,
    clock: _Clock,
    rng: Stream,
    ahead: Ahead,
) -> Samples:
    """Rounds of records, each after twice as many moves, until the chains mixed."""
    chains = _chains(problem, beta)
    s = chains.warm(problem, _start(problem, particles, rng), rng, clock)
    each = max(RECORDS, -(-count // particles))
    kept: _Records | None = None
    told: tuple[Mixing, ...] = ()
    cut = False
    for k in range(ROUNDS):
        pause = chains.pause * 2**k
        found: list[ChainReport] = []
        good = 0
        while len(found) < each or (good < count and len(found) < LONGER * each):
            limit = clock.budget.steps
            cut = clock() or (limit is not None and chains.moves(s) >= limit)
            if cut and (found or kept is not None):
                break
            if not cut:  # out of time: what stands is the only record
                s = chains.moved(problem, s, rng, pause)
            found.append(chains.now(problem, s))
            good += int((found[-1].violation == 0).sum())
        if len(found) < each and kept is not None:
            break  # the last round was longer
        state = {n: torch.stack([now.state[n] for now in found]) for n in found[0].state}
        kept = _Records(state, torch.stack([now.violation for now in found]))
        told = mixing(kept.state, kept.valid)
        if cut or (good >= count and _mixed(told, count)):
            break
    assert kept is not None
    plain = problem.plain(_picked(kept, count))
    ahead(problem, plain)
    made = _judged(problem, plain, False, chains.name)
    flags = clock.flags() if cut and clock() else ()
    return replace(made, mixing=told, flags=flags, steps=chains.moves(s))


def _chains(problem: Problem, beta: float) -> Chains[Any]:
    finite = len(problem.finite) == len(problem.open)
    if finite:
        factors, rest = problem.factored()
        if rest is None and len(factors.sizes) == factors.visible:
            return SweepChains(beta)
    return SlopeChains(beta)


def _start(problem: Problem, particles: int, rng: Stream) -> State:
    drawn_states: Mapping[str, Tensor] = Start(problem, particles, rng.at(0), {})
    return {v.name: drawn_states[v.name] for v in problem.open}


def _mixed(told: tuple[Mixing, ...], count: int) -> bool:
    return all(m.mixed and m.effective >= count / 2 for m in told)


def _picked(kept: _Records, count: int) -> State:
    """Records spread evenly over time and chains; where too few keep the rules, the nearest to it
    fill up."""
    valid = kept.valid.flatten()  # (K * P,)
    good = valid.nonzero().flatten()
    if len(good) >= count:
        chosen = good[torch.from_numpy(np.linspace(0, len(good) - 1, count).round().astype(int))]
    else:
        bad = kept.violation.flatten().masked_fill(valid, torch.inf).argsort(stable=True)
        chosen = torch.cat([good, bad[: count - len(good)]])
        chosen = chosen[:count]
    return {name: t.flatten(0, 1)[chosen] for name, t in kept.state.items()}


def _judged(problem: Problem, plain: list[dict[str, Any]], exact: bool, method: str) -> Samples:
    answers = score_plain(problem, plain)
    made = tuple(Sample(a.values or {}, a.energy, a.holds) for a in answers)
    order = (Status.UNSATISFIED, Status.SCORED, Status.SATISFIED)
    worst = min((a.status for a in answers), key=order.index)
    return Samples(made, worst, exact, method)
