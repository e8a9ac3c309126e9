"""What a training of pictures leaves: an energy, a generator, perhaps an encoder; their file."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from modules.image._generated.measured import Measured, as_told
from modules.image._generated.networks import Judge, Onlooker, Painter
from modules.shared.weights import described, loaded, positive, restored, save_described


@dataclass(frozen=True, eq=False)
class Drawing(Measured):
    """painter: pictures from latents, each number of which is normal. onlooker: the latents of
    pictures; None: there is none. move, beta: the Langevin moves it was trained by. spread: how far
    pictures of the painter lie from real ones, a pixel.
    """

    latent: int
    wells: int  # of the judge
    hidden: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]  # judge, painter, onlooker
    painter: Painter
    onlooker: Onlooker | None
    move: float
    beta: float
    spread: float

    def save(self, path: str | Path, form: str) -> None:
        """Writes the file, numbers in 16 bits; it is whole, or the one before."""
        about: dict[str, Any] = {
            name: getattr(self, name)
            for name in (
                "shape",
                "latent",
                "wells",
                "hidden",
                "move",
                "beta",
                "spread",
                "temperature",
            )
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
    wells: int,
    seed: int,
) -> Drawing:
    """Networks at random, to be trained."""
    pixels = shape[0] * shape[1]
    judging, painting, looking = (tuple(widths) for widths in hidden)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Drawing(
            shape,
            Judge(pixels, judging, wells),
            latent,
            wells,
            (judging, painting, looking),
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
    move, beta, spread = (positive(about, name) for name in ("move", "beta", "spread"))
    high, wide = about["shape"]
    latent, wells = about["latent"], about.get("wells", 0)
    with torch.device("meta"):
        blank = begun((high, wide), latent, hidden, encoded, move, beta, spread, wells, seed=0)
    for name, net in (
        ("judge", blank.judge),
        ("painter", blank.painter),
        ("onlooker", blank.onlooker),
    ):
        if net is not None:
            restored(net, tensors, f"{name}.")
    return as_told(blank, about)
