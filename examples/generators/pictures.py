"""Small pictures of digits, drawn stroke by stroke, as if by hand: dark on light, 28 x 28.

They are no pictures of any data set. `python -m examples.generators.pictures` writes those of
`examples/pictures` anew (Pillow).
"""

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parents[1] / "pictures"
SIDE = 28
STROKES = {  # corners of the strokes of each digit, from 0 to 1, x to the right and y down
    0: [[(0.5, 0.1), (0.2, 0.3), (0.2, 0.7), (0.5, 0.9), (0.8, 0.7), (0.8, 0.3), (0.5, 0.1)]],
    1: [[(0.55, 0.08), (0.45, 0.92)]],
    2: [[(0.2, 0.3), (0.45, 0.08), (0.75, 0.25), (0.65, 0.5), (0.2, 0.9), (0.85, 0.88)]],
    3: [[(0.2, 0.15), (0.6, 0.08), (0.75, 0.28), (0.4, 0.48), (0.78, 0.68), (0.55, 0.92),
         (0.2, 0.82)]],
    4: [[(0.35, 0.08), (0.2, 0.55), (0.8, 0.52)], [(0.7, 0.15), (0.6, 0.95)]],
    5: [[(0.8, 0.1), (0.3, 0.12), (0.28, 0.45), (0.65, 0.45), (0.75, 0.7), (0.5, 0.92),
         (0.2, 0.85)]],
    6: [[(0.65, 0.08), (0.3, 0.45), (0.25, 0.75), (0.5, 0.92), (0.72, 0.75), (0.55, 0.55),
         (0.28, 0.7)]],
    7: [[(0.2, 0.12), (0.8, 0.1), (0.45, 0.92)]],
    8: [[(0.5, 0.48), (0.25, 0.28), (0.5, 0.08), (0.75, 0.28), (0.25, 0.7), (0.5, 0.92),
         (0.75, 0.72), (0.5, 0.48)]],
    9: [[(0.72, 0.25), (0.45, 0.1), (0.28, 0.3), (0.45, 0.48), (0.72, 0.3), (0.68, 0.6),
         (0.5, 0.92)]],
}  # fmt: skip
SHOWN = {"a": (4, 1), "b": (7, 2), "c": (8, 3), "d": (5, 4), "e": (5, 5)}  # digit, seed
RUBBED = "c"  # half of it is rubbed out: by itself it looks like a 3


def drawn(digit: int, seed: int, shake: float = 0.025, width: float = 1.1) -> np.ndarray:
    """A picture of a digit; corners are shaken. -> (28, 28) uint8, dark on light"""
    rng = np.random.default_rng([digit, seed])
    y, x = np.indices((SIDE, SIDE)).astype(float)
    ink = np.zeros((SIDE, SIDE))
    for stroke in STROKES[digit]:
        corners = 4 + 20 * (np.array(stroke) + shake * rng.normal(size=(len(stroke), 2)))
        for (ax, ay), (bx, by) in zip(corners[:-1], corners[1:], strict=True):
            length = max((bx - ax) ** 2 + (by - ay) ** 2, 1e-9)
            along = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length, 0, 1)
            away = np.hypot(x - ax - along * (bx - ax), y - ay - along * (by - ay))
            ink = np.maximum(ink, np.clip(width + 0.8 - away, 0, 1))
    return (255 * (1 - ink)).round().astype(np.uint8)


def main() -> None:
    """Writes them."""
    from PIL import Image

    FOLDER.mkdir(exist_ok=True)
    for name, (digit, seed) in SHOWN.items():
        picture = drawn(digit, seed)
        if name == RUBBED:
            left = slice(0, SIDE // 2 - 1)
            picture[:, left] = 255 - 0.2 * (255.0 - picture[:, left])
        Image.fromarray(picture).save(FOLDER / f"{name}.png")


if __name__ == "__main__":
    main()
