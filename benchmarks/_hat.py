"""Hat EBM: an energy on top of a generator, in the plane and on digits."""

from pathlib import Path

import torch

from benchmarks._fidelity import digits, fidelity, figures, floor, mean, sliced, spread
from benchmarks.common import Row, at_least, at_most
from engine.domain import Real, Variable
from engine.energy.lesson import Lesson
from engine.learning.objectives.autoencoding import Autoencoding
from engine.learning.objectives.hat import HatRefinement
from engine.learning.recipe import Recipe
from engine.learning.revision import (
    CORRECTION,
    LATENT,
    hat_problem,
    normal,
    revised_pairs,
)
from engine.learning.train import train
from engine.moves.langevin import Langevin
from modules.image._generated.pictures import Pictures
from modules.image._generated.term import PICTURE, Judging
from modules.image.hat.train import HatOptions, learned
from tests.support.plane import Plane, gaussians, layers, stream

STEPS, IN_PLANE = 600, 300  # on digits, in the plane
PLAIN = HatOptions(pointing=0.0, drift=0.05, faster=40.0, rate=1e-3, wells=0)  # as published


def rows(seed: int, seeds: int) -> list[Row]:
    """All rows."""
    every = range(seed, seed + seeds)
    plane = [figures(f"hat plane {s}", lambda s=s: in_plane(s)) for s in every]
    own = [figures(f"hat digits {s} {STEPS}", lambda s=s: on_digits(s)) for s in every]
    scale = f"{STEPS} steps"
    real = f"{scale}; {spread(own, 'floor')}; {spread(own, 'decoder')}; {spread(own, 'hat')}"
    said = f"{IN_PLANE} steps; {spread(plane, 'decoder')}; {spread(plane, 'hat')}; {spread(plane, 'floor')}"
    return [
        at_most(
            "Hat EBM: greatest difference of the gradient of data by two latents",
            max(one["gradient"] for one in plane),
            1e-6,
            "",
        ),
        at_most(
            f"Hat EBM, 8gaussians, {seeds} seeds: sliced Wasserstein of samples",
            mean(plane, "hat"),
            0.5 * mean(plane, "decoder"),
            "",
            peer="the decoder alone",
            peer_value=mean(plane, "decoder"),
            note=said,
        ),
        at_most(
            f"Hat EBM on a deterministic autoencoder of 8x8 digits, {seeds} seeds: proxy-FID as a "
            "share of that of the decoder alone",
            mean(own, "hat") / mean(own, "decoder"),
            0.6,
            "",
            peer="held-out real pictures",
            peer_value=mean(own, "floor") / mean(own, "decoder"),
            note=real,
        ),
        at_least(
            f"Hat EBM, 8x8 digits, {seeds} seeds: the same after 5 times as many moves, as a share",
            mean(own, "long") / mean(own, "decoder"),
            None,
            "",
            note=f"{spread(own, 'long')}; {scale}",
        ),
    ]


def in_plane(seed: int) -> dict[str, float]:
    """Eight heaps, a decoder of an autoencoder that stays, and its hat."""
    examples, test = gaussians(10_000, seed), gaussians(4_000, seed + 100).x["x"]
    torch.manual_seed(seed)
    encoder, decoder = layers(2, 64, 2), layers(2, 64, 2)
    code = {"encoder": encoder, "generator": decoder}
    train(Autoencoding(2, "x"), code, examples, Recipe(IN_PLANE, 128, 5e-3, average=0.9, seed=seed))
    decoder.requires_grad_(False)
    moves = Langevin(0.01, adjusted=False)
    energy = Plane(128)
    train(
        HatRefinement(2, moves, penalty=0.01),
        {"energy": energy, "generator": decoder},
        examples,
        Recipe(IN_PLANE, 128, 1e-3, average=0.99, seed=seed),
    )
    z = normal(stream(seed + 5), 4_000, 2, test)
    problem = hat_problem(energy, decoder, 2)
    _, moved = revised_pairs(problem, z, moves, 30, stream(seed + 6), 1.0)
    found = []
    for lane in range(2):
        other = normal(stream(lane), 500, 2, test)
        y = test[:500] - decoder(other)
        value = problem.totals({LATENT: other, CORRECTION: y}).energy.mean()
        slopes = torch.autograd.grad(value, list(energy.parameters()))
        found.append(torch.cat([slope.flatten() for slope in slopes]))
    return {
        "decoder": sliced(decoder(z), test),
        "hat": sliced(moved, test),
        "floor": sliced(gaussians(4_000, seed + 200).x["x"], test),
        "gradient": float((found[0] - found[1]).abs().max()),
    }


def on_digits(seed: int) -> dict[str, float]:
    """The decoder of an autoencoder of digits, and its hat, trained as `basin train image.hat`."""
    data = digits(seed)
    lesson = Lesson(Path("digits"), Path("none"), steps=STEPS, seed=seed)
    pictures = Pictures(data.learned, data.held)
    drawing, objective, _ = learned(pictures, PLAIN, lesson)
    energy = Judging(Variable(PICTURE, Real(pictures.shape, 0.0, 1.0)), drawing.judge)
    problem = hat_problem(energy, drawing.painter, drawing.latent)
    z = normal(stream(seed + 7), len(data.held), drawing.latent, data.held)
    with torch.no_grad():
        made = drawing.painter(z)

    def moved(times: int) -> float:
        count = times * objective.steps
        lane = stream(seed + 8)
        x = revised_pairs(problem, z, objective.sampler, count, lane, objective.beta)[1]
        return fidelity(x, data.learned)

    return {
        "floor": floor(data),
        "decoder": fidelity(made, data.learned),
        "hat": moved(2),
        "long": moved(10),
    }
