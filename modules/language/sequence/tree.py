"""All sequences of a small alphabet as a tree, and the map between rewards and logits.

A state s is a prefix. A reward r(s, a) is given for the token a behind it, R(y) = sum_t r(s_t, y_t)
is the score of a response y (its energy is -R), and p_R(y) = exp(R(y) - A), A = ln sum_y exp R(y).
An autoregressive model has logits q(s, a), V_q(s) = ln sum_a exp q(s, a), and p_q(y) = prod_t
exp(q(s_t, y_t) - V_q(s_t)). The map q = M(r), from the longest prefixes to the empty one,

    q(s, a) = r(s, a) + V_q(s a)   (a goes on),        q(s, a) = r(s, a)   (a ends the response)

makes them the same distribution, with A = V_q(root): the soft Bellman equation, discount 1, on a
tree. Its inverse is r(s, a) = q(s, a) - V_q(s a). It costs a number for each prefix and token.
Source: Blondel et al., "Autoregressive language models are secretly energy-based models: insights
into the lookahead capabilities of next-token prediction", arXiv 2512.15605, prop. 3.2.

Rewards and logits are a tensor for each length t of a prefix, (V^t, k): a prefix is the number of
its tokens in base V, the first token first; k is V, or V + 1 where the last column ends a response.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.errors import BadQuery, Mistake

Levels = tuple[Tensor, ...]  # T of (V^t, k)

MOST = 1 << 24  # numbers of all levels


@dataclass(frozen=True)
class SequenceTree:
    """values: V tokens. length: T, tokens of a response at most, the one that ends it included.
    ends: whether a token of its own ends a response; else all have T tokens."""

    values: int
    length: int
    ends: bool = True

    def __post_init__(self):
        wrong = [
            Mistake(name, f"{getattr(self, name)!r}", "give a whole number above 0")
            for name in ("values", "length")
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1
        ]
        if wrong:
            raise BadQuery(*wrong)
        if self.length * math.log2(max(2, self.values)) > 60 or self.numbers > MOST:
            told = f"{self.values} tokens, {self.length} long"
            raise BadQuery(Mistake("length", told, f"the tree may hold {MOST} numbers"))

    @property
    def width(self) -> int:
        """k, the tokens behind a prefix, that which ends it among them."""
        return self.values + self.ends

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Of the levels."""
        return tuple((self.values**t, self.width) for t in range(self.length))

    @property
    def numbers(self) -> int:
        """How many rewards, or logits, there are, those that are forbidden among them."""
        return sum(rows * k for rows, k in self.shapes)

    @property
    def responses(self) -> int:
        """How many responses there are."""
        if not self.ends:
            return self.values**self.length
        return sum(self.values**t for t in range(self.length))

    def allowed(self) -> Levels:
        """Which tokens may stand behind a prefix: at the last place, only that which ends it."""
        out = [torch.ones(shape, dtype=torch.bool) for shape in self.shapes]
        if self.ends:
            out[-1][:, : self.values] = False
        return tuple(out)

    def masked(self, levels: Levels) -> Levels:
        """With -inf where nothing may stand: the one place where that is said."""
        self._check(levels)
        pairs = zip(levels, self.allowed(), strict=True)
        return tuple(x.masked_fill(~ok.to(x.device), -torch.inf) for x, ok in pairs)

    def sequences(self) -> Tensor:
        """All responses in order: by length, then by their prefix; V ends one, -1 is beyond. ->
        (N, T) int64"""
        if not self.ends:
            return self._prefixes(self.length)
        rows = []
        for t in range(self.length):
            own = torch.full((self.values**t, self.length), -1)
            own[:, :t] = self._prefixes(t)
            own[:, t] = self.values
            rows.append(own)
        return torch.cat(rows)

    def _prefixes(self, t: int) -> Tensor:
        """(V^t, t)"""
        number, out = torch.arange(self.values**t), torch.zeros(self.values**t, t, dtype=torch.long)
        for place in range(t - 1, -1, -1):
            out[:, place] = number % self.values
            number = number // self.values
        return out

    def rewards_to_logits(self, rewards: Levels) -> Levels:
        """M: what a token gives, and all that may follow it."""
        rewards = self.masked(rewards)
        out = [rewards[-1]]
        for r in reversed(rewards[:-1]):
            out.append(self._with(r, soft_value(out[-1]), 1.0))
        return tuple(reversed(out))

    def logits_to_rewards(self, logits: Levels) -> Levels:
        """The inverse of M."""
        logits = self.masked(logits)
        pairs = zip(logits[:-1], logits[1:], strict=True)
        return (*(self._with(q, soft_value(then), -1.0) for q, then in pairs), logits[-1])

    def _with(self, own: Tensor, value: Tensor, sign: float) -> Tensor:
        """With the values of the prefixes behind each token that goes on. (V^t, k), (V^(t+1),)"""
        value = sign * value.reshape(len(own), self.values)
        going = own[:, : self.values] + value
        return torch.cat([going, own[:, self.values :]], 1)

    def log_partition(self, rewards: Levels) -> Tensor:
        """A = ln sum over responses of exp R, from the root of M(r). -> ()"""
        return soft_value(self.rewards_to_logits(rewards)[0])[0]

    def scores(self, rewards: Levels) -> Tensor:
        """R of every response, in the order of `sequences`. -> (N,)"""
        return self._along(self.masked(rewards))

    def log_chances(self, logits: Levels) -> Tensor:
        """ln p_q of every response. -> (N,)"""
        return self._along(tuple(q.log_softmax(1) for q in self.masked(logits)))

    def _along(self, levels: Levels) -> Tensor:
        """The sum of a number of each step along every response."""
        so_far, out = levels[0].new_zeros(1), []
        for t, own in enumerate(levels):
            if self.ends:
                out.append(so_far + own[:, self.values])
            if self.ends and t == self.length - 1:
                break
            so_far = (so_far[:, None] + own[:, : self.values]).reshape(-1)
        return torch.cat(out) if self.ends else so_far

    def prefix_log_chances(self, logits: Levels) -> Levels:
        """ln of the chance that a response begins with each prefix. -> T of (V^t,)"""
        reach = [logits[0].new_zeros(1)]
        for q in self.masked(logits)[:-1]:
            step = q.log_softmax(1)[:, : self.values]
            reach.append((reach[-1][:, None] + step).reshape(-1))
        return tuple(reach)

    def spread(self, scores: Tensor) -> Levels:
        """Scores of whole responses as rewards that are all paid at the last token. (N,)"""
        out = [scores.new_zeros(shape) for shape in self.shapes]
        if not self.ends:
            out[-1] = scores.reshape(self.shapes[-1])
            return self.masked(tuple(out))
        pieces = scores.split([self.values**t for t in range(self.length)])
        for own, piece in zip(out, pieces, strict=True):
            own[:, self.values] = piece
        return self.masked(tuple(out))

    def drawn(self, logits: Levels, count: int, u: Tensor) -> Tensor:
        """Responses drawn token by token, by uniform numbers (count, T). -> (count, T)"""
        chances = [q.softmax(1) for q in self.masked(logits)]
        return self._walked(count, lambda t, at: _by_share(chances[t][at], u[:, t]))

    def greedy(self, logits: Levels) -> Tensor:
        """The response of the largest logit at every step. -> (T,)"""
        levels = self.masked(logits)
        return self._walked(1, lambda t, at: levels[t][at].argmax(1))[0]

    def _walked(self, count: int, chosen) -> Tensor:
        out = torch.full((count, self.length), -1)
        at, going = torch.zeros(count, dtype=torch.long), torch.ones(count, dtype=torch.bool)
        for t in range(self.length):
            token = chosen(t, at)
            out[going, t] = token[going]
            going = going & (token < self.values)
            at = at * self.values + token.clamp(max=self.values - 1)
            at = torch.where(going, at, 0)
        return out

    def _check(self, levels: Levels) -> None:
        shapes = tuple(tuple(x.shape) for x in levels)
        if shapes != self.shapes:
            problem = f"levels of the shapes {list(shapes)}"
            raise BadQuery(Mistake("levels", problem, f"give {list(self.shapes)}"))


def soft_value(logits: Tensor) -> Tensor:
    """V(s) = ln sum over a of exp q(s, a). (S, k) -> (S,)"""
    return logits.logsumexp(1)


def centred(levels: Levels) -> Levels:
    """Logits less the value of their state: of those that tell the same chances, the same."""
    return tuple(q - soft_value(q)[:, None] for q in levels)


def _by_share(chances: Tensor, u: Tensor) -> Tensor:
    """(B, k), (B,) -> (B,)"""
    heap = chances.cumsum(1)
    return torch.searchsorted(heap, u[:, None].to(heap) * heap[:, -1:])[:, 0].clamp(
        max=heap.shape[1] - 1
    )
