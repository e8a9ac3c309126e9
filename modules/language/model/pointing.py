"""A small model of characters that also looks back: it points at letters of its own text.

    p(v | before) = (w p_net(v | before) + sum_i w_i [x_(i+1) = v]) / (w + sum_i w_i)
    w = e^(6 + q_t s),   w_i = e^(q_t k_i)
    q_t = (A h_t + a) / sqrt(d),   k_i = B h_i + b

h_t is what the gated recurrent layer knows after t letters, i goes over the last `reach` places
before t, and s stands for the network itself. So where it knew much the same before, what followed
then is likelier now: names, and turns of phrase. All of A, a, B, b, s is learned with the network,
from the same loss; nothing is learned while it reads. Each letter costs one key of d numbers, which
is kept as long as it may be looked back at. Source: Merity, Xiong, Bradbury and Socher, "Pointer
sentinel mixture models", ICLR 2017.
"""

import math
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, one_hot

from modules.language.model.causal import Causal, Known
from modules.language.model.network import CharacterNet

OWN = 6.0  # how much the network counts before anything was learned, in nats
FAR = -1e4  # where it may not look
PIECE = 128  # letters that are scored at once
LEAST = 1e-9  # chance, while it learns in float32


class Pointing(Causal):
    """What is known: that of the network, the keys of the last `reach` places, and 1 + the letter
    that followed each, 0 where there was none."""

    steady = True

    def __init__(
        self, net: CharacterNet, reach: int, keyed: int, generator: torch.Generator | None = None
    ):
        super().__init__()
        self.net, self.pieces, self.recalls = net, net.pieces, net.recalls
        self.reach, self.keyed = reach, keyed
        self.asks = nn.Parameter(torch.empty(keyed, net.hidden))
        self.keeps = nn.Parameter(torch.empty(keyed, net.hidden))
        self.shift_asks = nn.Parameter(torch.zeros(keyed))
        self.shift_keeps = nn.Parameter(torch.zeros(keyed))
        self.own = nn.Parameter(torch.zeros(keyed))
        wide = 1 / math.sqrt(net.hidden)
        with torch.no_grad():
            for weight in (self.asks, self.keeps):
                weight.uniform_(-wide, wide, generator=generator)

    def extra_repr(self) -> str:
        return f"{self.reach}, {self.keyed}"

    def settings(self) -> dict[str, Any]:
        """What a file says of it beside its numbers."""
        return {**self.net.settings(), "reach": self.reach, "keyed": self.keyed}

    def within(self, count: int) -> "Pointing":
        out = copy(self)  # the same numbers
        out.reach = min(self.reach, max(1, count))
        return out

    def spelled(self, text: str) -> list[int]:
        return self.net.spelled(text)

    def begin(self) -> Known:
        return self._nothing(self.net.begin(), 1)

    def _nothing(self, known: Known, rows: int) -> Known:
        keys = self.own.new_zeros(rows, self.reach, self.keyed)
        return (*known, keys, torch.zeros(rows, self.reach, dtype=torch.int32, device=keys.device))

    def _keys(self, h: Tensor) -> Tensor:
        return linear(h, self.keeps.to(h.dtype), self.shift_keeps.to(h.dtype))

    def _shares(self, h: Tensor, keys: Tensor, said: Tensor) -> Tensor:
        """How much each place counts before each of T letters, and last the network itself; the
        k-th letter may look at the places from k on, `reach` of them.
        (B, T, H), (B, reach + T - 1, d), (B, reach + T - 1) -> (B, T, reach + T)"""
        count, many = h.shape[1], keys.shape[1]
        asks = linear(h, self.asks.to(h.dtype), self.shift_asks.to(h.dtype)) / math.sqrt(self.keyed)
        row = torch.arange(count, device=h.device)[:, None]
        place = torch.arange(many, device=h.device)
        near = (place >= row) & (place < row + self.reach)
        bias = h.new_zeros(len(h), count, many + 1)
        bias[..., -1] = OWN
        bias[..., :-1].masked_fill_(~near | (said == 0)[:, None], FAR)
        own = self.own.to(h.dtype).expand(len(h), 1, -1)
        every = torch.cat([keys.to(h.dtype), own], 1).transpose(1, 2)
        return torch.baddbmm(bias, asks, every).softmax(-1)

    def following(self, known: Known) -> Tensor:
        h, keys, said = known
        share = self._shares(h[:, None], keys, said)[:, 0]
        out = share.new_zeros(len(share), 1 + len(self.pieces))
        out = out.scatter_add(1, said.long(), share[:, :-1])[:, 1:]
        return torch.logaddexp(self.net.following((h,)) + share[:, -1:].log(), out.log())

    def read(self, known: Known, tokens: Tensor) -> Known:
        h, keys, said = known
        keys = torch.cat([keys[:, 1:], self._keys(h)[:, None]], 1)
        said = torch.cat([said[:, 1:], (tokens[:, None] + 1).to(said.dtype)], 1)
        return (*self.net.read((h,), tokens), keys, said)

    def losses(self, known: Known, tokens: Tensor) -> Tensor:
        out = [known[0].new_zeros(len(tokens), 0, dtype=torch.float64)]
        for some in tokens.split(PIECE, 1):
            h, keys, said = self._along(known, some)
            before = h[:, :-1].double()  # a sum of many is exact
            share = self._shares(before, keys[:, :-1], said[:, :-1])
            hits = (share[..., :-1] * (said[:, None, :-1] == some[..., None] + 1)).sum(-1)
            logs = self.net.logs(before).gather(-1, some[..., None])[..., 0]
            out.append(-torch.logaddexp(logs + share[..., -1].log(), hits.log()))
            known = (h[:, -1], keys[:, -self.reach :], said[:, -self.reach :])
        return torch.cat(out, 1)

    def _along(self, known: Known, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the network knows before each token and behind the last, and all keys and letters.
        (B, T) -> (B, T + 1, H), (B, reach + T, d), (B, reach + T)"""
        first, keys, said = known
        if not tokens.shape[1]:
            return first[:, None], keys, said
        h = torch.cat([first[:, None], self.net.passed(self.net.embedding[tokens], first)], 1)
        keys = torch.cat([keys, self._keys(h[:, :-1])], 1)
        return h, keys, torch.cat([said, (tokens + 1).to(said.dtype)], 1)

    def relaxed(self, known: Known, x: Tensor) -> Tensor:
        """It points at whole distributions."""
        first, keys, said = known
        h = self.net.before((first,), x)
        if not x.shape[1]:
            return self.net.logs(h)
        share = self._shares(
            h,
            torch.cat([keys, self._keys(h[:, :-1])], 1),
            torch.cat([said, said.new_ones(len(x), x.shape[1] - 1)], 1),
        )
        letters = torch.cat([self._letters(said).to(x.dtype), x[:, :-1]], 1)
        pointed = torch.bmm(share[..., :-1], letters)
        own = self.net.logs(h) + share[..., -1:].log()
        return torch.logaddexp(own, pointed.clamp(min=torch.finfo(x.dtype).tiny).log())

    def _letters(self, said: Tensor) -> Tensor:
        """What followed each place, zeros where there was none. (B, n) -> (B, n, V)"""
        return one_hot(said.long(), 1 + len(self.pieces))[..., 1:]

    def places(self, known: Known, tokens: Tensor) -> tuple[Known, ...]:
        h, keys, said = self._along(known, tokens)
        spans = [slice(t, t + self.reach) for t in range(h.shape[1])]
        return tuple(
            (one, keys[:, s], said[:, s]) for one, s in zip(h.unbind(1), spans, strict=True)
        )

    def blank(self, rows: int) -> Known:
        """Of texts that have not begun: the next token they read is the one that begins them."""
        return self._nothing(self.net.blank(rows), rows)

    def learned(self, before: Tensor, carried: Known) -> tuple[Tensor, Known]:
        """While it learns: ln p after each token, (B, T) -> (B, T, V), and what is known then."""
        first, keys, said = carried
        y, known = self.net.read_along(before, first)  # (B, T, H)
        h = torch.cat([first[:, None], y[:, :-1]], 1).float()  # before each token is read
        keys = torch.cat([keys, self._keys(h)], 1)
        letters = torch.where(before == len(self.pieces), 0, before + 1)
        said = torch.cat([said, letters.to(said.dtype)], 1)
        share = self._shares(y.float(), keys[:, 1:], said[:, 1:])
        own = self.net.learned_logits(y).softmax(-1)
        pointed = torch.bmm(share[..., :-1], self._letters(said[:, 1:]).float())
        logs = (share[..., -1:] * own + pointed + LEAST).log()
        return logs, (known, keys[:, -self.reach :], said[:, -self.reach :])
