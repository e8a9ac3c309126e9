"""What a training of pictures leaves: an energy, a generator, perhaps an encoder; their file."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.random import Stream
from modules.image._generated.networks import Judge, Onlooker, Painter
from modules.shared.weights import described, loaded, save_described

QUANTILES = (0.5, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 1.0)
NOISE = 0.15  # of the held-out pictures on which the temperature is fitted
BUNCH = 1024  # pictures that pass at once


@dataclass(frozen=True, eq=False)
class Drawing:
    """shape: (height, width). judge: what a picture costs, over `temperature`. painter: pictures
    from latents, each number of which is normal. onlooker: the latents of pictures; None: there is
    none. move, beta: the Langevin moves it was trained by. spread: how far pictures of the painter
    lie from real ones, a pixel. quantiles: of the energies of held-out pictures, at QUANTILES.
    """

    shape: tuple[int, int]
    latent: int
    hidden: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]  # judge, painter, onlooker
    judge: Judge
    painter: Painter
    onlooker: Onlooker | None
    move: float
    beta: float
    spread: float
    temperature: float = 1.0
    quantiles: tuple[float, ...] = ()
    made: str = ""

    def energies(self, pictures: Tensor) -> Tensor:
        """(n, h, w) -> (n,)"""
        return self.judge(pictures) / self.temperature

    def band(self, share: float) -> float:
        """The energy that `share` of held-out pictures lie below, between the shares kept."""
        return quantile_at(self.quantiles, share)

    def save(self, path: str | Path, form: str) -> None:
        """Writes the file, numbers in 16 bits; it is whole, or the one before."""
        about: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("shape", "latent", "hidden", "move", "beta", "spread", "temperature")
        }
        about |= {"quantiles": self.quantiles, "made": self.made}
        tensors = self.judge.state_dict(prefix="judge.") | self.painter.state_dict(
            prefix="painter."
        )
        if self.onlooker is not None:
            tensors |= self.onlooker.state_dict(prefix="onlooker.")
        save_described(path, form, {name: t.half() for name, t in tensors.items()}, about)


def begun(
    shape: tuple[int, int],
    latent: int,
    hidden: Sequence[Sequence[int]],
    encoded: bool,
    move: float,
    beta: float,
    spread: float,
    seed: int,
) -> Drawing:
    """Networks at random, to be trained."""
    pixels = shape[0] * shape[1]
    judging, painting, looking = (tuple(widths) for widths in hidden)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Drawing(
            shape,
            latent,
            (judging, painting, looking),
            Judge(pixels, judging),
            Painter(latent, painting, shape),
            Onlooker(pixels, looking, latent) if encoded else None,
            move,
            beta,
            spread,
        )


def load_drawing(path: str, form: str, kind: str, beside: Path) -> Drawing:
    """What a file holds; a bare name is also looked for in `beside`. Raises BadQuery under
    `weights`."""
    remedy = f"make it with `basin train {kind} --data digits --out W.safetensors`"
    return loaded(path, beside, lambda raw: _drawing(raw, form), f"weights of {kind}", remedy)


@lru_cache(maxsize=8)
def _drawing(raw: bytes, form: str) -> Drawing:
    about, tensors = described(raw, form)
    hidden = tuple(tuple(widths) for widths in about["hidden"])
    encoded = any(name.startswith("onlooker.") for name in tensors)
    move, beta, spread = (float(about[name]) for name in ("move", "beta", "spread"))
    high, wide = about["shape"]
    blank = begun((high, wide), about["latent"], hidden, encoded, move, beta, spread, seed=0)
    for name, net in (
        ("judge", blank.judge),
        ("painter", blank.painter),
        ("onlooker", blank.onlooker),
    ):
        if net is not None:
            own = {
                n.removeprefix(f"{name}."): t.float()
                for n, t in tensors.items()
                if n.startswith(f"{name}.")
            }
            net.load_state_dict(own)
            net.eval().requires_grad_(False)
    temperature, quantiles = fitted(about)
    return replace(blank, temperature=temperature, quantiles=quantiles, made=about["made"])


def fitted(about: Mapping[str, Any]) -> tuple[float, tuple[float, ...]]:
    """The temperature and the quantiles that a file tells. Raises ValueError for what was never
    fitted."""
    temperature = float(about["temperature"])
    quantiles = tuple(float(value) for value in about["quantiles"])
    if not 0 < temperature < math.inf or len(quantiles) != len(QUANTILES):
        raise ValueError("no temperature, or no quantiles")
    return temperature, quantiles


def measured(drawing: Drawing, held: Tensor, made: str) -> Drawing:
    """The same with a temperature and quantiles of energies, fitted on held-out pictures."""
    temperature = fitted_temperature(drawing.judge, held)
    quantiles = held_quantiles(drawing.judge, held, temperature)
    return replace(drawing, temperature=temperature, quantiles=quantiles, made=made)


def fitted_temperature(judge: Judge, held: Tensor) -> float:
    """The temperature of an energy H on pictures that it did not learn from. (n, h, w)

    The slope of E = H / T should point from noisy pictures back to clean ones: T is the least
    squares of  grad H(y) / T = (y - x) / NOISE^2,  y = x + NOISE n  (`score_matching`). Where
    slopes do not point there at all the temperature stays 1.
    """
    rng = Stream(0, torch.zeros(1, dtype=torch.int64))
    noise = rng.normal(len(held), *held.shape[1:], dtype=torch.float64).to(held)
    noisy = (held + NOISE * noise).requires_grad_()
    (slope,) = torch.autograd.grad(judge(noisy).sum(), noisy)
    wanted = NOISE * noise / NOISE**2
    agreed, size = float((slope * wanted).sum()), float(slope.square().sum())
    return size / agreed if agreed > 0 and size > 0 else 1.0


@torch.no_grad()
def held_quantiles(judge: Judge, held: Tensor, temperature: float) -> tuple[float, ...]:
    """What held-out pictures cost, at QUANTILES. (n, h, w)"""
    every = torch.cat([judge(x) for x in held.split(BUNCH)]).double() / temperature
    return tuple(torch.quantile(every, torch.tensor(QUANTILES, dtype=torch.float64)).tolist())


def quantile_at(quantiles: Sequence[float], share: float) -> float:
    """What `share` of held-out pictures cost at most, between the shares kept."""
    last = 0.0, quantiles[0]
    for at, value in zip(QUANTILES, quantiles, strict=True):
        if share <= at:
            return last[1] + (share - last[0]) / (at - last[0]) * (value - last[1])
        last = at, value
    return math.inf
