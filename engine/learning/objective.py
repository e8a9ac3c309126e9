"""What a training objective is: frozen hyper-parameters, an explicit state, a generator of updates.

    class Mine(Objective[tuple]):
        def start(self, nets, rng): return ()
        def updates(self, nets, batch, s, rng):
            yield Update("energy", nets["energy"](batch).mean())
            return s

`engine.learning.train` runs the one loop over updates.
"""

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from engine.domain import Finite, State, is_decided
from engine.energy import Energy, home_of
from engine.errors import BadQuery, Mistake
from engine.problem import Problem
from engine.random import Stream

Nets = Mapping[str, nn.Module]  # what is trained, by name; one energy alone is called "energy"
S = TypeVar("S")


@dataclass(frozen=True, eq=False)
class Update:
    """One step of one network, or of several along one loss, and what the log shows.

    The loss has a gradient towards the parameters of these networks alone: what it says of others
    is not asked for.
    """

    trains: str | tuple[str, ...]  # the networks whose parameters move
    loss: Tensor  # ()
    clip: float | None = None  # largest norm of the gradient, of all of them together
    shown: Mapping[str, float] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The networks that move."""
        return (self.trains,) if isinstance(self.trains, str) else tuple(self.trains)


class Objective(ABC, Generic[S]):
    """How networks learn from batches. Hyper-parameters are frozen fields; what changes from step
    to step (buffers, running scales) is the state, which every checkpoint holds."""

    @abstractmethod
    def start(self, nets: Nets, rng: Stream) -> S:
        """The first state: tensors, numbers, and tuples, records or mappings of them."""

    @abstractmethod
    def updates(self, nets: Nets, batch: State, s: S, rng: Stream) -> Generator[Update, None, S]:
        """Yields the updates of one step and returns the next state.

        Code after a `yield` sees the step taken. `batch` holds states, relaxed or decided. `rng` is
        the stream of this step: the same (nets, batch, s, rng) give the same updates. All lie where
        the networks do.
        """


def energy_of(nets: Nets) -> Energy:
    """The energy that an objective over one energy trains."""
    energy = nets.get("energy")
    if not isinstance(energy, Energy):
        said = f"there is none among {sorted(nets)}" if energy is None else f"is {type(energy)}"
        raise BadQuery(Mistake("nets.energy", said, 'give an Energy as {"energy": ...}'))
    return energy


def problem_of(energy: Energy) -> Problem:
    """The problem of an energy without evidence, where its parameters lie."""
    return Problem(energy).to(home_of(energy))


def relaxed_of(energy: Energy, x: State) -> dict[str, Tensor]:
    """States with one-hot ones in place of decided ones. -> {name: (B, *event)}"""
    domains = {v.name: v.domain for v in energy.variables()}
    out = dict(x)
    for name, domain in domains.items():
        if isinstance(domain, Finite) and is_decided(x[name]):
            out[name] = domain.hot(x[name])
    return out


def decided_of(energy: Energy, x: State) -> dict[str, Tensor]:
    """States with places in place of distributions. -> {name: (B, *shape)}"""
    domains = {v.name: v.domain for v in energy.variables()}
    out = dict(x)
    for name, domain in domains.items():
        if isinstance(domain, Finite) and not is_decided(x[name]):
            out[name] = domain.decide(x[name])
    return out


def pack(s: Any) -> Any:
    """A state without its classes: tensors, numbers, lists and mappings, as a checkpoint holds."""
    if isinstance(s, Mapping):
        return {name: pack(value) for name, value in s.items()}
    if isinstance(s, (tuple, list)):
        return [pack(value) for value in s]
    return s


def unpack(like: Any, packed: Any) -> Any:
    """The inverse of `pack`; `like` is a state of the same form, such as a first one, and tensors
    go where its tensors lie."""
    if isinstance(like, Mapping):
        return {name: unpack(value, packed[name]) for name, value in like.items()}
    if isinstance(like, (tuple, list)):
        fields = [unpack(value, entry) for value, entry in zip(like, packed, strict=True)]
        return type(like)(fields) if type(like) in (tuple, list) else type(like)(*fields)
    return packed.to(like.device) if isinstance(like, Tensor) else packed
