"""Values of other libraries: taken as lists and numbers, or refused in words."""

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine import BadQuery, Finite, Input, Problem, Real, Variable, answers
from engine.errors import known
from engine.plain import plain
from modules.discrete.all_different import AllDifferent
from modules.discrete.clause import Clause
from modules.discrete.exactly_one import ExactlyOne
from modules.discrete.linear import Linear
from modules.discrete.table import Table
from modules.graph.coloring import Coloring
from modules.graph.cut import Cut
from services.query import query_of

NESTED = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4),
)
MAKERS = [
    np.array,
    torch.tensor,
    tuple,
    lambda v: (x for x in v),
    lambda v: [np.int64(x) for x in v],
]


def x(values=(1, 2, 3, 4), shape=(4,)) -> Variable:
    return Variable("x", Finite(values, shape))


def refused(call, *args, **kwargs) -> str:
    with pytest.raises(BadQuery) as caught:
        call(*args, **kwargs)
    return str(caught.value)


@given(NESTED)
def test_plain_values_stay(value):
    assert repr(plain(value)) == repr(value)


@given(st.lists(st.lists(st.integers(-100, 100), min_size=2, max_size=2), min_size=1))
def test_arrays_become_lists(rows):
    for made in (np.array(rows), torch.tensor(rows), np.array(rows, dtype=object), iter(rows)):
        got = plain(made)
        assert got == rows and all(type(entry) is int for row in got for entry in row)


def test_texts_mappings_and_sets_stay():
    for value in ("ab", b"ab", {"a": 1}, {1, 2}):
        assert plain(value) is value


@pytest.mark.parametrize("make", MAKERS)
def test_evidence_may_be_an_array(make):
    problem = Problem(AllDifferent(x(), lines=[[0, 1, 2, 3]]))
    (answer,) = answers(problem.given(x=make([4, 3, 2, 1])))
    assert answer.values == {"x": [4, 3, 2, 1]}
    assert all(type(value) is int for value in answer.values["x"])


def test_evidence_of_several_axes_may_be_an_array():
    grid = Variable("grid", Finite((0, 1), (2, 2)))
    problem = Problem(Clause(grid, clauses=[[[0, 1, True]]]))
    for value in (np.eye(2, dtype=np.int8), torch.eye(2).int(), [np.array([1, 0]), range(2)]):
        (answer,) = answers(problem.given(grid=value))
        assert answer.values == {"grid": [[1, 0], [0, 1]]}
    (answer,) = answers(problem.given(grid=[[np.int64(1), None], [None, np.int32(0)]]))
    assert answer.values and answer.values["grid"][0][0] == 1


def test_a_single_site_takes_a_number_of_numpy():
    one = Variable("one", Finite(("a", "b")))
    for value in (np.str_("b"), np.array("b")):
        (answer,) = answers(Problem(Table(one, sites=[0], costs=[0, 0])).given(one=value))
        assert answer.values == {"one": "b"}
    problem = Problem(Table(one, sites=[0], costs=[0, 0]))
    assert "is a list" in refused(problem.given, one=np.array(["b"]))


@pytest.mark.parametrize(
    "values", [np.arange(3), range(3), torch.arange(3).numpy(), [np.int8(0), 1, 2]]
)
def test_values_of_numpy_are_whole_numbers(values):
    domain = Finite(values, (2,))
    assert domain.values == (0, 1, 2) and {type(value) for value in domain.values} == {int}
    assert domain.place(np.int64(2)) == 2 and domain.place(np.float32(1)) == 1


def test_parameters_may_be_arrays_ranges_and_views():
    graph = nx.cycle_graph(4)
    same = [
        (AllDifferent, "lines", [[0, 1], [2, 3]], [np.array([[0, 1], [2, 3]]), [range(2), {2, 3}]]),
        (
            Coloring,
            "edges",
            [[0, 1], [0, 3], [1, 2], [2, 3]],
            [graph.edges(), np.array(graph.edges())],
        ),
        (Linear, "terms", [[0, 1, 1], [1, 2, 1]], [np.array([[0, 1, 1], [1, 2, 1]])]),
        (
            ExactlyOne,
            "groups",
            [[[0, 1], [1, 2]]],
            [np.array([[[0, 1], [1, 2]]]), [[np.array([0, 1]), (1, np.int64(2))]]],
        ),
        (Table, "sites", [[0, 1], [1, 2]], [np.array([[0, 1], [1, 2]]), [range(2), range(1, 3)]]),
        (Cut, "edges", [[0, 1, 2]], [np.array([[0, 1, 2]]), [(np.int64(0), 1, np.float32(2))]]),
    ]
    more = {
        Linear: {"compare": "<=", "constant": 1},
        Table: {"costs": torch.arange(16).reshape(4, 4)},
    }
    for kind, name, lists, others in same:
        wanted = [[1, 2, 3, 4], [1, 1, 1, 1], [2, 2, 1, 3]]
        first = kind(x(), **{name: lists}, **more.get(kind, {}))
        for other in others:
            term = kind(x(), **{name: other}, **more.get(kind, {}))
            for values in wanted:
                assert term.holds(values) == first.holds(values), (kind, other)
                assert term.explain(values) == first.explain(values)


