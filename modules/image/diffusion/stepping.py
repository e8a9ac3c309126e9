"""What a training leaves: an energy and a sampler of a few Gaussian steps, and their file."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.learning.refiner import Refiner, Timed
from engine.random import Stream
from modules.image._generated.measured import Measured, as_told
from modules.image._generated.networks import Judge
from modules.shared.weights import described, loaded, restored, save_described

FOLDER = Path(__file__).parent  # of what ships with Basin
KIND, FORM = "image.diffusion", "basin.image.diffusion.1"
REMEDY = f"make it with `basin train {KIND} --data digits --out W.safetensors`"
FIRST, LAST = 1.0, 0.2  # sigma of the first step before it learns, and of the last, which does not


@dataclass(frozen=True, eq=False)
class Stepping(Measured):
    """steps, width: of the sampler, which makes 2 x - 1 of a picture x. hidden: of `judge`."""

    steps: int
    width: int
    hidden: tuple[int, ...]
    refiner: Refiner

    def pictures(
        self, particles: int, rng: Stream, seen: Tensor | None = None, there: Tensor | None = None
    ) -> Tensor:
        """Pictures of the sampler, which have the pixels seen where they are there; the noise of
        its last step is left in. -> (R * particles, h, w) in [0, 1]"""
        wanted = None if seen is None else 2 * seen - 1
        x = self.refiner.path(particles, rng, wanted, there)[-1]
        return ((x + 1) / 2).clamp(0.0, 1.0)

    def save(self, path: str | Path) -> None:
        """Writes the file, numbers in 16 bits; it is whole, or the one before."""
        names = ("shape", "steps", "width", "hidden", "temperature", "quantiles", "made")
        about: dict[str, Any] = {name: getattr(self, name) for name in names}
        tensors = self.judge.state_dict(prefix="judge.")
        tensors |= self.refiner.state_dict(prefix="refiner.")
        save_described(path, FORM, {name: t.half() for name, t in tensors.items()}, about)


def begun(
    shape: tuple[int, int], steps: int, width: int, hidden: Sequence[int], seed: int
) -> Stepping:
    """Networks at random, to be trained."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        judge = Judge(shape[0] * shape[1], hidden)
        refiner = Refiner(Timed(shape, shape, steps, width), shape, steps, FIRST, LAST, False)
    return Stepping(shape, judge, steps, width, tuple(hidden), refiner)


def load_stepping(path: str) -> Stepping:
    """What a file holds; a bare name is also looked for beside the kinds that ship with Basin.

    Raises BadQuery under `weights`.
    """
    return loaded(path, FOLDER, _stepping, f"weights of {KIND}", REMEDY)


@lru_cache(maxsize=8)
def _stepping(raw: bytes) -> Stepping:
    about, tensors = described(raw, FORM)
    high, wide = about["shape"]
    with torch.device("meta"):
        blank = begun((high, wide), about["steps"], about["width"], about["hidden"], 0)
    for name, net in (("judge.", blank.judge), ("refiner.", blank.refiner)):
        restored(net, tensors, name)
    return as_told(blank, about)
