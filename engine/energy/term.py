"""What a term is: one energy function over a scope of variables, and what else it may say."""

import functools
import math
import random
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from engine.decimals import Ints
from engine.domain import Domain, Finite, Given, State, Variable, View, is_decided, one_hot
from engine.domain.told import batch_of, pieces_of, put_back, states_at, width_of
from engine.energy.algebra import Energy, Sum, Summand
from engine.energy.changes import ELEMENTS, single_changes
from engine.energy.lesson import Lesson
from engine.energy.reader import Reader
from engine.energy.returned import cost_of, energy_of, violation_of
from engine.energy.tables import enumerate_table
from engine.errors import BadQuery, Mistake, shown
from engine.factors import Factors
from engine.random import Stream

Known = tuple[Any, ...] | None  # a decided state for each entry of a scope, None for an input


class Term(Energy):
    """One energy function over a scope of variables; subclass it and write `energy`.

    The other methods are capabilities with defaults. A subclass that writes `holds` is a rule:
    it is required unless a weight is given, and its energy is the number of its failing parts.
    """

    affine: ClassVar[bool] = True  # in each Finite site; then the gradient is the exact table of
    # single changes. False where it is not.
    dtype: ClassVar[torch.dtype] = torch.float32  # of all tensors it is handed, at every door, but
    # for the places of decided states
    tolerance: ClassVar[float] = 1e-6  # an energy of at most this is 0 where the term is required
    defines: ClassVar[int] = 0  # entries at the end of its scope that `define` computes
    needs_inputs: ClassVar[bool] = True  # says nothing in a row that lacks one of its inputs
    partial: ClassVar[bool] = False  # True: takes inputs with absent entries, as `Given`
    calibrated: ClassVar[bool] = False  # True: in nats, a log-density up to a constant
    fixed_structure: ClassVar[bool] = False  # True: `factors` is the same however evidence narrows
    # the domains, so that what is prepared from it can be kept from query to query
    reusable: ClassVar[bool] = True  # one object may serve many solves at once; False where each
    # solve opens something and closes it
    required_by_default: ClassVar[bool] = False  # follows from writing `holds`, unless set
    data_sets: ClassVar[tuple[str, ...]] = ()  # examples that `learn` knows by a name, no file
    shipped: ClassVar[Path | None] = None  # the folder of weights that ship with it; None: its own

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        if "required_by_default" not in cls.__dict__ and "holds" in cls.__dict__:
            cls.required_by_default = True

    def __init__(self, *scope: Variable | View):
        super().__init__()
        self._check_scope(scope)
        self.scope: tuple[View, ...] = tuple(
            entry.view if isinstance(entry, Variable) else entry for entry in scope
        )

    def _check_scope(self, scope: Sequence[Any]) -> None:
        """Raises BadQuery where an entry is neither a variable nor a view of one."""
        name, remedy = type(self).__name__, "give a Variable, an Input, or a view such as x[0]"
        wrong = [
            Mistake(f"{name}.scope[{k}]", f"{shown(entry)} is no variable", remedy)
            for k, entry in enumerate(scope)
            if not isinstance(entry, (Variable, View))
        ]
        if not scope:
            wrong.append(Mistake(f"{name}.scope", "is empty: a term is about something", remedy))
        if wrong:
            raise BadQuery(*wrong)

    @abstractmethod
    def energy(self, *tensors: Tensor) -> Tensor:
        """Energy of a batch of states, in the order of the scope; lower is better. -> (batch,)"""

    def cost(self, *tensors: Tensor) -> Tensor:
        """`energy` of decided states: of a Finite entry of the scope the places of its values,
        (batch, *shape) int64, of a Real one the numbers. -> (batch,)

        The default hands `energy` one-hot states, in pieces of bounded memory. A kind that writes
        its own keeps the gradients towards numbers and parameters.
        """
        return self._in_pieces(energy_of, tensors)

    def _in_pieces(
        self, call: Callable[["Term", Sequence[Any]], Tensor], tensors: Sequence[Any]
    ) -> Tensor:
        """What a call says of decided states, one-hot in pieces of bounded memory."""
        width = sum(
            width_of(x) * (len(d.values) if isinstance(d, Finite) else 1)
            for x, d in zip(tensors, self._domains, strict=True)
        )
        each = max(1, ELEMENTS // max(1, width))
        if batch_of(tensors) <= each:
            return call(self, self.hot(tensors))
        return torch.cat([call(self, self.hot(some)) for some in pieces_of(tensors, each)])

    def changes(self, sites: Tensor, *decided: Tensor) -> Tensor:
        """The energy of decided states after one site is set to each value, less what it is now.

        sites: (m, 2) int64, the entry of the scope, a Finite one, and the flat site in it. decided:
        as of `cost`. k is the largest number of values of any of these entries; what the domains
        of a problem rule out is not known here. +inf where the energy after is infinite, and beyond
        the values of an entry; -inf where only the energy now is; 0 for the value that stands.
        Where gradients are on, with one towards the parameters. The default asks for one gradient
        where the term is affine, else it evaluates. -> (batch, m, k) float64
        """
        return single_changes(self, sites, decided)

    def begin(self, *tensors: Tensor) -> Callable[[], Tensor]:
        """Begins `cost` where all Finite entries are decided, else `energy`, and returns the call
        that gives it: terms that other processes compute are then under way together. The default
        computes when it is called."""
        return functools.partial(self._by_kind, *tensors)

    def _by_kind(self, *tensors: Tensor) -> Tensor:
        """`cost` or `energy`, by what the tensors are. -> (batch,)"""
        if self.decided_in(tensors):
            return cost_of(self, self.placed(tensors))
        return energy_of(self, self.hot(tensors))

    def decided_in(self, tensors: Sequence[Any]) -> bool:
        """There are finite entries, and all of them hold places."""
        finite = (isinstance(domain, Finite) for domain in self._domains)
        decided = [is_decided(x) for x, own in zip(tensors, finite, strict=True) if own]
        return bool(decided) and all(decided)

    def violation(self, *tensors: Tensor) -> Tensor:
        """The energy of a batch of states part by part: a line, a clause, an edge, a time step.

        Each is at least 0, and 0 where that part holds; their sum is the energy. They are numbered
        as in `says`, as many in every batch. The default: half the square of each entry of
        `residual`; without one, the energy as the only part. -> (batch, m)
        """
        r = self.residual(*tensors)
        return energy_of(self, tensors)[:, None] if r is None else 0.5 * r.square().flatten(1)

    @property
    def squared(self) -> bool:
        """Its energy is half the square of a residual."""
        return type(self).residual is not Term.residual

    def holds(self, *values: Any) -> bool | None:
        """Whether plain values satisfy the rule; None: this term can only be scored."""
        del values
        return None

    def verdicts(self, candidates: Sequence[Sequence[Any]]) -> list[bool | None]:
        """`holds` of several plain values of the scope. The default asks for one after the other;
        a term that is asked over a network asks for all of them at once."""
        return [verdict(self, values) for values in candidates]

    def factors(self, *domains: Domain) -> Factors | None:
        """Explicit structure under these domains, or None.

        The default enumerates a small scope: one table when the combinations of allowed values are
        at most `ENUMERATED`.
        """
        return enumerate_table(self, domains, None if self.required_by_default else 1.0)

    @property
    def enumerates(self) -> bool:
        """Its structure is a list of what the evidence leaves, so that each row has its own."""
        return type(self).factors is Term.factors

    def structured(self, weight: float | None, *domains: Domain) -> Factors | None:
        """The structure of this term in an energy: as a constraint (weight None), or at a price.

        The default prices the parts of `factors`; those of a rule also where a table forbids. Only
        terms made of other terms override this.
        """
        if self.enumerates:
            return enumerate_table(self, domains, weight)
        own = self.factors(*domains)
        if own is None or weight is None:
            return own
        return own.priced(weight) if self.required_by_default else own.weighed(weight)

    @property
    def kin(self) -> Hashable | None:
        """What terms of this class have in common that are asked together, by the three methods
        below; None: they are asked one by one. A subclass says it anew, or is asked one by one."""
        return None

    @classmethod
    def structured_together(
        cls, terms: Sequence[Self], weights: Sequence[float | None], *domains: Domain
    ) -> Factors | None:
        """`structured` of terms of one `kin` and scope, each factor marked by the place of its term
        among them; None: they are to be asked one by one."""
        del terms, weights, domains
        return None

    @classmethod
    def cost_together(cls, terms: Sequence[Self], *decided: Tensor) -> Tensor | None:
        """`cost` of terms of one `kin` and scope; None: they are to be asked one by one.
        -> (batch, terms)"""
        del terms, decided
        return None

    @classmethod
    def holds_together(cls, terms: Sequence[Self], *values: Any) -> Sequence[bool | None]:
        """`holds` of terms of one `kin` and scope. The default asks one after the other."""
        return [verdict(term, values) for term in terms]

    def check_required(self) -> None:
        """Raises BadQuery where this term must not be required, such as a table of finite costs.

        Asked for a term that is required by hand. The default has nothing against it.
        """

    @classmethod
    def example(cls) -> "Term | None":
        """A small instance over variables of its own, for `basin check KIND`; None: there is none.

        Any other instance is checked from Python: `engine.testing.check_term(term)`.
        """
        return None

    @classmethod
    def examples(cls, rng: random.Random, scope: Sequence[Variable] = ()) -> Iterator["Term"]:
        """Small instances at random parameters, for the laws of a kind; as many as are asked for.

        They are over a scope of few finite sites, or over variables of their own. The default gives
        the one of `example`, and none over a scope.
        """
        del rng
        only = None if scope else cls.example()
        if only is not None:
            yield only

    @classmethod
    def learn(cls, lesson: Lesson) -> list[str]:
        """Learns from examples, writes the weights, and says in words what was learned.

        The default cannot. Raises BadQuery where the examples or parameters make no sense.
        """
        problem = f"{cls.__name__} does not learn from {lesson.data}"
        raise BadQuery(Mistake("KIND", problem, "name a kind that does"))

    def accepts(self, domains: Sequence[Domain], tensors: Sequence[Tensor]) -> Tensor | None:
        """Which sites of R answers lie inside this module's acceptance band; None: it has none.

        domains: of the scope under the evidence, R rows. tensors: the answers, (R, *event), one-hot
        where they are finite. The sites are those of the scope in order, its inputs left out.
        An answer with a site outside is flagged ABSTAIN, and the site named; a term that judges
        rows as a whole says the same of all (`engine.energy.at_every_site`). -> (R, sites) bool
        """
        del domains, tensors
        return None

    def marginals(self, *domains: Domain) -> tuple[Tensor, ...] | None:
        """The chance of every value at each site under exp(-energy) of this term alone, given what
        the domains leave; None: it offers none, as do all terms that other processes compute.

        p(x_s = v) = sum of exp(-energy(x)) over all x in the domains with x_s = v, divided by the
        same sum over all x in the domains. No weight, temperature or other term enters; a value
        that its domain rules out has chance 0. domains: of the scope, in which each site stands
        once, R rows each. A row has the same chances, to rounding, whatever rows stand beside it.
        -> (R, *event) float64 for each scope entry
        """
        del domains
        return None

    def fewest_changes(
        self,
        values: Sequence[Any],
        wanted: Sequence[Any],
        free: Sequence[tuple[int, int]],
        stop: Callable[[], bool],
    ) -> tuple[Sequence[tuple[int, int]], bool] | None:
        """The fewest sites of its scope that must change for this rule to hold, and whether fewer
        are ruled out; None: it does not know, and a search is asked.

        values: plain values of the scope, with what is wanted in its place; None where open.
        wanted: the same, None where nothing is wanted. free: the sites that may change, as (scope
        entry, flat site); all others stay. It gives up where `stop` says so.
        """
        del values, wanted, free, stop
        return None

    def cheapest(self, costs: Ints, allowed: np.ndarray) -> Ints | None:
        """The places at which this rule holds and the sum of the costs of its sites is least; None:
        it holds at none of the allowed ones. Asked only of a rule that writes it (`chooses`), such
        as the tree of least weight; a search prices all else that must hold
        (`minimizers/cheapest.py`).

        costs: (n, k) int64, what each value of each finite site of the scope costs, in order, of
        either sign. allowed: (n, k) bool, some value of each site. -> (n,)
        """
        raise NotImplementedError(f"{type(self).__name__} knows no cheapest state")

    @property
    def chooses(self) -> bool:
        """It writes `cheapest`."""
        return type(self).cheapest is not Term.cheapest

    def floor(self) -> float:
        """A proved lower bound of `energy`; the default is 0 for rules and residuals."""
        return 0.0 if self.required_by_default or self.squared else -math.inf

    def lowest_anywhere(self) -> float:
        """A proved lower bound of what it costs in any row: `floor`, or 0 where a row may lack an
        input."""
        floor = self.floor()
        return min(floor, 0.0) if any(view.told for view in self.scope) else floor

    def residual(self, *tensors: Tensor) -> Tensor | None:
        """r with energy = |r|^2 / 2. -> (batch, m)"""
        del tensors
        return None

    def prox(self, step: float, *anchors: Tensor) -> tuple[Tensor, ...]:
        """argmin_x energy(x) + |x - anchor|^2 / (2 step), by twenty gradient steps."""
        xs = [a.detach().clone() for a in anchors]
        rate = step / (1.0 + step)
        for _ in range(20):
            xs = [x.requires_grad_() for x in xs]
            energy = energy_of(self, xs).sum()
            slopes = torch.autograd.grad(energy, xs, allow_unused=True)
            xs = [
                (x - rate * ((0 if g is None else g) + (x - a) / step)).detach()
                for x, g, a in zip(xs, slopes, anchors, strict=True)
            ]
        return tuple(xs)

    def propose(
        self, particles: int, rng: Stream, known: Known, *domains: Domain
    ) -> tuple[Tensor, ...] | None:
        """States worth starting from, one tensor for each entry of the scope; None: has none.

        known: where the last answer stood, a decided state of each entry, (R, *shape), None for an
        input; None: there is none. `rng` has one key for each of the R rows of the domains; batch
        index b belongs to row b // particles. Finite entries may be relaxed or decided; what lies
        outside the domains is moved into them. -> (R * particles, *event), or (R * particles,
        *shape), each
        """
        del particles, rng, known, domains
        return None

    def reader(self, *domains: Domain) -> "Reader[Any] | None":
        """How this energy is read along an order of its sites, all of them finite; None: it has no
        such order.

        domains: of the scope, R rows each. What it tells of a state sums up to `energy`, but for
        rounding. A search then extends many states site by site (`minimizers/beam.py`).
        """
        del domains
        return None

    def stand_in(self) -> "Term | None":
        """A term over the same scope that is explicit and orders states much as this one does,
        where this one is not explicit; None: there is none. A search goes by it first, and then by
        the energy itself; nothing that is told depends on it (`minimizers/stand_in.py`)."""
        return None

    def define(self, *inputs: Any) -> Tensor | tuple[Tensor, ...]:
        """The values of the views that this term defines, the last `defines` entries of its scope,
        from the others before them. One tensor where it is one view. (batch, *event) each"""
        raise NotImplementedError(f"{type(self).__name__} says that it defines views, but not how")

    def explain(self, *values: Any) -> list[str]:
        """Which parts fail, in words; empty when everything holds."""
        return [f"{self.label} does not hold"] if verdict(self, values) is False else []

    def says(self, part: int) -> str:
        """What one part of this term asks for, in words; the default can only number it."""
        return f"part {part}"

    def summands(self) -> tuple[Summand, ...]:
        return (Summand(self, None if self.required_by_default else 1.0),)

    def forward(self, state: State) -> Tensor:
        """The energy of a state, unweighted, also of a rule; 0 where the row lacks an input.
        -> (B,)"""
        return self.started(state)()

    def started(self, state: State) -> Callable[[], Tensor]:
        """Begins the energy of a state, and returns the call that gives it; a row that lacks an
        input costs 0, and is not asked about. -> (B,)"""
        tensors, there = self.views(state), self.there(state)
        if there is None:
            return self.begin(*tensors)
        rows = there.nonzero().reshape(-1)
        if not len(rows):
            return lambda: torch.zeros(len(there), dtype=torch.float64, device=there.device)
        energy = self.begin(*states_at(tensors, rows))
        return lambda: put_back(energy(), rows, len(there))

    def parts_started(self, state: State) -> Callable[[], Tensor]:
        """Begins the violation of a state by part; all of it 0 in a row that lacks an input.
        -> (B, m)"""
        if not self.squared and type(self).violation is Term.violation:  # the energy, asked so
            whole = self.started(state)
            return lambda: whole()[:, None]
        return lambda: self._where_told(self._parts, state)

    def _parts(self, *tensors: Any) -> Tensor:
        """The violation of decided or relaxed states by part. -> (B, m)"""
        if self.decided_in(tensors):
            return self._in_pieces(violation_of, tensors)
        return violation_of(self, self.hot(tensors))

    def residual_at(self, state: State) -> Tensor | None:
        """The residual of a state, 0 in a row that lacks an input; None where there is none.
        -> (B, m) float64"""

        def flat(*tensors: Any) -> Tensor:
            r = self.residual(*self.hot(tensors))
            assert r is not None
            return r.reshape(len(r), -1).double()

        return self._where_told(flat, state) if self.squared else None

    def _where_told(self, ask: Callable[..., Tensor], state: State) -> Tensor:
        """What is asked of the rows that have every input, 0 in the others: these are left out, as
        a slope through what they lack may be no number. -> (B, m)"""
        tensors, there = self.views(state), self.there(state)
        if there is None:
            return ask(*tensors)
        rows = there.nonzero().reshape(-1)
        if len(rows):
            return put_back(ask(*states_at(tensors, rows)), rows, len(there))
        with torch.no_grad():  # for how many there are
            one = ask(*states_at(tensors, rows.new_zeros(1)))
        return one.new_zeros(len(there), one.shape[1])

    def views(self, state: State) -> list[Any]:
        """The tensors of the scope, out of the state of all variables, in the dtype of the term;
        places of decided ones as they are; of an input its values, whole numbers and places as
        they are, or `Given` where the term is `partial`."""
        return [self.seen(view, state[view.variable.name]) for view in self.scope]

    def seen(self, view: View, x: Tensor | Given) -> Tensor | Given:
        """What it is handed of a view: the state of its variable, or what its input was told."""
        if not isinstance(x, Given):
            own = view.tensor(x)
            return own if not own.is_floating_point() else own.to(self.dtype)
        values, present = view.given(x)
        values = values.to(self.dtype) if values.is_floating_point() else values
        return Given(values, present) if self.partial else values

    def hot(self, tensors: Sequence[Any]) -> list[Any]:
        """The tensors of the scope with every decided one as one-hot states."""
        return [
            one_hot(x, len(domain.values), self.dtype)
            if isinstance(domain, Finite) and is_decided(x)
            else x
            for x, domain in zip(tensors, self._domains, strict=True)
        ]

    def placed(self, tensors: Sequence[Any]) -> list[Any]:
        """The tensors of a decided scope as `cost` takes them."""
        return [
            x.long() if isinstance(domain, Finite) else x
            for x, domain in zip(tensors, self._domains, strict=True)
        ]

    @property
    def _domains(self) -> list[Domain]:
        """The base domain of the variable of each scope entry."""
        return [view.variable.domain for view in self.scope]

    def there(self, state: State) -> Tensor | None:
        """Which states of a batch have every input that this term sees; None: all. -> (B,) bool"""
        out = None
        for view in self.scope if self.needs_inputs else ():
            x = state[view.variable.name]
            if isinstance(x, Given):
                seen = view.given(x).present.any(1)
                out = seen if out is None else out & seen
        return None if out is None or bool(out.all()) else out

    def _weighed(self, weight: float) -> Iterator[Summand]:
        yield Summand(self, weight)  # a bare rule times a number is a weighted rule

    def speaks(self, values: Mapping[str, Any]) -> bool:
        """Whether plain values hold every input that this term sees."""
        return not self.lacks(values)

    def lacks(self, values: Mapping[str, Any]) -> list[str]:
        """The names of inputs that this term needs, and that plain values do not hold."""
        told = [view for view in self.scope if view.told and self.needs_inputs]
        seen = ((view.variable.name, view.plain(values[view.variable.name])) for view in told)
        return list(dict.fromkeys(name for name, one in seen if not one.present.any()))

    def left_out(self, values: Mapping[str, Any]) -> list[str]:
        """The names of inputs that terms inside this one need, and that plain values do not hold:
        what it says is said without those terms. A term with none inside leaves out nothing."""
        del values
        return []

    @property
    def label(self) -> str:
        """What answers call this term when the query gives it no name."""
        return type(self).__name__


def required(energy: Energy) -> Sum:
    """The terms of an energy as constraints: they must hold, and count nothing in the energy."""
    for part in energy.summands():
        if type(part.term).holds is Term.holds:
            raise BadQuery(
                Mistake(
                    part.label,
                    "cannot decide whether it holds, so it cannot be required",
                    "give it a weight, or write `holds`",
                )
            )
        part.term.check_required()
    return Sum(*(Summand(part.term, None, part.name) for part in energy.summands()))


def named(name: str, energy: Energy) -> Sum:
    """The same energy with a name for answers."""
    return Sum(*(Summand(part.term, part.weight, name) for part in energy.summands()))


def plain_scope(term: Term, values: Mapping[str, Any]) -> list[Any]:
    """The plain values of a term's scope, out of the values of all variables and inputs."""
    out = []
    for view in term.scope:
        value = view.plain(values[view.variable.name])
        out.append(value.values if isinstance(value, Given) and not term.partial else value)
    return out


def judge(term: Term, values: Mapping[str, Any]) -> bool | None:
    """What a term says of plain values of all variables and inputs; None where it is not asked, as
    an input that it sees is absent."""
    return verdict(term, plain_scope(term, values)) if term.speaks(values) else None


def verdict(term: Term, values: Sequence[Any]) -> bool | None:
    """What a term says of the plain values of its scope; truth values of arrays are Python's."""
    said = term.holds(*values)
    return None if said is None else bool(said)


def seen_of(term: Term, state: Mapping[str, Tensor]) -> Known:
    """What the scope of a term sees of decided states; None where some variable has none."""
    if any(view.variable.name not in state for view in term.scope if not view.told):
        return None
    return tuple(
        None if view.told else view.tensor(state[view.variable.name]) for view in term.scope
    )


def scope_domains(term: Term, domains: Mapping[str, Domain]) -> list[Domain]:
    """The domains of a term's scope, out of the domains of all variables."""
    return [view.of(domains[view.variable.name]) for view in term.scope]
