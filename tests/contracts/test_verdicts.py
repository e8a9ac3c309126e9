"""Every promise of docs/verdicts.md, quoted and kept."""

import inspect
import math
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from engine import Budget, Finite, Problem, Real, Term, Variable, answers, required
from engine.answer import Ended, Flag, Place
from engine.factors import Clauses, Factors, Table, floats, ints
from engine.minimizers.branch_and_bound import BranchAndBound
from engine.minimizers.enumeration import Enumeration
from engine.minimizers.gibbs import Gibbs
from engine.minimizers.portfolio import Portfolio
from modules.discrete import linear, table
from modules.discrete.equal import Equal
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "verdicts.md"


def promises() -> dict[str, str]:
    """Each numbered promise of the page, on one line."""
    text = " ".join(PAGE.read_text().split())
    found = re.findall(r"\*\*(V\d+)\*\* (.*?)(?= - \*\*V| \||\s## | A weighted rule|$)", text)
    return {number: said.strip() for number, said in found}


COSTS = np.random.default_rng(1).integers(0, 40, (2000, 2)).astype(float)


def test_every_promise_is_quoted_by_a_test() -> None:
    quoted = {}
    for name, test in inspect.getmembers(sys.modules[__name__], inspect.isfunction):
        if name.startswith("test_v"):
            number, _, said = (inspect.getdoc(test) or "").partition(" ")
            quoted[number] = " ".join(said.split())
    assert quoted == promises()


def bits(count: int) -> Variable:
    return Variable("x", Finite((0, 1), (count,)))


class Opaque(Term):
    """A rule or cost that gives no structure."""

    affine = False

    def factors(self, *domains):
        return None


class Silent(Opaque):
    """Cannot say whether it holds; its energy says that it does not."""

    required_by_default = True

    def energy(self, x):
        return 1 + x[..., 1].sum(-1)

    def holds(self, values):
        return None


class Rounded(Opaque):
    """Nine of sixteen bits; its energy is not quite 0 where it holds."""

    def energy(self, x):
        return ((x[..., 1].float() * 0.1).cumsum(-1)[..., -1] - 0.9).abs() + 1e-5

    def holds(self, values):
        return sum(values) == 9


class Given(Term):
    """Allows one assignment, by clauses."""

    fixed_structure = True

    def __init__(self, x: Variable, want: list[int]):
        super().__init__(x)
        self.want = want

    def energy(self, x):
        index = torch.tensor(self.want).expand(len(x), len(self.want))[..., None]
        return (1 - x.gather(-1, index)[..., 0]).sum(-1)

    def holds(self, values):
        return list(values) == self.want

    def factors(self, *domains):
        n = len(self.want)
        at, true = np.arange(n), np.ones(n, bool)
        own = Clauses(np.arange(n + 1), at, ints(self.want), ints([0] * n), at, true)
        return Factors(Factors.sizes_of(domains), n, clauses=own)


def test_v1() -> None:
    """V1 Costs and weights are read as the shortest decimals that are written for them: 0.1 + 0.2
    is 0.3."""
    x = bits(3)
    energy = 0.1 * table.Table(x, sites=[[0], [1], [2]], costs=[1, 2])
    answer = answers(Problem(energy))[0]
    assert answer.energy == answer.bound == 0.3


def test_v2() -> None:
    """V2 Energies, bounds and gaps of explicit terms are whole numbers of one unit, below 2^61 in
    all, and are compared exactly."""
    x = bits(2)
    energy = Equal(x, pairs=[[0, 1]])
    energy = energy + 1.0 * table.Table(x, sites=[0], costs=[4, 10**17 + 16])
    energy = energy + 1.0 * table.Table(x, sites=[1], costs=[2, -(10**17)])
    answer = answers(Problem(energy))[0]
    assert (answer.status, answer.values, answer.energy) == ("OPTIMAL", {"x": [0, 0]}, 6.0)


