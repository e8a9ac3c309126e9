"""What each kind means, written once more in plain Python: exact, and sharing no code with Basin.

A value is the pair (type, value), so that 1, 1.0 and True are three values; a real is a float.
Costs are the decimals that they are written as.
"""

import functools
import itertools
import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

INFINITE = math.inf  # what is forbidden costs
SHIPPED = Path(__file__).resolve().parents[3] / "modules" / "discrete"
DIGITS, TOLERANCE = 2**40, Fraction(1, 10**9)  # of discrete.linear, as its docstring says
NETWORK = 2e-5  # share by which a network in float32 may be off


@dataclass(frozen=True)
class Part:
    """One part of a term: which sites of the scope it looks at, and what their values cost."""

    sites: tuple[int, ...]
    amount: Callable[..., Any]  # of the values there: a Fraction, a float, or INFINITE


@dataclass(frozen=True)
class Meaning:
    """A term as people read it."""

    parts: tuple[Part, ...]
    rule: bool = True  # required unless it is weighed
    priced: bool = False  # parts have costs: only what is infinite fails
    decides: bool = True  # it can say whether it holds
    slack: float | None = None  # None: exact; else the share by which its energy may be off
    unsure: Callable[..., bool] | None = None  # values of the whole scope about which it says None
    shy: bool = False  # it may say None anywhere
    truth: Callable[..., bool] | None = None  # whether it holds, where the amounts are rounded


def decimal(number: float) -> Fraction:
    """The decimal that a number is written as."""
    return Fraction(repr(float(number))) if not isinstance(number, int) else Fraction(number)


def key(value: Any) -> tuple[type, Any]:
    """A finite value apart from all others that only compare equal."""
    return type(value), value


Scope = Sequence[Sequence[Any]]  # of each site of the scope its values, None where it is real
Make = Callable[[Mapping[str, Any], Scope, Sequence[tuple[int, ...]]], Meaning]


def meaning_of(
    kind: str, params: Mapping[str, Any], scope: Scope, shapes: Sequence[tuple[int, ...]]
) -> Meaning:
    """What a term of a kind means over a scope. shapes: of its entries."""
    return MEANINGS[kind](params, scope, shapes)


def _different(field: str) -> Make:
    def make(params, scope, shapes):
        return Meaning(
            tuple(
                Part(tuple(line), lambda *v: Fraction(len(set(v)) < len(v)))
                for line in params[field]
            )
        )

    return make


def _equal(params, scope, shapes):
    return Meaning(tuple(Part(tuple(p), lambda a, b: Fraction(a != b)) for p in params["pairs"]))


def _counted(fits: Callable[[int], bool]) -> Make:
    def make(params, scope, shapes):
        parts = []
        for group in params["groups"]:
            sites = tuple(dict.fromkeys(s for s, _ in group))
            wanted = [(sites.index(s), key(v)) for s, v in group]
            parts.append(
                Part(
                    sites,
                    lambda *v, wanted=wanted: Fraction(not fits(sum(v[s] == w for s, w in wanted))),
                )
            )
        return Meaning(tuple(parts))

    return make


def _clause(params, scope, shapes):
    parts = []
    for clause in params["clauses"]:
        sites = tuple(dict.fromkeys(s for s, _, _ in clause))
        wanted = [(sites.index(s), key(v), sign) for s, v, sign in clause]
        parts.append(
            Part(
                sites,
                lambda *v, wanted=wanted: Fraction(
                    not any((v[s] == w) is sign for s, w, sign in wanted)
                ),
            )
        )
    return Meaning(tuple(parts))


def _linear(params, scope, shapes):
    terms = [(s, key(v), decimal(c)) for s, v, c in params["terms"]]
    goal, compare = decimal(params["constant"]), params["compare"]
    sites = tuple(dict.fromkeys(s for s, _, _ in terms))
    wanted = [(sites.index(s), w, c) for s, w, c in terms]
    unit = math.lcm(goal.denominator, *(c.denominator for _, _, c in terms))
    size = abs(goal) + sum(abs(c) for _, _, c in terms)
    tolerance = 0 if unit <= DIGITS else TOLERANCE * size

    def amount(*v):
        over = sum((c for s, w, c in wanted if v[s] == w), Fraction(0)) - goal
        miss = {"<=": over, ">=": -over, "==": abs(over)}[compare]
        return miss if miss > tolerance else Fraction(0)

    return Meaning((Part(sites, amount),), slack=None if tolerance == 0 else 1e-12)


