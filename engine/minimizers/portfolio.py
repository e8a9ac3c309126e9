"""The default minimizer: picks by the form of the problem, and runs its members side by side."""

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from engine.compare import dearer, opaque_slack, proved
from engine.domain import Real, State
from engine.factors import Factors
from engine.minimizer import WIDE, Minimizer
from engine.minimizers.annealing import Annealing
from engine.minimizers.apart import Apart
from engine.minimizers.assignment import Assignment
from engine.minimizers.beam import Beam
from engine.minimizers.boxes import Boxes
from engine.minimizers.branch_and_bound import BranchAndBound
from engine.minimizers.cheapest import Cheapest
from engine.minimizers.cheapest import alone as alone_chooses
from engine.minimizers.completed import Completed
from engine.minimizers.core_guided import CoreGuided
from engine.minimizers.descent import Descent
from engine.minimizers.elimination import LeastByElimination
from engine.minimizers.enumeration import Enumeration, enumerable
from engine.minimizers.exchange import Exchange
from engine.minimizers.expansion import Expansion
from engine.minimizers.gibbs import Gibbs
from engine.minimizers.knapsack import Knapsack
from engine.minimizers.lagrangian import Lagrangian, numbers_alone
from engine.minimizers.leaves import Leaves, few_leaves
from engine.minimizers.listed import Listed
from engine.minimizers.message_passing import MessagePassing
from engine.minimizers.min_cut import MinCut
from engine.minimizers.mini_buckets import MiniBuckets
from engine.minimizers.neighbourhoods import LargeNeighbourhoods
from engine.minimizers.relaxation import LinearRelaxation
from engine.minimizers.restarts import Restarts
from engine.minimizers.rounds import Rounds
from engine.minimizers.stand_in import StandIn
from engine.minimizers.tours import Tours
from engine.moves.start import StartRows
from engine.problem import Problem
from engine.problem.apart import groups_of, parts_of
from engine.random import Stream
from engine.rows import Report, put_rows, select_rows, stack_rows
from engine.search.closed import Closed
from engine.search.elimination import Plan
from engine.search.plans import shared_plan
from engine.search.prepared import LARGE, prepared_of, selectors
from engine.search.rowwise import Rowwise
from engine.search.traits import (
    clauses_alone,
    covers,
    ordered,
    packs,
    paid_at_one_site,
    weighs_few_at_once,
)
from engine.search.width import width_from_below