def test_v3() -> None:
    """V3 Where the decimals have no such unit (computed costs of 17 digits and very different
    sizes), OPTIMAL, uniqueness and alternatives are told by sums of the decimals themselves, and
    where these leave it open, nothing is called OPTIMAL. Energies and bounds are said as the
    nearest float64: what differs by less than its last place may count as level. A cost at a
    weight is the product of their decimals; where one float is next to two products, or a table
    has more than 50,000 different costs, the float next to it. Costs that a term computes in floats
    (`Factors.unary`, classifiers) and that have no such unit are compared as near as units of 64
    bits tell them, and never nearer than 2^-40 of their total: a bound may lie so much below an
    energy that is OPTIMAL."""
    x = bits(2)
    energy = 1.0 * table.Table(x, sites=[0], costs=[1e200, 1e200 * (1 + 2**-50)])
    problem = Problem(energy + 1.0 * table.Table(x, sites=[1], costs=[1e-9, 1e-9 / 3]))
    assert problem.explicit.scale.error > 0
    answer = answers(problem)[0]
    assert (answer.status, answer.values) == ("OPTIMAL", {"x": [0, 1]})
    assert answer.energy == answer.bound == 1e200

    class Computed(Term):
        def energy(self, x):
            return (x * torch.from_numpy(COSTS).to(x.dtype)).sum((1, 2))

        def factors(self, x):
            return Factors.unary(COSTS)

    problem = Problem(0.1 * Computed(Variable("x", Finite((0, 1), (2000,)))))
    assert problem.explicit.scale.error > 0
    answer = answers(problem)[0]
    assert answer.status == "OPTIMAL" and answer.bound is not None
    assert answer.energy == pytest.approx(0.1 * COSTS.min(1).sum(), rel=1e-12)
    assert 0 <= answer.energy - answer.bound <= 2.0**-40 * answer.energy
    third, rule = 1 / 3, Equal(x, pairs=[[0, 1]])
    far = linear.Linear(x, terms=[[0, 1, 3 * 10**12], [1, 1, 1]], compare="<=", constant=0)
    costs = [[-(10**8) - 1, 0], [0, 2 - 10**8]]
    for sign, least in ((1, [0, 0]), (-1, [0, 1])):
        told = table.Table(x, sites=[0, 1], costs=(sign * np.array(costs)).tolist())
        answer = answers(Problem(1e6 * far + third * told))[0]
        assert (answer.status, answer.values) == ("OPTIMAL", {"x": least})
    level = table.Table(x, sites=[0], costs=[10**8 + 1, 10**8 + 4])
    level = third * level + third * table.Table(x, sites=[1], costs=[10**8 + 5, 10**8 + 2])
    told = answers(Problem(rule + level), Portfolio(unique=True))[0]
    assert (told.status, told.unique, told.energy) == ("OPTIMAL", False, 66_666_668.66666666)


def test_v4() -> None:
    """V4 An opaque energy may lie above its bound by a millionth of its size, or of 1 where that
    is larger, and count as least; explicit terms beside it add nothing to that."""

    class Near(Opaque):
        def energy(self, a):
            return a.square() + 5e-7

        def floor(self):
            return 0.0

    a, x = Variable("a", Real((), -1.0, 1.0)), bits(1)
    assert answers(Problem(1.0 * Near(a)), budget=Budget(steps=400))[0].status == "OPTIMAL"
    dear = 1.0 * table.Table(x, sites=[0], costs=[10**9, 10**9 + 1])
    answer = answers(Problem(1.0 * Near(a) + dear).given(x=[1]), budget=Budget(steps=400))[0]
    assert answer.status != "OPTIMAL" or answer.energy - answer.bound <= 1e-6


def test_v5() -> None:
    """V5 The violation of a required rule at or below the tolerance of its term is none. Linear
    rules over decimals of up to twelve places have no tolerance; with longer ones, a miss below
    1e-9 of the sum of magnitudes is none."""
    x = bits(2)
    rule = linear.Linear(x, terms=[[0, 1, 1e-9], [1, 1, 2e-9]], compare="==", constant=1e-9)
    assert answers(Problem(rule))[0].values == {"x": [1, 0]}
    assert answers(Problem(rule).given(x=[0, 1]))[0].status == "INFEASIBLE"
    assert Rounded.tolerance == 1e-6


def test_v6() -> None:
    """V6 The required rules hold on the plain values, and nothing lower is possible. A problem of
    rules alone that is satisfied is OPTIMAL with energy and bound 0."""
    x = bits(2)
    answer = answers(Problem(Equal(x, pairs=[[0, 1]])))[0]
    assert (answer.status, answer.energy, answer.bound) == ("OPTIMAL", 0, 0)
    assert answer.holds and answer.ended is Ended.PROVED


