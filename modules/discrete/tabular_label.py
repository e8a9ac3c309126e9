"""A rule over a row of a table: the learned energy prefers the label that stands in one column."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from engine.domain import Domain, Finite, Variable, View
from engine.energy import Term
from engine.errors import BadQuery
from modules.discrete.tabular.counterfactual import smallest_change
from modules.discrete.tabular.model import FOLDER
from modules.discrete.tabular.network import TableNet
from modules.discrete.tabular.term import Tabular, identifiers
from modules.parameters import Number, Strict
from modules.shared.files import File

TIED = 1e9  # nats that keep a label from being its own rival
SLACK = 1e-6  # nats, relative to the arithmetic of the search


class Parameters(Strict):
    """The table's weights, and which column is the label."""

    weights: File = Field(description="A file of `basin train discrete.tabular`.")
    target: str = Field(description="The column of the label.")
    columns: list[str] | None = Field(
        None,
        description="The column of each scope entry; without it, told by the variables' names.",
    )
    margin: Annotated[Number, Field(ge=0)] = Field(
        0.0, description="In nats: by how much the label must be preferred to any other."
    )


class TabularLabel(Term):
    """The label of a row is the one of least energy, given all other columns.

    E = max(0, U(x, y) + margin - min over other labels z of U(x, z)) in nats; holds where that is
    0, judged on the codes of plain values by a network in float64. With prices on changed cells and
    the label given, the answer is the smallest change of a row that flips its label (a
    counterfactual; Wachter, Mittelstadt, Russell, 2017). A label that ties with another does not
    hold. BadQuery: as `discrete.tabular`, and a target that is no column.
    """

    affine = False
    shipped = FOLDER

    def __init__(
        self,
        *scope: Variable | View,
        weights: str,
        target: str,
        columns: Sequence[str] | None = None,
        margin: float = 0.0,
    ):
        super().__init__(*scope)
        self.table = Tabular(*scope, weights=weights, columns=columns)
        self.margin = margin
        try:
            self.target = self.table.model.schema.place(target)
        except BadQuery as error:
            raise error.under("target") from None

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, k) of each column -> (B,)
        net = self.table.net
        x = self.table.literals(*tensors).to(net.single.dtype)
        own = slice(net.starts[self.target], net.starts[self.target + 1] - 1)
        label = x[:, own]  # (B, K), one-hot or relaxed
        costs = -net.column(x, self.target)[:, :-1]
        here = (costs * label).sum(-1)
        other = (costs + label * TIED).min(-1).values
        return torch.relu(here + self.margin - other)

    def holds(self, *values: Any) -> bool:
        codes = [
            column.code(_single(values[k]))
            for k, column in zip(self.table.order, self.table.columns, strict=True)
        ]
        with torch.no_grad():
            costs = -self._exact().logits(torch.tensor([codes]), self.target)[0]
        label = codes[self.target]
        others = [c for k, c in enumerate(costs.tolist()) if k != label]
        return float(costs[label]) + self.margin <= min(others, default=float("inf")) + SLACK

    def _exact(self) -> TableNet:
        net = self.table.net
        exact = TableNet(net.sizes, net.hidden).double()
        exact.load_state_dict(net.state_dict())
        return exact

    def explain(self, *values: Any) -> list[str]:
        if self.holds(*values):
            return []
        name = self.table.columns[self.target].name
        label = _single(values[self.table.order[self.target]])
        return [f"the energy prefers another {name} than {label!r} for this row"]

    def factors(self, *domains: Domain) -> None:
        """No explicit structure: hidden units couple all columns."""
        return

    def fewest_changes(
        self,
        values: Sequence[Any],
        wanted: Sequence[Any],
        free: Sequence[tuple[int, int]],
        stop: Callable[[], bool],
    ) -> tuple[Sequence[tuple[int, int]], bool] | None:
        """One and two cells by enumeration, more by adding the best column: where all cells are
        given and may be any value of their columns, and there is no margin."""
        del wanted  # it stands in the values
        domains = [view.of(view.variable.domain) for view in self.scope]
        every = [may.all() for may in self.table.allowed(domains)]
        plain = [_single(values[k]) for k in self.table.order]
        finite = all(isinstance(d, Finite) for d in domains)
        if self.margin or not finite or not all(every) or None in plain:
            return None
        columns = zip(self.table.columns, plain, strict=True)
        codes = torch.tensor([column.code(value) for column, value in columns])
        entries = {entry for entry, _ in free}
        if self.table.order[self.target] in entries:
            return None  # any label will do
        may = [d for d, entry in enumerate(self.table.order) if entry in entries]
        net, label = self.table.net, int(codes[self.target])
        found = smallest_change(net, codes, self.target, label, may, stop)
        if found is None:
            return None
        return [(self.table.order[d], 0) for d in found.columns], found.smallest

    @classmethod
    def example(cls) -> "TabularLabel":
        table = Tabular.example()
        names = identifiers([c.name for c in table.columns])
        return cls(
            *(Variable(n, Finite(c.plain)) for n, c in zip(names, table.columns, strict=True)),
            weights="loans.safetensors",
            target="repaid",
        )


def _single(value: Any) -> Any:
    """The plain value of a variable with one site, however its shape nests it."""
    while isinstance(value, (list, tuple)):
        value = value[0]
    return value
