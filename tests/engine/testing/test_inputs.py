"""The contract kit and terms with inputs: sound ones pass, planted faults are noticed."""

from typing import Any

import pytest
import torch

from engine import Finite, Input, Real, Term, Variable
from engine.factors import Factors
from engine.testing import check_term

PICTURES = Input("pictures", Real((3, 2), -1, 1))
X = Variable("x", Finite((0, 1, 2), (3,)))


class Reads(Term):
    """A cost for each value of each site, from the picture at it."""

    partial = True
    fixed_structure = True

    def __init__(self):
        super().__init__(PICTURES, X)
        drawn = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
        self.register_buffer("matrix", drawn)

    def costs(self, told: Any) -> torch.Tensor:
        values, present = told
        return (values.float() @ self.matrix) * present[..., None]

    def energy(self, *tensors: Any) -> torch.Tensor:
        told, x = tensors
        return (self.costs(told) * x).sum((1, 2))

    def factors(self, *domains: Any) -> Factors | None:
        told, _ = domains
        return Factors.unary(self.costs((told.tensor, told.present)).numpy())


class SeesTheAbsent(Reads):
    def costs(self, told: Any) -> torch.Tensor:
        values, _ = told
        return (values.float() + 1.0) @ self.matrix


class MixesRows(Reads):
    def energy(self, *tensors: Any) -> torch.Tensor:
        told, x = tensors
        return (self.costs(told).mean(0, keepdim=True) * x).sum((1, 2))


class FollowsWhatItIsTold(Reads):
    def factors(self, *domains: Any) -> Factors | None:
        told, _ = domains
        own = Factors.unary(self.costs((told.tensor, told.present)).numpy())
        return own if bool(told.present.all()) else None


class OtherCosts(Reads):
    def factors(self, *domains: Any) -> Factors | None:
        told, _ = domains
        return Factors.unary(1.0 + self.costs((told.tensor, told.present)).numpy())


class Bright(Term):
    """A rule beside a picture: a value below 2 where it is dark."""

    def __init__(self):
        super().__init__(PICTURES[0], X[0])

    def energy(self, *tensors: Any) -> torch.Tensor:
        picture, x = tensors
        return torch.where(picture.mean(1) < 0, x[:, 2], 0.0 * x[:, 2])

    def holds(self, *values: Any) -> bool | None:
        picture, x = values
        return x < 2 or picture.mean() >= 0


def test_sound_terms_pass() -> None:
    for seed in range(3):
        check_term(Reads(), seed=seed, samples=8)
        check_term(Bright(), seed=seed, samples=8)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (SeesTheAbsent, "what is absent changes its energy"),
        (MixesRows, "in company"),
        (FollowsWhatItIsTold, "follows what it is told"),
        (OtherCosts, "factors cost"),
    ],
)
def test_planted_faults_are_noticed(made: type[Term], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        for seed in range(6):
            check_term(made(), seed=seed, samples=8)  # type: ignore[call-arg]
