"""Pictures from 0 to 1 as a file: many on one sheet, or one alone."""

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.errors import BadQuery, Mistake


def write_sheet(path: Path, pictures: Tensor, across: int) -> None:
    """Writes pictures side by side, `across` in a row, with a line between them. (n, h, w)"""
    count, high, wide = pictures.shape
    down = -(-count // across)
    sheet = torch.full((down * (high + 1) - 1, across * (wide + 1) - 1), 0.5)
    for k, picture in enumerate(pictures.detach().cpu().float()):
        row, column = divmod(k, across)
        top, left = row * (high + 1), column * (wide + 1)
        sheet[top : top + high, left : left + wide] = picture
    write_png(path, sheet)


def write_png(path: Path, picture: Tensor, larger: int = 4) -> None:
    """Writes one picture, grey, each pixel as a square of `larger`. (h, w) in [0, 1]"""
    grey = (255 * picture.clamp(0.0, 1.0)).round().to(torch.uint8)
    save_png(path, grey.repeat_interleave(larger, 0).repeat_interleave(larger, 1).numpy())


def save_png(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    """Writes pixels as they are, grey or coloured. (h, w) or (h, w, 3)"""
    try:
        from PIL import Image
    except ImportError:
        raise BadQuery(
            Mistake("", "pictures are written by Pillow", "install the extra `images`")
        ) from None
    part = path.with_suffix(".part")
    Image.fromarray(pixels).save(part, format="PNG")
    os.replace(part, path)
