"""Digits as lines of bits, to learn an energy of images.

    python examples/digits.py FOLDER > digits.txt

FOLDER holds train-images-idx3-ubyte.gz of MNIST (LeCun, Cortes, Burges). Each image becomes 14 x 14
bits: the mean of 2 x 2 pixels, above a half. Then

    basin train discrete.binary_image --data digits.txt --out digits14.safetensors \\
      --params '{"shape": [14, 14]}'

which made the weights that ship with Basin (from the first 10,000 images; 43 s on one core).
"""

import gzip
import sys
from pathlib import Path

import numpy as np


def bits(path: Path, count: int) -> np.ndarray:
    """The first images of an IDX file. -> (count, 14, 14) of 0 and 1"""
    with gzip.open(path) as file:
        raw = np.frombuffer(file.read(16 + count * 784), dtype=np.uint8, offset=16)
    blocks = raw.reshape(-1, 14, 2, 14, 2).astype(np.float32).mean((2, 4))
    return (blocks > 127.5).astype(np.uint8)


def main() -> None:
    """One image a line."""
    folder = Path(sys.argv[1])
    for image in bits(folder / "train-images-idx3-ubyte.gz", 10_000):
        print("".join(map(str, image.reshape(-1))))


if __name__ == "__main__":
    main()
