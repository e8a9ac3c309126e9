"""Labelled pictures: folders, IDX files as MNIST has them, the digits of scikit-learn."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engine.errors import BadQuery, Mistake, Mistakes
from modules.shared.reading.examples import read_numbers

DIGITS = "digits"  # the name of scikit-learn's
MISTAKES = 20  # told at once
FEWEST = 2  # pictures of a label, one of them held out


@dataclass(frozen=True, eq=False)
class Labelled:
    """Pictures of one size (n, h, w), whole numbers or not, and what each shows, a text.

    BadQuery: not as many labels as pictures, fewer than two labels, a label of one picture.
    """

    pictures: Tensor
    labels: Sequence[str]

    def __post_init__(self):
        if self.pictures.dim() != 3 or len(self.pictures) != len(self.labels):
            problem = f"{len(self.labels)} labels for pictures of shape {[*self.pictures.shape]}"
            raise BadQuery(Mistake("labels", problem, "give one for each picture (h, w)"))
        if len(self.known) < 2:
            problem = f"{len(self.known)} different ones: there is nothing to tell apart"
            raise BadQuery(Mistake("labels", problem, "give pictures of two labels or more"))
        counts = {label: list(self.labels).count(label) for label in self.known}
        few = [label for label, count in counts.items() if count < FEWEST]
        if few:
            remedy = f"give at least {FEWEST}: one to learn from, one to hold out"
            raise BadQuery(*(Mistake(f"label {name}", "has one picture", remedy) for name in few))

    @property
    def known(self) -> tuple[str, ...]:
        """The different labels, in order."""
        return tuple(sorted(set(self.labels)))


def labelled_pictures(data: Path) -> Labelled:
    """What a training is told: `digits`, an IDX file of pictures with its labels beside it, or a
    folder with a subfolder of PNGs for each label, or one that holds the two IDX files of MNIST."""
    if str(data) == DIGITS and not data.exists():
        return scikit_digits()
    if not data.is_dir():
        return _idx(data)
    folders = sorted(e.name for e in os.scandir(data) if e.is_dir() and e.name[0] != ".")
    if folders:
        return _folders(data, folders)
    found = sorted(data.glob("*images*idx3*"))
    for file in found[:1] if len(found) == 1 else [f for f in found if "train" in f.name][:1]:
        return _idx(file)
    remedy = "make one subfolder for each label, with PNGs of one size in it"
    raise BadQuery(Mistake("", "holds no labelled pictures", remedy))


def scikit_digits() -> Labelled:
    """The 1,797 digits of 8 x 8 that come with scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        remedy = "pip install scikit-learn, or give a folder"
        raise BadQuery(Mistake("", "these digits come with scikit-learn", remedy)) from None
    told = load_digits()
    pictures = torch.from_numpy(told.images.astype(np.float32))
    return Labelled(pictures, [str(label) for label in told.target])


def _idx(file: Path) -> Labelled:
    """Pictures (n, h, w) of an IDX file and the labels that lie beside it: `images-idx3` in its
    name is `labels-idx1` in theirs."""
    beside = file.with_name(file.name.replace("images", "labels").replace("idx3", "idx1"))
    pictures = read_numbers(file)
    if pictures.ndim != 3:
        problem = f"has the shape {[*pictures.shape]}"
        raise BadQuery(Mistake("", problem, "give pictures (n, height, width)"))
    if beside == file or not beside.exists():
        remedy = "name the files as MNIST does: train-images-idx3-ubyte, train-labels-idx1-ubyte"
        raise BadQuery(Mistake("", f"there are no labels {beside.name} beside it", remedy))
    try:
        labels = read_numbers(beside, ())
    except BadQuery as error:
        raise error.under(beside.name) from None
    if len(labels) != len(pictures):
        problem = f"{beside.name} has {len(labels)} labels for {len(pictures)} pictures"
        raise BadQuery(Mistake("", problem, "give as many"))
    numbers = torch.from_numpy(np.ascontiguousarray(pictures))
    return Labelled(numbers, [str(int(label)) for label in labels])


def _folders(data: Path, names: Sequence[str]) -> Labelled:
    wrong = Mistakes(MISTAKES)
    pictures: list[np.ndarray] = []
    labels: list[str] = []
    for name in names:
        try:
            some = read_numbers(data / name)
        except BadQuery as error:
            wrong.take(*error.under(f"label {name}").mistakes)
            continue
        if some.ndim == 4:
            some = some.mean(-1).round().astype(np.uint8)  # colours as grey
        if pictures and some.shape[1:] != pictures[0].shape[1:]:
            size, first = (" x ".join(map(str, p.shape[1:])) for p in (some, pictures[0]))
            wrong.add(f"label {name}", f"has pictures of {size}, the first {first}", "one size")
            continue
        pictures.append(some)
        labels += [name] * len(some)
    wrong.check()
    return Labelled(torch.from_numpy(np.concatenate(pictures)), labels)
