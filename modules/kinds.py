"""What a kind of term, and whoever knows kinds, is asked: here or in another process."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from engine.domain import Variable, View
from engine.energy import Term


class AnyKind(Protocol):
    """A kind of term, in this process or hosted by another."""

    @property
    def name(self) -> str:
        """What queries call it."""

    @property
    def about(self) -> str:
        """In one line, what it is."""

    @property
    def required_by_default(self) -> bool:
        """Whether a term of this kind is a constraint unless the query says otherwise."""

    @property
    def calibrated(self) -> bool:
        """Whether its energy is in nats."""

    @property
    def schema(self) -> dict[str, Any]:
        """The parameters as JSON Schema."""

    def build(self, scope: Sequence[Variable | View], params: Mapping[str, Any]) -> Term:
        """A term of this kind over a scope.

        Raises BadQuery with every mistake; paths begin with `params` or `scope`.
        """

    def check(self, params: Mapping[str, Any]) -> None:
        """Whether parameters make sense, whatever the scope. Raises BadQuery under `params`."""


class Kinds(Protocol):
    """A source of kinds."""

    def kind(self, name: str) -> AnyKind:
        """The kind of this name. Raises UnknownKind with a near miss."""

    def kinds(self) -> Sequence[AnyKind]:
        """Every kind that can be used now, by name."""

    def names(self) -> list[str]:
        """The names of all kinds."""
