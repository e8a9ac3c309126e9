"""Counter-based randomness (Philox4x32-10): a draw is a function of where it is used.

A `Stream` is a seed and one 64-bit key per row; a draw is addressed by (step, particle, site), so
the numbers a row sees do not depend on which other rows share its batch, nor on chunking. Rows that
joined a batch at different times stand at different steps: a step is then a tensor.
Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import index

import numpy as np
import torch
from torch import Tensor

from engine.kernels.fused import worth
from engine.kernels.philox import fill

M0, M1 = 0xD2511F53, 0xCD9E8D57
W0, W1 = 0x9E3779B9, 0xBB67AE85
MASK = 0xFFFFFFFF
SETUP = 1_000  # what a draw by torch costs, in inner steps of `worth`


def _mulhilo(a: int, b: Tensor) -> tuple[Tensor, Tensor]:
    """High and low 32 bits of a * b for 32-bit words kept in int64."""
    low_half, high_half = b & 0xFFFF, b >> 16
    low = a * low_half  # < 2**48
    high = a * high_half + (low >> 16)  # < 2**49
    return high >> 16, ((high & 0xFFFF) << 16) | (low & 0xFFFF)


def philox(counter: Tensor, key: Tensor) -> Tensor:
    """Ten rounds of Philox4x32; words are 32-bit values kept in int64.

    counter (..., 4), key (..., 2) -> (..., 4)
    """
    c0, c1, c2, c3 = counter.unbind(-1)
    k0, k1 = key.unbind(-1)
    for _ in range(10):
        high0, low0 = _mulhilo(M0, c0)
        high1, low1 = _mulhilo(M1, c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + W0) & MASK, (k1 + W1) & MASK
    return torch.stack([c0, c1, c2, c3], -1)


@dataclass(frozen=True, eq=False)
class Stream:
    """All the randomness of one solve: draws addressed by row key, step, particle and site."""

    seed: int
    keys: Tensor  # (R,) int64, one per row: the hash of its evidence
    step: int | Tensor = 0  # of all rows, or (R,) int64 where rows stand at different steps
    lane: int = 0  # separates uses within one step

    def at(self, step: int | Tensor) -> "Stream":
        """The stream of another step, one for all rows or one for each."""
        return Stream(self.seed, self.keys, step, self.lane)

    def fork(self, lane: int) -> "Stream":
        """An independent stream for another use in the same step."""
        mixed = (self.lane * 0x9E3779B1 + lane + 1) & MASK  # odd factor: forks of forks spread
        return Stream(self.seed, self.keys, self.step, mixed)

    def to(self, device: torch.device | str) -> "Stream":
        """The same draws, to the bit but for the rounding of logarithms, made on another device."""
        step = self.step if isinstance(self.step, int) else self.step.to(device)
        return Stream(self.seed, self.keys.to(device), step, self.lane)

    def select(self, rows: Tensor) -> "Stream":
        """The stream of some of the rows."""
        step = self.step if isinstance(self.step, int) else self.step[rows]
        return Stream(self.seed, self.keys[rows], step, self.lane)

    @staticmethod
    def join(streams: Sequence["Stream"]) -> "Stream":
        """The rows of several streams of one lane, whatever their seeds: each draws as before."""
        keys = torch.cat([s.keys ^ s._seed_word for s in streams])
        return Stream(0, keys, torch.cat([s.steps for s in streams]), streams[0].lane)

    @property
    def steps(self) -> Tensor:
        """The step of each row. -> (R,) int64"""
        if isinstance(self.step, int):
            return torch.full_like(self.keys, self.step & MASK)
        return self.step & MASK

    @property
    def _seed_word(self) -> int:
        try:
            return index(self.seed) * 0x9E3779B97F4A7C15 % 2**63
        except TypeError:
            said = f"seed: {self.seed!r} is no whole number; give one, such as 0"
            raise TypeError(said) from None

    @property
    def words(self) -> Tensor:
        """The Philox key of each row: its own key, mixed with the seed. -> (R, 2) int64"""
        mixed = self.keys ^ self._seed_word
        return torch.stack([mixed & MASK, (mixed >> 32) & MASK], -1)

    def bits(self, particles: int, sites: int, first: int = 0) -> Tensor:
        """Random 32-bit words, of sites from `first` on, a multiple of 4. -> (R * particles, sites)
        int64; batch b belongs to row b // P."""
        blocks = (sites + 3) // 4
        if self.keys.device.type == "cpu" and worth(len(self.keys) * particles * blocks + SETUP):
            words = np.empty((len(self.keys) * particles, 4 * blocks), dtype=np.int64)
            keys = self.words.numpy().astype(np.uint64)
            steps = self.steps.numpy().astype(np.uint64)
            fill(words, keys, particles, steps, self.lane, first // 4)
            return torch.from_numpy(words)[:, :sites]
        return self.plain_bits(particles, blocks, first // 4)[:, :sites]

    def plain_bits(self, particles: int, blocks: int, first: int = 0) -> Tensor:
        """The same words on any device, from a block of four on. -> (R * particles, 4 * blocks)
        int64"""
        device = self.keys.device
        particle = torch.arange(particles, device=device)
        block = first + torch.arange(blocks, device=device)
        shape = (len(self.keys), particles, blocks)
        counter = torch.stack(
            [
                block.expand(shape),
                particle[:, None].expand(shape),
                self.steps[:, None, None].expand(shape),
                torch.full(shape, self.lane, device=device),
            ],
            -1,
        )
        words = philox(counter, self.words[:, None, None, :].expand(*shape, 2))
        return words.reshape(-1, blocks * 4)

    def uniform(self, particles: int, *event: int, dtype=torch.float32) -> Tensor:
        """Uniform numbers in (0, 1), never 0 nor 1. -> (R * particles, *event)"""
        words = self.bits(particles, _count(event)).reshape(-1, *event)
        if dtype == torch.float64:
            return (words.double() + 0.5) / 2**32
        return ((words >> 9).to(dtype) + 0.5) / 2**23  # 24 bits of mantissa hold the half exactly

    def normal(self, particles: int, *event: int, dtype=torch.float32) -> Tensor:
        """Standard normal numbers by Box and Muller. -> (R * particles, *event)"""
        sites = _count(event)
        u = self.uniform(particles, 2 * sites, dtype=torch.float64)
        radius = torch.sqrt(-2.0 * torch.log(u[:, :sites]))
        return (radius * torch.cos(2 * torch.pi * u[:, sites:])).to(dtype).reshape(-1, *event)

    @contextlib.contextmanager
    def feeding_torch(self) -> Iterator[None]:
        """Within, torch's own generators, which dropout asks, begin where the first row says; after
        it they go on from where they stood before."""
        step = self.step if isinstance(self.step, int) else int(self.step[0])
        where = f"{self.seed} {int(self.keys[0])} {step} {self.lane}".encode()
        seed = int.from_bytes(hashlib.blake2b(where, digest_size=8).digest(), "little")
        device = self.keys.device
        devices = [device.index or 0] if device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.default_generator.manual_seed(seed)
            for k in devices:
                torch.cuda.default_generators[k].manual_seed(seed)
            yield

    def integers(self, particles: int, *event: int, high: int) -> Tensor:
        """Integers in [0, high). -> (R * particles, *event) int64"""
        words = self.bits(particles, _count(event)).reshape(-1, *event)
        return (words * high) >> 32


def _count(event: tuple[int, ...]) -> int:
    total = 1
    for n in event:
        total *= n
    return total
