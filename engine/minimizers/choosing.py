"""Who searches, by the form of a problem: what the default minimizer picks from all others."""

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from torch import Tensor

from engine.factors import Factors
from engine.minimizer import Minimizer
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
from engine.minimizers.soft_consistency import SoftConsistency
from engine.minimizers.stand_in import StandIn
from engine.minimizers.subtours import Subtours
from engine.minimizers.tours import Tours
from engine.problem import Problem
from engine.problem.apart import groups_of, parts_of
from engine.search.closed import Closed
from engine.search.elimination import Plan
from engine.search.itineraries import itinerary_of
from engine.search.plans import shared_plan
from engine.search.prepared import LARGE, prepared_of, selectors
from engine.search.rowwise import Rowwise
from engine.search.traits import (
    clauses_alone,
    covers,
    free_at_halves,
    held,
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

S = TypeVar("S")


@dataclass(frozen=True)
class Choosing(Minimizer[S]):
    """Picks who searches.

    A rule that knows its cheapest state, beside costs of single sites: that, and prices for all
    else that must hold. Rules that are long lists of allowed combinations and nothing else: the
    search of lists. Costs of single sites beside one sum, or beside sites that differ, boxes, round
    trips: a method that closes these.
    Soft problems of small width: elimination alone, where its order says that it is quick (clauses
    over two values a site, and rules beside costs of single sites, have to be narrower, as linear
    relaxations are quick at them); those of two values a site whose pairs would rather agree: a
    minimum cut alone. What costs in pairs of sites: search under soft local consistency opens.
    Other soft problems, and what that has not decided: a linear relaxation opens, or cores where
    all is clauses of which that says nothing. What that has not decided, and rules: complete
    search, and where something is soft, beside it annealing, large neighbourhoods, cores, and
    bounds by mini-buckets, or by messages where much is weighed in pairs.
    Where a problem falls apart and not all of it is explicit, each part is searched by itself.
    What is not explicit: enumeration where the open sites of every row have few combinations; many
    beginnings side by side where all of it is read along an order of its sites, and complete
    search over the rules that these leave broken; annealing under stand-ins where terms name some;
    real sites alone: descent and an augmented Lagrangian, this first where required terms see some;
    both kinds: complete search with the numbers minimized at each leaf, beside gradient-informed
    sampling unless the leaves are few; anything else: such sampling, beside complete search over
    the explicit part.

    Complete search is left out where it refuses the structure, or where so much is weighed that
    its form would be large, unless uniqueness or a proof is asked for; annealing does without it.

    unique: decide uniqueness of rule-only problems, whatever it takes.
    alternatives: further solutions to look for in rule-only problems.
    patience: visits that complete search still gets on a soft problem after the others ended;
    None: it goes on until it has decided. On rules alone it always does.
    endless: the others go on too, until the budget ends.
    narrow: table entries that elimination may add up for a row, to be alone.
    opening: where a linear relaxation takes it, or cores, that has the first steps of a row, and
    the others begin only where it has not decided the row.
    cores: they take part, or where units are rounded a linear relaxation.
    consistent: where something costs in pairs of sites, and none of more, a search under soft local
    consistency opens before these.
    """

    unique: bool = False
    alternatives: int = 0
    patience: int | None = 200
    endless: bool = False
    narrow: int = NARROW
    opening: bool = True
    cores: bool = True
    consistent: bool = True

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
            if not problem.form.factors.soft:
                return [False] * problem.rows
            rounded = closed is None and any(e.scale.error for e in problem.explicits)
            if rounded or (closed is None and self.unique):
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
            return (self._elimination, *self._settling(problem))
        if self._lists(problem):
            return (Listed(),)
        if rest is None and alone:
            return (MinCut(),)
        if self._pairs(problem):
            return (self._consistency, replace(self, consistent=False))
        if self._opens(problem):
            if rest is None and free_at_halves(factors) and self._proving(problem):
                return (*self._proving(problem), replace(self, opening=False, cores=False))
            cores = self.cores and not factors.scale.error  # it settles what units do not
            return (self._relaxation, replace(self, opening=False, cores=cores))
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
            return (lagrangian, descent) if held(problem) else (descent, lagrangian)
        if self._large(factors) or complete.refuses(problem) is not None:
            return (gibbs,)
        return (complete, gibbs)

    def _closed(self, problem: Problem) -> Closed | Subtours | None:
        """A method that closes this structure."""
        methods: tuple[Closed, ...] = (Knapsack(self.unique), Assignment(self.unique))
        methods = (*methods, Tours(), Rounds())  # whether a tour is the only one is asked apart
        methods = methods if self.unique else (*methods, Boxes())
        closed = next((one for one in methods if one.structure(problem) is None), None)
        rounded = problem.form.factors.scale.error
        if (closed is None or rounded) and itinerary_of(problem) is not None:
            return Subtours(patience=None) if self.endless else Subtours()
        return closed

    def _further(self, problem: Problem) -> bool:
        """One search has to find further solutions: where something is weighed, each is asked for
        by a search of its own (`engine.explain.alternatives`)."""
        return self.alternatives > 0 and not problem.form.factors.soft

    def _chooses(self, problem: Problem) -> bool:
        """A rule knows its cheapest state beside what costs."""
        more = self.unique or self._further(problem) or not self.opening
        return not more and Cheapest().refuses(problem) is None

    def _pairs(self, problem: Problem) -> bool:
        """A search under soft local consistency goes first: something costs in pairs, and nothing
        has to be covered."""
        factors = problem.form.factors
        more = self.unique or not (self.consistent and self.opening)
        if more or factors.scale.error or covers(problem) or ordered(factors):
            return False
        soft = any(t.soft and t.arity == 2 for t in factors.tables)
        return soft and self._consistency.refuses(problem) is None

    @property
    def _consistency(self) -> SoftConsistency:
        return SoftConsistency(patience=None) if self.endless else SoftConsistency()

    def _opens(self, problem: Problem) -> bool:
        """A linear relaxation goes first: something is soft, and nothing has to be covered."""
        factors = problem.form.factors
        large = selectors(factors) > LARGE
        rounded = factors.scale.error and (  # ties stay open
            self.unique or not factors.long or not problem.exact()
        )
        if not self.opening or large or rounded or (covers(problem) and not packs(problem)):
            return False
        if ordered(factors) and paid_at_one_site(factors):
            return False  # its bound hardly rises: what is least is a matter of orders
        return self._relaxation.refuses(problem) is None

    @property
    def _relaxation(self) -> LinearRelaxation:
        return LinearRelaxation(patience=None) if self.endless else LinearRelaxation()

    def _settling(self, problem: Problem) -> tuple[LinearRelaxation, ...]:
        """Who tells apart what others cannot, where units are rounded and many states are level in
        these: a linear relaxation, in units of any size."""
        factors, relaxation = problem.form.factors, self._relaxation
        if not factors.long or not problem.exact() or selectors(factors) > LARGE:
            return ()
        return (relaxation,) if relaxation.refuses(problem) is None else ()

    def _proving(self, problem: Problem) -> tuple[Rowwise, ...]:
        """Who else proves what is least: beside an exact cover, and where units are rounded, a
        linear relaxation, else cores; nobody where the form is so large that it would keep the
        search waiting."""
        factors = problem.form.factors
        if selectors(factors) > HUGE or ordered(factors):
            return ()
        if factors.scale.error:
            return self._settling(problem) if self.cores else ()
        cores = CoreGuided(patience=None) if self.endless else CoreGuided()
        exact = covers(problem) and not packs(problem)
        if not exact and not self.cores:
            return ()
        one: Rowwise = self._relaxation if exact else cores
        return (one,) if one.refuses(problem) is None else ()

    def _neighbours(self, problem: Problem) -> tuple[LargeNeighbourhoods, ...]:
        """Who looks for better solutions near the best; nobody where the form is so large that it
        would keep the search waiting, costs are rounded, or orders decide what one site pays."""
        factors = problem.form.factors
        if not factors.soft or selectors(factors) > HUGE or factors.scale.error:
            return ()
        if ordered(factors) and paid_at_one_site(factors):
            return ()  # beside sites that stay, what is last stays as well
        one = LargeNeighbourhoods(patience=None) if self.endless else LargeNeighbourhoods()
        return (one,) if one.refuses(problem) is None else ()

    def _beside_cores(self, problem: Problem) -> tuple[Minimizer, ...]:
        """Who tells bounds beside those who prove; nobody where cores are better at it."""
        factors = problem.form.factors
        alone = clauses_alone(factors) and (not self.cores or self._proving(problem))
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
        yield from problem.prepare()  # before its memo, which stands beside the form
        key = ("prepared", self)
        if key not in problem.memo:
            yield from self._prepared(problem)
            problem.memo[key] = True

    def _prepared(self, problem: Problem) -> Iterator[None]:
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
            all(self._alone(problem))
            or self._narrow(problem)
            or self._pairs(problem)
            or self._opens(problem)
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


def _few(problem: Problem) -> Tensor:
    """Rows whose combinations are all looked at; where there are numbers, those that what is opaque
    sees. -> (R,) bool"""
    takes = Leaves().refuses(problem) is None
    return few_leaves(problem) if takes else enumerable(problem)
