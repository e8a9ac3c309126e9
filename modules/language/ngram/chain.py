"""Smoothed runs of letters as a chain: what is known of the letters before is one state.

A state is the longest run of letters before that was met; `costs[state, w]` is -ln p(w | state),
    p(w | h) = share(h w) + (1 - sum over v of share(h v)) p(w | h without its first letter),
and `following[state, w]` the state after w.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from engine.decimals import Floats, Ints
from engine.errors import BadQuery, Mistake
from modules.language.ngram.counts import Runs
from modules.shared.weights import Weights, read_weights, understood

KIND = "language.ngram"
REMEDY = f"make it with `basin train {KIND} --data FILE --out W.safetensors`"
BESIDE = Path(__file__).parent  # the folder of the weights that ship
STEPS = 2048.0  # of a share, to a factor e; shares are kept by whole steps, in 16 bits
WIDE = 255  # gaps between keys that stand apart
STATES = 40_000_000  # entries of all states


@dataclass(frozen=True, eq=False)
class Chain:
    """The chances of a letter after those before it, for one alphabet."""

    alphabet: tuple[str, ...]  # k letters
    order: int  # letters of the longest run
    folded: bool  # capitals count as the small letters
    costs: Floats  # (S, k) float32, in nats
    following: Ints  # (S, k) int32; state 0 knows nothing
    depth: Ints  # (S,) letters that a state knows

    def places(self, letters: Sequence[object]) -> list[int | None]:
        """Where letters stand in the alphabet; None for what it lacks."""
        place = {letter: k for k, letter in enumerate(self.alphabet)}
        fold = str.lower if self.folded else str
        every = (fold(x) if isinstance(x, str) else x for x in letters)
        return [place.get(x) if isinstance(x, str) else None for x in every]

    def table(self, order: int) -> Floats:
        """What the last letter of every run of so many costs. -> (k, ..., k) float32"""
        k = len(self.alphabet)
        state = np.zeros((), dtype=np.int64)
        for _ in range(order - 1):
            state = self.following[state].astype(np.int64)
        costs: Floats = self.costs[state]
        assert costs.shape == (k,) * order
        return costs


def chain_of(runs: Sequence[Runs], alphabet: Sequence[str], folded: bool) -> Chain:
    """The chain of runs of 1, 2, ... letters."""
    k = len(alphabet)
    states = [np.zeros(1, np.int64), *(np.unique(r.keys // k) for r in runs[1:])]
    if sum(map(len, states)) * k > STATES:
        told = f"{sum(map(len, states))} runs of {len(runs) - 1} letters among {k}"
        raise BadQuery(Mistake("params.order", told, "give a smaller order, or a larger `least`"))
    first = np.cumsum([0, *map(len, states)])
    costs: list[Floats] = []
    following: list[Ints] = []
    below, beyond = np.full((1, k), 1.0 / k), np.zeros((1, k), np.int64)
    for n, (own, known) in enumerate(zip(runs, states, strict=True)):
        shares = own.shares if n + 1 < len(runs) else own.alone
        row = np.searchsorted(known, own.keys // k)
        rest = 1.0 - np.bincount(row, shares, len(known))
        shorter = (
            np.zeros(len(known), np.int64) if n < 2 else _found(states[n - 1], known % k ** (n - 1))
        )
        chance = rest[:, None] * below[shorter]
        chance[row, own.keys % k] += shares
        after = beyond[shorter].copy()
        if n + 1 < len(states):  # the state of the letters here and the next, where there is one
            letters = known[:, None] * k + np.arange(k)
            place = np.minimum(np.searchsorted(states[n + 1], letters), len(states[n + 1]) - 1)
            met = states[n + 1][place] == letters
            after[met] = first[n + 1] + place[met]
        below, beyond = chance, after
        costs.append(-np.log(chance).astype(np.float32))
        following.append(after.astype(np.int32))
    return Chain(
        tuple(alphabet),
        len(runs),
        folded,
        np.concatenate(costs),
        np.concatenate(following),
        np.repeat(np.arange(len(states)), [len(s) for s in states]),
    )


def _found(states: Ints, asked: Ints) -> Ints:
    """Where runs stand among those of one length. Raises ValueError where one is missing."""
    place = np.minimum(np.searchsorted(states, asked), len(states) - 1)
    if (states[place] != asked).any():
        raise ValueError("runs without their ends")
    return place


def packed(runs: Sequence[Runs], settings: dict[str, object]) -> Weights:
    """Runs as a file holds them: the gaps between keys in 8 bits, those that are wide apart, and
    shares in 16 bits, rounded down."""
    tensors = {}
    for n, (keys, shares, alone) in enumerate(runs, 1):
        gaps = np.diff(keys, prepend=0)
        wide = gaps >= WIDE
        tensors[f"gaps{n}"] = torch.from_numpy(np.where(wide, WIDE, gaps).astype(np.uint8))
        tensors[f"wide{n}"] = torch.from_numpy(gaps[wide])
        tensors[f"shares{n}"] = _steps(shares)
        if n < len(runs):  # the longest are always alone
            tensors[f"alone{n}"] = _steps(alone)
    return Weights(tensors, settings)


def _steps(shares: Floats) -> torch.Tensor:
    """Shares in 16 bits."""
    steps = np.ceil(-np.log(shares) * STEPS).clip(1, 2**16 - 1)
    return torch.from_numpy((steps - 2**15).astype(np.int16))


def _shares(steps: torch.Tensor) -> Floats:
    """The shares that stand in 16 bits."""
    shares: Floats = np.exp((steps.numpy().astype(np.float64) + 2**15) / -STEPS)
    return shares


@lru_cache(maxsize=8)
def _read(path: str, stamp: tuple[int, int]) -> tuple[list[Runs], tuple[str, ...], bool]:
    del stamp  # of the file that was read
    held = read_weights(path, KIND, BESIDE)
    return _unpacked(held)


@lru_cache(maxsize=8)
def _chain(path: str, stamp: tuple[int, int], order: int | None) -> Chain:
    runs, alphabet, folded = _read(path, stamp)
    return chain_of(runs[:order], alphabet, folded)


def _unpacked(held: Weights) -> tuple[list[Runs], tuple[str, ...], bool]:
    if not held.settings["alphabet"]:
        raise ValueError("alphabet")
    runs = []
    for n in range(1, int(held.settings["order"]) + 1):
        gaps = held.tensors[f"gaps{n}"].numpy().astype(np.int64)
        gaps[gaps == WIDE] = held.tensors[f"wide{n}"].numpy()
        shares = _shares(held.tensors[f"shares{n}"])
        alone = held.tensors.get(f"alone{n}")
        runs.append(Runs(gaps.cumsum(), shares, shares if alone is None else _shares(alone)))
    return runs, tuple(held.settings["alphabet"]), bool(held.settings["folded"])


def read_chain(path: str, order: int | None = None) -> Chain:
    """The chain of a file of `basin train language.ngram`, of its own order or a smaller one.

    Raises BadQuery under `weights` and `order`. What was read is kept.
    """
    there = BESIDE / path
    shipped = not Path(path).exists() and Path(path).name == path
    with understood(path, "runs of letters", REMEDY):
        about = (there if shipped else Path(path)).stat()
        stamp = about.st_mtime_ns, about.st_size
        runs, _, _ = _read(path, stamp)
    if order is not None and order > len(runs):
        told = f"{order} letters; {path} has runs of {len(runs)}"
        raise BadQuery(Mistake("order", told, f"give 1 to {len(runs)}"))
    with understood(path, "runs of letters", REMEDY):
        return _chain(path, stamp, order)