@pytest.mark.parametrize("minimizer", [None, BranchAndBound(), Enumeration(), Portfolio()])
def test_v7(minimizer) -> None:
    """V7 Proved: nothing satisfies the required rules. Only explicit structure proves it, or
    `holds` that is False on plain values at every assignment of the finite sites."""

    class Never(Opaque):
        def energy(self, x):
            return x.flatten(1).sum(-1) * 0 + 1

        def holds(self, values):
            return False

    x = bits(3)
    assert answers(Problem(required(Never(x))), minimizer)[0].status == "INFEASIBLE"
    clash = Given(x, [0, 1, 0]) + Equal(x, pairs=[[0, 1]])
    assert answers(Problem(clash), minimizer)[0].status == "INFEASIBLE"


def test_v8() -> None:
    """V8 The required rules hold, and nothing proves that no better values exist."""

    class Endless(Opaque):
        def energy(self, x):
            return -x[..., 1].sum(-1)

    x = bits(40)
    energy = 1.0 * Endless(x) + Equal(x, pairs=[[0, 1]])
    answer = answers(Problem(energy), budget=Budget(steps=30))[0]
    assert answer.status == "SATISFIED" and answer.ended is not Ended.PROVED


def test_v9() -> None:
    """V9 No rule can be decided: the values have an energy, and that is all that is known."""

    class Deep(Opaque):
        def energy(self, a):
            return (a - 0.3).square().sum(-1)

    a = Variable("a", Real((2,), -1.0, 1.0))
    answer = answers(Problem(1.0 * Deep(a)), budget=Budget(steps=50))[0]
    assert answer.status == "SCORED" and answer.bound is None


def test_v10() -> None:
    """V10 In the best state found a required rule fails or cannot say whether it holds, or the
    energy is no finite number; nothing is proved."""

    class Nowhere(Opaque):
        def energy(self, x):
            return x.flatten(1).sum(-1) * math.nan

    x = bits(2)
    for energy in (required(Silent(x)), 1.0 * Nowhere(x)):
        answer = answers(Problem(energy), budget=Budget(steps=20))[0]
        assert answer.status == "UNSATISFIED" and answer.bound is None


@pytest.mark.parametrize("minimizer", [None, BranchAndBound(), Enumeration()])
def test_v11(minimizer) -> None:
    """V11 A rule is refuted only by `holds` being False on plain values, or by explicit structure:
    a violation that rounding made refutes nothing."""
    x = bits(16)
    want = [1] * 9 + [0] * 7
    problem = Problem(required(Rounded(x)) + required(Given(x, want)))
    if isinstance(minimizer, Enumeration):
        problem = problem.given(x=want[:10] + [None] * 6)
    answer = answers(problem, minimizer, budget=Budget(steps=40))[0]
    assert (answer.status, answer.values) == ("OPTIMAL", {"x": want})


@pytest.mark.parametrize("minimizer", [None, BranchAndBound(), Enumeration()])
def test_v12(minimizer) -> None:
    """V12 "Cannot say" (`holds` is None) refutes nothing and proves nothing: an answer with such a
    required rule is neither OPTIMAL nor INFEASIBLE."""
    x = bits(3)
    for energy in (
        Silent(x),
        Silent(x) + Given(x, [1, 0, 1]),
        Silent(x) + 1.0 * Given(x, [1, 1, 1]),
    ):
        answer = answers(Problem(energy), minimizer, budget=Budget(steps=20))[0]
        assert answer.status == "UNSATISFIED"
        assert answer.unique is None


def test_v13() -> None:
    """V13 A leaf of a search whose real variables were only searched refutes nothing."""

    class Line(Opaque):
        def energy(self, x, a):
            return (a - 0.123456789).abs() + 0 * x[:, 0, 0]

        def holds(self, x, a):
            return abs(a - 0.123456789) < 1e-12

    x, a = bits(1), Variable("a", Real((), -1.0, 1.0))
    answer = answers(Problem(required(Line(x, a))), budget=Budget(steps=60))[0]
    assert answer.status != "INFEASIBLE"


def test_v14() -> None:
    """V14 A term whose structure and energy disagree proves nothing: the answer has no bound and
    is not OPTIMAL. Where the term is hosted, the call fails with `MODULE_FAULT`."""

    class Liar(Term):
        fixed_structure = True

        def energy(self, x):
            return x[:, 0, 1]

        def factors(self, *domains):
            return Factors.table(Factors.sizes_of(domains), np.array([[1], [0]]), floats([5, 7]))

    answer = answers(Problem(1.0 * Liar(bits(1))))[0]
    assert answer.status == "SATISFIED" or answer.status == "SCORED"
    assert answer.bound is None  # hosted: tests/contracts/test_doors.py


