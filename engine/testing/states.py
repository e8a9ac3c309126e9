"""All definite states that domains leave, where they are few."""

import itertools
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from engine.domain import Domain, Finite
from engine.testing.factors import ENUMERATED


def every_state(domains: Mapping[str, Domain], row: int = 0) -> dict[str, Tensor] | None:
    """All definite states of a row of Finite domains; None: they are real, or more than
    `ENUMERATED`. -> {name: (B, *shape)}"""
    finite = {name: d for name, d in domains.items() if isinstance(d, Finite)}
    if len(finite) < len(domains):
        return None
    choices = [
        site.nonzero().reshape(-1).tolist()
        for d in finite.values()
        for site in d.allowed[row].reshape(d.sites, -1)
    ]
    if math.prod(len(c) for c in choices) > ENUMERATED:
        return None
    places = torch.tensor(list(itertools.product(*choices)), dtype=torch.long)
    out, start = {}, 0
    for name, domain in finite.items():
        mine = places[:, start : start + domain.sites].to(domain.dtype)
        out[name] = mine.reshape(len(places), *domain.shape)
        start += domain.sites
    return out
