"""Explicit structure as a message and back: named columns, checked before anything indexes them.

Every family of lists travels as the columns of its class; all tables together travel as one set
of columns, so that ten thousand tables are no more tensors than one.
"""

import hashlib
import math
from collections.abc import Iterator, MutableSequence, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from engine.decimals import Products
from engine.domain import Domain
from engine.errors import BadQuery, Mistake, TooLarge, join, known
from engine.factors import Clauses, Counted, Different, Factors, Sums, Table
from engine.factors.families import BY_ENTRY
from services.settings import DEFAULT, Limits
from services.v1 import module_pb2 as pb
from services.wire.arrays import Content
from services.wire.tensors import put, take_all

Column = npt.NDArray[Any]
Columns = dict[str, Column]

_FAMILIES: dict[str, type[Any]] = {
    "counted": Counted, "clauses": Clauses, "sums": Sums, "different": Different,
}  # fmt: skip
_REAL = {"sums.coefficient", "sums.low", "sums.high", "tables.costs", "tables.default",
         "tables.weights", "tables.floats", "tables.written"}  # fmt: skip
_TRUTH = {"clauses.sign"}
_COUNTED = ("arity", "scopes_of", "tuples_of", "rows", "apart", "computed")  # one a table, whole
_HEADS = (*_COUNTED, "default")
_TABLES = (*_HEADS, "scopes", "tuples", "costs", "term", "part")
_BOUND = ("conditions", "when")  # of each table, and each: only where some table binds under one
_PRODUCTS = ("weighings", "products", "weights", "floats", "written")  # how many of each table, and
# each: only where the costs of some table stand for products
_NAMES = {
    "sizes",
    *(f"tables.{name}" for name in (*_TABLES, *_BOUND, *_PRODUCTS)),
    *(f"{name}.{f.name}" for name, kind in _FAMILIES.items() for f in fields(kind)),
}
_COUNTS = {"visible", "interchangeable", "functional"}


def factors_to_proto(factors: Factors, raw: MutableSequence[bytes]) -> pb.Factors:
    """Structure as a message; the bytes of its columns are appended to `raw`."""
    message = pb.Factors(
        sizes={"visible": factors.visible, "interchangeable": int(factors.interchangeable)}
    )
    if factors.functional:
        message.sizes["functional"] = 1
    for name, column in _columns(factors).items():
        put(torch.from_numpy(column), message.tensors.add(), raw, name)
    return message


def factors_from_proto(
    message: pb.Factors, raw: Sequence[Content], limits: Limits = DEFAULT
) -> Factors:
    """The structure of a message. Raises BadQuery unless every index lies in its range."""
    for name in message.sizes:
        if name not in _COUNTS:
            raise BadQuery(Mistake(f"sizes.{name}", "is no count", known(name, _COUNTS)))
    columns: Columns = {}
    for name, tensor in take_all(message.tensors, raw, limits).items():
        if name not in _NAMES:  # leaving out what is not understood would change the meaning
            raise BadQuery(Mistake(name, "is no column of a structure", known(name, _NAMES)))
        columns[name] = tensor.numpy()
        if columns[name].ndim != 1 or columns[name].dtype != _dtype(name):
            raise BadQuery(
                Mistake(
                    name,
                    f"{columns[name].dtype} of {columns[name].ndim} axes",
                    f"send {np.dtype(_dtype(name))} of one axis",
                )
            )
    factors = Factors(
        columns.get("sizes", np.zeros(0, dtype=np.int64)),
        message.sizes.get("visible", 0),
        **{name: _family(name, kind, columns) for name, kind in _FAMILIES.items()},
        tables=tuple(_tables(columns)),
        interchangeable=bool(message.sizes.get("interchangeable", 0)),
        functional=bool(message.sizes.get("functional", 0)),
    )
    check_factors(factors, limits)
    return factors


def skeleton_of(factors: Factors) -> tuple[Factors, Column | None]:
    """A structure with 0 for every cost that differs by row, and these costs: those of its tables
    side by side, (R, T); None: there are none."""
    own = [table.costs for table in factors.tables if table.by_row]
    if not own:
        return factors, None
    tables = (
        replace(t, costs=np.zeros((1, *t.costs.shape[1:]))) if t.by_row else t
        for t in factors.tables
    )
    rows = max(map(len, own))
    flat = [costs.reshape(len(costs), -1) for costs in own]
    whole = [np.broadcast_to(costs, (rows, costs.shape[1])) for costs in flat]
    return replace(factors, tables=tuple(tables)), np.concatenate(whole, axis=1)