def _table(params, scope, shapes):
    sites = params["sites"]
    scopes = sites if isinstance(sites[0], list) else [sites]
    costs: dict[tuple[Any, ...], Any] = {}
    if params.get("costs") is not None:
        values = [[key(v) for v in scope[s]] for s in scopes[0]]
        for places in itertools.product(*map(range, map(len, values))):
            cost = params["costs"]
            for place in places:
                cost = cost[place]
            costs[tuple(own[p] for own, p in zip(values, places))] = cost
        default = None
    else:
        costs = {tuple(map(key, entry[:-1])): entry[-1] for entry in params["tuples"]}
        default = params.get("default", 0.0)

    def amount(*v):
        cost = costs.get(v, default)
        return INFINITE if cost is None else decimal(cost)

    return Meaning(tuple(Part(tuple(s), amount) for s in scopes), rule=False, priced=True)


def _cut(params, scope, shapes):
    edges = [(a, b, decimal(w)) for a, b, w in params["edges"]]
    parts = [Part((a, b), lambda u, v, w=w: -w if u != v else Fraction(0)) for a, b, w in edges]
    return Meaning(tuple(parts), rule=False, priced=True, decides=False)


def _lattice(params, scope, shapes):
    n, pairs = len(scope), params.get("pairs", "neighbours")
    if pairs == "all":
        pairs = list(itertools.combinations(range(n), 2))
    elif isinstance(pairs, str):
        pairs = _neighbours(shapes[0], pairs == "torus")

    def each(value, count):
        return [decimal(v) for v in (value if isinstance(value, list) else [value] * count)]

    def spin(site, value):
        return Fraction(1 if value == key(scope[site][1]) else -1)

    parts = [
        Part((a, b), lambda u, v, a=a, b=b, j=j: -j * spin(a, u) * spin(b, v))
        for (a, b), j in zip(pairs, each(params.get("couplings", 0.0), len(pairs)))
    ]
    parts += [
        Part((s,), lambda v, s=s, h=h: -h * spin(s, v))
        for s, h in enumerate(each(params.get("fields", 0.0), n))
    ]
    return Meaning(tuple(parts), rule=False, priced=True, decides=False)


def _neighbours(shape, joined):
    found = []
    for place in itertools.product(*map(range, shape)):
        for axis, length in enumerate(shape):
            ahead = list(place)
            ahead[axis] = (place[axis] + 1) % length
            if place[axis] + 1 < length or (joined and length > 2):
                found.append(tuple(int(np.ravel_multi_index(p, shape)) for p in (place, ahead)))
    return found


def _proper(params, scope, shapes):
    blank, values = key(params.get("blank", 0)), [key(v) for v in scope[0]]
    filled = [v for v in values if v != blank]
    n, lines = len(scope), params["lines"]

    def amount(*clues):
        found = 0
        for full in itertools.product(*([c] if c != blank else filled for c in clues)):
            if all(len({full[s] for s in line}) == len(line) for line in lines):
                found += 1
                if found > 1:
                    break
        return Fraction(found != 1)

    few = params.get("nodes", 20_000) < 100
    return Meaning((Part(tuple(range(n)), amount),), shy=few)


def sudoku_lines() -> list[list[int]]:
    """Rows, columns and boxes of 9 x 9 sites."""
    at = np.arange(81).reshape(9, 9)
    boxes = at.reshape(3, 3, 3, 3).swapaxes(1, 2).reshape(9, 9)
    return [*at.tolist(), *at.T.tolist(), *boxes.tolist()]


def _learned_rules(params, scope, shapes):
    assert params["weights"] == "learned_sudoku.safetensors"
    return _different("lines")({"lines": sudoku_lines()}, scope, shapes)


@functools.cache
def _held(name: str) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """The texts and tensors of a shipped file of weights."""
    (place,) = SHIPPED.rglob(name)
    raw = place.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + size])
    kinds = {"F32": np.float32, "I32": np.int32}
    tensors = {
        n: np.frombuffer(raw[8 + size :][slice(*t["data_offsets"])], kinds[t["dtype"]])
        .reshape(t["shape"])
        .astype(np.float64)
        for n, t in header.items()
        if n != "__metadata__"
    }
    return header["__metadata__"], tensors


