"""Texts site by site, as a search reads them: one step of the model for many texts at once."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.energy.reader import Reader, Windows
from modules.language.model.causal import Causal, Known, picked

CONTEXTS = 1 << 13  # beginnings of a few letters that are asked for what follows


class Reading(NamedTuple):
    """Where some texts stand."""

    known: Known
    place: int  # sites read


class TextReader(Reader[Reading]):
    """tokens: for each site in order, the token that each of its values is. (n, k) int64, -1 beyond
    the values of a site."""

    least = 0.0  # no chance is above 1

    def __init__(self, model: Causal, known: Known, sites: Tensor, tokens: Tensor):
        self.model, self.known, self.sites, self.tokens = model, known, sites, tokens

    def begin(self, row: int) -> Reading:
        del row
        return Reading(self.known, 0)

    @torch.no_grad()
    def costs(self, s: Reading) -> Tensor:
        own = self.tokens[s.place]
        costs = -self.model.following(s.known).double()[:, own.clamp(min=0)]
        return costs.masked_fill(own < 0, torch.inf)

    @torch.no_grad()
    def read(self, s: Reading, places: Tensor) -> Reading:
        if s.place + 1 == len(self.tokens):  # nothing follows: a model may read no more than this
            return Reading(s.known, s.place + 1)
        tokens = self.tokens[s.place][places]
        return Reading(self.model.read(s.known, tokens), s.place + 1)

    def picked(self, s: Reading, index: Tensor) -> Reading:
        return Reading(picked(s.known, index), s.place)

    @torch.no_grad()
    def ahead(self, width: int) -> Windows | None:
        """What the model itself says of the last of few letters, when it has read no others."""
        own, count = self.tokens[0], len(self.tokens)
        alike = bool((self.tokens == own).all()) and bool((own >= 0).all())
        if not alike or width < 2 or count < width or len(own) ** (width - 1) > CONTEXTS:
            return None
        known = self.model.begin()
        for _ in range(width - 1):
            many = len(known[0])
            wide = picked(known, torch.arange(many).repeat_interleave(len(own)))
            known = self.model.read(wide, own.repeat(many))
        costs = -self.model.following(known)[:, own].double().numpy()
        places = np.arange(count - width + 1)[:, None] + np.arange(width)
        return Windows(places, costs.reshape((len(own),) * width))