def with_costs(skeleton: Factors, costs: Column) -> Factors:
    """The structure of a skeleton with the costs of its rows (R, T). Raises BadQuery unless there
    is one for each."""
    widths = [t.costs[0].size for t in skeleton.tables if t.by_row]
    fits = costs.ndim == 2 and len(costs) > 0 and costs.shape[1] == sum(widths)
    _require(fits, "costs", f"shape {[*costs.shape]}", f"give rows of {sum(widths)}")
    _require(costs.dtype == np.float64, "costs", f"{costs.dtype}", "send float64")
    pieces = iter(np.split(costs, np.cumsum(widths)[:-1], axis=1) if widths else ())
    tables = (
        replace(t, costs=np.ascontiguousarray(next(pieces)).reshape(len(costs), *t.costs.shape[1:]))
        if t.by_row
        else t
        for t in skeleton.tables
    )
    return replace(skeleton, tables=tuple(tables))


def digest_of(factors: Factors) -> str:
    """What tells two structures apart, as a short text."""
    made = hashlib.blake2b(digest_size=16)
    made.update(f"{factors.visible} {factors.interchangeable:d}{factors.functional:d}".encode())
    for name, column in _columns(factors).items():
        made.update(f" {name} {column.dtype.str} {column.size} ".encode())
        made.update(np.ascontiguousarray(column).data)
    return made.hexdigest()


def check_factors(factors: Factors, limits: Limits = DEFAULT) -> None:
    """Raise BadQuery unless the structure makes sense: nothing is indexed out of its range."""
    sizes = factors.sizes
    _require(bool((sizes >= 1).all()), "sizes", "a site without values", "give each at least one")
    total = float(sizes.sum(dtype=np.float64))
    if len(sizes) > limits.sites:
        raise TooLarge(Mistake("sizes", f"{len(sizes)} sites", limits.told("sites")))
    if total > limits.cells:
        raise TooLarge(Mistake("sizes", f"{total:g} values in all", limits.told("cells")))
    _require(
        0 <= factors.visible <= len(sizes),
        "visible",
        f"{factors.visible} of {len(sizes)}",
        "visible sites are some of the sites",
    )
    for name in _FAMILIES:
        _check_lists(name, getattr(factors, name), sizes)
    for k, table in enumerate(factors.tables):
        _check_table(f"tables[{k}]", table, sizes)


def check_fit(factors: Factors, domains: Sequence[Domain]) -> None:
    """Raise BadQuery unless a structure speaks of exactly these domains and their rows."""
    sizes = Factors.sizes_of(domains)
    fits = factors.visible == len(sizes) and np.array_equal(sizes, factors.sizes[: len(sizes)])
    _require(
        fits,
        "sizes",
        f"{factors.visible} visible sites",
        f"the domains have {len(sizes)}, each as large as its domain",
    )
    rows = max((domain.rows for domain in domains), default=1)
    for k, table in enumerate(factors.tables):
        count = len(table.costs) if table.by_row else 1
        _require(
            count in (1, rows),
            f"tables[{k}].costs",
            f"{count} rows",
            f"the domains have {rows}",
        )


