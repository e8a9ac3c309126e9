"""Dual-MCMC teaching: its losses, its latents, and what a few moves add to an encoder."""

import pytest
import torch
from torch import nn

from engine.errors import BadQuery
from engine.learning.objectives.dual_mcmc import DualMcmc, draw, surprise
from engine.learning.recipe import Recipe
from engine.learning.revision import revised_latents
from engine.learning.train import train
from engine.moves.langevin import Langevin
from tests.support.plane import Plane, gaussians, layers, stream

SPREAD = 0.1
PICTURES, LATENTS = Langevin(1e-4, adjusted=False), Langevin(2e-4, adjusted=False)


def objective(**more) -> DualMcmc:
    told = {"picture_steps": 5, "latent_steps": 10, "noise": 0.1, **more}
    return DualMcmc(2, PICTURES, LATENTS, beta=500.0, spread=SPREAD, **told)


def nets() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {"energy": Plane(32), "generator": layers(2, 32, 2), "encoder": layers(2, 8, 4)}


def test_a_step_moves_generator_encoder_and_energy_in_turn() -> None:
    made = nets()
    updates = objective().updates(made, gaussians(16, 0).x, (), stream(0))
    first, second, third = updates
    assert [u.trains for u in (first, second, third)] == ["generator", "encoder", "energy"]
    encoder = list(made["encoder"].parameters())
    assert not any(
        g is not None and g.any()
        for g in torch.autograd.grad(first.loss, encoder, allow_unused=True)
    )  # latents come to the generator without a graph


def test_the_surprise_is_that_of_normal_numbers() -> None:
    rng = torch.Generator().manual_seed(0)
    belief, z = (torch.randn(7, n, generator=rng, dtype=torch.float64) for n in (6, 3))
    mean, log = belief.chunk(2, 1)
    law = torch.distributions.Normal(mean, (log.exp() + 1e-6).sqrt())
    wanted = -law.log_prob(z).sum(1).mean() - 1.5 * torch.log(torch.tensor(2 * torch.pi))
    torch.testing.assert_close(surprise(belief, z), wanted, atol=1e-5, rtol=1e-5)


def test_what_an_encoder_believes_is_drawn() -> None:
    belief = torch.tensor([[3.0, -1.0, -2.0, 0.0]]).repeat(20_000, 1)
    z = draw(belief, stream(0))
    torch.testing.assert_close(z.mean(0), torch.tensor([3.0, -1.0]), atol=0.03, rtol=0)
    torch.testing.assert_close(z.var(0), torch.tensor([0.1353, 1.0]), atol=0.03, rtol=0.03)


def test_latents_settle_where_the_posterior_of_a_linear_generator_lies() -> None:
    """x = 2 z + 0.5 e, z normal: the mean of z given x is 2 x / (4 + 0.25), its variance 1 / 17."""
    generator = nn.Linear(1, 1)
    with torch.no_grad():
        generator.weight.fill_(2.0)
        generator.bias.zero_()
    seen = torch.full((4_000, 1), 1.5)
    moves = Langevin(2e-3, adjusted=False)
    z = revised_latents(generator, torch.zeros(4_000, 1), seen, 0.5, moves, 200, stream(2))
    assert float(z.mean()) == pytest.approx(3 / 4.25, abs=0.02)
    assert float(z.var()) == pytest.approx(1 / 17, rel=0.12)


def test_moves_improve_what_a_small_encoder_believes() -> None:
    """Reconstructions after ten moves miss by at most half of what they did before."""
    made, examples = nets(), gaussians(2_000, 0)
    train(objective(), made, examples, Recipe(100, 64, 5e-3, average=0.9))
    x = gaussians(1_000, 5).x["x"]
    with torch.no_grad():
        mean = made["encoder"](x).chunk(2, 1)[0]
    moved = revised_latents(made["generator"], mean, x, SPREAD, LATENTS, 10, stream(1))
    with torch.no_grad():
        before, after = (float((made["generator"](t) - x).square().mean()) for t in (mean, moved))
    assert after <= 0.5 * before, (before, after)


@pytest.mark.parametrize("wrong", [{"reconstruct": -1.0}, {"latent_steps": 0}, {"amortize": -1.0}])
def test_what_makes_no_sense_is_refused(wrong: dict) -> None:
    with pytest.raises(BadQuery):
        objective(**wrong)


def test_a_missing_network_is_named() -> None:
    with pytest.raises(BadQuery, match="encoder"):
        objective().start({"energy": Plane(), "generator": nn.Linear(2, 2)}, stream(0))
