"""The laws of a term with inputs: each row of what it is told by itself, and rows side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.domain import Domain, Finite, Given, Told
from engine.energy import Term
from engine.factors import Factors
from engine.problem import Problem
from engine.random import Stream
from engine.testing.numbers import all_near

ROWS = 3  # rows of inputs that are drawn


class Beside(Term):
    """A term beside one row of its inputs: over its variables alone."""

    def __init__(self, term: Term, told: Mapping[str, Told]):
        self.own = [k for k, view in enumerate(term.scope) if not view.told]
        super().__init__(*(term.scope[k] for k in self.own))
        self.term, self.row = term, told
        self.affine, self.dtype, self.tolerance = term.affine, term.dtype, term.tolerance  # type: ignore[misc]
        self.required_by_default = term.required_by_default  # type: ignore[misc]
        self.fixed_structure = term.fixed_structure  # type: ignore[misc]

    @property
    def label(self) -> str:
        return self.term.label

    @property
    def enumerates(self) -> bool:
        return self.term.enumerates

    def _handed(self, entries: Sequence[Any], batch: int) -> list[Any]:
        """The whole scope: these entries, and what the row was told, beside a batch of states on
        their device."""
        device = entries[0].device
        state = {name: told.to(device).given(batch) for name, told in self.row.items()}
        own = iter(entries)
        return [
            self.term.seen(view, state[view.variable.name]) if view.told else next(own)
            for view in self.term.scope
        ]

    def energy(self, *tensors: Any) -> Tensor:
        return self.term.energy(*self._handed(tensors, len(tensors[0])))

    def cost(self, *tensors: Any) -> Tensor:
        return self.term.cost(*self._handed(tensors, len(tensors[0])))

    def changes(self, sites: Tensor, *decided: Any) -> Tensor:
        entry = torch.tensor(self.own)[sites[:, 0]]
        whole = self._handed(decided, len(decided[0]))
        return self.term.changes(torch.stack([entry, sites[:, 1]], 1), *whole)

    @property
    def squared(self) -> bool:
        return self.term.squared

    def violation(self, *tensors: Any) -> Tensor:
        return self.term.violation(*self._handed(tensors, len(tensors[0])))

    def residual(self, *tensors: Any) -> Tensor | None:
        return self.term.residual(*self._handed(tensors, len(tensors[0])))

    def _plain(self, values: Sequence[Any]) -> list[Any]:
        own, out = iter(values), list[Any]()
        for view in self.term.scope:
            if not view.told:
                out.append(next(own))
                continue
            given = view.plain(self.row[view.variable.name].plain(0))
            out.append(given if self.term.partial else given.values)
        return out

    def holds(self, *values: Any) -> bool | None:
        said = self.term.holds(*self._plain(values))
        return None if said is None else bool(said)

    def explain(self, *values: Any) -> list[str]:
        return self.term.explain(*self._plain(values))

    def _domains_beside(self, domains: Sequence[Domain]) -> list[Domain]:
        own, rows = iter(domains), max((d.rows for d in domains), default=1)
        return [
            view.of(self.row[view.variable.name].select([0] * rows)) if view.told else next(own)
            for view in self.term.scope
        ]

    def factors(self, *domains: Domain) -> Factors | None:
        own = self.term.factors(*self._domains_beside(domains))
        return None if own is None else own.of_row(0)

    def floor(self) -> float:
        return self.term.floor()


def drawn(domain: Told, rng: Stream, partial: bool) -> Told:
    """ROWS random rows of an input; where a term takes absent entries some are absent."""
    u = rng.uniform(ROWS, *domain.shape, dtype=torch.float64)
    low, high = max(domain.low, -2.0), min(domain.high, 2.0)
    low, high = min(low, domain.high), max(high, domain.low)
    x = low + (high - low) * u
    if domain.values is not None:
        x = (u * len(domain.values)).long()
    elif domain.integer:
        x = x.round().long()
    there = rng.fork(1).uniform(ROWS, domain.entries) < (0.6 if partial else 2.0)
    there[:, 0] |= ~there.any(1)
    mask = there.view(ROWS, domain.entries, *[1] * (len(domain.shape) - 1)) if domain.shape else 1
    return domain.holding((x * mask).to(domain.tensor.dtype), there)


def rows_beside(term: Term, seed: int) -> list[Beside]:
    """The term beside each of some random rows of its inputs."""
    told = _told(term, seed)
    return [Beside(term, {n: d.select([row]) for n, d in told.items()}) for row in range(ROWS)]


def _told(term: Term, seed: int) -> dict[str, Told]:
    rng, inputs = Stream(seed, torch.tensor([seed])), {}
    for k, view in enumerate(v for v in term.scope if v.told):
        assert isinstance(view.variable.domain, Told)
        inputs[view.variable.name] = drawn(view.variable.domain, rng.fork(k), term.partial)
    return inputs


def check_rows_beside(term: Term, seed: int) -> None:
    """Rows with different inputs side by side cost what each costs alone; what is absent changes
    nothing; and the shape of its structure is the same whatever it is told."""
    told = _told(term, seed)
    base = Problem(1.0 * term)
    finite = {v.name: v.domain for v in base.variables}
    rng = Stream(seed, torch.arange(ROWS))
    x = {n: d.select([0] * ROWS).sample(1, rng.fork(k)) for k, (n, d) in enumerate(finite.items())}
    together = term({**x, **{n: d.given(ROWS) for n, d in told.items()}})
    for row in range(ROWS):
        own = {n: t[row : row + 1] for n, t in x.items()}
        alone = term({**own, **{n: d.select([row]).given(1) for n, d in told.items()}})
        assert all_near(together[row : row + 1].double(), alone.double()), (
            f"{term.label}: a row costs {float(together[row])} in company and {float(alone)} alone"
        )
    if term.partial:
        wild = {n: _scribbled(d.given(ROWS)) for n, d in told.items()}
        assert all_near(term({**x, **wild}).double(), together.double()), (
            f"{term.label}: what is absent changes its energy; leave out what `present` says is not"
            " there"
        )
    scope = [view.of({**finite, **told}[view.variable.name]) for view in term.scope]
    if all(isinstance(d, (Finite, Told)) for d in scope) and not term.enumerates:
        _check_shape_of_structure(term, scope)


def _scribbled(given: Given) -> Given:
    """Other numbers where nothing is there."""
    shape = (*given.present.shape, *[1] * (given.values.dim() - 2))
    absent = ~(given.present.view(shape) if given.values.dim() > 1 else given.present[:, 0])
    return Given(given.values + absent.to(given.values.dtype), given.present)


def _check_shape_of_structure(term: Term, scope: Sequence[Domain]) -> None:
    shapes = []
    for row in range(ROWS):
        own = term.factors(*(d.select([row]) if d.rows > 1 else d for d in scope))
        shapes.append(None if own is None else own.split(1)[0])
    first = shapes[0]
    assert all(
        (one is None) == (first is None) and (one is None or first is None or first.like(one))
        for one in shapes
    ), (
        f"{term.label}: the shape of its factors follows what it is told; let it cover all entries,"
        " with costs (R, T) that are 0 where one is absent"
    )