def _columns(factors: Factors) -> Columns:
    """Every column that is not empty, by name, in a fixed order. Raises BadQuery for a family that
    has none: it travels lowered."""
    for family in factors.others:
        remedy = "send the structure lowered"
        raise BadQuery(Mistake("others", f"{type(family).__name__} has no columns", remedy))
    columns: Columns = {"sizes": factors.sizes}
    for name, kind in _FAMILIES.items():
        lists = getattr(factors, name)
        if lists.count:
            columns |= {f"{name}.{f.name}": getattr(lists, f.name) for f in fields(kind)}
    tables = factors.tables
    if tables:
        whole: dict[str, Any] = {
            "arity": [t.arity for t in tables],
            "scopes_of": [len(t.scopes) for t in tables],
            "tuples_of": [len(t.tuples) for t in tables],
            "rows": [len(t.costs) if t.by_row else 0 for t in tables],
            "apart": [int(t.apart) for t in tables],
            "computed": [int(t.computed) for t in tables],
            "default": [t.default for t in tables],
        }
        for field in _TABLES[len(whole) :]:
            whole[field] = np.concatenate([getattr(t, field).reshape(-1) for t in tables])
        if any(t.when is not None for t in tables):
            when = [np.zeros((t.count, 0, 2)) if t.when is None else t.when for t in tables]
            whole["conditions"] = [w.shape[1] for w in when]
            whole["when"] = np.concatenate([w.reshape(-1) for w in when])
        if any(t.products is not None for t in tables):
            every = [t.products or Products((), np.zeros(0), np.zeros(0)) for t in tables]
            whole["weighings"] = [len(own.weights) for own in every]
            whole["products"] = [len(own.floats) for own in every]
            whole["weights"] = [weight for own in every for weight in own.weights]
            whole["floats"] = np.concatenate([own.floats for own in every])
            whole["written"] = np.concatenate([own.written for own in every])
        columns |= {f"tables.{field}": column for field, column in whole.items()}
    return {
        name: np.ascontiguousarray(column, dtype=_dtype(name)) for name, column in columns.items()
    }


def _dtype(name: str) -> type[Any]:
    return np.float64 if name in _REAL else np.bool_ if name in _TRUTH else np.int64


def _family(name: str, kind: type[Any], columns: Columns) -> Any:
    given = {
        f.name: columns[f"{name}.{f.name}"] for f in fields(kind) if f"{name}.{f.name}" in columns
    }
    if given and len(given) < len(fields(kind)):
        left = [f.name for f in fields(kind) if f.name not in given]
        raise BadQuery(Mistake(name, f"the columns {left} are missing", "send all or none"))
    return kind(**given)


def _tables(columns: Columns) -> Iterator[Table]:
    given = [name for name in _TABLES if f"tables.{name}" in columns]
    if not given:
        return
    if len(given) < len(_TABLES):
        left = [name for name in _TABLES if name not in given]
        raise BadQuery(Mistake("tables", f"the columns {left} are missing", "send all or none"))
    heads = [columns[f"tables.{name}"] for name in _HEADS]
    _require(
        len({len(head) for head in heads}) == 1,
        "tables",
        "columns of unequal lengths",
        "give one entry a table",
    )
    for name, head in zip(_COUNTED, heads, strict=False):
        _require(
            bool(((head >= 0) & (head < 2**40)).all()),
            f"tables.{name}",
            "a wild count",
            "counts lie between 0 and 2**40",
        )
    left = [name for name in _TABLES if name not in _HEADS]
    rest = {name: _Tape(f"tables.{name}", columns[f"tables.{name}"]) for name in left}
    for name in ("when", "weights", "floats", "written"):
        none = np.zeros(0, _dtype(f"tables.{name}"))
        rest[name] = _Tape(f"tables.{name}", columns.get(f"tables.{name}", none))
    some = []
    for name in ("conditions", "weighings", "products"):
        own = columns.get(f"tables.{name}", np.zeros(len(heads[0]), np.int64))
        fits = len(own) == len(heads[0]) and bool(((own >= 0) & (own < 2**20)).all())
        _require(fits, f"tables.{name}", "a wild count", "give one entry a table")
        some.append(own)
    for (
        arity,
        scopes,
        tuples,
        rows,
        apart,
        computed,
        default,
        conditions,
        weighings,
        products,
    ) in zip(*(h.tolist() for h in (*heads, *some)), strict=True):
        shape = (*([rows] if rows else []), *([scopes] if apart else []), tuples)
        costs = rest["costs"].next(math.prod(shape))
        yield Table(
            rest["scopes"].next(scopes * arity).reshape(scopes, arity),
            rest["tuples"].next(tuples * arity).reshape(tuples, arity),
            costs.reshape(shape),
            default,
            rest["term"].next(scopes),
            rest["part"].next(scopes),
            bool(computed),
            apart=bool(apart),
            when=rest["when"].next(scopes * conditions * 2).reshape(scopes, conditions, 2)
            if conditions
            else None,
            products=_products(rest, weighings, products) if weighings else None,
        )
    for tape in rest.values():
        tape.end()


def _products(rest: "dict[str, _Tape]", weighings: int, count: int) -> Products:
    weights = rest["weights"].next(weighings)
    pairs = rest["floats"].next(count), rest["written"].next(count)
    fine = all(bool(np.isfinite(column).all()) for column in (weights, *pairs))
    _require(fine, "tables.products", "one is not finite", "give finite numbers")
    return Products(tuple(weights.tolist()), *pairs)


