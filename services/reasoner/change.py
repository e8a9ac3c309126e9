"""From values as they stand to the fewest that must change so that all required rules hold."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.answer import Answer, Place, Status
from engine.domain import Finite
from engine.energy import Sum, Summand
from engine.errors import BadQuery, Mistake, Mistakes, known
from engine.explain.change import SmallestChange
from engine.minimizer import never
from engine.plain import flatten, nest
from engine.problem import Problem
from engine.solve import Budget
from modules.discrete.clause import Clause
from services.query import Query
from services.query.wish import Wish
from services.reasoner.compile import narrow_problem
from services.settings import DEFAULT, Limits

CHANGED = "changed cells"  # the term that counts them

Ask = Callable[[Problem, Query, float | None], list[Answer]]  # solves a problem of one row, asked
# at that time, from which its seconds count
Flat = dict[str, list[Any]]  # the sites of each variable, row-major; None where open


def smallest_changes(
    problem: Problem,
    query: Query,
    wish: Wish,
    ask: Ask,
    limits: Limits = DEFAULT,
    stop: Callable[[], bool] = never,
) -> list[SmallestChange]:
    """For each row of a problem without evidence, the fewest changes of what the query gives.

    A change costs 1, beside the weighted terms of the query; open sites are filled at no price, and
    real ones stay as they are given. Where one rule is all there is, it may know the fewest by
    itself (`Term.fewest_changes`). Raises BadQuery with every mistake.
    """
    _check(problem, query, wish, limits)
    narrow_problem(problem, query, limits)
    return [_Row(problem, query, wish, evidence).answer(ask, stop) for evidence in query.evidence]


def _check(problem: Problem, query: Query, wish: Wish, limits: Limits) -> None:
    names = [v.name for v in problem.variables]
    wrong = Mistakes(limits.mistakes)
    for path, said in [("wanted", n) for n in wish.wanted] + [
        (f"keep[{k}]", n) for k, n in enumerate(wish.keep)
    ]:
        if said not in names:
            wrong.take(Mistake(path, f"{said!r} is no variable", known(said, names)))
    wrong.check()
    try:
        narrow_problem(problem, query.model_copy(update={"evidence": (dict(wish.wanted),)}), limits)
    except BadQuery as error:
        raise BadQuery(
            *(
                Mistake("wanted" + m.path.removeprefix("evidence"), m.problem, m.remedy)
                for m in error.mistakes
            )
        ) from None


class _Row:
    """One row: its values as they stand, with what is wanted in its place, and what may change."""

    def __init__(self, problem: Problem, query: Query, wish: Wish, evidence: Mapping[str, Any]):
        self.problem, self.query = problem, query
        self.shapes = {v.name: v.domain.shape for v in problem.variables}
        names = {v.name for v in problem.inputs}
        self.told = {name: value for name, value in evidence.items() if name in names}
        own, wanted = self._flat(evidence), self._flat(wish.wanted)
        self.wanted = wanted
        self.whole = {
            name: [w if w is not None else v for v, w in zip(own[name], wanted[name], strict=True)]
            for name in own
        }
        self.free = [
            (v.name, site)
            for v in problem.variables
            if isinstance(v.domain, Finite) and v.name not in wish.keep
            for site, value in enumerate(own[v.name])
            if value is not None and wanted[v.name][site] is None
        ]

    def _flat(self, values: Mapping[str, Any]) -> Flat:
        return {
            v.name: flatten(values[v.name], v.domain.shape)
            if values.get(v.name) is not None
            else [None] * v.domain.sites
            for v in self.problem.variables
        }

    def answer(self, ask: Ask, stop: Callable[[], bool]) -> SmallestChange:
        """The answer of fewest changes that is found."""
        budget = Budget(self.query.budget.seconds, None, stop).begun()
        fewest = self._fewest(budget.clock())
        if fewest is not None:
            free, proved = fewest
            (answer,) = ask(*self._asked(free), budget.since)
            if answer.status in (Status.OPTIMAL, Status.SATISFIED):
                return SmallestChange(answer, self._changed(answer), proved)
        (answer,) = ask(*self._asked(self.free), budget.since)
        alone = all(summand.required for summand in self.problem.summands)
        proved = answer.status is Status.OPTIMAL and alone
        return SmallestChange(answer, self._changed(answer), proved)

    def _fewest(self, stop: Callable[[], bool]) -> tuple[list[tuple[str, int]], bool] | None:
        """The sites that the only rule names by itself, where it is all there is."""
        if len(self.problem.summands) != 1 or not self.problem.summands[0].required:
            return None
        term = self.problem.summands[0].term
        if any(view.told for view in term.scope):
            return None
        sites = {
            (view.variable.name, int(site)): (entry, within)
            for entry, view in enumerate(term.scope)
            for within, site in enumerate(view.places.reshape(-1))
        }
        if any(place not in sites for place in self.free):
            return None
        if len(sites) < sum(view.places.size for view in term.scope):
            return None  # a site stands twice

        def values(flat: Flat) -> list[Any]:
            return [
                view.plain(nest(flat[view.variable.name], self.shapes[view.variable.name]))
                for view in term.scope
            ]

        free = [sites[place] for place in self.free]
        found = term.fewest_changes(values(self.whole), values(self.wanted), free, stop)
        if found is None:
            return None
        back = {place: site for site, place in sites.items()}
        return [back[place] for place in found[0]], found[1]

    def _asked(self, free: Sequence[tuple[str, int]]) -> tuple[Problem, Query]:
        """The row with some of its sites open, at a price of 1 for each that changes."""
        problem, opened = self.problem, set(free)
        evidence = self.told | {
            name: nest(
                [None if (name, s) in opened else v for s, v in enumerate(flat)], self.shapes[name]
            )
            for name, flat in self.whole.items()
            if flat
        }
        scope = [v for v in problem.variables if isinstance(v.domain, Finite)]
        start, starts = 0, {}
        for v in scope:
            starts[v.name] = start
            start += v.domain.sites
        clauses = [[[starts[n] + s, self.whole[n][s], True]] for n, s in free]
        summands = [*problem.summands]
        if scope:
            summands.append(Summand(Clause(*scope, clauses=clauses), 1.0, CHANGED))
        base = Problem(Sum(*summands), (*problem.variables, *problem.inputs))
        asked = self.query.model_copy(update={"evidence": (evidence,)})
        return narrow_problem(base, asked), asked

    def _changed(self, answer: Answer) -> tuple[Place, ...]:
        """The sites whose values are others than before."""
        if answer.values is None or answer.status is Status.INFEASIBLE:
            return ()
        after = self._flat(answer.values)
        domains = {v.name: v.domain for v in self.problem.variables}
        changed = []
        for name, site in self.free:
            domain, value = domains[name], self.whole[name][site]
            assert isinstance(domain, Finite)
            if domain.place(value) != domain.place(after[name][site]):
                changed.append(Place.at(name, domain.shape, site, value))
        return tuple(changed)
