"""What a causal language model is: chances of the next token, after those that were read.

    p(text) = product over t of p(x_t | x_1 ... x_(t-1)),    E(text) = -ln p(text)

What it knows of the tokens read so far is a tuple of tensors, a row a text, so that texts with one
beginning share the reading of it: rows are taken and repeated by `picked`.
"""

from abc import abstractmethod
from collections import Counter
from functools import cached_property

import torch
from torch import Tensor, nn

from engine.errors import BadQuery, Mistake
from engine.errors import known as closest

Known = tuple[Tensor, ...]  # (B, ...) each


class Causal(nn.Module):
    """Abstract: a model over tokens, V of them; `pieces` says how each is written."""

    pieces: tuple[str, ...]
    longest: int | None = None  # tokens that it can read, those before the text among them
    steady: bool = False  # what is known has one shape, however much was read
    recalls: int = 0  # letters back that its file wants it to recall (`recalling`)

    @abstractmethod
    def begin(self) -> Known:
        """What is known before anything is read, of one text."""

    @abstractmethod
    def following(self, known: Known) -> Tensor:
        """ln p of every token next. -> (B, V)"""

    @abstractmethod
    def read(self, known: Known, tokens: Tensor) -> Known:
        """What is known after one more token of each text. (B,)"""

    @abstractmethod
    def losses(self, known: Known, tokens: Tensor) -> Tensor:
        """-ln p of each of these tokens, one after the other. (B, T) -> (B, T)"""

    @abstractmethod
    def relaxed(self, known: Known, x: Tensor) -> Tensor:
        """ln p of every token at each place of texts of distributions over tokens, with a gradient
        towards them. (B, T, V) -> (B, T, V)"""

    @abstractmethod
    def places(self, known: Known, tokens: Tensor) -> tuple[Known, ...]:
        """What is known before each of these tokens, and behind the last. (B, T) -> T + 1"""

    @cached_property
    def place(self) -> dict[str, int]:
        """The token that is written so, where there is only one."""
        count = Counter(self.pieces)
        return {piece: k for k, piece in enumerate(self.pieces) if piece and count[piece] == 1}

    def near(self, value: str) -> str:
        """A remedy for what is no letter of the model."""
        return closest(repr(value), [repr(piece) for piece in self.place])

    def spelled(self, text: str) -> list[int]:
        """A text as tokens. Raises BadQuery where it has letters that the model does not know."""
        place = self.place
        for k, letter in enumerate(text):
            if letter not in place:
                problem = f"the model has no letter {letter!r}"
                raise BadQuery(Mistake(f"[{k}]", problem, self.near(letter)))
        return [place[letter] for letter in text]


def picked(known: Known, index: Tensor) -> Known:
    """Some of the texts, in any order, any of them more than once. (m,)"""
    return tuple(t[index] for t in known)


def repeated(known: Known, count: int) -> Known:
    """One text as many."""
    return tuple(t.expand(count, *t.shape[1:]) for t in known)


def after(model: Causal, tokens: list[int]) -> Known:
    """What is known of one text once these tokens were read."""
    known = model.begin()
    with torch.no_grad():
        if tokens:
            known = model.places(known, torch.tensor([tokens], device=known[0].device))[-1]
    return known
