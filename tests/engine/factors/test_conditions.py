"""Tables that bind under literals: all searches see what the plain oracle says, unexpanded."""

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.factors import Factors, Table, conditional, families, ints
from engine.factors.conditions import written_out
from engine.factors.distinct import distinct
from engine.kernels.sweeps import measure
from engine.search.boolean import encode
from engine.search.incremental import IncrementalSearch
from engine.sweeps import layout
from engine.sweeps.layout import lay_out
from engine.sweeps.reference import plain_energy
from engine.testing import evaluate_factors
from tests.support.paths import ROOT
from tests.support.structures import Said, least_of

COSTS = [0.0, 0.25, 1.0, -3.0, 7.5, math.inf]
VISIBLE = 4


@st.composite
def tables(draw: st.DrawFn, sizes: np.ndarray, where: list[int]) -> Table:
    """A table over some sites, listed in part, whose scopes share their costs or pay apart."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    arity, m = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    scopes = np.stack([rng.permutation(where)[:arity] for _ in range(m)])
    every = np.array([*np.ndindex(*sizes[scopes].min(0).tolist())])
    listed = every[rng.permutation(len(every))[: draw(st.integers(0, len(every)))]]
    apart = draw(st.booleans()) and bool((sizes[scopes] == sizes[scopes[0]]).all())
    costs = rng.choice(COSTS[: draw(st.integers(1, 6))], (m, len(listed)) if apart else len(listed))
    default = draw(st.sampled_from([0.0, 1.0, math.inf]))
    part = np.arange(m)
    return Table(scopes, listed.reshape(-1, arity), costs, default, 0 * part, part, apart=apart)


@st.composite
def structures(draw: st.DrawFn) -> Factors:
    """Tables under no, one or two conditions over visible and hidden sites."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    sizes = ints([*rng.integers(2, 4, VISIBLE), 2, 3])
    made = []
    for _ in range(draw(st.integers(1, 3))):
        table = draw(tables(sizes, [*range(VISIBLE)]))
        for site in draw(st.sampled_from([(), (4,), (5,), (4, 5)])):
            table = table.under(np.full(table.count, site), draw(st.integers(0, 1)))
        made.append(table)
    return Factors(sizes, VISIBLE, tables=tuple(made))


def states(factors: Factors) -> np.ndarray:
    return np.array([*np.ndindex(*factors.sizes[: factors.visible].tolist())])


@given(structures())
@settings(max_examples=60, deadline=None)
def test_complete_search_finds_the_least(factors: Factors) -> None:
    costs = [evaluate_factors(factors, places) for places in states(factors)]
    assert least_of(factors) == min(costs)


@pytest.mark.parametrize("dense", [1 << 21, 4])
@given(factors=structures())
@settings(max_examples=60, deadline=None)
def test_sweeps_measure_what_the_factors_say(dense: int, factors: Factors) -> None:
    """Written out, and by sorted keys; over all sites, hidden ones too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "DENSE", dense)
        out = lay_out(factors)
    s, weight = out.structure, np.ones(1)
    for x in np.ndindex(*factors.sizes.tolist()):
        place, total = np.zeros(len(s.base), np.int64), np.zeros(len(s.low))
        at = np.array(x, np.int16)
        if out.couplings is not None or out.pairs is not None:
            return  # leaner arrays, which `test_sweeps` looks at
        cost, broken = measure(s, 0, out.field[0], at, place, total, np.zeros(out.rules))
        shut = float(out.closed[0][s.offset[:-1] + at].sum())
        own, misses, _ = plain_energy(factors, ints(x), weight)
        assert cost == own and broken == misses
        whole = replace(factors, visible=len(factors.sizes))
        assert math.isinf(evaluate_factors(whole, x)) == (broken + shut > 0)


@given(structures(), structures(), structures())
@settings(max_examples=30, deadline=None)
def test_a_choice_is_the_least_branch(a: Factors, b: Factors, c: Factors) -> None:
    """However deep it lies: conditions join."""
    sizes = np.minimum(np.minimum(a.sizes, b.sizes), c.sizes)
    every = [narrowed(f, sizes) for f in (a, b, c)]
    deep = conditional([conditional(every[:2]), every[2]])
    costs = []
    for places in states(deep):
        costs.append(min(evaluate_factors(f, places) for f in every))
        assert evaluate_factors(deep, places) == costs[-1]
    assert least_of(deep) == min(costs)


def narrowed(factors: Factors, sizes: np.ndarray) -> Factors:
    """The same tables over sites of these sizes: what lists other places is left out."""
    made = []
    for table in factors.plain().tables:
        for one in (table.picked(slice(k, k + 1)) for k in range(table.count)):
            fits = (one.tuples < sizes[one.scopes[0]]).all(1)
            when = one.when
            if when is not None:
                when = np.stack([when[:, :, 0], np.minimum(when[:, :, 1], 1)], 2)
            made.append(replace(one, tuples=one.tuples[fits], costs=one.costs[fits], when=when))
    return Factors(sizes, factors.visible, tables=tuple(made))


@pytest.mark.parametrize("many", [65_536, 1])
@given(factors=structures())
@settings(max_examples=30, deadline=None)
def test_a_rule_at_a_price_pays_for_each_failing_part(many: int, factors: Factors) -> None:
    """Whether its tables are small, or list what they allow."""
    hard = tuple(
        replace(t, costs=np.where(np.isinf(t.costs), math.inf, 0.0), default=t.default, when=None)
        for t in factors.tables
    )
    hard = tuple(replace(t, default=0.0 if t.default == 1 else t.default) for t in hard)
    rule = Factors(factors.sizes[:VISIBLE], VISIBLE, tables=hard)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(families, "MANY", many)
        priced = rule.priced(0.5)
    assert priced is not None
    for places in states(rule):
        fails = {int(t.part[k]) for t in hard for k in np.flatnonzero(np.isinf(t.costs_at(places)))}
        assert evaluate_factors(priced, places) == 0.5 * len(fails)


@given(st.data())
def test_written_out_says_the_same(data: st.DataObject) -> None:
    sizes = ints([2, 3, 2, 3, 3])
    table = data.draw(tables(sizes, [0, 1, 2]))
    table = table.under(np.full(table.count, 4), 2).picked(slice(0, 1))
    wide = written_out(table, sizes, 1000)
    assert wide is not None and wide.when is None and written_out(table, sizes, 3) is None
    for places in np.ndindex(*sizes.tolist()):
        np.testing.assert_array_equal(wide.costs_at(ints(places)), table.costs_at(ints(places)))


@given(st.data())
def test_sites_that_stand_twice_in_a_scope(data: st.DataObject) -> None:
    """Are named once, and nothing else changes."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    m, arity = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 4))
    scopes = rng.integers(0, 3, (m, arity))
    every = np.array([*np.ndindex(*[2] * arity)])
    apart = data.draw(st.booleans())
    costs = rng.choice(COSTS, (m, len(every)) if apart else len(every))
    part = np.arange(m)
    table = Table(scopes, every, costs, math.inf, part, part, apart=apart)
    found = [*distinct(table)]
    assert all(len(set(s)) == len(s) for one in found for s in one.scopes.tolist())
    for places in np.ndindex(2, 2, 2):
        told = np.full(m, np.nan)
        for one in found:
            told[one.part] = one.costs_at(ints(places))
        np.testing.assert_array_equal(told, table.costs_at(ints(places)))


