"""Tables whose scopes name each site once."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from engine.factors.families import Table


def distinct(table: Table) -> Iterator[Table]:
    """The same table with each site once a scope: of what it lists, the combinations stay that give
    a site that stands several times one value."""
    ordered = np.sort(table.scopes, axis=1)
    if not (ordered[:, 1:] == ordered[:, :-1]).any():
        yield table
        return
    first = (table.scopes[:, :, None] == table.scopes[:, None, :]).argmax(2)  # (m, arity)
    for pattern in np.unique(first, axis=0):
        own = table.picked((first == pattern).all(1))
        kept = np.flatnonzero(pattern == np.arange(table.arity))
        fits = (table.tuples == table.tuples[:, pattern]).all(1)
        yield replace(
            own,
            scopes=own.scopes[:, kept],
            tuples=own.tuples[fits][:, kept],
            costs=own.costs[..., fits],
        )
