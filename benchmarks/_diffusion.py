"""Energies with samplers of a few Gaussian steps: eight Gaussians in the plane.

What came out worse: a cosine schedule makes our own 5-step diffusion far better than the published
one, whose schedule of 1,000 steps was kept for 5; beside such a peer the published factor is not
reached. Modes of the sampler are round in radius but half as wide again along the ring.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.common import ROOT, Row, at_least, at_most, clock, kept
from engine.learning.objectives.denoising_diffusion import cosine
from engine.learning.objectives.max_entropy_irl import SeparateValue
from tests.support.refining import (
    area,
    ceiling,
    diffused,
    ends,
    even_noise,
    fresh,
    modes,
    refined,
    sliced,
)

UPDATES, FEW = 1_500, 500
FRESH = 9  # added to a seed: of the points that judge
PUBLISHED = {"DDPM": 0.967, "DxMI": 0.074}  # 5 steps, Yoon et al. 2024, by their own distance


def rows(seed: int, seeds: int) -> list[Row]:
    """All figures, means of `seeds` seeds."""
    every = range(seed, seed + seeds)
    return [*plane(every)]


def plane(seeds: Sequence[int]) -> list[Row]:
    """Eight Gaussians by 5 and by 10 steps, without entropy, and by denoising diffusion."""
    five, ten, without = ([_made(*what, k) for k in seeds] for what in RUNS)
    fair = [_peer("cosine schedule", cosine(5), k) for k in seeds]
    old = torch.linspace(1e-4, 0.02, 5).tolist()
    theirs = [_peer("schedule of 1,000 steps", old, k) for k in seeds]
    same = _mean([sliced(fresh(k + FRESH), fresh(k + FRESH + 100)) for k in seeds])
    distance, plain, told = (_mean([r["distance"] for r in of]) for of in (five, fair, theirs))
    said = "8 Gaussians, {} steps: "
    scale = f"{UPDATES} updates of batches of 256, networks of width 128, {len(seeds)} seeds"
    return [
        at_most(
            said.format(5) + "sliced Wasserstein distance of the sampler", distance, 0.15, "",
            peer="published", peer_value=PUBLISHED["DxMI"],
            note=f"{_each(five, 'distance')}; fresh points against fresh points {same:.3f}; "
            f"{scale}, {_mean([r['cpu'] for r in five]):.0f} CPU s each",
        ),
        at_most(
            said.format(5) + "the same over that of denoising diffusion as published",
            distance / told, 0.3, "ratio", peer="published",
            peer_value=PUBLISHED["DxMI"] / PUBLISHED["DDPM"],
            note=f"variances of 1e-4 to 0.02 whatever the number of steps: {told:.3f} here, "
            f"{PUBLISHED['DDPM']} published",
        ),
        at_most(
            said.format(5) + "the same over that of denoising diffusion by a cosine schedule",
            distance / plain, 0.3, "ratio", note=f"that is {plain:.3f}",
        ),
        at_least(
            said.format(10) + "chance that even noise costs more than a point", 
            _mean([r["area"] for r in ten]), 0.85, "", peer="the density itself",
            peer_value=_mean([ceiling(k + FRESH) for k in seeds]),
            note=f"{_each(ten, 'area')}; of 5 steps {_each(five, 'area')}; published 0.90 (10 steps) "
            "and 0.71 (5)",
        ),
        at_most(
            said.format(10) + "sliced Wasserstein distance of the sampler",
            _mean([r["distance"] for r in ten]), None, "",
            note=f"{_each(ten, 'distance')}, {_mean([r['cpu'] for r in ten]):.0f} CPU s each",
        ),
        at_most(
            said.format(5) + "modes of 8 that are kept without entropy, tau = 0",
            _mean([r["modes"] for r in without]), 7, "of 8", peer="tau = 0.1",
            peer_value=_mean([r["modes"] for r in five]),
            note=f"distance {_mean([r['distance'] for r in without]):.2f}; {FEW} updates",
        ),
    ]  # fmt: skip


RUNS = (
    ("5 steps", SeparateValue(), 5, UPDATES),
    ("10 steps", SeparateValue(), 10, UPDATES),
    ("tau = 0", SeparateValue(entropy=0.0), 5, FEW),
)


def _made(name: str, objective: SeparateValue, steps: int, updates: int, seed: int) -> Row:
    """The figures of one training."""

    def figures() -> list[dict]:
        with clock() as time:
            energy, refiner = refined(objective, steps, updates, seed)
        x, made = fresh(seed + FRESH), ends(refiner, seed + FRESH)
        with torch.no_grad():
            odd = area(energy.energy(x), energy.energy(even_noise(seed + FRESH)))
        said = {"distance": sliced(made, x), "area": odd, "modes": modes(made), "cpu": time.cpu}
        return [said]

    return kept(_work(), f"plane {name} {updates} {seed}", figures)[0]


def _peer(name: str, spread: list[float], seed: int) -> Row:
    """The same of denoising diffusion."""

    def figures() -> list[dict]:
        made = ends(diffused(spread, UPDATES, seed), seed + FRESH)
        return [{"distance": sliced(made, fresh(seed + FRESH))}]

    return kept(_work(), f"plane peer {name} {UPDATES} {seed}", figures)[0]


def _work() -> Path:
    return Path(os.environ.get("BASIN_BENCH_WORK") or ROOT / "build" / "bench" / "image")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _each(records: Sequence[Row], name: str) -> str:
    return ", ".join(f"{r[name]:.3f}" for r in records)
