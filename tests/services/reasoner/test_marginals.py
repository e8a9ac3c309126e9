"""From a query to marginals: which terms are asked, which sites are told, what time does."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.answer import Flag
from engine.domain import Domain, Finite, Real, Variable
from engine.energy import Energy, Term, named
from engine.errors import TooLarge
from engine.problem import Problem
from engine.sampling.marginals import Marginals
from modules.catalogue import Catalogue
from services.query import Query, query_of
from services.reasoner import marginals as module
from services.reasoner.marginals import marginals_query
from services.reasoner.reason import Reasoner
from services.settings import DEFAULT

X = Variable("x", Finite(("a", "b", "c"), (2, 2)))
Y = Variable("y", Finite((0, 1)))
LOGS = [0.0, math.log(2), math.log(4)]  # energies of a, b, c: chances 4/7, 2/7, 1/7


class Sides(Term):
    """E = ln 2 for each b and ln 4 for each c: sites that know nothing of each other."""

    def __init__(self, *scope: Any):
        super().__init__(*scope)
        self.asked: list[int] = []

    def energy(self, *tensors: Tensor) -> Tensor:
        parts = [(x * torch.tensor(LOGS)[: x.shape[-1]]).flatten(1).sum(-1) for x in tensors]
        return torch.stack(parts).sum(0)

    def marginals(self, *domains: Domain) -> tuple[Tensor, ...] | None:
        self.asked.append(domains[0].rows)
        found = []
        for d in domains:
            if not isinstance(d, Finite):
                return None
            logs = -torch.tensor(LOGS, dtype=torch.float64)[: d.event[-1]]
            found.append(logs.expand(d.allowed.shape).masked_fill(~d.allowed, -math.inf))
        return tuple(p.softmax(-1) for p in found)


class Quiet(Term):
    """Costs nothing and offers no chances."""

    def energy(self, *tensors: Tensor) -> Tensor:
        return tensors[0].flatten(1).sum(-1) * 0


def asked(energy: Energy, evidence: Any, **budget: Any) -> tuple[Problem, Query]:
    """A problem, and a query with the same evidence."""
    problem = Problem(energy).given_rows(evidence)
    variables = {
        v.name: {"values": [*v.domain.values], "shape": [*v.domain.shape]}
        for v in problem.variables
        if isinstance(v.domain, Finite)
    }
    data = {"variables": variables, "terms": [], "evidence": evidence, "budget": budget}
    return problem, query_of(data)


def told(row: Marginals, term: int = 0) -> dict[tuple[str, tuple[int, ...]], list[float]]:
    """The chances of one term by site."""
    return {(s.variable, s.site): [*s.chances] for s in row.terms[term].sites}


SEVENTHS = pytest.approx([4 / 7, 2 / 7, 1 / 7])


def test_open_sites_are_told_by_their_places_whatever_the_view() -> None:
    problem, query = asked(
        named("own", Sides(X[:, 1], Y)),
        [{"x": [["a", None], ["c", None]]}, {"x": [["a", "b"], [None, None]], "y": 1}],
    )
    first, second = marginals_query(problem, query)
    assert told(first) == {
        ("x", (0, 1)): SEVENTHS, ("x", (1, 1)): SEVENTHS, ("y", ()): pytest.approx([2 / 3, 1 / 3]),
    }  # fmt: skip
    assert told(second) == {("x", (1, 1)): SEVENTHS}
    assert first.terms[0].term == "own" and not first.flags
    assert first.terms[0].sites[0].values == ("a", "b", "c")


def test_each_term_speaks_for_itself_and_those_that_offer_nothing_are_left_out() -> None:
    problem, query = asked(Quiet(X) + 3.0 * Sides(Y) + Sides(X), [{}])
    (row,) = marginals_query(problem, query)
    assert [term.place for term in row.terms] == [1, 2]
    assert told(row) == {("y", ()): pytest.approx([2 / 3, 1 / 3])}  # the weight does not enter
    assert len(told(row, 1)) == 4 and all(p == SEVENTHS for p in told(row, 1).values())


def test_a_site_that_stands_twice_and_a_real_one_leave_their_term_out() -> None:
    z = Variable("z", Real())
    problem, query = asked(Sides(X, X[0, :]) + Sides(Y, z), [{}])
    assert marginals_query(problem, query) == [Marginals(())]


def test_rows_are_asked_in_bunches_and_have_the_same_chances_in_each(monkeypatch: Any) -> None:
    evidence = [{"y": 0}, {}, {"x": [["a", "b"], ["c", None]]}, {"y": 1}]
    whole, one = Sides(X, Y), Sides(X, Y)
    together = marginals_query(*asked(whole, evidence))
    monkeypatch.setattr(module, "STATES", 100)
    apart = marginals_query(*asked(one, evidence))
    assert whole.asked == [4] and one.asked == [1, 1, 2]  # 81, 162, 3 * 2 + 81 states
    assert apart == together
    assert [len(told(row)) for row in apart] == [4, 5, 2, 4]


def test_what_time_leaves_out_is_flagged(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "STATES", 1)
    term = Sides(X)
    problem, query = asked(term, [{}, {}, {}])
    rows = marginals_query(problem, query, stop=lambda: len(term.asked) >= 1)
    assert [row.flags for row in rows] == [(), (Flag.CANCELLED,), (Flag.CANCELLED,)]
    assert [len(row.terms) for row in rows] == [1, 0, 0]
    problem, query = asked(Sides(X), [{}], seconds=5.0)
    (late,) = marginals_query(problem, query, since=-1e6)
    assert late == Marginals((), (Flag.DEADLINE,))


def test_too_many_chances_are_refused() -> None:
    problem, query = asked(Sides(X), [{}, {}])
    with pytest.raises(TooLarge, match="24 chances of all rows together"):
        marginals_query(problem, query, DEFAULT.model_copy(update={"sites": 23}))


def test_a_reasoner_is_asked_with_a_query() -> None:
    query = query_of(
        {
            "variables": {"x": {"values": [0, 1]}},
            "terms": [{"kind": "discrete.clause", "scope": ["x"], "params": {"clauses": []}}],
        }
    )
    assert Reasoner(Catalogue()).marginals(query) == [Marginals(())]
