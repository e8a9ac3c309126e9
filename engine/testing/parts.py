"""The contract of violation by part: at least 0 each, and together the energy."""

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.energy import Term
from engine.energy.parts import spared
from engine.testing.numbers import NEAR, all_near, first_of


def check_parts(term: Term, tensors: Sequence[Tensor]) -> None:
    """`violation` of some states, and of the last of them alone."""
    with torch.no_grad():
        energy, before = term.energy(*tensors), [x.clone() for x in tensors]
        parts, again = term.violation(*tensors), term.violation(*tensors)
        alone = term.violation(*(x[-1:] for x in tensors))
    assert parts.dim() == 2 and len(parts) == len(energy) and parts.is_floating_point(), (
        f"{term.label}: violation of {len(energy)} states is {parts.dtype} of shape "
        f"{tuple(parts.shape)}, not ({len(energy)}, parts)"
    )
    assert torch.equal(parts, again), f"{term.label}: violation of the same states differs"
    for k, (x, y) in enumerate(zip(tensors, before, strict=True)):
        assert torch.equal(x, y), f"{term.label}: violation changes the tensor of scope entry {k}"
    assert alone.shape == parts[-1:].shape and all_near(alone, parts[-1:]), (
        f"{term.label}: violation of a state is {alone.tolist()}, in a batch {parts[-1:].tolist()}"
    )
    assert all_near(parts.sum(1), energy), (
        f"{term.label}: violation sums to {parts.sum(1).tolist()}, and the energy is "
        f"{energy.tolist()}"
    )
    low = parts.amin(1) < -NEAR if parts.shape[1] else torch.zeros(0, dtype=torch.bool)
    bounded = term.required_by_default or term.squared
    assert not (bounded and low.any()), (
        f"{term.label}: violation at state {first_of(low)} is {parts[first_of(low)].tolist()}, "
        "and no part may be below 0"
    )


def clean(term: Term, tensors: Sequence[Tensor]) -> list[bool]:
    """Whether no part of a state is violated, for each of some states."""
    with torch.no_grad():
        parts = term.violation(*tensors)
    return (spared(parts, term.tolerance) == 0).all(1).tolist()
