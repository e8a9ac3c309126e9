"""What an answer is, as plain data: values, energies by term, findings, status, bound."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

SAID = 20  # failing parts of one term that a finding spells out


class Status(StrEnum):
    """How much is known about an answer."""

    OPTIMAL = "OPTIMAL"  # rules hold, and proved: nothing lower is possible
    INFEASIBLE = "INFEASIBLE"  # proved: nothing satisfies the required rules
    SATISFIED = "SATISFIED"  # rules hold, not proved least
    SCORED = "SCORED"  # nothing decidable
    UNSATISFIED = "UNSATISFIED"  # a required rule fails in the best state found, or cannot say

    # whether it holds; nothing proved


class Flag(StrEnum):
    """Circumstances of an answer, beside its status."""

    DEADLINE = "DEADLINE"  # the time limit ended the search
    CANCELLED = "CANCELLED"  # the caller ended the search
    ABSTAIN = "ABSTAIN"  # outside a module's acceptance band


class Ended(StrEnum):
    """Why a search ended."""

    PROVED = "proved"  # that nothing is better, or that there is nothing
    TIME = "time"  # its time limit
    STEPS = "steps"  # its limit of steps
    GAVE_UP = "gave up"  # of itself, after looking long enough in vain
    CANCELLED = "cancelled"  # its caller


class Proof(StrEnum):
    """What proved a bound, or that there is nothing."""

    FLOOR = "floor"  # what the terms cannot go below
    SEARCH = "search"  # complete search
    RELAXATION = "relaxation"  # linear relaxations, added up again in whole numbers
    CORES = "cores"  # sets of costs that cannot all be avoided
    ELIMINATION = "elimination"  # of site after site
    PROGRAM = "dynamic programming"  # over the totals of a sum, or sets of nodes
    ASSIGNMENT = "assignment"  # shortest ways, and prices of values
    CUT = "minimum cut"
    BUCKETS = "mini-buckets"  # elimination of parts
    MESSAGES = "messages"  # message passing
    CONSISTENCY = "soft consistency"  # search on costs that are moved between sites and pairs
    ENUMERATION = "enumeration"  # of all combinations
    CHEAPEST = "cheapest states"  # of a rule, with prices for all else that must hold
    PARTS = "parts"  # several of these, each of a part of the problem


@dataclass(frozen=True)
class TermEnergy:
    """The share of one term: `energy` counts its weight; None where it is not finite."""

    term: str
    energy: float | None


@dataclass(frozen=True)
class Finding:
    """One thing that was checked on plain values, apart from the search."""

    term: str
    holds: bool | None  # None: the term can only be scored
    required: bool
    text: str = ""  # which parts fail, in words; empty when the term holds


@dataclass(frozen=True)
class Alternative:
    """Another answer to the same query: its values and energy."""

    values: dict[str, Any]
    energy: float


@dataclass(frozen=True)
class RunnerUp:
    """The best answer that differs where it was asked to, and in words what it lost by."""

    values: dict[str, Any]
    energy: float
    terms: tuple[TermEnergy, ...] = ()  # its own shares, to compare with those of the answer
    text: str = ""


@dataclass(frozen=True)
class Place:
    """One entry of the evidence: a variable, the place of a site in it, and the given value."""

    variable: str
    site: tuple[int, ...]
    value: Any

    @staticmethod
    def at(variable: str, shape: tuple[int, ...], place: int, value: Any) -> "Place":
        """The entry of a variable of this shape at a flat, row-major place."""
        site = tuple(int(k) for k in np.unravel_index(place, shape)) if shape else ()
        return Place(variable, site, value)

    @property
    def where(self) -> str:
        """The site in words: `grid[0, 2]`."""
        return f"{self.variable}{[*self.site] if self.site else ''}"

    @property
    def text(self) -> str:
        """The entry in words: `grid[0, 2] = 5`."""
        return f"{self.where} = {self.value!r}"


@dataclass(frozen=True)
class Margin:
    """By how much each site of a variable is ahead: what the best answer with another value there
    costs more lies between two numbers. Sites flat, row-major. Infinite above: no single change is
    possible; infinite below too: no other value is; -inf below: nothing is proved."""

    variable: str
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Part:
    """One part of a rule: the place of its clause, line, pair or edge in the term, from 0."""

    term: str
    part: int


@dataclass(frozen=True)
class Conflict:
    """Why a query is infeasible: minimal evidence and rules that clash, and the smallest repair.

    Removing any one entry makes the rest feasible (all other rules kept).
    """

    evidence: tuple[Place, ...] = ()
    rules: tuple[Part, ...] = ()
    repair: tuple[Place, ...] = ()  # the fewest entries of evidence to give up
    text: str = ""


@dataclass(frozen=True)
class Answer:
    """One row's answer. `values` is None when infeasible; `energy` counts weighted terms only."""

    status: Status
    values: dict[str, Any] | None  # plain nested lists of people's values, one per variable
    energy: float | None
    bound: float | None  # proved: nothing lies below; None when nothing is proved
    terms: tuple[TermEnergy, ...] = ()
    findings: tuple[Finding, ...] = ()
    flags: tuple[Flag, ...] = ()
    unique: bool | None = None  # None: not known
    alternatives: tuple[Alternative, ...] = ()
    conflict: Conflict = Conflict()
    steps: int = 0
    seconds: float = 0.0
    runner_up: RunnerUp | None = None  # None: not asked for, or there is none
    proof: str | None = None  # that it is infeasible, in the DRAT format; None: not asked for
    ended: Ended | None = None  # why the search ended; None: there was none
    proved_by: Proof | None = None  # what proved the bound, or that there is nothing
    abstained: tuple[Place, ...] = ()  # where a module does not stand by the values (ABSTAIN)
    converged: bool | None = None  # no step along the slope makes the numbers cheaper; None: there
    # is no need to ask, as the answer is proved or has no open number, or rules see the numbers
    margins: tuple[Margin, ...] = ()  # none: not asked for, or they cannot be told

    @property
    def holds(self) -> bool | None:
        """Three-valued AND over the required findings: None when not everything is decidable."""
        verdicts = [finding.holds for finding in self.findings if finding.required]
        if False in verdicts:
            return False
        return None if None in verdicts or not verdicts else True
