"""What a smallest change is asked for: what is wanted, and what must stay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import BadQuery, Mistake
from services.query.model import Options


@dataclass(frozen=True)
class Wish:
    """What is wanted instead of the values of every row, and what must stay."""

    wanted: Mapping[str, Any]  # evidence, which takes the place of the row's own where it is given
    keep: Sequence[str] = ()  # variables whose given sites stay


def check_searched(options: Options) -> None:
    """Raises BadQuery for `score`, which is no search."""
    if options.score:
        remedy = "leave it out, or score the row alone"
        raise BadQuery(Mistake("options.score", "finds no smallest change", remedy))
