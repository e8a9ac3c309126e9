"""What is told of a kind of term: one description, whoever asks for it and wherever it is."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a client needs the description alone, not what computes
    from modules.catalogue import AnyKind


@dataclass(frozen=True)
class KindDescription:
    """A kind of term, with the fields of the command line's contract."""

    kind: str  # its name
    about: str  # in one line
    required_by_default: bool
    calibrated: bool
    parameters: dict[str, Any]  # JSON Schema


def describe(kind: "AnyKind") -> KindDescription:
    """The description of a kind. Raises what its parameters raise, where they are somebody's."""
    return KindDescription(
        kind.name, kind.about, kind.required_by_default, kind.calibrated, kind.schema
    )
