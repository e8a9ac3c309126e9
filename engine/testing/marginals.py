"""The contract of the chances that a term offers: those of a plain sum over all states."""

import torch

from engine.domain import Domain
from engine.energy import Term, scope_domains
from engine.random import Stream
from engine.testing.states import every_state

NEAR = 1e-4  # absolute; energies are float32


def check_marginals(term: Term, seed: int) -> None:
    """`marginals` of two rows of random evidence that leaves few states, together and apart."""
    variables = term.variables()
    rng = Stream(seed, torch.tensor([seed]))
    rows: dict[str, Domain] = {v.name: v.domain.select([0, 0]) for v in variables}
    for k, v in enumerate(variables[: len(variables) - 1]):
        if k and every_state(rows, 0) and every_state(rows, 1):
            break
        rows[v.name] = v.domain.narrow(v.domain.decode(v.domain.sample(2, rng.fork(k))))
    found = term.marginals(*scope_domains(term, rows))
    for row in range(2):
        states = every_state(rows, row)
        apart = {name: domain.select([row]) for name, domain in rows.items()}
        alone = term.marginals(*scope_domains(term, apart))
        assert (found is None) == (alone is None), f"{term.label}: marginals depend on the batch"
        if found is None or alone is None or states is None:
            continue
        p = (-term(states).double()).softmax(0)
        tensors = term.hot(term.views(states))
        for k, (x, together, own) in enumerate(zip(tensors, found, alone, strict=True)):
            wanted = torch.tensordot(p, x.double(), 1)
            for told in (together[row], own[0]):
                assert told.shape == wanted.shape and bool(((told - wanted).abs() < NEAR).all()), (
                    f"{term.label}: marginals are {told.tolist()} for scope entry {k}, and they "
                    f"should be {wanted.tolist()}"
                )
