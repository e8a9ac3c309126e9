"""Which choices of evidence and rules can hold together: clause learning under assumptions."""

from collections.abc import Callable, Sequence

import numpy as np

from engine.factors import ints
from engine.kernels import clauses as learning
from engine.search.boolean import Boolean

CONFLICTS = 1_000_000  # the learning search may spend in one test before the explanation gives up
SLICE = 500  # conflicts between two looks at the budget


class Undecided(Exception):
    """A test did not finish within its limit; the message says which."""


class Tester:
    """Decides whether assumptions can hold together; keeps what it learns between tests."""

    def __init__(self, boolean: Boolean, over: Callable[[], bool]):
        self.over = over
        formula = learning.Formula(
            boolean.variables,
            boolean.clauses.start,
            boolean.clauses.literal,
            boolean.groups.start,
            boolean.groups.literal,
            boolean.sums.start,
            boolean.sums.literal,
            boolean.coefficient,
            boolean.bound,
            ints([0]),
            np.zeros(0, np.int32),
            np.zeros(0, np.int64),
        )
        self.state = learning.load(formula)

    def core(self, assumptions: Sequence[int]) -> list[int] | None:
        """None when the assumptions can hold together, else those that cannot."""
        limit = learning.conflicts(self.state) + CONFLICTS
        while True:
            status, self.state = learning.search(self.state, assumptions, SLICE)
            if status == learning.SATISFIED:
                return None
            if status == learning.REFUTED:
                return learning.core(self.state).tolist()
            if self.over():
                raise Undecided("the time was over")
            if learning.conflicts(self.state) >= limit:
                raise Undecided(f"a search gave up after {CONFLICTS:,} conflicts")

    def minimal(self, candidates: Sequence[int], kept: Sequence[int]) -> list[int]:
        """A minimal subset of the candidates that cannot hold together with `kept`.

        The candidates must be refuted to begin with.
        """
        fixed = set(kept)
        core = self.core([*kept, *candidates])
        assert core is not None
        left = [x for x in candidates if x in set(core)]
        needed: list[int] = []
        while left:
            tried = left.pop()
            core = self.core([*kept, *needed, *left])
            if core is None:
                needed.append(tried)
            else:
                inside = set(core) - fixed
                left = [x for x in left if x in inside]
        return needed
