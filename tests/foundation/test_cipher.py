"""A text under a substitution: the key is asked for, the text is told, and 4-grams of letters say
what the deciphered text costs."""

import string

import numpy as np
import pytest
import torch

from engine import Finite, Input, Problem, Term, Variable, score_plain
from engine.changes import energy_changes
from engine.testing import check_term
from modules.discrete.all_different import AllDifferent
from tests.support.largest import Largest

LETTERS = tuple(string.ascii_lowercase + " ")


class FourGrams(Term):
    """E = sum over positions t of table[p_t, p_t+1, p_t+2, p_t+3], p_t = key[text_t].

    One table serves all positions: nothing of its size is made for a position or a state.
    """

    calibrated = True
    affine = False  # a letter may stand twice in a position

    def __init__(self, text, key, table):
        """table (k, k, k, k) float32: -ln p of a letter after three others."""
        super().__init__(text, key)
        self.register_buffer("table", table)
        self.register_buffer("strides", torch.tensor([len(table) ** n for n in (3, 2, 1, 0)]))

    def energy(
        self, text, key
    ):  # (B, T) places, (B, k, k) -> (B,): straight from the likeliest key
        likeliest = key.argmax(-1)
        sites = torch.tensor([[1, c] for c in range(len(self.table))], device=key.device)
        change = self.changes(sites, text, likeliest)
        return self.cost(text, likeliest) + (change * key).sum((1, 2))

    def cost(self, text, key):  # (B, T), (B, k) places -> (B,)
        plain = key.gather(1, text).unfold(1, 4, 1)  # (B, S, 4)
        return self.table.take((plain * self.strides).sum(-1)).double().sum(1)

    def changes(self, sites, text, key):  # (m, 2) -> (B, m, k)
        k, asked = len(self.table), sites.new_full(key.shape[1:], -1)
        asked[sites[:, 1]] = torch.arange(len(sites), device=key.device)
        cipher = text.unfold(1, 4, 1)  # (B, S, 4)
        plain = key.gather(1, text).unfold(1, 4, 1)
        same = cipher[..., None] == cipher[..., None, :]  # (B, S, 4, 4)
        first = ~same.tril(-1).any(-1) & (asked[cipher] >= 0)  # each letter of a position once
        row, position, place = first.nonzero(as_tuple=True)  # (L,)
        step = (same * self.strides).sum(-1)[first]  # what the number moves by with this letter
        now = (plain * self.strides).sum(-1)[row, position]
        values = torch.arange(k, device=key.device)
        after = (now - step * plain[first])[:, None] + step[:, None] * values
        rise = self.table.take(after).double() - self.table.take(now).double()[:, None]
        site = row * len(sites) + asked[cipher[first]]
        return (
            rise.new_zeros(len(text) * len(sites), k)
            .index_add(0, site, rise)
            .view(len(text), -1, k)
        )

    def floor(self):
        return min(0.0, float(self.table.min())) * self.scope[0].shape[0]


def language(seed: int, k: int, length: int) -> tuple[np.ndarray, torch.Tensor]:
    """A text of a Markov source, and the table of 4-grams counted in another of its texts."""
    rng = np.random.default_rng(seed)
    heap = rng.dirichlet(np.full(k, 0.15), k).cumsum(1)
    draws, text = rng.random(60_000 + length), [0]
    for u in draws[1:]:
        text.append(min(int(np.searchsorted(heap[text[-1]], u)), k - 1))
    known, fresh = np.array(text[:60_000]), np.array(text[60_000:])
    number = sum(known[n : len(known) - 3 + n] * k ** (3 - n) for n in range(4))
    count = np.bincount(number, minlength=k**4).reshape(k, k, k, k)
    chance = np.full(k, 1 / k)
    for others in range(4):  # a letter after ever more others, backed off to fewer
        seen = count.sum(tuple(range(3 - others)))
        chance = (seen + 5 * chance) / (seen.sum(-1, keepdims=True) + 5)
    return fresh, torch.from_numpy(-np.log(chance).astype(np.float32))


