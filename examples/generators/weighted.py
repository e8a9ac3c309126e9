"""Everyday problems with costs: what to take, who does what, where to build, who works when.

Each is a query by family, size and seed; what it costs is least where the textbook says so.
"""

import itertools
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

Query = dict[str, Any]


def knapsack(n: int, seed: int, rows: int = 1) -> Query:
    """n items of which half the weight may be taken, `rows` weights each; value near weight."""
    rng = random.Random(f"knapsack {n} {rows} {seed}")
    weights = [[rng.randint(10, 60) for _ in range(n)] for _ in range(rows)]
    values = [sum(own) // rows + rng.randint(-8, 8) for own in zip(*weights, strict=True)]
    terms = [
        _linear("take", [[k, 1, w] for k, w in enumerate(own)], sum(own) // 2, f"room {r}")
        for r, own in enumerate(weights)
    ]
    return _query({"take": _bits(n)}, [*terms, *_pays("take", [-v for v in values])])


def assignment(n: int, seed: int) -> Query:
    """n workers to n jobs, each at its own cost."""
    rng = random.Random(f"assignment {n} {seed}")
    costs = [[rng.randint(1, 99) for _ in range(n)] for _ in range(n)]
    return _query(
        {"job": {"values": list(range(n)), "shape": [n]}},
        [
            _rule("all_different", "job", lines=[list(range(n))]),
            *(_cost("job", [k], own, f"worker {k}") for k, own in enumerate(costs)),
        ],
    )


def set_cover(m: int, n: int, seed: int) -> Query:
    """m things to cover by some of n sets of about 5 % of them."""
    rng = random.Random(f"cover {m} {n} {seed}")
    within = [[k for k in range(n) if rng.random() < 0.05] for _ in range(m)]
    clauses = [[[k, 1, True] for k in sorted({*own, *rng.sample(range(n), 2)})] for own in within]
    costs = [rng.randint(1, 99) for _ in range(n)]
    rule = _rule("clause", "chosen", clauses=clauses)
    return _query({"chosen": _bits(n)}, [rule, *_pays("chosen", costs)])


def facility(m: int, n: int, seed: int) -> Query:
    """m customers served by some of n places that cost when opened."""
    rng = random.Random(f"facility {m} {n} {seed}")
    where = [(rng.random(), rng.random()) for _ in range(m + n)]
    far = [[round(100 * math.dist(where[i], where[m + j])) for j in range(n)] for i in range(m)]
    clauses = [[[i, j, False], [m + j, 1, True]] for i in range(m) for j in range(n)]
    rule = {**_rule("clause", "serves", clauses=clauses), "scope": ["serves", "open"]}
    return _query(
        {"serves": {"values": list(range(n)), "shape": [m]}, "open": _bits(n)},
        [
            rule,
            *(_cost("serves", [i], own, f"customer {i}") for i, own in enumerate(far)),
            *_pays("open", [rng.randint(60, 140) for _ in range(n)]),
        ],
    )


def bin_packing(n: int, seed: int) -> Query:
    """n things into as few boxes as will do; a box is used before the next."""
    rng = random.Random(f"bins {n} {seed}")
    sizes, room = [rng.randint(2, 9) for _ in range(n)], 13
    boxes = max(sum(sizes) // room + 3, _first_fit(sizes, room))
    rooms = [
        {
            **_linear(
                "bin",
                [[k, b, s] for k, s in enumerate(sizes)] + [[n + b, 1, -room]],
                0,
                f"room {b}",
            ),
            "scope": ["bin", "used"],
        }
        for b in range(boxes)
    ]
    order = _rule(
        "clause", "used", clauses=[[[b, 1, True], [b + 1, 1, False]] for b in range(boxes - 1)]
    )
    return _query(
        {"bin": {"values": list(range(boxes)), "shape": [n]}, "used": _bits(boxes)},
        [*rooms, order, *_pays("used", [1] * boxes)],
    )


def _first_fit(sizes: Sequence[int], room: int) -> int:
    """Boxes that are enough: the largest thing first, each into the first box that has room."""
    left: list[int] = []
    for size in sorted(sizes, reverse=True):
        box = next((b for b, free in enumerate(left) if free >= size), len(left))
        left += [room] * (box == len(left))
        left[box] -= size
    return len(left)


def roster(nurses: int, days: int, seed: int) -> Query:
    """Shifts off, early, late and night: enough nurses a shift, no early after a late or night, no
    late after a night, at most five days in six worked, wishes, and days as even as can be."""
    rng = random.Random(f"roster {nurses} {days} {seed}")
    need = {1: nurses // 4, 2: nurses // 4, 3: max(1, nurses // 8)}
    at = [[days * p + d for d in range(days)] for p in range(nurses)]
    rules = [
        _linear("shift", [[at[p][d], s, -1] for p in range(nurses)], -count, f"need {s} {d}")
        for d in range(days)
        for s, count in need.items()
    ]
    rests = [(2, 1), (3, 1), (3, 2)]
    clauses = [
        [[at[p][d], a, False], [at[p][d + 1], b, False]]
        for p in range(nurses)
        for d in range(days - 1)
        for a, b in rests
    ]
    runs = [
        [[at[p][d + k], 0, True] for k in range(6)] for p in range(nurses) for d in range(days - 5)
    ]
    most = math.ceil(days * sum(need.values()) / nurses)
    fair = [
        _linear("shift", [[at[p][d], s, 1] for d in range(days) for s in need], most, f"fair {p}")
        for p in range(nurses)
    ]
    wishes = [
        _cost("shift", [at[p][d]], costs, f"wish {p} {d}")
        for p in range(nurses)
        for d in rng.sample(range(days), days // 2)
        for costs in [_wish(rng)]
    ]
    return _query(
        {"shift": {"values": [0, 1, 2, 3], "shape": [nurses * days]}},
        [*rules, *fair, _rule("clause", "shift", clauses=clauses + runs), *wishes],
    )


def _wish(rng: random.Random) -> list[int]:
    """What the four shifts cost one who would rather be off, work, or not work at night."""
    price = rng.randint(1, 9)
    return rng.choice([[0, price, price, price], [price, 0, 0, 0], [0, 0, 0, price]])


def tour(n: int, seed: int) -> Query:
    """A round trip through n places: which place comes at which stop."""
    far = _distances(n, seed)
    legs = [[k, (k + 1) % n] for k in range(n)]
    stops = {"stop": {"values": list(range(n)), "shape": [n]}}
    every = _rule("all_different", "stop", lines=[list(range(n))])
    query = _query(stops, [every, _cost("stop", legs, far, "way")])
    return {**query, "evidence": {"stop": [0, *[None] * (n - 1)]}}


def route(n: int, seed: int) -> Query:
    """The same round trip: which place comes after each."""
    ways = [_cost("after", [k], own, f"from {k}") for k, own in enumerate(_distances(n, seed))]
    after = {"after": {"values": list(range(n)), "shape": [n]}}
    return _query(after, [_rule("circuit", "after"), *ways])


def _distances(n: int, seed: int) -> list[list[int]]:
    """How far it is between each two of n places."""
    rng = random.Random(f"tour {n} {seed}")
    where = [(rng.random(), rng.random()) for _ in range(n)]
    return [[round(100 * math.dist(a, b)) for b in where] for a in where]


def weighted_clauses(n: int, seed: int, ratio: float = 5.0) -> Query:
    """Random clauses of three literals, more than can all hold, each with a weight."""
    rng = random.Random(f"clauses {n} {ratio} {seed}")
    soft = []
    for _ in range(int(ratio * n)):
        literals = [[s, 1, rng.random() < 0.5] for s in rng.sample(range(n), 3)]
        soft.append((literals, rng.randint(1, 20)))
    return _soft_clauses(n, [], soft)


def cut_clauses(n: int, seed: int, degree: float = 4.0) -> Query:
    """A weighted graph cut in two: each edge wants its ends apart, said by two clauses."""
    rng = random.Random(f"cut {n} {degree} {seed}")
    edges = rng.sample(list(itertools.combinations(range(n), 2)), round(degree * n / 2))
    soft = []
    for a, b in sorted(edges):
        weight = rng.randint(1, 20)
        soft += [([[a, 1, sign], [b, 1, sign]], weight) for sign in (True, False)]
    return _soft_clauses(n, [], soft)


def cover_clauses(n: int, seed: int, degree: float = 5.0) -> Query:
    """One end of every edge of a graph, at the least weight."""
    rng = random.Random(f"vertices {n} {degree} {seed}")
    edges = rng.sample(list(itertools.combinations(range(n), 2)), round(degree * n / 2))
    hard = [[[a, 1, True], [b, 1, True]] for a, b in sorted(edges)]
    return _soft_clauses(n, hard, [([[v, 1, False]], rng.randint(1, 20)) for v in range(n)])


def package_clauses(n: int, seed: int) -> Query:
    """Packages that need one of a few others each, some of which exclude each other: as much as
    can be of what is wanted, at the least size."""
    rng = random.Random(f"packages {n} {seed}")
    hard = []
    for p in range(n // 5, n):  # the first need nothing
        for _ in range(rng.randint(1, 3)):
            needs = rng.sample(range(p), rng.randint(1, 3))
            hard.append([[p, 1, False], *([q, 1, True] for q in needs)])
    pairs = rng.sample(list(itertools.combinations(range(n), 2)), n)
    hard += [[[a, 1, False], [b, 1, False]] for a, b in pairs]
    soft = [([[p, 1, True]], rng.randint(20, 60)) for p in rng.sample(range(n // 2, n), n // 6)]
    return _soft_clauses(n, hard, soft + [([[p, 1, False]], rng.randint(1, 9)) for p in range(n)])


def shift_clauses(jobs: int, slots: int, seed: int) -> Query:
    """Jobs, each in one slot; those that share something should not meet, and each likes some slots
    less than others."""
    rng = random.Random(f"shifts {jobs} {slots} {seed}")
    at = [[slots * j + s for s in range(slots)] for j in range(jobs)]
    hard = [[[x, 1, True] for x in own] for own in at]
    hard += [
        [[x, 1, False], [y, 1, False]] for own in at for x, y in itertools.combinations(own, 2)
    ]
    soft = []
    for a, b in rng.sample(list(itertools.combinations(range(jobs), 2)), 3 * jobs):
        weight = rng.randint(5, 20)
        soft += [([[at[a][s], 1, False], [at[b][s], 1, False]], weight) for s in range(slots)]
    soft += [([[x, 1, False]], rng.randint(1, 9)) for own in at for x in own if rng.random() < 0.4]
    return _soft_clauses(jobs * slots, hard, soft)


def _soft_clauses(n: int, hard: list[Any], soft: Sequence[tuple[list[Any], int]]) -> Query:
    """Clauses that must hold, and others at a price each."""
    terms = [_rule("clause", "x", clauses=hard)] if hard else []
    for k, (literals, weight) in enumerate(soft):
        term = {**_rule("clause", "x", clauses=[literals]), "name": f"c{k}"}
        terms.append({**term, "required": False, "weight": weight})
    return _query({"x": _bits(n)}, terms)


def selection(n: int, seed: int) -> Query:
    """Projects within a budget, some worth more or less together."""
    rng = random.Random(f"selection {n} {seed}")
    prices = [rng.randint(5, 40) for _ in range(n)]
    pairs = rng.sample(list(itertools.combinations(range(n), 2)), 2 * n)
    return _query(
        {"take": _bits(n)},
        [
            _linear("take", [[k, 1, p] for k, p in enumerate(prices)], sum(prices) // 3, "budget"),
            *_pays("take", [-rng.randint(5, 40) for _ in range(n)]),
            *(
                _cost("take", [[a, b]], [[0, 0], [0, rng.randint(-15, 10)]], f"{a} with {b}")
                for a, b in pairs
            ),
        ],
    )


def colouring(n: int, k: int, seed: int) -> Query:
    """n places in k colours: neighbours of one colour cost something, and so does each colour."""
    rng = random.Random(f"colouring {n} {k} {seed}")
    pairs = rng.sample(list(itertools.combinations(range(n), 2)), 2 * n)
    likes = [[rng.randint(0, 9) for _ in range(k)] for _ in range(n)]
    prices = [rng.randint(5, 20) for _ in pairs]
    alike = [[[p if a == b else 0 for b in range(k)] for a in range(k)] for p in prices]
    return _query(
        {"colour": {"values": list(range(k)), "shape": [n]}},
        [
            *(_cost("colour", [v], own, f"place {v}") for v, own in enumerate(likes)),
            *(
                _cost("colour", [list(pair)], own, f"pair {pair}")
                for pair, own in zip(pairs, alike, strict=True)
            ),
        ],
    )


FAMILIES: dict[str, Callable[[int], Query]] = {
    "knapsack 50": lambda seed: knapsack(50, seed),
    "knapsack 100": lambda seed: knapsack(100, seed),
    "knapsack 200": lambda seed: knapsack(200, seed),
    "knapsack 40, 5 weights": lambda seed: knapsack(40, seed, rows=5),
    "assignment 20": lambda seed: assignment(20, seed),
    "assignment 40": lambda seed: assignment(40, seed),
    "assignment 100": lambda seed: assignment(100, seed),
    "set cover 50x200": lambda seed: set_cover(50, 200, seed),
    "set cover 100x1000": lambda seed: set_cover(100, 1000, seed),
    "facility 30x12": lambda seed: facility(30, 12, seed),
    "roster 8x14": lambda seed: roster(8, 14, seed),
    "roster 15x28": lambda seed: roster(15, 28, seed),
    "selection 40": lambda seed: selection(40, seed),
    "colouring 30, 4 colours": lambda seed: colouring(30, 4, seed),
    "bin packing 16": lambda seed: bin_packing(16, seed),
    "bin packing 40": lambda seed: bin_packing(40, seed),
    "bin packing 60": lambda seed: bin_packing(60, seed),
    "tour 10": lambda seed: tour(10, seed),
    "tour 13": lambda seed: tour(13, seed),
    "tour 16": lambda seed: tour(16, seed),
    "tour 20": lambda seed: tour(20, seed),
    "tour 24": lambda seed: tour(24, seed),
    "tour 40": lambda seed: tour(40, seed),
    "tour 10 by successors": lambda seed: route(10, seed),
    "tour 13 by successors": lambda seed: route(13, seed),
    "tour 16 by successors": lambda seed: route(16, seed),
    "tour 20 by successors": lambda seed: route(20, seed),
    "tour 24 by successors": lambda seed: route(24, seed),
    "tour 40 by successors": lambda seed: route(40, seed),
    "weighted clauses 60": lambda seed: weighted_clauses(60, seed),
    "weighted clauses 80": lambda seed: weighted_clauses(80, seed),
}
NETWORKS: dict[str, Callable[[int], Query]] = {
    "colouring 30, 4 colours": lambda seed: colouring(30, 4, seed),
    "colouring 60, 4 colours": lambda seed: colouring(60, 4, seed),
    "selection 40": lambda seed: selection(40, seed),
    "assignment 10": lambda seed: assignment(10, seed),
}  # of cost functions
STRUCTURED: dict[str, Callable[[int], Query]] = {
    "cut": lambda seed: cut_clauses(60, seed),
    "vertex cover": lambda seed: cover_clauses(120, seed, 6.0),
    "packages": lambda seed: package_clauses(120, seed),
    "shifts": lambda seed: shift_clauses(24, 3, seed),
}  # weighted clauses too


def _query(variables: dict[str, Any], terms: Sequence[Query]) -> Query:
    return {"variables": variables, "terms": list(terms)}


def _bits(n: int) -> dict[str, Any]:
    return {"values": [0, 1], "shape": [n]}


def _rule(kind: str, scope: str, **params: Any) -> Query:
    return {"kind": f"discrete.{kind}", "scope": [scope], "params": params}


def _linear(scope: str, terms: list[list[int]], most: int, name: str) -> Query:
    rule = _rule("linear", scope, terms=terms, compare="<=", constant=most)
    return {**rule, "name": name}


def _cost(scope: str, sites: Any, costs: Any, name: str) -> Query:
    return {**_rule("table", scope, sites=sites, costs=costs), "required": False, "name": name}


def _pays(scope: str, costs: Sequence[int]) -> list[Query]:
    """A cost of each site that is 1."""
    return [_cost(scope, [k], [0, cost], f"{scope} {k}") for k, cost in enumerate(costs)]
