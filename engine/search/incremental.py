"""A clause-learning search that stays alive while rules come and go.

Evidence is assumed, and every rule added later hangs on a switch that is assumed while the rule
stands, so all that was learned remains true. Where something is weighed, what is learned holds
only below a price: each question then starts from the prepared formula and the old values, and
asks first for a solution at the price that was proved least, before it asks for any.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np

from engine.energy import Summand
from engine.factors import Factors
from engine.kernels import clauses as learning
from engine.problem import Problem
from engine.search.boolean import Boolean
from engine.search.prepared import LARGE, Prepared, prepared_of, refusal, selectors

SWITCHES = 64  # rules added and dropped before the search is built anew
TUPLES = 4_096  # combinations of a table that become clauses
SLICE = 250  # conflicts between two looks at the clock
CONFLICTS = 2_000  # that one question may meet; then a full solve takes over
LEVEL = 500  # conflicts spent on a solution as cheap as the last one
DESCENT = 30_000  # conflicts from there on, where something is weighed

Over = Callable[[], bool]  # time is up, or the caller wants an end


class Found(NamedTuple):
    """What a question came to."""

    places: np.ndarray | None  # (n,) of the values; None: there are none
    bound: float  # proved: nothing costs less
    conflicts: int
    proved: bool = True  # False: time was up, and something may cost less


@dataclass(frozen=True, eq=False)
class IncrementalSearch:
    """The search between two questions; a rule is dropped by leaving out its switch."""

    plan: Prepared
    state: learning.State
    assumed: np.ndarray  # the evidence, as literals
    free: int  # the first variable of a switch that was never used

    @staticmethod
    def opened(problem: Problem) -> "IncrementalSearch | None":
        """The search over all terms of a problem of one row; None where they have no such form."""
        finite = len(problem.finite) == len(problem.variables) and not problem.inputs
        if not finite or not all(summand.term.fixed_structure for summand in problem.summands):
            return None
        plan = prepared_of(problem)
        if plan.rest is not None or selectors(plan.factors) > LARGE or refusal(problem) is not None:
            return None
        if plan.factors.scale.error:
            return None  # it counts in units, which tell costs apart only roughly
        boolean = plan.boolean
        formula = plan.formula._replace(variables=boolean.variables + SWITCHES)
        state = learning.load(formula)
        return IncrementalSearch(plan, state, _assumed(problem, boolean), boolean.variables)

    @property
    def weighs(self) -> bool:
        """Something is weighed, so that a question needs the last values and their bound."""
        return self.plan.factors.soft

    def given(self, problem: Problem) -> "IncrementalSearch":
        """The same terms under other evidence."""
        return replace(self, assumed=_assumed(problem, self.plan.boolean))

    def with_rule(
        self, problem: Problem, summands: tuple[Summand, ...]
    ) -> "tuple[IncrementalSearch, int] | None":
        """With new summands of a problem behind a switch, and the switch, a literal; None where
        they have no clausal form, or no switch is left."""
        boolean = self.plan.boolean
        if self.free == boolean.variables + SWITCHES:
            return None
        rows: list[np.ndarray] = []
        told = problem.structures
        for summand in summands:
            own = told.of(told.place[id(summand)]) if summand.term.fixed_structure else None
            if own is None or own.soft:
                return None
            blocks = _clausal(own, told.sites_of(summand.term), boolean)
            if blocks is None:
                return None
            rows += blocks
        switch = 2 * self.free
        start, literal = _guarded(rows, switch ^ 1)
        state = learning.add_clauses(self.state, start, literal)
        return replace(self, state=state, free=self.free + 1), switch

    def answer(
        self, switches: Sequence[int], known: np.ndarray | None, bound: float, over: Over
    ) -> "tuple[IncrementalSearch, Found | None]":
        """Values under the rules of these switches; None where that takes too long.

        known: the last values, (n,) places; where something is weighed, nothing costs less than
        `bound`.
        """
        assumed = np.concatenate([self.assumed, np.array(switches, np.int32)])
        if self.weighs:
            return self, None if known is None else self._weighed(assumed, known, bound, over)
        before = learning.conflicts(self.state)
        status, state = _searched(self.state, assumed, CONFLICTS, learning.NEVER, over)
        live, spent = replace(self, state=state), learning.conflicts(state) - before
        if status == learning.LIMIT:
            return live, None
        if status == learning.REFUTED:
            return live, Found(None, math.inf, spent)
        return live, Found(self._places(state), 0.0, spent)

    def _weighed(
        self, assumed: np.ndarray, known: np.ndarray, bound: float, over: Over
    ) -> Found | None:
        """The least energy, from the old values on: at the old price if anything is as cheap, else
        down from any price."""
        constant, scale = self.plan.boolean.constant, self.plan.factors.scale
        enough, spent = -learning.NEVER, 0  # what costs less is proved least
        if math.isfinite(bound) and scale.fine:
            enough = round(bound * float(scale.unit)) + 1 - constant
            status, state = _searched(self._prepared(known), assumed, LEVEL, enough, over)
            spent = learning.conflicts(state)
            if status == learning.SATISFIED:
                return Found(self._places(state), scale.value(enough - 1 + constant), spent)
        state, least, best = self._prepared(known), learning.NEVER, None
        while least >= enough:
            left = DESCENT - learning.conflicts(state)
            status, state = _searched(state, assumed, left, least, over)
            if status == learning.LIMIT:
                spent += learning.conflicts(state)
                return None if best is None or not over() else Found(best, bound, spent, False)
            if status == learning.REFUTED:
                bound = math.inf if best is None else scale.value(constant + least)
                break
            best = self._places(state)
            least = learning.objective(self.plan.formula, learning.model(state))
        return Found(best, bound, spent + learning.conflicts(state))

    def _prepared(self, known: np.ndarray) -> learning.State:
        """The search before its first decision, which tries the old values first."""
        state = learning.copy(self.state)
        phase = np.zeros(len(state.level), np.uint8)
        literals = self.plan.boolean.model_literals(known)
        phase[literals >> 1] = 1 - (literals & 1)
        learning.set_phase(state, phase)
        return state

    def _places(self, state: learning.State) -> np.ndarray:
        return self.plan.boolean.places(learning.model(state))


def _searched(
    state: learning.State, assumed: np.ndarray, conflicts: int, upper: int, over: Over
) -> tuple[int, learning.State]:
    """`learning.search` with a look at the clock now and then; LIMIT where time is up."""
    end = learning.conflicts(state) + conflicts
    while True:
        left = min(SLICE, end - learning.conflicts(state))
        status, state = learning.search(state, assumed, left, upper)
        if status != learning.LIMIT or learning.conflicts(state) >= end or over():
            return status, state


def _assumed(problem: Problem, boolean: Boolean) -> np.ndarray:
    """The evidence of a problem of one row as literals: the value of a pinned site, else what is
    ruled out. -> int32"""
    possible = problem.possible[0]
    owner = np.repeat(np.arange(boolean.visible), np.diff(boolean.offset[: boolean.visible + 1]))
    pinned = (np.add.reduceat(possible, boolean.offset[: boolean.visible], dtype=int) == 1)[owner]
    literal = boolean.literal[: len(possible)]
    every = [literal[possible & pinned], literal[~possible & ~pinned] ^ 1]
    return np.unique(np.concatenate(every)).astype(np.int32)


def _clausal(factors: Factors, where: np.ndarray, boolean: Boolean) -> list[np.ndarray] | None:
    """Factors of one term, its sites at these places, as clauses in the numbering of a formula;
    None where they need hidden sites, counts or sums. -> blocks of clauses of one length (m, k)"""
    f = factors.expanded()
    c = f.counted
    if len(f.sizes) > f.visible or f.sums.count or ((c.high != 1) | (c.low > 1)).any():
        return None
    rows: list[np.ndarray] = []
    first = boolean.offset[where]  # of the literals of each site
    literal, lengths = boolean.literal[first[c.site] + c.value], c.lengths()
    for length in sorted(set(lengths.tolist())):
        which = np.flatnonzero(lengths == length)
        members = literal[c.start[which][:, None] + np.arange(length)]  # (m, length)
        rows.append(members[:, _pairs(length)].reshape(-1, 2) ^ 1)
        rows.append(members[c.low[which] == 1])
    literal = boolean.literal[first[f.clauses.site] + f.clauses.value] ^ ~f.clauses.sign
    lengths = f.clauses.lengths()
    for length in sorted(set(lengths.tolist())):
        which = np.flatnonzero(lengths == length)
        rows.append(literal[f.clauses.start[which][:, None] + np.arange(length)])
    for table in f.plain().tables:
        shape = [int(f.sizes[s]) for s in table.scopes[0]]
        alike = (f.sizes[table.scopes] == shape).all()
        hangs = table.when is not None
        if table.soft or table.by_row or hangs or not alike or math.prod(shape) > TUPLES:
            return None
        bad = np.argwhere(np.isinf(table.dense(shape)))  # (T, arity)
        at = first[table.scopes][:, None, :] + bad[None]  # (scopes, T, arity)
        rows.append(boolean.literal[at].reshape(-1, table.arity) ^ 1)
    return rows


@cache
def _pairs(length: int) -> np.ndarray:
    """Every pair of places in a list. -> (length (length - 1) / 2, 2)"""
    return np.stack(np.triu_indices(length, 1), 1)


def _guarded(rows: Sequence[np.ndarray], literal: int) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of clauses as compressed rows, each with one more literal."""
    count, width = [len(block) for block in rows], [block.shape[1] + 1 for block in rows]
    start = np.zeros(sum(count) + 1, np.int64)
    np.cumsum(np.repeat(width, count), out=start[1:])
    flat = np.full(start[-1], literal, np.int32)
    end = 0
    for block, size in zip(rows, width, strict=True):  # the last of each row stays the literal
        begin, end = end, end + len(block) * size
        flat[begin:end].reshape(len(block), size)[:, :-1] = block
    return start, flat
