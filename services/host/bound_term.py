"""A hosted term at work: built for one binding, guarded, its faults told under its kind."""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from threading import Lock
from typing import Any, TypeVar

import torch
from torch import Tensor

from engine.domain import Domain, Finite, Given, Real, Told
from engine.energy import Term, sites_of
from engine.energy.blame import blamed
from engine.energy.returned import why_no_energies
from engine.energy.term import verdict
from engine.errors import BadQuery, BasinError, Mistake, ModuleFault
from engine.factors import Factors
from engine.random import Stream
from modules.catalogue import Kind
from services.settings import Limits
from services.wire.binding import Binding, all_finite, untold
from services.wire.structure import check_factors, check_fit

log = logging.getLogger(__name__)


R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class BoundTerm:
    """A term over variables of its own, made for one binding."""

    kind: str
    term: Term
    domains: tuple[Domain, ...]
    lock: Lock = field(default_factory=Lock)  # terms are pure, yet a user's may keep scratch

    @staticmethod
    def of(kind: Kind, binding: Binding) -> "BoundTerm":
        """The term of a binding. Raises BadQuery as the kind does."""
        if not binding.domains:
            raise BadQuery(Mistake("domains", "are missing", "give one for each scope entry"))
        scope = binding.scope()
        term = guard_faults(kind.name, "__init__", lambda: kind.build(scope, binding.params))
        domains = tuple(untold(d) if isinstance(d, Told) else d for d in binding.domains)
        return BoundTerm(kind.name, term, domains)

    def over(self, domains: tuple[Domain, ...]) -> "BoundTerm":
        """The same term beside what the rows of these domains were told."""
        return replace(self, domains=domains) if self.told else self

    def beside(self, asked: Sequence[Domain], told: Sequence[Given]) -> "BoundTerm":
        """The same term under domains that evidence has narrowed, of all entries that are no
        inputs, beside what rows were told. Raises BadQuery unless these are domains of its scope.

        told: (rows, *shape) of each input.
        """
        rows = len(told[0].values)
        if not rows:
            raise BadQuery(Mistake("rows", "are none", "name one at least"))
        if len(asked) != len(self._asked):
            given = f"{len(asked)} domains"
            raise BadQuery(Mistake("domains", given, f"the scope has {len(self._asked)}"))
        for k, (domain, own) in enumerate(zip(asked, self._asked, strict=True)):
            if not _alike(domain, own):
                remedy = "narrow that of the binding"
                raise BadQuery(Mistake(f"domains[{k}]", "is of another sort", remedy))
            if domain.rows not in (1, rows):
                given = f"{domain.rows} rows"
                raise BadQuery(Mistake(f"domains[{k}]", given, f"give 1 or {rows}, one a key"))
        pairs = zip(self.told, told, strict=True)
        return self.over(tuple(self._whole(asked, (d.holding(*given) for d, given in pairs))))

    @cached_property
    def told(self) -> tuple[Told, ...]:
        """The domains of its inputs, in order."""
        return tuple(domain for domain in self.domains if isinstance(domain, Told))

    @cached_property
    def _asked(self) -> tuple[Domain, ...]:
        """The domains of all entries that are no inputs, in order."""
        return tuple(domain for domain in self.domains if not isinstance(domain, Told))

    def _whole(self, asked: Iterable[Any], told: Iterable[Any]) -> list[Any]:
        """What stands for each entry of the scope, from what stands for its inputs, and for all
        others."""
        asked, told = iter(asked), iter(told)
        return [next(told if isinstance(domain, Told) else asked) for domain in self.domains]

    def _handed(self, told: Sequence[Given]) -> list[Tensor | Given]:
        """What rows were told as the term takes it."""
        handed: list[Tensor | Given] = []
        for values, present in told:
            floating = values.is_floating_point()
            values = values.to(self.term.dtype) if floating else values
            handed.append(Given(values, present) if self.term.partial else values)
        return handed

    def floor(self) -> float:
        """The proved lower bound the term tells."""
        floor = float(guard_faults(self.kind, "floor", self.term.floor))
        if math.isnan(floor):
            raise ModuleFault(self.kind, "its floor is nan")
        return floor

    def structured(self, weight: float | None, limits: Limits) -> Factors | None:
        """Explicit structure under the domains, of a constraint (weight None) or at a price,
        checked; None when there is none."""
        if not all(isinstance(d, Finite) or bool(d.decided.all()) for d in self.domains):
            return None
        with self.lock:
            structured = self.term.structured
            factors = guard_faults(self.kind, "factors", lambda: structured(weight, *self.domains))
        if factors is None:
            return None
        factors = factors.lowered()
        try:
            check_factors(factors, limits)
            check_fit(factors, self.domains)
        except BadQuery as error:
            raise ModuleFault(self.kind, f"factors: {error}") from None
        return factors

    def candidate(self, values: Sequence[Any], told: Sequence[Told]) -> list[Any]:
        """Plain values of one candidate, with what its row was told. Raises BadQuery."""
        self._check_values(values)
        given = [domain.plain(0) for domain in told]
        rest = (v for v, d in zip(values, self.domains, strict=True) if not isinstance(d, Told))
        return self._whole(rest, given if self.term.partial else [one.values for one in given])

    def judge(self, values: Sequence[Any]) -> tuple[bool | None, list[str]]:
        """What the term says of a candidate, and which parts fail."""
        with self.lock:
            holds = guard_faults(self.kind, "holds", lambda: verdict(self.term, values))
            if holds is not False:
                parts = []
            else:
                parts = guard_faults(self.kind, "explain", lambda: list(self.term.explain(*values)))
        if holds not in (True, False, None) or not all(isinstance(part, str) for part in parts):
            raise ModuleFault(self.kind, f"holds gave {holds!r}, not True, False or None")
        return (None if holds is None else bool(holds)), parts

    def says(self, parts: Iterable[int]) -> list[str]:
        """What each of some parts asks for, in words."""
        with self.lock:
            said = guard_faults(self.kind, "says", lambda: [self.term.says(k) for k in parts])
        if not all(isinstance(words, str) for words in said):
            raise ModuleFault(self.kind, "says gave no text")
        return said

    def accepts(self, candidates: Sequence[Sequence[Any]]) -> Tensor | None:
        """Which sites of candidates, one for each row of the domains, lie inside the acceptance
        band; None where there is none. -> (rows, sites) bool"""
        columns = zip(self.domains, zip(*candidates, strict=True), strict=True)
        asked = [
            torch.stack([d.encode(v) for v in column])
            for d, column in columns
            if not isinstance(d, Told)
        ]
        told = self._handed([domain.given(len(candidates)) for domain in self.told])
        states = self.term.hot(self._whole(asked, told))
        states = [x.to(self.term.dtype) if _floating(x) else x for x in states]
        with self.lock:
            inside = guard_faults(
                self.kind, "accepts", lambda: self.term.accepts(self.domains, states)
            )
        if inside is None:
            return None
        wanted = (len(candidates), sites_of(self.domains))
        if not isinstance(inside, Tensor) or tuple(inside.shape) != wanted:
            raise ModuleFault(
                self.kind,
                f"accepts gave no truth for each of {wanted[1]} sites of {wanted[0]} rows",
            )
        return inside.bool()

    def propose(self, particles: int, rng: Stream) -> tuple[Tensor, ...] | None:
        """States worth starting from, (rows * particles, *event) for each entry of the scope that
        is no input; None when it has none."""
        with self.lock:
            proposed = guard_faults(
                self.kind, "propose", lambda: self.term.propose(particles, rng, None, *self.domains)
            )
        if proposed is None:
            return None
        states: Sequence[Tensor] = proposed
        if len(states) == len(self.domains):
            states = guard_faults(self.kind, "propose", lambda: self.term.hot(proposed))
            own = zip(states, self.domains, strict=True)
            states = tuple(state for state, domain in own if not isinstance(domain, Told))
        batch = len(rng.keys) * particles
        wanted = [(batch, *domain.event) for domain in self._asked]
        got = [tuple(state.shape) for state in states]
        if got != wanted or not all(state.isfinite().all() for state in states):
            raise ModuleFault(
                self.kind,
                f"propose gave shapes {got}, not {wanted}, or numbers that are not finite",
            )
        pairs = zip(states, self._asked, strict=True)
        return tuple(
            state.detach().to(torch.float64 if isinstance(domain, Real) else torch.float32)
            for state, domain in pairs
        )

    def evaluate(
        self, states: Sequence[Tensor], want_gradient: bool, told: Sequence[Given] = ()
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Energies (B,) in float64 and, when wanted, their slopes in every state (B, *event).
        told: what the row of each state was told, one entry for each input, (B, *shape)."""
        first = told[0].values if told else states[0] if states else torch.zeros(0)
        batch = len(first) if first.dim() else 0
        self._check_states(states, batch)
        leaves = [state.requires_grad_(want_gradient) for state in states]
        with torch.set_grad_enabled(want_gradient):
            own = self._whole((leaf.to(self.term.dtype) for leaf in leaves), self._handed(told))
            energy = guard_faults(self.kind, "energy", lambda: self.term.energy(*own))
        self._check_energy(energy, batch)
        if not want_gradient:
            return energy.detach().double(), ()
        return energy.detach().double(), self._slopes(energy, leaves)

    def _slopes(self, energy: Tensor, leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
        slopes: Sequence[Tensor | None] = [None] * len(leaves)
        if energy.requires_grad:  # of the sum: `grad_outputs` would import sympy when first given
            slopes = guard_faults(
                self.kind,
                "energy",
                lambda: torch.autograd.grad(energy.sum(), leaves, allow_unused=True),
            )
        whole = tuple(
            torch.zeros_like(leaf) if slope is None else slope.detach()
            for leaf, slope in zip(leaves, slopes, strict=True)
        )
        for slope in whole:
            if math.isnan(slope.sum()):  # one is nan, or infinities of both signs
                fine = energy.detach().isfinite()  # elsewhere there is no slope to speak of
                if slope[fine].isnan().any():
                    raise ModuleFault(self.kind, "its gradient is nan where its energy is finite")
        return whole

    def _check_values(self, values: Sequence[Any]) -> None:
        if len(values) != len(self.domains):
            raise BadQuery(
                Mistake(
                    "values", f"{len(values)} values", f"the scope has {len(self.domains)} entries"
                )
            )
        for k, (value, domain) in enumerate(zip(values, self.domains, strict=True)):
            if isinstance(domain, Told):
                continue
            try:
                domain.encode(value)
            except (BadQuery, TypeError, ValueError) as error:
                told = error if isinstance(error, BadQuery) else BadQuery(f"{value!r} is no value")
                raise told.under(f"values[{k}]") from None

    def _check_states(self, states: Sequence[Tensor], batch: int) -> None:
        if len(states) != len(self._asked):
            raise BadQuery(
                Mistake(
                    "states", f"{len(states)} tensors", f"the scope has {len(self._asked)} entries"
                )
            )
        for k, (state, domain) in enumerate(zip(states, self._asked, strict=True)):
            wanted = (batch, *domain.event)
            if tuple(state.shape) != wanted:
                raise BadQuery(
                    Mistake(f"states[{k}]", f"shape {[*state.shape]}", f"give {[*wanted]}")
                )
            if not state.is_floating_point() or not all_finite(state):
                raise BadQuery(Mistake(f"states[{k}]", "is no finite float", "send finite floats"))

    def _check_energy(self, energy: Any, batch: int) -> None:
        why = why_no_energies(energy, batch)
        if not why and not all_finite(energy):
            if energy.isnan().any():
                why = f"is nan for {int(energy.isnan().sum())} of {batch} states"
            elif (energy == -math.inf).any():
                why = "is -inf: it is not bounded below"
        if why:
            raise ModuleFault(self.kind, f"energy {why}")


def guard_faults(kind: str, method: str, work: Callable[[], R]) -> R:
    """What a term's own code returns; its exceptions become faults of its kind."""
    try:
        return work()
    except BasinError:
        raise
    except BaseException as error:  # a user's code may raise anything, also what ends a process
        log.exception("%s: %s failed", kind, method)
        blame = blamed(error)  # a default of `factors` calls `energy`
        where = method if blame is None else blame.method
        raise ModuleFault(
            kind, f"{where} raised {type(error).__name__}; the log of its host tells more"
        ) from None


def _floating(x: Tensor | Given) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()


def _alike(domain: Domain, own: Domain) -> bool:
    """Whether a domain has the sites and values of another."""
    if isinstance(domain, Finite) and isinstance(own, Finite):
        return (domain.shape, domain.values) == (own.shape, own.values)
    return isinstance(domain, Real) and isinstance(own, Real) and domain.shape == own.shape
