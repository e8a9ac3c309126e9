"""Complete search over explicit structure: finds, proves least, proves unique, proves infeasible.

Two searches share the work, both with deduction at every node. `cover` is a depth-first search
with incremental counts for problems that are groups only, beside costs of single sites (puzzles,
colourings, assignment); it is tried first with a small limit of nodes. `clauses` learns from every
conflict and takes everything else. What cannot be made explicit is evaluated at each solution
found, and its floor enters the bound.

Rows that learn, and the subtrees of rows that are long (`subtrees`), are shared among as many
threads as torch may use; what a row comes to depends on that row alone, so the number of threads
changes no answer.
"""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.compare import verdicts
from engine.domain import State
from engine.energy import Summand
from engine.errors import BadQuery, Mistake
from engine.factors import Factors
from engine.kernels import clauses as learning
from engine.kernels import cover as covering
from engine.minimizer import Best, Minimizer, heard, score
from engine.problem import Problem
from engine.random import Stream
from engine.rows import NOT_UNIQUE, UNIQUE, UNKNOWN, Report
from engine.search.boolean import NotEncodable
from engine.search.placed import Placed, first_places, placed_report, repeat_state
from engine.search.prepared import Prepared, oversize, prepared_of, prepared_rows, refusal
from engine.search.prices import budget_step, formula_step
from engine.search.solutions import At, accepted_cost, capped, costs_of, recoloured
from engine.search.subtrees import Learner, Learners, drop_refuted, exchange_clauses, search_slices

COVER_ROUNDS = ((2_000, 64), (20_000, 2))  # nodes of the first steps of a row, rows of a step
LARGEST = sys.float_info.max  # in place of an infinite energy that proves nothing
DEEP = 16  # visits of a row, after which it is no longer searched under budgets
DOUBLED = 8  # budgets of the learning search: 1, 3, 7, 15, ... steps
TIES = 64  # solutions that are told apart by their exact costs, where units are rounded
LOOKS = 10_000_000  # of one step of learning, if nobody says else
LEAVES = 16  # solutions evaluated together where a part of the energy is not explicit


class BranchState(NamedTuple):
    """Where every row stands."""

    plans: tuple[Prepared, ...]  # of each row
    allowed: Tensor  # (R, C) uint8 which literals are possible
    fixed: dict[str, Tensor]  # (R, *event) states of the variables that are not finite
    places: Tensor  # (R, n) the best solution
    energy: Tensor  # (R,) of it, infinite while there is none
    bound: Tensor  # (R,)
    done: Tensor  # (R,) bool
    unique: Tensor  # (R,) int8
    doubt: Tensor  # (R,) the least energy of states that no rule could refute or confirm; infinite
    # while there is none
    ties: Tensor  # (R,) int64 solutions in a row that cost no less, exactly, than the best
    visits: Tensor  # (R,) int64
    price: Tensor  # (R, C) int64 of each literal beside a cover; (R, 0) where nothing costs
    base: Tensor  # (R,) int64 units that every solution pays beside prices
    above: Tensor  # (R,) int64: no solution has a lower price
    learners: tuple[Learners, ...]  # none before a row's first visit
    others: tuple[tuple[np.ndarray, ...], ...]  # places of further solutions
    refuted: tuple[
        tuple[np.ndarray, ...], ...
    ]  # clauses that shut out what is not explicit forbids


