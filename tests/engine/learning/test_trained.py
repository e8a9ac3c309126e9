"""Objectives trained to the end on what is known: a Gaussian law, eight heaps of the plane."""

import torch
from torch import Tensor, nn

from engine.domain import Real, Variable
from engine.energy import Term
from engine.learning.corruptions import Gaussian
from engine.learning.examples import Stored
from engine.learning.objectives.energy_discrepancy import EnergyDiscrepancy
from engine.learning.objectives.hat import HatSynthesis
from engine.learning.objectives.max_entropy_irl import SharedValue
from engine.learning.recipe import Recipe
from engine.learning.revision import normal
from engine.learning.train import train
from engine.moves.langevin import Langevin
from tests.support.plane import Plane, gaussians, layers, stream
from tests.support.refining import area, ends, even_noise, fresh, modes, refined, sliced

SHAPE = (3, 2)


class Bowl(Term):
    """E = sum (x - m)^2 / (2 s^2), a middle and a width for each pixel."""

    affine = False

    def __init__(self):
        super().__init__(Variable("picture", Real(SHAPE)))
        self.middle = nn.Parameter(torch.zeros(SHAPE))
        self.width = nn.Parameter(torch.zeros(SHAPE))  # ln s

    def energy(self, picture: Tensor) -> Tensor:  # (B, h, w) -> (B,)
        away = (picture - self.middle) / self.width.exp()
        return 0.5 * away.square().flatten(1).sum(1)


def test_energy_discrepancy_finds_the_law_of_pictures() -> None:
    """Pixels of known means and spreads: both come back."""
    middle = torch.linspace(-0.5, 0.5, 6).reshape(SHAPE)
    spread = torch.linspace(0.3, 0.8, 6).reshape(SHAPE)
    drawn = torch.randn(4_000, *SHAPE, generator=torch.Generator().manual_seed(0))
    data, energy = Stored({"picture": middle + spread * drawn}), Bowl()
    objective = EnergyDiscrepancy(Gaussian(("picture",), 0.4), negatives=32)
    train(objective, {"energy": energy}, data, Recipe(400, 256, 2e-2, average=0.95))
    with torch.no_grad():
        assert float((energy.middle - middle).abs().max()) < 0.06
        assert float((energy.width.exp() / spread - 1).abs().max()) < 0.1


def test_synthesis_teaches_a_generator_the_plane() -> None:
    torch.manual_seed(0)
    generator, energy = layers(2, 64, 2), Plane(64)
    z, test = normal(stream(5), 2_000, 2, torch.zeros(1)), gaussians(2_000, 7).x["x"]

    def distance() -> float:
        with torch.no_grad():
            return sliced(generator(z), test)

    before = distance()
    objective = HatSynthesis(2, Langevin(0.01, adjusted=False), 15, bank=2_000, penalty=0.01)
    recipe = Recipe(200, 128, 3e-3, average=0.95)
    train(objective, {"energy": energy, "generator": generator}, gaussians(4_000, 0), recipe)
    assert distance() < 0.5 * before


def test_an_energy_that_is_its_own_value_finds_eight_heaps() -> None:
    energy, refiner = refined(SharedValue(), 5, 250, 0)
    x, made = fresh(9), ends(refiner, 9)
    assert sliced(made, x) < 0.4 and modes(made) == 8
    with torch.no_grad():
        assert area(energy.energy(x), energy.energy(even_noise(9))) > 0.75
    assert bool(refiner.log_sigma.isfinite().all())
