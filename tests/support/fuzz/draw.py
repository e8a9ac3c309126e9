"""Small queries from a seed: every kind, every way to write a cost, a weight, a view, evidence."""

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.support.fuzz.landscape import Landscape, places_of
from tests.support.fuzz.meaning import key, loans, sudoku_lines

VALUES: tuple[tuple[Any, ...], ...] = (
    (0, 1), (0, 1), (0, 1, 2), (1, 2, 3), (0, 1, 2, 3), (7,), (False, True), ("a", "b"),
    ("a", "b", "c"), (1, True), (1, 1.0, "1"), (-1, 1), (0.5, 1.5, 2.5), (3, 1, 2), ("", "0", 0),
)  # fmt: skip
SHAPES: tuple[tuple[int, ...], ...] = ((), (), (1,), (2,), (2,), (3,), (4,), (2, 2), (2, 3), (1, 3))
RULES = (
    "discrete.all_different", "discrete.not_equal", "discrete.equal", "discrete.exactly_one",
    "discrete.at_most_one", "discrete.at_least_one", "discrete.clause", "discrete.linear",
    "graph.coloring",
)  # fmt: skip
COSTS = ("discrete.table", "discrete.table", "graph.cut", "discrete.lattice")
OPAQUE = (
    "odd.Tenths", "odd.Unsure", "odd.UnsureTable", "odd.Word", "odd.Wave", "odd.WaveTable",
    "odd.Modulo", "discrete.proper",
)  # fmt: skip
REAL = ("odd.Pull", "odd.Slope", "odd.Within", "odd.Toward", "odd.Gate")
FAMILIES = {
    "explicit": 54,
    "opaque": 12,
    "mixed": 12,
    "real": 7,
    "pinned": 3,
    "choice": 10,
    "learned": 2,
}
STEPS, PARTICLES = 400, 4
MOST = 1200  # completions of a case


@dataclass(frozen=True)
class Case:
    """One small question. query: as in a file, but for evidence; rows: the evidences."""

    seed: int
    query: dict[str, Any]
    rows: list[dict[str, Any]]
    options: dict[str, Any] = field(default_factory=dict)
    script: list[dict[str, Any]] = field(default_factory=list)  # changes of a session

    @property
    def python(self) -> bool:
        """It has a choice between terms, which only Python can write."""
        return any("any" in term for term in self.query["terms"])

    @property
    def weighs(self) -> bool:
        """Something costs, and something must hold or costs as well."""
        costs = [t for t in self.query["terms"] if "any" not in t and not t.get("required")]
        return any(t["kind"] in COSTS or "weight" in t for t in costs)

    @property
    def odd(self) -> bool:
        """It names a kind that does not ship."""
        return '"odd.' in json.dumps(self.query["terms"])

    @property
    def real(self) -> bool:
        return any("values" not in spec for spec in self.query["variables"].values())

    @property
    def evidences(self) -> list[dict[str, Any]]:
        """Everything that is ever given."""
        told = [change["evidence"] for change in self.script if "evidence" in change]
        return [*self.rows, *told]

    def asked(self, **fields: Any) -> dict[str, Any]:
        """The query with its evidence, as people write it."""
        evidence: Any = self.rows[0] if len(self.rows) == 1 else self.rows
        budget = {"seed": self.seed % 1000, "particles": PARTICLES, "steps": self.steps}
        return {**self.query, "evidence": evidence, "budget": budget} | fields

    @property
    def steps(self) -> int:
        return 40 if self.real else STEPS


def generate(seed: int, family: str | None = None) -> Case:
    """The case of a seed. family: explicit, opaque, mixed, real, choice, learned; else any. Long:
    explicit with costs and weights of all digits of floats."""
    rng = random.Random(f"basin {seed} {family or ''}")
    if family is None:
        family = rng.choices([*FAMILIES], [*FAMILIES.values()])[0]
    for _ in range(100):
        if family == "long":
            case = _lengthened(rng, _drawn(seed, rng, "explicit"))
        else:
            case = _learned(seed, rng) if family == "learned" else _drawn(seed, rng, family)
        if Landscape(case.query, case.evidences).size <= MOST:
            return case
    raise AssertionError(f"seed {seed}: no small case")


