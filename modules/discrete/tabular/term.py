"""Rows of a table: an energy learned from a CSV, in nats, over one variable a column."""

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from engine.domain import Domain, Finite, Real, Variable, View, is_decided
from engine.energy import Term, at_every_site
from engine.energy.changes import settled, standing
from engine.energy.lesson import Lesson
from engine.errors import BadQuery, Mistake, known
from engine.random import Stream
from modules.discrete.tabular.marginals import chances, swept
from modules.discrete.tabular.model import TableModel, load_model
from modules.discrete.tabular.schema import Column, Type
from modules.parameters import Number, Strict
from modules.shared.files import File

PROPOSED = 30  # Gibbs sweeps of a proposal
LONGEST = 900  # characters of a variable's name


class Parameters(Strict):
    """Where the weights lie, and when an answer is not stood by."""

    weights: File = Field(
        description="A file of `basin train discrete.tabular`; a bare name is also looked for "
        "beside the kinds that ship with Basin."
    )
    columns: list[str] | None = Field(
        None,
        description="The column of each scope entry; without it, told by the variables' names.",
    )
    confidence: Annotated[Number, Field(ge=0, le=1)] | None = Field(
        None, description="Abstain where an open cell's value has a lower chance, given the others."
    )


class Tabular(Term):
    """The energy of a row of a table, learned from examples.

    E = U(x) / T in nats, exp(-E) proportional to the chance of a row; U has terms for values and
    pairs of values, and hidden units (`network.py` beside this file); T is fitted on held-out rows.
    Each column is one variable with one site: finite, with any of its values in any order (numbers
    of a numeric column fall into bins), or real for a numeric column, interpolated between bins.
    Open cells are asked; given ones are evidence. An answer whose energy lies above 99.9 % of held-
    out rows is flagged ABSTAIN, and with `confidence` also one with an unsure cell. Source:
    Schroeder, Ou, Li, Duncan, "Energy-based modelling for discrete and mixed data via heat
    equations on structured spaces", NeurIPS 2024 (the grid channel, every value a negative).
    BadQuery: weights that are none, a variable that is no column, an unknown value."""

    affine = False
    calibrated = True

    def __init__(
        self,
        *scope: Variable | View,
        weights: str,
        columns: Sequence[str] | None = None,
        confidence: float | None = None,
    ):
        super().__init__(*scope)
        self.model: TableModel = load_model(weights)
        self.net = self.model.net
        self.confidence = confidence
        self.order = self._order(columns)  # scope entry of each column
        self.columns = self.model.schema.modelled
        for k, column in enumerate(self.columns):
            domain = self.scope[self.order[k]].variable.domain
            name, map_ = f"map{k}", _map(column, domain, f"scope[{self.order[k]}]")
            self.register_buffer(name, map_, persistent=False)

    def _order(self, columns: Sequence[str] | None) -> list[int]:
        names = [c.name for c in self.model.schema.modelled]
        if columns is None:
            short = dict(zip(identifiers(names), names, strict=True))
            said = [short.get(v.variable.name, v.variable.name) for v in self.scope]
        else:
            said = list(columns)
        wrong = [
            Mistake(f"scope[{k}]", f"{view.variable.name} has {view.places.size} sites", "name one")
            for k, view in enumerate(self.scope)
            if view.places.size != 1
        ]
        path = "columns" if columns is not None else "scope"
        wrong += [
            Mistake(f"{path}[{k}]", f"{name!r} is no column of the table", known(name, names))
            for k, name in enumerate(said)
            if name not in names
        ]
        missing = [name for name in names if name not in said]
        if len(said) != len(self.scope) or len(set(said)) < len(said):
            remedy = "name each column once, in the order of the scope"
            wrong.append(Mistake("columns", f"{len(said)} for {len(self.scope)} variables", remedy))
        elif missing and not wrong:
            said_missing = ", ".join(missing)
            wrong.append(
                Mistake("scope", f"lacks {said_missing}", "add a variable for each column")
            )
        if wrong:
            raise BadQuery(*wrong)
        return [said.index(name) for name in names]

    def literals(self, *tensors: Tensor) -> Tensor:
        """The scope as the network reads it. -> (B, width)"""
        columns = []
        for k, column in enumerate(self.columns):
            x = tensors[self.order[k]].reshape(len(tensors[0]), -1)
            map_: Tensor = getattr(self, f"map{k}")
            domain = self.scope[self.order[k]].variable.domain
            inside = x @ map_.to(x.dtype) if isinstance(domain, Finite) else _tent(column, x)
            columns.append(torch.cat([inside, inside.new_zeros(len(inside), 1)], 1))
        return torch.cat(columns, 1)

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, k) of each column -> (B,)
        x = self.literals(*tensors)
        return self.net.of_literals(x.to(self.net.single.dtype))

    def cost(self, *tensors: Tensor) -> Tensor:  # (B,) of each column -> (B,)
        return self.net.cost(self.codes(tensors)) if self.finite else super().cost(*tensors)

    def changes(self, sites: Tensor, *decided: Tensor) -> Tensor:
        if not self.finite or not len(sites):
            return super().changes(sites, *decided)
        columns = [self.order.index(entry) for entry in sites[:, 0].tolist()]
        at = torch.tensor([[0, d] for d in columns], dtype=torch.long).reshape(-1, 2)
        change = self.net.changes(at.to(sites.device), self.codes(decided))  # of each code
        meant = [self._meant(d) for d in columns]
        size = torch.tensor([len(codes) for codes in meant], dtype=torch.long)
        every = torch.nn.utils.rnn.pad_sequence(meant, batch_first=True)  # (m, k)
        index = every.to(change.device).expand(len(change), *every.shape)
        stands = standing(sites[:, 0], sites[:, 1], decided)
        return settled(change.gather(-1, index), stands, size.to(change.device))

    def factors(self, *domains: Domain) -> None:
        """No explicit structure: hidden units couple all columns. Small rows are enumerated."""
        return

    def propose(
        self, particles: int, rng: Stream, known: Any, *domains: Domain
    ) -> tuple[Tensor, ...] | None:
        """States near the distribution: Gibbs sweeps over the open cells from random ones."""
        if not all(isinstance(d, Finite) for d in domains):
            return None
        start = [d.sample(particles, rng.fork(k)) for k, d in enumerate(domains)]
        codes = self.codes(self.placed(start))
        columns = list(range(len(self.columns)))
        logs = {}
        for d, allowed in enumerate(self.allowed(domains)):
            logs[d] = allowed.repeat_interleave(particles, 0).double().log()
        for t in range(PROPOSED):
            u = rng.fork(len(domains) + t).uniform(particles, len(columns), dtype=torch.float64)
            codes, _ = swept(self.net, codes, columns, logs, u)
        return self._states(codes, domains, particles)

    def _states(
        self, codes: Tensor, domains: Sequence[Domain], particles: int
    ) -> tuple[Tensor, ...]:
        """Codes as decided states: the first value of the domain that means the code."""
        out: list[Tensor] = [codes.new_zeros(0)] * len(domains)
        for d, k in enumerate(self.order):
            domain = domains[k]
            assert isinstance(domain, Finite)
            map_: Tensor = getattr(self, f"map{d}")
            allowed = domain.allowed.reshape(domain.rows, -1).repeat_interleave(particles, 0)
            fits = (map_[:, codes[:, d]].T > 0) & allowed
            out[k] = fits.int().argmax(-1).to(domain.dtype).reshape(-1, *domain.shape)
        return tuple(out)

    @property
    def finite(self) -> bool:
        """Every column stands for a finite variable."""
        return all(isinstance(view.variable.domain, Finite) for view in self.scope)

    def _meant(self, column: int) -> Tensor:
        """The code that each value of the domain of a column means. -> (k,)"""
        map_: Tensor = getattr(self, f"map{column}")
        return map_.argmax(-1)

    def codes(self, tensors: Sequence[Tensor]) -> Tensor:
        """Decided states, in places or one-hot, as codes of the columns. -> (B, D)"""
        each = []
        for d, k in enumerate(self.order):
            x = tensors[k].reshape(len(tensors[0]), -1)
            if isinstance(self.scope[k].variable.domain, Finite):
                place = x[:, 0].long() if is_decided(x) else x.argmax(-1)
                each.append(self._meant(d)[place])
            else:
                each.append(_tent(self.columns[d], x).argmax(-1))
        return torch.stack(each, -1)

    def allowed(self, domains: Sequence[Domain]) -> list[Tensor]:
        """What each column may be under the evidence. -> D of (R, K) bool"""
        out = []
        for k, column in enumerate(self.columns):
            domain = domains[self.order[k]]
            if isinstance(domain, Finite):
                out.append(self._counts(k, domain) > 0)
            else:
                assert isinstance(domain, Real)
                low, high = domain.low.reshape(domain.rows, 1), domain.high.reshape(domain.rows, 1)
                near = _tent(column, (low + high).nan_to_num() / 2).argmax(-1, keepdim=True)
                numbers = torch.tensor(column.plain, dtype=torch.float64)
                inside = (numbers >= low) & (numbers <= high)
                out.append(inside | (torch.arange(len(numbers)) == near))
        return out

    def _counts(self, column: int, domain: Finite) -> Tensor:
        """How many of the values that are left mean each value of a column. -> (R, K) float32"""
        map_: Tensor = getattr(self, f"map{column}")
        return domain.allowed.reshape(domain.rows, -1).float() @ map_

    def marginals(self, *domains: Domain) -> tuple[Tensor, ...] | None:
        """Exact where the open cells of a row have at most 65,536 combinations; beyond, estimates
        by 64 chains. None where a variable is real."""
        finite = [d for d in domains if isinstance(d, Finite)]
        if len(finite) < len(domains):
            return None
        counts = [self._counts(d, finite[k]) for d, k in enumerate(self.order)]
        codes = [torch.where((c > 0).sum(-1) > 1, -1, c.argmax(-1)) for c in counts]
        out: list[Tensor] = [counts[0]] * len(finite)
        for d, found in enumerate(chances(self.net, torch.stack(codes, -1), counts)):
            domain = finite[self.order[d]]
            map_: Tensor = getattr(self, f"map{d}")
            each = (found / counts[d].clamp(min=1)) @ map_.T.double()  # alike values share alike
            left = domain.allowed.reshape(domain.rows, -1)
            out[self.order[d]] = (each * left).reshape(domain.rows, *domain.event)
        return tuple(out)

    def accepts(self, domains: Sequence[Domain], tensors: Sequence[Tensor]) -> Tensor | None:
        with torch.no_grad():
            usual = self.energy(*tensors) <= self.model.band
        inside = at_every_site(usual, domains)
        if self.confidence is None:
            return inside
        inside = inside.clone()
        codes, allowed = self.codes(tensors), self.allowed(domains)
        found = zip(chances(self.net, codes, allowed), codes.T, allowed, self.order, strict=True)
        for p, code, may, entry in found:
            sure = p.gather(-1, code[:, None])[:, 0] >= self.confidence
            inside[:, entry] &= sure | (may.sum(-1) <= 1)
        return inside

    @classmethod
    def learn(cls, lesson: Lesson) -> list[str]:
        from modules.discrete.tabular.train import learn  # Lightning is loaded to train, not to ask

        return learn(lesson)

    @classmethod
    def example(cls) -> "Tabular":
        columns = load_model("loans.safetensors").schema.modelled
        names = identifiers([c.name for c in columns])
        return cls(
            *(Variable(n, Finite(c.plain)) for n, c in zip(names, columns, strict=True)),
            weights="loans.safetensors",
        )


