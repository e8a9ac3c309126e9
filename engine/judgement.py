"""Checks an answer by other means than the search used, and says how sure it is."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from engine.answer import (
    SAID,
    Alternative,
    Answer,
    Ended,
    Finding,
    Flag,
    Place,
    Status,
    TermEnergy,
)
from engine.compare import computed_gap, opaque_gap, room
from engine.domain import Given, Real, State, Told, flatten
from engine.energy import Choice, Summand, Term, accepted_sites, places_of, plain_scope
from engine.energy import judge as judge_term
from engine.energy.kin import energies_together
from engine.errors import BadQuery
from engine.factors.explicit import FORBIDDEN
from engine.moves.downhill import settled
from engine.moves.inward import inward
from engine.problem import Problem
from engine.rows import NOT_UNIQUE, PROOFS, UNIQUE, UNKNOWN

if TYPE_CHECKING:
    from engine.solve import Solution


Said = Mapping[Summand, tuple[Finding, float]]  # what terms said of values, and their shares
Energies = Mapping[int, torch.Tensor]  # (R,) float64 of weighted terms, by their place in the sum


def verify(
    problem: Problem, solution: "Solution", energies: Energies | None = None
) -> list[Answer]:
    """Re-scores and judges the best states of a solution on plain values: one answer a row.

    `holds` decides, apart from the arithmetic of the search: nothing is called right that was not
    checked. What keeps rules only by their tolerances is moved to where they hold, if it can be.
    energies: of the weighted terms in these states, where they were asked before.
    """
    answers = _verified(problem, solution, energies)
    within = (solution.report.violation == 0).tolist()
    if not solution.prepared or not any(isinstance(d, Real) for d in problem.domains.values()):
        return answers
    rows = [k for k, a in enumerate(answers) if a.status is Status.UNSATISFIED and within[k]]
    if not rows:
        return answers
    some, own = problem.select(rows), solution.select(rows)
    searched = {v.name: own.report.x[v.name] for v in some.open}
    x, holds = inward(some, searched)
    if bool(holds.any()):
        moved = replace(own, report=replace(own.report, x=some.filled(x)))
        better = _verified(some, moved, None)
        for k, row in enumerate(rows):
            if better[k].status is not Status.UNSATISFIED:
                answers[row] = better[k]
    return answers


def _verified(
    problem: Problem, solution: "Solution", energies: Energies | None = None
) -> list[Answer]:
    """`verify` of the states as they are."""
    if problem.lifted is not None:  # what was computed is judged, too
        x = problem.filled(solution.report.x)
        given = {n: problem.domain(n).project(x[n]) for n in problem.completion.free}
        report = replace(solution.report, x=x | given)  # what was given comes back as it was
        return _verified(problem.unreduced, replace(solution, report=report))
    groups = problem.groups if solution.prepared else [list(range(problem.rows))]
    if solution.prepared and problem.costs.shape[1]:  # rows pay differently
        groups = [[row] for row in range(problem.rows)]
    if len(groups) > 1:
        found: dict[int, Answer] = {}
        asked = energies_of(problem, solution.report.x)  # of all rows in one call of each term
        for rows in groups:
            mine = {k: energy[rows] for k, energy in asked.items()}
            own = _verified(problem.select(rows), solution.select(rows), mine)
            found |= zip(rows, own, strict=True)
        return [found[row] for row in range(problem.rows)]
    report = solution.report
    judge = _Judge(problem)
    plains = problem.plain(report.x)
    cost = judge.shares if solution.prepared else judge.unprepared
    shares = cost(report.x, problem.rows, energies)
    bounds, uniques, by = report.bound.tolist(), report.unique.tolist(), report.by.tolist()
    seconds = solution.clock.tolist()
    outside = abstained(problem, report.x, plains)
    kept = problem.inside(report.x).tolist()
    answers = []
    for row in range(problem.rows):
        flags = solution.flags(row)
        spent: dict[str, Any] = {"steps": solution.steps[row], "seconds": seconds[row]}
        if bounds[row] == math.inf:
            spent["ended"], spent["proved_by"] = Ended.PROVED, PROOFS[by[row]]
            answers.append(Answer(Status.INFEASIBLE, None, None, None, flags=flags, **spent))
            continue
        if outside[row]:
            flags, spent["abstained"] = (*flags, Flag.ABSTAIN), outside[row]
        answer = judge.answer(plains[row], shares[row], bounds[row], uniques[row], row)
        if not kept[row]:  # values that the evidence rules out answer nothing
            answer = replace(answer, status=Status.UNSATISFIED, unique=None)
        checked = answer.status in (Status.OPTIMAL, Status.SATISFIED)
        others = report.others[row] if checked and report.others else ()
        spent["ended"] = ended_of(answer.status, solution.ended(row))
        spent["proved_by"] = None if answer.bound is None else PROOFS[by[row]]
        more = {"flags": flags, "alternatives": judge.alternatives(others, row), **spent}
        answers.append(replace(answer, **more))
    return _converged(problem, report.x, answers) if solution.prepared else answers


def _converged(problem: Problem, x: State, answers: list[Answer]) -> list[Answer]:
    """With what is known of numbers whose answer is not proved."""
    if not any(answer.status in (Status.SATISFIED, Status.SCORED) for answer in answers):
        return answers
    told = settled(problem, x)
    return [
        replace(
            answer, converged=own if answer.status in (Status.SATISFIED, Status.SCORED) else None
        )
        for answer, own in zip(answers, told, strict=True)
    ]


def ended_of(status: Status, otherwise: Ended) -> Ended:
    """Why a search ended that came to this status."""
    return Ended.PROVED if status in (Status.OPTIMAL, Status.INFEASIBLE) else otherwise


def judge_answer(
    problem: Problem, x: State, plain: dict[str, Any], bound: float, unique: int, said: Said
) -> Answer:
    """The answer that one state makes, x (1, *event) and its plain values: as `verify` would say.

    said: of terms that were asked about these very values before; they are not asked again.
    """
    judge = _Judge(problem, said)
    answer = judge.answer(plain, judge.shares(x, 1)[0], bound, unique, 0)
    outside = abstained(problem, x, [plain])[0]
    return replace(answer, flags=(Flag.ABSTAIN,), abstained=outside) if outside else answer


def said_of(problem: Problem, answer: Answer) -> Said:
    """What each summand of a problem said of the values of its answer."""
    every = zip(problem.summands, answer.findings, answer.terms, strict=True)
    return {
        summand: (told, share.energy) for summand, told, share in every if share.energy is not None
    }


def score_plain(problem: Problem, values: Sequence[Mapping[str, Any]]) -> list[Answer]:
    """Energy, findings and status of complete plain values, without any search; the inputs are told
    in each row beside the variables, where the problem is not of one row that was told them."""
    problem = problem.unreduced
    if problem.rows > 1:
        problem = problem.root or problem
    if problem.inputs:
        told = [{n: row[n] for n in problem.told if n in row} for row in values]
        each = [problem.given(**own) if own else problem for own in told]
        return [_scored(given, [row])[0] for given, row in zip(each, values, strict=True)]
    return _scored(problem, values)


def _scored(problem: Problem, values: Sequence[Mapping[str, Any]]) -> list[Answer]:
    x = {
        v.name: torch.stack([v.domain.encode(row[v.name]) for row in values]).to(problem.device)
        for v in problem.variables
    }
    judge = _Judge(problem)
    answers = []
    plains = problem.plain(x)  # 3 given for a real is 3.0
    outside = abstained(problem if problem.inputs else _over(problem, values), x, plains)
    for plain, shares, out in zip(plains, judge.shares(x, len(values)), outside, strict=True):
        status, energy, findings = judge.grade(plain, shares, -math.inf)
        flags = (Flag.ABSTAIN,) if out else ()
        terms = judge.terms(shares.terms)
        answers.append(Answer(status, plain, energy, None, terms, findings, flags, abstained=out))
    return answers


def _over(problem: Problem, values: Sequence[Mapping[str, Any]]) -> Problem:
    """A row for each of some values, given; where they do not fit, the problem's own row."""
    try:
        return problem.given_rows(values)
    except BadQuery:
        return problem.select([0] * len(values))


