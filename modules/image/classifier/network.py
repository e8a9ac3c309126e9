"""A small convolutional network: features of pictures, and how each label fits them."""

import torch
from torch import Tensor, nn

WIDTHS = (32, 64, 128)
BUNCH = 64  # pictures that pass at once


class Network(nn.Module):
    """Six convolutions of 3 x 3, two of them halving the picture, the mean, a linear map.

    `features` have the last of `widths`; channels lie last in memory, which is fastest on a
    processor core.
    """

    def __init__(self, labels: int, widths: tuple[int, int, int] = WIDTHS):
        super().__init__()
        a, b, c = widths
        layers: list[nn.Module] = []
        for inward, outward, stride, edge in (
            (1, a, 1, 1),
            (a, a, 2, 1),
            (a, b, 1, 1),
            (b, b, 2, 1),
            (b, c, 1, 1),
            (c, c, 1, 0),
        ):
            convolution = nn.Conv2d(inward, outward, 3, stride, edge, bias=False)
            layers += [convolution, nn.BatchNorm2d(outward), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.last = nn.Linear(c, labels)
        self.widths = tuple(widths)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def features(self, pictures: Tensor) -> Tensor:  # (n, 1, side, side) -> (n, c)
        x = pictures.contiguous(memory_format=torch.channels_last)
        return self.body(x).mean((2, 3))

    def forward(self, pictures: Tensor) -> Tensor:  # (n, 1, side, side) -> (n, labels)
        return self.last(self.features(pictures))


@torch.no_grad()
def seen_by(net: Network, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Features and logits of many pictures, in bounded memory. (n, 1, s, s) -> (n, c), (n, k)"""
    every = [net.features(some) for some in pictures.split(BUNCH)] or [
        pictures.new_zeros(0, net.last.in_features)
    ]
    features = torch.cat(every)
    return features, net.last(features)


def folded(net: Network) -> Network:
    """The same network in evaluation, batch normalization folded into the convolutions and what
    follows them done in place: fewer passes over memory, and less of it. It cannot be trained
    further."""
    out = Network(net.last.out_features, net.widths)  # type: ignore[arg-type]
    layers: list[nn.Module] = []
    for k in range(0, len(net.body), 3):
        convolution, norm = net.body[k], net.body[k + 1]
        assert isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
        own = nn.utils.fuse_conv_bn_eval(convolution.eval(), norm.eval())
        layers += [own, nn.ReLU(inplace=True)]
    out.body = nn.Sequential(*layers)
    out.last.load_state_dict(net.last.state_dict())
    out.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return out.eval().requires_grad_(False)
