"""Branches of messages: bounds hold at every step, and close what is small."""

import pytest

from engine.search import branched
from engine.search.branched import Branched
from engine.search.messages import NEVER, coupled_of
from tests.engine.minimizers.test_exchange import model


def begun(problem):
    scale = problem.explicits[0].scale
    return scale, Branched.begun(coupled_of(problem.concrete(0), scale, problem.allowed[0]))


def lies(seed, told=False, steps=400):
    """Whether a bound lies above the least energy; and whether all was closed."""
    problem, least = model(seed)
    scale, now = begun(problem)
    top = NEVER if least is None else scale.from_on(least)
    upper = top if told else NEVER
    wrong = False
    for _ in range(steps):
        if now.ended:
            break
        now, _ = now.advanced(2, upper, 6, 200)
        wrong = wrong or now.bound > top
    return wrong, now.bound == top


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("seed", range(25))
def test_bounds_hold_at_every_step(seed, told):
    wrong, closed = lies(seed, told)
    assert not wrong
    assert closed or not told  # few sites: beside the best energy nothing stays open


def test_small_models_are_mostly_closed_without_a_state():
    assert sum(lies(seed)[1] for seed in range(12)) >= 6


def test_a_branch_that_is_dropped_is_noticed(monkeypatch):
    whole = branched.split
    monkeypatch.setattr(branched, "split", lambda one, upper: (whole(one, upper) or ())[1:])
    assert any(lies(seed)[0] for seed in range(25))


def test_splits_are_as_many_as_is_said():
    problem, least = model(3)
    scale, now = begun(problem)
    while not now.ended:
        now, _ = now.advanced(1, scale.from_on(least + 5), 4, 1)
    assert now.splits <= 1 and now.bound <= scale.from_on(least)
