"""Small networks over pictures from 0 to 1: an energy, a generator, an encoder."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Layers(nn.Module):
    """Linear maps with smooth steps between them, x -> x sigmoid(x), so that slopes are smooth."""

    def __init__(self, *widths: int):
        super().__init__()
        layers: list[nn.Module] = []
        for inward, outward in zip(widths, widths[1:], strict=False):
            layers += [nn.Linear(inward, outward), nn.SiLU()]
        self.body = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:  # (B, first) -> (B, last)
        return self.body(x)


class Judge(Layers):
    """What a picture costs."""

    def __init__(self, pixels: int, hidden: Sequence[int]):
        super().__init__(pixels, *hidden, 1)

    def forward(self, pictures: Tensor) -> Tensor:  # (B, *shape) -> (B,)
        return self.body(2 * pictures.flatten(1) - 1)[:, 0]


class Painter(Layers):
    """A picture made from a latent."""

    def __init__(self, latent: int, hidden: Sequence[int], shape: Sequence[int]):
        self.shape = tuple(shape)
        super().__init__(latent, *hidden, self.shape[0] * self.shape[1])

    def forward(self, latent: Tensor) -> Tensor:  # (B, latent) -> (B, *shape)
        return torch.sigmoid(self.body(latent)).reshape(-1, *self.shape)


class Onlooker(Layers):
    """Mean and ln variance of the latent of a picture."""

    def __init__(self, pixels: int, hidden: Sequence[int], latent: int):
        super().__init__(pixels, *hidden, 2 * latent)

    def forward(self, pictures: Tensor) -> Tensor:  # (B, *shape) -> (B, 2 latent)
        return self.body(2 * pictures.flatten(1) - 1)
