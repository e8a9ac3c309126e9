"""Dual-MCMC teaching on digits: what a few Langevin steps add to an encoder and a generator."""

from pathlib import Path

import torch
from torch import Tensor

from benchmarks._fidelity import digits, fidelity, figures, floor, mean, spread
from benchmarks.common import Row, at_most
from engine.domain import Real, Variable
from engine.energy.lesson import Lesson
from engine.learning.revision import normal, revised_latents, revised_pictures
from modules.image._generated.pictures import Pictures
from modules.image._generated.term import PICTURE, Judging
from modules.image.taught.train import TaughtOptions, learned
from tests.support.plane import stream

STEPS = 300  # of a training


def rows(seed: int, seeds: int) -> list[Row]:
    """All rows."""
    own, none = (
        [
            figures(f"taught {s} {STEPS} {w}", lambda s=s, w=w: taught(s, STEPS, w))
            for s in range(seed, seed + seeds)
        ]
        for w in (1.0, 0.0)
    )
    scale = f"{STEPS} steps"
    start = f"dual-MCMC teaching, 8x8 digits, {seeds} seeds: "
    return [
        at_most(
            start + "reconstruction MSE by encoder and 10 moves, as a share of the encoder alone",
            mean(own, "moved") / mean(own, "encoder"),
            0.5,
            "",
            peer="published, CIFAR-10",
            peer_value=0.0072 / 0.0214,
            note=f"{spread(own, 'encoder')}; {spread(own, 'moved')}; {scale}",
        ),
        at_most(
            start + "the same MSE",
            mean(own, "moved"),
            mean(own, "cold"),
            "",
            peer="30 moves begun at noise",
            peer_value=mean(own, "cold"),
            note=f"{spread(own, 'cold')}; {scale}",
        ),
        at_most(
            start + "proxy-FID of pictures after 30 moves",
            mean(own, "moves 30"),
            mean(own, "generator"),
            "",
            peer="the generator alone",
            peer_value=mean(own, "generator"),
            note=f"{spread(own, 'generator')}; {spread(own, 'moves 30')}; {spread(own, 'floor')}; "
            f"{scale}",
        ),
        at_most(
            start + "proxy-FID of pictures after 30 moves against 10",
            mean(own, "moves 30"),
            mean(own, "moves 10"),
            "",
            peer="10 moves",
            peer_value=mean(own, "moves 10"),
            note=f"{spread(own, 'moves 10')}; {scale}",
        ),
        at_most(
            start + "proxy-FID after 30 moves, against training without the reconstruction term",
            mean(own, "moves 30"),
            mean(none, "moves 30"),
            "",
            peer="without it",
            peer_value=mean(none, "moves 30"),
            note=f"without it {spread(none, 'moves 30')}; {scale}",
        ),
    ]


def taught(seed: int, steps: int, reconstruct: float) -> dict[str, float]:
    """Trained as `basin train image.taught`, judged on held-out digits."""
    data = digits(seed)
    lesson = Lesson(Path("digits"), Path("none"), steps=steps, seed=seed)
    pictures = Pictures(data.learned, data.held)
    options = TaughtOptions(reconstruct=reconstruct, pointing=0.0, drift=0.05, wells=0)
    drawing, objective, _ = learned(pictures, options, lesson)
    assert drawing.onlooker is not None
    energy = Judging(Variable(PICTURE, Real(pictures.shape, 0.0, 1.0)), drawing.judge)
    x, painter = data.held, drawing.painter
    z = normal(stream(seed + 7), len(x), drawing.latent, x)
    with torch.no_grad():
        made, believed = painter(z), drawing.onlooker(x).chunk(2, 1)[0]

    def missed(latents: Tensor) -> float:
        with torch.no_grad():
            return float((painter(latents) - x).square().mean())

    def inferred(latents: Tensor, moves: int) -> float:
        kernel, lane = objective.latents, stream(seed + 9)
        return missed(revised_latents(painter, latents, x, drawing.spread, kernel, moves, lane))

    def moved(moves: int) -> float:
        lane = stream(seed + 8)
        after = revised_pictures(energy, made, objective.pictures, moves, lane, objective.beta)
        return fidelity(after, data.learned)

    return {
        "floor": floor(data),
        "generator": fidelity(made, data.learned),
        "moves 10": moved(10),
        "moves 30": moved(30),
        "encoder": missed(believed),
        "moved": inferred(believed, 10),
        "cold": inferred(z, 30),
    }
