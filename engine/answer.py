"""What an answer is: plain values, what they cost, what was checked, and what was proved."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import torch

from engine.domain import State
from engine.energy import judge, plain_scope
from engine.minimizer import NOT_UNIQUE, UNIQUE
from engine.problem import Problem

if TYPE_CHECKING:
    from engine.solve import Solution

GAP = 1e-6  # an answer is optimal when energy - bound <= GAP * max(1, |energy|)
SAID = 20  # failing parts of one term that a finding spells out


class Status(StrEnum):
    """How much is known about an answer."""

    OPTIMAL = "OPTIMAL"  # rules hold and energy - bound <= 1e-6 max(1, |energy|)
    INFEASIBLE = "INFEASIBLE"  # proved: nothing satisfies the required rules
    SATISFIED = "SATISFIED"  # rules hold, not proved least
    SCORED = "SCORED"  # nothing decidable
    UNSATISFIED = "UNSATISFIED"  # a required rule fails in the best state found; nothing proved


class Flag(StrEnum):
    """Circumstances of an answer, beside its status."""

    DEADLINE = "DEADLINE"  # the time limit ended the search
    CANCELLED = "CANCELLED"  # the caller ended the search
    ABSTAIN = "ABSTAIN"  # outside a module's acceptance band


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
class Place:
    """One entry of the evidence: a variable, the place of a site in it, and the given value."""

    variable: str
    site: tuple[int, ...]
    value: Any


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

    @property
    def holds(self) -> bool | None:
        """Three-valued AND over the required findings: None when not everything is decidable."""
        verdicts = [finding.holds for finding in self.findings if finding.required]
        if False in verdicts:
            return False
        return None if None in verdicts or not verdicts else True


def verify(problem: Problem, solution: "Solution") -> list[Answer]:
    """Re-scores and judges the best states of a solution on plain values: one answer a row.

    `holds` decides, apart from the arithmetic of the search: nothing is called right that was not
    checked.
    """
    report = solution.report
    energies = _energies(problem, report.x)
    return [_answer(problem, solution, row, energies) for row in range(problem.rows)]


def score_plain(problem: Problem, values: Sequence[Mapping[str, Any]]) -> list[Answer]:
    """Energy, findings and status of complete plain values, without any search."""
    x = {
        v.name: torch.stack([v.domain.encode(row[v.name]) for row in values])
        for v in problem.variables
    }
    energies = _energies(problem, x)
    answers = []
    for row, plain in enumerate(values):
        findings = judge_all(problem, dict(plain))
        shares = [float(e[row]) for e in energies]
        answers.append(_graded(problem, dict(plain), findings, shares, -math.inf))
    return answers


def judge_all(problem: Problem, plain: dict[str, Any]) -> tuple[Finding, ...]:
    """What every term says of plain values."""
    findings = []
    for part, name in zip(problem.parts, term_names(problem), strict=True):
        verdict = judge(part.term, plain)
        text = ""
        if verdict is False:
            said = part.term.explain(*plain_scope(part.term, plain))
            text = "; ".join(said[:SAID]) + (f"; and {len(said) - SAID} more"
                                             if len(said) > SAID else "")
        findings.append(Finding(name, verdict, part.required, text))
    return tuple(findings)


def term_names(problem: Problem) -> list[str]:
    """The name of each term in answers; a repeated one carries its place: `name[2]`."""
    labels = [part.label for part in problem.parts]
    return [
        f"{label}[{k}]" if labels.count(label) > 1 else label for k, label in enumerate(labels)
    ]


@torch.no_grad()
def _energies(problem: Problem, x: State) -> list[torch.Tensor]:
    """Weighted energy of each term (0 for required ones). -> one (R,) float64 per term"""
    out = []
    for part in problem.parts:
        if part.weight is None:
            out.append(torch.zeros(next(iter(x.values())).shape[0], dtype=torch.float64))
        else:
            out.append(part.weight * part.term(x).double())
    return out


def _answer(problem: Problem, solution: "Solution", row: int, energies) -> Answer:
    report = solution.report
    bound = float(report.bound[row])
    common: dict[str, Any] = {
        "flags": solution.flags[row],
        "steps": solution.steps,
        "seconds": solution.seconds,
    }
    if bound == math.inf:
        return Answer(Status.INFEASIBLE, None, None, None, **common)
    plain = problem.plain(report.x, row)
    findings = judge_all(problem, plain)
    answer = _graded(problem, plain, findings, [float(e[row]) for e in energies], bound)
    unique = {UNIQUE: True, NOT_UNIQUE: False}.get(int(report.unique[row]))
    checked = answer.status in (Status.OPTIMAL, Status.SATISFIED)
    return replace(
        answer,
        unique=unique if checked else None,
        alternatives=_alternatives(problem, report.others[row]) if checked else (),
        **common,
    )


def _alternatives(problem: Problem, states: Sequence[State]) -> tuple[Alternative, ...]:
    """Other answers, each re-scored and judged; one that does not check out is dropped."""
    kept = []
    for state in states:
        plain = problem.plain(state, 0)
        energy = float(sum(e[0] for e in _energies(problem, state)))
        if math.isfinite(energy) and all(
            f.holds is not False for f in judge_all(problem, plain) if f.required
        ):
            kept.append(Alternative(plain, energy))
    return tuple(kept)


def _graded(
    problem: Problem,
    plain: dict[str, Any],
    findings: tuple[Finding, ...],
    shares: Sequence[float],
    bound: float,
) -> Answer:
    """The answer that these findings and energies allow."""
    energy = math.fsum(shares) if all(map(math.isfinite, shares)) else sum(shares)
    verdicts = [f.holds for f in findings if f.required]
    if False in verdicts or not math.isfinite(energy):
        status = Status.UNSATISFIED
    elif bound > -math.inf and energy - bound <= GAP * max(1.0, abs(energy)):
        status = Status.OPTIMAL
    elif any(f.holds is not None for f in findings):
        status = Status.SATISFIED
    else:
        status = Status.SCORED
    terms = tuple(
        TermEnergy(name, share if math.isfinite(share) else None)
        for name, share in zip(term_names(problem), shares, strict=True)
    )
    return Answer(
        status,
        plain,
        energy if math.isfinite(energy) else None,
        bound if math.isfinite(bound) else None,
        terms,
        findings,
    )
