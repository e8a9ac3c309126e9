"""What strips of ink may say, and at which price: -ln of the chances of their characters.

price(text) = min over segmentations into as many characters of
              price(segmentation) + sum over characters of -ln p(sign | picture of it)
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from engine.decimals import Floats, Ints
from engine.domain import Told, View
from engine.errors import BadQuery, Mistake
from modules.image._boards.strips import HIGH, Segmentation, Strip, strip_read
from modules.image._boards.views import seen_often
from modules.image.classifier.nothing import NONE
from modules.image.classifier.reader import load_reader

UNIT = 1024  # prices are whole numbers of 1 / UNIT nats: sums are exact
DOUBT = 1e-4  # the share of each chance that is spread over all signs: none is impossible
SHUT = 64.0  # nats, for a text with as many characters as no segmentation has
WEIGHTS = "characters.safetensors"  # what ships with Basin
LETTERS = "ABCDEFG"  # for 10 to 16
NEAR = 6.0  # nats above the cheapest way to part a strip, within which characters are seen often
KEPT = 4096  # strips whose readings are kept
NAMES = {"+": "plus", "-": "minus", "x": "times", "/": "over"}  # of folders of pictures


class Characters(Protocol):
    """What tells characters: its labels, and ln of their chances."""

    labels: tuple[str, ...]

    def log_chances(self, pictures: Tensor) -> Tensor: ...  # (n, h, w) -> (n, k)


class Read(NamedTuple):
    """What a strip may say: ln p(label) of each of its characters, and how they follow."""

    chances: Floats  # (m, k)
    segmentations: tuple[Segmentation, ...]


class Signs:
    """The signs that may stand in a strip, as places of the labels of a classifier."""

    def __init__(self, labels: Sequence[str], signs: Sequence[str]):
        self.signs = tuple(signs)
        place = {label: k for k, label in enumerate(labels)}
        columns = []  # of each sign: letters count in either case
        for sign in signs:
            every = {sign, sign.lower(), sign.upper(), NAMES.get(sign, sign)}
            columns.append([place[name] for name in sorted(every) if name in place])
        self.missing = [sign for sign, own in zip(signs, columns, strict=True) if not own]
        self.columns = columns
        self.none = place.get(NONE)
        self.place = {sign: k for k, sign in enumerate(signs)}

    def prices(self, chances: Floats) -> Floats:
        """-ln p(sign | it is one of these, or no character). (m, k) -> (m, signs)"""
        p = np.stack([np.exp(chances[:, own]).sum(1) for own in self.columns], 1) + 1e-30
        none = 0.0 if self.none is None else np.exp(chances[:, self.none])[:, None]
        p = p / (p.sum(1, keepdims=True) + none)
        return -np.log((1 - DOUBT) * p + DOUBT / len(self.columns))

    def spelled(self, texts: Sequence[str]) -> dict[int, tuple[Ints, Ints]]:
        """Texts by their length: which they are, and the places of their signs."""
        out: dict[int, tuple[list[int], list[list[int]]]] = {}
        for k, text in enumerate(texts):
            at, signs = out.setdefault(len(text), ([], []))
            at.append(k)
            signs.append([self.place[sign] for sign in text])
        return {n: (np.array(at), np.array(signs)) for n, (at, signs) in out.items()}


class Reading:
    """Reads strips with a classifier; the last are kept."""

    def __init__(self, characters: Characters):
        self.characters = characters
        self._none = characters.labels.index(NONE) if NONE in characters.labels else None
        self._kept: OrderedDict[bytes, Read] = OrderedDict()

    def reads(self, strips: np.ndarray) -> list[Read]:
        """What each strip may say. (n, h, w) float32"""
        keys = [
            hashlib.blake2b(np.ascontiguousarray(s).data, digest_size=16).digest() for s in strips
        ]
        fresh = {key: k for k, key in enumerate(keys) if key not in self._kept}
        found = [strip_read(strips[k]) for k in fresh.values()]
        pictures = [f.pictures for f in found if len(f.pictures)]
        if pictures:
            with torch.no_grad():
                every = torch.from_numpy(np.concatenate(pictures))
                told = seen_often(
                    self.characters.log_chances, every, self._none, partial(self._near, found)
                )
            chances = told.double().cpu().numpy()
        first = 0
        made = {}
        for key, one in zip(fresh, found, strict=True):
            count = len(one.pictures)
            part = (
                chances[first : first + count]
                if count
                else np.zeros((0, len(self.characters.labels)))
            )
            made[key] = Read(part, one.segmentations)
            first += count
        out = [made.get(key) or self._kept[key] for key in keys]
        self._kept |= made
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return out

    def _near(self, strips: Sequence[Strip], told: Tensor) -> Tensor:
        """Which characters stand in a segmentation that may cost at most `NEAR` more than the
        cheapest of its strip. (n, k) -> (n,) bool"""
        chances = told.clone()
        if self._none is not None:
            chances[:, self._none] = -torch.inf
        least, near, first = -chances.amax(1).cpu().numpy(), np.zeros(len(told), bool), 0
        for strip in strips:
            every = strip.segmentations
            costs = [s.price + float(least[[first + k for k in s.characters]].sum()) for s in every]
            for segmentation, cost in zip(every, costs, strict=True):
                if cost <= min(costs) + NEAR:
                    near[[first + k for k in segmentation.characters]] = True
            first += len(strip.pictures)
        return torch.from_numpy(near).to(told.device)


def text_prices(
    read: Read, signs: Signs, spelled: dict[int, tuple[Ints, Ints]], count: int
) -> Floats:
    """The price of each of some texts. -> (count,), whole numbers of 1 / UNIT"""
    out = np.full(count, SHUT)
    if not read.segmentations:
        return out
    prices = signs.prices(read.chances)
    for length, (at, places) in spelled.items():
        best = out[at]
        for segmentation in read.segmentations:
            if len(segmentation.characters) == length:
                rows = np.array(segmentation.characters)
                best = np.minimum(best, segmentation.price + prices[rows, places].sum(1))
        out[at] = best
    return np.round(np.minimum(out, SHUT) * UNIT) / UNIT


def text_of(value: Any, way: str, path: str) -> str:
    """How a number is written. Raises BadQuery for what is none."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise BadQuery(Mistake(path, f"{value!r} is not written in digits", "give whole numbers"))
    if way == "letters" and value >= 10:
        if value >= 10 + len(LETTERS):
            raise BadQuery(Mistake(path, f"{value} has no letter", "write it in decimal"))
        return LETTERS[value - 10]
    return str(value)