def cipher(seed: int, k: int, length: int) -> tuple[Problem, FourGrams, np.ndarray]:
    """The problem of a text that was told in cipher, its term, and the key."""
    plain, table = language(seed, k, length)
    key = np.random.default_rng(seed + 1).permutation(k)
    letters = LETTERS[:k]
    text, found = Input("text", Finite(letters, (length,))), Variable("key", Finite(letters, (k,)))
    term = FourGrams(text, found, table)
    told = [letters[c] for c in np.argsort(key)[plain]]
    return Problem(AllDifferent(found, lines=[[*range(k)]]) + term).given(text=told), term, key


def exchanged(problem: Problem, chains: int, steps: int) -> tuple[torch.Tensor, float]:
    """The best key met, and its energy, where letters are exchanged ever more as `changes` foretell
    what that gains: exp(-beta gain) while beta rises. (k,)"""
    rng, k = torch.Generator().manual_seed(0), problem.domains["key"].sites
    keys = torch.stack([torch.randperm(k, generator=rng) for _ in range(chains)]).byte()
    a, b = torch.triu_indices(k, k, 1)
    row, best = torch.arange(chains), (keys[0], np.inf)
    for beta in np.geomspace(0.05, 0.5, steps):
        energy = problem.totals({"key": keys}).energy
        if float(energy.min()) < best[1]:
            best = (keys[energy.argmin()], float(energy.min()))
        change = energy_changes(problem, np.arange(k), {"key": keys})
        pairs = ((a, b), (b, a))
        gain = sum(change[:, c].gather(2, keys[:, d, None].long())[..., 0] for c, d in pairs)
        drawn = (-beta * gain).softmax(1).multinomial(1, generator=rng)[:, 0]
        c, d = a[drawn], b[drawn]
        keys = keys.clone()
        keys[row, c], keys[row, d] = keys[row, d], keys[row, c]
    return best


@pytest.mark.parametrize("seed", range(2))
def test_the_term_keeps_its_contract(seed: int) -> None:
    _, table = language(seed, 3, 9)
    text, key = Input("text", Finite(LETTERS[:3], (9,))), Variable("key", Finite(LETTERS[:3], (3,)))
    check_term(FourGrams(text, key, table))


def test_changes_are_differences_of_costs() -> None:
    """Of two texts side by side, all letters, and some of them in another order."""
    k, length = 27, 60
    problem, term, _ = cipher(0, k, length)
    rng = torch.Generator().manual_seed(0)
    text = torch.randint(0, 4, (2, length), generator=rng)  # letters that often repeat
    key = torch.randint(0, k, (2, k), generator=rng)
    sites = torch.tensor([[1, s] for s in (5, 0, 3, 26, 1)])
    change = term.changes(sites, text, key)
    for place, site in enumerate(sites[:, 1].tolist()):
        for value in range(k):
            after = key.clone()
            after[:, site] = value
            rise = term.cost(text, after) - term.cost(text, key)
            torch.testing.assert_close(change[:, place, value], rise)


def test_the_text_is_deciphered_by_exchanges_of_letters() -> None:
    """300 positions; nothing as large as the table is made for a state."""
    chains = 8
    problem, _, key = cipher(0, 27, 303)
    with Largest() as seen:
        best, energy = exchanged(problem, chains, 300)
    text = problem.domain("text").tensor[0]
    used = text.unique()
    assert best[used].tolist() == key[used].tolist()
    assert seen.numbers < chains * 27**4 / 8
    values = {"key": best.tolist(), "text": text.tolist()}
    named = {name: [LETTERS[p] for p in places] for name, places in values.items()}
    (answer,) = score_plain(problem, [named])
    assert answer.status == "SATISFIED" and answer.energy == pytest.approx(energy)