def _drawn(seed: int, rng: random.Random, family: str) -> Case:
    variables: dict[str, Any] = {}
    real = family in ("mixed", "real", "pinned")
    for name in ("x", "y", "z")[: rng.choice((1, 1, 2, 2, 3)) if family != "real" else 0]:
        spec: dict[str, Any] = {"values": list(rng.choice(VALUES))}
        if shape := rng.choice(SHAPES):
            spec["shape"] = list(shape)
        variables[name] = spec
    if real:
        variables["a"] = _real(rng)
    query = {"variables": variables, "terms": []}
    for k in range(rng.choice((1, 2, 2, 3, 3, 4, 5))):
        term = _term(rng, variables, family, f"t{k}")
        if term is not None:
            query["terms"].append(term)
    if family == "choice":
        branches = [
            [
                t
                for t in (
                    _term(rng, variables, "explicit", f"c{j}{k}")
                    for k in range(rng.choice((1, 1, 2)))
                )
                if t
            ]
            for j in range(rng.choice((2, 2, 3)))
        ]
        if all(branches):
            choice: dict[str, Any] = {"any": branches, "name": "choice"}
            if rng.random() < 0.3:
                choice["soft"] = rng.choice((0.1, 1.0, 5.0))
            if rng.random() < 0.3:
                choice["weight"] = _weight(rng)
            query["terms"].append(choice)
    count = rng.choice((2, 3) if family == "pinned" else (1, 1, 1, 1, 2, 3))
    rows = [_evidence(rng, variables) for _ in range(count)]
    if family == "pinned":  # reals that no term speaks of, given in every row
        shape = variables["a"].get("shape", [])
        for row in rows:
            own = [_value(rng, variables["a"]) for _ in range(math.prod(shape))]
            row["a"] = _nested(own, shape)
    return Case(seed, query, rows, _options(rng), _script(rng, query, variables))


def _lengthened(rng: random.Random, case: Case) -> Case:
    """The same case with other costs and weights: of all digits of floats, level in different sums,
    apart by a last place, or of sizes up to 1e12 apart, of both signs; some have one more row."""
    few = [rng.uniform(-1, 1) * 10.0 ** rng.randint(-6, 9) for _ in range(3)]
    size = 10.0 ** rng.randint(-6, 9)
    kind = rng.choice(("apart", "few", "last", "sizes", "thirds", "mixed"))

    def price() -> float:
        own = rng.choice(("apart", "few", "last", "sizes", "thirds")) if kind == "mixed" else kind
        if own == "few":
            return rng.choice((0.0, *few))
        if own == "last":
            base = few[0]
            return rng.choice((base, math.nextafter(base, math.inf), math.nextafter(base, 0.0)))
        if own == "sizes":
            return rng.choice((-1, 1)) * rng.random() * 10.0 ** rng.randint(-6, 6)
        if own == "thirds":
            third = rng.choice((1, -1, 2, 4, 5)) / 3
            return third * 10.0 ** rng.choice((0, 0, 1, rng.randint(-6, 6)))
        return rng.uniform(-size, size)

    def other(costs: Any) -> Any:
        if isinstance(costs, list):
            return [other(own) for own in costs]
        return costs if costs is None else price()

    for term in case.query["terms"]:
        if "weight" in term and rng.random() < 0.5:
            term["weight"] = rng.choice((0.1234567890123456, rng.uniform(0.1, 9), 1e6, 1 / 3, 1e-3))
        params = term.get("params", {})
        if term["kind"] not in COSTS or term.get("required"):
            continue
        for name in ("costs", "default", "couplings", "fields"):
            if params.get(name):
                params[name] = other(params[name])
        for name in ("tuples", "edges"):
            if name in params:
                params[name] = [[*own[:-1], other(own[-1])] for own in params[name]]
    rows = [*case.rows, {}] if rng.random() < 0.3 else case.rows
    return replace(case, rows=rows)


def _real(rng: random.Random) -> dict[str, Any]:
    spec: dict[str, Any] = rng.choice(
        ({"low": 0.0, "high": 1.0}, {"low": -1.0, "high": 1.0}, {"low": 0.25, "high": 0.25},
         {"low": None, "high": 2.0}, {"low": -0.1, "high": 0.3})
    )  # fmt: skip
    shape = rng.choice(((), (), (1,), (2,)))
    return dict(spec) | ({"shape": list(shape)} if shape else {})


