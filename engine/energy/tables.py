"""A term over few combinations as one table of their energies."""

import math
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from engine.domain import Domain, Finite
from engine.factors import Factors

if TYPE_CHECKING:
    from engine.energy.term import Term


JUDGED = 16  # combinations whose verdicts are asked for in one go
ENUMERATED = 4096  # combinations up to which a term's default structure is one enumerated table


def enumerate_table(
    term: "Term", domains: Sequence[Domain], weight: float | None = 1.0
) -> Factors | None:
    """A term over few combinations as one table: weight times the energy of each; weight None:
    infinite where the rule does not hold. None also where an energy is no number, and where the
    rule cannot say whether it holds."""
    pieces = enumerate_in_pieces(term, domains, weight)
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            return end.value


def enumerate_in_pieces(
    term: "Term", domains: Sequence[Domain], weight: float | None
) -> Generator[None, None, Factors | None]:
    """`enumerate_table` in pieces, for whoever looks at the clock between them."""
    if not all(isinstance(d, Finite) for d in domains):
        return None
    choices: list[list[int]] = []
    for domain in domains:
        assert isinstance(domain, Finite)
        flat = domain.allowed.any(0).reshape(domain.sites, -1)
        choices += [site.nonzero().reshape(-1).tolist() for site in flat]
    if math.prod(len(c) for c in choices) > ENUMERATED or not choices:
        return None
    tuples = torch.cartesian_prod(*(torch.tensor(c) for c in choices)).reshape(-1, len(choices))
    tensors, start = [], 0
    for domain in domains:
        assert isinstance(domain, Finite)
        index = tuples[:, start : start + domain.sites]
        hot = torch.nn.functional.one_hot(index, len(domain.values)).to(term.dtype)
        tensors.append(hot.reshape(-1, *domain.event))
        start += domain.sites
    with torch.no_grad():
        costs = term.energy(*tensors).double()
    if bool((costs.isnan() | (costs == -math.inf)).any()):
        return None
    sizes, places = Factors.sizes_of(domains), tuples.numpy()
    if weight is not None:
        table = Factors.table(sizes, places, costs.cpu().numpy(), math.inf, computed=True)
        return replace(table, tables=tuple(t.weighed(weight) for t in table.tables))
    columns = [domain.decode(x) for domain, x in zip(domains, tensors, strict=True)]
    every = list(zip(*columns, strict=True))
    verdicts: list[bool | None] = []
    for first in range(0, len(every), JUDGED):
        verdicts += term.verdicts(every[first : first + JUDGED])
        if None in verdicts:
            return None
        yield
    forbidden = np.array([holds is False for holds in verdicts])
    return Factors.table(sizes, places, np.where(forbidden, math.inf, 0.0), math.inf)
