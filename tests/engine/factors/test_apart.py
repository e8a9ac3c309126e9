"""Tables whose scopes pay apart say what as many tables say, one a scope."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.factors import Factors
from engine.factors.explicit import Explicit
from engine.search.boolean import encode
from engine.search.prices import Prices
from engine.sweeps.layout import lay_out
from engine.testing.factors import evaluate_factors

COSTS = [0.0, 0.25, 1.0, -3.0, 7.5, np.inf]


@st.composite
def unaries(draw: st.DrawFn) -> Factors:
    """A cost for each value of each site, some forbidden; of one row, or of three."""
    n, k = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    rows = draw(st.sampled_from([(), (3,)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    costs = rng.choice(COSTS[: draw(st.integers(1, 6))], (*rows, n, k))
    costs[..., 0] = np.where(np.isinf(costs[..., 0]), 2.0, costs[..., 0])  # something is left
    return Factors.unary(costs)


@given(unaries(), st.sampled_from([None, 0.5, 3.0]), st.integers(0, 2))
def test_apart_is_as_many_tables(factors: Factors, weight: float | None, row: int) -> None:
    if weight is not None:
        factors = factors.weighed(weight)
    plain = factors.plain()
    assert len(plain.tables) == factors.visible and not any(t.apart for t in plain.tables)
    assert factors.scale.unit == plain.scale.unit and factors.scale.error == plain.scale.error
    assert 0 <= factors.scale.total - plain.scale.total <= 1
    for places in np.ndindex(*factors.sizes.tolist()):
        own = evaluate_factors(factors, places, row)
        assert own == sum(
            t.dense([k])[..., p] if t.costs.ndim == 1 else t.dense([k])[row, p]
            for t, k, p in zip(plain.tables, factors.sizes, places, strict=True)
        )
    one, other = lay_out(factors), lay_out(plain)
    np.testing.assert_array_equal(one.field, other.field)
    np.testing.assert_array_equal(one.closed, other.closed)


@given(unaries(), st.integers(0, 2))
def test_rows_pay_beside_what_they_share(factors: Factors, row: int) -> None:
    """Split into what rows share and what each pays, and put together again, as plain tables are;
    of a row, all searches see the same."""
    shared, costs = factors.split(3)
    other, plain_costs = factors.plain().split(3)
    np.testing.assert_array_equal(costs, plain_costs)
    if factors.by_row:
        for one, again in zip(factors.tables, shared.gathered(costs).tables, strict=True):
            np.testing.assert_array_equal(one.costs, again.costs)
    one, plain = shared.filled(costs[row]), other.filled(plain_costs[row])
    for a, b in zip(Prices.of(one), Prices.of(plain), strict=True):
        np.testing.assert_array_equal(a, b)
    for form in ("clauses", "costs"):
        a, b = (getattr(encode(f), form).literal for f in (one, plain))
        np.testing.assert_array_equal(a, b)
    owned = (one.owned_by(0), plain.owned_by(0))
    states = np.array([*np.ndindex(*factors.sizes.tolist())])
    np.testing.assert_array_equal(*(Explicit.of(f).units(states) for f in owned))
    assert len({Explicit.of(f).looked_up(states[0]) for f in owned}) == 1


@given(unaries())
def test_what_is_forbidden_apart_has_a_price(factors: Factors) -> None:
    """As a rule at a price, and where two tables say the same of each part."""
    shut = np.isinf(factors.tables[0].costs)
    rule = Factors.unary(np.where(shut, np.inf, 0.0)[0 if factors.by_row else ...])
    for one in (rule, replace(rule, tables=rule.tables * 2)):
        priced = one.priced(2.0)
        assert priced is not None
        for places in np.ndindex(*rule.sizes.tolist()):
            fails = np.isinf(rule.tables[0].costs[np.arange(rule.visible), places]).sum()
            assert evaluate_factors(priced, places) == 2.0 * fails
