"""Small random queries through every door against all completions; planted faults are noticed.

What is drawn, what it means, what is checked: `benchmarks/fuzz.py`, which sends as many as asked.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from engine import Problem
from tests.support.fuzz.doors import House, complaints
from tests.support.fuzz.draw import Case, generate
from tests.support.fuzz.run import Tally, fuzz
from tests.support.fuzz.seeds import DOORS, check
from tests.support.fuzz.worker import Worker

EACH = 300  # queries within which a planted fault is noticed


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.close()


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    yield made
    made.close()


@pytest.mark.parametrize("door", DOORS)
def test_nothing_is_wrong_at_any_door(door: str, worker: Worker) -> None:
    """The first half of the seeds; the second is in a file, and so a process, of its own."""
    check(door, range(DOORS[door] // 2), worker)


def test_queries_are_a_function_of_the_seed() -> None:
    assert [generate(seed) for seed in range(20)] == [generate(seed) for seed in range(20)]


def test_a_search_that_hangs_is_ended_and_told() -> None:
    worker = Worker()
    case = generate(0, "explicit")
    assert worker.complaints(case, "engine") == []
    worker.patience = 0.0
    assert [c.kind for c in worker.complaints(case, "engine")] == ["hang"]
    worker.patience = 40.0
    assert worker.complaints(case, "engine") == []
    worker.close()


def noticed(house: House, door: str, family: str | None = None) -> Tally:
    """The first wrong answer among the cases of a family."""

    def ask(case: Case, door: str) -> list:
        return complaints(generate(case.seed, family), door, house)

    return fuzz(door, range(EACH), ask, enough=1)


def costs_in_float32(monkeypatch) -> None:
    """What a table costs is rounded to float32, in its structure as in its energy."""
    from modules.discrete.table import Table

    real = Table._prepare

    def rounded(term, forbidden):
        term.costs = term.costs.astype(np.float32).astype(np.float64)
        real(term, forbidden)

    monkeypatch.setattr(Table, "_prepare", rounded)


def a_relative_gap(monkeypatch) -> None:
    """Explicit costs that differ by a millionth of their size count as level."""

    def gap(problem: Problem) -> float:
        return 1e-6 * max([1.0, *problem.explicit.reach.values()])

    monkeypatch.setattr("engine.judgement.room", lambda problem, energy: gap(problem))
    monkeypatch.setattr(
        "engine.compare.slack", lambda problem, x: torch.full((problem.rows,), gap(problem))
    )
    # who opens decides small problems by bounds of its own
    for who in ("_opens", "_pairs"):
        monkeypatch.setattr(
            f"engine.minimizers.portfolio.Portfolio.{who}", lambda self, problem: False
        )


def _judged_by(monkeypatch, judge: Callable) -> None:
    from engine.minimizers import branch_and_bound, enumeration

    for module in (branch_and_bound, enumeration):
        monkeypatch.setattr(module, "verdicts", judge)


def rounding_refutes(monkeypatch) -> None:
    """A violation above 1e-9 is a rule that fails, whatever `holds` says."""
    import torch

    def judge(rules, plain):
        out = []
        for values in plain:
            state = {
                v.variable.name: v.variable.domain.encode(values[v.variable.name])[None]
                for part in rules
                for v in part.term.scope
            }
            with torch.no_grad():
                out.append(all(float(part.term(state)) <= 1e-9 for part in rules))
        return out

    _judged_by(monkeypatch, judge)


def undecided_refutes(monkeypatch) -> None:
    """A rule that cannot say is taken for one that fails."""
    from engine.compare import verdicts

    _judged_by(monkeypatch, lambda rules, plain: [bool(v) for v in verdicts(rules, plain)])


def alternatives_of_the_first_row(monkeypatch) -> None:
    """Alternatives of every row carry the given reals of the first."""
    from engine.solve.standing import _Filled, _FilledOthers

    def taken(others, row):
        return tuple(_Filled(others.problem, x, 0) for x in others.others[row])

    monkeypatch.setattr(_FilledOthers, "__getitem__", taken)


def a_weighted_table_stays_hard(monkeypatch) -> None:
    """A rule whose structure is a table that forbids, forbids at a price as well."""
    from engine.factors import Factors

    monkeypatch.setattr(Factors, "priced", Factors.weighed)


def given_reals_are_rounded(monkeypatch) -> None:
    """Given numbers come back as the nearest float32."""
    from engine.domain import Real

    monkeypatch.setattr(Real, "decode", lambda domain, x: x.float().double().tolist())


def a_session_forgets_nothing(monkeypatch) -> None:
    """A session keeps what it proved when evidence widens."""
    from engine.domain import Finite

    monkeypatch.setattr(Finite, "inside", lambda domain, other: True)


def one_and_true_are_alike(monkeypatch) -> None:
    """Alternatives compare values as Python does."""
    from engine.domain import flatten
    from engine.explain import alternatives, runner_up

    def differing(variables, new, old):
        return [
            (v, k, a, b)
            for v in variables
            for k, (a, b) in enumerate(
                zip(flatten(new[v.name], v.domain.shape), flatten(old[v.name], v.domain.shape))
            )
            if a != b
        ]

    for module in (alternatives, runner_up):
        monkeypatch.setattr(module, "differing", differing)


@pytest.mark.parametrize(
    ("plant", "door", "family"),
    [
        (costs_in_float32, "engine", "explicit"),
        (a_relative_gap, "engine", "explicit"),
        (rounding_refutes, "engine", "opaque"),
        (undecided_refutes, "engine", "opaque"),
        (alternatives_of_the_first_row, "reasoner", "pinned"),
        (a_weighted_table_stays_hard, "engine", "opaque"),
        (given_reals_are_rounded, "engine", "mixed"),
        (a_session_forgets_nothing, "session", "explicit"),
        (one_and_true_are_alike, "reasoner", "explicit"),
    ],
)
def test_planted_faults_are_noticed(plant, door, family, house, monkeypatch) -> None:
    plant(monkeypatch)
    tally = noticed(house, door, family)
    assert tally.wrong, f"{plant.__name__} went unnoticed in {tally.queries} queries"
    monkeypatch.undo()
    case, _ = tally.wrong[0]
    assert complaints(generate(case.seed, family), door, House()) == []  # right without it
