"""The algebra of energies: terms, weighted sums, required rules, and the choice between energies.

`a + b` adds, `2.0 * a` weighs, `required(a)` turns a rule into a constraint, `a | b` is the hard
minimum and `soft_min(a, b, temperature)` its smooth sister. A term that can decide whether it holds
is a rule, and required unless it is given a weight.
"""

import functools
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from engine.domain import Domain, Finite, State, Variable, View
from engine.errors import BadQuery, Mistake
from engine.factors import Factors, conditional
from engine.lesson import Lesson
from engine.random import Stream

N = TypeVar("N")

ENUMERATED = 4096  # combinations up to which a term's default structure is one enumerated table
ALIKE = 1e-6  # branches whose energies are nearer than this, relative, both count


@dataclass(frozen=True, eq=False)
class Part:
    """One summand: a term with its weight, or a required rule (weight None)."""

    term: "Term"
    weight: float | None
    name: str = ""

    @property
    def required(self) -> bool:
        return self.weight is None

    @property
    def label(self) -> str:
        """The name of the term in answers."""
        return self.name or self.term.label


class Energy(nn.Module, ABC):
    """A function of a state to be minimized: (batch, ...) tensors -> (batch,) float64."""

    @abstractmethod
    def parts(self) -> tuple[Part, ...]:
        """The normal form: a list of weighted or required terms, in order."""

    def forward(self, state: State) -> Tensor:
        """Sum of weight * term over the weighted parts, in float64 and in order. -> (B,)"""
        return _total(state, self._weighted(state)())

    def floor(self) -> float:
        """Sum of weight * floor over the weighted parts: a proved lower bound of the energy."""
        return sum(p.weight * p.term.floor() for p in self.parts() if p.weight is not None)

    def violation(self, state: State) -> Tensor:
        """Sum of the energies of the required terms: 0 where all of them hold. -> (B,)"""
        return _total(state, self._required(state)())

    def totals(self, state: State) -> tuple[Tensor, Tensor]:
        """Energy and violation, with all terms under way at once. -> (B,), (B,)"""
        energy, violation = self._weighted(state), self._required(state)
        return _total(state, energy()), _total(state, violation())

    def _weighted(self, state: State) -> Callable[[], list[Tensor]]:
        return begin_shares([p for p in self.parts() if p.weight is not None], state)

    def _required(self, state: State) -> Callable[[], list[Tensor]]:
        return begin_violations([p for p in self.parts() if p.weight is None], state)

    def variables(self) -> tuple[Variable, ...]:
        """Every variable once, in order of first use."""
        seen: dict[str, Variable] = {}
        for part in self.parts():
            for view in part.term.scope:
                other = seen.setdefault(view.variable.name, view.variable)
                if other is not view.variable:
                    raise BadQuery(
                        Mistake(
                            view.variable.name,
                            "names two different variables",
                            "use one Variable object, or two names",
                        )
                    )
        return tuple(seen.values())

    def __add__(self, other: "Energy") -> "Sum":
        if not isinstance(other, Energy):
            return NotImplemented
        return Sum(*self.parts(), *other.parts())

    def __radd__(self, other: Any) -> "Energy":
        return self if other == 0 else NotImplemented  # so that sum(...) works

    def __rmul__(self, weight: float) -> "Sum":
        if isinstance(weight, bool) or not isinstance(weight, (int, float)):
            return NotImplemented
        if not 0 < weight < math.inf:
            raise BadQuery(Mistake("weight", f"{weight!r}", "give a number above 0 and finite"))
        return Sum(*self._weighed(float(weight)))

    def __mul__(self, weight: float) -> "Sum":
        return self.__rmul__(weight)

    def _weighed(self, weight: float) -> Iterator[Part]:
        for part in self.parts():
            scaled = None if part.weight is None else weight * part.weight
            yield Part(part.term, scaled, part.name)

    def __or__(self, other: "Energy") -> "AnyOf":
        if not isinstance(other, Energy):
            return NotImplemented
        return AnyOf(*_branches(self), *_branches(other))


def begin_shares(parts: Sequence[Part], state: State) -> Callable[[], list[Tensor]]:
    """Begins every summand; the call returned gives weight * energy of each in float64, the weight
    of a required one being 1. -> (B,) each"""
    waits = [
        (1.0 if part.weight is None else part.weight, part.term.begin(*part.term.views(state)))
        for part in parts
    ]
    return lambda: [weight * energy().double() for weight, energy in waits]


