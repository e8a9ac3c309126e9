"""What samples are, as plain data: the draws, how they were made, how well chains mixed."""

from dataclasses import dataclass
from typing import Any

from engine.answer import Flag, Status

MIXED = 1.05  # R-hat up to which chains pass as mixed


@dataclass(frozen=True)
class Mixing:
    """Of one variable: the worst of all its sites and values."""

    variable: str
    r_hat: float | None  # 1 is best, above `MIXED` is poor; None: the chains stand still, apart
    effective: float  # independent draws that those recorded are worth, at most their number; 0
    # where the chains disagree, or nothing can be told

    @property
    def mixed(self) -> bool:
        """Whether the chains agree."""
        return self.r_hat is not None and self.r_hat <= MIXED


@dataclass(frozen=True)
class Sample:
    """One draw; one for which a rule does not hold is told as such."""

    values: dict[str, Any]
    energy: float | None  # of the weighted terms; None: not finite
    holds: bool | None  # whether the required rules hold; None: nothing decides


@dataclass(frozen=True)
class Samples:
    """The draws of one row, and what they are worth."""

    samples: tuple[Sample, ...]
    status: Status  # INFEASIBLE: proved that nothing keeps the rules; else the worst of the samples
    exact: bool  # independent draws from the distribution itself
    method: str  # elimination, enumeration, sweeps, slopes
    mixing: tuple[Mixing, ...] = ()  # of each variable; none where exact
    flags: tuple[Flag, ...] = ()
    steps: int = 0
    seconds: float = 0.0
    log_partition: float | None = None  # ln sum of exp(-E / temperature) over all states that keep
    # the rules, where the draws are exact; None: not known, or there are none

    @property
    def mixed(self) -> bool:
        """Whether the draws may pass as draws from the distribution: they are exact, or the chains
        agree on every variable."""
        return self.exact or (bool(self.mixing) and all(told.mixed for told in self.mixing))
