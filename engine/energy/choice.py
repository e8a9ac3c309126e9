"""The minimum of several energies, hard (`a | b`) and soft."""

import functools
import itertools
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from engine.domain import Domain, Finite, State, Told, View
from engine.domain.told import batch_of
from engine.energy.acceptance import accepted_sites, of_branches, places_of
from engine.energy.algebra import Energy, Sum, begin_shares, total_of
from engine.energy.tables import enumerate_table, structure_of
from engine.energy.term import (
    Known,
    Term,
    judge,
    plain_scope,
    required,
    scope_domains,
    seen_of,
)
from engine.errors import BadQuery, Mistake
from engine.factors import Factors, conditional
from engine.random import Stream

N = TypeVar("N")
ALIKE = 1e-6  # branches whose energies are nearer than this, relative, both count


class Choice(Term):
    """Shared by the hard and the soft minimum: several energies over one joint scope."""

    affine = False
    partial = True
    needs_inputs = False  # a term inside that lacks one costs 0 in its branch

    def __init__(self, *branches: Energy):
        variables = Sum(*itertools.chain(*(b.summands() for b in branches))).variables()
        super().__init__(*variables)
        self.fixed_structure = all(  # type: ignore[misc]
            summand.term.fixed_structure for branch in branches for summand in branch.summands()
        )
        self.reusable = all(  # type: ignore[misc]
            summand.term.reusable for branch in branches for summand in branch.summands()
        )
        weighted = [p.term for b in branches for p in b.summands() if p.weight is not None]
        self.calibrated = bool(weighted) and all(  # type: ignore[misc]
            term.calibrated for term in weighted
        )
        self.dtype = functools.reduce(  # type: ignore[misc]  # the widest: each narrows it again
            torch.promote_types,
            (summand.term.dtype for branch in branches for summand in branch.summands()),
        )
        self.alternatives: tuple[Energy, ...] = branches  # typed, beside the registered modules
        self.branches = nn.ModuleList(branches)

    @property
    def enumerates(self) -> bool:
        every = [summand.term for branch in self.alternatives for summand in branch.summands()]
        return super().enumerates or any(term.enumerates for term in every)

    def energy(self, *tensors: Tensor) -> Tensor:
        return self.begin(*tensors)()

    def cost(self, *tensors: Tensor) -> Tensor:
        return self.begin(*tensors)()

    def begin(self, *tensors: Tensor) -> Callable[[], Tensor]:
        energies = self._energies(self._named(tensors))
        return lambda: self._least(energies())

    def _named(self, values: Sequence[N]) -> dict[str, N]:
        """What belongs to the entries of the scope, by variable."""
        return {v.variable.name: x for v, x in zip(self.scope, values, strict=True)}

    def _energies(self, state: State) -> Callable[[], Tensor]:
        """Begins every branch; the call returned gives their energies. -> (branches, B)"""
        waits = [begin_shares(branch.summands(), state) for branch in self.alternatives]
        return lambda: torch.stack([total_of(state, shares()) for shares in waits])

    def accepts(self, domains: Sequence[Domain], tensors: Sequence[Tensor]) -> Tensor | None:
        """What the terms say of the branch that counts, the one of least energy; where several
        are level, one that is stood by is enough."""
        state, by_name = self._named(tensors), self._named(domains)
        starts, total = {}, 0
        for name, domain in by_name.items():
            if not isinstance(domain, Told):
                starts[name], total = total, total + domain.sites
        rows, spoke = batch_of(tensors), False
        inside = torch.ones(len(self.alternatives), rows, total, dtype=torch.bool)
        for own, branch in zip(inside, self.alternatives, strict=True):
            for term in (summand.term for summand in branch.summands()):
                said = accepted_sites(term, scope_domains(term, by_name), state)
                if said is None:
                    continue
                spoke, every = True, places_of(term)
                at = np.concatenate([starts[name] + places for name, places in every])
                for column, k in zip(said.T, at.tolist(), strict=True):
                    own[:, k] &= column
        if not spoke:
            return None
        with torch.no_grad():
            return of_branches(self._energies(state)().cpu(), inside, ALIKE)

    def propose(
        self, particles: int, rng: Stream, known: Known, *domains: Domain
    ) -> tuple[Tensor, ...] | None:
        """The proposals of the terms in turn, particle by particle; a variable that one says
        nothing of is drawn."""
        by_name = self._named(domains)
        stood = None if known is None else self._named(known)
        states: list[dict[str, Tensor]] = []
        for place, summand in enumerate(p for b in self.alternatives for p in b.summands()):
            own = rng.fork(place)
            scope = scope_domains(summand.term, by_name)
            seen = None if stood is None else seen_of(summand.term, stood)
            proposed = summand.term.propose(particles, own.fork(0), seen, *scope)
            if proposed is None:
                continue
            state = {
                name: domain.sample(particles, own.fork(1 + k))
                for k, (name, domain) in enumerate(by_name.items())
            }
            for view, x in zip(summand.term.scope, proposed, strict=True):
                name = view.variable.name
                state[name] = view.placed(state[name], view.of(by_name[name]).decide(x))
            states.append(state)
        if not states:
            return None
        every_one = torch.arange(len(rng.keys) * particles, device=rng.keys.device)
        turn = every_one % particles % len(states)  # (R * P,)
        out = []
        for name in by_name:
            every = torch.stack([state[name] for state in states])  # (n, R * P, *shape)
            out.append(every[turn, every_one])
        return tuple(out)

    def left_out(self, values: Mapping[str, Any]) -> list[str]:
        lacking = (term.lacks(values) for term in leaves_of(self))
        return list(dict.fromkeys(name for names in lacking for name in names))

    @abstractmethod
    def _least(self, energies: Tensor) -> Tensor:
        """The minimum over branches, their rules counted with weight 1. (branches, B) -> (B,)"""

    def _branch_holds(self, branch: Energy, values: Sequence[Any]) -> bool | None:
        plain = self._named(values)
        asked = [s.term for s in branch.summands() if s.term.speaks(plain)]
        verdicts = [judge(term, plain) for term in asked]
        if False in verdicts:
            return False
        return None if None in verdicts else True


