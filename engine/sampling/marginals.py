"""What marginals are, as plain data: for each term that offers them, the chances at open sites."""

from dataclasses import dataclass
from typing import Any

from engine.answer import Flag


@dataclass(frozen=True)
class SiteChances:
    """The chance of every value at one open site."""

    variable: str
    site: tuple[int, ...]  # a place along each axis, from 0
    values: tuple[Any, ...]  # those of the domain, in its order
    chances: tuple[float, ...]  # one a value; 0 where the value cannot be


@dataclass(frozen=True)
class TermChances:
    """What one term says of a row by itself: under exp(-energy) of this term alone."""

    term: str  # as answers call it
    place: int  # in the terms of the query, from 0
    sites: tuple[SiteChances, ...]  # the open ones of its scope, in its order


@dataclass(frozen=True)
class Marginals:
    """The chances of one row."""

    terms: tuple[TermChances, ...]  # those that offer chances, in the order of the query
    flags: tuple[Flag, ...] = ()  # DEADLINE, CANCELLED: some terms were not asked
