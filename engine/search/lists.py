"""Structure that is nothing but lists of allowed combinations, as the arrays of its search."""

import math

import numpy as np

from engine.decimals import Ints
from engine.factors import Factors, Table
from engine.factors.distinct import distinct
from engine.factors.families import starts
from engine.kernels.listed import Lists
from engine.problem import Problem

VALUES = 64  # of one site
BITS = 1 << 28  # of all supports
WRITTEN = 1 << 16  # combinations up to which a table that forbids some is turned into a list
LONG = 256  # combinations of a list from which on this search is worth it


def lists_of(problem: Problem) -> Lists | str:
    """The arrays of a structure, made once; or why it has none."""
    if "lists" not in problem.memo:
        problem.memo["lists"] = _lists(problem.form.factors)
    return problem.memo["lists"]


def open_bits(problem: Problem) -> np.ndarray:
    """The allowed values of every site as bits. -> (R, n) uint64"""
    factors = problem.form.factors
    offset = np.concatenate([[0], np.cumsum(factors.sizes)]).astype(np.int64)
    allowed = problem.allowed.astype(np.uint64)  # (R, C)
    value = np.arange(int(offset[-1])) - np.repeat(offset[:-1], factors.sizes)
    bits = allowed << value.astype(np.uint64)
    if not len(factors.sizes):
        return bits[:, :0]
    summed: np.ndarray = np.add.reduceat(bits, offset[:-1], axis=1)
    return summed


def _lists(factors: Factors) -> Lists | str:
    if factors.rules or factors.soft:
        return "something that is no list of allowed combinations"
    if factors.sizes.max(initial=0) > VALUES:
        return f"a site of more than {VALUES} values"
    if any(t.when is not None or t.varies or t.apart for t in factors.tables):
        return "a table that binds now and then"
    scopes: list[tuple[Ints, Ints]] = []  # sites and allowed combinations
    longest = 0
    for table in factors.tables:
        for one in distinct(table):
            if not one.count or not one.forbids:
                continue
            shapes = factors.sizes[one.scopes]
            for shape in np.unique(shapes, axis=0):
                mine = (shapes == shape).all(1)
                allowed = _allowed(one, shape.tolist())
                if allowed is None:
                    return "a table that forbids some of very many combinations"
                longest = max(longest, len(allowed))
                scopes += [(scope, allowed) for scope in one.scopes[mine]]
    if longest < LONG:
        return "no long list"
    return _arrays(scopes, len(factors.sizes))


def _allowed(table: Table, shape: list[int]) -> Ints | None:
    """The combinations that a table allows. -> (T, arity)"""
    fits = (table.tuples < np.array(shape)).all(1)
    if math.isinf(table.default):
        return np.unique(table.tuples[fits & np.isfinite(table.costs)], axis=0)
    if math.prod(shape) > WRITTEN:
        return None
    free = np.zeros(shape, dtype=bool)
    free[tuple(table.tuples[fits & np.isinf(table.costs)].T)] = True
    return np.argwhere(~free)


def _arrays(scopes: list[tuple[Ints, Ints]], n: int) -> Lists | str:
    """The arrays of scopes; those that share a list share its supports."""
    known: dict[int, tuple[list[int], int]] = {}  # by list: where its supports begin, its words
    pool: list[np.ndarray] = []
    filled, whole, words, support = 0, list[np.ndarray](), list[int](), list[int]()
    for _, allowed in scopes:
        if id(allowed) not in known:
            count, arity = allowed.shape
            width = max(1, -(-count // 64))
            begins = []
            for j in range(arity):
                if filled + VALUES * width > BITS // 64:
                    return "lists that are very long"
                bits = np.zeros((VALUES, width * 64), dtype=bool)
                bits[allowed[:, j], np.arange(count)] = True
                packed = np.packbits(bits, axis=1, bitorder="little").view(np.uint64)
                pool.append(packed.reshape(-1))
                begins.append(filled)
                filled += VALUES * width
            known[id(allowed)] = begins, width
        begins, width = known[id(allowed)]
        full = np.zeros(width * 64, dtype=bool)
        full[: len(allowed)] = True
        whole.append(np.packbits(full, bitorder="little").view(np.uint64))
        words.append(width)
        support += begins
    site = np.concatenate([scope for scope, _ in scopes])
    arity = np.array([len(scope) for scope, _ in scopes], dtype=np.int64)
    near = np.argsort(site, kind="stable")
    return Lists(
        starts(arity),
        site.astype(np.int64),
        np.array(words, dtype=np.int64),
        starts(np.array(words, dtype=np.int64)),
        np.concatenate(whole),
        np.array(support, dtype=np.int64),
        np.concatenate(pool),
        np.searchsorted(site[near], np.arange(n + 1)).astype(np.int64),
        near.astype(np.int64),
        np.repeat(np.arange(len(scopes)), arity),
    )