def test_v15() -> None:
    """V15 `bound` lies at or below the least energy, and `energy` never lies below `bound` where
    the required rules hold."""
    x = bits(2)
    paid = linear.Linear(x, terms=[[0, 1, 1], [1, 1, 1]], compare=">=", constant=1)
    energy = paid + 1.0 * table.Table(x, sites=[0], costs=[0, 0.9])
    energy = energy + 1.0 * table.Table(x, sites=[1], costs=[0, 0.7])
    answer = answers(Problem(energy))[0]
    assert answer.energy == answer.bound == 0.7


def test_v16() -> None:
    """V16 `unique: true` is proved: no other values are as good. `false` shows that others are;
    null says that it is not known."""
    x = bits(2)
    minimizer = Portfolio(unique=True)
    only = answers(Problem(Given(x, [0, 1])), minimizer)[0]
    others = answers(Problem(Equal(x, pairs=[[0, 1]])), minimizer)[0]
    assert (only.unique, others.unique) == (True, False)
    assert answers(Problem(Silent(x)), minimizer, budget=Budget(steps=9))[0].unique is None


def test_v17() -> None:
    """V17 Given values come back as they were given, in answers and in every alternative."""
    x, r = bits(2), Variable("r", Real((2,), 0.0, 1.0))
    problem = Problem(Equal(x, pairs=[[0, 1]]), (x, r)).given_rows(
        [{"r": [0.1, 0.3]}, {"r": [1 / 3, 0.7]}]
    )
    first, second = answers(problem, Portfolio(alternatives=1), budget=Budget(steps=20))
    for answer, given in ((first, [0.1, 0.3]), (second, [1 / 3, 0.7])):
        assert answer.values["r"] == given
        assert [a.values["r"] for a in answer.alternatives] == [given]


def test_v18() -> None:
    """V18 `DEADLINE` and `CANCELLED` stand beside what was found until then; the values keep what
    their status says. `ended` says why a search ended: `proved`, `time`, `steps`, `gave up` or
    `cancelled`."""

    class Wide(Opaque):
        def energy(self, x):
            return x[..., 1].sum(-1)

    x = bits(40)
    problem = Problem(1.0 * Wide(x) + Equal(x, pairs=[[0, 1]]))
    late = answers(problem, budget=Budget(seconds=0.05))[0]
    assert late.flags in ((Flag.DEADLINE,), ()) and late.status in ("SATISFIED", "UNSATISFIED")
    few = answers(problem, budget=Budget(steps=2))[0]
    assert few.ended is Ended.STEPS and few.flags == ()
    gone = answers(problem, budget=Budget(stop=lambda: True))[0]
    assert gone.ended is Ended.CANCELLED and gone.flags == (Flag.CANCELLED,)


def test_v19() -> None:
    """V19 `ABSTAIN`: a module does not stand by the values, as they lie outside its acceptance
    band; the status stands. `abstained` names the sites, with their values; inside `|` those of
    the branch that counts."""

    class Shy(Opaque):
        def energy(self, x):
            return x[:, 0, 1]

        def accepts(self, domains, tensors):
            return torch.zeros(len(tensors[0]), 1, dtype=torch.bool)

    answer = answers(Problem(1.0 * Shy(bits(1))))[0]
    assert answer.flags == (Flag.ABSTAIN,) and answer.status == "OPTIMAL"
    assert answer.abstained == (Place("x", (0,), 0),)
    x = bits(2)
    either = answers(Problem(1.0 * (1.0 * Shy(x[:1]) | 1.0 * Shy(x[1:]))).given(x=[1, 0]))[0]
    assert either.abstained == (Place("x", (1,), 0),)


def test_v20() -> None:
    """V20 `converged: true` says that no step along the slope of the energy makes the numbers of an
    unproved answer cheaper by more than V4 tells apart, `false` that one does; null where nothing
    is said, as where a required term sees the numbers. It proves nothing."""
    y = Variable("y", Real((2,), -1.0, 1.0))

    class Wave(Opaque):
        def energy(self, y):
            return (3 * y).sin().sum(1) + y.square().sum(1)

    class Low(Opaque):
        def energy(self, y):
            return y.clamp(min=0).sum(1)

        def holds(self, y):
            return max(y) <= 1e-3

    free = Problem(1.0 * Wave(y))
    (settled,) = answers(free)
    assert settled.status == "SCORED" and settled.converged is True
    (begun,) = answers(free, budget=Budget(steps=0))
    assert begun.converged is False and begun.status == "SCORED"
    (ruled,) = answers(Problem(1.0 * Wave(y) + required(Low(y))))
    assert ruled.converged is None
    (proved,) = answers(free.given(y=[0.5, 0.5]))
    assert proved.converged is None