class _Tape:
    """A column that is read piece by piece, never past its end."""

    def __init__(self, name: str, column: Column):
        self.name, self.column, self.at = name, column, 0

    def next(self, count: int) -> Column:
        """The next entries."""
        piece = self.column[self.at : self.at + count]
        _require(
            len(piece) == count,
            self.name,
            f"{len(self.column)} entries are too few",
            "make them agree with the counts",
        )
        self.at += count
        return piece

    def end(self) -> None:
        """Nothing may be left."""
        _require(
            self.at == len(self.column),
            self.name,
            f"{len(self.column)} entries, {self.at} of them used",
            "make them agree with the counts",
        )


def _check_lists(name: str, lists: Any, sizes: Column) -> None:
    start, site = lists.start, lists.site
    rising = len(start) > 0 and start[0] == 0 and bool((np.diff(start) >= 0).all())
    _require(rising, f"{name}.start", "does not rise from 0", "give where each list begins")
    lengths = {"start": lists.count + 1, "site": int(start[-1])}
    for field in fields(lists):
        each = lengths["site"] if field.name in BY_ENTRY else lists.count
        wanted = lengths.get(field.name, each)
        got = len(getattr(lists, field.name))
        _require(got == wanted, f"{name}.{field.name}", f"{got} entries", f"give {wanted}")
    _within(f"{name}.site", site, len(sizes))
    if name == "different":
        return
    _within(f"{name}.value", lists.value, sizes[site])
    if name == "sums":
        _require(
            bool(np.isfinite(lists.coefficient).all()),
            "sums.coefficient",
            "one is not finite",
            "give finite numbers",
        )
        _require(
            not np.isnan(lists.low).any() and not np.isnan(lists.high).any(),
            "sums.low",
            "nan is no edge",
            "give numbers, or infinities",
        )


def _check_table(path: str, table: Table, sizes: Column) -> None:
    scopes, tuples, costs = table.scopes, table.tuples, table.costs
    _require(
        scopes.ndim == tuples.ndim == 2 and scopes.shape[1] == tuples.shape[1] > 0,
        join(path, "tuples"),
        f"shape {[*tuples.shape]} for scopes {[*scopes.shape]}",
        "give as many places as sites",
    )
    own = (len(scopes), len(tuples)) if table.apart else (len(tuples),)
    _require(
        costs.shape[-len(own) :] == own and costs.ndim - len(own) in (0, 1),
        join(path, "costs"),
        f"shape {[*costs.shape]} for {len(tuples)} tuples",
        "give one cost a tuple",
    )
    every = np.append(costs.reshape(-1), table.default)
    _require(
        not np.isnan(every).any() and not (every == -math.inf).any(),
        join(path, "costs"),
        "nan or -inf",
        "give finite costs, or infinity for what is forbidden",
    )
    for name in ("term", "part"):
        got = len(getattr(table, name))
        _require(got == len(scopes), join(path, name), f"{got} entries", f"give {len(scopes)}")
    _within(join(path, "scopes"), scopes, len(sizes))
    if table.when is not None:
        _within(join(path, "when"), table.when[:, :, 0], len(sizes))
        _within(join(path, "when"), table.when[:, :, 1], sizes[table.when[:, :, 0]])
    if table.apart and len(scopes):
        alike = bool((sizes[scopes] == sizes[scopes[0]]).all())
        remedy = "give a table for each shape"
        _require(alike, join(path, "apart"), "scopes of different shapes", remedy)
    if len(scopes):
        least = sizes[scopes].min(0)
        _within(join(path, "tuples"), tuples, least)
        if math.prod(least.tolist()) < 2**62 and len(tuples):
            flat = np.ravel_multi_index(tuple(tuples.T), tuple(least))
            _require(
                len(np.unique(flat)) == len(flat),
                join(path, "tuples"),
                "a combination stands twice",
                "give each once",
            )


def _within(path: str, places: Column, end: Any) -> None:
    _require(
        bool(((places >= 0) & (places < end)).all()),
        path,
        "a place out of range",
        "places count from 0",
    )


def _require(fine: bool, path: str, problem: str, remedy: str) -> None:
    if not fine:
        raise BadQuery(Mistake(path, problem, remedy))
