"""What a problem may be made of and told, before anything is done with it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from engine.domain import Told
from engine.energy import Energy, Summand, Term, leaves_of
from engine.errors import BadQuery, Mistake, shown

FLOAT32 = torch.finfo(torch.float32).max


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


def check_told(summands: Sequence[Summand], told: Mapping[str, Told]) -> None:
    """Raises BadQuery where a term that needs every entry of an input lacks one, or is told a
    number that its type does not hold."""
    partly = any(not bool(one.complete.all()) for one in told.values())
    far = any(_farthest(one) > FLOAT32 for one in told.values())
    if not partly and not far:
        return
    for summand, term in ((s, term) for s in summands for term in leaves_of(s.term)):
        who = summand.label if term is summand.term else f"{term.label} of {summand.label}"
        for view in term.scope:
            name = view.variable.name
            seen = view.of(told[name]) if name in told else None
            if isinstance(seen, Told):
                _check_complete(seen, term, name, who)
                _check_held(seen, term, name, who)


def _check_complete(seen: Told, term: Term, name: str, who: str) -> None:
    if term.partial or bool(seen.complete.all()):
        return
    row = int((~seen.complete).nonzero()[0])
    entry = int((~seen.present[row]).nonzero()[0])
    problem = f"entry {entry} is absent, and {who} needs it"
    remedy = "give it, or leave the whole input out"
    raise BadQuery(Mistake(f"evidence.{name}", problem, remedy))


def _check_held(seen: Told, term: Term, name: str, who: str) -> None:
    most = torch.finfo(term.dtype).max
    if _farthest(seen) <= most:
        return
    far = float(seen.tensor[seen.tensor.abs() > most][0])
    said = str(term.dtype).removeprefix("torch.")
    problem = f"{far:g} is more than the {said} of {who} holds"
    raise BadQuery(Mistake(f"evidence.{name}", problem, "give numbers on a smaller scale"))


def _farthest(told: Told) -> float:
    """The greatest number it holds, whatever its sign; 0 where float32 holds all."""
    if told.tensor.dtype != torch.float64 or not told.tensor.numel():
        return 0.0
    least, most = told.tensor.aminmax()
    return max(-float(least), float(most))
