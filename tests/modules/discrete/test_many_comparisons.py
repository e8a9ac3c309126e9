"""Many comparisons in one term say what each says in a term of its own."""

import random
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Finite, Problem, Variable, answers, required
from engine.energy import Energy, Sum
from engine.errors import BadQuery
from engine.explain.conflict import conflict
from modules.catalogue import Catalogue
from modules.discrete.linear import Linear

X, G = Variable("x", Finite((0, 1, 2), (3,))), Variable("g", Finite((0, 1)))
STATES = [(list(x), g) for *x, g in product(range(3), range(3), range(3), range(2))]


def drawn(rng: random.Random) -> dict[str, Any]:
    """The parameters of one comparison, of short, long and computed numbers."""
    numbers = rng.choice([[1, 2, -3], [0.1, 0.2, -0.25], [2**55 + 1, -(2**54), 3], [1 / 3, 1e-7]])
    guard = [[3, rng.randrange(2)]] if rng.random() < 0.3 else []
    return {
        "terms": [
            [rng.randrange(3), rng.randrange(3), rng.choice(numbers)]
            for _ in range(rng.randint(1, 4))
        ],
        "values": [[rng.randrange(3), rng.choice([1, -2, 0.5])]] if rng.random() < 0.4 else [],
        "compare": rng.choice(["<=", ">=", "=="]),
        "constant": rng.choice([0, 1, 2, rng.choice(numbers)]),
        "guard": guard,
        "both_ways": bool(guard) and rng.random() < 0.5,
    }


@settings(max_examples=60)
@given(st.integers(0, 10**9), st.sampled_from([None, 1.0, 0.1]))
def test_each_is_a_part_that_says_what_it_says_alone(seed: int, weight: float | None) -> None:
    rng = random.Random(seed)
    rules = [drawn(rng) for _ in range(rng.randint(0, 4))]
    many, alone = Linear(X, G, rules=rules), [Linear(X, G, **rule) for rule in rules]
    x = torch.tensor([x for x, _ in STATES]), torch.tensor([g for _, g in STATES])
    none = torch.zeros(len(STATES), 0, dtype=torch.float64)
    parts = torch.cat([none, *(own.cost(*x)[:, None] for own in alone)], 1)
    assert torch.equal(many.violation(*many.hot(x)), parts)
    assert torch.equal(many.cost(*x), parts.sum(1))
    for state in STATES:
        assert many.holds(*state) is all(own.holds(*state) for own in alone)
        said = [f"rule {k}: {w}" for k, own in enumerate(alone) for w in own.explain(*state)]
        assert many.explain(*state) == said
    assert [many.says(k) for k in range(len(rules))] == [
        f"rule {k}: {own.says(0)}" for k, own in enumerate(alone)
    ]
    wanted = Linear(
        X, terms=[[s, v, v] for s in range(3) for v in (1, 2)], compare=">=", constant=5
    )
    one: list[Energy] = [required(many) if weight is None else weight * many]
    each = [required(own) if weight is None else weight * own for own in alone]
    (first,), (second,) = (
        answers(Problem(Sum(*(s for own in (*e, 1.0 * wanted) for s in own.summands()))))
        for e in (one, each)
    )
    assert first.status == second.status
    if first.energy is not None:  # of computed numbers, and beyond 2^53, it is a sum of floats
        counted = [c for r in rules for c in (r["constant"], *(t[2] for t in r["terms"]))]
        floats = any(c in (1 / 3, 1e-7) or abs(c) >= 2**50 for c in counted)
        near = 1e-15 if floats else 0.0
        assert first.energy == pytest.approx(second.energy, rel=near, abs=0)
        costs = wanted.cost(x[0]) + (0.0 if weight is None else weight * many.cost(*x))
        allowed = torch.tensor([weight is not None or many.holds(*state) for state in STATES])
        assert first.energy == pytest.approx(float(costs[allowed].min()), rel=1e-12, abs=1e-12)


def test_a_conflict_names_them_by_part():
    rules = [
        {"values": [[0, 1], [1, -1]], "compare": "<=", "constant": -1},
        {"values": [[0, 1]], "compare": "<=", "constant": 1},
        {"values": [[1, 1], [2, -1]], "compare": "<=", "constant": -1},
        {"terms": [[2, 2, 1]], "compare": "<=", "constant": 0},
    ]
    found = conflict(Problem(required(Linear(X, rules=rules))))
    assert found is not None and [part.part for part in found.rules] == [0, 2, 3]


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({}, ["compare: is missing", "constant: is missing"]),
        ({"rules": [], "compare": "<="}, ["compare: stands beside `rules`"]),
        (
            {
                "rules": [{"terms": [[0, 1, 1]], "compare": "<=", "constant": 0}] * 2,
                "guard": [[0, 1]],
            },
            ["guard: stands beside `rules`"],
        ),
        (
            {
                "rules": [
                    {"terms": [[0, 1, 1]], "compare": "<=", "constant": 0},
                    {"terms": [[0, 1, 1], [9, 1, 1]], "compare": "<=", "constant": 0},
                    {"terms": [[0, 7, 1]], "compare": "<=", "constant": 0},
                ]
            },
            ["rules[1].terms[1][0]: site 9 is out of range", "rules[2].terms[0][1]: 7 is"],
        ),
        (
            {
                "rules": [
                    {"compare": "<=", "constant": 0},
                    {"values": [[8, 1]], "compare": "<=", "constant": 0},
                ]
            },
            ["rules[0].terms: is empty", "rules[1].values[0][0]: site 8"],
        ),
        (
            {"rules": [{"terms": [[0, 1, 1]], "compare": "<", "constant": 0}]},
            ["rules[0].compare"],
        ),
        ({"rules": [{"terms": [[0, 1, 1]], "constant": 0}]}, ["rules[0].compare: "]),
        (
            {"rules": [{"terms": [[0, 1, 1]], "compare": "<=", "constant": 0, "sign": 1}]},
            ["rules[0].sign"],
        ),
        ({"rules": [3]}, ["rules[0]"]),
        ({"rules": 3}, ["rules"]),
    ],
)
def test_mistakes_say_in_which_rule_they_stand(params, told):
    kind = Catalogue(entry_points=False).kind("discrete.linear")
    for build, before in (
        (lambda: kind.build([X], params), "params."),
        (lambda: Linear(X, **params), ""),
    ):
        with pytest.raises(BadQuery) as caught:
            build()
        found = [f"{m.path}: {m.problem}" for m in caught.value.mistakes]
        assert len(found) == len(told)
        for own, start in zip(found, told, strict=True):
            assert own.startswith(before + start) and all(m.remedy for m in caught.value.mistakes)
