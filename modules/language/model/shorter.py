"""A model that also reads nothing: the value "" stands for no letter, costs 0 and is passed over.

So a text may be shorter than its sites (`language.length` says by how much). Letters are moved
together before the model reads them, and what it says is put back in their places.
"""

import torch
from torch import Tensor

from modules.language.model.causal import Causal, Known


class Shorter(Causal):
    """The token behind those of the model is nothing. For models that know as much after any
    number of letters (`steady`)."""

    steady = True

    def __init__(self, model: Causal):
        super().__init__()
        self.model, self.longest = model, model.longest
        self.pieces = (*model.pieces, "")
        self.nothing = len(model.pieces)

    @property
    def place(self) -> dict[str, int]:
        return {**self.model.place, "": self.nothing}

    def spelled(self, text: str) -> list[int]:
        return self.model.spelled(text)

    def begin(self) -> Known:
        return self.model.begin()

    def following(self, known: Known) -> Tensor:
        logs = self.model.following(known)
        return torch.cat([logs, logs.new_zeros(len(logs), 1)], 1)

    def read(self, known: Known, tokens: Tensor) -> Known:
        none = tokens == self.nothing
        after = self.model.read(known, tokens.masked_fill(none, 0))
        pairs = zip(known, after, strict=True)
        return tuple(torch.where(none.view(-1, *[1] * (a.dim() - 1)), b, a) for b, a in pairs)

    def _together(self, none: Tensor) -> Tensor:
        """Where each letter stands once nothing is left out between them, what is nothing last.
        (B, T) -> (B, T) places in order"""
        return none.to(torch.uint8).argsort(dim=1, stable=True)

    def losses(self, known: Known, tokens: Tensor) -> Tensor:
        none = tokens == self.nothing
        order = self._together(none)
        near = tokens.masked_fill(none, 0).gather(1, order)
        told = self.model.losses(known, near).masked_fill(none.gather(1, order), 0.0)
        return torch.zeros_like(told).scatter(1, order, told)

    def relaxed(self, known: Known, x: Tensor) -> Tensor:
        """A site counts as nothing where that is the likeliest of its values."""
        none = x.argmax(-1) == self.nothing
        order = self._together(none)
        near = x[..., :-1].gather(1, order[..., None].expand(-1, -1, self.nothing))
        logs = self.model.relaxed(known, near)
        logs = logs.masked_fill(none.gather(1, order)[..., None], 0.0)
        back = torch.zeros_like(logs).scatter(1, order[..., None].expand_as(logs), logs)
        return torch.cat([back, back.new_zeros(*back.shape[:2], 1)], -1)

    def places(self, known: Known, tokens: Tensor) -> tuple[Known, ...]:
        if not bool((tokens == self.nothing).any()):
            return self.model.places(known, tokens)
        out = [known]
        for one in tokens.unbind(1):
            out.append(self.read(out[-1], one))
        return tuple(out)