def begin_violations(parts: Sequence[Part], state: State) -> Callable[[], list[Tensor]]:
    """Begins every required term; the call returned gives what each is violated by, 0 where that
    is at most its tolerance. -> (B,) each"""
    energies = begin_shares(parts, state)

    def violations() -> list[Tensor]:
        pairs = zip(parts, energies(), strict=True)
        return [torch.where(e <= part.term.tolerance, 0.0, e) for part, e in pairs]

    return violations


def _total(state: State, shares: Iterable[Tensor]) -> Tensor:
    """Sum in order. -> (B,) float64"""
    first = next(iter(state.values()))
    out = torch.zeros(first.shape[0], dtype=torch.float64, device=first.device)
    for share in shares:
        out = out + share
    return out


class Sum(Energy):
    """A weighted sum of terms and required rules."""

    def __init__(self, *parts: Part):
        super().__init__()
        self._parts = parts
        self.terms = nn.ModuleList(part.term for part in parts)

    def parts(self) -> tuple[Part, ...]:
        return self._parts


class Term(Energy):
    """One energy function over a scope of variables; subclass it and write `energy`.

    The other methods are capabilities with defaults. A subclass that writes `holds` is a rule:
    it is required unless a weight is given, and its energy is the number of its failing parts.
    """

    affine: ClassVar[bool] = True  # in each Finite site; then the gradient is the exact table of
    # single changes. False where it is not.
    dtype: ClassVar[torch.dtype] = torch.float32  # of all tensors it is handed, at every door
    tolerance: ClassVar[float] = 1e-6  # an energy of at most this is 0 where the term is required
    calibrated: ClassVar[bool] = False  # True: in nats, a log-density up to a constant
    fixed_structure: ClassVar[bool] = False  # True: `factors` is the same however evidence narrows
    # the domains, so that what is prepared from it can be kept from query to query
    reusable: ClassVar[bool] = True  # one object may serve many solves at once; False where each
    # solve opens something and closes it
    required_by_default: ClassVar[bool] = False  # follows from writing `holds`, unless set

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        if "required_by_default" not in cls.__dict__ and "holds" in cls.__dict__:
            cls.required_by_default = True

    def __init__(self, *scope: Variable | View):
        super().__init__()
        self.scope: tuple[View, ...] = tuple(
            entry.view if isinstance(entry, Variable) else entry for entry in scope
        )

    @abstractmethod
    def energy(self, *tensors: Tensor) -> Tensor:
        """Energy of a batch of states, in the order of the scope; lower is better. -> (batch,)"""

    def begin(self, *tensors: Tensor) -> Callable[[], Tensor]:
        """Begins `energy`, and returns the call that gives it: terms that other processes compute
        are then under way together. The default computes when it is called."""
        return functools.partial(self.energy, *tensors)

    def holds(self, *values: Any) -> bool | None:
        """Whether plain values satisfy the rule; None: this term can only be scored."""
        del values
        return None

    def verdicts(self, candidates: Sequence[Sequence[Any]]) -> list[bool | None]:
        """`holds` of several plain values of the scope. The default asks for one after the other;
        a term that is asked over a network asks for all of them at once."""
        return [self.holds(*values) for values in candidates]

    def factors(self, *domains: Domain) -> Factors | None:
        """Explicit structure under these domains, or None.

        The default enumerates a small scope: one table when the combinations of allowed values are
        at most `ENUMERATED`.
        """
        return enumerate_table(self, domains, None if self.required_by_default else 1.0)

    def structured(self, weight: float | None, *domains: Domain) -> Factors | None:
        """The structure of this term in an energy: as a constraint (weight None), or at a price.

        The default prices the parts of `factors`; those of a rule also where a table forbids. Only
        terms made of other terms override this.
        """
        if type(self).factors is Term.factors:
            return enumerate_table(self, domains, weight)
        own = self.factors(*domains)
        if own is None or weight is None:
            return own
        return own.priced(weight) if self.required_by_default else own.weighed(weight)

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
    def learn(cls, lesson: Lesson) -> list[str]:
        """Learns from examples, writes the weights, and says in words what was learned.

        The default cannot. Raises BadQuery where the examples or parameters make no sense.
        """
        problem = f"{cls.__name__} does not learn from {lesson.data}"
        raise BadQuery(Mistake("KIND", problem, "name a kind that does"))

    def accepts(self, domains: Sequence[Domain], tensors: Sequence[Tensor]) -> Tensor | None:
        """Which of R answers lie inside this module's acceptance band; None: it has none.

        domains: of the scope under the evidence, R rows. tensors: the decided answers, (R, *event).
        An answer outside is flagged ABSTAIN. -> (R,) bool
        """
        del domains, tensors
        return None

    def floor(self) -> float:
        """A proved lower bound of `energy`; the default is 0 for rules and residuals."""
        residual = type(self).residual is not Term.residual
        return 0.0 if self.required_by_default or residual else -math.inf

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
            energy = self.energy(*xs).sum()
            slopes = torch.autograd.grad(energy, xs, allow_unused=True)
            xs = [
                (x - rate * ((0 if g is None else g) + (x - a) / step)).detach()
                for x, g, a in zip(xs, slopes, anchors, strict=True)
            ]
        return tuple(xs)

    def propose(self, particles: int, rng: Stream, *domains: Domain) -> tuple[Tensor, ...] | None:
        """States worth starting from, one tensor for each entry of the scope; None: has none.

        `rng` has one key for each of the R rows of the domains; batch index b belongs to row
        b // particles. What lies outside the domains is projected into them.
        -> (R * particles, *event) each
        """
        del particles, rng, domains
        return None

    def substitute(self, *inputs: Tensor) -> tuple[Tensor, ...] | None:
        """The outputs that this term defines from its inputs; None: it defines nothing."""
        del inputs
        return None

    def explain(self, *values: Any) -> list[str]:
        """Which parts fail, in words; empty when everything holds."""
        return [f"{self.label} does not hold"] if self.holds(*values) is False else []

    def says(self, part: int) -> str:
        """What one part of this term asks for, in words; the default can only number it."""
        return f"part {part}"

    def parts(self) -> tuple[Part, ...]:
        return (Part(self, None if self.required_by_default else 1.0),)

    def forward(self, state: State) -> Tensor:
        """The energy of a state, unweighted, also of a rule. -> (B,)"""
        return self.energy(*self.views(state))

    def views(self, state: State) -> list[Tensor]:
        """The tensors of the scope, out of the state of all variables, in the dtype of the term."""
        return [view.tensor(state[view.variable.name]).to(self.dtype) for view in self.scope]

    def _weighed(self, weight: float) -> Iterator[Part]:
        yield Part(self, weight)  # a bare rule times a number is a weighted rule

    @property
    def label(self) -> str:
        """What answers call this term when the query gives it no name."""
        return type(self).__name__