def _learned_couplings(params, scope, shapes):
    _, held = _held(params["weights"])
    pairs = itertools.combinations(range(81), 2)
    costs = [(p, float(c)) for p, c in zip(pairs, held["couplings"][:, 0]) if abs(c) >= 0.01]
    parts = [Part(p, lambda u, v, c=c: c if u == v else 0.0) for p, c in costs]
    return Meaning(tuple(parts), rule=False, priced=True, decides=False, slack=1e-5)


def _binary_image(params, scope, shapes):
    _, held = _held(params["weights"])
    first = [key(v[0]) for v in scope]

    def amount(*v):
        bits = np.array([float(u != f) for u, f in zip(v, first)]).reshape(14, 14)
        x = (2 * bits - 1)[None]
        for layer, stride in ((0, 1), (2, 2), (4, 2)):
            x = _silu(_convolved(x, held, f"net.{layer}", stride))
        base = (held["base"][..., 0] * (1 - bits) + held["base"][..., 1] * bits).sum()
        return float(held["last.weight"][0] @ x.sum((1, 2)) + held["last.bias"][0] - base)

    whole = tuple(range(len(scope)))
    return Meaning((Part(whole, amount),), rule=False, priced=True, decides=False, slack=NETWORK)


def _convolved(x, held, name, stride):
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    weighed = np.einsum("chwij,ocij->ohw", windows[:, ::stride, ::stride], held[f"{name}.weight"])
    return weighed + held[f"{name}.bias"][:, None, None]


def _silu(x):
    return x / (1 + np.exp(-x))


@functools.cache
def loans() -> list[dict[str, Any]]:
    """The columns of the shipped table: name, type, values as texts, edges of bins."""
    about, _ = _held("loans.safetensors")
    return json.loads(about["about"])["schema"]


def _code(column: Mapping[str, Any], value: Any) -> int:
    if column["type"] == "numeric":
        return sum(edge < float(value) for edge in column["edges"])
    return [str(v) for v in column["values"]].index(str(value))


def _network():
    """U of codes, by the formula of the shipped table."""
    _, held = _held("loans.safetensors")
    sizes = [len(c["values"]) for c in loans()]
    starts = np.concatenate([[0], np.cumsum([s + 1 for s in sizes])])
    owner = np.repeat(np.arange(len(sizes)), [s + 1 for s in sizes])
    pairs = (held["pairs"] + held["pairs"].T) / 2 * (owner[:, None] != owner[None, :])

    def energy(codes):
        at = starts[:-1] + np.array(codes)
        linear = held["single"][at].sum()
        paired = pairs[np.ix_(at, at)].sum() / 2
        hidden = _silu(held["inward"][at].sum(0) + held["shift"]) @ held["outward"]
        return float(-(linear + paired + hidden) / held["temperature"])

    return energy


def _tabular(params, scope, shapes):
    energy, columns = _network(), loans()
    whole = tuple(range(len(columns)))

    def amount(*v):
        return energy([_code(c, u) for c, (_, u) in zip(columns, v)])

    return Meaning((Part(whole, amount),), rule=False, priced=True, decides=False, slack=NETWORK)


def _tabular_label(params, scope, shapes):
    energy, columns = _network(), loans()
    target = [c["name"] for c in columns].index(params["target"])
    margin = params.get("margin", 0.0)

    def amount(*v):
        codes = [_code(c, u) for c, (_, u) in zip(columns, v)]
        each = []
        for label in range(len(columns[target]["values"])):
            changed = list(codes)
            changed[target] = label
            each.append(energy(changed))
        own = each.pop(codes[target])
        return max(0.0, own + margin - min(each))

    whole = tuple(range(len(columns)))
    return Meaning((Part(whole, amount),), slack=NETWORK, truth=lambda *v: amount(*v) <= NETWORK)


def _places(scope) -> Callable[..., list[int]]:
    lookups = [{key(v): k for k, v in enumerate(own)} for own in scope if own is not None]
    return lambda v: [lookup[u] for lookup, u in zip(lookups, v)]