def identifiers(names: Sequence[str]) -> list[str]:
    """The names of columns as those of variables: `hours-per-week` -> `hours_per_week`.

    Each is another: where two would be the same, a name that is one already keeps it, and later
    ones get a number, as in `a b`, `a-b` -> `a_b`, `a_b_2`.
    """
    taken = {name for name in names if identifier(name) == name}
    out = []
    for name in names:
        made = first = identifier(name)
        k = 1
        while made in taken and made != name:
            k += 1
            made = f"{first}_{k}"
        taken.add(made)
        out.append(made)
    return out


def identifier(name: str) -> str:
    """A name with what no identifier has replaced, cut to a length that a query may have."""
    made = "".join(c if f"_{c}".isidentifier() else "_" for c in name)[:LONGEST]
    return made if made.isidentifier() else f"_{made}"


def _map(column: Column, domain: Domain, path: str) -> Tensor:
    """Which value of the column each value of a domain means. -> (k, K); empty for real numbers"""
    if not isinstance(domain, Finite):
        if column.type is not Type.NUMERIC:
            raise BadQuery(
                Mistake(path, f"{column.name} is {column.type}, not numeric", "list its values")
            )
        return torch.zeros(0, 0)
    wrong: list[Mistake] = []
    codes: list[int] = []
    for value in domain.values:
        try:
            codes.append(column.code(value))
        except BadQuery as error:
            wrong += error.under(path).mistakes
    if wrong:
        raise BadQuery(*wrong)
    return torch.nn.functional.one_hot(torch.tensor(codes), len(column.values)).float()


def _tent(column: Column, x: Tensor) -> Tensor:
    """A real number as weights of the two nearest bins, interpolated. (B, 1) -> (B, K)"""
    numbers = torch.tensor(column.plain, dtype=x.dtype, device=x.device)
    if len(numbers) == 1:
        return torch.ones_like(x)
    x = x.clamp(numbers[0], numbers[-1])
    right = torch.searchsorted(numbers, x.detach().contiguous()).clamp(1, len(numbers) - 1)
    a, b = numbers[right - 1], numbers[right]
    share = (x - a) / (b - a).clamp(min=1e-12)
    out = x.new_zeros(len(x), len(numbers))
    return out.scatter(1, right - 1, 1 - share).scatter(1, right, share)
