"""A session says what a fresh solve says, after any sequence of changes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import BadQuery, Budget, Finite, Flag, Problem, Real, Status, Term, Variable, answers
from engine.energy import named
from engine.errors import Cancelled
from engine.minimizers.branch_and_bound import BranchAndBound
from engine.minimizers.descent import Descent
from engine.minimizers.restarts import Restarts
from engine.search.incremental import SWITCHES
from engine.session import Session
from modules.discrete.all_different import AllDifferent
from modules.discrete.clause import Clause
from modules.discrete.linear import Linear
from modules.discrete.not_equal import NotEqual
from modules.discrete.table import Table

SITES, VALUES = 5, (1, 2, 3)
site = st.integers(0, SITES - 1)
pair = st.tuples(site, site).filter(lambda p: p[0] != p[1]).map(list)
literal = st.tuples(site, st.sampled_from(VALUES), st.booleans()).map(list)


def rule(variable: Variable):
    """A random rule, or a cost, over one variable."""
    return st.one_of(
        st.lists(pair, min_size=1, max_size=4).map(lambda p: NotEqual(variable, pairs=p)),
        st.lists(st.lists(literal, min_size=1, max_size=3), min_size=1, max_size=4).map(
            lambda c: Clause(variable, clauses=c)
        ),
        st.permutations(range(SITES)).map(lambda p: AllDifferent(variable, lines=[p[:3]])),
        st.integers(0, 4).map(
            lambda k: Linear(variable, terms=[[0, 1, 2], [1, 2, 3]], compare="<=", constant=k)
        ),
        st.tuples(site, st.lists(st.sampled_from([0, 0, None]), min_size=3, max_size=3))
        .filter(lambda t: t[1] != [None] * 3)
        .map(lambda t: Table(variable, sites=[t[0]], costs=t[1])),
        st.lists(st.integers(0, 3), min_size=3, max_size=3).map(
            lambda c: 0.5 * Table(variable, sites=[2], costs=c)
        ),
        st.lists(st.sampled_from([-1, 0, 0.5, 2, None]), min_size=8, max_size=8).map(
            lambda c: 0.7 * Table(variable, sites=[1, 4], costs=[[1, *c[:2]], c[2:5], c[5:]])
        ),
    )


X = Variable("x", Finite(VALUES, (SITES,)))
evidence = st.lists(st.sampled_from([None, None, *VALUES]), min_size=SITES, max_size=SITES)
change = st.one_of(
    st.tuples(st.just("add"), rule(X)),
    st.tuples(st.just("drop"), st.integers(0, 9)),
    st.tuples(st.just("given"), evidence),
)


@settings(max_examples=80)
@given(first=rule(X), changes=st.lists(change, min_size=1, max_size=6))
def test_a_session_says_what_a_fresh_solve_says(first, changes) -> None:
    session = Session(Problem(named("first", first)))
    added: list[str] = ["first"]
    for k, (what, argument) in enumerate(changes):
        if what == "add":
            added.append(f"rule{k}")
            session.add(added[-1], argument)
        elif what == "drop" and added:
            session.drop(added.pop(argument % len(added)))
        elif what == "given":
            session.given({"x": argument})
        answer = session.answer()
        (fresh,) = answers(session.problem)
        assert answer.status is fresh.status
        assert answer.energy == pytest.approx(fresh.energy, abs=1e-6)
        assert answer.status in (Status.OPTIMAL, Status.INFEASIBLE)
        if answer.unique is not None and all(p.required for p in session.problem.summands):
            (proved,) = answers(session.problem, BranchAndBound(unique=True))
            assert answer.unique == proved.unique


def test_a_rule_dropped_after_a_first_term_binds_no_more() -> None:
    session = Session(Problem(named("first", NotEqual(X, pairs=[[0, 1]]))))
    session.add("line", AllDifferent(X, lines=[[0, 1, 2]]))
    session.drop("first")
    session.given({"x": [1, 1, 1, None, None]})
    assert session.answer().status is Status.INFEASIBLE
    session.drop("line")
    assert session.answer().status is Status.OPTIMAL


def test_more_rules_than_switches() -> None:
    session = Session(Problem(NotEqual(X, pairs=[[0, 1]])))
    for k in range(SWITCHES + 6):
        session.add(f"rule {k}", Clause(X, clauses=[[[k % 2, 1 + k % 3, False], [3, 2, True]]]))
        session.given({"x": [None, None, None, 2 if k % 5 else 1, None]})
        assert session.answer().status is (Status.OPTIMAL if k % 5 or k < 5 else Status.INFEASIBLE)
        if k % 2:
            session.drop(f"rule {k - 1}")


def test_terms_of_the_first_query_can_be_dropped() -> None:
    session = Session(Problem(NotEqual(X, pairs=[[0, 1]])).given(x=[1, 1, None, None, None]))
    assert session.answer().status is Status.INFEASIBLE
    session.drop("NotEqual")
    assert session.answer().status is Status.OPTIMAL


def test_terms_that_were_asked_about_an_answer_are_not_asked_again() -> None:
    asked: list[str] = []

    class Asked(Clause):
        def holds(self, *values) -> bool:
            asked.append(self.label)
            return super().holds(*values)

    def fresh(value: int) -> Asked:
        return Asked(X, clauses=[[[0, value, False]]])

    session = Session(Problem(named("first", fresh(1))))
    place = session.answer().values["x"][0]  # type: ignore[index]
    asked.clear()
    session.add("kept", fresh(1))
    again = session.answer()
    assert [f.term for f in again.findings] == ["first", "kept"] and again.values["x"][0] == place
    assert len(asked) == 2  # whether it breaks the answer, and what is found of it
    session.add("broken", fresh(place))
    other = session.answer()  # new values: every term is asked
    assert len(asked) == 2 + 1 + 3 and all(f.holds for f in other.findings)
    assert {place, other.values["x"][0]} == {2, 3}  # type: ignore[index]


def test_the_structure_of_terms_that_stay_is_not_asked_for_again() -> None:
    asked: list[str] = []

    class Asked(Table):
        fixed_structure = True

        def factors(self, *domains):
            asked.append(self.label)
            return super().factors(*domains)

    def costs(*numbers: float) -> Term:
        return 1.0 * Asked(X, sites=[2], costs=list(numbers))  # type: ignore[return-value]

    session = Session(Problem(named("first", costs(1, 2, 3))))
    assert session.answer().energy == 1
    session.add("second", costs(2.5, 0.5, -1))
    assert session.answer().energy == 2 and len(asked) == 2
    session.add("rule", Clause(X, clauses=[[[2, 3, False]]]))
    assert session.answer().energy == 2.5
    session.given({"x": [None, None, 1, None, None]})
    assert session.answer().energy == 3.5 and len(asked) == 2


def test_rules_that_an_answer_keeps_are_answered_without_their_structure() -> None:
    asked: list[str] = []

    class Asked(Clause):
        def factors(self, *domains):
            asked.append(self.label)
            return super().factors(*domains)

    session = Session(Problem(NotEqual(X, pairs=[[0, 1]])))
    place = session.answer().values["x"][0]  # type: ignore[index]
    session.add("kept", Asked(X, clauses=[[[0, place, True]]]))
    assert session.answer().status is Status.OPTIMAL and not asked


def test_an_answer_of_one_step_tells_its_seconds() -> None:
    problem = Problem(NotEqual(X, pairs=[[0, 1]]))
    (answer,) = answers(problem)
    assert answer.steps == 1 and answer.seconds > 0
    session = Session(problem)
    assert session.answer().seconds > 0 and session.answer().seconds > 0


def test_a_weighted_search_that_is_out_of_time_gives_the_best_it_found() -> None:
    """Its bound and its flag are as honest as those of a full solve."""
    y = Variable("y", Finite(tuple(range(5)), (5,)))
    costs = [[(7 * a + 3 * b) % 11 for b in range(5)] for a in range(5)]
    pairs = [[a, b] for a in range(5) for b in range(a)]
    first = Problem(
        AllDifferent(y, lines=[list(range(5))]) + 0.3 * Table(y, sites=pairs[:4], costs=costs)
    )
    session = Session(first)
    settled = session.answer()
    assert settled.status is Status.OPTIMAL and settled.energy is not None
    session.add("more", 0.2 * Table(y, sites=pairs[4:], costs=costs))
    looks: list[int] = []

    def stop() -> bool:
        looks.append(1)
        return len(looks) > 3

    late = session.answer(Budget(stop=stop))
    (least,) = answers(session.problem)
    assert late.values is not None and late.energy is not None and late.bound is not None
    assert late.bound <= least.energy + 1e-6 <= late.energy + 2e-6
    assert (late.status is Status.OPTIMAL) == (late.flags == ())
    assert late.flags in ((), (Flag.CANCELLED,))
    assert session.answer().energy == pytest.approx(least.energy)


def test_mistakes_are_told() -> None:
    session = Session(Problem(NotEqual(X, pairs=[[0, 1]])))
    session.add("line", AllDifferent(X, lines=[[0, 1, 2]]))
    with pytest.raises(BadQuery, match="'line' is taken"):
        session.add("line", AllDifferent(X, lines=[[0, 1, 2]]))
    with pytest.raises(BadQuery, match="did you mean line"):
        session.drop("lines")
    with pytest.raises(BadQuery, match="none of the values"):
        session.given({"x": [7, None, None, None, None]})
    assert session.answer().status is Status.OPTIMAL


class Valley(Term):
    """Squared distance from a target; nothing explicit, no floor: a search without an end."""

    def __init__(self, x: Variable, target: float):
        super().__init__(x)
        self.target = target

    def energy(self, x):  # (B, n) -> (B,)
        return (x - self.target).square().sum(-1) - 1


def test_a_full_solve_starts_from_the_last_answer() -> None:
    """A tick without a single step is as good as the last answer was, under the new terms too."""
    x = Variable("x", Real((20,), -1.0, 1.0))
    session = Session(Problem(Valley(x, 0.3)), particles=4)
    first = session.answer(Budget(steps=0))
    settled = session.answer(Budget(steps=200))
    assert settled.energy is not None and first.energy is not None
    assert settled.energy < first.energy - 1
    assert session.answer(Budget(steps=0)).energy == pytest.approx(settled.energy)
    session.add("near", Valley(x, 0.31))
    again = session.answer(Budget(steps=0))
    assert again.values == settled.values and again.energy < settled.energy - 0.9


class Late(Valley):
    """Answers until it is told to be late; a caller gives up on it then."""

    late = False

    def energy(self, x):
        if Late.late:
            raise Cancelled("the caller gave up")
        return super().energy(x)


def test_a_module_that_is_late_does_not_cost_the_last_answer() -> None:
    x = Variable("x", Real((4,), -1.0, 1.0))
    session = Session(Problem(Late(x, 0.3)), particles=4)
    settled = session.answer(Budget(steps=100))

    def stop() -> bool:
        stops.append(1)
        Late.late = len(stops) == 20  # once, in the middle of a step
        return False

    stops: list[int] = []
    with pytest.raises(Cancelled):
        session.answer(Budget(steps=30, stop=stop))
    Late.late = False
    best = session.best()
    assert len(stops) == 20 and best is not None and Flag.CANCELLED in best.flags
    assert best.energy is not None and best.energy <= settled.energy
    assert Session(Problem(Late(x, 0.3))).best() is None


class Flat(Term):
    """E = |x - 0.5|^4 summed, and the square of what they add up to: slow to descend."""

    dtype = torch.float64

    def energy(self, *tensors):
        (x,) = tensors
        return (x - 0.5).pow(4).sum(1) + x.sum(1).square()


def test_a_search_of_numbers_goes_on_under_moved_evidence() -> None:
    x = Variable("x", Real((4,), -1.0, 1.0))
    asked = Problem(1.0 * Flat(x))
    session = Session(asked, minimizer=Restarts(Descent(), starts=4), particles=2)
    session.answer()
    for number in (0.1, 0.15, -0.3):
        evidence = {"x": [number, None, None, None]}
        session.given(evidence)
        found = session.answer()
        (fresh,) = answers(asked.given(**evidence), Restarts(Descent(), starts=4), particles=2)
        assert found.values["x"][0] == number and found.status is fresh.status
        assert found.energy == pytest.approx(fresh.energy, abs=1e-6)
        assert found.steps <= 0.7 * fresh.steps
    session.add("more", named("more", 1.0 * Flat(x)))
    assert session.answer().energy == pytest.approx(2 * fresh.energy, rel=1e-4)
    session.given({"x": [0.1, 0.1, 0.1, 0.1]})  # no number is left to move
    assert session.answer().values["x"] == [0.1, 0.1, 0.1, 0.1]
