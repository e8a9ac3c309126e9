"""Pictures asked of a learned energy: completed, denoised, of a kind, unusual.

Of the held-out digits of `image.hat`'s shipped weights; what a picture shows is told by the
classifier that ships (`digits8.safetensors`), which reads all 180 of them right. Nothing is
trained: seeds are of noise and of the search. At 8 x 8 a median of 3 x 3 rubs strokes out: it is
worse than the noisy picture, which is therefore shown as well.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks._fidelity import figures, mean, spread
from benchmarks.common import Row, at_least, auroc
from engine import Budget, Finite, Input, Problem, Real, Variable, answers
from modules.image._generated.pictures import pictures_of
from modules.image.classifier.examples import scikit_digits
from modules.image.classifier.reader import load_reader
from modules.image.hat.term import Hat
from modules.image.observation import Observation
from modules.image.shows import Shows

WEIGHTS = "digits8.safetensors"
COUNT, PARTICLES, STEPS = 60, 16, 60
FEW, MORE = 2, 50  # particles and steps where pixels were seen, and so one valley
NOISE = 0.15


def rows(seed: int, seeds: int) -> list[Row]:
    """All rows."""
    every = range(seed, seed + seeds)
    own = [figures(f"queries {COUNT} {STEPS} {s}", lambda s=s: asked(s)) for s in every]
    start = f"{seeds} seeds: "
    scale = f"{PARTICLES} particles, {STEPS} steps"
    return [
        at_least(
            f"right half of a digit completed, all held-out digits, {start}the right class wins",
            mean(own, "completed"),
            0.9,
            "",
            peer="the left half alone",
            peer_value=mean(own, "half"),
            note=f"{spread(own, 'completed')}; {scale}",
        ),
        at_least(
            f"digits under noise of {NOISE}, {COUNT} held-out ones, {start}PSNR of the least energy",
            mean(own, "denoised"),
            mean(own, "median"),
            "dB",
            peer="a median of 3 x 3",
            peer_value=mean(own, "median"),
            note=f"{spread(own, 'denoised')}; the noisy picture itself: "
            f"{mean(own, 'noisy'):.4g} dB; {FEW} particles, {MORE} steps",
        ),
        at_least(
            f"uniform noise told from held-out digits by the energy, {start}AUROC",
            mean(own, "uniform"),
            None,
            "",
            note=spread(own, "uniform"),
        ),
        at_least(
            f"digits under noise of {NOISE} told from clean ones by the energy, {start}AUROC",
            mean(own, "disturbed"),
            None,
            "",
            note=spread(own, "disturbed"),
        ),
        at_least(
            f"a picture asked of each label, {start}the classifier reads that label",
            mean(own, "of a label"),
            None,
            "",
            note=f"{spread(own, 'of a label')}; {scale}",
        ),
    ]


def asked(seed: int) -> dict[str, float]:
    """All figures of one seed."""
    held, labels = held_out()
    names = ("completed", "half", "denoised", "noisy", "median", "uniform", "disturbed")
    every = (
        *completed(held, labels, seed),
        *denoised(held[:COUNT], seed),
        *unusual(held, seed),
    )
    return dict(zip(names, every, strict=True)) | {"of a label": generated(seed)}


def held_out() -> tuple[Tensor, Tensor]:
    """The digits that the shipped weights have not learned from, and what they show."""
    pictures = pictures_of(Path("digits"), 0)
    every = torch.tensor([int(label) for label in scikit_digits().labels])
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(0))
    return pictures.held, every[order[: len(pictures.held)]]


def variable() -> Variable:
    """The picture that is asked for."""
    return Variable("picture", Real((8, 8), 0.0, 1.0))


def read(pictures: Tensor) -> Tensor:
    """What the classifier says they show. (n, 8, 8) -> (n,)"""
    return load_reader(WEIGHTS).log_chances(pictures, None, "light").argmax(1)


def found(
    problem: Problem, evidence: list, seed: int, particles: int = PARTICLES, steps: int = STEPS
) -> Tensor:
    """The pictures of least energy. -> (n, 8, 8)"""
    told, budget = problem.given_rows(evidence), Budget(steps=steps)
    every = answers(told, particles=particles, seed=seed, budget=budget)
    return torch.tensor([one.values["picture"] for one in every if one.values]).float()


def completed(held: Tensor, labels: Tensor, seed: int) -> tuple[float, float]:
    """The share of digits read right with the right half found, and with it black."""
    evidence = []
    for x in held.tolist():
        evidence.append({"picture": [row[:4] + [None] * 4 for row in x]})
    whole = found(Problem(1.0 * Hat(variable(), WEIGHTS)), evidence, seed)
    half = held.clone()
    half[:, :, 4:] = 0.0
    right, alone = (float((read(x) == labels).double().mean()) for x in (whole, half))
    return right, alone


def denoised(held: Tensor, seed: int) -> tuple[float, float, float]:
    """PSNR of what is found, of the noisy picture, and of its median."""
    from scipy.ndimage import median_filter

    noise = np.random.default_rng(seed).normal(size=tuple(held.shape))
    noisy = (held.numpy() + NOISE * noise).astype(np.float32)
    picture, seen = variable(), Input("seen", Real((8, 8)))
    energy = 1.0 * Observation(seen, picture, noise=NOISE) + 1.0 * Hat(picture, WEIGHTS)
    problem = Problem(energy, (picture, seen))
    ours = found(problem, [{"seen": x} for x in noisy], seed, FEW, MORE).numpy()
    median = np.stack([median_filter(x, 3) for x in noisy])

    def psnr(x: np.ndarray) -> float:
        return float(-10 * np.log10(((x.clip(0, 1) - held.numpy()) ** 2).mean()))

    return psnr(ours), psnr(noisy), psnr(median)


def unusual(held: Tensor, seed: int) -> tuple[float, float]:
    """How surely uniform noise, and digits under noise, have the higher energy."""
    term = Hat(variable(), WEIGHTS)
    rng = torch.Generator().manual_seed(seed)
    other = torch.rand(held.shape, generator=rng)
    blurred = held + NOISE * torch.randn(held.shape, generator=rng)
    with torch.no_grad():
        usual, odd, noisy = (term.energy(x).tolist() for x in (held, other, blurred))
    return auroc(odd, usual), auroc(noisy, usual)


def generated(seed: int) -> float:
    """The share of pictures asked of a label that show it, to the classifier that was asked."""
    picture, shown = variable(), Variable("shown", Finite(tuple(range(10))))
    problem = Problem(1.0 * Hat(picture, WEIGHTS) + 1.0 * Shows(picture, shown, WEIGHTS))
    x = found(problem, [{"shown": k} for k in range(10)], seed)
    return float((read(x) == torch.arange(10)).double().mean())
