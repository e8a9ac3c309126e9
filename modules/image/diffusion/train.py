"""How `image.diffusion` learns: energy, value and sampler in turn, sheets along the way."""

from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, StrictInt
from torch import Tensor

from engine.domain import Real, Variable
from engine.energy import Term
from engine.energy.lesson import Lesson
from engine.learning.objective import Nets
from engine.learning.objectives.max_entropy_irl import SeparateValue
from engine.learning.optimizers import Adam
from engine.learning.refiner import Timed
from engine.random import Stream
from modules.image._generated.measured import measured
from modules.image._generated.networks import Judge
from modules.image._generated.pictures import Pictures, Seen
from modules.image._generated.term import PICTURE
from modules.image._generated.train import ACROSS, SHEETS, SHOWN, Rate, Run, Width, learned_file
from modules.image.diffusion.stepping import KIND, Stepping, begun
from modules.parameters import Number
from modules.shared.sheet import write_sheet

STEPS = 800
AVERAGE = 0.995


class Options(Seen):
    """What may be given as `params` of a training."""

    steps: Annotated[StrictInt, Field(ge=1, le=1000)] = Field(5, description="Of the sampler.")
    hidden: list[Width] = Field([256, 256], description="Of the energy.")
    width: Width = Field(256, description="Of the sampler and of the value.")
    batch: Annotated[StrictInt, Field(ge=2, le=4096)] = 64
    rate: Rate = 1e-3
    entropy: Annotated[Number, Field(ge=0)] = Field(
        0.1, description="How much the entropy of a pixel counts against the energy of a picture."
    )
    square: Annotated[Number, Field(ge=0)] = Field(
        1.0, description="Of squared energies, which holds them within 1 / (2 square)."
    )
    noise: Annotated[Number, Field(ge=0)] = Field(
        0.1, description="Added to pictures before they are judged; it smooths the energy."
    )


class Centred(Term):
    """The energy that is trained, of pictures from -1 to 1, where the sampler makes them."""

    affine = False

    def __init__(self, judge: Judge, shape: tuple[int, int]):
        super().__init__(Variable(PICTURE, Real(shape, -1.0, 1.0)))
        self.judge = judge

    def energy(self, picture: Tensor) -> Tensor:  # (B, h, w) -> (B,)
        return self.judge((picture + 1) / 2)


def learned(
    pictures: Pictures, options: Options, lesson: Lesson
) -> tuple[Stepping, SeparateValue, list[str]]:
    """Trains all three. -> what was learned, by what, and what to say of it"""
    shape = pictures.shape
    stepping = begun(shape, options.steps, options.width, options.hidden, lesson.seed)
    with torch.random.fork_rng():
        torch.manual_seed(lesson.seed + 1)
        value = Timed(shape, (), options.steps, options.width)
    objective = SeparateValue(options.entropy, square=options.square, noise=2 * options.noise)
    run = Run(
        objective,
        {
            "energy": Centred(stepping.judge, shape),
            "value": value,
            "refiner": stepping.refiner,
        },
        {
            "energy": Adam(options.rate, (0.0, 0.9)),
            "refiner": Adam(options.rate, (0.0, 0.9)),
            "value": Adam(options.rate),
        },
        options.batch,
        lesson.steps or STEPS,
        AVERAGE,
    )

    def sheet(path: Path, nets: Nets) -> None:
        del nets  # the same networks
        rng = Stream(SHEETS, torch.zeros(1, dtype=torch.int64))
        write_sheet(path, stepping.pictures(SHOWN, rng), ACROSS)

    centred = Pictures(2 * pictures.learned - 1, 2 * pictures.held - 1)
    trained = run.trained(lesson, centred, "diffusion", sheet)
    stepping.judge.eval().requires_grad_(False)
    stepping.refiner.eval().requires_grad_(False)
    sigma = ", ".join(f"{s:.2f}" for s in stepping.refiner.log_sigma.exp().tolist())
    said = [
        f"{len(pictures.learned)} pictures of {shape[0]} x {shape[1]}",
        f"{trained.steps} steps in {trained.seconds:.1f} s, ended by {trained.stopped}; spreads of "
        f"the {options.steps} steps of the sampler: {sigma}",
    ]
    return measured(stepping, pictures.held, lesson.command), objective, said


def learn(lesson: Lesson) -> list[str]:
    """Learns from pictures, writes the weights, and says what was learned."""
    return learned_file(lesson, KIND, Options, learned, lambda made: made.save(lesson.out))
