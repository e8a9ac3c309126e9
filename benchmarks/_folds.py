"""Networks that never saw the boards they are tested on: one for each fold, trained as
`basin train image.classifier` trains.

python -m benchmarks._folds FOLD BOARDS MNIST OUT [--fonts FOLDER] [--omniglot ZIP] [--steps N]
[--start WEIGHTS]:
BOARDS holds a folder for each set with its truth.json; FOLD 0 is tested on boards with numbers
divisible by 4 and learns from the characters of the others, FOLD 1 the other way round. Left out of
those, and of MNIST's training set, is every picture that comes near to one of a tested board (a
cosine above 0.94): the sets were made of MNIST, and characters stand on several boards.
FOLD 2 is tested on no board and learns from all: the weights that ship.
All labels are shown equally often, so that chances are told without any label's being likelier; one
of them is `none`, of characters that touch and parts of one.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks._characters import FOLDERS, SETS, characters
from benchmarks._glyphs import of_fonts, of_omniglot
from benchmarks._joined import joined
from modules.image._boards.ink import framed
from modules.image.classifier.examples import Labelled
from modules.image.classifier.nothing import NONE
from modules.image.classifier.train import Options, fitted
from modules.shared.reading.examples import read_numbers
from modules.shared.training import one_thread

NEAR = 0.94  # cosine, from which a picture counts as one of a tested board
ALL = 2  # a fold that leaves out nothing
EACH = 6_000  # pictures of each label that a pass shows
RATE = 2e-3  # where a training begins at other weights
OPERATORS = set(FOLDERS.values())  # printed, alike everywhere

Pictures = list[tuple[str, np.ndarray]]


def on_boards(boards: Path, fold: int | None) -> Pictures:
    """The characters of one fold of boards; None: of all."""
    return [
        (FOLDERS.get(label, label), picture)
        for kind in SETS
        for _, label, picture in characters(boards, kind, fold)
    ]


def of_mnist(folder: Path) -> Pictures:
    """MNIST's training set, framed as characters of boards are."""
    pictures = read_numbers(folder / "train-images-idx3-ubyte.gz").astype(np.float32) / 255
    labels = read_numbers(folder / "train-labels-idx1-ubyte.gz", ())
    out = []
    for label, x in zip(labels, pictures, strict=True):
        rows, columns = np.flatnonzero((x > 0.2).any(1)), np.flatnonzero((x > 0.2).any(0))
        cut = x[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        out.append((str(int(label)), framed(cut)))
    return out


def far(pictures: Pictures, tested: Pictures) -> Pictures:
    """The pictures that come near to none of those that are tested."""
    own, other = _units(pictures), _units(tested)
    near = torch.cat([(some @ other.T).amax(1) > NEAR for some in own.split(4000)])
    return [
        one
        for one, close in zip(pictures, near.tolist(), strict=True)
        if not close or one[0] in OPERATORS
    ]


def _units(pictures: Pictures) -> torch.Tensor:
    x = torch.from_numpy(np.stack([picture for _, picture in pictures])).flatten(1)
    return x / x.norm(dim=1, keepdim=True)


def examples(boards: Path, mnist: Path, fold: int, drawn: Pictures) -> Labelled:
    """What a network of one fold learns from."""
    own, digits = on_boards(boards, None if fold == ALL else 1 - fold), of_mnist(mnist)
    if fold != ALL:
        tested = on_boards(boards, fold)
        own, digits = far(own, tested), far(digits, tested)
    some = [*own, *digits[:: len(digits) // len(own) + 1]]
    parted = np.array([label not in OPERATORS and label != "1" for label, _ in some])
    shown = np.stack([picture for _, picture in some])
    none = joined(shown, parted, EACH, np.random.default_rng(fold))
    every = [*own, *digits, *drawn, *((NONE, picture) for picture in none)]
    pictures = np.stack([(255 * picture).round().astype(np.uint8) for _, picture in every])
    return Labelled(torch.from_numpy(pictures), [label for label, _ in every])


def main(arguments: Sequence[str] | None = None) -> int:
    """Train one network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fold", type=int, choices=(0, 1, ALL))
    parser.add_argument("boards", type=Path)
    parser.add_argument("mnist", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--fonts", type=Path)
    parser.add_argument("--omniglot", type=Path)
    parser.add_argument("--steps", type=int, default=6_000)
    parser.add_argument("--start")
    wishes = parser.parse_args(arguments)
    rng = np.random.default_rng(wishes.fold)
    drawn = [] if wishes.fonts is None else list(of_fonts(wishes.fonts, rng))
    drawn += [] if wishes.omniglot is None else list(of_omniglot(wishes.omniglot, rng))
    with one_thread():
        told = examples(wishes.boards, wishes.mnist, wishes.fold, drawn)
        counts = {label: list(told.labels).count(label) for label in told.known}
        print(f"{len(told.labels)} pictures: {counts}", flush=True)
        options = Options(least=EACH, start=wishes.start, rate=RATE if wishes.start else 4e-3)
        made = fitted(told, options, steps=wishes.steps, seed=wishes.fold)
    made.reader.told_by(
        " ".join(["python -m benchmarks._folds", *(arguments or sys.argv[1:])])
    ).save(wishes.out)
    print(f"{made.trained.steps} steps, {made.trained.seconds:.1f} s, held {made.held}: "
          f"{100 * made.right:.2f} % right, {made.loss:.4f}, T {made.reader.temperature:.3f}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
