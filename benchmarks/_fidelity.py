"""How close made pictures are to real ones: a Frechet distance of features of a small classifier.

    d^2 = |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2))

m and S: mean and covariance of the 32 features of `digits8.safetensors`, which ships with
`image.classifier` (Heusel et al., "GANs trained by a two time-scale update rule", NeurIPS 2017, with
an Inception network in its place: these figures compare with one another and with `floor`, not with
published ones). The distance of few real pictures to others is no 0: every figure stands beside
that of as many held-out real ones. Also: the sliced Wasserstein distance of points.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from benchmarks.common import ROOT
from engine.random import Stream
from modules.image.classifier.examples import scikit_digits
from modules.image.classifier.network import seen_by
from modules.image.classifier.reader import load_reader

LEARNED = 1_200  # of the 1,797 digits; the rest is held out
DIRECTIONS = 200


def figures(name: str, make: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Figures of one training, from the folder of finished ones if it was made before."""
    work = Path(os.environ.get("BASIN_BENCH_WORK") or ROOT / "build" / "bench" / "image")
    path = work / f"{name}.json"
    if path.exists():
        return json.loads(path.read_text())
    made = make()
    work.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(made))
    return made


def mean(every: Sequence[Mapping[str, float]], name: str) -> float:
    """Of one figure over trainings."""
    return sum(one[name] for one in every) / len(every)


def spread(every: Sequence[Mapping[str, float]], name: str) -> str:
    """The same figure of each."""
    return f"{name}: " + ", ".join(f"{one[name]:.4g}" for one in every)


@dataclass(frozen=True, eq=False)
class Digits:
    """The digits of scikit-learn in [0, 1], light on black, those to learn from and those not."""

    learned: Tensor  # (1200, 8, 8)
    held: Tensor  # (597, 8, 8)
    learned_labels: Tensor  # (1200,) int64
    held_labels: Tensor  # (597,) int64


def digits(seed: int = 0) -> Digits:
    """All of them, in a random order."""
    told = scikit_digits()
    order = torch.randperm(len(told.labels), generator=torch.Generator().manual_seed(seed))
    pictures = (told.pictures / 16)[order]
    labels = torch.tensor([int(label) for label in told.labels])[order]
    return Digits(pictures[:LEARNED], pictures[LEARNED:], labels[:LEARNED], labels[LEARNED:])


def features(pictures: Tensor) -> Tensor:
    """Of light pictures on black, cut to [0, 1]; brightness counts. (n, h, w) -> (n, 32)"""
    reader = load_reader("digits8.safetensors")
    x = pictures.detach().float().clamp(0.0, 1.0)[:, None]
    x = interpolate(x, (reader.side, reader.side), mode="bilinear", antialias=True)
    return seen_by(reader.net, x)[0].double()


def fidelity(made: Tensor, real: Tensor) -> float:
    """The proxy of FID; 0 is best. (n, h, w), (m, h, w)"""
    return frechet(features(made), features(real))


def floor(data: Digits) -> float:
    """What held-out real pictures come to."""
    return fidelity(data.held, data.learned)


def frechet(a: Tensor, b: Tensor) -> float:
    """The squared Frechet distance of the Gaussians of two sets of points. (n, d), (m, d)"""
    a, b = a.double(), b.double()
    apart = (a.mean(0) - b.mean(0)).square().sum()
    first, second = a.T.cov(), b.T.cov()
    half = _root(first)
    both = torch.linalg.eigvalsh(half @ second @ half).clamp(min=0).sqrt().sum()
    return float(apart + first.trace() + second.trace() - 2 * both)


def _root(matrix: Tensor) -> Tensor:
    """The symmetric square root. (d, d) -> (d, d)"""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def sliced(a: Tensor, b: Tensor, seed: int = 0) -> float:
    """The sliced Wasserstein distance of two sets of as many points: the root of the mean, over
    random directions, of the squared distance of sorted projections. (n, d), (n, d)"""
    stream = Stream(seed, torch.zeros(1, dtype=torch.int64))
    along = stream.normal(DIRECTIONS, a.shape[1], dtype=torch.float64)
    along = along / along.norm(dim=1, keepdim=True)
    first, second = (x.double() @ along.T for x in (a, b))
    away = first.sort(0).values - second.sort(0).values
    return float(away.square().mean().sqrt())