def _evidence(rng: random.Random, variables: Mapping[str, Any]) -> dict[str, Any]:
    share = rng.choice((0.0, 0.0, 0.3, 0.3, 0.6, 1.0))
    row = {}
    for name, spec in variables.items():
        shape = spec.get("shape", [])
        own = [_value(rng, spec) if rng.random() < share else None for _ in range(math.prod(shape))]
        if any(v is not None for v in own):
            row[name] = _nested(own, shape)
    return row


def _value(rng: random.Random, spec: Mapping[str, Any]) -> Any:
    if "values" in spec:
        return rng.choice(spec["values"])
    low = -4.0 if spec["low"] is None else spec["low"]
    high = spec["high"]
    inside = [v for v in (0.0, 0.1, 0.2, 0.3, 1 / 3, 0.7, 1e-9, -0.0, 5e-324) if low <= v <= high]
    return rng.choice([*inside, low, high, rng.uniform(low, high)])


def _nested(own: Sequence[Any], shape: Sequence[int]) -> Any:
    if not shape:
        return own[0]
    step = len(own) // shape[0]
    return [_nested(own[k * step : (k + 1) * step], shape[1:]) for k in range(shape[0])]


def _options(rng: random.Random) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if rng.random() < 0.25:
        out["prove"] = True
    if rng.random() < 0.2:
        out["alternatives"] = rng.choice((1, 2, 5))
        if rng.random() < 0.3:
            out["distance"] = 2
    if rng.random() < 0.12:
        out["explain"] = True
    return out


