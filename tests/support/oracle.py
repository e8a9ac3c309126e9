"""An independent judge: a plain query as a CP-SAT model, built from its text and nothing of ours.

Required terms become constraints, weighted ones costs. It shares no code with `factors`.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ortools.sat.python import cp_model

PARTS = {
    "discrete.all_different": "lines",
    "discrete.not_equal": "pairs",
    "discrete.equal": "pairs",
    "discrete.exactly_one": "groups",
    "discrete.at_most_one": "groups",
    "discrete.at_least_one": "groups",
    "discrete.clause": "clauses",
    "graph.coloring": "edges",
}
UNITS = 1000  # costs are counted in thousandths
Solved = tuple[bool | None, float | None, dict | None]


class Judge:
    """One query as a model: literals, constraints, costs; evidence is fixed or given a price."""

    def __init__(self, query: Mapping[str, Any], soft_evidence: bool = False):
        self.query, self.model = query, cp_model.CpModel()
        self.values: dict[str, list[Any]] = {}
        self.literal: dict[tuple[str, int], list[Any]] = {}
        for name, spec in query["variables"].items():
            self.values[name] = list(spec["values"])
            count = 1
            for n in spec.get("shape", ()):
                count *= n
            for site in range(count):
                choices = self._choices(f"{name} {site}", self.values[name])
                self.literal[name, site] = choices
        self.costs: list[Any] = []
        for term in query["terms"]:
            self._term(term)
        self.kept = []
        for name, site, value in entries(query.get("evidence", {})):
            given = self.at((name, site), value)
            if soft_evidence:
                self.kept.append(given)
            else:
                self.model.add(given == 1)
        if soft_evidence:
            self.model.maximize(sum(self.kept))
        elif self.costs:
            self.model.minimize(sum(self.costs))

    def _choices(self, name: str, values: Sequence[Any]) -> list[Any]:
        """A literal for each value; of two values, one is the negation of the other."""
        if len(values) == 2:
            second = self.model.new_bool_var(f"{name} {values[1]}")
            return [~second, second]
        choices = [self.model.new_bool_var(f"{name} {value}") for value in values]
        self.model.add_exactly_one(choices)
        return choices

    def at(self, site: tuple[str, int], value: Any) -> Any:
        """The literal that a site has a value."""
        return self.literal[site][self.values[site[0]].index(value)]

    def solve(self, seconds: float = 60.0) -> Solved:
        """Whether it can hold (None: not known in time), the least cost, and the values."""
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        if self.costs:  # the default level takes 100 times as long for a timetable
            solver.parameters.linearization_level = 2
        solver.parameters.max_time_in_seconds = seconds
        status = solver.solve(self.model)
        if status == cp_model.INFEASIBLE:
            return False, None, None
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            return None, None, None
        found = {
            site: next(
                v
                for v, x in zip(self.values[site[0]], choices, strict=True)
                if solver.boolean_value(x)
            )
            for site, choices in self.literal.items()
        }
        cost = solver.objective_value / UNITS if self.costs and not self.kept else 0.0
        if self.kept:
            cost = len(self.kept) - solver.objective_value
        if (self.costs or self.kept) and status != cp_model.OPTIMAL:
            return True, None, found
        return True, cost, found

    def _sites(self, term: Mapping[str, Any]) -> list[tuple[str, int]]:
        return [key for name in term["scope"] for key in self.literal if key[0] == name]

    def _term(self, term: Mapping[str, Any]) -> None:
        kind, params = term["kind"], term["params"]
        sites, model = self._sites(term), self.model
        soft = term.get("required") is False or (
            kind == "discrete.table" and not term.get("required")
        )
        weight = round(UNITS * term.get("weight", 1.0))
        if kind == "discrete.table":
            self._table(sites, params, weight, soft)
            return
        if soft and kind == "discrete.clause":
            self._clauses(sites, params["clauses"], weight)
            return
        if soft:
            raise NotImplementedError(f"a weighted {kind}")
        if kind == "discrete.linear":
            total = sum(c * self.at(sites[s], v) for s, v, c in params["terms"])
            model.add(
                {
                    "==": total == params["constant"],
                    "<=": total <= params["constant"],
                    ">=": total >= params["constant"],
                }[params["compare"]]
            )
            return
        if kind == "discrete.circuit":
            self._circuit([sites[s] for s in params.get("sites") or range(len(sites))])
            return
        for part in params[PARTS[kind]]:
            if kind in ("discrete.all_different", "discrete.not_equal", "graph.coloring"):
                every = dict.fromkeys(v for s in part for v in self.values[sites[s][0]])
                for value in every:
                    model.add_at_most_one(
                        self.at(sites[s], value) for s in part if value in self.values[sites[s][0]]
                    )
            elif kind == "discrete.equal":
                for value in self.values[sites[part[0]][0]]:
                    model.add(self.at(sites[part[0]], value) == self.at(sites[part[1]], value))
            elif kind == "discrete.clause":
                model.add_bool_or(
                    self.at(sites[s], v) if sign else ~self.at(sites[s], v) for s, v, sign in part
                )
            else:
                literals = [self.at(sites[s], v) for s, v in part]
                add = {
                    "discrete.exactly_one": model.add_exactly_one,
                    "discrete.at_most_one": model.add_at_most_one,
                    "discrete.at_least_one": model.add_at_least_one,
                }[kind]
                add(literals)

    def _circuit(self, nodes: list) -> None:
        """The value of each site is the node that follows."""
        arcs = []
        for tail, key in enumerate(nodes):
            for head in self.values[key[0]]:
                if head in range(len(nodes)) and (head != tail or len(nodes) == 1):
                    arcs.append((tail, head, self.at(key, head)))
                else:
                    self.model.add(self.at(key, head) == 0)
        self.model.add_circuit(arcs)

    def _clauses(self, sites: list, clauses: Sequence, weight: int) -> None:
        """Each clause that fails costs the weight."""
        for part in clauses:
            fails = self.model.new_bool_var("")
            literals = [
                self.at(sites[s], v) if sign else ~self.at(sites[s], v) for s, v, sign in part
            ]
            self.model.add_bool_or([*literals, fails])
            self.costs.append(weight * fails)

    def _table(self, sites: list, params: Mapping[str, Any], weight: int, soft: bool) -> None:
        lists = params["sites"]
        for scope in lists if isinstance(lists[0], list) else [lists]:
            keys = [sites[s] for s in scope]
            domains = [self.values[key[0]] for key in keys]
            for places in itertools.product(*(range(len(d)) for d in domains)):
                values = [d[p] for d, p in zip(domains, places, strict=True)]
                cost = _cost(params, places, values)
                literals = [self.at(key, v) for key, v in zip(keys, values, strict=True)]
                if cost is None:
                    self.model.add_bool_or(~x for x in literals)
                elif cost and soft and len(literals) == 1:
                    self.costs.append(round(weight * cost) * literals[0])
                elif cost and soft:
                    met = self.model.new_bool_var("")
                    self.model.add_bool_or(*(~x for x in literals), met)
                    for x in literals:
                        self.model.add_implication(met, x)
                    self.costs.append(round(weight * cost) * met)


def _cost(params: Mapping[str, Any], places: Sequence[int], values: Sequence[Any]) -> float | None:
    if params.get("costs") is not None:
        cost = params["costs"]
        for place in places:
            cost = cost[place]
        return cost
    listed = {tuple(t[:-1]): t[-1] for t in params["tuples"]}
    return listed.get(tuple(values), params.get("default", 0.0))


def entries(evidence: Mapping[str, Any]) -> list[tuple[str, int, Any]]:
    """(variable, flat site, value) of everything that is given."""
    return [
        (name, site, value)
        for name, nested in evidence.items()
        for site, value in enumerate(_flat(nested))
        if value is not None
    ]


def _flat(nested: Any) -> list[Any]:
    if not isinstance(nested, (list, tuple)):
        return [nested]
    return [value for part in nested for value in _flat(part)]


def restricted(query: Mapping[str, Any], parts: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """The query with these parts of its rules only: (place of the term, place of the part)."""
    terms = []
    for k, term in enumerate(query["terms"]):
        mine = [part for owner, part in parts if owner == k]
        if not mine:
            continue
        params = dict(term["params"])
        if term["kind"] in PARTS:
            field = PARTS[term["kind"]]
            params[field] = [params[field][part] for part in mine]
        elif term["kind"] == "discrete.table" and isinstance(params["sites"][0], list):
            params["sites"] = [params["sites"][part] for part in mine]
        terms.append({**term, "params": params})
    return {**query, "terms": terms}


def feasible(query: Mapping[str, Any], given: Sequence[tuple[str, int, Any]]) -> bool | None:
    """Whether the rules hold together with this evidence, whatever it would cost."""
    judge = Judge({**query, "evidence": {}})
    judge.model.clear_objective()
    judge.costs = []
    for name, site, value in given:
        judge.model.add(judge.at((name, site), value) == 1)
    return judge.solve()[0]


def minimal(entries_: Sequence[Any], holds: Callable[[list[Any]], bool | None]) -> bool:
    """All together cannot hold; without any one of them the rest can."""
    every = list(entries_)
    if holds(every) is not False:
        return False
    return all(holds(every[:k] + every[k + 1 :]) is True for k in range(len(every)))


def flat_entry(query: Mapping[str, Any], place: Any) -> tuple[str, int, Any]:
    shape = query["variables"][place.variable].get("shape", ())
    flat = 0
    for n, k in zip(shape, place.site, strict=True):
        flat = flat * n + k
    return place.variable, flat, place.value


def term_names(query: Mapping[str, Any]) -> list[str]:
    return [term.get("name", term["kind"]) for term in query["terms"]]