class AnyOf(Choice):
    """E = min over branches (logical OR); holds when some branch holds entirely."""

    def __init__(self, *branches: Energy):
        super().__init__(*branches)
        self.required_by_default = all(  # type: ignore[misc]
            summand.term.required_by_default and summand.required
            for branch in branches
            for summand in branch.summands()
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
                summand.term.explain(*plain_scope(summand.term, plain))[0]
                for summand in branch.summands()
                if judge(summand.term, plain) is False
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


def leaves_of(term: Term) -> Iterator[Term]:
    """The terms that a choice is made of, however deep; any other term itself."""
    if not isinstance(term, Choice):
        yield term
        return
    for branch in term.alternatives:
        for summand in branch.summands():
            yield from leaves_of(summand.term)


def branches_of(energy: Energy) -> tuple[Energy, ...]:
    return energy.alternatives if isinstance(energy, AnyOf) else (energy,)


def _branch_floor(branch: Energy) -> float:
    return sum(
        (1.0 if p.weight is None else p.weight) * p.term.lowest_anywhere()
        for p in branch.summands()
    )


def _branch_factors(
    branch: Energy, scope: Sequence[View], domains: Sequence[Domain], weight: float | None
) -> Factors | None:
    """The structure of one branch over the sites of the joint scope; weight None: as a rule."""
    starts, total = {}, 0
    by_name: dict[str, Domain] = {}
    for view, domain in zip(scope, domains, strict=True):
        by_name[view.variable.name] = domain
        if isinstance(domain, Finite):
            starts[view.variable.name] = total
            total += domain.sites
    pieces = []
    for summand in branch.summands():
        price = (
            None if weight is None else weight * (1.0 if summand.weight is None else summand.weight)
        )
        own = structure_of(summand.term, price, scope_domains(summand.term, by_name))
        if own is None:
            return None
        places = [
            starts[view.variable.name] + int(k)
            for view in summand.term.scope
            if view.variable.name in starts
            for k in view.places.reshape(-1)
        ]
        pieces.append((own, places))
    return Factors.merge(Factors.sizes_of(domains), pieces)