def abstained(
    problem: Problem, x: State, plains: Sequence[Mapping[str, Any]]
) -> list[tuple[Place, ...]]:
    """The sites of each row that some module does not stand by, of decided states x (R, *event) and
    their plain values."""
    outside: list[set[tuple[str, int]]] = [set() for _ in range(problem.rows)]
    for term in (summand.term for summand in problem.summands):
        if type(term).accepts is Term.accepts:
            continue
        inside = accepted_sites(term, problem.scope(term), problem.whole(x))
        if inside is None or bool(inside.all()):
            continue
        sites = [(name, int(k)) for name, places in places_of(term) for k in places]
        for row, site in (~inside).nonzero().tolist():
            outside[row].add(sites[site])
    if not any(outside):
        return [()] * problem.rows
    domains = {v.name: v.domain for v in problem.variables}
    order = {name: k for k, name in enumerate(domains)}
    return [
        tuple(
            Place.at(name, shape := domains[name].shape, k, flatten(plain[name], shape)[k])
            for name, k in sorted(sites, key=lambda site: (order[site[0]], site[1]))
        )
        for sites, plain in zip(outside, plains, strict=True)
    ]


@torch.no_grad()
def energies_of(problem: Problem, x: State, said: Said | None = None) -> Energies:
    """What the weighted terms say of decided states, one a row; not of those that said it."""
    whole, left = problem.whole(x), dict[int, Summand]()
    for k, summand in enumerate(problem.summands):
        if summand.weight is not None and summand not in (said or {}):
            left[k] = summand
    mine = [kin for kin in problem.kin if all(k in left for k in kin.places)]
    out = energies_together(mine, whole)
    return out | {k: s.term(whole).double() for k, s in left.items() if k not in out}


