"""The contract of a rule that knows its cheapest states: those of a plain loop over all states."""

import numpy as np

from engine.domain import Finite
from engine.energy import Term, plain_scope
from engine.testing.states import every_state

TRIES, DEAR = 12, 6


def check_cheapest(term: Term, seed: int) -> None:
    """`cheapest` under random costs, of which some are 0 and some below, where random values are
    ruled out: the rule holds there, it is allowed, and of all such states none costs less; None
    exactly where there is none. Rules over more states than are listed are left out."""
    variables = term.variables()
    finite = all(isinstance(v.domain, Finite) for v in variables)
    sites = [(v.variable.name, place) for v in term.scope for place in v.places.reshape(-1)]
    if not term.chooses or not finite or len(set(sites)) < len(sites):
        return
    states = every_state({v.name: v.domain for v in variables})
    if states is None:
        return
    count = len(next(iter(states.values())))
    plain = {v.name: v.domain.decode(states[v.name]) for v in variables}
    every = (plain_scope(term, {n: x[row] for n, x in plain.items()}) for row in range(count))
    kept = np.array([term.holds(*values) is True for values in every])
    places = np.stack([states[name].reshape(count, -1)[:, k].numpy() for name, k in sites], 1)
    domains = [v.variable.domain for v in term.scope for _ in range(v.places.size)]
    size = np.array([d.event[-1] for d in domains])
    rng, row = np.random.default_rng(seed), np.arange(len(sites))
    for k in range(TRIES):
        costs = rng.integers(-DEAR, DEAR + 1, (len(sites), int(size.max())))
        allowed = rng.random(costs.shape) < (0.7 if k else 1.0)
        allowed[row, rng.integers(0, size)] = True
        allowed &= np.arange(costs.shape[1]) < size[:, None]
        there = kept & allowed[row, places].all(1)
        found = term.cheapest(costs.copy(), allowed.copy())
        said = f"{term.label}: cheapest under costs {costs.tolist()} and {allowed.tolist()}"
        assert (found is not None) == bool(there.any()), f"{said} gives {found}"
        if found is None:
            continue
        where = (places == found).all(1)
        assert bool((where & there).any()), f"{said} gives {found}, where the rule fails"
        least = int(costs[row, places].sum(1)[there].min())
        own = int(costs[row, found].sum())
        assert own == least, f"{said} gives {found} at {own}, and {least} is possible"
