"""Letters A to G in either case that no board shows: drawn by fonts, and Omniglot's drawings.

A letter of a font is drawn with a pen that is made thicker or thinner, and slanted; all are framed
as the characters of boards are.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from modules.image._boards.ink import framed, inked, resized
from modules.image._boards.reading import LETTERS

FONTS = ("*.ttf", "*.otf", "*-latin-[47]00-normal.woff")
TALL = 96  # pixels of a drawn letter
THIN, THICK = 5.0, 14.0  # pixels of a pen, of those
SLANT = 0.3
KEPT = 0.6  # of the letters of a font
LATIN = "Latin/character{:02d}/"  # in Omniglot: a to z, small


def of_fonts(folder: Path, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Label and picture (28, 28) of letters of each font of a folder and those below it."""
    from PIL import Image, ImageDraw, ImageFont

    files = sorted(file for pattern in FONTS for file in folder.rglob(pattern))
    for file in files:
        font = ImageFont.truetype(str(file), TALL)
        for letter in LETTERS + LETTERS.lower():
            image = Image.new("L", (3 * TALL, 3 * TALL))
            ImageDraw.Draw(image).text((TALL, TALL), letter, 255, font=font)
            slant = float(rng.uniform(-SLANT, SLANT))
            image = image.transform(
                image.size, Image.Transform.AFFINE, (1, slant, -1.5 * TALL * slant, 0, 1, 0)
            )
            ink = np.asarray(image, np.float32) / 255
            if rng.random() < KEPT and ink.max() > 0.5:
                yield letter.upper(), _drawn(ink, float(rng.uniform(THIN, THICK)))


def of_omniglot(file: Path, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """The same of the drawings of a to g in an archive of Omniglot."""
    from PIL import Image

    with zipfile.ZipFile(file) as archive:
        for k, letter in enumerate(LETTERS):
            for name in sorted(archive.namelist()):
                if LATIN.format(k + 1) in name and name.endswith(".png"):
                    with archive.open(name) as raw:
                        ink = inked(np.asarray(Image.open(raw).convert("L"), np.float32))
                    yield letter, _drawn(ink, float(rng.uniform(THIN, THICK)))


def _drawn(ink: np.ndarray, pen: float) -> np.ndarray:
    """A letter cut to its ink, its strokes made about as thick as a pen: a line of ink counts as
    thick as twice its area by its edge. (h, w) -> (28, 28)"""
    from PIL import Image, ImageFilter

    rows, columns = np.flatnonzero((ink > 0.5).any(1)), np.flatnonzero((ink > 0.5).any(0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    share = TALL / max(ink.shape)
    high, wide = (max(1, round(share * n)) for n in ink.shape)
    ink = np.pad(resized(ink, high, wide), TALL // 8)
    mask = ink > 0.5
    edge = int((mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum())
    more = round((pen - 2 * float(mask.sum()) / max(1, edge)) / 2)
    image = Image.fromarray((255 * np.clip(ink, 0, 1)).astype(np.uint8))
    if more > 0:
        image = image.filter(ImageFilter.MaxFilter(2 * more + 1))
    elif more < -1:
        image = image.filter(ImageFilter.MinFilter(3))
    image = image.filter(ImageFilter.GaussianBlur(1.5))
    out = np.asarray(image, np.float32) / 255
    rows, columns = np.flatnonzero((out > 0.3).any(1)), np.flatnonzero((out > 0.3).any(0))
    return framed(out[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
