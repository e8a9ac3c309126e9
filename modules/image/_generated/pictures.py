"""Pictures to learn from: numbers of one size, from 0 to 1, and a part that is held out."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engine.errors import BadQuery, Mistake
from modules.image.classifier.examples import DIGITS, scikit_digits
from modules.shared.reading.examples import read_numbers

HELD, MOST_HELD = 0.1, 2_000  # share of pictures held out, and how many at most
FEWEST = 20  # pictures


@dataclass(frozen=True, eq=False)
class Pictures:
    """learned: (N, h, w) float32 in [0, 1]; held: (M, h, w), the rest."""

    learned: Tensor
    held: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.learned.shape[1], self.learned.shape[2]


def pictures_of(data: Path, seed: int) -> Pictures:
    """`digits`, those of scikit-learn, or a file or a folder of pictures of one size, a folder of
    folders as well (one for each label, say): `read_numbers`. In a random order.

    Numbers become those from 0, black, to 1: whole ones of a byte by 255, others by the largest.
    Raises BadQuery for what are no pictures, or too few.
    """
    if str(data) == DIGITS and not data.exists():
        every = scikit_digits().pictures / 16
    else:
        every = _scaled(_numbers(data))
    if len(every) < FEWEST:
        raise BadQuery(Mistake("", f"holds {len(every)} pictures", f"give at least {FEWEST}"))
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(seed))
    out = max(1, round(min(HELD * len(every), MOST_HELD)))
    return Pictures(every[order[out:]], every[order[:out]])


def _numbers(data: Path) -> np.ndarray:
    """Pictures as they stand in files. -> (n, h, w)"""
    inside = sorted(e for e in data.iterdir() if e.name[0] != ".") if data.is_dir() else []
    if inside and all(entry.is_dir() for entry in inside):
        every = [_numbers(entry) for entry in inside]
        if len({one.shape[1:] for one in every}) > 1:
            raise BadQuery(Mistake("", "holds pictures of different sizes", "give one size"))
        return np.concatenate(every)
    found = read_numbers(data)
    if found.ndim == 4 and found.shape[-1] == 3:
        found = found.mean(-1)  # colours as grey
    if found.ndim != 3:
        problem = f"holds numbers of shape {[*found.shape]}"
        raise BadQuery(Mistake("", problem, "give pictures (n, height, width)"))
    return found


def _scaled(found: np.ndarray) -> Tensor:
    """From 0 to 1. (n, h, w) -> same, float32"""
    x = torch.from_numpy(found.astype(np.float32))
    if not bool(x.isfinite().all()) or bool((x < 0).any()):
        raise BadQuery(Mistake("", "holds numbers below 0, or none", "give 0, black, and above"))
    most = 255.0 if found.dtype == np.uint8 else max(1.0, float(x.max()))
    return x / most
