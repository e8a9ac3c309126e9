"""The leaves of a row: the decided states of its finite sites that explicit structure allows, told
apart by the sites that the opaque rest of the energy sees.

Each comes with the cheapest of what is explicit, over all ways to decide the other sites: found by
a search of its own under the sites it fixes, on a copy, as what that learns holds below a price
alone. A leaf that was found is shut out; when nothing is left, there are no others.
"""

import math
from typing import NamedTuple

import numpy as np

from engine.kernels import clauses as learning
from engine.search.prepared import Prepared
from engine.search.subtrees import Learner


class Leaf(NamedTuple):
    """A decided state of the finite sites."""

    places: np.ndarray  # (n,)
    cost: float  # what is explicit of it
    least: float  # no completion of the sites that the rest sees pays less, of explicit costs


class LeafSearch(NamedTuple):
    """Where the search for the leaves of a row stands."""

    learner: Learner
    seen: np.ndarray  # the sites that tell leaves apart
    target: "_Target | None" = None  # a leaf whose cheapest completion is looked for
    exhausted: bool = False

    @staticmethod
    def opened(plan: Prepared, allowed: np.ndarray, seen: np.ndarray) -> "LeafSearch":
        """The search of one row. allowed (C,) uint8"""
        return LeafSearch(plan.learner(allowed), seen)

    def bound(self, plan: Prepared) -> float:
        """What every leaf that was not found pays at least; infinite where there is none."""
        learner, scale = self.learner, plan.factors.scale
        if self.exhausted and learner.upper >= learning.NEVER:
            return math.inf
        least = learner.upper if self.exhausted else learning.lower_bound(learner.state)
        return scale.below(learner.constant + min(least, learner.upper))

    def cut(self, upper: int) -> "LeafSearch":
        """Leaves are wanted only where explicit costs are less than so many units."""
        upper = max(-learning.NEVER, min(upper - self.learner.constant, self.learner.upper))
        return self._replace(learner=self.learner._replace(upper=upper))

    def advanced(
        self, plan: Prepared, conflicts: int, most: int
    ) -> "tuple[LeafSearch, list[Leaf]]":
        """Up to so many further leaves, in so many conflicts at most. The search is used up: go on
        with the one returned."""
        search, found = self, list[Leaf]()
        end = search.learner.conflicts() + conflicts
        while len(found) < most and not search.exhausted:
            if search.target is not None:
                search, leaf, spent = search._finished(plan, end - search.learner.conflicts())
                end -= spent
                if leaf is None:
                    break
                found.append(leaf)
                continue
            left = end - search.learner.conflicts()
            if left <= 0:
                break
            learner = search.learner
            status, state = learning.search(learner.state, (), left, learner.upper)
            learner = learner._replace(state=state)
            search = search._replace(learner=learner, exhausted=status == learning.REFUTED)
            if status != learning.SATISFIED:
                break
            places = plan.boolean.places(learner.model())
            cost = learning.objective(learner.formula, learning.model(state))
            if not len(learner.formula.cost):
                found.append(search._leaf(plan, places, cost))
                search = search._without(plan, places)
            else:
                search = search._replace(target=search._aimed(plan, places, cost))
        return search, found

    def copy(self) -> "LeafSearch":
        """A search that goes on by itself."""
        target = self.target
        if target is not None:
            target = target._replace(state=learning.copy(target.state))
        return self._replace(learner=self.learner.copy(), target=target)

    def _literals(self, plan: Prepared, places: np.ndarray) -> np.ndarray:
        """The literals that say that the sites seen have these values."""
        b = plan.boolean
        return b.literal[b.offset[self.seen] + places[self.seen]]

    def _without(self, plan: Prepared, places: np.ndarray) -> "LeafSearch":
        clause = self._literals(plan, places) ^ 1
        return self._replace(learner=self.learner.without(clause), target=None)

    def _leaf(self, plan: Prepared, places: np.ndarray, cost: int) -> Leaf:
        units, scale = self.learner.constant + cost, plan.factors.scale
        value = scale.value(units)
        return Leaf(places, value, scale.below(units) if scale.error else value)

    def _aimed(self, plan: Prepared, places: np.ndarray, cost: int) -> "_Target":
        literals, learner = self._literals(plan, places), self.learner
        small = learner.small
        if small is not None:  # what is fixed at the root is no literal of the smaller formula
            literals = small.literals(literals ^ 1) ^ 1
        state = learning.copy(learner.state)
        return _Target(state, np.unique(literals).astype(np.int32), places, cost)

    def _finished(self, plan: Prepared, conflicts: int) -> "tuple[LeafSearch, Leaf | None, int]":
        """The target made cheaper until nothing is; the leaf then, and the conflicts spent."""
        target, learner = self.target, self.learner
        assert target is not None
        before = learning.conflicts(target.state)
        while True:
            spent = learning.conflicts(target.state) - before
            if spent >= conflicts:
                return self._replace(target=target), None, spent
            status, state = learning.search(
                target.state, target.fixed, conflicts - spent, target.cost
            )
            target = target._replace(state=state)
            if status == learning.SATISFIED:
                model = learning.model(state)
                whole = learner.small.model(model) if learner.small else model
                cost = learning.objective(learner.formula, model)
                target = target._replace(places=plan.boolean.places(whole), cost=cost)
            elif status == learning.REFUTED:
                leaf = self._leaf(plan, target.places, target.cost)
                spent = learning.conflicts(state) - before
                return self._without(plan, target.places), leaf, spent


class _Target(NamedTuple):
    """The search for the cheapest completion of the sites that a leaf fixes."""

    state: learning.State
    fixed: np.ndarray  # literals
    places: np.ndarray  # the cheapest so far
    cost: int  # of it
