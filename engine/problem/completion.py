"""What is not searched: what evidence decides, what inputs are told, and what terms define; and how
states of the rest are completed by it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from engine.domain import Domain, Finite, Given, Real, State, Told, Variable, device_of
from engine.domain.told import spread
from engine.energy import Summand
from engine.energy.definition import defined_by, inputs_of, outputs_of
from engine.energy.parts import ByPart, side_by_side, within

OUTSIDE = 1e-6  # half the squared distance from a domain up to which a defined site lies inside


class Whole(dict[str, Any]):
    """States of all variables, `Given` of all inputs, and everything that is defined in place;
    `owner` tells the row of each state, where it is not `B // R` states a row in order."""

    owner: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Completion:
    """The rows of a problem, seen from what is not searched in them.

    every: the domains of variables and inputs, R rows each. definitions: the required summands
    that define views, each after what it needs. reduced: what they define is computed; otherwise
    it is searched, but where it follows from constants alone. known: constants that were computed
    before, (R, *event). held: finite variables all of whose sites are decided are constants, too.
    """

    variables: tuple[Variable, ...]
    every: Mapping[str, Domain]
    rows: int
    definitions: tuple[Summand, ...]
    reduced: bool
    known: Mapping[str, Tensor] = field(default_factory=dict)
    held: bool = False

    @cached_property
    def told(self) -> Mapping[str, Told]:
        """What the inputs are told, by name."""
        return {name: d for name, d in self.every.items() if isinstance(d, Told)}

    @cached_property
    def silent(self) -> list[frozenset[int]]:
        """For each row, the definitions that say nothing in it, for want of an input, by place."""
        out: list[set[int]] = [set() for _ in range(self.rows)]
        for place, summand in enumerate(self.definitions):
            for view in inputs_of(summand.term):
                told = self.every[view.variable.name]
                if isinstance(told, Told):
                    seen = view.of(told)
                    assert isinstance(seen, Told)
                    for row in (~seen.there).nonzero().reshape(-1).tolist():
                        out[row].add(place)
        return [frozenset(places) for places in out]

    @cached_property
    def _speaking(self) -> tuple[Summand, ...]:
        """The definitions that say something in every row."""
        quiet = frozenset[int]().union(*self.silent)
        return tuple(d for k, d in enumerate(self.definitions) if k not in quiet)

    @cached_property
    def pinned(self) -> list[frozenset[str]]:
        """For each row, the variables of real numbers all of whose sites evidence decides. A
        finite variable stays in the structure, whose rows differ in what is left of it, unless
        such variables are held."""
        out: list[set[str]] = [set() for _ in range(self.rows)]
        for v in self.variables:
            if self.held or isinstance(self.every[v.name], Real):
                for row in self.every[v.name].decided.nonzero().reshape(-1).tolist():
                    out[row].add(v.name)
        return [frozenset(names) for names in out]

    @cached_property
    def _given(self) -> frozenset[str]:
        return frozenset.intersection(*self.pinned) if self.pinned else frozenset()

    @cached_property
    def _settled(self) -> list[tuple[Summand, frozenset[str]]]:
        """Definitions of whole variables from constants and inputs, and what they define."""
        known, out = {*self._given, *self.told}, []
        for summand in self._speaking:
            views = outputs_of(summand.term)
            names = frozenset(view.variable.name for view in views)
            whole = all(view.whole for view in views) and not self._given & names
            if whole and all(view.variable.name in known for view in inputs_of(summand.term)):
                out.append((summand, names))
                known |= names
        return out

    @property
    def settled(self) -> frozenset[str]:
        """The variables that follow from constants and inputs alone."""
        return frozenset[str]().union(*(names for _, names in self._settled))

    @property
    def settles(self) -> bool:
        """All that is defined follows from constants and inputs alone."""
        every = len(self.definitions)
        computed = not self.reduced or every == len(self.reducible)
        return every == len(self._settled) and computed

    @cached_property
    def constants(self) -> frozenset[str]:
        """The variables of real numbers that evidence decides at every site in every row, or that
        are defined from such and from inputs alone: they are not drawn, not moved, not copied for
        each particle, and come back as they were given."""
        return self._given | self.settled

    @cached_property
    def open(self) -> tuple[Variable, ...]:
        """The variables that are searched, in order."""
        return tuple(
            v for v in self.variables if v.name not in self.constants and not self._closed(v)
        )

    def _closed(self, variable: Variable) -> bool:
        """Whether every site of a variable is defined, or decided in every row."""
        if not self.reduced or variable.name not in self.free:
            return False
        domain = self.every[variable.name]
        assert isinstance(domain, Real)
        same = (domain.low == domain.high).expand(self.rows, *domain.shape).reshape(self.rows, -1)
        return bool(same[:, self.free[variable.name]].all())

    @cached_property
    def free(self) -> Mapping[str, Tensor]:
        """Of each variable with defined sites, those that are not. -> {name: (sites,) bool}"""
        out: dict[str, Tensor] = {}
        for summand in self._speaking:
            if self.reduced and summand not in self.reducible:
                continue
            for view in outputs_of(summand.term):
                sites = view.variable.domain.sites
                free = out.setdefault(view.variable.name, torch.ones(sites, dtype=torch.bool))
                free[torch.from_numpy(view.places.reshape(-1))] = False
        return {name: free.to(device_of(self.every.values())) for name, free in out.items()}

    @cached_property
    def computed(self) -> tuple[Summand, ...]:
        """The definitions that every state is completed by."""
        settled = {id(summand) for summand, _ in self._settled}
        return tuple(d for d in self._speaking if d in self.reducible and id(d) not in settled)

    @cached_property
    def reducible(self) -> tuple[Summand, ...]:
        """The definitions that a reduced problem computes: of numbers and inputs, from which no
        finite variable, nor what is defined from one, is left to be decided."""
        out: list[Summand] = []
        finite: set[str] = set()
        for summand in self.definitions if self.reduced else ():
            names = {view.variable.name for view in inputs_of(summand.term)}
            if names & finite or any(isinstance(self.every[name], Finite) for name in names):
                finite |= {view.variable.name for view in outputs_of(summand.term)}
            else:
                out.append(summand)
        return tuple(out)

    @cached_property
    def _absent(self) -> tuple[str, ...]:
        """Names of what stands in no state of the search."""
        opened = {v.name for v in self.open}
        return tuple(name for name in self.every if name not in opened)

    @cached_property
    def values(self) -> Mapping[str, Tensor]:
        """The numbers of each variable that is not searched; 0 at sites that are still to be
        computed. -> {name: (R, *event)}"""
        state: dict[str, Any] = {n: Given(d.tensor, d.present) for n, d in self.told.items()}
        for name in self._absent:
            domain = self.every[name]
            if isinstance(domain, Real):
                low, high = (e.expand(self.rows, *domain.shape) for e in (domain.low, domain.high))
                state[name] = torch.where(low == high, low, 0.0)
            elif isinstance(domain, Finite):  # held
                places = domain.allowed.int().argmax(-1).to(domain.dtype)
                state[name] = places.expand(self.rows, *domain.shape)
        state |= {name: x for name, x in self.known.items() if name in state}
        left = [s for s, names in self._settled if not names <= self.known.keys()]
        with torch.no_grad():
            state = self._completed(state, left)
        return {name: x for name, x in state.items() if name not in self.told}

    def settled_values(self) -> Mapping[str, Tensor]:
        """What was computed of constants alone, for other rows to take along."""
        if "values" not in vars(self):
            return self.known
        return {name: self.values[name] for name in self.settled}

    def whole(self, x: State, owner: Tensor | None = None) -> State:
        """States of what is searched, with all else beside.

        owner: the row of each state, (B,) int64; left out: `B // R` states a row, in order.
        {name: (B, *event)} -> the same, and `Given` of each input
        """
        if isinstance(x, Whole):
            return x
        names = [name for name in self._absent if name not in x]
        if not names and not self.computed:
            return x
        batch = next((len(t) for t in x.values()), self.rows) if owner is None else len(owner)
        if owner is None and batch % self.rows:
            raise ValueError(f"{batch} states of {self.rows} rows: say whose each is")

        def of(rows: Tensor) -> Tensor:
            return spread(rows, batch) if owner is None else rows[owner]

        more: dict[str, Any] = {}
        for name in names:
            told = self.told.get(name)
            if told is None:
                more[name] = of(self.values[name])
            else:
                more[name] = Given(of(told.tensor), of(told.present))
        whole = Whole(self._completed({**x, **more}, self.computed))
        whole.owner = owner
        return whole

    def _completed(self, state: dict[str, Any], definitions: Iterable[Summand]) -> dict[str, Any]:
        """States with what is defined put in its place."""
        for summand in definitions:
            term = summand.term
            inputs = term.hot(term.views(state))[: len(term.scope) - term.defines]
            for view, x in zip(outputs_of(term), defined_by(term, inputs), strict=True):
                name = view.variable.name
                state[name] = view.placed(state[name], x.to(state[name].dtype))
        return state

    def beyond(self, state: State) -> list[Tensor]:
        """How far each defined site that is not searched lies from where evidence and edges allow
        it, with a sign; one tensor for each variable. -> (B, sites)"""
        out: list[Tensor] = []
        for name, domain, made in self._made(state):
            x = state[name].reshape(len(state[name]), -1)[:, made]
            near = domain.project(state[name].detach()).reshape(len(x), -1)[:, made]
            out.append(x - near)
        return out

    def between(self, state: State) -> list[tuple[Tensor, Tensor, Tensor]]:
        """The same sites, and the edges that evidence and domains give them; where a domain is no
        box, how far they lie from it, and 0. Three tensors for each variable. -> (B, sites)"""
        out = []
        for (name, domain, made), off in zip(self._made(state), self.beyond(state), strict=True):
            batch = len(state[name])
            if type(domain).project is not Real.project:
                none = torch.zeros_like(off, dtype=torch.float64)
                out.append((off.double(), none, none))
                continue
            edges = (e.expand(domain.rows, *domain.shape) for e in (domain.low, domain.high))
            low, high = (spread(e, batch).reshape(batch, -1)[:, made] for e in edges)
            out.append((state[name].reshape(batch, -1)[:, made].double(), low, high))
        return out

    def _made(self, state: State) -> Iterator[tuple[str, Real, Tensor]]:
        """The variables with sites that are defined and not searched, where these may lie, and
        which they are."""
        owner = state.owner if isinstance(state, Whole) else None
        made = [*(d for d, _ in self._settled), *self.computed]
        views = (view for d in made for view in outputs_of(d.term))
        for name in dict.fromkeys(view.variable.name for view in views):
            domain = self.every[name]
            assert isinstance(domain, Real)
            if owner is not None and domain.rows > 1:
                domain = domain.select(owner.tolist())
            yield name, domain, ~self.free[name]

    def outside(self, state: State) -> Tensor | float:
        """Half the squared distance of what is computed from where evidence and edges allow it,
        0 where that is next to nothing. -> (B,) float64"""
        off = [within(0.5 * own.square().sum(1), OUTSIDE) for own in self.beyond(state)]
        return sum(off) if off else 0.0

    def outside_by_part(self, state: State, energy: Tensor) -> ByPart:
        """The same site by site, beside an energy (B,)."""
        every = [0.5 * own.square() for own in self.beyond(state)]
        return side_by_side(energy, every, [OUTSIDE] * len(every))