def check_strips(pictures: View, count: int) -> None:
    """Strips of the right height, one for each site or cage. Raises BadQuery."""
    shape = pictures.shape
    if len(shape) != 3 or shape[0] != count or shape[1] != HIGH:
        said, asked = f"has the shape {list(shape)}", f"give [{count}, {HIGH}, width]"
        raise BadQuery(Mistake("scope[0]", said, asked))
    check_numbers(pictures, "scope[0]")


def check_sizes(sizes: View, count: int) -> None:
    """A number for each site. Raises BadQuery."""
    if sizes.shape != (count,):
        raise BadQuery(Mistake("scope[1]", f"has the shape {list(sizes.shape)}", f"give [{count}]"))
    check_numbers(sizes, "scope[1]")


def check_numbers(told: View, path: str) -> None:
    """An input of numbers: of named values only their places would be seen. Raises BadQuery."""
    if isinstance(told.variable.domain, Told) and told.variable.domain.values is not None:
        raise BadQuery(Mistake(path, "has named values", "give low and high in place of values"))


def check_signs(signs: Signs) -> None:
    """All of them are among the labels of the classifier. Raises BadQuery."""
    if signs.missing:
        said = f"was not trained on {', '.join(signs.missing)}"
        raise BadQuery(Mistake("weights", said, "name weights whose labels are these signs"))


@lru_cache(maxsize=4)
def _reading(reader: Any) -> Reading:
    return Reading(reader)


def reading_of(weights: str) -> Reading:
    """What reads strips with these weights; the same for the same file."""
    return _reading(load_reader(weights))


def same_pictures(values: Floats, present: np.ndarray, row: int) -> bool:
    """Whether a state was told what the state before it was. values (B, n, h, w), present (B, n)"""
    same = bool((present[row] == present[row - 1]).all())
    return same and bool(np.array_equal(values[row], values[row - 1]))