def test_a_rule_with_hard_tables_is_paid_at_a_weight() -> None:
    """Dictionaries and automata: one failing part, in one table or in several, one price."""

    class Word(Term):
        fixed_structure = True
        affine = False
        WORDS = [(0, 1, 2), (2, 1, 0)]

        def energy(self, x):
            return 1 - sum(x[:, 0, a] * x[:, 1, b] * x[:, 2, c] for a, b, c in self.WORDS)

        def holds(self, values):
            return tuple(values) in self.WORDS

        def factors(self, *domains):
            none = ints([0])
            own = Table(
                np.array([[0, 1, 2]]), np.array(self.WORDS), floats([0, 0]), np.inf, none, none
            )
            return Factors(Factors.sizes_of(domains), 3, tables=(own,))

    class Steps(Word):
        """The same words as an automaton of two transitions that are one part."""

        def factors(self, *domains):
            zero = ints([0])
            first = Table(
                np.array([[0, 1, 3]]),
                np.array([[0, 1, 0], [2, 1, 1]]),
                floats([0, 0]),
                np.inf,
                zero,
                zero,
            )
            last = Table(
                np.array([[3, 2]]), np.array([[0, 2], [1, 0]]), floats([0, 0]), np.inf, zero, zero
            )
            sizes = np.append(Factors.sizes_of(domains), 2)
            return Factors(sizes, 3, tables=(first, last))

    x = Variable("x", Finite((0, 1, 2), (3,)))
    for kind in (Word, Steps):
        for values in np.ndindex(3, 3, 3):
            given = Problem(0.5 * kind(x)).given(x=list(values))
            answer = answers(given, budget=Budget(steps=20))[0]
            right = 0.0 if values in kind.WORDS else 0.5
            assert (answer.status, answer.energy, answer.bound) == ("OPTIMAL", right, right)
            strict = answers(Problem(kind(x)).given(x=list(values)))[0]
            assert strict.status == ("OPTIMAL" if right == 0 else "INFEASIBLE")


def test_a_minimizer_that_edits_evidence_answers_nothing() -> None:
    """The check of the answer knows the evidence, whatever the search did to it."""

    class Edits(Enumeration):
        def report(self, problem, s):
            report = super().report(problem, s)
            x = problem.root.state(np.ones((problem.rows, 2), int))
            return replace(report, x=x)

    x = bits(2)
    answer = answers(Problem(Equal(x, pairs=[[0, 1]])).given(x=[0, None]), Edits())[0]
    assert answer.status == "UNSATISFIED"


def test_gibbs_leaves_rows_alone_that_have_nothing_open() -> None:
    x = bits(2)
    problem = Problem(Equal(x, pairs=[[0, 1]])).given_rows([{"x": [0, 1]}, {"x": [None, 1]}])
    shut, open_ = answers(problem, Gibbs(), particles=2, budget=Budget(steps=30))
    assert (shut.status, shut.values) == ("UNSATISFIED", {"x": [0, 1]})
    assert (open_.status, open_.values) == ("OPTIMAL", {"x": [1, 1]})


def test_nothing_differs_from_itself() -> None:
    """A view may name a site twice; a pair of it and itself is never met."""
    from modules.discrete.not_equal import NotEqual

    x = Variable("x", Finite((3, 1, 2), (3,)))
    rule = NotEqual(x[[1, 0, 1]], pairs=[[2, 1], [2, 0]])
    assert answers(Problem(rule))[0].status == "INFEASIBLE"


def test_rows_whose_structure_is_enumerated_answer_as_each_alone() -> None:
    """What the evidence of one row leaves decides nothing for another."""

    class Waves(Term):
        def energy(self, x):
            places = x.argmax(-1).float()
            return torch.sin(3 * places.sum(-1)) * 100 / 3

    x = Variable("x", Finite(tuple(range(4)), (3,)))
    base = Problem(1.0 * Waves(x) + Equal(x, pairs=[[0, 2]]))
    rows = [{"x": [0, None, None]}, {}, {"x": [3, 3, 3]}, {"x": [None, 1, None]}, {"x": [1, 0, 0]}]
    together = answers(base.given_rows(rows))
    for row, answer in zip(rows, together, strict=True):
        alone = answers(base.given(**row))[0]
        assert (answer.status, answer.values) == (alone.status, alone.values)
        assert (answer.energy, answer.bound) == (alone.energy, alone.bound)
