"""A model that also recalls what its own text has said: names, and turns of phrase, come again.

    p(v | before) = (p_model(v | before) + sum_i w_i [x_(i+1) = v]) / (1 + sum_i w_i)
    w_i = 2^(min(m_i, 8) - 8) where m_i >= 3, else 0

i goes over the last letters read, and m_i is how many of those up to and with x_i are the last ones
read. So what followed the same 8 letters earlier counts as much as the model itself, and what
followed 3 of them 1/32. All chances sum to one, and E = -ln p stays in nats; nothing is learned
while it reads. The weights were seen to fit on held-out plays, and kept as they are near the best
on news too (Penn Treebank, beside runs of 5 letters: 4 % of the bits are spared). Source: Grave,
Joulin, Usunier, "Improving neural language models with a continuous cache", ICLR 2017,
with matches of letters in place of hidden states (Cleary and Witten, "Data compression using
adaptive coding and partial string matching", 1984).
"""

import torch
from torch import Tensor

from modules.language.model.causal import Causal, Known

FEWEST, LONGEST = 3, 8  # letters that must agree; beyond the most, more do not count


class Recalling(Causal):
    """What is known: that of the model, the last `reach` letters, and how far each agrees."""

    weights: Tensor

    def __init__(self, model: Causal, reach: int):
        super().__init__()
        self.model, self.pieces, self.longest = model, model.pieces, model.longest
        self.steady, self.reach = model.steady, reach
        length = torch.arange(LONGEST + 1, dtype=torch.float64)
        weights = torch.where(length < FEWEST, 0.0, 2.0 ** (length - LONGEST))
        self.register_buffer("weights", weights, persistent=False)

    def spelled(self, text: str) -> list[int]:
        return self.model.spelled(text)

    def begin(self) -> Known:
        known = self.model.begin()
        nothing = torch.full((1, self.reach), -1, dtype=torch.int32, device=known[0].device)
        return (*known, nothing, torch.zeros_like(nothing, dtype=torch.uint8))

    def _said(self, known: Known) -> tuple[Tensor, Tensor]:
        """What followed each letter but the last, and its weight. -> (B, W - 1) each"""
        letters, match = known[-2:]
        return letters[:, 1:], self.weights[match[:, :-1].int()]

    def _after(self, known: Known, tokens: Tensor) -> Known:
        """The letters with one more, and how far each agrees with it. -> the last two of known"""
        letters, match = known[-2:]
        new = tokens[:, None].to(letters.dtype)
        letters = torch.cat([letters[:, 1:], new], 1)
        match = (match + 1).clamp(max=LONGEST) * (letters == new)
        return letters, match.to(torch.uint8)

    def _both(self, logs: Tensor, known: Known) -> Tensor:
        """ln p of every token, where the model says `logs`. (B, V) -> (B, V)"""
        told, weight = self._said(known)
        added = weight.new_zeros(len(weight), logs.shape[-1])
        added = added.scatter_add(1, told.clamp(min=0).long(), weight)
        logs_added = added.log().to(logs.dtype)  # -inf where nothing says so
        return torch.logaddexp(logs, logs_added) - weight.sum(1, keepdim=True).log1p().to(
            logs.dtype
        )

    def following(self, known: Known) -> Tensor:
        return self._both(self.model.following(known[:-2]), known)

    def read(self, known: Known, tokens: Tensor) -> Known:
        return (*self.model.read(known[:-2], tokens), *self._after(known, tokens))

    def losses(self, known: Known, tokens: Tensor) -> Tensor:
        losses = self.model.losses(known[:-2], tokens)
        if not tokens.shape[1]:
            return losses
        own, columns = tuple(known[-2:]), []
        for k, one in enumerate(tokens.unbind(1)):
            told, weight = self._said(own)
            hits = (weight * (told == one[:, None])).sum(1)
            logs = torch.logaddexp(-losses[:, k], hits.log().to(losses.dtype))
            columns.append(weight.sum(1).log1p().to(losses.dtype) - logs)
            own = self._after(own, one)
        return torch.stack(columns, 1)

    def relaxed(self, known: Known, x: Tensor) -> Tensor:
        """What was said is read along the likeliest letters."""
        logs = self.model.relaxed(known[:-2], x)
        if not x.shape[1]:
            return logs
        own, columns = tuple(known[-2:]), []
        for k, one in enumerate(x.argmax(-1).unbind(1)):
            columns.append(self._both(logs[:, k], own))
            own = self._after(own, one)
        return torch.stack(columns, 1)

    def places(self, known: Known, tokens: Tensor) -> tuple[Known, ...]:
        own, out = tuple(known[-2:]), []
        for k, every in enumerate(self.model.places(known[:-2], tokens)):
            out.append((*every, *own))
            if k < tokens.shape[1]:
                own = self._after(own, tokens[:, k])
        return tuple(out)
