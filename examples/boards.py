"""Draws boards as pictures: digits of strokes that shake a little, grids, cages with their targets.

python -m examples.boards OUT: five small pictures, the same on every machine.
"""

import struct
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

Strokes = list[list[tuple[float, float]]]


def _arc(x: float, y: float, rx: float, ry: float, first: float, last: float) -> list:
    """Points on an ellipse, angles in turns, clockwise from the right."""
    turns = np.linspace(first, last, 12)
    return [(x + rx * np.cos(2 * np.pi * t), y + ry * np.sin(2 * np.pi * t)) for t in turns]


STROKES: dict[str, Strokes] = {  # in a box of width 0.6 and height 1, y downwards
    "0": [_arc(0.3, 0.5, 0.28, 0.48, 0.0, 1.0)],
    "1": [[(0.12, 0.25), (0.32, 0.04), (0.32, 0.96)]],
    "2": [_arc(0.3, 0.28, 0.26, 0.24, 0.5, 1.08) + [(0.06, 0.96), (0.58, 0.96)]],
    "3": [_arc(0.26, 0.27, 0.26, 0.23, 0.6, 1.25) + _arc(0.26, 0.73, 0.3, 0.23, 0.75, 1.4)],
    "4": [[(0.42, 0.98), (0.42, 0.02), (0.04, 0.66), (0.6, 0.66)]],
    "5": [[(0.54, 0.04), (0.12, 0.04), (0.1, 0.44)] + _arc(0.28, 0.67, 0.28, 0.28, 0.62, 1.38)],
    "6": [[(0.46, 0.03), (0.16, 0.4)] + _arc(0.3, 0.7, 0.24, 0.26, 0.5, 1.52)],
    "7": [[(0.04, 0.05), (0.56, 0.05), (0.22, 0.97)]],
    "8": [_arc(0.3, 0.26, 0.2, 0.22, 0.25, 1.25), _arc(0.3, 0.73, 0.26, 0.24, 0.75, 1.75)],
    "9": [_arc(0.3, 0.28, 0.24, 0.25, 0.0, 1.0) + [(0.54, 0.3), (0.46, 0.97)]],
    "A": [[(0.02, 0.98), (0.3, 0.02), (0.58, 0.98)], [(0.14, 0.62), (0.46, 0.62)]],
    "C": [_arc(0.34, 0.5, 0.3, 0.46, 0.88, 0.12)],
    "+": [[(0.05, 0.55), (0.55, 0.55)], [(0.3, 0.3), (0.3, 0.8)]],
    "-": [[(0.05, 0.55), (0.55, 0.55)]],
    "x": [[(0.08, 0.32), (0.52, 0.78)], [(0.52, 0.32), (0.08, 0.78)]],
    "/": [[(0.05, 0.55), (0.55, 0.55)], [(0.3, 0.3), (0.3, 0.34)], [(0.3, 0.76), (0.3, 0.8)]],
}


def text_picture(text: str, high: int, rng: np.random.Generator, shake: float = 0.02) -> np.ndarray:
    """A text in strokes, ink 1 on paper 0. -> (high, width)"""
    wide = max(1, round(high * (0.78 * len(text))))
    rows, columns = np.mgrid[:high, :wide]
    points = np.stack([(columns + 0.5) / high, (rows + 0.5) / high], -1)  # (high, wide, 2)
    away = np.full((high, wide), np.inf)
    slant = rng.normal(0, 0.06)
    for k, sign in enumerate(text):
        for stroke in STROKES[sign]:
            at = np.array(stroke) * 0.86 + 0.07 + rng.normal(0, shake, (len(stroke), 2))
            at[:, 0] += 0.78 * k + 0.03 - slant * (at[:, 1] - 0.5)
            for a, b in zip(at[:-1], at[1:], strict=True):
                along = np.clip(((points - a) @ (b - a)) / max((b - a) @ (b - a), 1e-9), 0, 1)
                gap = points - a - along[..., None] * (b - a)
                away = np.minimum(away, np.sqrt((gap**2).sum(-1)))
    return np.clip((0.055 - away) * high / 1.5 + 0.5, 0, 1)


def sudoku_picture(
    puzzle: Sequence[Sequence[int]],
    rng: np.random.Generator,
    cell: int = 60,
    lines: bool = True,
    signs: str | None = None,
) -> np.ndarray:
    """A puzzle, 0 = blank, as ink on paper: with grid lines, or without. -> (side, side)"""
    n = len(puzzle)
    out = np.zeros((n * cell, n * cell))
    for i, row in enumerate(puzzle):
        for j, value in enumerate(row):
            if value:
                _put(out, signs[value] if signs else str(value), i, j, cell, 0.62, rng)
    if lines:
        box = int(round(n**0.5))
        for k in range(n + 1):
            _ruled(out, k * cell, 5 if k % box == 0 else 2)
            _ruled(out.T, k * cell, 5 if k % box == 0 else 2)
    return out


def _put(
    out: np.ndarray, text: str, i: int, j: int, cell: int, share: float, rng: np.random.Generator
) -> None:
    """A text in the middle of a cell."""
    high = round(share * cell)
    while (picture := text_picture(text, high, rng)).shape[1] > 0.86 * cell:
        high -= 1
    top = i * cell + (cell - picture.shape[0]) // 2
    left = j * cell + (cell - picture.shape[1]) // 2
    out[top : top + picture.shape[0], left : left + picture.shape[1]] = picture


