"""A model beside counts of runs of letters: the chance of each letter is a mean of both.

    p(x_t | before) = (1 - share) p_model(x_t | before) + share p_runs(x_t | the last few letters)

so that all chances still sum to one, and E = -ln p stays in nats.
"""

import math

import numpy as np
import torch
from torch import Tensor

from engine.errors import BadQuery, Mistake
from modules.language.model.causal import Causal, Known
from modules.language.ngram.chain import Chain


class Mixed(Causal):
    """What is known: that of the model, and behind it the state of the runs."""

    costs: Tensor
    after: Tensor

    def __init__(self, model: Causal, chain: Chain, share: float):
        super().__init__()
        self.model, self.pieces, self.longest = model, model.pieces, model.longest
        self.steady = model.steady
        places = chain.places(model.pieces)
        lacks = [piece for piece, k in zip(model.pieces, places, strict=True) if k is None]
        if chain.folded or lacks:
            told = "tell no capitals from small letters" if chain.folded else f"lack {lacks[0]!r}"
            remedy = "count runs in the text that the model was trained on"
            raise BadQuery(Mistake("runs", f"these runs {told}", remedy))
        order = np.array(places, dtype=np.int64)
        self.register_buffer("costs", torch.from_numpy(chain.costs[:, order]), persistent=False)
        after = torch.from_numpy(chain.following[:, order].astype(np.int64))
        self.register_buffer("after", after, persistent=False)
        self.shares = math.log1p(-share), math.log(share)

    def _both(self, logs: Tensor, state: Tensor) -> Tensor:
        """ln p of every token, where the model says `logs`."""
        runs = self.shares[1] - self.costs[state].to(logs.dtype)
        return torch.logaddexp(self.shares[0] + logs, runs)

    def spelled(self, text: str) -> list[int]:
        return self.model.spelled(text)

    def begin(self) -> Known:
        known = self.model.begin()
        return (*known, torch.zeros(1, dtype=torch.long, device=known[0].device))

    def following(self, known: Known) -> Tensor:
        return self._both(self.model.following(known[:-1]), known[-1])

    def read(self, known: Known, tokens: Tensor) -> Known:
        return (*self.model.read(known[:-1], tokens), self.after[known[-1], tokens])

    def _states(self, state: Tensor, tokens: Tensor) -> list[Tensor]:
        """The state of the runs before each token, and behind the last."""
        out = [state]
        for one in tokens.unbind(1):
            out.append(self.after[out[-1], one])
        return out

    def losses(self, known: Known, tokens: Tensor) -> Tensor:
        if not tokens.shape[1]:
            return self.model.losses(known[:-1], tokens)
        logs = -self.model.losses(known[:-1], tokens)
        state = torch.stack(self._states(known[-1], tokens)[:-1], 1)
        runs = self.shares[1] - self.costs[state, tokens].to(logs.dtype)
        return -torch.logaddexp(self.shares[0] + logs, runs)

    def relaxed(self, known: Known, x: Tensor) -> Tensor:
        """Runs are read along the likeliest letters."""
        logs = self.model.relaxed(known[:-1], x)
        if not x.shape[1]:
            return logs
        state = torch.stack(self._states(known[-1], x.argmax(-1))[:-1], 1)
        return self._both(logs, state)

    def places(self, known: Known, tokens: Tensor) -> tuple[Known, ...]:
        every = self.model.places(known[:-1], tokens)
        states = self._states(known[-1], tokens)
        return tuple((*own, state) for own, state in zip(every, states, strict=True))
