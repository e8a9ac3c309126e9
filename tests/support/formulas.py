"""Small formulas of clauses, groups, sums and costs, and all their models."""

import random

import numpy as np

from engine.kernels import clauses as learning

VARIABLES = 9


def drawn(seed: int, hard: bool = False) -> learning.Formula:
    """Clauses, groups, sums and cost groups over nine variables; `hard` means nearly too many."""
    rng = random.Random(f"formula {seed}")

    def some(most: int) -> list[int]:
        return [
            2 * v + rng.randrange(2) for v in rng.sample(range(VARIABLES), rng.randint(1, most))
        ]

    clauses = [some(4) for _ in range(rng.randint(0, 24 if hard else 12))]
    groups = [some(5) for _ in range(rng.randint(0, 4))]
    sums = []
    for _ in range(rng.randint(0, 3)):
        row = some(6)
        coefficients = [rng.randint(1, 5) for _ in row]
        sums.append((row, coefficients, rng.randint(0, sum(coefficients))))
    costs = []
    free = list(range(VARIABLES))
    rng.shuffle(free)
    while len(free) >= 3 and rng.random() < 0.7:  # disjoint groups of which exactly one is true
        row = [2 * free.pop() for _ in range(3)]
        clauses.append(row)
        groups.append(row)
        costs.append((row, [rng.randint(-4, 9) for _ in row]))
    return learning.formula(VARIABLES, clauses, groups, sums, costs)


def models(formula: learning.Formula) -> set[bytes]:
    return {model.tobytes() for model in learning.reference_models(formula)}


def pigeons(holes: int) -> learning.Formula:
    """One pigeon more than there are holes; at most one in each."""
    place = np.arange((holes + 1) * holes).reshape(holes + 1, holes) * 2
    return learning.formula((holes + 1) * holes, place.tolist(), place.T.tolist())
