"""Philox4x32-10 in numba: the same bits as `engine.random`, for the fused loops.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

import numpy as np

from engine.kernels.fused import fused

M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
W0, W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
MASK = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


@fused(inline="always")
def philox(c0, c1, c2, c3, k0, k1):
    """Ten rounds; counter and key as 32-bit words kept in uint64. -> four words"""
    for _ in range(10):
        p0 = M0 * c0
        p1 = M1 * c2
        c0, c1, c2, c3 = (p1 >> HALF) ^ c1 ^ k0, p1 & MASK, (p0 >> HALF) ^ c3 ^ k1, p0 & MASK
        k0 = (k0 + W0) & MASK
        k1 = (k1 + W1) & MASK
    return c0, c1, c2, c3


@fused()
def fill(words, keys, particles, steps, lane, first):
    """The words that `Stream.bits` draws: words (R * particles, a multiple of 4) int64, keys (R, 2)
    uint64, steps (R,) uint64, first the block of four that they begin with."""
    w = np.uint64(lane)
    for b in range(len(words)):
        k0, k1 = keys[b // particles, 0], keys[b // particles, 1]
        t = steps[b // particles]
        p = np.uint64(b % particles)
        for block in range(words.shape[1] // 4):
            c0, c1, c2, c3 = philox(np.uint64(first + block), p, t, w, k0, k1)
            words[b, 4 * block] = c0
            words[b, 4 * block + 1] = c1
            words[b, 4 * block + 2] = c2
            words[b, 4 * block + 3] = c3
