"""Examples as 0 and 1: a text of one example a line, or numbers of a file or folder."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engine.errors import BadQuery, Mistake
from engine.plain import place_path
from modules.shared.lines import lines_of
from modules.shared.reading.examples import is_text, read_numbers, text_of

MISTAKES = 20  # told at once


def read_bits(data: Path, shape: Sequence[int]) -> Tensor:
    """The examples of a file or a folder, decided. Of pictures, 255 is 1. -> (N, *shape) uint8

    Raises BadQuery with what is wrong.
    """
    if is_text(data):
        return bits_of(text_of(data), shape)
    found = read_numbers(data, shape)
    one = 255 if data.is_dir() else 1
    odd = (found != 0) & (found != one)
    if odd.any():
        place = int(odd.reshape(-1).argmax())
        problem = f"{found.reshape(-1)[place]} is no bit"
        path = f"example {place_path(place, found.shape)}"
        raise BadQuery(Mistake(path, problem, f"write 0 and {one}"))
    return _enough(torch.from_numpy((found != 0).astype(np.uint8)))


def bits_of(text: str, shape: Sequence[int]) -> Tensor:
    """The examples of a text, decided; commas and blanks may stand between. `#` begins a comment.
    -> (N, *shape) uint8

    Raises BadQuery with every line that is wrong.
    """
    sites, rows, wrong = math.prod(shape), [], []
    for number, line in enumerate(lines_of(text), 1):
        bare = "".join(line.split("#")[0].replace(",", " ").split())
        if not bare:
            continue
        if set(bare) - {"0", "1"}:
            odd = sorted(set(bare) - {"0", "1"})[0]
            wrong.append(Mistake(f"line {number}", f"{odd!r} is no bit", "write 0 and 1"))
        elif len(bare) != sites:
            problem = f"has {len(bare)} bits"
            wrong.append(Mistake(f"line {number}", problem, f"the shape has {sites} sites"))
        else:
            rows.append([int(c) for c in bare])
        if len(wrong) >= MISTAKES:
            break
    if wrong:
        raise BadQuery(*wrong)
    return _enough(torch.tensor(rows, dtype=torch.uint8).reshape(-1, *shape))


def _enough(x: Tensor) -> Tensor:
    if len(x) < 2:
        raise BadQuery(Mistake("", f"{len(x)} examples are too few to learn from", "give more"))
    return x
