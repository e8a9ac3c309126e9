"""Pictures that were seen blurred and noisy, found again under energies that were learned.

Peers: Wiener's filter with the best of five shares of noise, and unsharp masking with the best of
five amounts, each picked by the answer itself, and the least squares under the same blur with
pixels from 0 to 1 and no energy of pictures.
"""

import numpy as np
import torch

from benchmarks._fidelity import figures, mean, spread
from benchmarks._pictures import FEW, MORE, WEIGHTS, found, held_out, variable
from benchmarks.common import Row, at_least
from engine import Input, Problem, Real
from modules.image._generated.term import Learned
from modules.image.diffusion.term import Diffusion
from modules.image.hat.term import Hat
from modules.image.observation import Observation
from modules.image.taught.term import Taught

KERNEL = np.outer((1, 2, 1), (1, 2, 1)) / 16
NOISE, COUNT = 0.05, 40
SHARES, AMOUNTS = (1e-3, 3e-3, 0.01, 0.03, 0.1), (0.5, 1.0, 1.5, 2.0, 3.0)
KINDS = {"image.hat": Hat, "image.taught": Taught, "image.diffusion": Diffusion}


def rows(seed: int, seeds: int) -> list[Row]:
    """One for each energy."""
    every = range(seed, seed + seeds)
    name = f"deblurred {COUNT} {MORE} {NOISE}"
    own = [figures(f"{name} {s}", lambda s=s: deblurred(s)) for s in every]
    beside = "; ".join(spread(own, peer) for peer in ("seen", "unsharp", "least squares"))
    return [
        at_least(
            f"{COUNT} held-out digits blurred by 3 x 3 under noise of {NOISE}, {seeds} seeds: PSNR "
            f"of the least energy by {kind}",
            mean(own, kind),
            mean(own, "wiener"),
            "dB",
            peer="Wiener's filter, the best of five",
            peer_value=mean(own, "wiener"),
            note=f"{spread(own, kind)}; {beside}; {MORE} steps of {FEW} particles",
        )
        for kind in KINDS
    ]


def deblurred(seed: int) -> dict[str, float]:
    """PSNR of what was seen, of what each energy finds, and of each peer."""
    held = held_out()[0][:COUNT].numpy()
    noise = NOISE * np.random.default_rng(seed).normal(size=held.shape)
    seen = (blurred(held) + noise).astype(np.float32)

    def psnr(x: np.ndarray) -> float:
        return float(-10 * np.log10(((x.clip(0, 1) - held) ** 2).mean()))

    def asked(kind: type[Learned] | None = None) -> float:
        picture, told = variable(), Input("seen", Real((8, 8)))
        energy = 1.0 * Observation(told, picture, noise=NOISE, blur=KERNEL.tolist())
        whole = energy if kind is None else energy + 1.0 * kind(picture, WEIGHTS)
        problem = Problem(whole, (picture, told))
        return psnr(found(problem, [{"seen": x} for x in seen], seed, FEW, MORE).numpy())

    made = {name: asked(kind) for name, kind in KINDS.items()}
    return made | {
        "seen": psnr(seen),
        "least squares": asked(),
        "wiener": max(psnr(wiener(seen, share)) for share in SHARES),
        "unsharp": max(psnr(seen + amount * (seen - blurred(seen))) for amount in AMOUNTS),
    }


def blurred(x: np.ndarray) -> np.ndarray:
    """By the kernel; beyond its edge a picture goes on as it ends. (n, h, w) -> same"""
    from scipy.ndimage import convolve

    return np.stack([convolve(one, KERNEL, mode="nearest") for one in x])


def wiener(seen: np.ndarray, share: float) -> np.ndarray:
    """conj(K) Y / (|K|^2 + share) of each frequency. (n, h, w) -> same"""
    around = np.pad(seen, ((0, 0), (4, 4), (4, 4)), mode="edge")
    kernel = np.zeros(around.shape[1:])
    kernel[:3, :3] = KERNEL
    k = torch.fft.fft2(torch.from_numpy(np.roll(kernel, (-1, -1), (0, 1))))
    y = torch.fft.fft2(torch.from_numpy(around).double())
    clear = torch.fft.ifft2(y * k.conj() / (k.abs().square() + share)).real
    return clear[:, 4:-4, 4:-4].numpy()
