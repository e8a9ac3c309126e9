"""Evidence as a problem takes it; which of its sites are wrong, one by one."""

from collections.abc import Container, Mapping
from typing import Any

from engine.domain import Domain, Given, Told, Variable
from engine.errors import BadQuery, Mistake
from engine.plain import flatten, place_path
from services.query import EvidenceArray, Query
from services.settings import Limits

SITES_TOLD = 10_000  # sites of wrong evidence that are looked at one by one


def given_row(evidence: Mapping[str, Any], told: Container[str]) -> dict[str, Any]:
    """Evidence of a row as a problem takes it, whose inputs are those `told`."""
    return {name: _given(value, name in told) for name, value in evidence.items()}


def _given(value: Any, told: bool) -> Any:
    if not isinstance(value, EvidenceArray):
        return value
    if told and value.present is not None and value.present.ndim == 1:
        return Given(value.values, value.present)
    return value.array()


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
        domain.narrow([_given(value, isinstance(domain, Told))])
        return []
    except BadQuery as error:
        first = list(error.mistakes)
    if isinstance(domain, Told):
        return first
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
