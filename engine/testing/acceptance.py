"""The law of acceptance bands: one verdict for each site, the same whatever rows stand beside."""

import torch

from engine.domain import State
from engine.energy import Term, accepted_sites
from engine.errors import BadQuery

ROWS = 4


def check_acceptance(term: Term, decided: State) -> None:
    """Raises AssertionError."""
    if type(term).accepts is Term.accepts:
        return
    rows = min(ROWS, len(next(iter(decided.values()))))
    domains = [view.of(view.variable.domain).select([0] * rows) for view in term.scope]
    state = {name: x[:rows] for name, x in decided.items()}
    try:
        together = accepted_sites(term, domains, state)
    except BadQuery as error:
        raise AssertionError(str(error)) from None
    for row in range(rows):
        one = {name: x[row : row + 1] for name, x in state.items()}
        alone = accepted_sites(term, [domain.select([row]) for domain in domains], one)
        same = alone is None if together is None else alone is not None
        assert same, f"{term.label}: accepts has a band in some rows only"
        if together is not None and alone is not None:
            equal = torch.equal(alone[0], together[row])
            assert equal, f"{term.label}: accepts depends on the rows beside"