def _ruled(out: np.ndarray, at: int, thick: int) -> None:
    """A horizontal line over the whole picture."""
    first = min(max(0, at - thick // 2), len(out) - thick)
    out[first : first + thick] = 1.0


def kenken_picture(
    n: int, cages: Sequence[tuple[Sequence[tuple[int, int]], str]], rng: np.random.Generator
) -> np.ndarray:
    """Cages, cells and target each, as ink on paper. -> (side, side)"""
    cell = 100
    out = np.zeros((n * cell, n * cell))
    owner = np.zeros((n, n), int)
    for k, (cells, text) in enumerate(cages):
        for i, j in cells:
            owner[i, j] = k
        i, j = min(cells)
        picture = text_picture(text, min(30, 100 // len(text)), rng)
        top, left = i * cell + 12, j * cell + 10
        out[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    for k in range(n + 1):
        _ruled(out, k * cell, 1)
        _ruled(out.T, k * cell, 1)
    for x, edges in ((out, owner), (out.T, owner.T)):
        for i in range(n + 1):
            for j in range(n):
                if i in (0, n) or edges[i - 1, j] != edges[i, j]:
                    _ruled(x[:, max(0, j * cell - 2) : (j + 1) * cell + 3], i * cell, 5)
    return out


def random_cages(
    square: np.ndarray, rng: np.random.Generator, largest: int = 3
) -> list[tuple[list[tuple[int, int]], str]]:
    """Cages over a solved board, each with the target of its numbers."""
    n = len(square)
    free = {(i, j) for i in range(n) for j in range(n)}
    out = []
    while free:
        cells = [min(free)]
        free.remove(cells[0])
        for _ in range(int(rng.integers(largest))):
            beside = sorted(
                {(i + a, j + b) for i, j in cells for a, b in ((0, 1), (1, 0), (0, -1), (-1, 0))}
                & free
            )
            if beside:
                cells.append(beside[int(rng.integers(len(beside)))])
                free.remove(cells[-1])
        out.append((sorted(cells), _target(sorted(int(square[c]) for c in cells), rng)))
    return out


def _target(numbers: list[int], rng: np.random.Generator) -> str:
    """What numbers come to, under an operator that suits them."""
    if len(numbers) == 1:
        return str(numbers[0])
    ways = [f"{sum(numbers)}+", f"{int(np.prod(numbers))}x"]
    if len(numbers) == 2:
        ways.append(f"{numbers[1] - numbers[0]}-")
        if numbers[1] % numbers[0] == 0:
            ways.append(f"{numbers[1] // numbers[0]}/")
    return ways[int(rng.integers(len(ways)))]


def latin_square(n: int, rng: np.random.Generator) -> np.ndarray:
    """A solved board of rows and columns without repeats."""
    base = (np.arange(n)[:, None] + np.arange(n)) % n + 1
    return base[rng.permutation(n)][:, rng.permutation(n)]


def png(ink: np.ndarray, dark: bool = True) -> bytes:
    """Ink on paper as a grey PNG of 8 bits; dark ink on light paper, or the other way round."""
    grey = np.round(255 * (1 - ink if dark else ink)).astype(np.uint8)
    high, wide = grey.shape
    rows = np.concatenate([np.zeros((high, 1), np.uint8), grey], 1).tobytes()

    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", wide, high, 8, 0, 0, 0, 0)
    packed = chunk(b"IDAT", zlib.compress(rows, 9))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + packed + chunk(b"IEND", b"")


SMALL = [[0, 2, 0, 4], [3, 0, 1, 0], [0, 1, 0, 3], [2, 0, 0, 0]]
NINE = [
    [5, 3, 0, 0, 7, 0, 0, 0, 0],
    [6, 0, 0, 1, 9, 5, 0, 0, 0],
    [0, 9, 8, 0, 0, 0, 0, 6, 0],
    [8, 0, 0, 0, 6, 0, 0, 0, 3],
    [4, 0, 0, 8, 0, 3, 0, 0, 1],
    [7, 0, 0, 0, 2, 0, 0, 0, 6],
    [0, 6, 0, 0, 0, 0, 2, 8, 0],
    [0, 0, 0, 4, 1, 9, 0, 0, 5],
    [0, 0, 0, 0, 8, 0, 0, 7, 9],
]


def pictures() -> dict[str, bytes]:
    """The five pictures, by their names."""
    rng = np.random.default_rng(7)
    out = {
        "sudoku_4.png": png(sudoku_picture(SMALL, rng)),
        "sudoku_4_dark.png": png(sudoku_picture(SMALL, rng, cell=28, lines=False), dark=False),
        "sudoku_9.png": png(sudoku_picture(NINE, rng)),
    }
    for n in (4, 6):
        square = latin_square(n, rng)
        out[f"kenken_{n}.png"] = png(kenken_picture(n, random_cages(square, rng), rng))
    return out


def main() -> int:
    """Write them into a folder."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "pictures")
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in pictures().items():
        (folder / name).write_bytes(raw)
    return 0


if __name__ == "__main__":
    sys.exit(main())
