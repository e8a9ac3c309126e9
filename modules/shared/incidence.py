"""Which lists of sites each site stands in, so that a change of one site looks at these alone."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.decimals import Ints


class Met(NamedTuple):
    """Where some sites stand: one entry for each list that one of them stands in."""

    owner: Tensor  # (L,) which of the sites
    row: Tensor  # (L,) the list
    column: Tensor  # (L,) its place there


class Incidence:
    """Of lists of one length over numbered sites. (m, arity)"""

    def __init__(self, lists: Ints, sites: int):
        flat = lists.reshape(-1)
        order = np.argsort(flat, kind="stable")
        self.arity = lists.shape[1]
        self.order = torch.from_numpy(order)
        self.start = torch.from_numpy(np.searchsorted(flat[order], np.arange(sites + 1)))

    def met(self, sites: Tensor) -> Met:
        """Where these sites stand. (m,) int64"""
        start = self.start.to(sites.device)
        first = start[sites]
        count = start[sites + 1] - first
        owner = torch.arange(len(sites), device=sites.device).repeat_interleave(count)
        before = count.cumsum(0) - count
        at = torch.arange(len(owner), device=sites.device) + (first - before)[owner]
        place = self.order.to(sites.device)[at]
        return Met(owner, place // self.arity, place % self.arity)
