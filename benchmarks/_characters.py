"""The characters of boards with known truth, as a folder of pictures to train a classifier on.

python -m benchmarks._characters BOARDS OUT [--fold K]: BOARDS holds a folder for each set (sudoku9,
hex16, ..., kenken9) with its truth.json; OUT gets one folder a label: 0-9, A-G, a-g as A-G, and the
operators + - x / as plus, minus, times, over. --fold 0: boards with numbers divisible by 4 only;
--fold 1: the others.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from modules.image._boards.grid import cells_of, found_grid
from modules.image._boards.ink import inked
from modules.image._boards.pictures import grey_picture
from modules.image._boards.strips import Strip, strip_of, strip_read

SETS = ("sudoku9", "hex16", "numeric16", "kenken5", "kenken7", "kenken9")
OPERATORS = {"": "", "add": "+", "sub": "-", "mul": "x", "div": "/"}
FOLDERS = {"+": "plus", "-": "minus", "x": "times", "/": "over"}
WIDTH = 128


def in_fold(name: str, fold: int | None) -> bool:
    """Whether a board is one of a fold: 0, numbers divisible by 4; 1, the others; None, all."""
    return fold is None or (int(name) % 4 != 0) == bool(fold)


def texts_of(kind: str, truth: object) -> dict[tuple[int, int], str]:
    """What stands in each cell of a board."""
    if kind.startswith("kenken"):
        return {
            min((r, c) for r, c in cage["cells"]): f"{int(cage['target'])}{OPERATORS[cage['op']]}"
            for cage in truth  # type: ignore[attr-defined]
        }
    rows = truth["puzzle"]  # type: ignore[index]
    signs = "0123456789ABCDEFG" if kind == "hex16" else None
    return {
        (i, j): signs[v] if signs else str(v)
        for i, row in enumerate(rows)
        for j, v in enumerate(row)
        if v
    }


def parted(strip: Strip, count: int) -> list[np.ndarray]:
    """The characters of a strip that shows so many; none where it cannot be cut so."""
    fitting = [s for s in strip.segmentations if len(s.characters) == count]
    if not fitting:
        return []
    best = min(fitting, key=lambda s: s.price)
    return [strip.pictures[k] for k in best.characters]


def characters(folder: Path, kind: str, fold: int | None) -> Iterator[tuple[str, str, np.ndarray]]:
    """Board, label and picture of each character of a set."""
    truth = json.loads((folder / kind / "truth.json").read_text())
    sizes = range(3, 17)
    for name, board in truth.items():
        if not in_fold(name, fold):
            continue
        raw = (folder / kind / f"{name}.png").read_bytes()
        cells = cells_of(found_grid(inked(grey_picture(raw)), sizes))
        for (i, j), text in texts_of(kind, board).items():
            strip = strip_of(cells[i][j], WIDTH)
            found = [] if strip is None else parted(strip_read(strip), len(text))
            yield from ((name, label, x) for label, x in zip(text, found, strict=bool(found)))


def main() -> int:
    """Write them."""
    from PIL import Image

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("boards", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--fold", type=int, choices=(0, 1))
    wishes = parser.parse_args()
    count = 0
    for kind in SETS:
        for name, label, picture in characters(wishes.boards, kind, wishes.fold):
            folder = wishes.out / FOLDERS.get(label, label)
            folder.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray((255 * picture).round().astype(np.uint8))
            image.save(folder / f"{kind}-{name}-{count}.png")
            count += 1
    print(f"{count} characters in {wishes.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