@dataclass(frozen=True)
class BranchAndBound(Minimizer[BranchState]):
    """Complete search on the factored form; refuses variables of real numbers in its terms.

    unique: go on until uniqueness is decided; otherwise it is reported where it costs little.
    alternatives: further solutions to look for where nothing is soft.
    conflicts: at most so many conflicts in one step of the learning search; fewer where the
    formula is large.
    looks: what one looks at, about: clauses, groups, sums, and what explains conflicts.
    work: literals times conflicts of one step of learning; the default is roughly 20 ms.
    """

    unique: bool = False
    alternatives: int = 0
    conflicts: int = 400
    looks: int = LOOKS
    work: int = 4_000_000

    def __post_init__(self):
        for name in ("looks", "work"):
            if getattr(self, name) < 1:
                raise BadQuery(Mistake(name, f"{getattr(self, name)!r}", "give at least 1"))

    @property
    def wanted(self) -> int:
        """How many solutions end the search of a row where nothing is soft."""
        return max(1 + self.alternatives, 2 if self.unique else 1)

    def asked(self, unique: bool, alternatives: int) -> "BranchAndBound":
        return replace(self, unique=unique, alternatives=alternatives)

    def refuses(self, problem: Problem) -> str | None:
        _, rest = problem.factored()
        used = {v.name for v in rest.variables()} if rest else set()
        if any(v.name in used and v not in problem.finite for v in problem.open):
            return "branch_and_bound needs finite variables; use descent or gibbs"
        why = refusal(problem)
        if why is None:
            return None
        return f"branch_and_bound has no form for {why}; use annealing or gibbs"

    def prepare(self, problem: Problem) -> Iterator[None]:
        yield from problem.prepare()
        factors, _ = problem.factored()
        if "refusal" not in problem.memo and oversize(factors) is None:
            try:
                yield from prepared_of(problem).prepare()
            except NotEncodable as error:
                problem.memo["refusal"] = str(error)

    def init(self, problem: Problem, x: State, rng: Stream) -> BranchState:
        del rng
        why = self.refuses(problem)
        if why is not None:
            raise BadQuery(why)
        free = [v for v in problem.open if v not in problem.finite]
        plans, rows = prepared_rows(problem), problem.rows
        allowed, price = problem.allowed, np.zeros((rows, 0), np.int64)
        base = np.zeros(rows, np.int64)
        every = [plan.prices for plan in plans if plan.prices is not None]
        if every:
            allowed = allowed & np.stack([own.open for own in every])
            base = np.array([own.least for own in every], dtype=np.int64)
            if problem.form.factors.soft:
                price = np.stack([own.price for own in every])
        return BranchState(
            plans,
            torch.from_numpy(allowed),
            {v.name: x[v.name][:: _particles(x, v, rows)] for v in free},
            first_places(problem),
            torch.full((rows,), math.inf, dtype=torch.float64),
            torch.full((rows,), -math.inf, dtype=torch.float64),
            torch.zeros(rows, dtype=torch.bool),
            torch.full((rows,), UNKNOWN, dtype=torch.int8),
            torch.full((rows,), math.inf, dtype=torch.float64),
            torch.zeros(rows, dtype=torch.int64),
            torch.zeros(rows, dtype=torch.int64),
            torch.from_numpy(price.copy()),
            torch.from_numpy(base.copy()),
            torch.zeros(rows, dtype=torch.int64),
            ((),) * rows,
            ((),) * rows,
            ((),) * rows,
        )

    def step(self, problem: Problem, s: BranchState, rng: Stream) -> BranchState:
        done, visits = s.done.tolist(), s.visits.tolist()
        rounds = [] if s.plans[0].cover is None else [nodes for nodes, _ in COVER_ROUNDS]
        for k, nodes in enumerate(rounds):
            rows = [r for r, visit in enumerate(visits) if visit == k and not done[r]]
            if rows:
                priced = s.price.shape[1] > 0
                s = self._priced(problem, s, rows, nodes) if priced else self._cover(s, rows, nodes)
        rows = [r for r, visit in enumerate(visits) if visit >= len(rounds) and not done[r]]
        return self._learn(problem, s, rows) if rows else s

    def width(self, s: BranchState) -> int:
        last = int(s.visits.max())
        if s.plans[0].cover is None or last >= len(COVER_ROUNDS):
            return torch.get_num_threads()
        return COVER_ROUNDS[last][1]

    def report(self, problem: Problem, s: BranchState) -> Report:
        return placed_report(problem, s, unique=s.unique, others=s.others)

    def told(self, problem: Problem, s: BranchState, report: Report) -> BranchState:
        """Takes better solutions of soft rows, whose price the next must beat and whose values are
        tried first, and bounds."""
        if not problem.form.factors.soft and s.plans[0].rest is None:
            return s
        own = self.report(problem, s)
        best, bound, _ = heard(problem, report, Best(dict(own.x), own.energy, own.violation))
        ahead = (best.energy < own.energy) & (best.violation == 0) & ~own.done
        rows = ahead.nonzero().reshape(-1).tolist()
        if rows:
            s = self._with_solutions(problem, s, rows, problem.places(best.x))
        bound = torch.minimum(torch.maximum(s.bound, bound.to(s.bound.device)), s.energy)
        return s._replace(bound=torch.where(s.done, s.bound, torch.maximum(bound, s.bound)))

    def _with_solutions(
        self, problem: Problem, s: BranchState, rows: list[int], places: np.ndarray
    ) -> BranchState:
        """The rows of these places hold them as their best."""
        learners = list(s.learners)
        out = {name: getattr(s, name).clone() for name in ("places", "energy", "ties")}
        for r in rows:
            visit = _Visit(self, problem, s, r) if learners[r] else None
            fixed = {n: x[r : r + 1] for n, x in s.fixed.items()}
            seen = At(problem, r, s.plans[r], s.allowed[r].numpy(), fixed)
            cost = accepted_cost(seen, places[r], float(s.energy[r]))
            if cost is None:
                continue
            out["places"][r], out["energy"][r], out["ties"][r] = (
                torch.from_numpy(places[r]),
                float(cost),
                0,
            )
            if visit is not None:
                learners[r] = visit.told(places[r], cost)
        return s._replace(learners=tuple(learners), **out)

    def _cover(self, s: BranchState, rows: list[int], nodes: int) -> BranchState:
        """A visit by the depth-first search, with at most `nodes` nodes a row."""
        plan = s.plans[0]
        cover, symmetric = plan.cover, plan.symmetric
        assert cover is not None
        allowed = s.allowed.numpy()
        result = covering.search(cover, allowed[rows], nodes, max(2, self.wanted), symmetric)
        status, found, solutions = result.status, result.found, result.solutions
        names = ("places", "energy", "bound", "done", "unique", "visits")
        new = {name: getattr(s, name).clone() for name in names}
        at = {name: tensor.numpy() for name, tensor in new.items()}  # the same memory
        others = list(s.others)
        at["visits"][rows] += 1
        for k, r in enumerate(rows):
            exhausted = status[k] == covering.EXHAUSTED
            if found[k] == 0:
                if exhausted:
                    at["bound"][r], at["done"][r] = math.inf, True
                continue
            visible = solutions[k, :, : plan.factors.visible].astype(np.int64)
            at["places"][r] = visible[0]
            at["energy"][r] = at["bound"][r] = 0.0
            more = list(visible[1 : found[k]])
            if not more and symmetric and not result.counted[k]:
                more = recoloured(visible[0], plan.factors, allowed[r])
            others[r] = tuple(more)
            if more:
                at["unique"][r] = NOT_UNIQUE
            elif result.counted[k]:
                at["unique"][r] = UNIQUE
            at["done"][r] = bool(result.counted[k]) or 1 + len(more) >= self.wanted
        return s._replace(others=tuple(others), **new)

    def _priced(self, problem: Problem, s: BranchState, rows: list[int], nodes: int) -> BranchState:
        """A visit by the depth-first search for the least cost, at most `nodes` nodes a row."""
        margins: dict[tuple[int, int], list[int]] = {}
        for r in rows:
            margins.setdefault(self._margin(s.plans[r].factors), []).append(r)
        for (margin, wanted), own in margins.items():
            s = self._priced_alike(problem, s, own, nodes, margin, wanted)
        return s

    def _margin(self, factors: Factors) -> tuple[int, int]:
        """How many units above the least the solutions lie that are listed, and how many are."""
        if factors.resolves:  # units are rounded: those that they may not tell apart
            return 2 * factors.scale.error + 1, TIES
        return (1, 2) if self.unique else (0, 1)

    def _priced_alike(
        self,
        problem: Problem,
        s: BranchState,
        rows: list[int],
        nodes: int,
        margin: int,
        wanted: int,
    ) -> BranchState:
        """`_priced` of rows that list as many solutions."""
        cover = s.plans[0].cover
        assert cover is not None
        price, base = s.price.numpy()[rows], s.base.tolist()
        known = [_paid(s, r) if s.energy[r] < math.inf else covering.FAR for r in rows]
        result = covering.search_priced(
            cover,
            s.allowed.numpy()[rows],
            price,
            nodes,
            below=[paid + margin for paid in known],
            above=s.above.numpy()[rows],
            step=budget_step(price),
            margin=margin,
            wanted=wanted,
        )
        if s.plans[0].rest is not None:
            return self._beside_rest(problem, s, rows, result, known)
        names = ("places", "energy", "bound", "done", "unique", "ties", "visits", "above")
        new = {name: getattr(s, name).clone() for name in names}
        at = {name: tensor.numpy() for name, tensor in new.items()}  # the same memory
        at["visits"][rows] += 1
        at["above"][rows] = result.bound
        for k, r in enumerate(rows):
            factors = s.plans[r].factors
            scale, resolves = factors.scale, factors.resolves
            exhausted, listed = result.status[k] == covering.EXHAUSTED, bool(result.listed[k])
            if result.found[k]:
                found = result.solutions[k, : result.found[k], : factors.visible].astype(np.int64)
                costs = costs_of(problem, r, factors, found, base[r] + result.paid[k])
                best = min(costs)
                if float(best) <= at["energy"][r]:
                    at["places"][r], at["energy"][r] = found[costs.index(best)], float(best)
                if exhausted and margin:
                    if costs.count(best) > 1 and (listed or not resolves):
                        at["unique"][r] = NOT_UNIQUE
                    elif listed:
                        at["unique"][r] = UNIQUE
            at["done"][r] = exhausted
            if exhausted and at["energy"][r] == math.inf:
                at["bound"][r] = math.inf
                continue
            bound = scale.below(base[r] + min(int(result.bound[k]), known[k]))
            if exhausted and (listed or not resolves):
                bound = at["energy"][r]
            elif exhausted:
                at["ties"][r] = TIES
            at["bound"][r] = max(at["bound"][r], min(bound, at["energy"][r]))
        return s._replace(**new)

    def _beside_rest(
        self,
        problem: Problem,
        s: BranchState,
        rows: list[int],
        result: covering.Priced,
        known: list[int],
    ) -> BranchState:
        """Takes in what the priced search found below `known` where part of the energy is not
        explicit: the least of what is explicit is the answer where the rest allows it and costs no
        more than its floor; else the learning search goes on above its price."""
        names = ("places", "energy", "bound", "done", "visits", "above")
        new = {name: getattr(s, name).clone() for name in names}
        at = {name: tensor.numpy() for name, tensor in new.items()}  # the same memory
        at["visits"][rows] += 1
        at["above"][rows] = result.bound
        for k, r in enumerate(rows):
            plan, exhausted = s.plans[r], result.status[k] == covering.EXHAUSTED
            if exhausted and not result.found[k] and at["energy"][r] == math.inf:
                at["bound"][r], at["done"][r] = math.inf, True
                continue
            least = plan.factors.scale.below(int(s.base[r]) + min(int(result.bound[k]), known[k]))
            floor = least + plan.rest_floor
            if result.found[k]:
                fixed = {n: x[r : r + 1] for n, x in s.fixed.items()}
                seen = At(problem, r, plan, s.allowed[r].numpy(), fixed)
                places = result.solutions[k, 0, : plan.factors.visible].astype(np.int64)
                cost = accepted_cost(seen, places, float(s.energy[r]))
                if cost is not None:
                    at["places"][r], at["energy"][r] = places, float(cost)
            at["bound"][r] = max(at["bound"][r], min(floor, at["energy"][r]))
            at["done"][r] = exhausted and at["energy"][r] <= at["bound"][r]
            if exhausted and not at["done"][r]:
                at["visits"][r] = len(COVER_ROUNDS)  # a longer search finds the same
        return s._replace(**new)

    def _learn(self, problem: Problem, s: BranchState, rows: list[int]) -> BranchState:
        """A visit of each row by the clause-learning search, in threads over rows and subtrees."""
        visited = [_Visit(self, problem, s, r) for r in rows]
        threads = torch.get_num_threads()
        if min(len(rows), threads) > 1:
            with ThreadPoolExecutor(min(len(rows), threads)) as pool:
                list(pool.map(_Visit.run, visited, [threads // len(rows)] * len(rows)))
        else:
            for row in visited:
                row.run(threads)
        learners, others, refuted = list(s.learners), list(s.others), list(s.refuted)
        out = {
            name: getattr(s, name).clone()
            for name in ("places", "energy", "bound", "done", "unique", "doubt", "ties", "visits")
        }
        for r, row in zip(rows, visited, strict=True):
            learners[r], others[r], refuted[r] = row.learners, row.others, row.refuted
            out["places"][r] = torch.from_numpy(row.places)
            out["energy"][r], out["bound"][r] = row.energy, row.bound
            out["done"][r], out["unique"][r] = row.done, row.unique
            out["doubt"][r], out["ties"][r] = row.doubt, row.ties
            out["visits"][r] += 1
        s = s._replace(learners=tuple(learners), others=tuple(others), refuted=tuple(refuted))
        return s._replace(**out)


class _Visit:
    """One row during one step of learning: what it knows, and how it changes."""

    def __init__(self, minimizer: BranchAndBound, problem: Problem, s: BranchState, r: int):
        self.minimizer, self.problem, self.plan = minimizer, problem, s.plans[r]
        self.allowed, self.row = s.allowed[r].numpy(), r
        self.fixed = {n: x[r : r + 1] for n, x in s.fixed.items()}
        self.places = s.places[r].numpy().copy()
        self.energy, self.bound = float(s.energy[r]), float(s.bound[r])
        self.unique, self.done = int(s.unique[r]), False
        self.doubt, self.ties = float(s.doubt[r]), int(s.ties[r])
        self.scale = self.plan.factors.scale
        self.others, self.refuted = s.others[r], s.refuted[r]
        self.learners = tuple(one.copy() for one in s.learners[r])
        first = self.learners[0] if self.learners else self._fresh(self._paid(s))
        if not self.learners:
            above = int(s.base[r]) + int(s.above[r]) if s.price.shape[1] else -learning.NEVER
            self.learners = (self._deepened(first, above - first.constant),)
        elif first.beyond is not None and int(s.visits[r]) >= DEEP:
            self.learners = (self._fresh(self._paid(s)),)
        self.constant = first.constant
        upper = first.upper if first.beyond is None else first.beyond
        self.paid = upper + self.constant  # of the best solution, in units

    def _paid(self, s: BranchState) -> int:
        """What the best solution paid, in units, where the other search found it, or it was told
        before the first visit."""
        if s.price.shape[1] and self.plan.rest is None:
            return int(s.base[self.row]) + _paid(s, self.row)
        if self.energy == math.inf or not self.plan.soft:
            return 0
        if self.plan.rest is None:
            return self.scale.from_on(self.problem.exactly(self.places, self.row))
        floor = self.plan.rest_floor
        return self.scale.from_on(self.energy - floor) if math.isfinite(floor) else learning.NEVER

    def told(self, places: np.ndarray, cost: Fraction) -> Learners:
        """The search, from now on for what costs less than a solution found elsewhere."""
        rest = self.plan.rest_floor if self.plan.rest is not None else 0.0
        if not math.isfinite(rest):
            return self.learners
        units = capped(self.scale.from_on(cost - Fraction(rest)) - self.constant)
        literals = self.plan.boolean.model_literals(places)
        out = []
        for one in self.learners:
            if one.beyond is not None and units > one.upper:
                one = one._replace(beyond=min(units, one.beyond))
            elif units < one.upper:
                one = one._replace(upper=units, beyond=None)
            own = one.small.literals(literals ^ 1) ^ 1 if one.small else literals
            phase = np.zeros(one.formula.variables, np.uint8)
            phase[own >> 1] = 1 - (own & 1)
            learning.set_phase(one.state, phase)
            out.append(one)
        return tuple(out)

    def _fresh(self, paid: int) -> Learner:
        """The shared formula, narrowed to the evidence of the row, without what the other search
        found; the best of that paid so many units."""
        learner = self.plan.learner(self.allowed)
        for clause in self.refuted:
            learner = learner.without(clause)
        if self.energy == math.inf:
            return learner
        for places in (self.places, *self.others):
            learner = learner.without(self._block(places))
        if not self.plan.soft:
            return learner
        if self._resolves:
            paid = self.scale.from_on(self.problem.exactly(self.places, self.row))
        return learner._replace(upper=capped(paid - learner.constant))

    def _deepened(self, learner: Learner, above: int) -> Learner:
        """A fresh search, under the next budget where something costs: for what exceeds the least
        cost of each choice by little. Nothing costs less than `above`, in units of the formula."""
        status, _ = learning.search(learner.state, (), 0)
        opaque = self.plan.rest is not None and not self.plan.judges
        if not len(learner.formula.cost) or opaque or status != learning.LIMIT:
            return learner
        least, step = learning.lower_bound(learner.state), formula_step(learner.formula)
        for k in range(1, DOUBLED + 1):
            upper = least + step * (2**k - 1)
            if above < upper < learner.upper:
                return learner._replace(upper=upper, beyond=learner.upper)
        return learner

    def run(self, threads: int) -> None:
        """One step; at most so many of its subtrees at once."""
        left = np.array([(self._conflicts(), self.minimizer.looks)] * len(self.learners))
        leaves: list[np.ndarray] = []
        while len(leaves) < LEAVES:
            left = left[: len(self.learners)]  # one that begins anew is alone
            if (left.min(1) <= 0).all():
                self.learners = exchange_clauses(self.learners)
                break
            before = _spent(self.learners)
            budgets, looks = left.T.tolist()
            statuses, self.learners = search_slices(self.learners, budgets, threads, looks)
            left = left - (_spent(self.learners) - before)
            for k, status in enumerate(statuses):
                if status == learning.SATISFIED:
                    found = self.plan.boolean.places(self.learners[k].model())
                    if self.plan.judges:
                        self._judge(found)
                    elif self.plan.rest is not None:
                        leaves.append(found)
                        self._shut_out(found)
                    elif self._solution(found, self.learners[k]):
                        return
            if learning.REFUTED in statuses:
                first = self.learners[0]
                self.learners = drop_refuted(self.learners, statuses)
                if not self.learners and first.beyond is not None:
                    below = self.scale.below(first.upper + self.constant) + self.plan.rest_floor
                    self.bound = max(self.bound, min(below, self.energy, self.doubt))
                    if self.energy <= self.bound:
                        self._exhausted()
                        return
                    self.learners = (self._deepened(self._fresh(self.paid), first.upper),)
                    left = left.max(0, keepdims=True)
                    continue
                if not self.learners:
                    self._leaves(leaves)
                    self._exhausted()
                    return
                break
        self._leaves(leaves)
        if self.plan.soft:  # what is learned holds for everything better than the best
            least = max(x.constant + learning.lower_bound(x.state) for x in self.learners)
            if self.learners[0].beyond is not None:
                least = min(least, self.constant + self.learners[0].upper)
            below = self.scale.below(least) + self.plan.rest_floor
            self.bound = max(self.bound, min(below, self.energy, self.doubt))

    def _conflicts(self) -> int:
        """How many conflicts make a step of the usual length."""
        f = self.learners[0].formula
        size = len(f.clause_lit) + len(f.group_lit) + len(f.sum_lit) + 20 * len(f.cost_lit)
        return min(self.minimizer.conflicts, max(8, self.minimizer.work // max(size, 1)))

    def _solution(self, found: np.ndarray, learner: Learner) -> bool:
        """Take in a solution of a wholly explicit problem; True when the visit is over."""
        if not self.plan.soft:
            if self.energy < math.inf:
                self.unique, self.others = NOT_UNIQUE, (*self.others, found)
            else:
                self.places, self.energy = found, self.scale.value(self.constant)
                self.bound = self.scale.below(self.constant) if self.scale.error else self.energy
            self.done = 1 + len(self.others) >= self.minimizer.wanted
            self._shut_out(found)
            return self.done
        if self._resolves:
            self._compared(found)
            return self.done
        cost = learning.objective(learner.formula, learning.model(learner.state))
        if cost < self.learners[0].upper:  # another subtree may have found a better one
            self.places, self.energy = found, self.scale.value(learner.constant + cost)
            self._beat(cost)
        if self.learners[0].upper <= learning.lower_bound(learner.state):
            self._exhausted()  # as where evidence leaves nothing to pay
        return self.done

    @property
    def _resolves(self) -> bool:
        """Costs are rounded in units, but solutions that are level there can be told apart."""
        return self.ties < TIES and self.plan.factors.resolves

    def _compared(self, found: np.ndarray) -> None:
        """Take in a solution by its exact cost; further ones may lie as near as units are wrong."""
        self._shut_out(found)
        cost, best = self.problem.exactly(found, self.row), None
        if self.energy < math.inf:
            best = self.problem.exactly(self.places, self.row)
        if best is not None and cost >= best:
            self.ties += 1
            if self.ties >= TIES:  # from now on, what units tell apart
                self._beat(self.scale.rounded(best) - self.constant)
            return
        self.places, self.energy, self.ties = found, float(cost), 0
        self._beat(self.scale.from_on(cost) - self.constant)

    def _beat(self, cost: int) -> None:
        """Solutions must cost less from now on, in units."""
        cost = capped(cost)
        self.paid = cost + self.constant
        if any(one.beyond is not None and cost > one.upper for one in self.learners):
            self.learners = (self._fresh(self.paid),)
        else:
            self.learners = tuple(one._replace(upper=cost, beyond=None) for one in self.learners)

    def _leaves(self, leaves: list[np.ndarray]) -> None:
        """Evaluate what is not explicit at the solutions found, all in one call.

        A solution counts where `holds` says so, whatever the violation; it is refuted only where
        `holds` is False. What no rule can decide stays in doubt, and so does every energy that is
        no number: nothing is proved beyond it.
        """
        rest = self.plan.rest
        if not leaves or rest is None:
            return
        placed = Placed(self.problem, np.stack(leaves), repeat_state(self.fixed, len(leaves)))
        owner = torch.full((len(leaves),), self.row)
        energy = score(self.problem, placed, owner).energy.cpu().numpy()
        state = self.problem.whole(placed, owner)
        plain = self.problem.asked(state)
        rules = [part for part in rest.summands() if part.required]
        for k in np.argsort(energy, kind="stable").tolist():  # what is no number comes last
            cost = float(energy[k])
            if cost >= self.energy and self.energy < math.inf:
                continue
            (holds,) = verdicts(rules, [plain[k]])
            if holds is False:
                if self.plan.judges:
                    self._refute(rules, plain[k], leaves[k])
                continue
            if holds is None or not math.isfinite(cost):
                if self.energy == math.inf and self.doubt == math.inf:
                    self.places = leaves[k]
                self.doubt = min(self.doubt, LARGEST if cost == math.inf else cost)
                if math.isnan(cost):
                    self.doubt = -math.inf
                continue
            self.places, self.energy = leaves[k], cost
            if math.isfinite(self.plan.rest_floor):
                least = self.scale.from_on(cost - self.plan.rest_floor)
                self._beat(least - self.constant)

    def _judge(self, found: np.ndarray) -> None:
        """One solution before rules that are not explicit: where one fails, all that it sees alike
        is shut out."""
        energy, refuted = self.energy, len(self.refuted)
        self._leaves([found])
        if len(self.refuted) > refuted:
            self.learners = tuple(one.without(self.refuted[-1]) for one in self.learners)
        elif self.energy == energy:
            self._shut_out(found)

    def _refute(
        self, rules: Sequence[Summand], plain: Mapping[str, Any], places: np.ndarray
    ) -> None:
        """Keeps the clause that shuts out what a failing rule sees, where that are finite sites."""
        for rule in rules:
            names = {view.variable.name for view in rule.term.scope if not view.told}
            if verdicts([rule], [plain])[0] is not False or names & self.fixed.keys():
                continue
            seen = [np.full(v.domain.sites, v.name in names) for v in self.problem.finite]
            self.refuted = (*self.refuted, self._block(places)[np.concatenate(seen)])
            return

    def _exhausted(self) -> None:
        """Nothing better is left."""
        self.done = True
        if self.energy == math.inf:
            if self.doubt == math.inf:
                self.bound = math.inf
            return
        least = self.energy
        if self.scale.error and self.plan.rest is None and not self._resolves:
            least = self.scale.below(self.paid)
        self.bound = max(self.bound, min(least, self.doubt))
        if self.doubt < math.inf:
            return
        if not self.plan.soft and self.unique == UNKNOWN:
            self.unique = UNIQUE

    def _block(self, places: np.ndarray) -> np.ndarray:
        """The clause that shuts out one solution."""
        return self.plan.boolean.model_literals(places) ^ 1

    def _shut_out(self, places: np.ndarray) -> None:
        clause = self._block(places)
        self.learners = tuple(one.without(clause) for one in self.learners)


def _spent(learners: Learners) -> np.ndarray:
    """Conflicts and looks of each so far. -> (n, 2) int64"""
    return np.array([(one.conflicts(), one.looks()) for one in learners])


def _paid(s: BranchState, r: int) -> int:
    """The price of the best solution of a row beside a cover."""
    cover = s.plans[r].cover
    assert cover is not None
    return int(s.price[r].numpy()[cover.offset[:-1] + s.places[r].numpy()].sum())


def _particles(x: State, variable, rows: int) -> int:
    return x[variable.name].shape[0] // rows