PLANNED = 2_000  # factors of mini-buckets, up to which they are planned before a search begins
NARROW = 1 << 25  # table entries that elimination adds up, up to which it is alone
WIDTH = 14  # proved, from which on no plan is made where a linear relaxation is quick
YIELDED = 3  # bits by which that is less where a linear relaxation is quick
HUGE = 8 * LARGE  # literals of a form, from which on nobody proves by it
CHOOSING = 40  # steps after its first that a rule which knows its cheapest state has by itself
SOLO = 4  # steps after its first that a linear relaxation which opens has by itself
CLOSING = 16  # of them where its bound is close to a solution
TALK = 8  # steps of a row from one time that members tell each other to the next
BESIDE = 4  # steps from one visit of annealing to the next, beside one who keeps what counts
RARE = 16  # steps from one visit of complete search to the next, where an energy is opaque


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
class Portfolio(Minimizer[PortfolioState]):
    """A rule that knows its cheapest state, beside costs of single sites: that, and prices for all
    else that must hold. Rules that are long lists of allowed combinations and nothing else: the
    search of lists. Costs of single sites beside one sum, or beside sites that differ,
    boxes, round trips: a method that closes these.
    Soft problems of small width: elimination alone, where its order says that it is quick (clauses
    over two values a site, and rules beside costs of single sites, have to be narrower, as linear
    relaxations are quick at them); those
    of two values a site whose pairs would rather agree: a minimum cut alone. Other soft problems: a
    linear relaxation opens. What that has not decided, and rules: complete search, and where
    something is soft, beside it annealing, large neighbourhoods, cores, and bounds by mini-buckets,
    or by messages where much is weighed in pairs.
    Where a problem falls apart and not all of it is explicit, each part is searched by itself.
    What is not explicit: enumeration where the open sites of every row have few combinations; many
    beginnings side by side where all of it is read along an order of its sites, and complete
    search over the rules that these leave broken; annealing under stand-ins where terms name some;
    real sites alone: descent and an augmented Lagrangian, this first where required terms see some;
    both kinds: complete search with the numbers minimized at each leaf, beside gradient-informed
    sampling unless the leaves are few; anything else: such sampling, beside complete search over
    the explicit part.

    A step moves every member, but for complete search over solutions that have to be evaluated one
    by one: that moves a row every RARE steps, other rows at other steps, as it gains nothing from
    the company of rows and sampling does.

    Where complete search begins with one for an exact cover, a linear relaxation begins a row when
    that has had its first step and has not decided the row: to prepare for it takes longer.

    Complete search is left out where it refuses the structure, or where so much is weighed that
    its form would be large, unless uniqueness or a proof is asked for; annealing does without it.

    unique: decide uniqueness of rule-only problems, whatever it takes.
    alternatives: further solutions to look for in rule-only problems.
    patience: visits that complete search still gets on a soft problem after the others ended;
    None: it goes on until it has decided. On rules alone it always does.
    endless: the others go on too, until the budget ends.
    narrow: table entries that elimination may add up for a row, to be alone.
    opening: where a linear relaxation takes it, that has the first step of a row, and the others
    begin only where it has not decided the row.
    """

    unique: bool = False
    alternatives: int = 0
    patience: int | None = 200
    endless: bool = False
    narrow: int = NARROW
    opening: bool = True

    def asked(self, unique: bool, alternatives: int) -> "Portfolio":
        patience = None if unique else self.patience
        return replace(self, unique=unique, alternatives=alternatives, patience=patience)

    def init(self, problem: Problem, x: State, rng: Stream) -> PortfolioState:
        opaque = problem.factored()[1] is not None
        members = self._of(problem)
        rows = problem.rows
        searches = len(members) > 1 and isinstance(members[0], BranchAndBound)
        opens = isinstance(members[0], (Cheapest, LinearRelaxation))
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

    def kin(self, problem: Problem) -> Sequence[Hashable]:
        """The members that search a row."""
        rows = problem.rows
        if problem.factored()[1] is None:
            return [self._members(problem, False, False, own) for own in self._alone(problem)]
        if len(groups_of(problem)) > 1:
            return Apart(self).kin(problem)
        few, numbers, alone = _few(problem), numbers_alone(problem), self._alone(problem)
        return [
            self._members(problem, bool(few[r]), bool(numbers[r]), alone[r]) for r in range(rows)
        ]

    def _of(self, problem: Problem) -> tuple[Minimizer, ...]:
        """Who searches rows of one kin."""
        alone = all(self._alone(problem))
        if problem.factored()[1] is None:
            return self._members(problem, False, False, alone)
        few, numbers = _few(problem), numbers_alone(problem)
        return self._members(problem, bool(few.all()), bool(numbers.all()), alone)

    def _alone(self, problem: Problem) -> list[bool]:
        """Rows that a minimum cut decides, or a method that closes their structure, or that are
        read site by site, by what they were told and pay. -> (R,)"""
        one: Minimizer = Beam()
        if problem.factored()[1] is None:
            closed = self._closed(problem)
            if self.alternatives or not problem.form.factors.soft:
                return [False] * problem.rows
            if (self.unique and closed is None) or any(e.scale.error for e in problem.explicits):
                return [False] * problem.rows
            if closed is None and MinCut().unlike(problem) is not None:
                return [False] * problem.rows
            one = closed or MinCut()
        if one.refuses(problem) is None:
            return [True] * problem.rows
        if problem.rows == 1:
            return [False]
        return [one.refuses(problem.select([r])) is None for r in range(problem.rows)]

    def _members(
        self, problem: Problem, few: bool, numbers: bool, alone: bool
    ) -> tuple[Minimizer, ...]:
        """Who searches rows of few combinations, or of numbers alone, or others; told once for a
        structure."""
        key = ("members", self, few, numbers, alone)
        if key not in problem.memo:
            problem.memo[key] = self._chosen(problem, few, numbers, alone)
        return problem.memo[key]

    def _chosen(
        self, problem: Problem, few: bool, numbers: bool, alone: bool
    ) -> tuple[Minimizer, ...]:
        factors, rest = problem.factored()
        complete, annealing, gibbs = self._complete, Annealing(), Gibbs()
        if self.endless:
            annealing, gibbs = Annealing(patience=None), Gibbs(patience=None)
        fits = rest is None and annealing.refuses(problem) is None
        if self._chooses(problem):
            others = rest is not None or alone_chooses(problem)
            return (Cheapest(),) if others else (Cheapest(), replace(self, opening=False))
        closed = self._closed(problem) if rest is None and alone else None
        if closed is not None:
            return (closed,)
        if rest is None and self._narrow(problem):
            return (self._elimination,)
        if self._lists(problem):
            return (Listed(),)
        if rest is None and alone:
            return (MinCut(),)
        if self._opens(problem):
            return (self._relaxation, replace(self, opening=False))
        if rest is None:
            if (fits and self._large(factors)) or complete.refuses(problem) is not None:
                return (annealing, *_bounds(problem), *_switches(problem)) if fits else (gibbs,)
            proving = self._proving(problem)
            if covers(problem) and proving:
                return (complete, proving[0])
            if not fits or not weighs_few_at_once(factors):
                return (complete, *self._neighbours(problem), *proving)
            beside = (*self._beside_cores(problem), *_switches(problem), *proving)
            return (complete, annealing, *self._neighbours(problem), *beside)
        judges = prepared_of(problem).judges and covers(problem)
        if judges and complete.refuses(problem) is None:
            return (complete,)  # the least is found whatever these rules see, and judged
        if len(groups_of(problem)) > 1:
            return (Apart(self),)
        leaves = Leaves(rounds=None if self.endless else Leaves.rounds)
        if leaves.refuses(problem) is None:
            return (leaves,) if few else (leaves, gibbs)
        if few:
            return (Enumeration(self.alternatives),)
        if alone:
            completed = Completed(Beam())
            return (completed if completed.refuses(problem) is None else Beam(),)
        if StandIn().refuses(problem) is None:
            return (StandIn(Annealing(patience=None)) if self.endless else StandIn(),)
        if numbers:
            starts = None if self.endless else Restarts.starts
            descent = Restarts(Descent(), starts=starts)
            lagrangian = Restarts(Lagrangian(), starts=starts)
            return (lagrangian, descent) if _held(problem) else (descent, lagrangian)
        if self._large(factors) or complete.refuses(problem) is not None:
            return (gibbs,)
        return (complete, gibbs)

    def _closed(self, problem: Problem) -> Closed | None:
        """A method that closes this structure."""
        methods: tuple[Closed, ...] = (Knapsack(self.unique), Assignment(self.unique))
        methods = methods if self.unique else (*methods, Tours(), Rounds(), Boxes())
        return next((one for one in methods if one.structure(problem) is None), None)

    def _chooses(self, problem: Problem) -> bool:
        """A rule knows its cheapest state beside what costs."""
        more = self.unique or self.alternatives or not self.opening
        return not more and Cheapest().refuses(problem) is None

    def _opens(self, problem: Problem) -> bool:
        """A linear relaxation goes first: something is soft, and nothing has to be covered."""
        factors = problem.form.factors
        large = selectors(factors) > LARGE or factors.scale.error  # rounded units leave ties open
        if not self.opening or large or (covers(problem) and not packs(problem)):
            return False
        if ordered(factors) and paid_at_one_site(factors):
            return False  # its bound hardly rises: what is least is a matter of orders
        return self._relaxation.refuses(problem) is None

    @property
    def _relaxation(self) -> LinearRelaxation:
        return LinearRelaxation(patience=None) if self.endless else LinearRelaxation()

    def _proving(self, problem: Problem) -> tuple[Rowwise, ...]:
        """Who else proves what is least: beside an exact cover a linear relaxation, else cores;
        nobody where the form is so large that it would keep the search waiting."""
        factors = problem.form.factors
        if selectors(factors) > HUGE or factors.scale.error or ordered(factors):
            return ()
        cores = CoreGuided(patience=None) if self.endless else CoreGuided()
        exact = covers(problem) and not packs(problem)
        one: Rowwise = self._relaxation if exact else cores
        return (one,) if one.refuses(problem) is None else ()

    def _neighbours(self, problem: Problem) -> tuple[LargeNeighbourhoods, ...]:
        """Who looks for better solutions near the best; nobody where the form is so large that it
        would keep the search waiting, or costs are rounded."""
        factors = problem.form.factors
        if not factors.soft or selectors(factors) > HUGE or factors.scale.error:
            return ()
        one = LargeNeighbourhoods(patience=None) if self.endless else LargeNeighbourhoods()
        return (one,) if one.refuses(problem) is None else ()

    def _beside_cores(self, problem: Problem) -> tuple[Minimizer, ...]:
        """Who tells bounds beside those who prove; nobody where cores are better at it."""
        factors = problem.form.factors
        alone = clauses_alone(factors) and self._proving(problem)
        relaxed = not self.opening and _single(factors)  # whose bounds are as good
        return () if alone or relaxed else _bounds(problem)

    def _large(self, factors: Factors) -> bool:
        """So much is weighed that complete search would hardly begin."""
        return not self.unique and selectors(factors) > LARGE

    @property
    def _complete(self) -> BranchAndBound:
        return BranchAndBound(unique=self.unique, alternatives=self.alternatives)

    def _narrow(self, problem: Problem) -> bool:
        """Something is soft, other than single sites beside an exact cover, and elimination is
        quick whatever is given."""
        factors = problem.form.factors
        if not self.narrow or not factors.soft or covers(problem) or ordered(factors):
            return False
        if sum(t.tuples.shape[0] * len(t.scopes) for t in factors.tables) > self.narrow:
            return False  # each entry of a scope is added up at least once
        more = self.unique or self.alternatives
        two = factors.clauses.count and (factors.sizes == 2).all()
        quick = not more and (two or _single(factors)) and self._opens(problem)
        most, widest = self.narrow, math.floor(math.log2(self.narrow)) + 1
        if quick:  # a plan would take longer than the other
            most, widest = most >> YIELDED, min(WIDTH, widest)
        if width_from_below(factors, widest) >= widest:
            return False  # so large is one table at least
        plan = shared_plan(problem)
        return isinstance(plan, Plan) and plan.work <= most

    def _lists(self, problem: Problem) -> bool:
        """All of it is lists of allowed combinations, some long, and one solution will do."""
        return not self.unique and not self.alternatives and Listed().refuses(problem) is None

    @property
    def _elimination(self) -> LeastByElimination:
        return LeastByElimination(unique=self.unique, alternatives=self.alternatives)

    def prepare(self, problem: Problem) -> Iterator[None]:
        key = ("prepared", self)
        if key not in problem.memo:
            yield from self._prepared(problem)
            problem.memo[key] = True

    def _prepared(self, problem: Problem) -> Iterator[None]:
        yield from problem.prepare()
        factors, rest = problem.factored()
        if len(groups_of(problem)) > 1:
            for part in parts_of(problem):
                yield from self.prepare(part)
            return
        if rest is not None and not problem.finite:
            return  # numbers alone are not searched completely
        if self._chooses(problem):
            yield from Cheapest().prepare(problem)
            return
        if self._lists(problem):
            yield from Listed().prepare(problem)
            return
        if rest is None and (
            all(self._alone(problem)) or self._narrow(problem) or self._opens(problem)
        ):
            return
        fits = rest is None and Annealing().refuses(problem) is None
        large = self._large(factors)
        if not large or (rest is None and not fits):
            yield from self._complete.prepare(problem)
        if fits and (large or weighs_few_at_once(factors)):
            for bounds in _bounds(problem) if large else self._beside_cores(problem):
                yield from bounds.prepare(problem)
        if fits and (large or (weighs_few_at_once(factors) and not covers(problem))):
            yield from Annealing().prepare(problem)

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
            left = ~_ended(s.members[0], report) & ((s.turn > alone) | report.done)
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
        if isinstance(s.members[0], Restarts) and _held(problem):
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
            return replace(reports[0], done=_ended(s.members[0], reports[0]))
        restarted = len(reports) > 1 and isinstance(s.members[0], Restarts)
        if restarted and _held(problem):
            reports[1] = _strict(problem, *reports)
        whole = _named(s, _joined(reports if late is None else [*reports, late]))
        done = _ended(s.members[0], reports[0])
        if late is not None and isinstance(s.members[0], (Rowwise, Cheapest)):
            done = done | (late.done & ((late.bound >= late.energy) | reports[0].done))
        for m, own in zip(s.members[1:], reports[1:], strict=False):
            if isinstance(s.members[0], Annealing) and isinstance(m, (MessagePassing, MiniBuckets)):
                done = done & own.done  # its bound may still rise
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


