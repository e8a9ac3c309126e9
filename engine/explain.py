"""Why a query is infeasible: a minimal clash of evidence and rules, and the smallest repair.

Evidence and parts of rules become assumptions of one Boolean formula. A minimal conflict is found
by deletion, every refutation shrinking the candidates to its core; the smallest repair by implicit
hitting sets (Moreno-Centeno and Karp, Operations Research 2013): the least set that meets every
conflict found so far, until dropping it makes the rest feasible.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.answer import Conflict, Part, Place, term_names
from engine.domain import Finite
from engine.encode import Boolean, NotEncodable, encode
from engine.factors import Clauses, Counted, Factors, Table, _concatenated, _conditioned, ints
from engine.kernels import clauses as learning
from engine.problem import Problem
from engine.solve import Budget, budget_of

CONFLICTS = 1_000_000  # the learning search may spend in one test before the explanation gives up
SLICE = 500  # conflicts between two looks at the budget
SPELLED = 12  # entries and parts that the words of a conflict name


@dataclass(frozen=True, eq=False)
class Selectable:
    """A formula in which every part of every rule binds only while its switch is on."""

    boolean: Boolean
    parts: tuple[tuple[int, int], ...]  # (place of the term, place of the part)
    switches: np.ndarray  # (parts,) Boolean literals


class _Undecided(Exception):
    """A test did not finish within its limit."""


class _Tester:
    """Decides whether assumptions can hold together; keeps what it learns between tests."""

    def __init__(self, boolean: Boolean, over: Callable[[], bool]):
        self.over = over
        formula = learning.Formula(
            boolean.variables,
            boolean.clauses.start,
            boolean.clauses.literal,
            boolean.groups.start,
            boolean.groups.literal,
            boolean.sums.start,
            boolean.sums.literal,
            boolean.coefficient,
            boolean.bound,
            ints([0]),
            np.zeros(0, np.int32),
            np.zeros(0, np.int64),
        )
        self.state = learning.load(formula)

    def core(self, assumptions: Sequence[int]) -> list[int] | None:
        """None when the assumptions can hold together, else those that cannot."""
        limit = learning.conflicts(self.state) + CONFLICTS
        while True:
            status, self.state = learning.search(self.state, assumptions, SLICE)
            if status == learning.SATISFIED:
                return None
            if status == learning.REFUTED:
                return learning.core(self.state).tolist()
            if self.over() or learning.conflicts(self.state) >= limit:
                raise _Undecided

    def minimal(self, candidates: Sequence[int], kept: Sequence[int]) -> list[int]:
        """A minimal subset of the candidates that cannot hold together with `kept`.

        The candidates must be refuted to begin with.
        """
        fixed = set(kept)
        core = self.core([*kept, *candidates])
        assert core is not None
        left = [x for x in candidates if x in set(core)]
        needed: list[int] = []
        while left:
            tried = left.pop()
            core = self.core([*kept, *needed, *left])
            if core is None:
                needed.append(tried)
            else:
                inside = set(core) - fixed
                left = [x for x in left if x in inside]
        return needed


def conflict(problem: Problem, row: int = 0, budget: Budget | None = None) -> Conflict | None:
    """Why one row is infeasible. None when its explicit structure is feasible, or time ran out.

    The evidence is minimal with all rules kept; the parts of rules are minimal with that evidence.
    """
    one = problem.select([row])
    try:
        return _conflict(one, evidence_entries(one), budget_of(budget).clock())
    except (_Undecided, NotEncodable):
        return None


def _conflict(
    problem: Problem, entries: list[tuple[Place, int]], over: Callable[[], bool]
) -> Conflict | None:
    factors, _ = Problem(problem.energy, problem.variables).factored()  # without the evidence
    whole = encode(factors)
    literals = {int(whole.literal[c]): place for place, c in entries}
    tester = _Tester(whole, over)
    if tester.core(list(literals)) is None:
        return None
    clash = tester.minimal(list(literals), [])
    repair = _repair(tester, list(literals), clash) if clash else []
    places = tuple(literals[x] for x in clash)
    parts = _rules(factors, [c for place, c in entries if place in places], over)
    names = term_names(problem)
    named = tuple(Part(names[term], part) for term, part in parts)
    mended = tuple(literals[x] for x in repair)
    return Conflict(places, named, mended, _words(problem, places, parts, mended))


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
            place = Place.at(variable, site, domain.values[value])
            entries.append((place, column + site * k + value))
        column += domain.sites * k
    return entries


def _repair(tester: _Tester, every: list[int], first: list[int]) -> list[int]:
    """The fewest assumptions to give up so that the others can hold together."""
    clashes = [first]
    while True:
        drop = smallest_hitting_set(clashes)
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


def smallest_hitting_set(clashes: list[list[int]]) -> set[int]:
    """The least set that meets every list, by branching on the shortest list with a bound."""
    best: set[int] = {clash[0] for clash in clashes}

    def bound(open_lists: list[list[int]]) -> int:
        used: set[int] = set()
        count = 0
        for clash in sorted(open_lists, key=len):
            if not used & set(clash):
                used |= set(clash)
                count += 1
        return count

    def branch(chosen: set[int], open_lists: list[list[int]], closed: set[int]) -> None:
        nonlocal best
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


def _rules(
    factors: Factors, pinned: list[int], over: Callable[[], bool]
) -> tuple[tuple[int, int], ...]:
    """A minimal set of parts of rules that clashes with these pinned literals."""
    chosen = selectable(factors)
    tester = _Tester(chosen.boolean, over)
    fixed = [int(chosen.boolean.literal[c]) for c in pinned]
    switches = chosen.switches.tolist()
    needed = tester.minimal(switches, fixed)
    index = {literal: k for k, literal in enumerate(switches)}
    return tuple(sorted(chosen.parts[index[x]] for x in needed))


def selectable(factors: Factors) -> Selectable:
    """The same structure with a hidden switch for each part: 1 where it binds."""
    rigid = factors.expanded().listed()
    owners = [(x.term, x.part) for x in (rigid.counted, rigid.clauses, rigid.sums)]
    owners += [(table.term, table.part) for table in rigid.tables]
    keys = sorted(
        {(int(t), int(p)) for term, part in owners for t, p in zip(term, part, strict=True)}
    )
    n = len(rigid.sizes)
    switch = {key: n + k for k, key in enumerate(keys)}

    def conditions(x) -> list[tuple[int, int]]:
        return [(switch[int(t), int(p)], 1) for t, p in zip(x.term, x.part, strict=True)]

    pairs, counted = _pairwise(rigid)
    rigid = replace(rigid, counted=counted, clauses=_concatenated(Clauses, [rigid.clauses, pairs]))
    bound = _conditioned(
        replace(rigid, tables=()),
        conditions(rigid.counted),
        conditions(rigid.clauses),
        conditions(rigid.sums),
    )
    tables = tuple(one for table in rigid.tables for one in _switched(table, switch, rigid.sizes))
    sizes = np.concatenate([rigid.sizes, np.full(len(keys), 2)]).astype(np.int64)
    boolean = encode(replace(bound, sizes=sizes, tables=tables), merge=False)
    on = boolean.literal[boolean.offset[n : n + len(keys)] + 1]
    return Selectable(boolean, tuple(keys), on)


def _pairwise(factors: Factors) -> tuple[Clauses, Counted]:
    """Small at-most-one groups as clauses over pairs, which bind one by one; the counts left."""
    c = factors.counted
    lengths = c.lengths()
    small = (c.high == 1) & (lengths <= 32)
    start, site, value, term, part = [0], [], [], [], []
    for k in np.flatnonzero(small):
        a, b = int(c.start[k]), int(c.start[k + 1])
        i, j = np.triu_indices(b - a, 1)
        site.append(np.stack([c.site[a + i], c.site[a + j]], 1).reshape(-1))
        value.append(np.stack([c.value[a + i], c.value[a + j]], 1).reshape(-1))
        start.extend((start[-1] + 2 * np.arange(1, len(i) + 1)).tolist())
        term.append(np.full(len(i), c.term[k]))
        part.append(np.full(len(i), c.part[k]))
    if not site:
        return Clauses(), c
    flat = np.concatenate(site)
    pairs = Clauses(
        ints(start),
        flat,
        np.concatenate(value),
        np.concatenate(term).astype(np.int64),
        np.concatenate(part).astype(np.int64),
        np.zeros(len(flat), dtype=bool),
    )
    return pairs, replace(c, high=np.where(small, lengths, c.high))


def _switched(table: Table, switch: dict[tuple[int, int], int], sizes) -> list[Table]:
    """One table a scope, with the switch as last site; only what is forbidden matters."""
    out = []
    for k, scope in enumerate(table.scopes):
        shape = [int(sizes[s]) for s in scope]
        dense = table.dense(shape)
        bad = np.argwhere(np.isinf(dense if dense.ndim == len(shape) else dense[0]))
        if not len(bad):
            continue
        key = (int(table.term[k]), int(table.part[k]))
        tuples = np.concatenate([bad, np.ones((len(bad), 1), dtype=np.int64)], 1)
        out.append(
            Table(
                np.append(scope, switch[key])[None],
                tuples.astype(np.int64),
                np.full(len(bad), np.inf),
                term=table.term[k : k + 1],
                part=table.part[k : k + 1],
            )
        )
    return out


def _words(
    problem: Problem,
    places: tuple[Place, ...],
    parts: tuple[tuple[int, int], ...],
    repair: tuple[Place, ...],
) -> str:
    names = term_names(problem)
    rules = [f"{names[t]}: {problem.parts[t].term.says(p)}" for t, p in parts[:SPELLED]]
    said = []
    if places:
        said.append(f"given {_listed([p.text for p in places[:SPELLED]], len(places))}")
    if parts:
        said.append(f"the rules {_listed(rules, len(parts))}")
    text = " and ".join(said) + " cannot hold together; without any one of them the others can"
    if repair:
        give_up = _listed([p.text for p in repair[:SPELLED]], len(repair))
        text += f"; the smallest repair gives up {give_up}"
    return text


def _listed(said: list[str], count: int) -> str:
    return ", ".join(said) + (f" and {count - len(said)} more" if count > len(said) else "")