def _script(
    rng: random.Random, query: Mapping[str, Any], variables: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Changes of a session: which terms stand, and what is given."""
    names = [term["name"] for term in query["terms"]]
    standing = [n for n in names if rng.random() < 0.6]
    script: list[dict[str, Any]] = [{"drop": [n for n in names if n not in standing]}]
    for _ in range(rng.choice((1, 2, 3, 4))):
        change: dict[str, Any] = {}
        kind = rng.random()
        out = [n for n in names if n not in standing]
        if kind < 0.4 and out:
            change["add"] = [rng.choice(out)]
        elif kind < 0.6 and standing:
            change["drop"] = [rng.choice(standing)]
        else:
            change["evidence"] = _evidence(rng, variables)
        standing = [n for n in standing if n not in change.get("drop", ())]
        standing += change.get("add", ())
        script.append(change)
    return script


def _weight(rng: random.Random) -> float:
    return rng.choice((1.0, 0.5, 2.0, 0.1, 3.0, 1 / 3, 1e6, 1e-3, 0.7))


def _cost(rng: random.Random, scale: str) -> float | None:
    if rng.random() < 0.08:
        return None
    if scale == "small":
        return rng.randint(-3, 6)
    if scale == "decimal":
        return round(rng.uniform(-2, 5), rng.choice((1, 2, 3)))
    if scale == "cents":
        return 10**8 + rng.randint(0, 30) / 100
    if scale == "large":
        return rng.choice((10**7, 2**24, 10**9, 10**12)) + rng.randint(0, 4)
    if scale == "signed":
        return rng.choice((-1, 1)) * (10**8 + rng.randint(0, 5))
    if scale == "computed":
        return rng.randint(-5, 9) / rng.choice((3, 7, 9.9))
    if scale == "wide":
        return rng.choice((1e-9, 1e-6, 0.001, 1, 1e3, 1e6, 1e9)) * rng.randint(0, 5)
    return 0


SCALES = ("small", "small", "decimal", "cents", "large", "signed", "computed", "wide", "zero")


def _view(rng: random.Random, name: str, spec: Mapping[str, Any]) -> str:
    shape = spec.get("shape", [])
    if not shape or rng.random() < 0.6:
        return name
    if len(shape) == 2:
        rows, columns = shape
        choices = [f"{name}[0, :]", f"{name}[:, -1]", f"{name}[::-1]", f"{name}[:, ::-1]",
                   f"{name}[{rows - 1}]", f"{name}[0, {columns - 1}]"]  # fmt: skip
        return rng.choice(choices)
    n = shape[0]
    choices = [f"{name}[::-1]", f"{name}[0]", f"{name}[-1]", f"{name}[:{max(1, n - 1)}]",
               f"{name}[::2]",
               f"{name}[[{', '.join(map(str, rng.sample(range(n), n)))}]]"]  # fmt: skip
    if n > 1 and rng.random() < 0.2:
        choices = [f"{name}[[0, 0]]", f"{name}[[1, 0, 1]]"]
    return rng.choice(choices)


def _term(
    rng: random.Random, variables: Mapping[str, Any], family: str, name: str
) -> dict[str, Any] | None:
    finite = [n for n, spec in variables.items() if "values" in spec]
    kinds = {"explicit": (*RULES, *COSTS), "choice": (*RULES, *COSTS), "real": REAL[:3]}
    kinds["pinned"] = (*RULES, *RULES, *COSTS)
    kinds["opaque"] = kinds["choice"] + 3 * OPAQUE
    kinds["mixed"] = kinds["choice"] + OPAQUE + 3 * REAL
    kind = rng.choice(kinds[family])
    if kind in REAL:
        scope = [_view(rng, "a", variables["a"])]
        if kind in ("odd.Toward", "odd.Gate"):
            other = rng.choice(finite)
            scope = [_view(rng, other, variables[other]), *scope]
        term = {"kind": kind, "scope": scope, "params": _real_params(rng, kind)}
        return _weighed(rng, term, name, kind in ("odd.Within", "odd.Gate"))
    one = kind.startswith("odd.") or kind == "discrete.proper"
    names = [rng.choice(finite)] if one else rng.sample(finite, rng.randint(1, len(finite)))
    scope = [_view(rng, n, variables[n]) for n in names]
    sites: list[Sequence[Any]] = []
    for view in scope:
        spec = variables[view.partition("[")[0]]
        sites += [spec["values"]] * places_of(view, spec.get("shape", ())).size
    params = PARAMS[kind](rng, sites)
    if params is None:
        return None
    term = {"kind": kind, "scope": scope, "params": params}
    if kind in COSTS or kind.startswith("odd.Wave"):
        if kind == "discrete.table" and params.pop("rule"):
            term["required"] = True
        elif rng.random() < 0.4:
            term |= {"required": False, "weight": _weight(rng)}
        return term | {"name": name}
    return _weighed(rng, term, name, True)


def _weighed(rng: random.Random, term: dict[str, Any], name: str, rule: bool) -> dict[str, Any]:
    draw = rng.random()
    if draw < 0.25:
        term |= {"required": False, "weight": _weight(rng)}
    elif draw < 0.35:
        term |= {"required": False}
    elif draw < 0.5 and rule:
        term |= {"required": True}
    return term | {"name": name}


def _real_params(rng: random.Random, kind: str) -> dict[str, Any]:
    if kind == "odd.Pull":
        return {"to": rng.choice((0.25, 0.1, -2.0, 0.5))}
    if kind == "odd.Within":
        low = rng.choice((0.0, 0.1, -1.0, 0.3))
        return {"low": low, "high": low + rng.choice((0.0, 0.2, 0.5))}
    return {}


Sites = Sequence[Sequence[Any]]
Params = Callable[[random.Random, Sites], dict[str, Any] | None]


def _some(rng: random.Random, n: int, least: int = 1) -> list[int] | None:
    if n < least:
        return None
    return rng.sample(range(n), rng.randint(least, min(n, 4)))


def _lists(field: str, least: int, most: int, arity: int | None = None) -> Params:
    def draw(rng: random.Random, sites: Sites) -> dict[str, Any] | None:
        if len(sites) < least:
            return None
        every = range(len(sites))
        lists = [
            rng.sample(every, arity or rng.randint(least, min(len(sites), most)))
            for _ in range(rng.randint(1, 3))
        ]
        return {field: lists}

    return draw


def _groups(rng: random.Random, sites: Sites) -> dict[str, Any]:
    every = [[s, v] for s, values in enumerate(sites) for v in values]
    groups = [
        rng.sample(every, rng.randint(1, min(4, len(every)))) for _ in range(rng.randint(1, 3))
    ]
    return {"groups": groups}


def _clauses(rng: random.Random, sites: Sites) -> dict[str, Any]:
    every = [[s, v] for s, values in enumerate(sites) for v in values]
    sizes = [0] if rng.random() < 0.03 else [rng.randint(1, 4) for _ in range(rng.randint(1, 5))]
    return {
        "clauses": [[[*rng.choice(every), rng.random() < 0.5] for _ in range(n)] for n in sizes]
    }


def _linear(rng: random.Random, sites: Sites) -> dict[str, Any]:
    every = [[s, v] for s, values in enumerate(sites) for v in values]
    scale = rng.choice(("whole", "whole", "decimal", "computed", "large", "tenths"))

    def number() -> float:
        if scale == "whole":
            return rng.randint(-3, 5)
        if scale == "decimal":
            return round(rng.uniform(-2, 4), 2)
        if scale == "tenths":
            return rng.choice((0.1, 0.2, 0.3, 0.7))
        if scale == "large":
            return rng.choice((1, 10**6, 10**9, 10**12)) * rng.randint(1, 3)
        return rng.choice((1 / 3, 2 / 3, 2.2 * 3, 0.1 + 0.2, math.sqrt(2)))

    terms = [[*rng.choice(every), number()] for _ in range(rng.randint(1, 6))]
    mass = sum(c for _, _, c in terms if rng.random() < 0.5)
    mass = mass if scale in ("whole", "large", "computed") else round(mass, 2)
    return {"terms": terms, "compare": rng.choice(("<=", ">=", "==")), "constant": mass}


def _tables(rng: random.Random, sites: Sites) -> dict[str, Any] | None:
    own = _some(rng, len(sites))
    if own is None:
        return None
    own = own[: rng.choice((1, 2, 2, 3))]
    scale = rng.choice(SCALES)
    rule = rng.random() < 0.15

    def cost() -> float | None:
        return rng.choice((0, None, 0)) if rule else _cost(rng, scale)

    sizes = [len(sites[s]) for s in own]
    scopes: Any = own
    alike = [
        other
        for other in (rng.sample(range(len(sites)), len(own)) for _ in range(3))
        if [[key(v) for v in sites[s]] for s in other] == [[key(v) for v in sites[s]] for s in own]
    ]
    if alike and rng.random() < 0.4:
        scopes = [own, *alike]
    if rng.random() < 0.6:
        return {"sites": scopes, "costs": _dense(sizes, cost), "rule": rule}
    every: list[tuple[Any, ...]] = [()]
    for s in own:
        every = [(*t, v) for t in every for v in sites[s]]
    listed = rng.sample(every, rng.randint(0, min(5, len(every))))
    default = rng.choice((0, None)) if rule else rng.choice((0.0, 0.0, cost()))
    return {
        "sites": scopes,
        "tuples": [[*t, cost()] for t in listed],
        "default": default,
        "rule": rule,
    }


def _dense(sizes: Sequence[int], cost: Callable[[], float | None]) -> Any:
    if not sizes:
        return cost()
    return [_dense(sizes[1:], cost) for _ in range(sizes[0])]


def _edges(rng: random.Random, sites: Sites) -> dict[str, Any]:
    scale = rng.choice(SCALES)
    n = len(sites)
    edges = [
        [rng.randrange(n), rng.randrange(n), _cost(rng, scale) or 0]
        for _ in range(rng.randint(1, 6))
    ]
    return {"edges": edges}


def _spins(rng: random.Random, sites: Sites) -> dict[str, Any] | None:
    if any(len(values) != 2 for values in sites):
        return None
    scale, n = rng.choice(SCALES), len(sites)
    pairs = [rng.sample(range(n), 2) for _ in range(rng.randint(1, 4))] if n > 1 else []

    def number() -> float:
        return _cost(rng, scale) or 0

    couplings: Any = number() if rng.random() < 0.4 else [number() for _ in pairs]
    fields: Any = number() if rng.random() < 0.5 else [number() for _ in range(n)]
    return {"pairs": pairs, "couplings": couplings, "fields": fields}


def _puzzle(rng: random.Random, sites: Sites) -> dict[str, Any] | None:
    if not 1 < len(sites) <= 4 or len(sites[0]) < 2 or len(sites[0]) > 3:
        return None
    lines = [rng.sample(range(len(sites)), rng.randint(2, len(sites))) for _ in range(2)]
    params = {"lines": lines, "blank": rng.choice(sites[0])}
    return params | ({"nodes": 1} if rng.random() < 0.5 else {})


def _step(rng: random.Random, sites: Sites) -> dict[str, Any]:
    step = rng.choice((0.1, 0.3, 0.7))
    most = sum(len(values) - 1 for values in sites)
    return {"step": step, "goal": round(step * rng.randint(0, most), 3)}


def _words(rng: random.Random, sites: Sites) -> dict[str, Any] | None:
    if len({len(values) for values in sites}) > 1:
        return None
    words = [[rng.randrange(len(v)) for v in sites] for _ in range(rng.randint(1, 3))]
    return {"words": [list(w) for w in dict.fromkeys(map(tuple, words))]}


def _nothing(rng: random.Random, sites: Sites) -> dict[str, Any]:
    return {}


def _wave(rng: random.Random, sites: Sites) -> dict[str, Any]:
    return {"scale": rng.choice((1.0, 0.1, 100.0))}


def _modulo(rng: random.Random, sites: Sites) -> dict[str, Any]:
    return {"m": rng.choice((2, 3)), "r": rng.choice((0, 1))}


PARAMS: dict[str, Params] = {
    "discrete.all_different": _lists("lines", 1, 4),
    "discrete.not_equal": _lists("pairs", 2, 2, 2),
    "discrete.equal": _lists("pairs", 2, 2, 2),
    "graph.coloring": _lists("edges", 2, 2, 2),
    "discrete.exactly_one": _groups,
    "discrete.at_most_one": _groups,
    "discrete.at_least_one": _groups,
    "discrete.clause": _clauses,
    "discrete.linear": _linear,
    "discrete.table": _tables,
    "graph.cut": _edges,
    "discrete.lattice": _spins,
    "discrete.proper": _puzzle,
    "odd.Tenths": _step,
    "odd.Unsure": _nothing,
    "odd.UnsureTable": _nothing,
    "odd.Word": _words,
    "odd.Wave": _wave,
    "odd.WaveTable": _wave,
    "odd.Modulo": _modulo,
}


def _learned(seed: int, rng: random.Random) -> Case:
    """The kinds with shipped weights, with all but a few cells given."""
    kind = rng.choice(("rules", "couplings", "image", "tabular", "label"))
    terms: list[dict[str, Any]]
    if kind in ("rules", "couplings"):
        spec: dict[str, Any] = {"values": list(range(1, 10)), "shape": [9, 9]}
        own = _sudoku(rng)
        name = "discrete.learned_rules" if kind == "rules" else "discrete.learned_couplings"
        weights = {"weights": "learned_sudoku.safetensors"}
        terms = [{"kind": name, "scope": ["x"], "params": weights, "name": "learned"}]
        count = 4 if kind == "rules" else 2
    elif kind == "image":
        spec = {"values": [0, 1], "shape": [14, 14]}
        own = [rng.choice((0, 0, 0, 1)) for _ in range(196)]
        weights = {"weights": "digits14.safetensors"}
        terms = [
            {"kind": "discrete.binary_image", "scope": ["x"], "params": weights, "name": "learned"}
        ]
        count = 4
    else:
        return _loan(seed, rng, kind)
    for site in rng.sample(range(len(own)), rng.randint(1, count)):
        own[site] = None
    if kind != "image":
        open_sites = [s for s, v in enumerate(own) if v is None]
        costs = [rng.randint(0, 5) for _ in spec["values"]]
        terms.append(
            {"kind": "discrete.table", "scope": ["x"], "name": "wish",
             "params": {"sites": [rng.choice(open_sites)], "costs": costs}}
        )  # fmt: skip
    row = {"x": _nested(own, spec["shape"])}
    return Case(seed, {"variables": {"x": spec}, "terms": terms}, [row], {}, [{}])


def _sudoku(rng: random.Random) -> list[int | None]:
    """A solved board, sometimes with one wrong cell."""
    names = rng.sample(range(1, 10), 9)
    board: list[int | None] = [
        names[(3 * (r % 3) + r // 3 + c) % 9] for r in range(9) for c in range(9)
    ]
    assert all(len({board[s] for s in line}) == 9 for line in sudoku_lines())
    if rng.random() < 0.3:
        board[rng.randrange(81)] = rng.randint(1, 9)
    return board


def _loan(seed: int, rng: random.Random, kind: str) -> Case:
    columns = loans()
    variables, row = {}, {}
    asked = set(rng.sample(range(len(columns)), rng.randint(1, 2)))
    for k, column in enumerate(columns):
        values = [_number(v) for v in column["values"]]
        values = values if all(v is not None for v in values) else list(column["values"])
        variables[column["name"]] = {"values": values}
        if k not in asked:
            row[column["name"]] = rng.choice(values)
    params: dict[str, Any] = {"weights": "loans.safetensors"}
    name = "discrete.tabular"
    if kind == "label":
        name, params = "discrete.tabular_label", params | {"target": "repaid"}
    scope = list(variables)
    terms = [{"kind": name, "scope": scope, "params": params, "name": "learned"}]
    return Case(seed, {"variables": variables, "terms": terms}, [row], {}, [{}])


def _number(text: str) -> float | int | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value.is_integer() else value