def required(energy: Energy) -> Sum:
    """The terms of an energy as constraints: they must hold, and count nothing in the energy."""
    for part in energy.parts():
        if type(part.term).holds is Term.holds:
            raise BadQuery(
                Mistake(
                    part.label,
                    "cannot decide whether it holds, so it cannot be required",
                    "give it a weight, or write `holds`",
                )
            )
        part.term.check_required()
    return Sum(*(Part(part.term, None, part.name) for part in energy.parts()))


def named(name: str, energy: Energy) -> Sum:
    """The same energy with a name for answers."""
    return Sum(*(Part(part.term, part.weight, name) for part in energy.parts()))


class Choice(Term):
    """Shared by the hard and the soft minimum: several energies over one joint scope."""

    affine = False

    def __init__(self, *branches: Energy):
        variables = Sum(*itertools.chain(*(b.parts() for b in branches))).variables()
        super().__init__(*variables)
        self.fixed_structure = all(  # type: ignore[misc]
            part.term.fixed_structure for branch in branches for part in branch.parts()
        )
        self.reusable = all(  # type: ignore[misc]
            part.term.reusable for branch in branches for part in branch.parts()
        )
        weighted = [p.term for b in branches for p in b.parts() if p.weight is not None]
        self.calibrated = bool(weighted) and all(  # type: ignore[misc]
            term.calibrated for term in weighted
        )
        self.dtype = functools.reduce(  # type: ignore[misc]  # the widest: each narrows it again
            torch.promote_types,
            (part.term.dtype for branch in branches for part in branch.parts()),
        )
        self.alternatives: tuple[Energy, ...] = branches  # typed, beside the registered modules
        self.branches = nn.ModuleList(branches)

    def energy(self, *tensors: Tensor) -> Tensor:
        return self.begin(*tensors)()

    def begin(self, *tensors: Tensor) -> Callable[[], Tensor]:
        energies = self._energies(self._named(tensors))
        return lambda: self._least(energies())

    def _named(self, values: Sequence[N]) -> dict[str, N]:
        """What belongs to the entries of the scope, by variable."""
        return {v.variable.name: x for v, x in zip(self.scope, values, strict=True)}

    def _energies(self, state: State) -> Callable[[], Tensor]:
        """Begins every branch; the call returned gives their energies. -> (branches, B)"""
        waits = [begin_shares(branch.parts(), state) for branch in self.alternatives]
        return lambda: torch.stack([_total(state, shares()) for shares in waits])

    def accepts(self, domains: Sequence[Domain], tensors: Sequence[Tensor]) -> Tensor | None:
        """What the terms say of the branch that counts, the one of least energy; where several
        are level, one that is stood by is enough."""
        state, by_name = self._named(tensors), self._named(domains)
        said = [
            [
                part.term.accepts(scope_domains(part.term, by_name), part.term.views(state))
                for part in branch.parts()
            ]
            for branch in self.alternatives
        ]
        if all(verdict is None for verdicts in said for verdict in verdicts):
            return None
        with torch.no_grad():
            energies = self._energies(state)().cpu()  # (branches, R)
        inside = torch.ones_like(energies, dtype=torch.bool)
        for own, verdicts in zip(inside, said, strict=True):
            for verdict in verdicts:
                own &= True if verdict is None else verdict.cpu()
        least = energies.min(0).values
        counts = energies <= least + ALIKE * least.abs().clamp(min=1.0)
        return (counts & inside).any(0)

    def propose(self, particles: int, rng: Stream, *domains: Domain) -> tuple[Tensor, ...] | None:
        """The proposals of the terms in turn, particle by particle; a variable that one says
        nothing of is drawn."""
        by_name = self._named(domains)
        states: list[dict[str, Tensor]] = []
        for place, part in enumerate(p for b in self.alternatives for p in b.parts()):
            own = rng.fork(place)
            scope = scope_domains(part.term, by_name)
            proposed = part.term.propose(particles, own.fork(0), *scope)
            if proposed is None:
                continue
            state = {
                name: domain.sample(particles, own.fork(1 + k))
                for k, (name, domain) in enumerate(by_name.items())
            }
            for view, x in zip(part.term.scope, proposed, strict=True):
                name = view.variable.name
                state[name] = view.placed(state[name], x.to(state[name].dtype))
            states.append(state)
        if not states:
            return None
        turn = torch.arange(len(rng.keys) * particles) % particles % len(states)  # (R * P,)
        out = []
        for name in by_name:
            every = torch.stack([state[name] for state in states])  # (n, R * P, *event)
            out.append(every[turn.to(every.device), torch.arange(len(turn))])
        return tuple(out)

    @abstractmethod
    def _least(self, energies: Tensor) -> Tensor:
        """The minimum over branches, their rules counted with weight 1. (branches, B) -> (B,)"""

    def _branch_holds(self, branch: Energy, values: Sequence[Any]) -> bool | None:
        plain = self._named(values)
        verdicts = [judge(part.term, plain) for part in branch.parts()]
        if False in verdicts:
            return False
        return None if None in verdicts else True


