"""What the rows of one stream were told, kept by their keys as long as batches may name them."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from engine.domain import Given, Told
from engine.errors import BadQuery, Mistake, TooLarge
from services.settings import Limits
from services.v1 import module_pb2 as pb
from services.wire.arrays import Array, Content
from services.wire.binding import told_of


class StreamRows:
    """The rows that a stream knows. Raises BadQuery or TooLarge for what makes no sense."""

    def __init__(self, told: Sequence[Told], limits: Limits):
        self.told, self.limits = told, limits
        self._rows: dict[int, tuple[list[Given], int]] = {}  # rows bound together, and which it is
        self._last: tuple[bytes, list[Given]] | None = None  # keys of a batch, and what they mean

    def bind(self, message: pb.Rows, raw: Sequence[Content]) -> None:
        """Forget some rows, and keep others."""
        self._drop(message.dropped)
        if message.dropped or message.keys:
            self._last = None
        if not message.keys:
            return
        if len(message.inputs) != len(self.told):
            given = f"{len(message.inputs)} inputs"
            raise BadQuery(Mistake("rows.inputs", given, f"the scope has {len(self.told)}"))
        count = len(self._rows) + sum(key not in self._rows for key in set(message.keys))
        numbers = count * sum(domain.sites for domain in self.told)
        if numbers > self.limits.input_numbers:
            limit = self.limits.told("input_numbers")
            raise TooLarge(Mistake("rows", f"{numbers} numbers of all", f"{limit}: drop some"))
        columns = []
        for k, (domain, one) in enumerate(zip(self.told, message.inputs, strict=True)):
            try:
                columns.append(told_of(domain, one, raw, self.limits))
            except BadQuery as error:
                raise error.under(f"rows.inputs[{k}]") from None
            if columns[-1].rows != len(message.keys):
                given = f"{columns[-1].rows} rows"
                remedy = f"give {len(message.keys)}, one a key"
                raise BadQuery(Mistake(f"rows.inputs[{k}]", given, remedy))
        block = [Given(d.tensor, d.present) for d in columns]
        self._drop(message.keys)
        self._rows |= {key: (block, k) for k, key in enumerate(message.keys)}

    def _drop(self, keys: Iterable[int]) -> None:
        """Forget some rows; those that were bound with them get memory of their own."""
        broken = {id(self._rows.pop(key)[0]) for key in keys if key in self._rows}
        for key, (block, k) in self._rows.items() if broken else ():
            if id(block) in broken:
                own = [Given(v[k : k + 1].clone(), p[k : k + 1].clone()) for v, p in block]
                self._rows[key] = own, 0

    def of(self, keys: Array) -> list[Given]:
        """What the row of each state was told, one entry for each input: (n, *shape), (n, entries).

        keys: (n,) int64, in memory of their own.
        """
        if keys.ndim != 1 or keys.dtype != np.int64:
            given = f"{keys.dtype} of shape {[*keys.shape]}"
            raise BadQuery(Mistake("rows", given, "give one int64 for each state"))
        name = keys.tobytes()
        if self._last is None or self._last[0] != name:
            self._last = name, self._gathered(keys)
        return self._last[1]

    def _gathered(self, keys: Array) -> list[Given]:
        distinct, place = np.unique(keys, return_inverse=True)
        unknown = [key for key in distinct.tolist() if key not in self._rows]
        if unknown:
            problem = f"no row has the key {unknown[0]}"
            raise BadQuery(Mistake("rows", problem, "bind it beside the batch"))
        if not len(keys):
            return [Given(d.tensor, d.present) for d in (one.select([]) for one in self.told)]
        block = self._rows[int(keys[0])][0]
        states = (self._rows[key] for key in keys.tolist())
        if all(one is block and k == at for at, (one, k) in enumerate(states)):
            return [Given(values[: len(keys)], present[: len(keys)]) for values, present in block]
        rows = [self._rows[key] for key in distinct.tolist()]
        return [
            Given(*(_spread([block[k][part][at] for block, at in rows], place) for part in (0, 1)))
            for k in range(len(self.told))
        ]


def _spread(rows: Sequence[Tensor], place: Array) -> Tensor:
    """The row of each state; of a single one nothing is copied. (n,) -> (n, ...)"""
    if len(rows) == 1:
        return rows[0].expand(len(place), *rows[0].shape)
    return torch.stack([*rows])[torch.from_numpy(np.ascontiguousarray(place))]
