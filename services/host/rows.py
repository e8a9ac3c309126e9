"""What the rows of one stream were told, kept by their keys as long as batches may name them."""

from collections.abc import Sequence

import numpy as np
import torch

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
        self._rows: dict[int, list[Given]] = {}
        self._last: tuple[bytes, list[Given]] | None = None  # keys of a batch, and what they mean

    def bind(self, message: pb.Rows, raw: Sequence[Content]) -> None:
        """Forget some rows, and keep others."""
        for key in message.dropped:
            self._rows.pop(key, None)
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
        for k, key in enumerate(message.keys):
            self._rows[key] = [Given(d.tensor[k].clone(), d.present[k].clone()) for d in columns]

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
        rows = [self._rows[key] for key in distinct.tolist()]
        at = torch.from_numpy(np.ascontiguousarray(place))
        gathered = []
        for k, domain in enumerate(self.told):
            if not rows:
                empty = domain.select([])
                gathered.append(Given(empty.tensor, empty.present))
            elif len(rows) == 1:
                one = rows[0][k]
                values = one.values.expand(len(keys), *domain.shape)
                gathered.append(Given(values, one.present.expand(len(keys), -1)))
            else:
                values = torch.stack([row[k].values for row in rows])[at]
                gathered.append(Given(values, torch.stack([row[k].present for row in rows])[at]))
        return gathered
