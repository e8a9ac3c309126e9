"""One target distribution over short sequences, learned twice: by an autoregressive model and by an
energy of whole sequences; the map from rewards to logits should make them one.

The setting of Blondel et al., arXiv 2512.15605, section 5, small: both are attention networks, the
first causal, the second looking both ways with one number a sequence; both are trained on the exact
expectation over all sequences. The optimality gaps are losses less the entropy of the target.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from engine.learning.optimizers import Adam
from modules.language.sequence.tree import Levels, SequenceTree, centred


class Block(nn.Module):
    """Attention and a hidden layer, each behind a norm and beside what came in."""

    def __init__(self, width: int, heads: int, causal: bool):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.into, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.hidden = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:  # (B, T, d) -> same
        b, t, d = x.shape
        every = self.into(self.norms[0](x)).reshape(b, t, 3, self.heads, d // self.heads)
        q, k, v = every.permute(2, 0, 3, 1, 4)
        seen = scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.out(seen.transpose(1, 2).reshape(b, t, d))
        return x + self.hidden(self.norms[1](x))


class Attending(nn.Module):
    """Tokens (B, T) to numbers, (B, T, count) of each place, or (B,) of the whole."""

    def __init__(self, tokens: int, length: int, width: int, count: int | None):
        super().__init__()
        self.token = nn.Embedding(tokens, width)
        self.place = nn.Parameter(0.1 * torch.randn(length, width))
        self.blocks = nn.Sequential(*(Block(width, 2, count is not None) for _ in range(2)))
        self.last = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, count or 1))
        self.whole = count is None

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.blocks(self.token(tokens) + self.place[: tokens.shape[1]])
        return self.last(x.mean(1))[:, 0] if self.whole else self.last(x)


class Twins(NamedTuple):
    """Gaps in nats, and the largest differences of logits, centred state by state."""

    energy_gap: float
    model_gap: float
    before: float  # of the energy's rewards themselves from the model's logits
    after: float  # once they were mapped


def trained_twins(tree: SequenceTree, log: Tensor, steps: int, width: int, seed: int = 0) -> Twins:
    """Learns ln p (N,) of all sequences of a tree without ends, both ways."""
    values, length = tree.values, tree.length
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        arm = Attending(values + 1, length, width, values)
        ebm = Attending(values, length, width, None)
    rows = tree.sequences()
    prefixes = rows[::values, :-1]  # each once
    first = torch.full((len(prefixes), 1), values)
    before = torch.cat([first, prefixes], 1)
    weight = log.exp().float()
    counts = nn.functional.one_hot(rows, values).float() * weight[:, None, None]
    counts = counts.reshape(len(prefixes), values, length, values).sum(1)
    every = [*arm.parameters(), *ebm.parameters()]
    optimizer = Adam(3e-3).made(every)
    for k in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1.0, 10 * (1 - k / steps), (k + 1) / 50)
        scores = ebm(rows)
        loss = scores.logsumexp(0) - (weight * scores).sum()
        loss = loss - (counts * arm(before).log_softmax(-1)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return _told(tree, log, ebm(rows).double(), _levels(tree, arm(before).double()))


def _levels(tree: SequenceTree, logits: Tensor) -> Levels:
    """Logits along the longest prefixes as those of all states. (P, T, V)"""
    out = []
    for t in range(tree.length):
        out.append(logits[:: tree.values ** (tree.length - 1 - t), t])
    return tuple(out)


def _told(tree: SequenceTree, log: Tensor, scores: Tensor, logits: Levels) -> Twins:
    least = -(log.exp() * log).sum()
    energy = scores.logsumexp(0) - (log.exp() * scores).sum()
    model = -(log.exp() * tree.log_chances(logits)).sum()
    rewards = tree.spread(scores)
    mapped = tree.rewards_to_logits(rewards)

    def far(one: Levels) -> float:
        pairs = zip(centred(one), centred(logits), strict=True)
        return max(float((a - b).abs().max()) for a, b in pairs)

    return Twins(float(energy - least), float(model - least), far(rewards), far(mapped))
