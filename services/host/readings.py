"""A hosted term that is read site by site: what it knew of beginnings asked of last is kept.

A caller names beginnings whole, so that any replica can answer; where all of them go on from those
of an earlier call, each is read by what is new alone.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from engine.domain import Finite
from engine.energy.reader import Reader, Windows
from engine.errors import BadQuery, Mistake, ModuleFault
from services.host.bound_term import BoundTerm, guard_faults

LAYERS = 4  # kept of one term: of rows, or callers, that take turns
WIDEST = 8  # sites of a window


@dataclass(frozen=True, eq=False)
class _Layer:
    """Beginnings of one length in one row, and what is known of them."""

    row: int
    length: int
    place: dict[bytes, int]  # of each beginning
    known: Any

    def found(self, row: int, beginnings: Tensor) -> list[int] | None:
        """Where the beginnings of these stand; None where one is not known."""
        if row != self.row or beginnings.shape[1] < self.length:
            return None
        out = [self.place.get(key, -1) for key in _keys(beginnings[:, : self.length])]
        return None if -1 in out else out


class Readings:
    """One term under the domains of one binding, as it is read."""

    def __init__(self, hosted: BoundTerm):
        self.hosted, self.kind = hosted, hosted.kind
        self.rows = max(domain.rows for domain in hosted.domains)
        self._layers: deque[_Layer] = deque(maxlen=LAYERS)
        self._lock = Lock()
        finite = all(isinstance(d, Finite) or bool(d.decided.all()) for d in hosted.domains)
        self.reader: Reader[Any] | None = None
        if finite:
            domains = hosted.domains
            self.reader = self._asked("reader", lambda: hosted.term.reader(*domains))
        self.sites = torch.zeros(0, 2, dtype=torch.int64)
        self.least = -math.inf
        if self.reader is not None:
            self.sites, self.least = self.reader.sites, float(self.reader.least)
            self.sizes = self._sizes()

    def _asked(self, method: str, work: Callable[[], Any]) -> Any:
        with self.hosted.lock:
            return guard_faults(self.kind, method, work)

    def _sizes(self) -> list[int]:
        """How many values each site has, in the order of reading. Raises ModuleFault where that is
        no order of all sites."""
        every = {
            (k, site): len(domain.values)
            for k, domain in enumerate(self.hosted.domains)
            if isinstance(domain, Finite)
            for site in range(domain.sites)
        }
        told = [(int(entry), int(site)) for entry, site in self.sites.tolist()]
        if sorted(told) != sorted(every):
            raise ModuleFault(self.kind, "its reader does not read each site once")
        return [every[pair] for pair in told]

    def costs(self, row: int, beginnings: Tensor) -> Tensor:
        """What each value of the next site adds. (m, t) -> (m, k) float64"""
        assert self.reader is not None
        self._check(row, beginnings)
        reader, length = self.reader, beginnings.shape[1]
        with self._lock:
            known = self._known(row, beginnings)
            costs = self._asked("reader.costs", lambda: reader.costs(known))
        wanted = (len(beginnings), self.sizes[length])
        if not isinstance(costs, Tensor) or costs.dim() != 2 or costs.shape[0] != wanted[0]:
            raise ModuleFault(self.kind, f"its reader gave no costs of shape {[*wanted]}")
        if costs.shape[1] < wanted[1] or bool((costs.isnan() | (costs == -torch.inf)).any()):
            raise ModuleFault(self.kind, "its reader gave costs that are no numbers")
        return costs[:, : wanted[1]].double()

    def ahead(self, width: int) -> Windows | None:
        """What the term guesses of sites to come."""
        reader = self.reader
        if not 1 <= width <= WIDEST:
            raise BadQuery(Mistake("width", f"{width}", f"give 1 to {WIDEST}"))
        return None if reader is None else self._asked("reader.ahead", lambda: reader.ahead(width))

    def _check(self, row: int, beginnings: Tensor) -> None:
        if row >= self.rows:
            raise BadQuery(Mistake("row", f"{row}", f"the domains have {self.rows} rows"))
        if beginnings.dim() != 2 or beginnings.dtype != torch.int32 or not len(beginnings):
            told = f"{beginnings.dtype} of shape {[*beginnings.shape]}"
            raise BadQuery(Mistake("beginnings", told, "give (m, t) int32, m at least 1"))
        length = beginnings.shape[1]
        if length >= len(self.sizes):
            told = f"{length} sites"
            raise BadQuery(Mistake("beginnings", told, f"give fewer than {len(self.sizes)}"))
        sizes = torch.tensor(self.sizes[:length])
        if bool(((beginnings < 0) | (beginnings >= sizes)).any()):
            raise BadQuery(Mistake("beginnings", "name no value of a site", "give its place"))

    def _known(self, row: int, beginnings: Tensor) -> Any:
        """What is known of beginnings; kept for those that go on from them."""
        reader, length = self.reader, beginnings.shape[1]
        assert reader is not None
        fits = list(self._fitting(row, beginnings))
        if fits:
            layer, at = max(fits, key=lambda pair: pair[0].length)
            self._layers.remove(layer)
            known, first = layer.known, layer.length
        else:
            known, first = self._asked("reader.begin", partial(reader.begin, row)), 0
            at = [0] * len(beginnings)
        known = self._asked("reader.picked", partial(reader.picked, known, torch.tensor(at)))
        for site in range(first, length):
            places = beginnings[:, site].long()
            known = self._asked("reader.read", partial(reader.read, known, places))
        keys = {key: k for k, key in enumerate(_keys(beginnings))}
        self._layers.append(_Layer(row, length, keys, known))
        return known

    def _fitting(self, row: int, beginnings: Tensor) -> Iterator[tuple[_Layer, list[int]]]:
        """Layers from which all of these go on, and where."""
        for layer in self._layers:
            at = layer.found(row, beginnings)
            if at is not None:
                yield layer, at


def _keys(beginnings: Tensor) -> list[bytes]:
    """Bytes that tell beginnings apart. (m, t) int32 -> m"""
    rows = beginnings.contiguous().numpy()
    return [row.tobytes() for row in rows]