def term_names(problem: Problem) -> list[str]:
    """The name of each term in answers; a repeated one carries its place: `name[2]`."""
    labels = [summand.label for summand in problem.summands]
    times = Counter(labels)
    return [f"{label}[{k}]" if times[label] > 1 else label for k, label in enumerate(labels)]


SOUND = 1e-5  # of the largest cost of a term: difference to its structure that counts as none


class Shares(NamedTuple):
    """What the terms say that one state costs."""

    terms: list[float]  # of each summand, weighted; 0 for required ones
    energy: float  # their sum; exact where they are explicit
    slack: float  # how far it may lie above a bound and count as least
    sound: bool  # the terms say what their structure says


def _absent(names: Sequence[str]) -> str:
    """That some inputs are absent, in words."""
    return f"{' and '.join(names)} {'are' if names[1:] else 'is'} absent"


WHETHER = {UNKNOWN: None, NOT_UNIQUE: False, UNIQUE: True}


class _Judge:
    """Judges plain values of one problem: every term by itself, apart from the search."""

    def __init__(self, problem: Problem, said: Said | None = None):
        self.problem, self.said = problem, said or {}
        self.named = list(zip(problem.summands, term_names(problem), strict=True))
        self.fine: dict[tuple[str, bool | None], Finding] = {}  # where a term does not fail
        self.rules = tuple(TermEnergy(name, 0.0) for _, name in self.named)
        self.soft = any(summand.weight is not None for summand in problem.summands)

    @torch.no_grad()
    def shares(self, x: State, count: int, asked: Energies | None = None) -> list[Shares]:
        """What `count` states cost, as their terms say, or said when they were asked; held against
        their structure, which says it exactly."""
        if not self.soft:
            return [Shares([0.0] * len(self.named), 0.0, 0.0, True)] * count
        (said, energies), explicit = self._said(x, count, asked), self.problem.explicit
        if not explicit.direct and not explicit.hidden:
            return [self._opaque(row) for row in said]
        scale, order = explicit.scale, sorted(explicit.direct)
        places = self.problem.places(x)
        units = explicit.units(places)
        costs = scale.values(np.where(units == FORBIDDEN, 0, units))
        costs[units == FORBIDDEN] = math.inf
        hidden = {}
        for k in explicit.hidden:
            summand, _ = self.named[k]
            energy = energies[k] if k in energies else summand.term(self.problem.whole(x)).double()
            own, whole = explicit.counted(k, summand.weight or 1.0, energy.cpu().numpy())
            hidden[k] = [n if w else None for n, w in zip(own.tolist(), whole.tolist())]
        return [
            self._exact(
                row,
                dict(zip(order, zip(units[r].tolist(), costs[r].tolist(), strict=True))),
                {k: counts[r] for k, counts in hidden.items()},
                places[r],
            )
            for r, row in enumerate(said)
        ]

    @torch.no_grad()
    def unprepared(self, x: State, count: int, asked: Energies | None = None) -> list[Shares]:
        """`shares` as the terms say them, where there was no time to make their structure."""
        return [Shares(row, sum(row), 0.0, True) for row in self._said(x, count, asked)[0]]

    def _opaque(self, said: list[float]) -> Shares:
        """A state no summand of which has explicit costs."""
        rest = self.problem.factored()[1]
        energy = sum(said)
        slack = opaque_gap(energy) if rest is not None else 0.0
        return Shares(said, energy, slack, True)

    def _exact(
        self,
        said: list[float],
        direct: dict[int, tuple[int, float]],
        hidden: dict[int, int | None],
        places: np.ndarray,
    ) -> Shares:
        """A state with explicit costs: units and cost of each direct summand, units of each hidden
        one, where they are whole, and its places."""
        explicit, rest = self.problem.explicit, self.problem.factored()[1]
        terms, total, loose, other, sound = [], 0, 0.0, 0.0, True
        for k, ((summand, _), share) in enumerate(zip(self.named, said, strict=True)):
            if k in direct:
                units, cost = direct[k]
                near = (
                    share == cost
                    or abs(share - cost) <= SOUND * explicit.reach[k] + explicit.scale.off
                )
                sound = sound and near
                exact = near and not explicit.scale.error
                share = cost if exact else share
                if exact and math.isfinite(cost):
                    total += units
                else:
                    loose += share
            elif (own := hidden.get(k)) is not None:
                share = explicit.scale.value(own)
                total += own
            else:
                loose += share
                other += share if summand in self._unstructured else 0.0
            terms.append(share)
        energy = explicit.scale.value(total) + loose
        if explicit.resolves and sound and rest is None and math.isfinite(loose):
            energy = float(self.problem.exactly(places))
        slack = room(self.problem, other) + computed_gap(explicit, energy)
        slack += sum(  # a choice adds up its branches in float64
            abs(terms[k]) * 2.0**-50
            for k in explicit.hidden
            if isinstance(self.named[k][0].term, Choice) and not explicit.snaps(k)
        )
        return Shares(terms, energy, slack, sound)

    @cached_property
    def _unstructured(self) -> frozenset[Summand]:
        """The summands that are not explicit."""
        rest = self.problem.factored()[1]
        return frozenset(rest.summands() if rest is not None else ())

    def _said(
        self, x: State, count: int, asked: Energies | None
    ) -> tuple[list[list[float]], Energies]:
        """Weighted energy of each term in `count` states, 0 for required ones. -> [row][term]; and
        the energies without weight of those that were asked."""
        energies = energies_of(self.problem, x, self.said) if asked is None else asked
        shares = np.zeros((len(self.named), count))
        weighed = [(k, s) for k, (s, _) in enumerate(self.named) if s.weight is not None]
        for k, summand in weighed:
            if summand in self.said:
                shares[k] = self.said[summand][1]
        left = [(k, s.weight) for k, s in weighed if s not in self.said]
        if left:
            places, weights = zip(*left, strict=True)
            own = torch.stack([energies[k] for k in places]).cpu().numpy()
            shares[list(places)] = np.array(weights)[:, None] * own
        return shares.T.tolist(), energies

    def answer(
        self, plain: dict[str, Any], shares: Shares, bound: float, unique: int, row: int
    ) -> Answer:
        """The answer that the values of one row make, with what is proved of them."""
        status, energy, findings = self.grade(plain, shares, bound, row)
        checked = status in (Status.OPTIMAL, Status.SATISFIED)
        known = bound if math.isfinite(bound) and shares.sound else None
        if known is not None and energy is not None and status is not Status.UNSATISFIED:
            # a bound that what was found contradicts is none
            known = min(known, energy) if known - energy <= shares.slack else None
        only = self.unique(unique, row) if checked and shares.sound else None
        return Answer(status, plain, energy, known, self.terms(shares.terms), findings, unique=only)

    def unique(self, known: int, row: int) -> bool | None:
        """What a search over finite sites says of uniqueness: real sites may still move."""
        return None if known == UNIQUE and self._movable(row) else WHETHER[known]

    def _movable(self, row: int) -> bool:
        """Whether some real site of a row has more than one number left."""
        real = (d for d in self.problem.domains.values() if isinstance(d, Real))
        return any(bool((d.low < d.high)[row if d.rows > 1 else 0].any()) for d in real)

    def findings(self, plain: dict[str, Any], row: int = 0) -> tuple[Finding, ...]:
        """What every term says of plain values, beside what the row was told."""
        if self.problem.inputs:
            plain = plain | self._told(row)
        told: dict[int, bool | None] = {}
        for kin in self.problem.kin:
            if not any(self.named[k][0] in self.said for k in kin.places):
                told |= zip(kin.places, kin.verdicts(plain), strict=True)
        return tuple(
            self._judged(summand, name, plain, told[k])
            if k in told
            else self._finding(summand, name, plain)
            for k, (summand, name) in enumerate(self.named)
        )

    def _told(self, row: int) -> dict[str, Any]:
        """What the inputs of a row were told, by name; where no rule looks at it, as it stands: all
        that counts is what is there."""
        if self._decided_beside:
            return self.problem.told_plain(row)
        every = ((name, self.problem.domain(name)) for name in self.problem.told)
        return {
            name: Given(d.tensor[row].numpy(force=True), d.present[row].numpy(force=True))
            for name, d in every
            if isinstance(d, Told)
        }

    @cached_property
    def _decided_beside(self) -> bool:
        """Some rule is asked about plain values beside what is told."""
        terms = [summand.term for summand in self.problem.summands]
        return any(
            type(term).holds is not Term.holds and any(view.told for view in term.scope)
            for term in terms
        )

    def _finding(self, summand: Summand, name: str, plain: dict[str, Any]) -> Finding:
        if summand in self.said:
            finding = self.said[summand][0]
            return finding if finding.term == name else replace(finding, term=name)
        if lacking := summand.term.lacks(plain):
            return Finding(name, None, False, f"not asked: {_absent(lacking)}")
        verdict = judge_term(summand.term, plain)
        if verdict is not False and (lacking := summand.term.left_out(plain)):
            free = f"what sees it costs nothing here: {_absent(lacking)}"
            return Finding(name, verdict, summand.required, free)
        return self._judged(summand, name, plain, verdict)

    def _judged(
        self, summand: Summand, name: str, plain: dict[str, Any], verdict: bool | None
    ) -> Finding:
        """A verdict, and where it is False why."""
        if verdict is not False:
            if (name, verdict) not in self.fine:
                self.fine[name, verdict] = Finding(name, verdict, summand.required)
            return self.fine[name, verdict]
        values = plain_scope(summand.term, plain)
        said = summand.term.explain(*values)
        more = f"; and {len(said) - SAID} more" if len(said) > SAID else ""
        return Finding(name, False, summand.required, "; ".join(said[:SAID]) + more)

    def grade(
        self, plain: dict[str, Any], shares: Shares, bound: float, row: int = 0
    ) -> tuple[Status, float | None, tuple[Finding, ...]]:
        """What these values are worth, and what may be claimed of them."""
        findings = self.findings(plain, row)
        energy = shares.energy
        finite = math.isfinite(energy)
        if not finite or any(f.required and not f.holds for f in findings):
            status = Status.UNSATISFIED
        elif shares.sound and abs(energy - bound) <= shares.slack:
            status = Status.OPTIMAL
        elif any(f.holds is not None for f in findings):
            status = Status.SATISFIED
        else:
            status = Status.SCORED
        return status, energy if finite else None, findings

    def terms(self, shares: Sequence[float]) -> tuple[TermEnergy, ...]:
        """The share of each term, by name."""
        if not any(shares):
            return self.rules
        return tuple(
            TermEnergy(name, share if math.isfinite(share) else None)
            for (_, name), share in zip(self.named, shares, strict=True)
        )

    def alternatives(self, states: Sequence[State], row: int) -> tuple[Alternative, ...]:
        """Other answers, each re-scored and judged; one that does not check out is dropped."""
        kept = []
        for found in states:
            state = self.problem.whole(found, torch.tensor([row]))
            plain = self.problem.plain(state)[0]
            status, energy, _ = self.grade(plain, self.shares(state, 1)[0], -math.inf, row)
            if status is not Status.UNSATISFIED and energy is not None:
                kept.append(Alternative(plain, energy))
        return tuple(kept)