def _ended(first: Minimizer, report: Report) -> Tensor:
    """The rows that the first member decides by its end; a linear relaxation that is at its end
    may have decided nothing. -> (R,) bool"""
    if isinstance(first, Rowwise):
        return report.done & (report.bound >= report.energy)
    return report.done


def _single(factors: Factors) -> bool:
    """There are rules, and costs of single sites alone."""
    return factors.rules and all(table.arity == 1 for table in factors.tables)


def _bounds(problem: Problem) -> tuple[Minimizer, ...]:
    """Who tells bounds beside those who search for what is soft: mini-buckets, or messages where to
    plan those would keep the search waiting."""
    factors = problem.form.factors
    if not factors.soft or covers(problem) or ordered(factors):
        return ()
    large = sum(len(t.scopes) for t in factors.tables) > PLANNED
    told: Minimizer = MessagePassing() if large else MiniBuckets()
    return () if told.refuses(problem) is not None else (told,)


def _switches(problem: Problem) -> tuple[Minimizer, ...]:
    """Who moves more than one site at once beside those who search for what is soft: many to one
    label, or two inside of what rules allow."""
    both: tuple[Minimizer, ...] = (Expansion(), Exchange())
    soft = problem.form.factors.soft
    return tuple(one for one in both if soft and one.refuses(problem) is None)


def _held(problem: Problem) -> bool:
    """Something that must hold sees real numbers; what defines some is that too."""
    views = (view for s in problem.unreduced.summands if s.required for view in s.term.scope)
    return any(isinstance(view.variable.domain, Real) for view in views)


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


def _few(problem: Problem) -> Tensor:
    """Rows whose combinations are all looked at; where there are numbers, those that what is opaque
    sees. -> (R,) bool"""
    takes = Leaves().refuses(problem) is None
    return few_leaves(problem) if takes else enumerable(problem)
