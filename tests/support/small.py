"""Small random queries as plain data, and all their solutions by trying every assignment.

The semantics here are written out once more, from the docstrings of the kinds: an oracle.
"""

import itertools
import random
from typing import Any

Values = tuple[Any, ...]


def small_query(seed: int, *, soft: bool = True, given: float = 0.3) -> dict[str, Any]:
    """Five sites in two variables, a handful of rules, costs where `soft`, and some evidence."""
    rng = random.Random(seed)
    sites, values = 5, [0, 1, 2]
    line = rng.sample(range(sites), 3)
    clauses = [
        [[s, rng.choice(values), rng.random() < 0.5] for s in rng.sample(range(sites), 2)]
        for _ in range(rng.randint(0, 4))
    ]
    total = [[s, v, v] for s in range(sites) for v in values[1:]]
    scope = ["x", "y"]
    terms: list[dict[str, Any]] = [
        {"kind": "discrete.all_different", "scope": scope, "params": {"lines": [line]}},
        {"kind": "discrete.clause", "scope": scope, "params": {"clauses": clauses}},
        {"kind": "discrete.linear", "scope": scope,
         "params": {"terms": total, "compare": rng.choice(["<=", ">=", "=="]),
                    "constant": rng.randint(3, 7)}},
    ]  # fmt: skip
    for k in range(rng.randint(1, 3) if soft else 0):
        costs = [[rng.randint(-3, 6) for _ in values] for _ in values]
        if rng.random() < 0.5:
            costs[rng.randrange(3)][rng.randrange(3)] = None
        terms.append(
            {"kind": "discrete.table", "scope": scope, "required": False, "weight": 0.5,
             "name": f"wish {k}", "params": {"sites": rng.sample(range(sites), 2), "costs": costs}}
        )  # fmt: skip
    places = [rng.choice(values) if rng.random() < given else None for _ in range(sites)]
    return {
        "variables": {"x": {"values": values, "shape": [2, 2]}, "y": {"values": values}},
        "terms": terms,
        "evidence": {"x": [places[:2], places[2:4]], "y": places[4]},
    }


def flat(values: dict[str, Any]) -> Values:
    """The five sites of an answer or of evidence."""
    return (*values["x"][0], *values["x"][1], values["y"])


def solutions(query: dict[str, Any]) -> dict[Values, float]:
    """Every assignment that keeps the rules and the evidence, and its energy."""
    found = {}
    for x in itertools.product(*([0, 1, 2] if v is None else [v] for v in flat(query["evidence"]))):
        shares = [_energy(term, x) for term in query["terms"]]
        if None not in shares:
            found[x] = sum(share for share in shares if share is not None)
    return found


def _energy(term: dict[str, Any], x: Values) -> float | None:
    """The weighted share of a term; None: it forbids these values."""
    params = term["params"]
    if term["kind"] == "discrete.table":
        a, b = params["sites"]
        cost = params["costs"][x[a]][x[b]]
        return None if cost is None else term["weight"] * cost
    if term["kind"] == "discrete.all_different":
        holds = all(len({x[s] for s in line}) == len(line) for line in params["lines"])
    elif term["kind"] == "discrete.clause":
        holds = all(any((x[s] == v) is sign for s, v, sign in c) for c in params["clauses"])
    else:
        total = sum(c for s, v, c in params["terms"] if x[s] == v)
        holds = {
            "<=": total <= params["constant"],
            ">=": total >= params["constant"],
            "==": total == params["constant"],
        }[params["compare"]]
    return 0.0 if holds else None
