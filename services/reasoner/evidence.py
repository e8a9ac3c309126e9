"""Which sites of the evidence are wrong, one by one."""

from collections.abc import Mapping
from typing import Any

from engine.domain import Domain, Variable
from engine.errors import BadQuery, Mistake
from engine.plain import flatten, place_path
from services.query import Query
from services.settings import Limits

SITES_TOLD = 10_000  # sites of wrong evidence that are looked at one by one


def evidence_mistakes(
    query: Query, variables: Mapping[str, Variable], limits: Limits
) -> BadQuery | None:
    """Everything wrong with the evidence, site by site."""
    found: list[Mistake] = []
    for row, evidence in enumerate(query.evidence):
        path = "evidence" if query.rows == 1 else f"evidence[{row}]"
        for name, value in evidence.items():
            if name in variables and value is not None:
                told = _wrong_sites(variables[name].domain, value)
                found += BadQuery(*told).under(f"{path}.{name}").mistakes
        if len(found) > limits.mistakes:
            break
    return BadQuery(*found) if found else None


def _wrong_sites(domain: Domain, value: Any) -> list[Mistake]:
    """What is wrong with one entry of evidence: its shape, or else some of its sites."""
    try:
        domain.narrow([value])
        return []
    except BadQuery as error:
        first = list(error.mistakes)
    try:
        flat = flatten(value, domain.shape)
    except BadQuery:
        return first
    found: list[Mistake] = []
    one = _single(domain)
    for site, entry in enumerate(flat[:SITES_TOLD]):
        if entry is None:
            continue
        try:
            one.narrow([entry])
        except BadQuery as error:
            found += error.under(place_path(site, domain.shape)).mistakes
    return found or first


def _single(domain: Domain) -> Domain:
    """A domain of one site that takes what each site of this one takes."""
    variable = Variable("site", domain)
    return variable[(0,) * len(domain.shape)].of(domain) if domain.shape else domain
