"""A text of examples as 0 and 1, one example a line."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from engine.errors import BadQuery, Mistake
from modules.shared.lines import lines_of

MISTAKES = 20  # told at once


def read_bits(text: str, shape: Sequence[int]) -> Tensor:
    """The examples, decided. `#` begins a comment. -> (N, *shape) uint8

    Raises BadQuery with every line that is wrong.
    """
    sites, rows, wrong = math.prod(shape), [], []
    for number, line in enumerate(lines_of(text), 1):
        bare = "".join(line.split("#")[0].split())
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
    if len(rows) < 2:
        raise BadQuery(Mistake("", f"{len(rows)} examples are too few to learn from", "give more"))
    return torch.tensor(rows, dtype=torch.uint8).reshape(-1, *shape)
