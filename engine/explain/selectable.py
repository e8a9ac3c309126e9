"""The rules of a problem with a switch for each part."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from engine.answer import Place
from engine.decimals import Ints
from engine.explain.tester import Tester
from engine.factors import Clauses, Counted, Factors, ints
from engine.factors.amounts import failing_table
from engine.factors.conditions import put_under_condition
from engine.factors.tightened import overfull
from engine.judgement import term_names
from engine.problem import Problem
from engine.search.boolean import Boolean, encode

SPELLED = 12  # entries and parts that the words of a conflict name


@dataclass(frozen=True, eq=False)
class Selectable:
    """A formula in which every part of every rule binds only while its switch is on."""

    boolean: Boolean
    parts: tuple[tuple[int, int], ...]  # (place of the term, place of the part)
    switches: np.ndarray  # (parts,) Boolean literals


def conflicting_rules(
    factors: Factors, pinned: list[int], over: Callable[[], bool]
) -> tuple[tuple[int, int], ...]:
    """A minimal set of parts of rules that clashes with these pinned literals."""
    chosen = selectable(factors)
    tester = Tester(chosen.boolean, over)
    fixed = [int(chosen.boolean.literal[c]) for c in pinned]
    switches = chosen.switches.tolist()
    needed = tester.minimal(switches, fixed)
    index = {literal: k for k, literal in enumerate(switches)}
    return tuple(sorted(chosen.parts[index[x]] for x in needed))


def selectable(factors: Factors) -> Selectable:
    """The same structure with a hidden switch for each part: 1 where it binds."""
    rigid = factors.expanded()
    owners = [(x.term, x.part) for x in (rigid.counted, rigid.clauses, rigid.sums)]
    hard = [failing_table(table, math.inf) for table in rigid.tables if table.forbids]
    owners += [(table.term, table.part) for table in hard]
    keys = sorted(
        {(int(t), int(p)) for term, part in owners for t, p in zip(term, part, strict=True)}
    )
    n = len(rigid.sizes)
    switch = {key: n + k for k, key in enumerate(keys)}

    def conditions(x) -> list[tuple[int, int]]:
        return [(switch[int(t), int(p)], 1) for t, p in zip(x.term, x.part, strict=True)]

    pairs, counted = _pairwise(rigid)
    rigid = replace(rigid, counted=counted, clauses=Clauses.joined([rigid.clauses, pairs]))
    bound = put_under_condition(
        replace(rigid, tables=()),
        conditions(rigid.counted),
        conditions(rigid.clauses),
        conditions(rigid.sums),
    )
    counting = _counted(factors, switch)
    # what says only what a hidden site means binds always
    meaning = _units(ints([switch[key] for key in keys if key[1] < 0]))
    bound = replace(bound, clauses=Clauses.joined([bound.clauses, counting, meaning]))
    tables = tuple(t.under(ints([s for s, _ in conditions(t)]), 1) for t in hard)
    sizes = np.concatenate([rigid.sizes, np.full(len(keys), 2)]).astype(np.int64)
    boolean = encode(replace(bound, sizes=sizes, tables=tables), merge=False)
    on = boolean.literal[boolean.offset[n : n + len(keys)] + 1]
    parts = [k for k, key in enumerate(keys) if key[1] >= 0]
    return Selectable(boolean, tuple(keys[k] for k in parts), on[parts])


def _units(sites: Ints) -> Clauses:
    """Each of these sites is 1."""
    m = len(sites)
    one, none = np.ones(m, dtype=np.int64), np.zeros(m, dtype=np.int64)
    return Clauses(np.arange(m + 1), sites, one, none, none, np.ones(m, dtype=bool))


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


def _counted(factors: Factors, switch: dict[tuple[int, int], int]) -> Clauses:
    """What counting says and clause learning hardly finds: where more sites than values all differ,
    one of the parts that say so does not bind. One such place is enough."""
    d = factors.different
    for sites in overfull(factors)[:1]:
        owner = np.repeat(np.arange(d.count), np.diff(d.start))
        inside = np.bincount(owner, np.isin(d.site, sites), d.count)
        open_, keys = set(combinations(sorted(sites.tolist()), 2)), []
        for k in np.argsort(-inside, kind="stable").tolist():
            line = sorted(set(d.site[d.start[k] : d.start[k + 1]].tolist()).intersection(sites))
            if not open_.isdisjoint(pairs := set(combinations(line, 2))):
                open_ -= pairs
                keys.append(switch[int(d.term[k]), int(d.part[k])])
            if not open_:
                break
        zero, n = ints([0]), len(keys)
        return Clauses(ints([0, n]), ints(keys), np.zeros(n, int), zero, zero, np.ones(n, bool))
    return Clauses()


def said_of(
    problem: Problem,
    places: tuple[Place, ...],
    parts: tuple[tuple[int, int], ...],
    repair: tuple[Place, ...],
) -> str:
    """What clashes, in words; no parts: it was not found which."""
    names = term_names(problem)
    rules = [f"{names[t]}: {problem.summands[t].term.says(p)}" for t, p in parts[:SPELLED]]
    said = []
    if places:
        said.append(f"given {_listed([p.text for p in places[:SPELLED]], len(places))}")
    if parts:
        noun = "rules" if len(parts) > 1 else "rule"
        said.append(f"the {noun} {_listed(rules, len(parts))}")
    else:
        said.append("the rules")
    alone = not places and len(parts) == 1  # one rule that nothing keeps
    text = f"{' and '.join(said)} cannot hold{'' if alone else ' together'}"
    if parts and not alone:
        text += "; without any one of them the others can"
    if repair:
        give_up = _listed([p.text for p in repair[:SPELLED]], len(repair))
        text += f"; the smallest repair gives up {give_up}"
    return text


def _listed(said: list[str], count: int) -> str:
    return ", ".join(said) + (f" and {count - len(said)} more" if count > len(said) else "")
