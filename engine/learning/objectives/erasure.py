"""Energy discrepancy of erasing one column of each row, with every value as a negative.

    loss = E_p E_d [ -ln p_U(x_d | x_-d) ]
    p_U(v | x_-d) = exp(-U(v, x_-d)) / sum_w exp(-U(w, x_-d))

The grid channel erases one column d of the data; the way back draws it evenly. With all K_d values
in place of M drawn ones the estimate of `energy_discrepancy` has no sampling noise left, needs no
stabilizing weight, and is stochastic pseudo-likelihood, up to ln K_d. The column is drawn anew for
each step, the same for the whole batch, so that one call gives all energies.
Sources: Schroeder, Ou, Li, Duncan, NeurIPS 2024; Besag, 1975.
"""

from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.learning.objective import Nets, Objective, Update
from engine.random import Stream

COLUMN = 601  # lane of the stream


class Conditionals(nn.Module, ABC):
    """A network that can tell the energies of all values of one column at once."""

    sizes: tuple[int, ...]  # number of values of each column

    @abstractmethod
    def logits(self, codes: Tensor, column: int) -> Tensor:
        """-U of the rows with each value in the column. (B, D) -> (B, K)"""


@dataclass(frozen=True)
class Erasure(Objective[tuple[()]]):
    """Trains `nets["energy"]`, a `Conditionals`, on batches {"codes": (B, D)}; -1: a missing cell.

    favoured: a column that a share `favour` of the steps goes to, beside its turn with the others;
    for classification.
    """

    favoured: int | None = None
    favour: float = 0.25
    clip: float | None = 5.0

    def __post_init__(self):
        if not 0 <= self.favour < 1:
            raise BadQuery(Mistake("favour", f"{self.favour!r}", "give 0 <= favour < 1"))

    def start(self, nets: Nets, rng: Stream) -> tuple[()]:
        del rng
        if not isinstance(nets.get("energy"), Conditionals):
            raise BadQuery(Mistake("nets.energy", "gives no conditionals", "give a Conditionals"))
        return ()

    def updates(
        self, nets: Nets, batch: State, s: tuple[()], rng: Stream
    ) -> Generator[Update, None, tuple[()]]:
        net = nets["energy"]
        assert isinstance(net, Conditionals)
        column = self._column(len(net.sizes), rng.fork(COLUMN))
        each = column_losses(net, batch["codes"], column)
        yield Update("energy", each.sum() / max(1, len(each)), self.clip)
        return s

    def _column(self, count: int, rng: Stream) -> int:
        which, where = rng.uniform(1, 2, dtype=torch.float64)[0].tolist()
        if self.favoured is not None and which < self.favour:
            return self.favoured
        return min(int(where * count), count - 1)


def column_losses(net: Conditionals, codes: Tensor, column: int) -> Tensor:
    """-ln p of the cells of one column given the others, without the missing ones. -> (<= B,)"""
    rows = codes[codes[:, column] >= 0]
    logs = torch.log_softmax(net.logits(rows, column), -1)
    return -logs.gather(-1, rows[:, column : column + 1])[:, 0]
