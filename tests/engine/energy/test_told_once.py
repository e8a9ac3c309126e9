"""What a term makes of its inputs alone: made once for the same numbers, anew for all others."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine import Finite, Given, Input, Real, Variable
from engine.energy import Term, told_once


class Counting(Term):
    """E = what a network says of an input; it counts how often the network is asked."""

    def __init__(self, told: Input, site: Variable):
        super().__init__(told, site)
        self.net = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5)).eval()
        self.calls = 0

    @told_once
    def said(self, told: Any) -> Tensor:
        self.calls += 1
        values = told.values * told.present if isinstance(told, Given) else told
        return self.net(values)

    def energy(self, told: Any, site: Tensor) -> Tensor:
        return self.said(told).sum(-1) + 0 * site.sum(-1)


@pytest.fixture
def term() -> Counting:
    return Counting(Input("told", Real((3,))), Variable("site", Finite((0, 1))))


@pytest.fixture
def told() -> Tensor:
    return torch.rand(5, 3, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_the_same_numbers_are_asked_about_once(term: Counting, told: Tensor) -> None:
    said = term.said(told)
    for again in (told, told.clone(), told.view(5, 3), told.double().float()):
        assert term.said(again) is said
    assert term.calls == 1


def spoiled(x: Tensor) -> Tensor:
    x[2, 1] += 1
    return x


@pytest.mark.parametrize(
    "other",
    [
        lambda x: spoiled(x.clone()),
        spoiled,  # in place: it is the tensor of before
        lambda x: x[:4],
        lambda x: x[[1, 0, 2, 3, 4]],
        lambda x: Given(x, torch.tensor([[True], [True], [False], [True], [True]])),
    ],
)
@torch.no_grad()
def test_other_numbers_are_asked_about(
    term: Counting, told: Tensor, other: Callable[[Tensor], Any]
) -> None:
    term.said(told)
    changed = other(told)
    fresh = copy.deepcopy(term)
    assert torch.equal(term.said(changed), fresh.said(changed))
    assert term.calls == 2


@torch.no_grad()
def test_absence_is_a_part_of_the_numbers(term: Counting, told: Tensor) -> None:
    there = torch.ones(5, 1, dtype=torch.bool)
    whole = term.said(Given(told, there))
    there[3] = False
    part = term.said(Given(told, there))
    assert term.calls == 2 and part[3].abs().sum() != whole[3].abs().sum()
    assert term.said(Given(told.clone(), there.clone())) is part


@torch.no_grad()
def test_states_that_were_told_nothing_may_be_left_out(term: Counting, told: Tensor) -> None:
    there = torch.tensor([True, False, True, True, False])[:, None]
    whole = term.said(Given(told, there))
    some = Given(told[there[:, 0]], there[there])
    part = term.said(Given(some.values, some.present[:, None]))
    assert torch.equal(part, whole[there[:, 0]]) and term.calls == 1
    term.said(Given(some.values + 1, some.present[:, None]))
    assert term.calls == 2


@torch.no_grad()
def test_other_weights_say_something_else(term: Counting, told: Tensor) -> None:
    before = term.said(told).clone()
    term.net[0].weight += 1
    assert not torch.equal(term.said(told), before)
    term.net[0].bias = nn.Parameter(term.net[0].bias + 1)
    assert term.said(told) is term.said(told) and term.calls == 3


def test_slopes_and_chance_are_never_kept(term: Counting, told: Tensor) -> None:
    for _ in range(2):
        (slope,) = torch.autograd.grad(term.said(told).sum(), [term.net[0].bias])
        assert slope.abs().sum() > 0
    assert term.calls == 2
    with torch.no_grad():
        term.train()
        drawn = [term.said(told) for _ in range(20)]
    assert term.calls == 22 and any(not torch.equal(drawn[0], x) for x in drawn)


@torch.no_grad()
def test_a_copy_remembers_nothing(term: Counting, told: Tensor) -> None:
    term.said(told)
    for other in (copy.deepcopy(term), pickle.loads(pickle.dumps(term))):
        assert torch.equal(other.said(told), term.said(told)) and other.calls == 2


@torch.no_grad()
def test_numbers_written_to_behind_torch_are_seen(term: Counting) -> None:
    """By whoever lent them: as an array, or through `.data`."""
    lent = np.zeros((5, 3), dtype=np.float32)
    term.said(torch.from_numpy(lent))
    lent += 1
    told = torch.from_numpy(lent)
    assert torch.equal(term.said(told), copy.deepcopy(term).said(told))
    told.data.add_(1)
    assert torch.equal(term.said(told), copy.deepcopy(term).said(told))
