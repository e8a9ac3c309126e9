"""The device that every machine has: what mixes is refused, what does not computes as here."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from engine.minimizers.gibbs import Gibbs
from engine.moves.gradient import Frame
from engine.testing import check_minimizer, check_term, elsewhere
from engine.testing.elsewhere import Mixed
from tests.support.costs import Costs, X
from tests.support.terms import opaque_problem

Two = Callable[[Tensor, Tensor], object]

REFUSED: dict[str, Two] = {
    "sum": lambda x, y: x + y,
    "number away": lambda x, y: y + x[0],
    "cat": lambda x, y: torch.cat([x, y]),
    "cat of numbers": lambda x, y: torch.stack([x[0], y[0]]),
    "where": lambda x, y: torch.where(x > 0, x, y),
    "gather": lambda x, y: x.gather(0, y.long()),
    "index_copy": lambda x, y: x.index_copy(0, y.long(), x),
    "index_add": lambda x, y: x.index_add(0, y.long(), x),
    "index from away": lambda x, y: y[x.long()],
    "product": lambda x, y: x @ y,
    "in place": lambda x, y: x.add_(y),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_mixes_is_refused(case: str) -> None:
    with elsewhere() as device:
        x, y = torch.zeros(3, device=device), torch.zeros(3)
        with pytest.raises(Mixed, match="meet"):
            REFUSED[case](x, y)
        REFUSED[case](x, y.to(device))


def test_numpy_takes_nothing_from_elsewhere() -> None:
    with elsewhere() as device:
        x = torch.arange(3, device=device)
        with pytest.raises(Mixed, match="cpu"):
            x.numpy()
        assert x.cpu().numpy().tolist() == x.tolist() == [0, 1, 2]


def test_what_cuda_allows_is_allowed() -> None:
    with elsewhere() as device:
        x = torch.arange(4.0, device=device)
        assert (x + torch.tensor(1.0)).tolist() == [1, 2, 3, 4]
        assert x[torch.tensor([2, 0])].tolist() == x[[2, 0]].tolist() == [2, 0]
        assert x[torch.tensor([True, False, False, True])].tolist() == [0, 3]
        x[[0, 1]] = 5.0
        x[2:] = torch.ones(2)
        assert x.tolist() == [5, 5, 1, 1] and x.new_tensor([2]).tolist() == [2]
        assert torch.zeros(2).copy_(x[:2]).tolist() == [5, 5]


@given(st.integers(0, 1000))
def test_networks_learn_the_same_there(seed: int) -> None:
    def learned(device: torch.device) -> list[list[float]]:
        g = torch.Generator().manual_seed(seed)
        net, x = nn.Linear(3, 2, dtype=torch.float64), torch.randn(5, 3, generator=g).double()
        with torch.no_grad():
            net.weight.copy_(torch.randn(2, 3, generator=g))
            net.bias.zero_()
        net = net.to(device)
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            net(x.to(device)).square().sum().backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
        return net.weight.tolist()

    with elsewhere() as device:
        there = learned(device)
    assert there == learned(torch.device("cpu"))


class Behind(Gibbs):
    """Plants: the site of each literal is told on the host."""

    def init(self, problem, x, rng):
        s = super().init(problem, x, rng)
        return s._replace(frame=Frame(s.frame.finite, s.frame.real, s.frame.owner.cpu()))


class Reports(Gibbs):
    """Plants: what is reported lies on the host."""

    def report(self, problem, s):
        return super().report(problem, s).to("cpu")


@pytest.mark.parametrize(("planted", "match"), [(Behind, "meet"), (Reports, "another device")])
def test_a_minimizer_that_mixes_is_caught(planted: type[Gibbs], match: str) -> None:
    with pytest.raises(AssertionError, match=match):
        check_minimizer(planted(steps=30), opaque_problem(), particles=3, steps=3)


class Made(Costs):
    """Plants: a tensor made on the host meets the states."""

    def energy(self, *tensors):
        return super().energy(*tensors) * torch.ones(len(tensors[0]))


class Arrays(Costs):
    """Plants: places of the states are taken for an array."""

    def cost(self, *tensors):
        return self.energy(*self.hot(tensors)) + 0 * float(tensors[0].numpy().sum())


@pytest.mark.parametrize(("planted", "match"), [(Made, "meet"), (Arrays, "no array")])
def test_a_term_that_mixes_is_caught(planted: type[Costs], match: str) -> None:
    with pytest.raises(AssertionError, match=match):
        check_term(planted(X))
