"""A family beyond those that the searches know: one class, and every consumer takes it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Finite, Problem, Variable, answers, required
from engine.domain import Domain
from engine.energy import Term
from engine.errors import BadQuery
from engine.explain.conflict import conflict
from engine.factors import Clauses, Counted, Factors, Table, ints
from engine.factors.families import forbidden, starts
from engine.factors.family import Derived
from engine.minimizers.annealing import Annealing
from engine.sampling.draw import samples
from engine.session import Session
from engine.sweeps.layout import lay_out
from engine.testing import check_term, evaluate_factors
from services.remote.agreement import cost_of
from services.wire.structure import digest_of, factors_to_proto


@dataclass(frozen=True, eq=False)
class OnePair(Derived):
    """Exactly one of some pairs of literals is true as a whole."""

    start: np.ndarray  # (m + 1,)
    site: np.ndarray  # (L, 2)
    value: np.ndarray  # (L, 2)
    term: np.ndarray  # (m,)
    part: np.ndarray  # (m,)

    @property
    def count(self) -> int:
        return len(self.start) - 1

    def scopes_of(self) -> Sequence[np.ndarray]:
        pairs = zip(self.start[:-1], self.start[1:], strict=True)
        return [self.site[a:b].reshape(-1) for a, b in pairs]

    def costs_at(self, places, row=0):
        true = (places[self.site] == self.value).all(1)
        owner = np.repeat(np.arange(self.count), np.diff(self.start))
        return forbidden(np.bincount(owner, true, self.count) != 1)

    def picked(self, which):
        mine = np.arange(self.count)[which]
        flat = np.concatenate([np.arange(self.start[k], self.start[k + 1]) for k in mine])
        lengths = np.diff(self.start)[mine]
        picked = (x[mine] for x in (self.term, self.part))
        return OnePair(starts(lengths), self.site[flat], self.value[flat], *picked)

    def renumbered(self, where):
        return replace(self, site=where[self.site])

    def marked(self, term, part):
        return replace(self, term=term, part=part)

    @classmethod
    def joined(cls, families):
        lengths = np.concatenate([np.diff(f.start) for f in families])
        rest = (
            np.concatenate([getattr(f, name) for f in families])
            for name in ("site", "value", "term", "part")
        )
        return cls(starts(lengths), *rest)

    def lowered(self, sizes):
        """A hidden site for each pair, 1 where it is true."""
        n, count = len(sizes), len(self.site)
        owner = np.repeat(np.arange(self.count), np.diff(self.start))
        hidden = n + np.arange(count)
        one = np.ones(len(self.start) - 1, np.int64)
        counted = Counted(
            self.start, hidden, np.ones(count, np.int64), self.term, self.part, one, one
        )
        # hidden -> both, and both -> hidden: three clauses a pair
        site = np.stack([hidden, self.site[:, 0], hidden, self.site[:, 1], *self.site.T, hidden], 1)
        on = np.ones(count, np.int64)
        value = np.stack([on, self.value[:, 0], on, self.value[:, 1], *self.value.T, on], 1)
        sign = np.tile(np.array([False, True, False, True, False, False, True]), count)
        own = np.repeat(owner, 3)
        clauses = Clauses(
            starts(np.tile([2, 2, 3], count)), site.reshape(-1), value.reshape(-1),
            self.term[own], self.part[own], sign,
        )  # fmt: skip
        every = np.concatenate([sizes, np.full(count, 2)]).astype(np.int64)
        return Factors(every, n, counted=counted, clauses=clauses)


class Pairs(Term):
    """Of each list of pairs of (site, value) exactly one is true as a whole."""

    affine = False
    fixed_structure = True

    def __init__(self, *scope: Variable, lists):
        super().__init__(*scope)
        self.lists = lists

    def energy(self, x):
        fails = 0.0
        for pairs in self.lists:
            true = sum(x[:, s, v] * x[:, t, w] for (s, v), (t, w) in pairs)
            fails = fails + (true - 1).abs().clamp(max=1)
        return fails

    def cost(self, places):
        out = 0.0
        for pairs in self.lists:
            true = sum(
                ((places[:, s] == v) & (places[:, t] == w)).float() for (s, v), (t, w) in pairs
            )
            out = out + (true != 1).float()
        return out

    def holds(self, values):
        return all(
            sum(values[s] == v and values[t] == w for (s, v), (t, w) in pairs) == 1
            for pairs in self.lists
        )

    def factors(self, *domains: Domain) -> Factors:
        sizes = Factors.sizes_of(domains)
        flat = [pair for pairs in self.lists for pair in pairs]
        site = ints([s for pair in flat for s, _ in pair]).reshape(-1, 2)
        value = ints([v for pair in flat for _, v in pair]).reshape(-1, 2)
        m = len(self.lists)
        family = OnePair(
            starts(ints([len(pairs) for pairs in self.lists])),
            site,
            value,
            np.zeros(m, np.int64),
            np.arange(m),
        )
        return Factors(sizes, len(sizes), others=(family,))

    def says(self, part: int) -> str:
        return f"exactly one of {self.lists[part]}"


X = Variable("x", Finite((0, 1, 2), (4,)))
LISTS = [
    [((0, 1), (1, 1)), ((1, 2), (2, 0))],
    [((2, 0), (3, 0)), ((0, 2), (3, 1)), ((0, 1), (3, 2))],
]
STATES = [list(s) for s in np.ndindex(3, 3, 3, 3)]


def taste(x: Variable, costs) -> Term:
    """A price for each value of each site."""

    class Taste(Term):
        fixed_structure = True

        def energy(self, x):
            return (x * x.new_tensor(costs)).flatten(1).sum(1)

        def factors(self, domain):
            return Factors.unary(np.array(costs))

    return Taste(x)


COSTS = [[3.0, 0.0, 1.0], [0.0, 2.0, 5.0], [4.0, 0.0, 1.0], [0.0, 1.0, 7.0]]


def price(state) -> float:
    return sum(row[v] for row, v in zip(COSTS, state, strict=True))


def failing(state) -> int:
    return sum(not Pairs(X, lists=[pairs]).holds(state) for pairs in LISTS)


def test_it_keeps_the_laws_of_a_term() -> None:
    check_term(Pairs(X, lists=LISTS))


@pytest.mark.parametrize("weight", [None, 0.5, 3.0])
def test_complete_search_and_annealing(weight: float | None) -> None:
    rule = Pairs(X, lists=LISTS)
    energy = 1.0 * taste(X, COSTS) + (required(rule) if weight is None else weight * rule)
    cost = [
        price(s) + (math.inf if weight is None and failing(s) else (weight or 0) * failing(s))
        for s in STATES
    ]
    problem = Problem(energy)
    answer = answers(problem)[0]
    assert answer.status == "OPTIMAL" and answer.energy == min(cost)
    assert problem.factored()[1] is None and not problem.factored()[0].others
    found = answers(problem, Annealing(), particles=16, seed=1)[0]
    assert found.energy == min(cost) and found.status in ("OPTIMAL", "SATISFIED")


def test_under_a_choice_and_in_a_session() -> None:
    one, other = Pairs(X, lists=LISTS[:1]), Pairs(X, lists=LISTS[1:])
    either = Problem(1.0 * taste(X, COSTS) + (one | other))
    least = min(price(s) for s in STATES if one.holds(s) or other.holds(s))
    assert answers(either)[0].energy == least
    session = Session(Problem(1.0 * taste(X, COSTS)))
    session.add("more", other)
    wanted = min(price(s) for s in STATES if other.holds(s))
    assert session.answer().energy == wanted


def test_conflicts_name_its_parts() -> None:
    clash = Problem(Pairs(X, lists=LISTS)).given(x=[0, 0, None, None])
    assert answers(clash)[0].status == "INFEASIBLE"
    found = conflict(clash)
    assert found is not None and "exactly one of" in found.text
    assert [p.part for p in found.rules] == [0] and found.repair


def test_draws_follow_it() -> None:
    drawn = samples(Problem(required(Pairs(X, lists=LISTS)) + 1.0 * taste(X, COSTS)), 32, seed=1)
    assert all(failing(one.values["x"]) == 0 for one in drawn[0].samples)


def test_merged_and_looked_at_by_every_oracle() -> None:
    one, other = (Pairs(X, lists=[pairs]).factors(X.domain) for pairs in LISTS)
    both = Factors.merge(one.sizes, [(one, range(4)), (other, range(4))])
    assert len(both.others) == 1 and both.others[0].count == 2 and both.rules
    for state in STATES:
        wanted = math.inf if failing(state) else 0.0
        assert evaluate_factors(both, state) == evaluate_factors(both.expanded(), state) == wanted
        assert cost_of(both, state) == wanted
    assert lay_out(both).structure.low.size


def test_the_wire_refuses_it_by_name_and_takes_it_lowered() -> None:
    own = Pairs(X, lists=LISTS).factors(X.domain)
    with pytest.raises(BadQuery, match="OnePair has no columns"):
        factors_to_proto(own, [])
    assert digest_of(own.lowered())


@given(st.lists(st.integers(2, 4), min_size=2, max_size=4), st.integers(0, 2**32))
@settings(deadline=None)
def test_tables_of_one_shape_are_one_object(sizes: list[int], seed: int) -> None:
    """Of one term or of several; those whose scopes are many keep their own costs."""
    rng = np.random.default_rng(seed)
    n = len(sizes)
    pieces, wanted = [], {}
    for term in range(3):
        ends = rng.permutation(n)[:2]
        every = np.array([*np.ndindex(*(sizes[s] for s in ends))])
        costs = rng.choice([0.0, 1.0, 2.5, math.inf], len(every))
        table = Table(ends[None], every, costs, 0.0, ints([term]), ints([0]))
        pieces.append((Factors(ints(sizes), n, tables=(table,)), range(n)))
        wanted[term] = (ends, dict(zip(map(tuple, every.tolist()), costs, strict=True)))
    merged = Factors.merge(ints(sizes), pieces)
    shapes = {tuple(sizes[s] for s in ends) for ends, _ in wanted.values()}
    assert len(merged.tables) == len(shapes)
    for x in np.ndindex(*sizes):
        cost = sum(costs[tuple(x[s] for s in ends)] for ends, costs in wanted.values())
        assert evaluate_factors(merged, x) == cost


def test_a_field_of_pairs_is_one_object() -> None:
    """3,000 tables of one shape, a term each: one table in the structure and in the sweeps."""
    rng = np.random.default_rng(1)
    n, every = 1_000, np.array([*np.ndindex(3, 3)])
    pieces = []
    for term in range(3_000):
        ends = rng.choice(n, 2, replace=False)
        table = Table(ends[None], every, rng.random(9).round(2), 0.0, ints([term]), ints([0]))
        pieces.append(
            (Factors(ints([3, 3]), 2, tables=(replace(table, scopes=ints([[0, 1]])),)), ends)
        )
    merged = Factors.merge(np.full(n, 3), pieces)
    (table,) = merged.tables
    assert table.apart and table.scopes.shape == (3_000, 2) and table.costs.shape == (3_000, 9)
    assert lay_out(merged).couplings is not None
