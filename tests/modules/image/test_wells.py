"""Wells of an energy of pictures: their formula, where they begin, and what lies far from them."""

import math
from pathlib import Path

import pytest
import torch

from engine import Problem, Real, Variable, answers
from engine.learning.examples import Stored
from engine.learning.objectives.contrastive_divergence import ContrastiveDivergence
from engine.learning.optimizers import Adam
from engine.learning.recipe import Recipe
from engine.learning.train import train
from engine.moves.langevin import Langevin
from engine.solve.budget import Budget
from modules.image._generated.networks import Judge, Wells
from modules.image._generated.pictures import pictures_of
from modules.image._generated.term import PICTURE, Judging
from modules.image.classifier.examples import scikit_digits
from modules.image.classifier.reader import load_reader
from modules.image.hat.term import Hat
from modules.image.taught.term import Taught
from tests.support.refining import area

WEIGHTS = "digits8.safetensors"


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_energy_is_that_of_the_formula() -> None:
    wells, x = Wells(4, 3), drawn(5, 4)
    with torch.no_grad():
        for k, p in enumerate(wells.parameters()):
            p.copy_(drawn(*p.shape, seed=k + 1) - 0.3)
        got = wells(x)
        for row, energy in zip(x, got, strict=True):
            total = 0.0
            for m, level, r in zip(wells.middle, wells.level, wells.radius.exp(), strict=True):
                away = (wells.scale.exp() * (row - m)).square().sum()
                total += math.exp(float(level - away / (2 * r * r)))
            assert float(energy) == pytest.approx(-math.log(total), abs=1e-4)


def test_they_begin_at_pictures() -> None:
    wells, x = Wells(4, 5), drawn(3, 2, 2)
    wells.laid(x, 0.1)
    assert torch.equal(wells.middle.detach(), x.flatten(1)[[0, 1, 2, 0, 1]])
    with torch.no_grad():
        assert float(wells(x.flatten(1)).max()) <= 0 < float(wells(x.flatten(1) + 1).min())


def test_without_wells_an_energy_is_its_layers() -> None:
    judge, x = Judge(4, [3]), drawn(5, 2, 2)
    assert judge.wells is None and len(list(judge.parameters())) == 4
    assert torch.equal(judge(x), judge.body(2 * x.flatten(1) - 1)[:, 0])


@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_even_noise_costs_more_after_a_few_steps_of_any_order(gamma: float) -> None:
    pictures = pictures_of(Path("digits"), 0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        judge = Judge(64, [32], 128)
    assert judge.wells is not None
    judge.wells.laid(pictures.learned, 0.2)
    energy = Judging(Variable(PICTURE, Real((8, 8), 0.0, 1.0)), judge)
    objective = ContrastiveDivergence(Langevin(2e-3, adjusted=False), 4, buffer=100, gamma=gamma)
    recipe = Recipe(10, 32, optimizers={"energy": Adam(1e-3)}, average=None, every=10)
    train(objective, {"energy": energy}, Stored({PICTURE: pictures.learned}), recipe)
    with torch.no_grad():
        assert area(judge(pictures.held), judge(drawn(200, 8, 8))) >= 0.99


@pytest.mark.parametrize("kind", [Hat, Taught])
def test_a_hidden_half_is_found_again(kind) -> None:
    """Twenty digits that were not learned from: most are read as what they were."""
    held = pictures_of(Path("digits"), 0).held[:20]
    told = torch.tensor([int(label) for label in scikit_digits().labels])
    order = torch.randperm(len(told), generator=torch.Generator().manual_seed(0))
    rows = [{"picture": [[*row[:4], *[None] * 4] for row in x]} for x in held.tolist()]
    problem = Problem(1.0 * kind(Variable("picture", Real((8, 8), 0.0, 1.0)), WEIGHTS))
    every = answers(problem.given_rows(rows), particles=8, budget=Budget(steps=60))
    found = torch.tensor([one.values["picture"] for one in every]).float()
    read = load_reader(WEIGHTS).log_chances(found, None, "light").argmax(1)
    assert int((read == told[order[:20]]).sum()) >= 16
