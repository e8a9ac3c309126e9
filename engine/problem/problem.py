"""A problem: an energy, where its variables may lie, and what its inputs were told, for one row of
evidence or for many."""

import hashlib
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.decimals import Floats, surely_below
from engine.domain import Domain, Finite, Input, Real, State, Told, Variable, device_of
from engine.energy import Energy, Sum, Summand, Term
from engine.energy.definition import Computed, in_order
from engine.energy.kin import Kin
from engine.energy.parts import ByPart, Constraints, Totals, fineness
from engine.errors import BadQuery, Mistake, known
from engine.factors import Factors
from engine.factors.explicit import Explicit
from engine.problem.arguments import check_energy, check_rows, check_told
from engine.problem.completion import OUTSIDE, Completion
from engine.problem.copies import Twins, copies_on
from engine.problem.form import Form
from engine.problem.structures import Structures
from engine.random import Stream

SHARED = ("explicits", "possible", "allowed")  # with the same problem elsewhere


@dataclass(frozen=True, eq=False)
class Problem:
    """An energy and a domain for each of its variables; every domain has the same rows.

    `variables` may name more than the energy uses: those are free. Inputs among them are told and
    never asked for: they stand in `inputs`, not in `variables` nor `domains`.
    """

    energy: Energy
    variables: tuple[Variable, ...] = ()
    domains: Mapping[str, Domain] = None  # type: ignore[assignment]  # base domains if left out
    root: "Problem | None" = None  # the problem without evidence that this one was narrowed from
    inputs: tuple[Input, ...] = ()
    told: Mapping[str, Told] = None  # type: ignore[assignment]  # of the inputs; none if left out
    lifted: Energy | None = None  # of a reduced problem: that of the problem it was reduced from
    held: bool = False  # finite variables that evidence decides in every row are constants, too

    def __post_init__(self):
        if self.root is not None and self.root.energy is not self.energy:
            object.__setattr__(self, "root", None)
        if self.root is not None and self.domains is not None:
            return  # its variables were checked with the root
        check_energy(self.energy)
        if isinstance(self.energy, Term):  # a term alone may be required: then it costs nothing
            object.__setattr__(self, "energy", Sum(*self.energy.summands()))
        used = (*self.variables, *self.inputs, *self.energy.variables())
        in_order(self.energy.summands())
        every = {v.name: v for v in used}
        if len({id(v) for v in used}) != len(every):
            raise BadQuery("two different variables share one name")
        inputs = tuple(v for v in every.values() if isinstance(v, Input))
        variables = tuple(v for v in every.values() if not isinstance(v, Input))
        object.__setattr__(self, "variables", variables)
        object.__setattr__(self, "inputs", inputs)
        if self.domains is None:
            object.__setattr__(self, "domains", {v.name: v.domain for v in variables})
        if self.told is None:
            object.__setattr__(self, "told", {v.name: v.domain for v in inputs})

    @cached_property
    def rows(self) -> int:
        """R, the number of evidences solved side by side."""
        return max((d.rows for d in self.every.values()), default=1)

    @cached_property
    def every(self) -> Mapping[str, Domain]:
        """The domains of variables and inputs, by name."""
        return {**self.domains, **self.told} if self.told else self.domains

    @cached_property
    def device(self) -> torch.device:
        """Where its domains lie, and with them every state; what is explicit is on the host."""
        return device_of(self.every.values())

    def to(self, device: torch.device | str) -> "Problem":
        """The same problem on another device, and evidence that it is given from then on.

        Terms that lie elsewhere are copied, networks and all: those of this problem stay where they
        are. What is explicit is shared with this problem, on the host.
        """
        device = torch.empty(0, device=device).device  # which of several, where none is named
        every = {name: domain.to(device) for name, domain in self.every.items()}
        there = all(domain is self.every[name] for name, domain in every.items())
        root = None if self.root is None else self.root.to(device)
        twin = None if there or root is not None else self._twins.of(self, device)
        if twin is not None:
            return twin
        if root is None:
            energy, lifted = copies_on(device, self.energy, self.lifted)
        else:
            energy, lifted = root.energy, root.lifted
        if there and energy is self.energy:
            return self
        moved = replace(self._with(every, root), energy=energy, lifted=lifted, root=root)
        above = None if root is None else root.structures
        shared = {name: vars(self)[name] for name in SHARED if name in vars(self)}
        structures = self.structures.moved(moved.completion.every, above, moved.summands)
        vars(moved).update({"structures": structures, **shared})
        if root is None:
            vars(self)["_twins"] = vars(moved)["_twins"] = twins = Twins(self)
            twins.put(moved)
        known = self.completion.settled_values()
        return moved._knowing({name: x.to(device) for name, x in known.items()})

    @cached_property
    def _twins(self) -> Twins:
        """The same problem without evidence on every device it was asked for on."""
        return Twins(self)

    def given(self, **evidence: Any) -> "Problem":
        """The problem under evidence: one row, narrowed from the base domains."""
        return self.given_rows([evidence])

    def given_rows(self, evidences: Sequence[Mapping[str, Any]]) -> "Problem":
        """The problem under several evidences side by side, narrowed from the base domains."""
        check_rows(evidences)
        base = {v.name: v.domain for v in (*self.variables, *self.inputs)}
        for row, evidence in enumerate(evidences):
            for name in evidence:
                if name not in base:
                    path = "evidence" if len(evidences) == 1 else f"evidence[{row}]"
                    raise BadQuery(Mistake(path, f"{name!r} is no variable", known(name, base)))
        every: dict[str, Domain] = {}
        for name, domain in base.items():
            try:
                every[name] = domain.narrow([e.get(name) for e in evidences]).to(self.device)
            except BadQuery as error:
                raise error.under(f"evidence.{name}") from None
        given = self._with(every, self.root or self)
        check_told(given.summands, given.told)
        return given

    def _with(self, every: Mapping[str, Domain], root: "Problem | None" = None) -> "Problem":
        """The same problem over other domains of its variables and inputs; root: of which it is
        the evidence, unless it is that of this one."""
        told: dict[str, Any] = {v.name: every[v.name] for v in self.inputs}
        domains = {v.name: every[v.name] for v in self.variables}
        return replace(self, domains=domains, told=told, root=root or self.root)

    def select(self, rows: Sequence[int]) -> "Problem":
        """Some of the rows."""
        every = {name: _widened(d, self.rows) for name, d in self.every.items()}
        some = self._with({name: d.select(rows) for name, d in every.items()})
        index = torch.as_tensor(rows, dtype=torch.long)
        own = self.structures
        own.hand_on(some.structures, lambda place: own.split[place][1][list(rows)])
        return some._knowing({n: x[index] for n, x in self.completion.settled_values().items()})

    def _knowing(self, known: Mapping[str, Tensor]) -> "Problem":
        """The same problem, which has been told what follows from its constants."""
        if known:
            vars(self)["completion"] = replace(self.completion, known=known)
        return self

    def with_summands(self, summands: Sequence[Summand]) -> "Problem":
        """The same variables, without evidence, under other summands. What those that stay say
        explicitly is not asked for again."""
        other = Problem(Sum(*summands), self.variables, inputs=self.inputs)
        base = self._twins.on(other.device) or self
        if all(other.domains[name] is domain for name, domain in base.domains.items()):
            own = self.structures
            for k, summand in enumerate(other.summands):
                if own.place.get(id(summand)) in own.pieces:
                    other.structures.pieces[k] = own.pieces[own.place[id(summand)]]
        return other.to(self.device)

    @staticmethod
    def stack(problems: Sequence["Problem"]) -> "Problem":
        """Problems of one energy as the rows of one problem."""
        first = problems[0]
        if any(p.energy is not first.energy for p in problems):
            raise BadQuery("only problems of the same energy can be stacked")
        if len(problems) == 1:
            return first
        domains = {}
        for name in first.every:
            head, *tail = (_widened(p.every[name], p.rows) for p in problems)
            domains[name] = head.join(tail)
        joined = first._with(domains)
        every = [p.structures for p in problems]
        if all(own.made and own.form is first.form for own in every):
            every[0].hand_on(
                joined.structures, lambda k: np.concatenate([own.split[k][1] for own in every])
            )
        settled = [p.completion.settled_values() for p in problems]
        names = [n for n in settled[0] if all(n in one for one in settled)]
        return joined._knowing({n: torch.cat([one[n] for one in settled]) for n in names})

    @cached_property
    def keys(self) -> Tensor:
        """The key of each row: a 64-bit hash of its evidence. -> (R,) int64"""
        prints = [self.domain(v.name).fingerprints for v in (*self.variables, *self.inputs)]
        keys = []
        for row in zip(*prints, strict=True):
            digest = hashlib.blake2b(b"|".join(row), digest_size=8).digest()
            keys.append(int.from_bytes(digest, "little", signed=True))
        return torch.tensor(keys or [0], dtype=torch.int64, device=self.device)

    @cached_property
    def finite(self) -> tuple[Variable, ...]:
        """The variables of finite sites, in order."""
        return tuple(v for v in self.variables if isinstance(self.domains[v.name], Finite))

    @cached_property
    def completion(self) -> Completion:
        """What is not searched, and how states are completed by it."""
        every = {name: self.domain(name) for name in self.every}
        reduced = self.lifted is not None
        return Completion(
            self.variables, every, self.rows, self.definitions, reduced, held=self.held
        )

    @property
    def constants(self) -> frozenset[str]:
        """The variables that are the same for all states of a row: `Completion.constants`."""
        return self.completion.constants

    @cached_property
    def used(self) -> frozenset[str]:
        """The variables that energy or what is computed hangs on."""
        energy = self.energy if self.lifted is None else self.lifted
        return frozenset(v.name for v in energy.variables())

    @property
    def open(self) -> tuple[Variable, ...]:
        """The variables that are searched, in order."""
        return self.completion.open

    def whole(self, x: State, owner: Tensor | None = None) -> State:
        """States of what is searched, with all else beside: `Completion.whole`."""
        return self.completion.whole(x, owner)

    def filled(self, x: State, owner: Tensor | None = None) -> dict[str, Tensor]:
        """States of all variables, those that are not searched too: `whole` without the inputs."""
        whole = self.whole(x, owner)
        return {v.name: whole[v.name] for v in self.variables}

    def totals(self, x: State) -> Totals:
        """Energy and violation of states: the one door to the terms. (B, *event) each -> (B,)"""
        state = self.whole(x)
        energy, violation = self.energy.totals(state)
        return Totals(energy, violation + self.completion.outside(state))

    def by_part(self, x: State) -> ByPart:
        """`totals` with the violation part by part: those of the required terms, then one for each
        site that is computed, by how far outside its domain it lies."""
        state = self.whole(x)
        energy, violation, parts = self.energy.by_part(state)
        outside = self.completion.outside_by_part(state, energy)
        every = torch.cat([parts, outside.parts], 1)
        return ByPart(energy, violation + outside.violation, every)

    def violations(self, x: State) -> Tensor:
        """What each part is violated by, 0 where it holds, in the order of `by_part`.
        (B, *event) each -> (B, m) float64"""
        state = self.whole(x)
        parts = self.energy.violations(state)
        outside = self.completion.outside_by_part(state, parts.new_zeros(len(parts))).parts
        return torch.cat([parts, outside], 1)

    def constraints(self, x: State) -> Constraints:
        """`by_part` as numbers that must lie between edges: parts of required terms, entries of the
        residuals of those that have one, and sites that are computed."""
        state = self.whole(x)
        own = self.energy.constraints(state)
        violation = own.violation + self.completion.outside(state)
        made = self.completion.between(state)
        every = zip((own.values, own.low, own.high), *made, strict=True)
        values, low, high = (torch.cat(parts, 1) for parts in every)
        allowed = math.sqrt(2 * OUTSIDE)
        each = (fineness(d.term.dtype, allowed) for d in self.completion.computed)
        rest = own.fine.new_full((values.shape[1] - len(own.fine),), max(each, default=0.0))
        fine = torch.cat([own.fine, rest])
        return Constraints(own.energy, violation, values, low, high, fine)

    @torch.no_grad()
    def count_parts(self, x: State) -> int:
        """How many parts `violations` tells of, m, from the first of some states."""
        first = {name: t[:1] for name, t in x.items()}
        own = torch.zeros(1, dtype=torch.int64, device=self.device)
        return self.violations(self.whole(first, own)).shape[1]

    def scope(self, term: Term) -> list[Domain]:
        """The domains of a term's scope, R rows each."""
        return [view.of(self.domain(view.variable.name)) for view in term.scope]

    @cached_property
    def starts(self) -> dict[str, int]:
        """The number of the first site of each finite variable."""
        out, total = {}, 0
        for v in self.finite:
            out[v.name] = total
            total += v.domain.sites
        return out

    @cached_property
    def summands(self) -> tuple[Summand, ...]:
        """The summands of the energy, in order."""
        return self.energy.summands()

    @property
    def kin(self) -> tuple[Kin, ...]:
        """The summands that are asked together."""
        return self.structures.kin

    @cached_property
    def groups(self) -> list[list[int]]:
        """Rows that have the same constants, and one structure."""
        pinned: dict[tuple[Any, ...], list[int]] = {}
        for row, key in enumerate(zip(self.completion.pinned, self.completion.silent, strict=True)):
            pinned.setdefault(key, []).append(row)
        return [group for rows in pinned.values() for group in self._sharing(rows)]

    def _sharing(self, rows: list[int]) -> list[list[int]]:
        """Rows with the same constants, by whether they have one structure."""
        if len(rows) == 1:
            return [rows]
        some = self if len(rows) == self.rows else self.select(rows)
        _ = some.form
        uneven = some.structures.uneven
        if uneven:
            alike: dict[tuple[Any, ...], list[int]] = {}
            for k, row in enumerate(rows):
                alike.setdefault(tuple(p[k] for p in uneven), []).append(row)
            return [group for own in alike.values() for group in self._sharing(own)]
        return [[row] for row in rows] if some.structures.particular else [rows]

    @cached_property
    def structures(self) -> Structures:
        """What each of the summands says explicitly."""
        root = None if self.root is None else self.root.structures
        return Structures(
            self.summands,
            self.completion.every,
            self.rows,
            self.starts,
            Factors.sizes_of([self.domains[v.name] for v in self.finite]),
            self.constants,
            root,
            kept={} if root is None else root.kept,
            common={} if root is None else root.common,
        )

    def prepare(self) -> Iterator[None]:
        """Makes `form` in pieces: `Structures.prepare`."""
        return self.structures.prepare()

    @property
    def form(self) -> Form:
        """What the summands say explicitly: `Structures.form`."""
        return self.structures.form

    @property
    def memo(self) -> dict[Hashable, Any]:
        """What was prepared from the structure, shared by all problems of the same structure."""
        return self.form.memo

    @property
    def costs(self) -> Floats:
        """What each row pays beside the form: `Structures.costs`. -> (R, F)"""
        return self.structures.costs

    def concrete(self, row: int = 0) -> Factors:
        """The explicit structure of one row, with what it pays in place."""
        return self.form.factors.filled(self.costs[row])

    def gathered(self) -> Factors:
        """The explicit structure with what every row pays in place."""
        return self.form.factors.gathered(self.costs)

    def factored(self) -> tuple[Factors, Energy | None]:
        """The explicit structure over the finite sites of all variables, and the rest of the
        energy that could not be made explicit (None when nothing is left). What tables that vary
        cost is told by `costs`, row by row."""
        return self.form.factors, self.form.rest

    @cached_property
    def explicits(self) -> tuple[Explicit, ...]:
        """What the explicit summands cost in each row, exactly."""
        if not self.form.factors.varying:
            return (self.form.explicit,) * self.rows
        return tuple(self.form.explicit.filled(costs) for costs in self.costs)

    @property
    def explicit(self) -> Explicit:
        """The same where all rows pay the same, or of the only row."""
        if self.rows > 1 and self.form.factors.varying:
            raise ValueError("rows that pay differently are asked one by one: `explicits`")
        return self.explicits[0]

    @torch.no_grad()
    def exactly(self, places: np.ndarray, row: int = 0) -> Fraction:
        """What explicit summands cost at the places of one state of a row, nothing of it
        forbidden, as the decimals they are. (n,) -> the sum"""
        explicit = self.explicits[row]
        total = explicit.looked_up(places)
        for k in explicit.hidden:
            summand = self.summands[k]
            state = self.whole(self.state(places[None]), torch.tensor([row]))
            energy = float(summand.term(state))
            total += explicit.told(k, 1.0 if summand.weight is None else summand.weight, energy)
        return total

    def exact(self, row: int | None = None) -> bool:
        """Whether `exactly` surely is what a state of a row costs, or of any row as far as all pay
        the same: float64 arithmetic may round what terms say that hang on hidden sites."""
        own = self.form.explicit if row is None else self.explicits[row]
        weights = {k: self.summands[k].weight for k in own.hidden}
        every = (own.amounts(k, 1.0 if w is None else w) for k, w in weights.items())
        return all(unit is not None for unit in every)

    @cached_property
    def floor(self) -> float:
        """A proved lower bound of the energy: the weighted floors of its terms."""
        least = self.energy.floor()
        if least == 0 and all(p.weight is None or p.term.floor() == 0 for p in self.summands):
            return 0.0  # a sum of nothing but zeros is exact
        factors, rest = self.factored()
        exact = rest is None and not factors.varying
        return factors.scale.sum_below(least) if exact else surely_below(least)

    def reduced(self) -> "Problem":
        """The problem without what required terms define: those sites are computed from the others
        and not searched. Where evidence or edges want them elsewhere, that is violation.

        Its answers are those of this problem: `verify` judges the terms that define, too.
        """
        if not self.definitions or self.lifted is not None:
            return self
        return replace(
            self,
            energy=self._remaining,
            root=None if self.root is None else self.root._reduced,
            lifted=self.energy,
        )

    @cached_property
    def _reduced(self) -> "Problem":
        """`reduced`, the same object whenever it is asked for."""
        return self.reduced()

    @cached_property
    def _remaining(self) -> Energy:
        if self.root is not None:
            return self.root._reduced.energy
        every = {name: self.domain(name) for name in self.every}
        whole = Completion(self.variables, every, self.rows, self.definitions, True)
        gone = {id(d) for d in whole.reducible}
        left = (s for s in self.summands if id(s) not in gone)
        return Sum(*left, *(Summand(Computed(d.term), None) for d in whole.reducible))

    @property
    def unreduced(self) -> "Problem":
        """The problem that this one was reduced from."""
        return self if self.lifted is None else replace(self, energy=self.lifted, lifted=None)

    @cached_property
    def definitions(self) -> tuple[Summand, ...]:
        """The required summands that define views of variables, each after what it needs."""
        return in_order((self.lifted or self.energy).summands())

    @cached_property
    def allowed(self) -> np.ndarray:
        """Which literals are possible, sites in order, hidden ones free. -> (R, C) uint8"""
        factors, _ = self.factored()
        hidden = int(factors.sizes[factors.visible :].sum())
        columns = [self.possible, np.ones((self.rows, hidden), dtype=bool)]
        return np.ascontiguousarray(np.concatenate(columns, axis=1), dtype=np.uint8)

    @cached_property
    def possible(self) -> np.ndarray:
        """Which literals the evidence leaves to the sites of variables, in order. -> (R, C) bool"""
        columns = [np.zeros((self.rows, 0), dtype=bool)]
        for v in self.finite:
            domain = self.domain(v.name)
            assert isinstance(domain, Finite)
            columns.append(domain.allowed.reshape(self.rows, -1).cpu().numpy())
        return np.concatenate(columns, axis=1)

    def inside(self, state: Mapping[str, Tensor]) -> Tensor:
        """Whether decided states, one a row, lie in their domains. -> (R,) bool"""
        kept = torch.ones(self.rows, dtype=torch.bool)
        for v in self.variables:
            if v.name not in state:
                continue  # a constant
            domain, x = self.domain(v.name), state[v.name]
            if isinstance(domain, Finite):
                kept = kept & domain.allows(x).reshape(self.rows, -1).all(1).cpu()
            else:
                near = domain.project(x)
                same = torch.isclose(near, x, rtol=1e-6, atol=1e-9).reshape(self.rows, -1)
                free = self.completion.free.get(v.name)
                if free is not None:  # what is defined may lie beside, as violation may
                    off = (0.5 * (near - x).square()).reshape(self.rows, -1)[:, ~free].sum(1)
                    kept, same = kept & (off <= OUTSIDE).cpu(), same[:, free]
                kept = kept & same.all(1).cpu()
        return kept

    def state(self, places: np.ndarray) -> dict[str, Tensor]:
        """The decided states of the finite variables that have these places, all sites side by
        side. (B, n) -> {name: (B, *shape)}"""
        out = {}
        for v in self.finite:
            assert isinstance(v.domain, Finite)
            start = self.starts[v.name]
            own = torch.from_numpy(np.ascontiguousarray(places[:, start : start + v.domain.sites]))
            own = own.to(v.domain.dtype).reshape(len(places), *v.domain.shape)
            out[v.name] = own.to(self.device)
        return out

    def places(self, state: Mapping[str, Tensor]) -> np.ndarray:
        """The places of decided states at all finite sites, side by side. -> (B, n) int64"""
        every = [(state[v.name], v.domain.sites) for v in self.finite]
        columns = [x.reshape(len(x), sites).cpu().numpy() for x, sites in every]
        none = np.zeros((len(columns[0]) if columns else self.rows, 0), np.int64)
        return np.concatenate([none, *columns], 1)

    def project(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The nearest states inside the domains."""
        return {n: self.domain(n).project(state[n]) for n in self.domains if n in state}

    def decide(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The nearest definite states inside the domains."""
        return {n: self.domain(n).decide(state[n]) for n in self.domains if n in state}

    def sample(self, name: str, particles: int, rng: Stream) -> Tensor:
        """Random decided states of a variable inside its domain. -> (R * P, *shape)"""
        domain = self.domain(name)
        x = domain.sample(particles, rng)
        if isinstance(domain, Finite):
            return x  # inside
        return domain.project(self.rounded(name, x))

    def rounded(self, name: str, x: Tensor) -> Tensor:
        """Reals as the terms see them, so that an energy is that of the very numbers: float32,
        unless a float64 term looks at the variable. Edges and given numbers are restored by
        `project`. (B, *event) -> same"""
        if name not in self.coarse:
            return x
        near = x.float().double()
        return torch.where(near.isfinite(), near, x)

    @cached_property
    def coarse(self) -> frozenset[str]:
        """The real variables that no float64 term looks at."""
        wide = {
            view.variable.name
            for summand in self.summands
            if summand.term.dtype == torch.float64
            for view in summand.term.scope
        }
        return frozenset(
            n for n, d in self.domains.items() if isinstance(d, Real) and n not in wide
        )

    def domain(self, name: str) -> Domain:
        """The domain of a variable or input, with all R rows."""
        return _widened(self.every[name], self.rows)

    def plain(self, state: Mapping[str, Tensor]) -> list[dict[str, Any]]:
        """Decided states as people's values: for each, nested lists by variable."""
        state = self.whole(state)
        columns = [(v.name, self.domains[v.name].decode(state[v.name])) for v in self.variables]
        count = len(columns[0][1]) if columns else 0
        return [{name: values[k] for name, values in columns} for k in range(count)]

    def asked(self, state: State) -> list[dict[str, Any]]:
        """Decided states as terms are asked about them: people's values by variable, and beside
        them what the inputs of the row were told."""
        state = self.whole(state)
        plain = self.plain(state)
        for name, told in self.told.items():
            every = [told.plain_of(*one) for one in zip(*state[name], strict=True)]
            plain = [{**one, name: given} for one, given in zip(plain, every, strict=True)]
        return plain

    def told_plain(self, row: int) -> dict[str, Any]:
        """What the inputs of a row were told, as arrays, by name."""
        told = ((name, self.domain(name)) for name in self.told)
        return {name: d.plain(row) for name, d in told if isinstance(d, Told)}


def _widened(domain: Domain, rows: int) -> Domain:
    return domain if domain.rows == rows else domain.select([0] * rows)
