"""Short searches by clause learning: for so many conflicts or literals, from an assumption, and
beside what a linear relaxation has decided.

Source: Berthold, "RENS", Mathematical Programming Computation 2014 (rounding the relaxation).
"""

import numpy as np

from engine.decimals import Floats
from engine.kernels import clauses as learning

PIECES = 8  # of a search, between which its spread is looked at
SPREAD = 20_000  # literals that it propagates at most, about
SEED = 100  # conflicts
TRIES = 8  # solutions, or sets of values given up, beside a relaxation
DECIDED = 1e-6  # so near to 1 a value of the relaxation counts as decided


def short_search(
    state: learning.State,
    assumed: np.ndarray,
    upper: int,
    conflicts: int = SEED,
    spread: int = SPREAD,
) -> tuple[int, learning.State]:
    """A search for what costs less than `upper`, in place. -> status, state"""
    end, far = learning.conflicts(state) + conflicts, learning.propagations(state) + spread
    status = learning.LIMIT
    while status == learning.LIMIT:
        left = end - learning.conflicts(state)
        if left <= 0 or learning.propagations(state) >= far:
            break
        piece = min(left, max(4, conflicts // PIECES))
        status, state = learning.search(state, assumed, piece, upper)
    return status, state


def rounded(formula: learning.Formula, x: Floats, upper: int) -> np.ndarray | None:
    """A model that costs less than `upper`, beside what a point of the relaxation has decided; None
    where none is found soon. (V,) -> (V,) uint8"""
    state, best = learning.load(formula), None
    learning.set_phase(state, (x >= 0.5).astype(np.uint8))
    kept = (2 * np.flatnonzero(x > 1 - DECIDED)).astype(np.int32)
    for _ in range(TRIES):
        status, state = short_search(state, kept, upper)
        core = learning.core(state) if status == learning.REFUTED else kept[:0]
        if status == learning.SATISFIED:
            best = learning.model(state)
            upper = learning.objective(formula, best)
        elif best is None and len(core):
            kept = kept[~np.isin(kept, core)]
        else:
            break
    return best
