"""The clause-learning search of one row: as one tree, and where that is long, as two subtrees.

The subtrees assume a literal and its negation, tell each other the short clauses they learn, and
may run in two threads. What they come to depends on the formula alone, never on the threads: each
is searched for a number of conflicts, and only then do they tell. A subtree that is refuted leaves
its negation to the other, which is split again.

Source: Hamadi, Jabbour, Piette, Sais, "Deterministic parallel DPLL", JSAT 2011 (rounds);
Heule, Kullmann, Wieringa, Biere, "Cube and conquer", HVC 2011 (subtrees).
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from engine.kernels import clauses as learning
from engine.search.simplify import Simplified

SPLIT = 8_000  # conflicts of a tree before it is split
ENDLESS = 1 << 60  # looks: no limit
LEVELS = 4  # decision levels of the clauses that are told


class Learner(NamedTuple):
    """The clause-learning search of a tree or subtree of one row."""

    formula: learning.Formula
    state: learning.State
    upper: int  # cost of the formula that the next solution must beat, in units
    constant: int  # explicit cost that the formula does not count
    small: Simplified | None  # where the formula is a smaller one
    assumed: tuple[int, ...] = ()  # literals
    beyond: int | None = (
        None  # where `upper` is a budget: what the next solution must beat in truth
    )

    def model(self) -> np.ndarray:
        """The last model found, over all variables."""
        found = learning.model(self.state)
        return self.small.model(found) if self.small else found

    def without(self, clause: np.ndarray) -> "Learner":
        """The search with one more clause; no literal of it may be fixed true."""
        own = self.small.literals(clause) if self.small else clause
        return self._replace(state=learning.add_clause(self.state, own))

    def conflicts(self) -> int:
        """How many conflicts the search has met so far."""
        return learning.conflicts(self.state)

    def looks(self) -> int:
        """What the search has looked at so far."""
        return learning.looks(self.state)

    def copy(self) -> "Learner":
        """A search that goes on by itself."""
        return self._replace(state=learning.copy(self.state))


Learners = tuple[Learner, ...]


def search_slices(
    learners: Learners, budgets: Sequence[int], threads: int, looks: Sequence[int] | None = None
) -> tuple[list[int], Learners]:
    """Each subtree for at most its budget of conflicts, and about so many looks, in place.
    -> statuses, subtrees"""
    looks = [ENDLESS] * len(learners) if looks is None else looks

    def one(learner: Learner, budget: int, most: int) -> tuple[int, Learner]:
        if budget <= 0 or most <= 0:
            return learning.LIMIT, learner
        status, state = learning.search(learner.state, learner.assumed, budget, learner.upper, most)
        return status, learner._replace(state=state)

    if threads > 1 and len(learners) > 1:
        with ThreadPoolExecutor(threads) as pool:
            done = list(pool.map(one, learners, budgets, looks))
    else:
        done = list(map(one, learners, budgets, looks))
    return [status for status, _ in done], tuple(learner for _, learner in done)


def drop_refuted(learners: Learners, statuses: Sequence[int]) -> Learners:
    """The subtrees that are not refuted; each is told what refuted the others."""
    cores = [
        learning.core(learner.state)
        for learner, status in zip(learners, statuses, strict=True)
        if status == learning.REFUTED
    ]
    if any(len(core) == 0 for core in cores):
        return ()  # refuted whatever is assumed
    left = []
    for learner, status in zip(learners, statuses, strict=True):
        if status != learning.REFUTED:
            state = learner.state
            for core in cores:
                state = learning.add_clause(state, core ^ 1)
            assumed = learner.assumed if not cores else ()
            left.append(learner._replace(state=state, assumed=assumed))
    return tuple(left)


def exchange_clauses(learners: Learners) -> Learners:
    """Two subtrees, each told what the other learned; a tree, split where it is long."""
    if len(learners) == 2:
        one, two = learners
        first, second = learning.shared(one.state), learning.shared(two.state)
        return (
            one._replace(state=learning.add_shared(one.state, second)),
            two._replace(state=learning.add_shared(two.state, first)),
        )
    one = learners[0]
    variable = learning.most_active(one.state) if one.conflicts() >= SPLIT else None
    if variable is None:
        return learners
    one = one._replace(state=learning.sharing(one.state, LEVELS), assumed=(2 * variable,))
    return one, one.copy()._replace(assumed=(2 * variable + 1,))
