"""Objectives that no kind that ships is trained by: Hat EBM's synthesis, DxMI whose energy is its
own value, energy discrepancy on pictures."""

import torch

from benchmarks._fidelity import digits, figures, mean, sliced, spread
from benchmarks.common import Row, at_least, at_most
from engine.domain import Real, Variable
from engine.learning.corruptions import Gaussian
from engine.learning.examples import Stored
from engine.learning.objectives.energy_discrepancy import EnergyDiscrepancy
from engine.learning.objectives.hat import HatSynthesis
from engine.learning.objectives.max_entropy_irl import SharedValue
from engine.learning.recipe import Recipe
from engine.learning.revision import normal
from engine.learning.train import train
from engine.moves.langevin import Langevin
from modules.image._generated.networks import Judge
from modules.image._generated.term import PICTURE, Judging
from tests.support import refining
from tests.support.plane import Plane, gaussians, layers, stream

STEPS, NEGATIVES, WIDTH = 300, 16, 0.15
UPDATES = 300


def rows(seed: int, seeds: int) -> list[Row]:
    """All rows."""
    every = range(seed, seed + seeds)
    made = [figures(f"synthesis {STEPS} {s}", lambda s=s: synthesis(s)) for s in every]
    steps = [figures(f"shared {UPDATES} {s}", lambda s=s: shared(s)) for s in every]
    apart = [figures(f"discrepancy {STEPS} {s}", lambda s=s: discrepancy(s)) for s in every]
    return [
        at_most(
            f"Hat EBM by synthesis, 8gaussians, {seeds} seeds: sliced Wasserstein of the generator",
            mean(made, "after"), 0.5 * mean(made, "before"), "",
            peer="the generator before", peer_value=mean(made, "before"),
            note=f"{spread(made, 'after')}; {STEPS} steps of batches of 128",
        ),
        at_most(
            f"DxMI with the energy as its value, 8 Gaussians, 5 steps, {seeds} seeds: sliced "
            "Wasserstein distance of the sampler",
            mean(steps, "distance"), 0.3, "",
            note=f"{spread(steps, 'distance')}; modes {spread(steps, 'modes')}; {UPDATES} updates",
        ),
        at_least(
            "the same: chance that even noise costs more than a point", mean(steps, "area"),
            None, "", note=spread(steps, "area"),
        ),
        at_least(
            f"Energy discrepancy on 8x8 digits, {seeds} seeds: chance that even noise costs more",
            mean(apart, "even"), 0.99, "",
            note=f"{spread(apart, 'even')}; {STEPS} steps of batches of 64, {NEGATIVES} negatives, "
            f"Gaussian noise of {WIDTH}",
        ),
        at_least(
            "the same: chance that digits with rows exchanged cost more", mean(apart, "rows"),
            None, "", note=spread(apart, "rows"),
        ),
    ]  # fmt: skip


def synthesis(seed: int) -> dict[str, float]:
    """Generator and energy teach each other in the plane."""
    torch.manual_seed(seed)
    generator, energy = layers(2, 64, 2), Plane(64)
    z, test = (
        normal(stream(seed + 5), 4_000, 2, torch.zeros(1)),
        gaussians(4_000, seed + 100).x["x"],
    )

    def distance() -> float:
        with torch.no_grad():
            return sliced(generator(z), test)

    before = distance()
    objective = HatSynthesis(2, Langevin(0.01, adjusted=False), 20, bank=2_000, penalty=0.01)
    recipe = Recipe(STEPS, 128, 1e-3, average=0.95, seed=seed)
    train(objective, {"energy": energy, "generator": generator}, gaussians(10_000, seed), recipe)
    return {"before": before, "after": distance()}


def shared(seed: int) -> dict[str, float]:
    """Eight Gaussians by five steps."""
    energy, refiner = refining.refined(SharedValue(), 5, UPDATES, seed)
    x, made = refining.fresh(seed + 9), refining.ends(refiner, seed + 9)
    with torch.no_grad():
        area = refining.area(energy.energy(x), energy.energy(refining.even_noise(seed + 9)))
    distance = refining.sliced(made, x)
    return {"distance": distance, "modes": float(refining.modes(made)), "area": area}


def discrepancy(seed: int) -> dict[str, float]:
    """No sampler at all: digits against digits under noise."""
    data = digits(seed)
    torch.manual_seed(seed)
    judge = Judge(64, (128, 128))
    energy = Judging(Variable(PICTURE, Real((8, 8), 0.0, 1.0)), judge)
    objective = EnergyDiscrepancy(Gaussian((PICTURE,), WIDTH), NEGATIVES)
    recipe = Recipe(STEPS, 64, 1e-3, average=0.95, seed=seed)
    train(objective, {"energy": energy}, Stored({PICTURE: data.learned}), recipe)
    even = torch.rand(data.held.shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        usual, odd = judge(data.held), judge(data.held[:, [1, 0, 3, 2, 5, 4, 7, 6]])
        return {
            "even": refining.area(usual, judge(even)),
            "rows": refining.area(usual, odd),
        }
