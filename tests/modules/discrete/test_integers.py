"""Whole numbers as values: the job shop, guards both ways, mistakes, conflicts by parts."""

from itertools import product

import pytest

from engine import Finite, Problem, Variable, answers, required
from engine.errors import BadQuery
from engine.explain.conflict import conflict
from examples.job_shop import JOBS, job_shop
from modules.catalogue import Catalogue
from modules.discrete.cumulative import Cumulative
from modules.discrete.element import Element
from modules.discrete.linear import Linear
from modules.discrete.no_overlap import NoOverlap
from modules.discrete.table import Table

CATALOGUE = Catalogue(entry_points=False)


def test_six_jobs_on_six_machines_end_at_55():
    (answer,) = answers(job_shop())
    assert (answer.status, answer.energy, answer.bound) == ("OPTIMAL", 55.0, 55.0)
    busy = {
        (machine, starts[k] + t)
        for job, starts in zip(JOBS, answer.values["start"], strict=True)
        for k, (machine, duration) in enumerate(job)
        for t in range(duration)
    }
    assert len(busy) == sum(d for job in JOBS for _, d in job)  # no machine does two things


@pytest.mark.parametrize("compare", ["<=", ">=", "=="])
@pytest.mark.parametrize("kind", ["values", "terms"])
def test_a_guard_both_ways_says_whether_the_rule_holds(compare, kind):
    x, g = Variable("x", Finite((0, 1, 2), (2,))), Variable("g", Finite((0, 1)))
    said = {
        "values": {"values": [[0, 1], [1, 2]]},
        "terms": {"terms": [(s, v, (s + 1) * v) for s in (0, 1) for v in (1, 2)]},
    }[kind]
    rule = Linear(x, g, **said, compare=compare, constant=3, guard=[[2, 1]], both_ways=True)
    for a, b in product(range(3), repeat=2):
        (answer,) = answers(Problem(required(rule)).given(x=[a, b]))
        true = {"<=": a + 2 * b <= 3, ">=": a + 2 * b >= 3, "==": a + 2 * b == 3}[compare]
        assert answer.status == "OPTIMAL" and answer.values["g"] == int(true)


def test_sums_of_wide_numbers_are_least_and_proved():
    x = Variable("x", Finite(tuple(range(61)), (3,)))
    energy = required(Linear(x, values=[[0, 7], [1, 5], [2, 3]], compare="<=", constant=211))
    for site, worth in enumerate((11, 8, 5)):
        energy = energy + 1.0 * Table(x, sites=[site], costs=[-worth * v for v in range(61)])
    best = max(
        11 * a + 8 * b + 5 * c
        for a, b, c in product(range(31), range(43), range(61))
        if 7 * a + 5 * b + 3 * c <= 211
    )
    (answer,) = answers(Problem(energy))
    assert (answer.status, answer.energy) == ("OPTIMAL", -best)


def test_a_conflict_names_the_rules_that_clash_and_no_others():
    x = Variable("x", Finite((0, 1, 2, 3, 4), (3,)))
    energy = required(Linear(x, values=[[0, 1], [1, -1]], compare="<=", constant=-3))
    energy = energy + required(Linear(x, values=[[1, 1], [2, -1]], compare="<=", constant=-1))
    energy = energy + required(Linear(x, values=[[0, 1], [2, 1]], compare="<=", constant=6))
    energy = energy + required(Linear(x, values=[[0, 1], [1, 1], [2, 1]], compare=">=", constant=9))
    found = conflict(Problem(energy))
    assert found is not None
    assert [part.term for part in found.rules] == ["Linear[0]", "Linear[1]", "Linear[3]"]
    (answer,) = answers(Problem(energy))
    assert answer.status == "INFEASIBLE"


def test_explanations_name_tasks_times_and_entries():
    start = Variable("start", Finite((0, 1, 2), (3,)))
    apart = NoOverlap(start, sites=[0, 2], durations=[2, 1])
    assert apart.explain([0, 0, 1]) == ["pair 0: [0] from 0 to 2 overlaps [2] from 1 to 2"]
    load = Cumulative(start, sites=[0, 1], durations=[2, 2], demands=[1, 2], capacity=2)
    assert load.explain([0, 1, 0]) == ["at 1: 3 demanded of 2, by [0] from 0 to 2, [1] from 1 to 3"]
    entry = Element(start, index=0, result=1, array=[2, 1, 2])
    assert entry.explain([0, 1, 2]) == ["[1] is 1, but entry 0 at [2] is 2"]


@pytest.mark.parametrize(
    ("kind", "params", "path"),
    [
        ("linear", {"values": [[0]], "compare": "<=", "constant": 1}, "values[0]"),
        ("linear", {"values": [[3, 1]], "compare": "<=", "constant": 1}, "values[0][0]"),
        ("linear", {"values": [], "compare": "<=", "constant": 1}, "terms"),
        (
            "linear",
            {"values": [[0, 1]], "compare": "<=", "constant": 1, "both_ways": True},
            "guard",
        ),
        ("no_overlap", {"sites": [0, 0], "durations": [1, 1]}, "sites[0]"),
        ("no_overlap", {"sites": [0, 1], "durations": [1]}, "durations"),
        ("element", {"index": 0, "result": 1}, "array"),
        ("element", {"index": 0, "result": 7, "array": [0]}, "result"),
        ("circuit", {"sites": [9]}, "sites[0][0]"),
        ("all_different", {"lines": [[0, 1]], "guard": [[0, 8]]}, "guard[0][1]"),
    ],
)
def test_mistakes_say_where_they_stand(kind, params, path):
    x = Variable("x", Finite((1, 2, 3), (3,)))
    with pytest.raises(BadQuery) as caught:
        CATALOGUE.kind(f"discrete.{kind}").build([x], params)
    (mistake,) = caught.value.mistakes
    assert mistake.path.endswith(path) and mistake.remedy


def test_texts_are_no_numbers():
    x = Variable("x", Finite(("a", 1), (2,)))
    for kind, params in (
        ("linear", {"values": [[0, 1]], "compare": "<=", "constant": 1}),
        ("no_overlap", {"sites": [0, 1], "durations": [1, 1]}),
        ("circuit", {}),
    ):
        with pytest.raises(BadQuery, match="number"):
            CATALOGUE.kind(f"discrete.{kind}").build([x], params)
