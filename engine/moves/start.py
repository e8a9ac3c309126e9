"""Where a search starts: states that are given, that terms propose, and random ones."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from engine.domain import Finite, State, is_decided
from engine.energy import Term, scope_domains
from engine.energy.term import seen_of
from engine.errors import BadQuery, Mistake
from engine.problem import Problem
from engine.random import Stream
from engine.rows import select_rows

PROPOSED, STARTED = 401, 402  # lanes of the stream that terms, and others, propose from


class Proposer(Protocol):
    """Whoever knows where a search may start: a memory of answers, a learned guess. Terms propose,
    too (`Term.propose`)."""

    def propose(
        self, problem: Problem, particles: int, rng: Stream, known: State | None
    ) -> State | None:
        """States of some of the variables, relaxed or decided, (R * particles, *event) each; None:
        has none. known: where the last answer of each row stood, (R, *shape) each; None: there is
        none. What is said of a row depends on that row alone."""


class Start(Mapping[str, Tensor]):
    """Starting states, decided, drawn or moved inside when a minimizer first looks at a variable.

    Where n of `starts` and of the terms propose states of a variable, in this order, particle p of
    each row starts from the proposal at place p mod (n + 1); the last of these shares stays random.
    """

    def __init__(
        self,
        problem: Problem,
        particles: int,
        rng: Stream,
        given: State,
        starts: Sequence[Proposer] = (),
        known: State | None = None,
    ):
        self.problem, self.particles, self.rng, self.given = problem, particles, rng, given
        self.starts, self.known = tuple(starts), known
        self._drawn: dict[str, Tensor] = {}
        self._proposed: dict[int, tuple[Tensor, ...] | None] = {}  # by the place of the term
        self._started: dict[int, State | None] = {}  # by the place of the proposer

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._drawn:
            self._drawn[name] = self._draw(name)
        return self._drawn[name]

    def _draw(self, name: str) -> Tensor:
        domain = self.problem.domain(name)
        if name in self.given:
            given = self.given[name].to(domain.device)
            relaxed = not isinstance(domain, Finite) or not is_decided(given)
            event = domain.event if relaxed else domain.shape
            wanted = (self.problem.rows * self.particles, *event)
            if given.shape[0] == self.problem.rows and self.particles > 1:
                given = given.repeat_interleave(self.particles, 0)
            if tuple(given.shape) != wanted:
                raise BadQuery(
                    Mistake(f"start.{name}", f"shape {tuple(given.shape)}", f"give {wanted}")
                )
            return domain.decide(given)
        if name not in self.problem.domains:
            raise KeyError(name)
        lane = list(self.problem.domains).index(name)
        x = self.problem.sample(name, self.particles, self.rng.fork(lane))
        proposed = list(self._proposals(name, x))
        if not proposed:
            return x
        share = (
            torch.arange(len(x), device=x.device) % self.particles % (len(proposed) + 1)
        )  # (R * P,)
        for k, states in enumerate(proposed):
            x = torch.where((share == k).view(-1, *[1] * (x.dim() - 1)), states, x)
        return x

    def _proposals(self, name: str, x: Tensor) -> Iterator[Tensor]:
        """States of one variable, for each proposer and term that has some; x where it says
        nothing."""
        domain = self.problem.domain(name)
        for place, proposer in enumerate(self.starts):
            if place not in self._started:
                rng = self.rng.fork(STARTED).fork(place)
                own = proposer.propose(self.problem, self.particles, rng, self.known)
                self._started[place] = own
            given = self._started[place]
            if given is not None and name in given:
                yield domain.decide(given[name].to(domain.device))
        for place, summand in enumerate(self.problem.summands):
            term = summand.term
            silent = type(term).propose is Term.propose
            if silent or all(view.variable.name != name for view in term.scope):
                continue
            if place not in self._proposed:
                wide = {v.name: self.problem.domain(v.name) for v in term.variables()}
                domains = scope_domains(term, wide)
                rng = self.rng.fork(PROPOSED).fork(place)
                known = None if self.known is None else seen_of(term, self.known)
                self._proposed[place] = term.propose(self.particles, rng, known, *domains)
            states = self._proposed[place]
            if states is None:
                continue
            whole = x
            for view, state in zip(term.scope, states, strict=True):
                if view.variable.name == name:
                    whole = view.placed(whole, view.of(domain).decide(state))
            yield whole

    def __contains__(self, name: object) -> bool:
        return any(v.name == name for v in self.problem.open)

    def __iter__(self) -> Iterator[str]:
        return (v.name for v in self.problem.open)

    def __len__(self) -> int:
        return len(self.problem.open)

    def select(self, rows: Sequence[int]) -> "Start":
        """The starting states of some rows: the same as in company."""
        given = {name: select_rows(x, rows, self.problem.rows) for name, x in self.given.items()}
        rng = self.rng.select(torch.as_tensor(rows))
        known = self.known
        if known is not None:
            index = torch.as_tensor(rows, dtype=torch.long)
            known = {name: x[index.to(x.device)] for name, x in known.items()}
        return Start(self.problem.select(rows), self.particles, rng, given, self.starts, known)


def starts_of(x: State) -> tuple[Proposer, ...]:
    """The proposers that starting states were asked of, for whoever begins again."""
    return getattr(x, "starts", ())


class StartRows(Mapping[str, Tensor]):
    """The starting states of some of `total` rows, taken when they are looked at."""

    def __init__(self, x: State, rows: Sequence[int], total: int):
        self.x, self.rows, self.total = x, rows, total
        self.starts = starts_of(x)
        self._own: State | None = None

    def __getitem__(self, name: str) -> Tensor:
        if isinstance(self.x, Start):  # draws no other row
            self._own = self._own or self.x.select(self.rows)
            return self._own[name]
        return select_rows(self.x[name], self.rows, self.total)

    def __contains__(self, name: object) -> bool:
        return name in self.x

    def __iter__(self) -> Iterator[str]:
        return iter(self.x)

    def __len__(self) -> int:
        return len(self.x)
