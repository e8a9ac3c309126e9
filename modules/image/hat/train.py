"""How `image.hat` learns: an autoencoder first, then an energy on top of its decoder."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, StrictInt
from torch import Tensor

from engine.domain import Real, Variable
from engine.energy.lesson import Lesson
from engine.learning.objective import Nets
from engine.learning.objectives.autoencoding import Autoencoding
from engine.learning.objectives.hat import HatRefinement
from engine.learning.optimizers import Adam
from engine.learning.revision import hat_problem, revised_pairs
from engine.moves.langevin import Langevin
from engine.random import Stream
from modules.image._generated.drawing import Drawing, begun
from modules.image._generated.measured import measured
from modules.image._generated.networks import Layers
from modules.image._generated.pictures import Pictures
from modules.image._generated.term import PICTURE, Judging
from modules.image._generated.train import (
    CLIP,
    Options,
    Rate,
    Run,
    laid,
    learned_file,
    pointed,
    sheet_of,
)
from modules.image.hat.term import FORM, KIND
from modules.parameters import Number

STEPS = 600  # of the energy; as many times TWICE of the autoencoder
TWICE = 2
NOISE = 0.003  # of a move of y
SPREAD = 0.1  # how far pictures of the decoder lie from real ones, a pixel


class HatOptions(Options):
    """What may be given as `params` of a training."""

    latent: Annotated[StrictInt, Field(ge=1, le=1024)] = 8
    faster: Annotated[Number, Field(gt=0)] = Field(
        8.0, description="How many times as much of it a number of the latent takes."
    )
    rate: Rate = Field(2e-3, description="Of the energy, and that of the autoencoder.")


def learned(
    pictures: Pictures, options: HatOptions, lesson: Lesson
) -> tuple[Drawing, HatRefinement, list[str]]:
    """Trains decoder and energy. -> what was learned, by which moves, and what to say of it"""
    steps = lesson.steps or STEPS
    move = NOISE**2 / 2
    beta = options.drift / move
    hidden = (options.hidden, options.painted, ())
    drawing = begun(
        pictures.shape,
        options.latent,
        hidden,
        False,
        move,
        beta,
        SPREAD,
        options.wells,
        lesson.seed,
    )
    laid(drawing.judge, pictures)
    pixels = pictures.shape[0] * pictures.shape[1]
    with torch.random.fork_rng():
        torch.manual_seed(lesson.seed + 1)
        encoder = Layers(pixels, *options.painted, options.latent)
    coded = Run(
        Autoencoding(options.latent),
        {"encoder": torch.nn.Sequential(torch.nn.Flatten(), encoder), "generator": drawing.painter},
        {n: Adam(options.rate) for n in ("encoder", "generator")},
        options.batch,
        TWICE * steps,
    )
    half = None if lesson.seconds is None else lesson.seconds / 2
    first = coded.trained(replace(lesson, seconds=half), pictures, "generator")
    drawing.painter.eval().requires_grad_(False)
    energy = Judging(Variable(PICTURE, Real(pictures.shape, 0.0, 1.0)), drawing.judge)
    sampler = Langevin(move, adjusted=False, steps={"latent": options.faster * move})
    objective = HatRefinement(
        options.latent, sampler, options.moves, beta, noise=options.noise, clip=CLIP
    )

    def moved(z: Tensor, rng: Stream) -> Tensor:
        problem = hat_problem(energy, drawing.painter, options.latent)
        return revised_pairs(problem, z, sampler, 2 * options.moves, rng, beta)[1]

    def sheet(path: Path, nets: Nets) -> None:
        del nets  # the same networks
        sheet_of(path, drawing, moved)

    hat = Run(
        pointed(objective, options.pointing),
        {"energy": energy, "generator": drawing.painter},
        {"energy": Adam(options.rate)},
        options.batch,
        steps,
    )
    done = first.stopped != "seconds"  # else the decoder goes on, and the energy begins anew
    left = None if lesson.seconds is None else lesson.seconds - min(first.seconds, half or 0.0)
    rest = replace(lesson, seconds=left, work=lesson.work if done else None)
    second = hat.trained(rest, pictures, "energy", sheet)
    drawing.judge.eval().requires_grad_(False)
    said = [
        f"{len(pictures.learned)} pictures of {pictures.shape[0]} x {pictures.shape[1]}",
        f"{first.steps} steps of the generator in {first.seconds:.1f} s, {second.steps} of the "
        f"energy in {second.seconds:.1f} s, ended by {second.stopped}",
    ]
    return measured(drawing, pictures.held, lesson.command), objective, said


def learn(lesson: Lesson) -> list[str]:
    """Learns from pictures, writes the weights, and says what was learned."""
    return learned_file(lesson, KIND, HatOptions, learned, lambda made: made.save(lesson.out, FORM))
