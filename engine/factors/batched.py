"""Tables of one shape with different costs as one object."""

from collections.abc import Hashable, Sequence

from engine.decimals import Ints as Ints
from engine.decimals import Products
from engine.factors.families import Table

ROOM = 2  # times the costs of some tables that they may take as one


def batched(tables: Sequence[Table], sizes: Ints) -> tuple[Table, ...]:
    """The same tables, those of one shape that list the same combinations as one whose scopes pay
    apart, unless one of them serves so many scopes that this would take much more room.

    Costs that differ by row stay as they are: they lie beside the structure, table by table.
    """
    if len(tables) < 2:
        return tuple(tables)
    alike: dict[Hashable, list[Table]] = {}
    for table in tables:
        alike.setdefault(_shape(table, sizes), []).append(table)
    return tuple(one for mine in alike.values() for one in _together(mine))


def _together(tables: list[Table]) -> list[Table]:
    written = sum(t.count * len(t.tuples) for t in tables)
    if len(tables) == 1 or written > ROOM * sum(t.costs.size for t in tables):
        return tables
    every = [table.products for table in tables if table.products is not None]
    products = Products.joined(every) if every else None
    return tables if every and products is None else [Table.joined(tables, products)]


def _shape(table: Table, sizes: Ints) -> Hashable:
    """What tables that are one object have in common; itself where it is none with others."""
    if table.by_row or table.varies or not table.count:
        return id(table)
    shapes = sizes[table.scopes]
    if (shapes != shapes[0]).any():
        return id(table)
    listed = (shapes[0].tobytes(), table.tuples.shape, table.tuples.tobytes(), table.default)
    bound = None if table.when is None else table.when.shape[1]
    weights = None if table.products is None else table.products.weights
    return (*listed, weights, table.computed, bound)
