"""How `image.taught` learns: energy, generator and encoder teach one another."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, StrictInt
from torch import Tensor, nn

from engine.domain import Real, Variable
from engine.energy.lesson import Lesson
from engine.learning.objective import Nets
from engine.learning.objectives.dual_mcmc import DualMcmc
from engine.learning.optimizers import Adam
from engine.learning.revision import revised_pictures
from engine.moves.langevin import Langevin
from engine.random import Stream
from modules.image._generated.drawing import Drawing, begun
from modules.image._generated.measured import measured
from modules.image._generated.pictures import Pictures
from modules.image._generated.term import PICTURE, Judging
from modules.image._generated.train import (
    CLIP,
    Options,
    Rate,
    Run,
    Width,
    laid,
    learned_file,
    pointed,
    sheet_of,
)
from modules.image.taught.term import FORM, KIND
from modules.parameters import Number

STEPS = 1_000
NOISE = 0.003  # of a move of a picture
BETAS = (0.5, 0.9)  # of the optimizers of generator and encoder


class TaughtOptions(Options):
    """What may be given as `params` of a training."""

    painted: list[Width] = Field([256, 256], description="Of the generator.")
    looked: list[Width] = Field([64, 64], description="Of the encoder.")
    moves_of_latents: Annotated[StrictInt, Field(ge=1, le=1000)] = 10
    spread: Annotated[Number, Field(gt=0)] = Field(
        0.04, description="How far pictures lie from those of their latents, a pixel."
    )
    step: Annotated[Number, Field(gt=0)] = Field(0.003, description="Of a move of a latent.")
    rate: Rate = Field(1e-3, description="Of energy and generator.")
    looking: Rate = Field(2e-4, description="Of the encoder.")
    reconstruct: Annotated[Number, Field(ge=0)] = Field(
        1.0, description="Weight of the reconstruction of the data; 0: cooperative learning."
    )


def learned(
    pictures: Pictures, options: TaughtOptions, lesson: Lesson
) -> tuple[Drawing, DualMcmc, list[str]]:
    """Trains the three. -> what was learned, by which moves, and what to say of it"""
    move = NOISE**2 / 2
    beta = options.drift / move
    hidden = (options.hidden, options.painted, options.looked)
    drawing = begun(
        pictures.shape,
        options.latent,
        hidden,
        True,
        move,
        beta,
        options.spread,
        options.wells,
        lesson.seed,
    )
    laid(drawing.judge, pictures)
    assert drawing.onlooker is not None
    energy = Judging(Variable(PICTURE, Real(pictures.shape, 0.0, 1.0)), drawing.judge)
    objective = DualMcmc(
        options.latent,
        Langevin(move, adjusted=False),
        Langevin(options.step, adjusted=False),
        beta,
        options.spread,
        options.moves,
        options.moves_of_latents,
        reconstruct=options.reconstruct,
        noise=options.noise,
        clip=CLIP,
    )

    def moved(z: Tensor, rng: Stream) -> Tensor:
        made = drawing.painter(z)
        return revised_pictures(energy, made, objective.pictures, options.moves, rng, beta)

    def sheet(path: Path, nets: Nets) -> None:
        del nets  # the same networks
        sheet_of(path, drawing, moved)

    run = Run(
        pointed(objective, options.pointing),
        {"energy": energy, "generator": drawing.painter, "encoder": drawing.onlooker},
        {
            "energy": Adam(options.rate),
            "generator": Adam(options.rate, BETAS),
            "encoder": Adam(options.looking, BETAS),
        },
        options.batch,
        lesson.steps or STEPS,
    )
    done = run.trained(lesson, pictures, "all", sheet)
    every: tuple[nn.Module, ...] = (drawing.judge, drawing.painter, drawing.onlooker)
    for net in every:
        net.eval().requires_grad_(False)
    said = [
        f"{len(pictures.learned)} pictures of {pictures.shape[0]} x {pictures.shape[1]}",
        f"{done.steps} steps in {done.seconds:.1f} s, ended by {done.stopped}",
    ]
    return measured(drawing, pictures.held, lesson.command), objective, said


def learn(lesson: Lesson) -> list[str]:
    """Learns from pictures, writes the weights, and says what was learned."""
    return learned_file(
        lesson, KIND, TaughtOptions, learned, lambda made: made.save(lesson.out, FORM)
    )
