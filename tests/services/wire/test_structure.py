"""Explicit structure on the wire: there and back, every flaw refused, costs as enumerated."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import BadQuery, Factors, Finite, Variable
from engine.factors import Clauses, Counted, Different, Sums, Table, conditional, floats, ints
from modules.catalogue import Catalogue
from services.remote.agreement import cost_of
from services.v1 import module_pb2 as pb
from services.wire.structure import (
    check_factors,
    check_fit,
    digest_of,
    factors_from_proto,
    factors_to_proto,
    skeleton_of,
    with_costs,
)


@st.composite
def structures(draw: st.DrawFn) -> Factors:
    """Any structure that makes sense."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=6))
    n = len(sizes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))

    def lists(count: int) -> dict[str, Any]:
        lengths = rng.integers(0, 4, count)
        site = rng.integers(0, n, lengths.sum())
        return {
            "start": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            "site": site,
            "value": rng.integers(0, ints(sizes)[site]) if len(site) else ints(),
            "term": rng.integers(0, 9, count),
            "part": rng.integers(0, 9, count),
        }

    few = st.integers(0, 3)
    counted, clauses, sums = (lists(draw(few)) for _ in range(3))
    different = lists(draw(few))
    del different["value"]
    edges = floats([-math.inf, -1.5, 0, 2, math.inf])
    tables = []
    for _ in range(draw(few)):
        arity = int(rng.integers(1, min(n, 3) + 1))
        scopes = np.stack([rng.permutation(n)[:arity] for _ in range(int(rng.integers(1, 4)))])
        places = np.stack(
            np.unravel_index(np.arange(np.prod(ints(sizes)[scopes].min(0))),
                             ints(sizes)[scopes].min(0)), -1)  # fmt: skip
        places = places[rng.random(len(places)) < 0.6]
        rows = draw(st.sampled_from([(), (1,), (3,)]))
        apart = draw(st.booleans()) and len(np.unique(ints(sizes)[scopes], axis=0)) == 1
        lists_of = (len(scopes),) if apart else ()
        costs = rng.choice(floats([0, 1, -2.5, math.inf]), (*rows, *lists_of, len(places)))
        tables.append(
            Table(
                scopes.astype(np.int64),
                places.astype(np.int64),
                costs,
                float(rng.choice(floats([0, 2, math.inf]))),
                rng.integers(0, 9, len(scopes)),
                rng.integers(0, 9, len(scopes)),
                apart=apart,
            )  # fmt: skip
        )
    m, literals = len(counted["term"]), len(sums["site"])
    return Factors(
        ints(sizes),
        draw(st.integers(0, n)),
        Counted(**counted, low=rng.integers(0, 3, m), high=rng.integers(0, 3, m)),
        Clauses(**clauses, sign=rng.random(len(clauses["site"])) < 0.5),
        Sums(
            **sums,
            coefficient=rng.normal(size=literals),
            low=rng.choice(edges, len(sums["term"])),
            high=rng.choice(edges, len(sums["term"])),
        ),
        Different(**different),
        tuple(tables),
        draw(st.booleans()),
    )


@given(structures())
def test_structure_round_trip(factors: Factors) -> None:
    raw: list[bytes] = []
    message = pb.Factors.FromString(factors_to_proto(factors, raw).SerializeToString())
    back = factors_from_proto(message, raw)
    assert digest_of(back) == digest_of(factors)
    assert back.visible == factors.visible and back.interchangeable == factors.interchangeable
    np.testing.assert_array_equal(back.counted.low, factors.counted.low)
    np.testing.assert_array_equal(back.clauses.sign, factors.clauses.sign)
    assert len(back.tables) == len(factors.tables)
    for a, b in zip(back.tables, factors.tables, strict=True):
        np.testing.assert_array_equal(a.costs, b.costs)
        np.testing.assert_array_equal(a.scopes, b.scopes)
        assert a.default == b.default


@given(structures())
def test_costs_by_row_travel_beside_the_rest(factors: Factors) -> None:
    """The skeleton is the same whatever the rows pay, and with the costs it is the structure."""
    skeleton, costs = skeleton_of(factors)
    own = [t for t in factors.tables if t.by_row]
    assert (costs is None) == (not own)
    doubled = replace(
        factors,
        tables=tuple(replace(t, costs=t.costs * 2) if t in own else t for t in factors.tables),
    )
    assert digest_of(skeleton_of(doubled)[0]) == digest_of(skeleton)
    if costs is None:
        assert skeleton is factors
        return
    back = with_costs(skeleton, costs)
    for a, b in zip(back.tables, factors.tables, strict=True):
        rows = (max(len(t.costs) for t in own), *b.costs.shape[1:]) if b in own else b.costs.shape
        np.testing.assert_array_equal(a.costs, np.broadcast_to(b.costs, rows))
    assert digest_of(skeleton_of(back)[0]) == digest_of(skeleton)
    for wrong in (costs[:, :-1], costs[0], costs[:0], costs.astype(np.float32)):
        if wrong.shape != costs.shape or wrong.dtype != costs.dtype:
            with pytest.raises(BadQuery, match="costs"):
                with_costs(skeleton, wrong)


@given(structures(), st.data())
def test_structure_with_a_flaw_is_refused_or_harmless(factors: Factors, data: st.DataObject):
    """Whatever number is changed on the wire: a BadQuery, or a structure that still checks out."""
    raw: list[bytes] = []
    message = factors_to_proto(factors, raw)
    place = data.draw(st.sampled_from([k for k, content in enumerate(raw) if content]))
    spec = next(t for t in message.tensors if t.raw_index == place)
    changed = bytearray(raw[place])
    at = data.draw(st.integers(0, len(changed) - 1))
    changed[at] = data.draw(st.integers(0, 1 if spec.data_type == 5 else 255))
    raw[place] = bytes(changed)
    try:
        check_factors(factors_from_proto(message, raw))
    except BadQuery as error:
        assert error.mistakes[0].path


def test_structure_refuses_what_it_does_not_understand() -> None:
    raw: list[bytes] = []
    message = factors_to_proto(Factors(ints([2]), 1), raw)
    message.tensors[0].name = "sizzes"
    with pytest.raises(BadQuery, match="did you mean sizes"):
        factors_from_proto(message, raw)
    message.tensors[0].name = "sizes"
    message.sizes["extra"] = 1
    with pytest.raises(BadQuery, match="extra"):
        factors_from_proto(message, raw)
    nan = Factors.table(ints([2]), ints([0]).reshape(1, 1), floats([math.nan]))
    with pytest.raises(BadQuery, match="nan"):
        check_factors(nan)
    with pytest.raises(BadQuery, match="visible sites"):
        check_fit(Factors(ints([2]), 1), [Finite((0, 1, 2))])


def test_cost_of_a_structure_agrees_with_enumeration() -> None:
    rows = Finite((0, 1, 2), (3,))
    line = Variable("x", rows)
    different = Catalogue().kind("discrete.all_different").build([line], {"lines": [[0, 1, 2]]})
    linear = (
        Catalogue()
        .kind("discrete.linear")
        .build([line], {"terms": [[0, 1, 2.0], [1, 2, -1.0]], "compare": "<=", "constant": 0})
    )
    first, second = different.factors(rows), linear.factors(rows)
    assert first is not None and second is not None
    choice = conditional([first, second])  # a hidden selector
    for places in np.ndindex(3, 3, 3):
        held = [term.holds(list(places)) for term in (different, linear)]
        assert math.isfinite(cost_of(first, places) or 0) == held[0]
        assert math.isfinite(cost_of(choice, places) or 0) == any(held)
