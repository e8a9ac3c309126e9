"""Weighted constraint networks: what they say, against enumeration, and what is refused by name."""

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadQuery
from modules.catalogue import Catalogue
from services.formats import read
from services.reasoner.reason import Reasoner
from tests.support.paths import ROOT

SMALL = """small 4 3 6 100
3 2 3 3
2 0 1 0 2
0 0 7
1 1 100
1 2 5 1
2 1
0 3 0
3 0 2 3 -1 salldiff var 4
2 2 3 -1 salldiff var 100
4 0 1 2 3 -1 sgcc var 100 2 0 0 1 1 1 3
"""


def cost_of(values):
    """What SMALL costs, by hand; None: forbidden."""
    a, b, c, d = values
    total = 3
    if (a, b) == (1, 1) or c == d:
        return None
    total += 7 if (a, b) == (0, 0) else 0
    total += 1 if c == 2 else 5
    total += 4 * (3 - len({a, c, d}))
    if values.count(0) > 1 or not 1 <= values.count(1) <= 3:
        return None
    return total


def asked(text, tmp_path):
    path = tmp_path / "case.wcsp"
    path.write_text(text)
    return read(str(path))[0]


def solved(text, tmp_path):
    one = asked(text, tmp_path)
    (answer,) = Reasoner(Catalogue()).reason(one.query)
    found = None if answer.values is None else one.solution(answer.values)
    return answer, found


def test_the_least_of_a_small_network(tmp_path):
    answer, found = solved(SMALL, tmp_path)
    every = (cost_of(v) for v in product(range(3), range(2), range(3), range(3)))
    assert answer.status == "OPTIMAL" and answer.energy == min(c for c in every if c is not None)
    assert cost_of(tuple(found)) == answer.energy


@st.composite
def networks(draw):
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    n, upper = len(sizes), draw(st.sampled_from([1, 5, 50]))
    functions = []
    for _ in range(draw(st.integers(0, 4))):
        sites = draw(st.lists(st.integers(0, n - 1), unique=True, max_size=3))
        default = draw(st.integers(0, 6))
        every = list(product(*(range(sizes[s]) for s in sites)))
        listed = draw(st.lists(st.sampled_from(every), unique=True, max_size=6)) if sites else []
        functions.append((sites, default, {t: draw(st.integers(0, 6)) for t in listed}))
    return sizes, upper, functions


@given(networks())
@settings(max_examples=40, deadline=None)
def test_tables_are_read_as_they_are_written(tmp_path_factory, network):
    sizes, upper, functions = network
    lines = [f"n {len(sizes)} {max(sizes)} {len(functions)} {upper}", " ".join(map(str, sizes))]
    for sites, default, costs in functions:
        lines.append(" ".join(map(str, [len(sites), *sites, default, len(costs)])))
        lines += [" ".join(map(str, [*t, c])) for t, c in costs.items()]
    best = None
    for state in product(*map(range, sizes)):
        paid = [c.get(tuple(state[s] for s in own), d) for own, d, c in functions]
        if all(p < upper for p in paid):
            best = sum(paid) if best is None else min(best, sum(paid))
    answer, found = solved("\n".join(lines), tmp_path_factory.mktemp("n"))
    if best is None:
        assert answer.status == "INFEASIBLE"
    else:
        assert (answer.status, answer.energy) == ("OPTIMAL", best)
        assert all(0 <= v < k for v, k in zip(found, sizes, strict=True))


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("n 1 2 1 9\n2\n1 0 -1 sregular 1\n", "3", "sregular"),
        ("n 1 2 1 9\n2\n1 0 -1 sgcc dec 1 0\n", "3", "dec"),
        ("n 1 2 1 9\n-2\n", "2", "interval"),
        ("n 1 2 1 9\n2\n-1 0 0 0\n", "3", "share"),
        ("n 1 2 1 9\n2\n1 0 0 1\n2 1\n", "4", "is no value"),
        ("n 1 2 1 9\n2\n1 0 0 2\n1 1\n1 2\n", "5", "twice"),
        ("n 2 2 1 9\n2 2\n2 1 1 0 0\n", "3", "twice"),
        ("n 1 2 0 9\n2\n1 0 0 0\n", "3", "too much"),
        ("n 1 2 1 9\n2\n", "2", "ends"),
        ("n 1 2 1 x\n2\n", "1", "upper bound"),
        (f"n 2 {10**12} 0 9\n{10**12} 2\n", "2", "values in all"),
        ("", "1", "empty"),
    ],
)
def test_what_is_not_read_is_named_with_its_line(tmp_path, text, line, said):
    with pytest.raises(BadQuery) as caught:
        asked(text, tmp_path)
    (mistake,) = caught.value.mistakes
    assert mistake.path == f"line {line}" and said in f"{mistake.problem} {mistake.remedy}"
    assert mistake.remedy


def test_the_example_is_solved(tmp_path):
    text = (Path(ROOT) / "examples" / "stores.wcsp").read_text()
    answer, found = solved(text, tmp_path)
    assert (answer.status, answer.energy) == ("OPTIMAL", 19)
    assert found == [0, 1, 1, 1, 1]
