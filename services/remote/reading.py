"""A term in another process, read site by site: each call names beginnings, and the host tells
what every value of the next site adds.

All that is known here of a beginning is its places, so that any replica goes on where another
stopped.
"""

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from engine.domain import Finite
from engine.energy.reader import Reader, Windows
from engine.errors import ModuleFault
from services.wire.binding import BoundBinding

if TYPE_CHECKING:
    from services.remote.kinds import RemoteKind


class Beginnings(NamedTuple):
    """Where some states stand."""

    row: int
    places: Tensor  # (B, t) int64


class HostedReader(Reader[Beginnings]):
    """sizes: how many values each site has, in the order of reading."""

    def __init__(
        self,
        home: "RemoteKind",
        bound: BoundBinding,
        sites: Tensor,
        sizes: list[int],
        least: float,
    ):
        self.home, self.bound, self.sites, self.sizes = home, bound, sites, sizes
        self.least = least
        self._guesses: dict[int, Windows | None] = {}

    @staticmethod
    def of(home: "RemoteKind", bound: BoundBinding) -> "HostedReader | None":
        """As its host reads it; None where it does not. Raises ModuleFault for no order."""
        told = home.read(bound)
        if told is None:
            return None
        every = {
            (k, site): len(domain.values)
            for k, domain in enumerate(bound.binding.domains)
            if isinstance(domain, Finite)
            for site in range(domain.sites)
        }
        sites = told["sites"]
        order = [(pair[0], pair[-1]) for pair in sites.reshape(len(sites), -1).tolist() if pair]
        if sites.shape != (len(every), 2) or sorted(order) != sorted(every):
            raise ModuleFault(home.name, "its reader does not read each site once")
        least = float(told["least"]) if "least" in told else -math.inf
        if math.isnan(least):
            raise ModuleFault(home.name, "its reader adds no number at least")
        return HostedReader(home, bound, sites, [every[pair] for pair in order], least)

    def begin(self, row: int) -> Beginnings:
        return Beginnings(row, torch.zeros(1, 0, dtype=torch.int64))

    def costs(self, s: Beginnings) -> Tensor:
        length = s.places.shape[1]
        size = self.sizes[length]
        room = self.home.replicas.limits.message_bytes // 2
        each = max(1, room // (4 * length + 8 * size))
        return torch.cat([self._costs(s.row, some, size) for some in s.places.split(each)])

    def _costs(self, row: int, places: Tensor, size: int) -> Tensor:
        told = self.home.read(self.bound, row, places) or {}
        costs = told.get("costs")
        if costs is None or costs.shape != (len(places), size):
            raise ModuleFault(self.home.name, f"its reader gave no {size} costs a beginning")
        if bool((costs.isnan() | (costs == -torch.inf)).any()):
            raise ModuleFault(self.home.name, "its reader gave costs that are no numbers")
        return costs.double()

    def read(self, s: Beginnings, places: Tensor) -> Beginnings:
        return Beginnings(s.row, torch.cat([s.places, places.long()[:, None]], 1))

    def picked(self, s: Beginnings, index: Tensor) -> Beginnings:
        return Beginnings(s.row, s.places[index])

    def ahead(self, width: int) -> Windows | None:
        """What the host guesses; asked once."""
        if width not in self._guesses:
            self._guesses[width] = self._ahead(width)
        return self._guesses[width]

    def _ahead(self, width: int) -> Windows | None:
        told = self.home.read(self.bound, width=width) or {}
        if "windows" not in told or "guesses" not in told:
            return None
        places, costs = told["windows"].long(), told["guesses"].double()
        count = len(self.sizes)
        fits = places.dim() == 2 and places.shape[1] == width == costs.dim()
        if not fits or bool(((places < 0) | (places >= count)).any()):
            raise ModuleFault(self.home.name, f"its reader guesses no windows of {width}")
        sizes = torch.tensor(self.sizes)[places]
        if bool((sizes != torch.tensor(costs.shape)).any()) or bool(costs.isnan().any()):
            raise ModuleFault(self.home.name, "its reader guesses no numbers of its sites")
        return Windows(places.numpy(), costs.numpy())
