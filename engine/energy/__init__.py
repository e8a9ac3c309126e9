"""Energies: terms, weighted sums, required rules, choices."""

from engine.energy.acceptance import accepted_sites, at_every_site, places_of, sites_of
from engine.energy.algebra import (
    Energy,
    Sum,
    Summand,
    begin_shares,
    begin_violations,
    home_of,
    total_of,
)
from engine.energy.choice import AnyOf, Choice, SoftMin, leaves_of, soft_min
from engine.energy.definition import Definition
from engine.energy.tables import Uneven, absences, enumerate_in_pieces
from engine.energy.term import Term, judge, named, plain_scope, required, scope_domains
from engine.energy.told_once import told_once

__all__ = [
    "AnyOf",
    "Choice",
    "Definition",
    "Energy",
    "Summand",
    "SoftMin",
    "Sum",
    "Term",
    "Uneven",
    "absences",
    "accepted_sites",
    "at_every_site",
    "begin_shares",
    "begin_violations",
    "enumerate_in_pieces",
    "home_of",
    "judge",
    "leaves_of",
    "named",
    "places_of",
    "plain_scope",
    "required",
    "scope_domains",
    "sites_of",
    "soft_min",
    "told_once",
    "total_of",
]