def test_a_table_under_conditions_has_no_clauses_of_a_session() -> None:
    table = Table(ints([[0]]), ints([[1]]), np.array([math.inf]), 0.0, ints([0]), ints([0]))
    hangs = Factors(ints([2, 2]), 2, tables=(table.under(ints([1]), 0),))
    term = Said(hangs)
    live = IncrementalSearch.opened(term.problem)
    assert live is not None and live.with_rule(term.twice, term.twice.summands[1:]) is None
    with pytest.raises(AssertionError, match="bound"):
        hangs.tables[0].dense([2])


WORDS = """
import random, resource, sys
import numpy as np
import torch
from engine import Finite, Problem, Term, Variable, answers, required
from engine.explain.conflict import conflict
from engine.factors import Factors

VOWELS, OTHERS = "aeiou", "bcdfghjklmnprst"
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def words(length, count, seed, first=OTHERS):
    rng, found = random.Random(seed), set()
    while len(found) < count:
        rest = (rng.choice(VOWELS if k % 2 else OTHERS) for k in range(1, length))
        found.add(rng.choice(first) + "".join(rest))
    return sorted(found)


class Word(Term):
    fixed_structure, affine = True, False

    def __init__(self, x, words):
        super().__init__(x)
        self.words = set(words)
        self.listed = np.array([[LETTERS.index(c) for c in word] for word in words])

    def energy(self, x):
        found = ["".join(LETTERS[k] for k in row) in self.words for row in x.argmax(-1).tolist()]
        return 1.0 - torch.tensor(found).float()

    def holds(self, x):
        return "".join(x) in self.words

    def factors(self, domain):
        sizes = Factors.sizes_of([domain])
        return Factors.table(sizes, self.listed, np.zeros(len(self.listed)), np.inf)


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def dictionaries(count, weight):
    x = Variable("x", Finite(tuple(LETTERS), (9,)))
    a, b = (Word(x, words(9, count, seed)) for seed in (1, 2))
    energy = 1.0 * (weight * a | b) if weight else a | b
    answer = answers(Problem(energy))[0]
    assert answer.status == "OPTIMAL" and answer.energy == 0, answer
    assert a.holds(answer.values["x"]) or b.holds(answer.values["x"])


def square(count):
    g = Variable("g", Finite(tuple(LETTERS), (5, 5)))
    across, down = words(5, count, 1), words(5, count, 2, VOWELS)
    rows = ([Word(g[k, :], across), Word(g[:, k], down)] for k in range(5))
    problem = Problem(sum(word for pair in rows for word in pair))
    assert answers(problem)[0].status == "INFEASIBLE"
    clash = conflict(problem)
    assert clash is not None and len(clash.rules) == 2, clash


for count in (20, int(sys.argv[1])):
    before = peak()
    dictionaries(count, None), dictionaries(count, 2.0), square(count)
print(peak() - before)
"""


def test_dictionaries_take_little_memory() -> None:
    """Two dictionaries of 9 letters under `|`, as a rule and at a price, and why a word square of
    5 letters is infeasible: 3,000 words each, within 200 MiB."""
    done = subprocess.run(
        [sys.executable, "-c", WORDS, "3000"], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 200


def test_what_is_listed_is_encoded_once() -> None:
    """The formula of two dictionaries under a choice grows with their words alone."""
    rng = np.random.default_rng(1)
    sizes = ints([26] * 9)
    listed = [np.unique(rng.integers(0, 26, (200, 9)), axis=0) for _ in range(2)]
    branches = [Factors.table(sizes, words, np.zeros(len(words)), math.inf) for words in listed]
    form = encode(conditional(branches))
    assert form.variables < 26 * 9 + 2 + sum(map(len, listed))
    assert len(form.clauses.literal) < 8 * 9 * 26 * 9 + 9 * 4 * sum(map(len, listed))