def test_tables_take_arrays():
    for tuples in (np.array([[1, 2, 5], [3, 4, 6]]), [(np.int64(1), 2, 5), np.array([3, 4, 6])]):
        table = Table(x(), sites=np.array([0, 1]), tuples=tuples)
        assert table.costs.tolist() == [5, 6] and table.tuples.tolist() == [[0, 1], [2, 3]]
    assert "costs" in refused(Table, x(), sites=range(1), costs=np.array([1, 2, 3, np.nan]))


def test_nan_is_told():
    problem = Problem(AllDifferent(x(), lines=[[0, 1]]))
    for value in (np.array([1, np.nan, 3, 4]), [1, float("nan"), None, None]):
        said = refused(problem.given, x=value)
        assert said == "evidence.x[1]: nan is no value; give None where a site is open"
    assert "nan is no value" in refused(Finite, (1.0, float("nan")))
    assert "nan is no value" in refused(Finite, np.array([1, np.nan]))


@pytest.mark.parametrize("domain", [lambda shape: Finite((1, 2), shape), Real])
def test_a_shape_that_is_no_list_is_told(domain):
    assert refused(domain, 4) == "shape: 4 is no list of whole numbers; write (4,)"
    for shape in ((2.5,), ("a",), None, 2.0, ((1,),)):
        assert "is no list of whole numbers" in refused(domain, shape)
    for shape in ((-1,), (0,), (2, 0)):
        told = f"shape: {[*shape]} has no sites; give sizes of at least 1"
        assert refused(domain, shape) == told
    assert domain(np.array([2, 3])).shape == (2, 3) == domain(range(2, 4)).shape


def test_a_query_takes_them_too():
    query = query_of(
        {
            "variables": {"x": {"values": np.arange(1, 5), "shape": np.array([2, 2])}},
            "terms": [
                {
                    "kind": "discrete.all_different",
                    "scope": ["x"],
                    "params": {"lines": [range(2), np.arange(2, 4)]},
                }
            ],
            "evidence": {"x": np.array([[1, 2], [3, 4]])},
        }
    )
    assert query.variables["x"].values == (1, 2, 3, 4) and query.variables["x"].shape == (2, 2)
    assert query.terms[0].params == {"lines": [[0, 1], [2, 3]]}
    assert query.evidence == ({"x": [[1, 2], [3, 4]]},)
    assert query_of(query.model_dump()) == query
    nan = {"variables": {"x": {"values": [1], "shape": [2]}}, "terms": []}
    assert "nan is not finite" in refused(
        query_of, {**nan, "evidence": {"x": np.array([1, np.nan])}}
    )


# --- near misses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compare", "remedy"),
    [
        ("=", "did you mean ==? known: <=, ==, >="),
        ("===", "did you mean ==? known: <=, ==, >="),
        ("=<", "known: <=, ==, >="),
        ("<", "write <= with a smaller constant; known: <=, ==, >="),
        (">", "write >= with a larger constant; known: <=, ==, >="),
        ("!=", "known: <=, ==, >="),
    ],
)
def test_a_hint_does_not_change_the_problem(compare, remedy):
    said = refused(Linear, x(), terms=[[0, 1, 1]], compare=compare, constant=1)
    assert said == f"compare: {compare!r} is unknown; {remedy}"


def test_of_several_near_names_none_is_named():
    assert known("ab", ["abc", "abd"]) == "known: abc, abd"
    assert known("abcd", ["abce", "zz"]).startswith("did you mean abce?")


def test_a_list_of_names_says_each_once_and_how_many_it_leaves_out():
    assert known("q", ["b", "a", "b"]) == "known: a, b"
    assert known("q", [f"n{k:02}" for k in range(33)]).endswith("n28, n29 and 3 more")


def test_masked_entries_are_open() -> None:
    """numpy's masked arrays say what is not known; their hidden numbers are no evidence."""
    masked = np.ma.array([0, 2, 2], mask=[0, 1, 0])
    assert plain(masked) == [0, None, 2]


def test_what_a_variable_is_made_of_is_told():
    for made in (Variable, Input):
        with pytest.raises(BadQuery, match=r"x: \(2,\) is no domain; give Finite\(values, shape\)"):
            made("x", (2,))
        with pytest.raises(
            BadQuery, match=rf"{made.__name__}.name: 3 is no name; write {made.__name__}"
        ):
            made(3, Finite((0, 1)))


def test_a_view_has_sites():
    with pytest.raises(BadQuery, match="x: the view .* has no sites; the shape is"):
        Variable("x", Finite((0, 1), (2,)))[2:]
