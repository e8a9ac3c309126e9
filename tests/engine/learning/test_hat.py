"""Hat EBM: what the gradient hangs on, what moves, and a decoder that becomes a sampler."""

import pytest
import torch

from benchmarks._fidelity import sliced
from engine.errors import BadQuery
from engine.learning.objective import problem_of
from engine.learning.objectives.autoencoding import Autoencoding, on_sphere
from engine.learning.objectives.hat import HatRefinement, HatSynthesis, PairBank
from engine.learning.recipe import Recipe
from engine.learning.revision import (
    CORRECTION,
    LATENT,
    hat_problem,
    normal,
    revised_latents,
    revised_pairs,
    revised_pictures,
)
from engine.learning.train import train
from engine.moves.langevin import Langevin
from tests.support.plane import Plane, gaussians, layers, stream

MOVES = Langevin(1e-4, adjusted=False, steps={"latent": 4e-3})


def nets(seed: int = 0) -> dict[str, torch.nn.Module]:
    torch.manual_seed(seed)
    return {"energy": Plane(), "generator": layers(2, 32, 2)}


def test_the_gradient_of_data_does_not_hang_on_the_latent() -> None:
    """Any x is y + G(z) with y = x - G(z): the energy of the pair is that of x."""
    made = nets()
    energy, generator = made["energy"], made["generator"]
    problem = hat_problem(energy, generator, 2)
    x = gaussians(64, 0).x["x"]
    found = []
    for seed in range(2):
        z = normal(stream(seed), 64, 2, x)
        y = x - generator(z).detach()
        energies = problem.totals({LATENT: z, CORRECTION: y}).energy
        found.append(torch.autograd.grad(energies.mean(), list(energy.parameters())))
    plain = torch.autograd.grad(energy({"x": x}).mean(), list(energy.parameters()))
    for first, second, third in zip(*found, plain, strict=True):
        assert (first - second).abs().max() < 1e-6
        assert (first - third).abs().max() < 1e-6


def test_moves_of_pairs_are_those_written_out() -> None:
    """One move of z and y by hand, with the noise of the kernel taken out by its own stream."""
    made = nets()
    z = normal(stream(3), 16, 2, torch.zeros(1))
    still = Langevin(1e-12, adjusted=False, steps={"latent": 2e-12})
    there, x = revised_pairs(
        hat_problem(made["energy"], made["generator"], 2), z, still, 1, stream(4), beta=1e10
    )
    leaf = z.clone().requires_grad_()
    begun = made["generator"](leaf)
    begun.retain_grad()
    made["energy"]({"x": begun}).sum().backward()
    wanted = z - 2e-2 * leaf.grad
    torch.testing.assert_close(there, wanted, atol=1e-4, rtol=1e-4)
    corrected = made["generator"](wanted) - 1e-2 * begun.grad
    torch.testing.assert_close(x, corrected.detach(), atol=1e-4, rtol=1e-4)


def test_a_decoder_becomes_a_sampler() -> None:
    """Eight heaps: what a decoder makes of normal codes, and after moves under its hat."""
    examples, seed = gaussians(4_000, 0), 0
    torch.manual_seed(seed)
    encoder, decoder = layers(2, 32, 2), layers(2, 32, 2)
    code = {"encoder": encoder, "generator": decoder}
    train(Autoencoding(2, "x"), code, examples, Recipe(150, 128, 5e-3, average=0.9))
    decoder.requires_grad_(False)
    objective = HatRefinement(2, MOVES, steps=15, beta=500.0)
    both = {"energy": Plane(), "generator": decoder}
    train(objective, both, examples, Recipe(150, 64, 3e-3, average=0.95))
    z = normal(stream(5), 2_000, 2, torch.zeros(1))
    problem = hat_problem(both["energy"], decoder, 2)
    _, moved = revised_pairs(problem, z, MOVES, 30, stream(6), 500.0)
    test = gaussians(2_000, 7).x["x"]
    before, after = sliced(decoder(z), test), sliced(moved, test)
    assert after <= 0.5 * before, (before, after)


def test_synthesis_learns_from_old_pairs() -> None:
    """The bank begins at what the generator makes; a step puts in as many new pairs as it draws."""
    made = nets()
    objective = HatSynthesis(2, Langevin(1e-4, adjusted=False), steps=3, bank=50)
    first = objective.start(made, stream(0))
    torch.testing.assert_close(first.x, made["generator"](first.z).detach())
    updates = objective.updates(made, {"x": gaussians(8, 0).x["x"]}, first, stream(1))
    names = []
    while True:
        try:
            names.append(next(updates).trains)
        except StopIteration as end:
            last: PairBank = end.value
            break
    assert names == ["energy", "generator"]
    assert int((last.z != first.z).any(1).sum()) == 8 == int((last.x != first.x).any(1).sum())


def test_pixels_that_are_absent_pull_no_latent() -> None:
    made = nets()["generator"]
    z = normal(stream(3), 4, 2, torch.zeros(1))
    seen = torch.tensor([[1.0, 99.0]]).repeat(4, 1)
    there = torch.tensor([[1.0, 0.0]]).repeat(4, 1)
    moves = Langevin(1e-3, adjusted=False)
    first = revised_latents(made, z, seen, 0.5, moves, 5, stream(1), there)
    seen[:, 1] = -99.0
    second = revised_latents(made, z, seen, 0.5, moves, 5, stream(1), there)
    assert torch.equal(first, second) and not torch.equal(first, z)


def test_pictures_move_downhill_and_stay_in_their_box() -> None:
    energy = nets()["energy"]
    x = gaussians(200, 0).x["x"]
    moved = revised_pictures(energy, x, Langevin(1e-8, adjusted=False), 20, stream(0), 1e6)
    assert energy({"x": moved}).mean() < energy({"x": x}).mean()
    assert problem_of(energy).rows == 1


@pytest.mark.parametrize("wrong", [{"latent": 0}, {"steps": 0}, {"sampler": Langevin(1e-3)}])
def test_what_makes_no_sense_is_refused(wrong: dict) -> None:
    told = {"latent": 2, "sampler": MOVES, "steps": 3, **wrong}
    with pytest.raises(BadQuery):
        HatRefinement(**told)
    with pytest.raises(BadQuery):
        HatSynthesis(**told)


def test_a_missing_network_is_named() -> None:
    with pytest.raises(BadQuery, match="generator"):
        HatRefinement(2, MOVES).start({"energy": Plane()}, stream(0))


def test_codes_lie_on_a_sphere() -> None:
    code = on_sphere(torch.randn(5, 9, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(code.norm(dim=1), torch.full((5,), 3.0))
