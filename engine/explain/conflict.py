"""Why a query is infeasible: a minimal clash of evidence and rules, and the smallest repair.

Evidence and parts of rules become assumptions of one Boolean formula. A minimal conflict is found
by deletion, every refutation shrinking the candidates to its core; the smallest repair by implicit
hitting sets (Moreno-Centeno and Karp, Operations Research 2013): the least set that meets every
conflict found so far, until dropping it makes the rest feasible.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from engine.answer import Conflict, Part, Place
from engine.domain import Finite
from engine.explain.selectable import conflicting_rules, said_of
from engine.explain.tester import Tester, Undecided
from engine.judgement import term_names
from engine.minimizer import never
from engine.problem import Problem
from engine.search.boolean import NotEncodable, encode
from engine.solve import Budget, budget_of

BRANCHES = 100_000  # of one search for a least set that meets every clash


def conflict(problem: Problem, row: int = 0, budget: Budget | None = None) -> Conflict | None:
    """Why one row is infeasible. None when its explicit structure is feasible.

    The evidence is minimal with all rules kept; the parts of rules are minimal with that evidence.
    Of these and the repair, what was not found in time is left out; `text` says so.
    """
    return conflict_or_late(problem.select([row]), budget_of(budget).clock())[0]


def conflict_or_late(problem: Problem, over: Callable[[], bool]) -> tuple[Conflict | None, bool]:
    """Why a one-row problem is infeasible, and whether something of that was not found."""
    opened = _without_evidence(problem)
    factors, rest = opened.concrete(), opened.form.rest
    entries = evidence_entries(problem)
    try:
        whole = encode(factors)
        literals = {int(whole.literal[c]): place for place, c in entries}
        tester = Tester(whole, over)
        if tester.core(list(literals)) is None:
            return None, False
        clash = tester.minimal(list(literals), [])
    except (Undecided, NotEncodable) as why:
        return Conflict(text=f"what clashes was not found: {_said(why)}"), True
    pinned = [c for place, c in entries if int(whole.literal[c]) in clash]
    blind = rest is not None and any(part.required for part in rest.summands())
    mends = clash and not blind
    repair, no_repair = _found(lambda: _repair(tester, list(literals), clash) if mends else [])
    parts, no_parts = _found(lambda: conflicting_rules(factors, pinned, over))
    places, mended = (tuple(literals[x] for x in found or ()) for found in (clash, repair))
    text = said_of(problem, places, parts or (), mended)
    if no_parts:
        text += f"; which rules clash was not found: {no_parts}"
    if no_repair:
        text += f"; the smallest repair was not found: {no_repair}"
    if blind and clash:
        text += "; no repair is told, as some rules can only be asked about complete values"
    names = term_names(problem)
    named = tuple(Part(names[term], part) for term, part in parts or ())
    return Conflict(places, named, mended, text), bool(no_parts or no_repair)


F = TypeVar("F")


def _found(find: Callable[[], F]) -> tuple[F | None, str]:
    """What was looked for; or None, and why it was not found."""
    try:
        return find(), ""
    except (Undecided, NotEncodable) as why:
        return None, _said(why)


def _said(why: Undecided | NotEncodable) -> str:
    return f"there is no form for {why}" if isinstance(why, NotEncodable) else str(why)


def _without_evidence(problem: Problem) -> Problem:
    """The problem with its finite sites open, beside the same inputs and constants."""
    domains = {v.name: v.domain if v in problem.finite else problem.domains[v.name]
               for v in problem.variables}  # fmt: skip
    return replace(problem, domains=domains, root=None)


def evidence_entries(problem: Problem) -> list[tuple[Place, int]]:
    """The sites of a one-row problem that evidence pins, with their (site, value) number."""
    entries = []
    column = 0
    for variable in problem.finite:
        domain, base = problem.domains[variable.name], variable.domain
        assert isinstance(domain, Finite) and isinstance(base, Finite)
        now = domain.allowed[0].reshape(domain.sites, -1)
        before = base.allowed[0].reshape(domain.sites, -1)
        k = now.shape[1]
        pinned = ((now.sum(1) == 1) & (before.sum(1) > 1)).nonzero().reshape(-1).tolist()
        for site in pinned:
            value = int(now[site].int().argmax())
            place = Place.at(variable.name, variable.domain.shape, site, domain.values[value])
            entries.append((place, column + site * k + value))
        column += domain.sites * k
    return entries


def _repair(tester: Tester, every: list[int], first: list[int]) -> list[int]:
    """The fewest assumptions to give up so that the others can hold together."""
    clashes = [first]
    while True:
        drop = smallest_hitting_set(clashes, tester.over)
        left = [x for x in every if x not in drop]
        core = tester.core(left)
        if core is None:
            return sorted(drop, key=every.index)
        clashes.append(tester.minimal(core, []))
        # disjoint clashes at once: each adds one to the least size
        rest = [x for x in left if x not in set(clashes[-1])]
        while (core := tester.core(rest)) is not None and core:
            clashes.append(tester.minimal(core, []))
            rest = [x for x in rest if x not in set(clashes[-1])]


def smallest_hitting_set(clashes: list[list[int]], over: Callable[[], bool] = never) -> set[int]:
    """The least set that meets every list, by branching on the shortest list with a bound.

    Raises Undecided where time is over, or after `BRANCHES` of them.
    """
    best: set[int] = {clash[0] for clash in clashes}
    branches = 0

    def bound(open_lists: list[list[int]]) -> int:
        used: set[int] = set()
        count = 0
        for clash in sorted(open_lists, key=len):
            if not used & set(clash):
                used |= set(clash)
                count += 1
        return count

    def branch(chosen: set[int], open_lists: list[list[int]], closed: set[int]) -> None:
        nonlocal best, branches
        branches += 1
        if over():
            raise Undecided("the time was over")
        if branches > BRANCHES:
            raise Undecided(f"the least set was not settled after {BRANCHES:,} branches")
        if not open_lists:
            if len(chosen) < len(best):
                best = set(chosen)
            return
        if len(chosen) + bound(open_lists) >= len(best):
            return
        shortest = min(open_lists, key=lambda c: len([x for x in c if x not in closed]))
        gone: set[int] = set()
        for x in shortest:
            if x in closed:
                continue
            branch(chosen | {x}, [c for c in open_lists if x not in c], closed | gone)
            gone.add(x)

    branch(set(), clashes, set())
    return best
