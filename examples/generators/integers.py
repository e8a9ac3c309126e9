"""Whole numbers: integer programs, queens by values, the shortest ruler, job shops, pigeonholes."""

import random
from collections.abc import Sequence
from itertools import combinations
from typing import Any

Query = dict[str, Any]


def integer_program(n: int, rows: int, top: int, seed: int) -> Query:
    """n numbers from 0 to `top` in sums that leave about an eighth of their room; each has a price,
    and the dearest choice is wanted."""
    rng = random.Random(f"integer program {n} {rows} {top} {seed}")
    weights = [[rng.randint(1, 20) for _ in range(n)] for _ in range(rows)]
    terms = [
        _sum(list(enumerate(own)), "<=", sum(own) * top // 8 + rng.randint(0, 50))
        for own in weights
    ]
    for k in range(n):
        price = rng.randint(5, 30)
        costs = [-price * v for v in range(top + 1)]
        terms.append(_cost("x", k, costs, f"price {k}"))
    return {"variables": {"x": _numbers(0, top, n)}, "terms": terms}


def queens_by_values(n: int) -> Query:
    """n queens: columns, their sums with the row and their differences from it, all different."""
    variables = {
        "queens": _numbers(0, n - 1, n),
        "rising": _numbers(0, 2 * n - 2, n),
        "falling": _numbers(1 - n, n - 1, n),
    }
    terms = [
        {"kind": "discrete.all_different", "scope": [x], "params": {"lines": [list(range(n))]}}
        for x in variables
    ]
    for name, sign in (("rising", 1), ("falling", -1)):
        terms += [_sum([(i, 1), (n + i, -1)], "==", -sign * i, ["queens", name]) for i in range(n)]
    return {"variables": variables, "terms": terms}


def shortest_ruler(marks: int, top: int) -> Query:
    """Marks on a ruler from 0 to at most `top`, all distances between two of them different; the
    last mark as near as can be (Golomb)."""
    pairs = [(i, j) for i in range(marks) for j in range(i + 1, marks)]
    variables = {"mark": _numbers(0, top, marks), "apart": _numbers(1, top, len(pairs))}
    lines = [list(range(len(pairs)))]
    terms: list[Query] = [
        {"kind": "discrete.all_different", "scope": ["apart"], "params": {"lines": lines}},
        _sum([(0, 1)], "==", 0, ["mark"]),
        _cost("mark", marks - 1, list(range(top + 1)), "length"),
    ]
    terms += [_sum([(i, 1), (i + 1, -1)], "<=", -1, ["mark"]) for i in range(marks - 1)]
    terms += [
        _sum([(j, 1), (i, -1), (marks + k, -1)], "==", 0, ["mark", "apart"])
        for k, (i, j) in enumerate(pairs)
    ]
    return {"variables": variables, "terms": terms}


def shop(jobs: Sequence[Sequence[tuple[int, int]]], horizon: int) -> Query:
    """Jobs whose tasks, each (machine, duration), follow each other; a machine runs one at a time;
    the end of all as early as can be."""
    tasks = [task for job in jobs for task in job]
    terms: list[Query] = [_cost("end", 0, list(range(horizon + 1)), "end")]
    first = 0
    for job in jobs:
        for k, (_, duration) in enumerate(job):
            site = first + k
            after = site + 1 if k + 1 < len(job) else len(tasks)
            terms.append(_sum([(site, 1), (after, -1)], "<=", -duration, ["start", "end"]))
        first += len(job)
    for machine in sorted({m for m, _ in tasks}):
        sites = [s for s, (m, _) in enumerate(tasks) if m == machine]
        params = {"sites": sites, "durations": [tasks[s][1] for s in sites]}
        terms.append({"kind": "discrete.no_overlap", "scope": ["start"], "params": params})
    variables = {"start": _numbers(0, horizon, len(tasks)), "end": _numbers(0, horizon, 1)}
    return {"variables": variables, "terms": terms}


def pigeons(count: int, way: str) -> Query:
    """More pigeons than holes, one less, said in one of several ways: "values", all of which
    differ; "pairs" that differ; "literals", of which at most one is true for each hole."""
    holes, each = count - 1, range(count)
    one = {"pigeon": _numbers(0, holes - 1, count)}
    if way == "values":
        params: Query = {"lines": [list(each)]}
        return _rules(one, ("discrete.all_different", params))
    if way == "pairs":
        params = {"pairs": [list(pair) for pair in combinations(each, 2)]}
        return _rules(one, ("discrete.not_equal", params))
    groups = [[[p, h] for p in each] for h in range(holes)]
    return _rules(one, ("discrete.at_most_one", {"groups": groups}))


def _rules(variables: Query, *rules: tuple[str, Query]) -> Query:
    scope = list(variables)
    terms = [{"kind": kind, "scope": scope, "params": params} for kind, params in rules]
    return {"variables": variables, "terms": terms}


def _numbers(low: int, high: int, n: int) -> Query:
    return {"values": list(range(low, high + 1)), "shape": [n]}


def _sum(values: Any, compare: str, constant: int, scope: Any = ("x",)) -> Query:
    params = {"values": [list(v) for v in values], "compare": compare, "constant": constant}
    return {"kind": "discrete.linear", "scope": list(scope), "params": params}


def _cost(scope: str, site: int, costs: list[int], name: str) -> Query:
    params = {"sites": [site], "costs": costs}
    kind = "discrete.table"
    return {"kind": kind, "scope": [scope], "params": params, "required": False, "name": name}