def _of_places(amount: Callable, **fields: Any) -> Make:
    """A kind over one variable, by the places of its values and its parameters."""

    def make(params, scope, shapes):
        places, own = _places(scope), dict(fields)
        for name in ("unsure", "truth"):
            if name in own:
                ask = own[name]
                own[name] = lambda *v, ask=ask: ask(places(v), params)
        whole = tuple(range(len(scope)))
        return Meaning((Part(whole, lambda *v: amount(places(v), params)),), **own)

    return make


def _tenths(places, params):
    return abs(sum(places) * params.get("step", 0.1) - params.get("goal", 0.9))


def _word(places, params):
    return Fraction(places not in [list(word) for word in params["words"]])


def _modulo(places, params):
    return Fraction(sum(places) % params.get("m", 2) != params.get("r", 0))


def _wave(places, params):
    angle = sum((s + 1) * p for s, p in enumerate(places))
    return params.get("scale", 1.0) * math.cos(angle)


def _unsure(places, params):
    return Fraction(sum(places) % 3 != 0)


_UNSURE = _of_places(_unsure, unsure=lambda places, _: sum(places) % 3 == 2)
_WAVE = _of_places(_wave, rule=False, priced=True, decides=False, slack=1e-6)


def _reals(amount: Callable, **fields: Any) -> Make:
    """A kind over reals alone: a sum over sites."""

    def make(params, scope, shapes):
        parts = [Part((s,), lambda a: amount(a, params)) for s in range(len(scope))]
        return Meaning(tuple(parts), slack=1e-6, **fields)

    return make


def _outside(a, params):
    return max(0.0, params.get("low", 0.0) - a) + max(0.0, a - params.get("high", 0.5))


def _toward(params, scope, shapes):
    first = next(s for s, own in enumerate(scope) if own is None)
    values = [key(v) for v in scope[0]]
    part = Part((0, first), lambda v, a: (a - values.index(v) / 4) ** 2)
    return Meaning((part,), rule=False, priced=True, decides=False, slack=1e-6)


def _gate(params, scope, shapes):
    first = next(s for s, own in enumerate(scope) if own is None)
    zero = key(scope[0][0])
    part = Part((0, first), lambda v, a: 0.0 if v == zero else max(0.0, a - 0.5))
    return Meaning((part,), slack=1e-6)


MEANINGS: dict[str, Make] = {
    "discrete.all_different": _different("lines"),
    "discrete.not_equal": _different("pairs"),
    "discrete.equal": _equal,
    "discrete.exactly_one": _counted(lambda n: n == 1),
    "discrete.at_most_one": _counted(lambda n: n <= 1),
    "discrete.at_least_one": _counted(lambda n: n >= 1),
    "discrete.clause": _clause,
    "discrete.linear": _linear,
    "discrete.table": _table,
    "discrete.lattice": _lattice,
    "discrete.proper": _proper,
    "discrete.learned_rules": _learned_rules,
    "discrete.learned_couplings": _learned_couplings,
    "discrete.binary_image": _binary_image,
    "discrete.tabular": _tabular,
    "discrete.tabular_label": _tabular_label,
    "graph.coloring": _different("edges"),
    "graph.cut": _cut,
    "odd.Tenths": _of_places(
        _tenths, slack=1e-6, truth=lambda places, params: _tenths(places, params) < 1e-6
    ),
    "odd.Unsure": _UNSURE,
    "odd.UnsureTable": _UNSURE,
    "odd.Word": _of_places(_word),
    "odd.Wave": _WAVE,
    "odd.WaveTable": _WAVE,
    "odd.Modulo": _of_places(_modulo),
    "odd.Pull": _reals(
        lambda a, params: (a - params.get("to", 0.25)) ** 2,
        rule=False, priced=True, decides=False,
    ),
    "odd.Slope": _reals(lambda a, _: a, rule=False, priced=True, decides=False),
    "odd.Within": _reals(_outside),
    "odd.Toward": _toward,
    "odd.Gate": _gate,
}  # fmt: skip
EXPLICIT = frozenset(
    kind
    for kind in MEANINGS
    if not kind.startswith("odd.")
    and kind
    not in (
        "discrete.proper", "discrete.binary_image", "discrete.tabular", "discrete.tabular_label",
    )
) | {"odd.Word"}  # fmt: skip
