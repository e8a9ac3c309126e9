"""How energies of pictures are trained: examples, options, sheets along the way, the file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
from pydantic import Field, StrictInt
from torch import Tensor

from engine.energy.lesson import Lesson
from engine.errors import BadQuery, Mistake
from engine.learning.objective import Nets, Objective
from engine.learning.objectives.alternating import Alternating
from engine.learning.objectives.multiscale import MultiscaleScoreMatching
from engine.learning.optimizers import Adam
from engine.random import Stream
from modules.image._generated.drawing import Drawing
from modules.image._generated.measured import NOISE, Measured
from modules.image._generated.networks import Judge
from modules.image._generated.pictures import Pictures, Seen, pictures_of
from modules.image._generated.term import PICTURE
from modules.parameters import Number, validated
from modules.shared.sheet import write_sheet
from modules.shared.training import one_thread

try:
    from engine.learning.examples import Stored
    from engine.learning.recipe import Recipe, Trained
    from engine.learning.train import train
except ImportError as error:  # the extra `train` is not installed
    raise BadQuery(Mistake("", str(error), "install the extra `train`")) from None


WIDTHS = 0.15, 0.4  # of the noise from which slopes lead back
CLIP = 50.0  # of gradients
SHOWN, ACROSS = 64, 8  # pictures of a sheet, and in a row of it
SHEETS = 32  # lane of the stream that sheets are drawn from
M = TypeVar("M", bound=Measured)
S = TypeVar("S", bound=Seen)
Width = Annotated[StrictInt, Field(ge=1, le=4096)]
Rate = Annotated[Number, Field(gt=0, le=1)]


class Options(Seen):
    """What may be given as `params` of any of these trainings."""

    latent: Annotated[StrictInt, Field(ge=1, le=1024)] = 16
    hidden: list[Width] = Field([128, 128], description="Of the energy.")
    wells: Annotated[StrictInt, Field(ge=0, le=4096)] = Field(
        512, description="Of the energy, beside its layers; they begin at pictures."
    )
    painted: list[Width] = Field([128, 128], description="Of the generator.")
    batch: Annotated[StrictInt, Field(ge=2, le=4096)] = 64
    moves: Annotated[StrictInt, Field(ge=1, le=1000)] = Field(
        30, description="Langevin moves of a picture."
    )
    noise: Annotated[Number, Field(ge=0)] = Field(
        0.15, description="Added to pictures before they are judged; it smooths the energy."
    )
    pointing: Annotated[Number, Field(ge=0)] = Field(
        100.0, description="Weight of score matching, by which noise leads back to pictures."
    )
    drift: Annotated[Number, Field(gt=0)] = Field(
        0.004, description="What a move takes of the slope of the energy, a pixel."
    )


def pointed(objective: Objective, weight: float) -> Objective:
    """The same, and slopes lead back to data from afar, so that the energy can be minimized."""
    if not weight:
        return objective
    low, high = WIDTHS
    return Alternating(
        (objective, MultiscaleScoreMatching(low, high, NOISE, weight, weight * CLIP))
    )


@dataclass(frozen=True, eq=False)
class Run:
    """One training of a lesson: which networks, by which objective, at which rates."""

    objective: Objective
    nets: Nets
    rates: Mapping[str, Adam]
    batch: int
    steps: int
    average: float = 0.99

    def trained(
        self,
        lesson: Lesson,
        pictures: Pictures,
        stage: str,
        sheet: Callable[[Path, Nets], None] | None = None,
    ) -> Trained:
        """Trains it; `stage` names its folder inside that of the lesson, where sheets lie, too."""
        every = max(1, min(500, self.steps // 10))
        work = None if lesson.work is None else lesson.work / stage
        recipe = Recipe(
            self.steps,
            min(self.batch, len(pictures.learned)),
            optimizers=self.rates,
            average=self.average,
            every=every,
            seconds=lesson.seconds,
            seed=lesson.seed,
        )

        def looked(nets: Nets) -> float:
            if sheet is not None and work is not None:
                there = len(list(work.glob("sheet_*.png")))
                sheet(work / f"sheet_{there + 1:03d}.png", nets)
            return 0.0

        held = looked if sheet is not None and work is not None else None
        data = Stored({PICTURE: pictures.learned})
        return train(self.objective, self.nets, data, recipe, work=work, held_out=held)


def laid(judge: Judge, pictures: Pictures) -> None:
    """Lets the wells of an energy begin at pictures that are learned."""
    if judge.wells is not None:
        judge.wells.laid(pictures.learned)


def sheet_of(path: Path, drawing: Drawing, moved: Callable[[Tensor, Stream], Tensor]) -> None:
    """Writes what the generator makes, and below it the same after the moves of training."""
    rng = Stream(SHEETS, torch.zeros(1, dtype=torch.int64))
    z = rng.normal(SHOWN, drawing.latent, dtype=torch.float64).float()
    with torch.no_grad():
        made = drawing.painter(z)
    write_sheet(path, torch.cat([made, moved(z, rng.fork(1))]), ACROSS)


def learned_file(
    lesson: Lesson,
    kind: str,
    sort: type[S],
    learned: Callable[[Pictures, S, Lesson], tuple[M, Any, list[str]]],
    save: Callable[[M], None],
) -> list[str]:
    """Learns from the pictures of a lesson, writes the weights, and says what was learned.

    sort: of its options. learned: -> what was learned, by what, and what to say of it.
    """
    options = sort(**validated(sort, lesson.params, kind))
    pictures = pictures_of(lesson.data, lesson.seed, options)
    with one_thread():
        made, _, said = learned(pictures, options, lesson)
    save(made)
    return [*said, f"temperature {made.temperature:.3g}", f"wrote {lesson.out}"]