class AnyOf(Choice):
    """E = min over branches (logical OR); holds when some branch holds entirely."""

    def __init__(self, *branches: Energy):
        super().__init__(*branches)
        self.required_by_default = all(  # type: ignore[misc]
            part.term.required_by_default and part.required
            for branch in branches
            for part in branch.parts()
        )

    def _least(self, energies: Tensor) -> Tensor:
        return energies.min(0).values

    def holds(self, *values: Any) -> bool | None:
        verdicts = [self._branch_holds(b, values) for b in self.alternatives]
        if True in verdicts:
            return True
        return None if None in verdicts else False

    def floor(self) -> float:
        return min(_branch_floor(b) for b in self.alternatives)

    def factors(self, *domains: Domain) -> Factors | None:
        return self.structured(None if self.required_by_default else 1.0, *domains)

    def structured(self, weight: float | None, *domains: Domain) -> Factors | None:
        """A hidden selector site; the structure of branch b binds where the selector is b."""
        chosen = []
        for branch in self.alternatives:
            merged = _branch_factors(branch, self.scope, domains, weight)
            if merged is None:
                return enumerate_table(self, domains, weight)
            chosen.append(merged)
        return conditional(chosen)

    def check_required(self) -> None:
        for branch in self.alternatives:
            required(branch)

    def explain(self, *values: Any) -> list[str]:
        if self.holds(*values) is not False:
            return []
        plain = self._named(values)
        said = [
            "; ".join(
                part.term.explain(*plain_scope(part.term, plain))[0]
                for part in branch.parts()
                if judge(part.term, plain) is False
            )
            for branch in self.alternatives
        ]
        return ["no branch holds: " + " | ".join(said)]


