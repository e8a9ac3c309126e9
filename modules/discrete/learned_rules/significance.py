"""How strongly examples speak for a rule: a proved bound on the chance of seeing so few exceptions.

The null hypothesis of a test is *independent choice*: the sites take their values independently,
with the shares seen in the examples. `observed` exceptions X are then a sum of indicators with mean
`expected` that splits into `cover` sums of independent ones (pairs without a common site), and

    ln P(X <= observed) <= -(expected - observed + observed ln(observed / expected)) / cover

for observed < expected (Chernoff's bound for each of them, joined by Hoelder's inequality; Janson,
"Large deviations for sums of partly dependent random variables", 2004). A rule is accepted where
this is at most ln(alpha / number of tests): then the chance that any rule is false is at most alpha
(Bonferroni), as far as free sites do choose independently.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.decimals import Floats, Ints

RARE = 0.25  # of what chance would give: more exceptions are a habit of the examples, no rule
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Candidates:
    """A family of possible rules, and how often each has an exception."""

    label: Ints  # (T, 2) what each is about, as its maker says
    observed: Floats  # (T,) exceptions seen
    expected: Floats  # (T,) exceptions under independent choice
    cover: Floats  # (T,) or (1,)
    exceptions: Callable[[Ints], Bools]  # (m,) tests -> (m, N): in which examples

    @property
    def count(self) -> int:
        """Candidates that could speak for a rule at all."""
        return int((self.expected > 0).sum())

    def surprise(self) -> Floats:
        """The bound on ln P(X <= observed). -> (T,)"""
        return log_chance(self.observed, self.expected, self.cover)


def log_chance(observed: Floats, expected: Floats, cover: Floats) -> Floats:
    """The bound of the first lines of this file; 0 where there are no fewer than expected."""
    few = observed < expected
    x, mean = np.where(few, observed, 0.0), np.where(few, expected, 1.0)
    entropy = np.where(x > 0, x * np.log(np.where(x > 0, x, 1.0) / mean), 0.0)
    return np.where(few, -(mean - x + entropy) / cover, 0.0)


def threshold(alpha: float, tests: int) -> float:
    """What ln P must not exceed, so that all tests together err with chance at most alpha."""
    return math.log(alpha / max(1, tests))


def strong(tests: Candidates, limit: float) -> Ints:
    """The tests with evidence enough, leaving out what is merely rarer than chance."""
    rare = tests.observed <= RARE * tests.expected
    return np.flatnonzero(rare & (tests.surprise() <= limit))


def blamed(exceptions: Bools, worth: Floats, price: float, allowance: int) -> Bools:
    """Which examples are wrong rather than the rules that they break.

    exceptions: (R, N) where each rule is broken; worth: (R,) nats of evidence for a rule beyond
    what accepting it takes; price: nats that calling one example wrong costs. Greedily: an example
    is worth the sum over the rules it breaks of their worth, each shared by the examples that still
    stand against the rule. At most `allowance` are blamed. -> (N,)
    """
    blame = np.zeros(exceptions.shape[1], dtype=bool)
    while blame.sum() < allowance and exceptions.size:
        against = exceptions & ~blame
        share = worth / np.maximum(against.sum(1), 1)  # (R,)
        gain = share @ against  # (N,)
        worst = int(gain.argmax())
        if gain[worst] <= price:
            break
        blame[worst] = True
    freed = ~(exceptions & ~blame).any(1)  # rules that nothing stands against any more
    return blame & exceptions[freed].any(0)


def needed(tests: Candidates, limit: float, examples: int) -> int | None:
    """How many examples would do for the never broken rule that needs fewest more; None where
    there is no such rule."""
    open_tests = (tests.observed == 0) & (tests.expected > 0) & (tests.surprise() > limit)
    if not open_tests.any():
        return None
    strongest = float(tests.surprise()[open_tests].min())
    return math.ceil(examples * limit / strongest)
