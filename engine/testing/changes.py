"""The contract of the fewest changes that a rule names: those of a plain loop over all states."""

import itertools
import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from engine.domain import Finite, Variable
from engine.energy import Term, plain_scope
from engine.minimizer import never
from engine.plain import flatten, nest
from engine.random import Stream

ROWS = 8  # random states that are to be changed
STATES = 256  # of the sites that may change, at most

Site = tuple[str, int]  # variable, flat place
Flat = Mapping[str, Sequence[Any]]  # plain values of each variable


def check_fewest_changes(term: Term, seed: int) -> None:
    """`fewest_changes` of random states of which random sites may change, and of others some are
    wanted: what it names can change so that the rule holds; where it rules out fewer, a loop over
    all states finds no fewer; it is the same when asked again, and true also where it is stopped.
    """
    place = _places(term)
    if place is None:
        return
    variables, rng = term.variables(), random.Random(seed)
    draw = Stream(seed, torch.tensor([seed]))
    drawn = {
        v.name: v.domain.decode(v.domain.sample(ROWS, draw.fork(k)))
        for k, v in enumerate(variables)
    }
    for row in range(ROWS):
        flat = {v.name: flatten(drawn[v.name][row], v.domain.shape) for v in variables}
        free = _some_sites(variables, list(place), rng)
        wanted: dict[str, list[Any]] = {
            name: [
                None if (name, site) in free or rng.random() < 0.5 else value
                for site, value in enumerate(values)
            ]
            for name, values in flat.items()
        }
        asked = (_scope(term, flat), _scope(term, wanted), [place[site] for site in free])
        found = term.fewest_changes(*asked, never)
        assert found == term.fewest_changes(*asked, never), (
            f"{term.label}: fewest_changes differs on the same values"
        )
        ways: list[frozenset[Site]] | None = None
        back = dict(zip(asked[2], free, strict=True))
        for told in (found, term.fewest_changes(*asked, lambda: True)):
            if told is None:
                continue
            ways = _ways(term, flat, free) if ways is None else ways
            _check(term, told, back, ways, asked[0])


def _check(
    term: Term,
    told: tuple[Sequence[tuple[int, int]], bool],
    back: Mapping[tuple[int, int], Site],
    ways: Sequence[frozenset[Site]],
    values: Any,
) -> None:
    """What it names against all ways to make the rule hold."""
    named, proved = told
    said = f"{term.label}: fewest_changes names {list(named)} at {values}"
    assert len(set(named)) == len(named), f"{said}, some of them twice"
    assert all(site in back for site in named), f"{said}, and {list(back)} may change"
    sites = {back[site] for site in named}
    assert any(way <= sites for way in ways), f"{said}, and no values there make it hold"
    least = min(map(len, ways))
    assert not proved or len(sites) == least, f"{said} and rules out fewer, and {least} will do"


def _places(term: Term) -> dict[Site, tuple[int, int]] | None:
    """Where each site of the scope stands in it; None: one stands twice, and nobody would ask."""
    every = [
        ((view.variable.name, int(site)), (entry, within))
        for entry, view in enumerate(term.scope)
        for within, site in enumerate(view.places.reshape(-1))
    ]
    places = dict(every)
    return places if len(places) == len(every) else None


def _some_sites(
    variables: Sequence[Variable], sites: Sequence[Site], rng: random.Random
) -> list[Site]:
    """Some finite sites of the scope that have few states together."""
    domains = {v.name: v.domain for v in variables}
    most, states, found = rng.choice((1, 8, STATES)), 1, []
    for name, site in rng.sample(sites, len(sites)):
        domain = domains[name]
        if not isinstance(domain, Finite) or not bool(domain.allowed.all()):
            continue
        if states * len(domain.values) <= most:
            states *= len(domain.values)
            found.append((name, site))
    return found


def _scope(term: Term, flat: Flat) -> list[Any]:
    """Flat values of the variables as those of the scope."""
    shapes = {v.name: v.domain.shape for v in term.variables()}
    return plain_scope(term, {name: nest([*own], shapes[name]) for name, own in flat.items()})


def _ways(term: Term, flat: Flat, free: Sequence[Site]) -> list[frozenset[Site]]:
    """The sites that change, for every way to fill the free ones so that the rule holds."""
    domains = {v.name: v.domain for v in term.variables() if isinstance(v.domain, Finite)}
    before = [domains[name].place(flat[name][site]) for name, site in free]
    found = []
    for filled in itertools.product(*(range(len(domains[name].values)) for name, _ in free)):
        changed = {name: [*own] for name, own in flat.items()}
        for (name, site), place in zip(free, filled, strict=True):
            changed[name][site] = domains[name].values[place]
        if term.holds(*_scope(term, changed)) is True:
            moved = zip(free, before, filled, strict=True)
            found.append(frozenset(site for site, old, new in moved if old != new))
    return found
