"""Tables of loans and networks drawn at random."""

import itertools

import torch

from modules.discrete.tabular.network import TableNet

LOANS = "loans.safetensors"


def random_net(sizes=(2, 3, 4), seed=0) -> TableNet:
    g = torch.Generator().manual_seed(seed)
    net = TableNet(sizes, 5, g)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(0.7 * torch.randn(p.shape, generator=g))
    return net.requires_grad_(False)


def every_row(sizes) -> torch.Tensor:
    return torch.tensor(list(itertools.product(*(range(k) for k in sizes))))
