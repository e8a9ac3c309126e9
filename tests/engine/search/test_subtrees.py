"""Subtrees that tell each other what they learn find what one tree would, and never more."""

import random

import numpy as np
import pytest

from engine.kernels import clauses as learning
from engine.search import subtrees
from engine.search.subtrees import Learner, Learners, drop_refuted, exchange_clauses, search_slices
from tests.support.formulas import drawn, models, pigeons


def planted(seed: int, variables: int = 14) -> learning.Formula:
    """3-SAT near the ratio where it is hardest: enough conflicts to learn from."""
    rng = random.Random(f"planted {seed}")
    rows = [
        [2 * v + rng.randrange(2) for v in rng.sample(range(variables), 3)]
        for _ in range(int(4.3 * variables))
    ]
    return learning.formula(variables, rows)


def start(formula: learning.Formula) -> Learners:
    return (Learner(formula, learning.load(formula), learning.NEVER, 0, None),)


def every_model(
    formula: learning.Formula, budget: int, threads: int = 1
) -> tuple[list[bytes], int]:
    """All models, each shut out when found; and the conflicts of all subtrees."""
    learners, found, conflicts = start(formula), [], 0
    while learners:
        before = sum(one.conflicts() for one in learners)
        statuses, learners = search_slices(learners, [budget] * len(learners), threads)
        conflicts += sum(one.conflicts() for one in learners) - before
        for k, status in enumerate(statuses):
            if status == learning.SATISFIED:
                model = learners[k].model()
                found.append(model.tobytes())
                block = np.array([2 * v + int(b) for v, b in enumerate(model)], np.int32)
                learners = tuple(one.without(block) for one in learners)
        learners = drop_refuted(learners, statuses)
        learners = exchange_clauses(learners) if learners else learners
    return found, conflicts


@pytest.fixture
def split_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subtrees, "SPLIT", 0)


@pytest.mark.usefixtures("split_at_once")
@pytest.mark.parametrize("budget", [1, 5])
def test_every_model_is_found_once(budget: int) -> None:
    for seed in range(60):
        for formula in (drawn(seed), drawn(seed, True), planted(seed)):
            found, _ = every_model(formula, budget)
            assert len(found) == len(set(found)), seed
            assert set(found) == models(formula), seed


@pytest.mark.usefixtures("split_at_once")
def test_least_cost_under_an_ever_lower_limit() -> None:
    for seed in range(100):
        formula = drawn(seed)
        best = learning.NEVER
        learners = start(formula)
        while learners:
            statuses, learners = search_slices(learners, [3] * len(learners), 1)
            for one, status in zip(learners, statuses, strict=True):
                if status == learning.SATISFIED:
                    best = min(best, learning.objective(formula, one.model()))
            learners = tuple(one._replace(upper=best) for one in drop_refuted(learners, statuses))
            if any(best <= learning.lower_bound(one.state) + 1e-9 for one in learners):
                break  # nothing is left to pay
            learners = exchange_clauses(learners) if learners else learners
        every = [learning.objective(formula, m) for m in learning.reference_models(formula)]
        assert best == min(every, default=learning.NEVER), seed


def test_what_is_told_follows_from_the_formula() -> None:
    told_clauses = 0
    for seed in range(40):
        formula = planted(seed)
        state = learning.sharing(learning.load(formula), 5)
        status, state = learning.search(state)
        clauses = learning.shared(state)
        every = learning.reference_models(formula)
        for k in range(len(clauses.levels)):
            row = clauses.lit[clauses.ptr[k] : clauses.ptr[k + 1]]
            assert (every[:, row >> 1] != (row & 1)).any(1).all(), seed
        told_clauses += len(clauses.levels)
        assert len(learning.shared(state).levels) == 0  # once only
    assert told_clauses > 50


@pytest.mark.usefixtures("split_at_once")
def test_threads_change_nothing() -> None:
    assert every_model(pigeons(7), 100, threads=1) == every_model(pigeons(7), 100, threads=2)


def test_a_tree_is_split_only_where_it_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subtrees, "SPLIT", 1_000)
    learners, widths = start(pigeons(8)), set()
    while learners:
        long = max(one.conflicts() for one in learners) >= subtrees.SPLIT
        assert long or len(learners) == 1
        widths.add(len(learners))
        statuses, learners = search_slices(learners, [500] * len(learners), 2)
        left = drop_refuted(learners, statuses)
        learners = exchange_clauses(left) if left else ()
    assert widths == {1, 2}
