"""What a problem may be made of and told, before anything is done with it."""

from collections.abc import Mapping
from typing import Any

from engine.energy import Energy
from engine.errors import BadQuery, Mistake, shown


def check_energy(energy: Any) -> None:
    """Raises BadQuery for what is no energy."""
    if not isinstance(energy, Energy):
        said = f"{shown(energy)} is no energy"
        raise BadQuery(Mistake("energy", said, "give a term, or a sum such as a + 2 * b"))


def check_rows(evidences: Any) -> None:
    """Raises BadQuery for what is no list of rows, or an empty one."""
    if isinstance(evidences, (Mapping, str)):
        said = f"{shown(evidences)} is no list of rows"
        remedy = "write given_rows([{...}, {...}]), or given(name=...) for one row"
        raise BadQuery(Mistake("evidence", said, remedy))
    if not evidences:
        raise BadQuery(Mistake("evidence", "has no row", "give at least one"))
