"""What a Boolean formula costs, as one linear sum over its variables, in units of any size."""

from typing import NamedTuple

import numpy as np

from engine.decimals import Ints, Scale
from engine.search.simplify import Simplified


class Linear(NamedTuple):
    """constant + cost @ x, exactly."""

    scale: Scale  # whose units are exact
    cost: Ints  # (V,) whole numbers of Python
    constant: int

    @staticmethod
    def of(
        scale: Scale, variables: int, literal: np.ndarray, cost: Ints, constant: int
    ) -> "Linear":
        """The sum of what each true literal costs. literal (L,), cost (L,)"""
        off = (literal & 1).astype(bool)
        own = np.zeros(variables, dtype=object)
        np.add.at(own, literal >> 1, np.where(off, -cost, cost))
        return Linear(scale, own, constant + int(cost[off].sum()))

    def moved(self, to: Ints, variables: int) -> "Linear":
        """The same over other variables; to: (V,) the literal that stands for each variable."""
        off, own = (to & 1).astype(bool), np.zeros(variables, dtype=object)
        np.add.at(own, to >> 1, np.where(off, -self.cost, self.cost))
        return Linear(self.scale, own, self.constant + int(self.cost[off].sum()))

    def left(self, small: Simplified) -> "Linear":
        """The same over the variables that are open in a smaller formula."""
        fixed = self.cost[small.fixed != 0]
        return Linear(self.scale, self.cost[small.open], self.constant + int(fixed.sum()))


def rounded_to(scale: Scale, fine: Scale, units: Ints) -> Ints:
    """Whole numbers of fine units as the nearest ones of a scale. (n,) -> (n,) int64"""
    share = scale.unit / fine.unit
    up, down = 2 * share.numerator, 2 * share.denominator
    return np.asarray((units * up + share.denominator) // down).astype(np.int64)
