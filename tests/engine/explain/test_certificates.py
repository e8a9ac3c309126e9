"""What is claimed of an answer, against enumeration: least, unique, the next best, far apart."""

import random
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.answer import Status
from engine.errors import BadQuery
from engine.minimizer import Minimizer
from modules.catalogue import Catalogue
from services.query import Options, query_of
from services.reasoner import minimizers
from services.reasoner.minimizers import minimizer_named
from services.reasoner.reason import Reasoner
from tests.support.small import flat, small_query, solutions

REASONER = Reasoner(Catalogue(entry_points=False))
MINIMIZERS = [None, "branch_and_bound", "cp_sat", "cadical"]


def ask(query, **options):
    return REASONER.reason(query_of(query), Options(**options))[0]


@pytest.mark.parametrize("minimizer", MINIMIZERS)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_least_and_unique(minimizer: str | None, seed: int) -> None:
    soft = minimizer != "cadical"
    if not soft:
        pytest.importorskip("pysat")
    query = small_query(seed, soft=soft)
    every = solutions(query)
    answer = ask(query, prove=True, minimizer=minimizer)
    if not every:
        assert answer.status is Status.INFEASIBLE and answer.values is None
        return
    assert answer.status is Status.OPTIMAL and answer.values is not None
    least = min(every.values())
    assert every[flat(answer.values)] == pytest.approx(least) == pytest.approx(answer.energy)
    assert answer.bound == pytest.approx(least)
    assert answer.unique == (sum(e <= least + 1e-6 for e in every.values()) == 1)


@pytest.mark.parametrize("minimizer", [None, "cp_sat"])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 4), soft=st.booleans())
def test_alternatives_are_the_next_best(minimizer, seed: int, count: int, soft: bool) -> None:
    query = small_query(seed, soft=soft)
    every = solutions(query)
    answer = ask(query, alternatives=count, minimizer=minimizer)
    if answer.values is None:
        return
    others = [flat(other.values) for other in answer.alternatives]
    assert len({*others, flat(answer.values)}) == 1 + min(count, len(every) - 1)
    energies = sorted(every.values())[: 1 + count]
    assert [answer.energy, *(o.energy for o in answer.alternatives)] == pytest.approx(energies)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), distance=st.integers(2, 5), soft=st.booleans())
def test_alternatives_keep_their_distance(seed: int, distance: int, soft: bool) -> None:
    query = small_query(seed, soft=soft, given=0.1)
    every = solutions(query)
    answer = ask(query, alternatives=3, distance=distance)
    if answer.values is None:
        return
    kept = [flat(answer.values)]
    for other in answer.alternatives:
        far = [e for v, e in every.items() if all(_apart(v, k) >= distance for k in kept)]
        assert all(_apart(flat(other.values), k) >= distance for k in kept)
        assert other.energy == pytest.approx(min(far))
        kept.append(flat(other.values))
    if len(kept) < 4:
        assert not [v for v in every if all(_apart(v, k) >= distance for k in kept)]


def _apart(a, b) -> int:
    return sum(x != y for x, y in zip(a, b, strict=True))


def test_finishers_decide_what_asks_for_sums_and_long_groups() -> None:
    """Magic squares and queens: sums as decision diagrams, groups as chains."""
    lines = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6], [1, 4, 7], [2, 5, 8], [0, 4, 8], [2, 4, 6]]
    sums = [
        {"kind": "discrete.linear", "scope": ["x"],
         "params": {"terms": [[s, v, v] for s in line for v in range(1, 10)], "compare": "==",
                    "constant": 15}}
        for line in lines
    ]  # fmt: skip
    differ = {"kind": "discrete.all_different", "scope": ["x"], "params": {"lines": [[*range(9)]]}}
    query = {
        "variables": {"x": {"values": [*range(1, 10)], "shape": [9]}},
        "terms": [differ, *sums],
        "evidence": {"x": [2, *[None] * 8]},
    }
    wrong = {**query, "evidence": {"x": [5, *[None] * 8]}}
    for minimizer in ("cadical", "cp_sat"):
        answer = ask(query, minimizer=minimizer, alternatives=4, prove=True)
        assert answer.status is Status.OPTIMAL and answer.unique is False
        assert len(answer.alternatives) == 1  # two squares have 2 in this corner
        assert ask(wrong, minimizer=minimizer).status is Status.INFEASIBLE


def test_a_bound_of_rounded_costs_is_a_bound() -> None:
    """Costs of more digits than CP-SAT resolves are rounded for it: the bound is never above the
    truth, and nothing is called least that is so only after rounding."""
    rng = random.Random(5)
    for _ in range(10):
        costs = [[rng.random() * 10**9 / 3 for _ in range(3)] for _ in range(3)]
        query = {
            "variables": {"x": {"values": [0, 1, 2], "shape": [2]}},
            "terms": [
                {"kind": "discrete.table", "scope": ["x"], "required": False, "weight": 0.7,
                 "params": {"sites": [0, 1], "costs": costs}}
            ],
        }  # fmt: skip
        answer = ask(query, minimizer="cp_sat")
        least = Fraction("0.7") * min(Fraction(repr(c)) for row in costs for c in row)
        assert Fraction(answer.bound) <= least <= Fraction(answer.bound) * Fraction(1 + 1e-12)
        assert answer.energy == pytest.approx(float(least), rel=1e-15)
        rounding = 2.0**-49 * max(max(map(abs, row)) for row in costs)
        assert answer.status is Status.SATISFIED or answer.energy - answer.bound <= rounding


def test_a_finisher_that_is_not_installed_is_named(monkeypatch) -> None:
    import importlib

    def missing(name: str):
        raise ModuleNotFoundError("No module named 'ortools'", name="ortools")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(Exception, match=r"needs ortools.*basin\[exact\]"):
        minimizer_named("cp_sat")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cp_sta", "did you mean cp_sat"),
        ("restarts", "wraps another"),
        ("langevin", "did you mean lagrangian"),
        ("subtrees", "did you mean subtours"),
        ("simplex", "is none; known: "),
        ("", "is none"),
        ("os.path", "is none"),
        ("__init__", "is none"),
    ],
)
def test_minimizers_that_cannot_be_asked_for(name: str, said: str) -> None:
    with pytest.raises(BadQuery, match=said):
        minimizer_named(name)


def test_every_file_of_a_minimizer_is_one_or_told_as_none() -> None:
    """What is listed can be made, and nothing else can."""
    listed = minimizers.names()
    assert {"annealing", "branch_and_bound", "cadical", "cp_sat", "portfolio"} <= set(listed)
    for path in Path(minimizers.engine.minimizers.__file__).parent.glob("*.py"):
        if path.stem in listed:
            assert isinstance(minimizer_named(path.stem), Minimizer)
        else:
            with pytest.raises(BadQuery, match="known: annealing"):
                minimizer_named(path.stem)


def test_a_finisher_that_is_not_installed_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "engine.minimizers.cp_sat", None)  # its import fails
    assert "cp_sat" in minimizers.names()


def test_cadical_refuses_costs() -> None:
    with pytest.raises(Exception, match="cp_sat can"):
        ask(small_query(0), minimizer="cadical")


def test_nothing_is_called_unique_where_real_variables_may_move() -> None:
    query = {"variables": {"a": {"low": -1, "high": 1}, "x": {"values": [1]}}, "terms": []}
    assert ask(query, prove=True).unique is None
