"""Pictures to learn from: numbers of one size, from 0 to 1, and a part that is held out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field, StrictInt
from torch import Tensor
from torch.nn.functional import interpolate

from engine.errors import BadQuery, Mistake
from modules.image.classifier.examples import DIGITS, scikit_digits
from modules.image.classifier.pictures import Ink
from modules.parameters import Strict
from modules.shared.reading.examples import read_numbers

HELD, MOST_HELD = 0.1, 2_000  # share of pictures held out, and how many at most
FEWEST = 20  # pictures
BUNCH = 4_096  # pictures that are brought to a size at once
Side = Annotated[StrictInt, Field(ge=1, le=1024)]


class Seen(Strict):
    """How pictures of a file become those that are learned."""

    size: Annotated[list[Side], Field(min_length=2, max_length=2)] | None = Field(
        None,
        description="Height and width that are learned: larger pictures are smoothed down to it, "
        "rows of so many numbers are cut into lines; without it, as they stand.",
    )
    ink: Ink = Field("light", description="Dark strokes on light paper are learned as light ones.")


@dataclass(frozen=True, eq=False)
class Pictures:
    """learned: (N, h, w) float32 in [0, 1]; held: (M, h, w), the rest."""

    learned: Tensor
    held: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.learned.shape[1], self.learned.shape[2]


def pictures_of(data: Path, seed: int, seen: Seen | None = None) -> Pictures:
    """`digits`, those of scikit-learn, or a file or a folder of pictures of one size, a folder of
    folders as well (one for each label, say): `read_numbers`. In a random order.

    Numbers become those from 0, black, to 1: whole ones of a byte by 255, others by the largest.
    Raises BadQuery for what are no pictures, or too few.
    """
    seen = Seen() if seen is None else seen
    if str(data) == DIGITS and not data.exists():
        every = scikit_digits().pictures / 16
    else:
        every = _scaled(_numbers(data, seen.size))
    if len(every) < FEWEST:
        raise BadQuery(Mistake("", f"holds {len(every)} pictures", f"give at least {FEWEST}"))
    every = 1 - every if seen.ink == "dark" else every
    every = every if seen.size is None else _sized(every, (seen.size[0], seen.size[1]))
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(seed))
    out = max(1, round(min(HELD * len(every), MOST_HELD)))
    return Pictures(every[order[out:]], every[order[:out]])


def _numbers(data: Path, size: Sequence[int] | None) -> np.ndarray:
    """Pictures as they stand in files. -> (n, h, w)"""
    inside = sorted(e for e in data.iterdir() if e.name[0] != ".") if data.is_dir() else []
    if inside and all(entry.is_dir() for entry in inside):
        every = [_of_folder(entry, size) for entry in inside]
        if len({one.shape[1:] for one in every}) > 1:
            raise BadQuery(Mistake("", "holds pictures of different sizes", "give one size"))
        return np.concatenate(every)
    found = read_numbers(data)
    if found.ndim == 2 and size is not None and found.shape[1] == size[0] * size[1]:
        found = found.reshape(len(found), *size)
    if found.ndim == 4 and found.shape[-1] == 3:
        found = _whole(found.mean(-1), found.dtype)  # colours as grey
    if found.ndim != 3:
        problem = f"holds numbers of shape {[*found.shape]}"
        remedy = "give pictures (n, height, width), or their `size` if they are rows of numbers"
        raise BadQuery(Mistake("", problem, remedy))
    return found


def _of_folder(folder: Path, size: Sequence[int] | None) -> np.ndarray:
    """The same; what is wrong is told with the name of the folder."""
    try:
        return _numbers(folder, size)
    except BadQuery as error:
        raise error.under(folder.name) from None


def _whole(grey: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Means of whole numbers are such numbers again, so that their scale is known."""
    return grey.round().astype(dtype) if dtype.kind == "u" else grey


def _sized(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """Smoothed down, or up, to a size. (n, h, w) -> (n, *size)"""
    if pictures.shape[1:] == size:
        return pictures
    some = pictures.split(BUNCH)
    return torch.cat(
        [
            interpolate(x[:, None], size, mode="bilinear", antialias=True)[:, 0].clamp(0.0, 1.0)
            for x in some
        ]
    )


def _scaled(found: np.ndarray) -> Tensor:
    """From 0 to 1. (n, h, w) -> same, float32"""
    x = torch.from_numpy(found.astype(np.float32))
    if not bool(x.isfinite().all()) or bool((x < 0).any()):
        raise BadQuery(Mistake("", "holds numbers below 0, or none", "give 0, black, and above"))
    most = 255.0 if found.dtype == np.uint8 else max(1.0, float(x.max()))
    return x / most
