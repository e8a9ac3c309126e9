"""From a query to marginals: what each term that offers them says of the open sites of each row."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from engine.answer import Flag, Place
from engine.domain import Domain, Finite
from engine.energy import Term, scope_domains
from engine.errors import Mistake, TooLarge
from engine.minimizer import never
from engine.plain import flatten
from engine.problem import Problem
from engine.sampling.marginals import Marginals, SiteChances, TermChances
from engine.solve import Budget
from services.query import Query
from services.remote.lifecycle import Patience, attend
from services.settings import DEFAULT, Limits

STATES = 65_536  # states of all rows together that are asked of between two looks at the clock

Evidence = Mapping[str, Any]


@dataclass(frozen=True)
class _Site:
    """One site of the scope of a term."""

    entry: int  # of the scope
    within: int  # flat, in the entry
    variable: str
    flat: int  # in the variable
    place: tuple[int, ...]  # the same, along each axis


def marginals_query(
    problem: Problem,
    query: Query,
    limits: Limits = DEFAULT,
    stop: Callable[[], bool] = never,
    since: float | None = None,
) -> list[Marginals]:
    """The marginals of each row of a problem that was compiled from a query. Raises TooLarge.

    Each term speaks for itself (`Term.marginals`); one that offers nothing is left out, such as a
    hosted one. stop, and the seconds of the query from `since` on (None: from now), are looked at
    between bunches of rows: what is not there by then is left out, and its row flagged.
    """
    budget = Budget(query.budget.seconds, None, stop, since).begun()
    found: list[list[TermChances]] = [[] for _ in range(problem.rows)]
    late: set[int] = set()
    with attend(problem, Patience(stop)):
        asked = []
        for place, summand in enumerate(problem.summands):
            if type(summand.term).marginals is Term.marginals:
                continue
            sites = _sites(summand.term)
            if len({(site.variable, site.flat) for site in sites}) == len(sites):  # each once
                every = [_open(evidence, summand.term, sites) for evidence in query.evidence]
                asked.append((place, summand.label, summand.term, every))
        _check_size(problem, [sites for *_, every in asked for sites in every], limits)
        for place, label, term, every in asked:
            for rows in _bunches(_states(problem, term)):
                if not budget.lasts(problem.rows, 0.0):
                    late.update(rows)
                    continue
                told = _ask(problem, term, rows, [every[row] for row in rows])
                for row, chances in zip(rows, told, strict=False):
                    found[row].append(TermChances(label, place, chances))
    flag = Flag.CANCELLED if stop() else Flag.DEADLINE
    return [
        Marginals(tuple(terms), (flag,) if row in late else ()) for row, terms in enumerate(found)
    ]


def _sites(term: Term) -> list[_Site]:
    """The sites of the scope of a term, in its order."""
    return [
        _Site(entry, within, name, flat, Place.at(name, shape, flat, None).site)
        for entry, view in enumerate(term.scope)
        for name, shape in [(view.variable.name, view.variable.domain.shape)]
        for within, flat in enumerate(view.places.reshape(-1).tolist())
    ]


def _open(evidence: Evidence, term: Term, sites: Sequence[_Site]) -> list[_Site]:
    """The sites of a term that the evidence of a row does not give."""
    given = {
        name: flatten(evidence[name], variable.domain.shape)
        for name, variable in ((v.variable.name, v.variable) for v in term.scope)
        if evidence.get(name) is not None
    }
    return [s for s in sites if s.variable not in given or given[s.variable][s.flat] is None]


def _check_size(problem: Problem, every: Sequence[Sequence[_Site]], limits: Limits) -> None:
    """Raises TooLarge where more chances are asked for than a query may have sites."""
    domains = (problem.domains[site.variable] for sites in every for site in sites)
    total = sum(d.event[-1] for d in domains if isinstance(d, Finite))
    if total > limits.sites:
        said = f"{total} chances of all rows together"
        raise TooLarge(Mistake("evidence", said, limits.told("sites")))


def _domains(problem: Problem, term: Term) -> list[Domain]:
    """The domains of the scope of a term, with all rows."""
    names = {view.variable.name for view in term.scope}
    return scope_domains(term, {name: problem.domain(name) for name in names})


def _states(problem: Problem, term: Term) -> list[float]:
    """How many states of its Finite scope each row leaves. -> R of them; inf: very many"""
    logs = torch.zeros(problem.rows, dtype=torch.float64)
    for domain in _domains(problem, term):
        if isinstance(domain, Finite):
            logs += domain.allowed.sum(-1).double().log().reshape(problem.rows, -1).sum(-1)
    states: list[float] = logs.exp().tolist()
    return states


def _bunches(states: Sequence[float]) -> Iterator[list[int]]:
    """Rows in order, in bunches of at most `STATES` together, or a row alone."""
    bunch: list[int] = []
    total = 0.0
    for row, count in enumerate(states):
        if bunch and total + count > STATES:
            yield bunch
            bunch, total = [], 0.0
        bunch.append(row)
        total += count
    yield bunch


@torch.no_grad()
def _ask(
    problem: Problem, term: Term, rows: Sequence[int], every: Sequence[Sequence[_Site]]
) -> list[tuple[SiteChances, ...]]:
    """What a term says of the open sites of some rows; nothing where it offers nothing here."""
    domains = _domains(problem.select(rows), term)
    found = term.marginals(*domains)
    if found is None:
        return []
    flat = [p.reshape(len(rows), -1, p.shape[-1]) for p in found]
    told = []
    for k, open_sites in enumerate(every):
        sites = []
        for site in open_sites:
            domain = domains[site.entry]
            assert isinstance(domain, Finite)
            chances = tuple(flat[site.entry][k, site.within].tolist())
            sites.append(SiteChances(site.variable, site.place, domain.values, chances))
        told.append(tuple(sites))
    return told
