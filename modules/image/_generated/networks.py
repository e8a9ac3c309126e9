"""Small networks over pictures from 0 to 1: an energy, a generator, an encoder."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

RADIUS = 0.3  # of a well before it learns


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


class Wells(nn.Module):
    """E = -ln sum_k exp(l_k - |a (x - m_k)|^2 / (2 r_k^2)), a scale a of each pixel: as many
    valleys as wells, and steep beyond all of them, which layers by themselves are not."""

    def __init__(self, pixels: int, count: int):
        super().__init__()
        self.middle = nn.Parameter(torch.full((count, pixels), 0.5))
        self.level = nn.Parameter(torch.zeros(count))
        self.radius = nn.Parameter(torch.full((count,), math.log(RADIUS)))  # ln r
        self.scale = nn.Parameter(torch.zeros(pixels))  # ln a

    @torch.no_grad()
    def laid(self, pictures: Tensor, radius: float = RADIUS) -> None:
        """Puts the middles where some pictures are. (n, *shape), taken round again if fewer"""
        places = torch.arange(len(self.middle)) % len(pictures)
        self.middle.copy_(pictures[places].flatten(1))
        self.radius.fill_(math.log(radius))

    def forward(self, x: Tensor) -> Tensor:  # (B, pixels) -> (B,)
        a = self.scale.exp()
        x, middle = x * a, self.middle * a
        away = x.square().sum(1, keepdim=True) + middle.square().sum(1) - 2 * x @ middle.T
        return -torch.logsumexp(self.level - away * (-2 * self.radius).exp() / 2, 1)


class Judge(Layers):
    """What a picture costs: layers, and wells where there are some."""

    def __init__(self, pixels: int, hidden: Sequence[int], wells: int = 0):
        super().__init__(pixels, *hidden, 1)
        self.wells = Wells(pixels, wells) if wells else None

    def forward(self, pictures: Tensor) -> Tensor:  # (B, *shape) -> (B,)
        x = pictures.flatten(1)
        cost = self.body(2 * x - 1)[:, 0]
        return cost if self.wells is None else cost + self.wells(x)


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