class SoftMin(Choice):
    """E = -T ln sum_b exp(-E_b / T): the smooth sister of `|`, T in the unit of the energy."""

    required_by_default = False

    def __init__(self, *branches: Energy, temperature: float):
        super().__init__(*branches)
        if not 0 < temperature < math.inf:
            raise BadQuery(Mistake("temperature", f"{temperature!r}", "give a number above 0"))
        self.temperature = temperature

    def _least(self, energies: Tensor) -> Tensor:
        t = self.temperature
        return -t * torch.logsumexp(-energies / t, 0)

    def floor(self) -> float:
        least = min(_branch_floor(b) for b in self.alternatives)
        return least - self.temperature * math.log(len(self.branches))


def soft_min(*energies: Energy, temperature: float) -> SoftMin:
    """The smooth minimum of several energies: -T ln sum exp(-E / T)."""
    return SoftMin(*energies, temperature=temperature)


def plain_scope(term: Term, values: dict[str, Any]) -> list[Any]:
    """The plain values of a term's scope, out of the values of all variables."""
    return [view.plain(values[view.variable.name]) for view in term.scope]


def judge(term: Term, values: dict[str, Any]) -> bool | None:
    """What a term says of plain values of all variables."""
    return term.holds(*plain_scope(term, values))


def scope_domains(term: Term, domains: dict[str, Domain]) -> list[Domain]:
    """The domains of a term's scope, out of the domains of all variables."""
    return [view.of(domains[view.variable.name]) for view in term.scope]


def enumerate_table(
    term: Term, domains: Sequence[Domain], weight: float | None = 1.0
) -> Factors | None:
    """A term over few combinations as one table: weight times the energy of each; weight None:
    infinite where the rule does not hold. None also where an energy is no number, and where the
    rule cannot say whether it holds."""
    if not all(isinstance(d, Finite) for d in domains):
        return None
    choices: list[list[int]] = []
    for domain in domains:
        assert isinstance(domain, Finite)
        flat = domain.allowed.any(0).reshape(domain.sites, -1)
        choices += [site.nonzero().reshape(-1).tolist() for site in flat]
    if math.prod(len(c) for c in choices) > ENUMERATED or not choices:
        return None
    tuples = torch.cartesian_prod(*(torch.tensor(c) for c in choices)).reshape(-1, len(choices))
    tensors, start = [], 0
    for domain in domains:
        assert isinstance(domain, Finite)
        index = tuples[:, start : start + domain.sites]
        hot = torch.nn.functional.one_hot(index, len(domain.values)).to(term.dtype)
        tensors.append(hot.reshape(-1, *domain.event))
        start += domain.sites
    with torch.no_grad():
        costs = term.energy(*tensors).double()
    if bool((costs.isnan() | (costs == -math.inf)).any()):
        return None
    sizes, places = Factors.sizes_of(domains), tuples.numpy()
    if weight is not None:
        table = Factors.table(sizes, places, costs.cpu().numpy(), math.inf, computed=True)
        return replace(table, tables=tuple(t.weighed(weight) for t in table.tables))
    columns = [domain.decode(x) for domain, x in zip(domains, tensors, strict=True)]
    verdicts = term.verdicts(list(zip(*columns, strict=True)))
    if None in verdicts:
        return None
    forbidden = np.array([holds is False for holds in verdicts])
    return Factors.table(sizes, places, np.where(forbidden, math.inf, 0.0), math.inf)


def _branches(energy: Energy) -> tuple[Energy, ...]:
    return energy.alternatives if isinstance(energy, AnyOf) else (energy,)


def _branch_floor(branch: Energy) -> float:
    return sum((1.0 if p.weight is None else p.weight) * p.term.floor() for p in branch.parts())


def _branch_factors(
    branch: Energy, scope: Sequence[View], domains: Sequence[Domain], weight: float | None
) -> Factors | None:
    """The structure of one branch over the sites of the joint scope; weight None: as a rule."""
    starts, total = {}, 0
    by_name: dict[str, Domain] = {}
    for view, domain in zip(scope, domains, strict=True):
        starts[view.variable.name] = total
        by_name[view.variable.name] = domain
        total += domain.sites
    pieces = []
    for part in branch.parts():
        price = None if weight is None else weight * (1.0 if part.weight is None else part.weight)
        own = part.term.structured(price, *scope_domains(part.term, by_name))
        if own is None:
            return None
        places = [
            starts[view.variable.name] + int(k)
            for view in part.term.scope
            for k in view.places.reshape(-1)
        ]
        pieces.append((own, places))
    return Factors.merge(Factors.sizes_of(domains), pieces)
