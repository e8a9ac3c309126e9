"""An energy of relaxed states from what single changes of a decided one cost."""

import torch
from torch import Tensor

from modules.shared.sites import OverSites


def straight(term: OverSites, *tensors: Tensor) -> Tensor:
    """From the likeliest state straight: E = cost(y) + sum over sites and values of
    change(site, value) P(value), y the likeliest values. Exact where a state is decided.
    (B, *shape, k) of each entry -> (B,)"""
    places = [x.argmax(-1) for x in tensors]
    counts = term.layout.counts
    each = [torch.stack([torch.full((n,), e), torch.arange(n)], 1) for e, n in enumerate(counts)]
    change = term.changes(torch.cat(each).to(tensors[0].device), *places)  # (B, n, k)
    change = torch.where(change.isfinite(), change, 0.0)
    total, first = term.cost(*places), 0
    for x, n in zip(tensors, counts, strict=True):
        flat = x.reshape(len(x), n, x.shape[-1]).double()
        total = total + (change[:, first : first + n, : x.shape[-1]] * flat).sum((1, 2))
        first += n
    return total.to(tensors[0].dtype)
