"""The default minimizer: members that the form of the problem asks for, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from engine.compare import dearer, opaque_slack, proved
from engine.domain import State
from engine.minimizer import WIDE, Minimizer
from engine.minimizers.annealing import Annealing
from engine.minimizers.branch_and_bound import BranchAndBound
from engine.minimizers.cheapest import Cheapest
from engine.minimizers.choosing import Choosing
from engine.minimizers.core_guided import CoreGuided
from engine.minimizers.elimination import LeastByElimination
from engine.minimizers.exchange import Exchange
from engine.minimizers.leaves import Leaves
from engine.minimizers.message_passing import MessagePassing
from engine.minimizers.mini_buckets import MiniBuckets
from engine.minimizers.relaxation import LinearRelaxation
from engine.minimizers.restarts import Restarts
from engine.minimizers.soft_consistency import SoftConsistency
from engine.moves.start import StartRows
from engine.problem import Problem
from engine.random import Stream
from engine.rows import Report, put_rows, select_rows, stack_rows
from engine.search.rowwise import Rowwise
from engine.search.traits import covers, held

CHOOSING = 40  # steps after its first that a rule which knows its cheapest state has by itself
CORES = 96  # steps after their first that cores which open have by themselves
SOLO = 4  # steps after its first that a linear relaxation which opens has by itself
CONSISTENT = 12  # steps after its first that soft consistency which opens has by itself
CLOSING = 16  # of them where its bound is close to a solution
TALK = 8  # steps of a row from one time that members tell each other to the next
BESIDE = 4  # steps from one visit of annealing to the next, beside one who keeps what counts
RARE = 16  # steps from one visit of complete search to the next, where an energy is opaque


OPENING = (Cheapest, CoreGuided, LinearRelaxation, SoftConsistency)  # the others begin rows late
BY_ROW = ("late", "turn", "waits", "proved", "by")  # of the state, beside its members' states


class _Begun(NamedTuple):
    """A member that began one row late."""

    problem: Problem  # of that row
    state: Any


class PortfolioState(NamedTuple):
    """The states of the members, and how far their work has come."""

    members: tuple[Minimizer, ...]
    states: list[Any]  # of all members; of the first alone, where the other begins rows late
    late: tuple[StartRows | _Begun | None, ...]  # the other then, row by row, or where it starts
    every: int  # the first member moves a row at every so many of its steps
    turn: Tensor  # (R,) int64 steps done
    waits: Tensor  # (R,) int64 visits of the first member since the others had nothing left to do
    proved: Tensor  # (R,) the highest bound when members last told each other
    by: Tensor  # (R,) int8 whose it was: PROOFS


@dataclass(frozen=True)
class Portfolio(Choosing[PortfolioState]):
    """The members that the form of a problem asks for (`Choosing`), side by side.

    A step moves every member, but for complete search over solutions that have to be evaluated one
    by one: that moves a row every RARE steps, other rows at other steps, as it gains nothing from
    the company of rows and sampling does.

    Where complete search begins with one for an exact cover, a linear relaxation begins a row when
    that has had its first step and has not decided the row: to prepare for it takes longer. Beside
    elimination it begins a row that this has left open, as units do not tell its states apart.
    """

    def asked(self, unique: bool, alternatives: int) -> "Portfolio":
        patience = None if unique else self.patience
        return replace(self, unique=unique, alternatives=alternatives, patience=patience)

    def init(self, problem: Problem, x: State, rng: Stream) -> PortfolioState:
        opaque = problem.factored()[1] is not None
        members = self._of(problem)
        rows = problem.rows
        searches = len(members) > 1 and isinstance(members[0], BranchAndBound)
        opens = isinstance(members[0], (*OPENING, LeastByElimination))
        late = opens or (searches and covers(problem))
        begun = members[:1] if late else members
        states = [m.init(problem, x, rng.fork(k)) for k, m in enumerate(begun)]
        starts = tuple(StartRows(x, [row], rows) if late else None for row in range(rows))
        zero = torch.zeros(rows, dtype=torch.int64, device=problem.device)
        every = RARE if opaque and searches else 1
        if isinstance(members[0], Annealing) and any(isinstance(m, Exchange) for m in members):
            every = BESIDE
        blank = Report.blank(problem, x)
        return PortfolioState(members, states, starts, every, zero, zero, blank.bound, blank.by)

    def step(self, problem: Problem, s: PortfolioState, rng: Stream) -> PortfolioState:
        place = rng.words[:, 0] % s.every if s.every > 1 else 0
        due = (s.turn + place) % s.every == 0  # (R,)
        if len(s.states) < len(s.members) and isinstance(s.members[0], BranchAndBound):
            due = due & (s.turn != 1)  # the other, which begins late, has a step alone
        rows = due.nonzero().reshape(-1)
        first = s.states[0]
        if len(rows) == problem.rows:
            first = s.members[0].step(problem, first, rng.fork(0))
        elif len(rows):
            chosen, total = rows.tolist(), problem.rows
            some = s.members[0].select(first, chosen, total)
            some = s.members[0].step(problem.select(chosen), some, rng.select(rows).fork(0))
            first = put_rows(first, some, chosen, total)
        others = [
            s.members[k].step(problem, state, rng.fork(k)) for k, state in enumerate(s.states) if k
        ]
        waits, late = s.waits, s.late
        if others and isinstance(s.members[0], (BranchAndBound, Leaves)):
            for m, other in zip(s.members[1:], others, strict=True):
                due = due & m.report(problem, other).done
            waits = waits + due
        elif len(s.members) > 1 and not others:
            report = s.members[0].report(problem, first)
            alone = self._solo(s.members[0], first, s.turn)
            left = ~_ended(s, report) & ((s.turn > alone) | report.done)
            late = self._late(problem, s, left.nonzero().reshape(-1).tolist(), rng, report)
            ended = [self._ended(s, one) for one in late]
            waits = waits + torch.tensor(ended, device=waits.device)
        s = s._replace(states=[first, *others], late=late, turn=s.turn + 1, waits=waits)
        if len(s.members) == 1:
            return s
        talks = s.turn % TALK == 0
        return self._talked(problem, s, talks) if bool(talks.any()) else s

    @staticmethod
    def _solo(first: Minimizer, state: Any, turn: Tensor) -> Tensor:
        """Steps after its first that the member which opens has by itself. -> (R,)"""
        if isinstance(first, LinearRelaxation):
            return torch.where(first.close(state), CLOSING, SOLO)
        if isinstance(first, CoreGuided):
            return torch.full_like(turn, CORES)
        if isinstance(first, SoftConsistency):
            return torch.full_like(turn, CONSISTENT)
        if isinstance(first, LeastByElimination):
            return torch.full_like(turn, torch.iinfo(turn.dtype).max)  # until its end
        return torch.full_like(turn, CHOOSING if isinstance(first, Cheapest) else 0)

    def told(self, problem: Problem, s: PortfolioState, report: Report) -> PortfolioState:
        every = zip(s.members, s.states, strict=False)
        states = [m.told(problem, state, report) for m, state in every]
        late = tuple(
            one._replace(
                state=s.members[1].told(
                    one.problem, one.state, select_rows(report, [r], problem.rows)
                )
            )
            if isinstance(one, _Begun)
            else one
            for r, one in enumerate(s.late)
        )
        return s._replace(states=states, late=late)

    def renewed(self, problem: Problem, s: PortfolioState) -> PortfolioState | None:
        """Where the same members search it, and each can go on."""
        members = self._of(problem)
        if members != s.members or len(s.states) < len(members):
            return None
        states = []
        for m, state in zip(members, s.states, strict=True):
            renewed = m.renewed(problem, state)
            if renewed is None:
                return None
            states.append(renewed)
        zero = torch.zeros_like(s.turn)
        none = torch.full_like(s.proved, -torch.inf)
        by = torch.zeros_like(s.by)
        return s._replace(states=states, turn=zero, waits=zero, proved=none, by=by)

    def _talked(self, problem: Problem, s: PortfolioState, rows: Tensor) -> PortfolioState:
        """Members of some rows, each told what the others found and proved; but for numbers under
        rules, where what one finds may make use of tolerances that the other leaves alone."""
        if isinstance(s.members[0], Restarts) and held(problem):
            return s
        reports = [m.credited(problem, one) for m, one in zip(s.members, s.states, strict=False)]
        late = self._reported_late(problem, s, reports[0])
        if late is not None:
            reports.append(late)
        if len(reports) == 1:
            return s
        whole = _named(s, _joined(reports))
        s = s._replace(proved=torch.maximum(s.proved, whole.bound), by=whole.by)
        states = []
        for k, (m, state) in enumerate(zip(s.members, s.states, strict=False)):
            beside = [r for j, r in enumerate(reports) if j != k]
            states.append(m.told(problem, state, _joined(beside).only(rows)))
        if late is None:
            return s._replace(states=states)
        told = self.told(problem, s._replace(states=[]), reports[0].only(rows))
        return told._replace(states=states)

    def _reported_late(self, problem: Problem, s: PortfolioState, first: Report) -> Report | None:
        """What the member says that begins rows late; None where it has begun none."""
        begun = {r: one for r, one in enumerate(s.late) if isinstance(one, _Begun)}
        if not begun:
            return None
        late = stack_rows([s.members[1].credited(*one) for one in begun.values()], [1] * len(begun))
        blank = replace(Report.blank(problem, dict(first.x)), done=torch.zeros_like(first.done))
        return put_rows(blank, late, [*begun], problem.rows)

    def _late(
        self, problem: Problem, s: PortfolioState, rows: Sequence[int], rng: Stream, first: Report
    ) -> tuple[StartRows | _Begun | None, ...]:
        """The other member after a step of each of these rows by itself; where it begins, it is
        told what the first has found."""
        member, late = s.members[1], list(s.late)
        for r in rows:
            one, stream = late[r], rng.select(torch.tensor([r])).fork(1)
            if isinstance(one, StartRows):
                own = problem.select([r]) if problem.rows > 1 else problem
                state = member.init(own, one, stream.at(0))
                found = select_rows(first.unproved(), [r], problem.rows)
                one = _Begun(own, member.told(own, state, found))
            assert one is not None
            late[r] = one._replace(state=member.step(one.problem, one.state, stream))
        return tuple(late)

    def _ended(self, s: PortfolioState, late: StartRows | _Begun | None) -> bool:
        """The other member has nothing left to do for a row."""
        return isinstance(late, _Begun) and bool(s.members[1].report(*late).done[0])

    def report(self, problem: Problem, s: PortfolioState) -> Report:
        """The best of all members. Done: the first member is, or the bound of one meets the
        solution of another, or the others ended long ago. What only restarts decides nothing: it
        ends a row with all others, or alone where its own state is the best and breaks nothing."""
        reports = [m.credited(problem, one) for m, one in zip(s.members, s.states, strict=False)]
        late = self._reported_late(problem, s, reports[0])
        if len(reports) == 1 and late is None:
            alone = len(s.members) == 1  # nobody begins where it decides nothing
            done = reports[0].done if alone else _ended(s, reports[0])
            return replace(reports[0], done=done)
        restarted = len(reports) > 1 and isinstance(s.members[0], Restarts)
        if restarted and held(problem):
            reports[1] = _strict(problem, *reports)
        whole = _named(s, _joined(reports if late is None else [*reports, late]))
        done = _ended(s, reports[0])
        if late is not None and (_settles(s) or isinstance(s.members[0], (Rowwise, *OPENING))):
            done = done | (late.done & ((late.bound >= late.energy) | reports[0].done))
        for m, own in zip(s.members[1:], reports[1:], strict=False):
            if isinstance(s.members[0], Annealing) and isinstance(m, (MessagePassing, MiniBuckets)):
                done = done & own.done  # its bound may still rise
            if isinstance(s.members[0], BranchAndBound) and isinstance(m, LinearRelaxation):
                done = done & (own.done | (reports[0].bound == torch.inf))  # likewise
        if restarted:
            least = reports[0].energy
            clean = (reports[0].violation == 0) & (whole.energy >= least - opaque_slack(least))
            done = done & (reports[1].done | clean)
        done = done | proved(problem, whole.x, whole.energy, whole.violation, whole.bound)
        if self.patience is not None:
            done = done | (s.waits >= self.patience)
        return replace(whole, done=done)

    def width(self, s: PortfolioState) -> int:
        widths = [m.width(state) for m, state in zip(s.members, s.states, strict=False)]
        widths += [s.members[1].width(one.state) for one in s.late if isinstance(one, _Begun)]
        return min(widths[0] * s.every, *widths[1:], WIDE)

    def select(self, s: PortfolioState, rows: Sequence[int], total: int) -> PortfolioState:
        states = [
            m.select(state, rows, total) for m, state in zip(s.members, s.states, strict=False)
        ]
        own = {name: select_rows(getattr(s, name), rows, total) for name in BY_ROW}
        return s._replace(states=states, **own)

    def stack(self, states: Sequence[PortfolioState], totals: Sequence[int]) -> PortfolioState:
        first = states[0]
        each = zip(*(s.states for s in states), strict=True)
        inner = [m.stack(own, totals) for m, own in zip(first.members, each, strict=False)]
        own = {name: stack_rows([getattr(s, name) for s in states], totals) for name in BY_ROW}
        return first._replace(states=inner, **own)


def _settles(s: PortfolioState) -> bool:
    """A linear relaxation begins rows that the first member leaves open."""
    return len(s.states) < len(s.members) and isinstance(s.members[1], LinearRelaxation)


def _ended(s: PortfolioState, report: Report) -> Tensor:
    """The rows that the first member decides by its end; one that opens may have decided nothing
    there, nor who begins before a linear relaxation, where units are rounded. -> (R,) bool"""
    if isinstance(s.members[0], (Rowwise, SoftConsistency)) or _settles(s):
        return report.done & (report.bound >= report.energy)
    return report.done


def _strict(problem: Problem, first: Report, other: Report) -> Report:
    """The other report beside one whose states make no use of tolerances: where its own are cheaper
    by what such use explains, they are violated by that."""
    over = (first.violation == 0) & (other.violation == 0) & (other.energy < first.energy)
    if not bool(over.any()):
        return other
    strictly, price = dearer(problem, other.x)
    told = over & (other.energy + price >= first.energy)
    return replace(other, violation=torch.where(told, strictly, other.violation))


def _named(s: PortfolioState, whole: Report) -> Report:
    """What proved the bounds: a member that was told one did not."""
    return replace(whole, by=torch.where(whole.bound > s.proved, whole.by, s.by))


def _joined(reports: Sequence[Report]) -> Report:
    """The best of all, and everything that one of them proved."""
    whole = reports[0]
    for report in reports[1:]:
        whole = whole.joined(report)
    return whole
