"""Rules on texts as automata: what was read so far is one state, and some states are ends.

A text is what the values of its sites spell one after the other; a value is a letter, a number,
several letters, or none ("").
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from engine.decimals import Ints
from engine.domain import Domain, Variable, View
from engine.errors import BadQuery, Mistake
from engine.factors import Factors, Table
from modules.shared.sites import OverSites

STATES = 4_096  # of one automaton, before those that are alike become one
NOWHERE = -1

H = TypeVar("H", bound=Hashable)


class Automaton(NamedTuple):
    """Begins in state 0; `moves[state, value]` is the state after a value."""

    moves: Ints  # (S, k), NOWHERE where the text is refused
    final: np.ndarray  # (S,) bool

    @property
    def arcs(self) -> Ints:
        """All moves as (state, value, state after). -> (A, 3)"""
        state, value = np.nonzero(self.moves >= 0)
        return np.stack([state, value, self.moves[state, value]], 1)


def automaton_of(
    start: H,
    step: Callable[[H, str], H | None],
    ends: Callable[[H], bool],
    tokens: Sequence[str],
    sites: int,
    path: str,
) -> Automaton:
    """The least automaton that reads so many values as a machine does that is told by words.

    step: the state after a value, None where the text is refused. Raises BadQuery under `path`
    where it has too many states.
    """
    number: dict[H, int] = {start: 0}
    rows: list[list[int]] = []
    layer = [start]
    for depth in range(sites + 1):
        following: list[H] = []
        for state in layer:
            if depth == sites:
                rows.append([NOWHERE] * len(tokens))
                continue
            row = []
            for token in tokens:
                after = step(state, token)
                if after is not None and after not in number:
                    number[after] = len(number)
                    following.append(after)
                row.append(NOWHERE if after is None else number[after])
            rows.append(row)
            if len(number) > STATES:
                told = f"needs more than {STATES} states for texts of {sites} sites"
                raise BadQuery(
                    Mistake(path, told, "ask for less in one term, or for shorter texts")
                )
        layer = following
    final = np.array([ends(state) for state in number], dtype=bool)
    return least(Automaton(np.array(rows, np.int64).reshape(len(number), len(tokens)), final))


def least(given: Automaton) -> Automaton:
    """The same with states that are alike as one, and without those from which no end is reached.
    Source: Moore, Automata Studies 1956."""
    moves, final = _alive(given)
    kind = final.astype(np.int64)
    while True:
        seen = np.where(moves >= 0, kind[moves], NOWHERE)
        rows = np.concatenate([kind[:, None], seen], 1)
        _, first, again = np.unique(rows, axis=0, return_index=True, return_inverse=True)
        again = again.reshape(-1)
        if len(first) == len(np.unique(kind)):
            break
        kind = again
    order = np.argsort(first)  # the state of the beginning comes first
    place = np.argsort(order)
    moved = np.where(moves[first] >= 0, place[again[moves[first]]], NOWHERE)
    return Automaton(moved[order], final[first][order])


def _alive(given: Automaton) -> Automaton:
    """Without moves to states from which no end is reached; the first state stays."""
    moves, final = given
    alive = final.copy()
    while True:
        more = alive | (alive[moves] & (moves >= 0)).any(1)
        if (more == alive).all():
            break
        alive = more
    moves = np.where((moves >= 0) & alive[moves], moves, NOWHERE)
    keep = alive.copy()
    keep[0] = True
    place = np.cumsum(keep) - 1
    return Automaton(np.where(moves >= 0, place[moves], NOWHERE)[keep], final[keep])


class _Run(NamedTuple):
    """An automaton ready for tensors."""

    moves: Tensor  # (S + 1, k) with a state for texts that are refused, last
    final: Tensor  # (S + 1,) bool
    arcs: Tensor  # (A, 3)


class AutomatonRule(OverSites):
    """Abstract: a rule whose parts are automata, each over all sites of the scope in order.

    E = sum over parts of 1 - P(the automaton accepts), the sites independent; decided: the number
    of parts that refuse. Affine in each site. Explicit as chains with a hidden site for the state
    after each value, which the visible sites determine.
    """

    def __init__(self, *scope: Variable | View):
        super().__init__(*scope)
        if not self.layout.uniform:
            told = "has entries of different values"
            raise BadQuery(Mistake("scope", told, "name variables of the same letters"))
        values = self.layout.domains[0].values
        self.tokens = tuple(map(str, values))
        self.automata: list[Automaton] = []

    def accept(self, automata: Sequence[Automaton]) -> None:
        """These are the parts."""
        self.automata = list(automata)
        self._runs: list[_Run] = []
        for own in automata:
            dead = len(own.moves)
            moves = np.append(
                np.where(own.moves < 0, dead, own.moves), [[dead] * len(self.tokens)], 0
            )
            every = (moves, np.append(own.final, False), own.arcs)
            self._runs.append(_Run(*map(torch.from_numpy, every)))

    def built(
        self, start: H, step: Callable[[H, str], H | None], ends: Callable[[H], bool], path: str
    ) -> Automaton:
        """An automaton over the values of this scope, of a machine that reads letter by letter."""

        def whole(state: H, token: str) -> H | None:
            now: H | None = state
            for letter in token:
                now = None if now is None else step(now, letter)
            return now

        return automaton_of(start, whole, ends, self.tokens, self.layout.sites, path)

    def text(self, values: Sequence[Any]) -> str:
        """What plain values spell."""
        flat = self.layout.flat(values)
        return "".join(str(v[1] if self.layout.mixed else v) for v in flat)

    def energy(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B,)
        return self.violation(*tensors).sum(1)

    def violation(self, *tensors: Tensor) -> Tensor:  # (B, *shape, k) -> (B, parts)
        x = self.layout.aligned(tensors)  # (B, n, k)
        out = [self._refused(run, x) for run in self._runs]
        return torch.stack(out, 1) if out else x.new_zeros(len(x), 0)

    def _refused(self, run: _Run, x: Tensor) -> Tensor:
        """1 - P(accepted). (B, n, k) -> (B,)"""
        source, value, after = run.arcs.to(x.device).unbind(1)
        state = x.new_zeros(len(x), len(run.final) - 1)
        state = state + torch.eye(1, state.shape[1], dtype=x.dtype, device=x.device)
        for own in x.unbind(1):
            state = torch.zeros_like(state).index_add(1, after, state[:, source] * own[:, value])
        return 1 - state[:, run.final[:-1].to(x.device)].sum(1)

    def cost(self, *tensors: Tensor) -> Tensor:  # (B, *shape) int64 -> (B,) float64
        places = self.layout.decided(tensors)
        total = torch.zeros(len(places), dtype=torch.float64, device=places.device)
        for run in self._runs:
            state, moves = torch.zeros_like(places[:, 0]), run.moves.to(places.device)
            for own in places.unbind(1):
                state = moves[state, own]
            total = total + (~run.final.to(places.device)[state]).double()
        return total

    def factors(self, *domains: Domain) -> Factors | None:
        n, first = self.layout.sites, self.layout.sites
        sizes, tables = [Factors.sizes_of(domains)], list[Table]()
        for part, own in enumerate(self.automata):
            hidden = first + np.arange(n - 1)  # the state after each value but the last
            tables += _chained(own, np.arange(n), hidden, part)
            sizes.append(np.full(n - 1, len(own.moves), np.int64))
            first += n - 1
        every = np.concatenate(sizes).astype(np.int64)
        return Factors(every, n, tables=tuple(tables), functional=True)

    def floor(self) -> float:
        return 0.0


def _chained(own: Automaton, sites: Ints, hidden: Ints, part: int) -> list[Table]:
    """What an automaton allows: of the first value and the state after it, of two states and the
    value between, of the last state and the last value."""
    arcs, n = own.arcs, len(sites)
    last = own.final[arcs[:, 2]]
    if n == 1:
        return [_allowing(arcs[(arcs[:, 0] == 0) & last][:, [1]], sites[None], part)]
    between = np.stack([hidden[:-1], sites[1:-1], hidden[1:]], 1)
    begins = arcs[arcs[:, 0] == 0][:, 1:]
    return [
        _allowing(begins, np.array([[sites[0], hidden[0]]]), part),
        *([_allowing(arcs, between, part)] if n > 2 else []),
        _allowing(arcs[last][:, :2], np.array([[hidden[-1], sites[-1]]]), part),
    ]


def _allowing(tuples: Ints, scopes: Ints, part: int) -> Table:
    """A table that forbids all but some combinations."""
    none = np.zeros(len(scopes), np.int64)
    own = np.ascontiguousarray(tuples)
    return Table(scopes.astype(np.int64), own, np.zeros(len(own)), np.inf, none, none + part)
