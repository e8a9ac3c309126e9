"""Rules on texts: against plain Python, beside a model proved least, with exact samples, and what
is wrong with them said."""

import itertools
import re

import numpy as np
import pytest
import torch

from engine import Finite, Problem, Status, Variable, answers, required
from engine.errors import BadQuery
from engine.sampling.draw import samples
from engine.sampling.exact import log_partition
from modules.discrete.all_different import AllDifferent
from modules.language.acrostic import Acrostic
from modules.language.contains import Contains
from modules.language.excludes import Excludes
from modules.language.in_dictionary import InDictionary
from modules.language.length import Length
from modules.language.letter_counts import LetterCounts
from modules.language.ngram.term import NGram
from modules.language.pattern import Pattern

LETTERS = ("a", "b", " ", "t")


def text(n, letters=LETTERS):
    return Variable("text", Finite(tuple(letters), (n,)))


def every(n, letters=LETTERS):
    return ["".join(t) for t in itertools.product(letters, repeat=n)]


REGEXES = [
    "a*b*",
    "(a|b)+ t",
    "[^a]{2,4}",
    "(ab|ba|t)*",
    "a.?b.*",
    "(a+)+",
    "",
    "((a|b){2} ?)+",
    "[a-c]+|t*",
]


@pytest.mark.parametrize("regex", REGEXES)
def test_expressions_mean_what_python_says(regex):
    for n in (1, 3, 5):
        own = Pattern(text(n), regex=regex)
        for word in every(n):
            wanted = re.fullmatch(regex, word) is not None
            assert own.holds(list(word)) is wanted, (regex, word)
        places = torch.tensor(list(itertools.product(range(4), repeat=n)))
        assert (own.cost(places) == 0).tolist() == [
            re.fullmatch(regex, word) is not None for word in every(n)
        ]


RULES = {
    "pattern": lambda v: Pattern(v, regex=".*t.*(ab)+ ?.*"),
    "contains": lambda v: Contains(v, words=["ab", "ta"]),
    "excludes": lambda v: Excludes(v, words=["aa", " b", "tt"]),
    "acrostic": lambda v: Acrostic(v, spells="ta"),
    "counts": lambda v: LetterCounts(v, counts={"a": 2, "t": [1, None]}),
    "dictionary": lambda v: InDictionary(v, lines=[[0, 1, 2], [3, 4]], words=["tab", "at", "bat"]),
    "two": lambda v: required(Excludes(v, words=["aa"])) + Contains(v, words=["tb"]),
}


@pytest.mark.parametrize("name", RULES)
def test_the_best_text_under_a_rule_is_proved(name):
    """A model of three letters beside a rule, against all 4^6 texts; ln Z and samples too."""
    own = text(6)
    model = NGram(own, order=3)
    rule = RULES[name](own)
    problem = Problem(required(rule) + 1.0 * model)
    words = every(6)
    fits = np.array([all(s.term.holds(list(w)) for s in rule.summands()) for w in words])
    cost = model.cost(torch.tensor(list(itertools.product(range(4), repeat=6)))).numpy()[fits]
    (answer,) = answers(problem)
    assert answer.status is Status.OPTIMAL and answer.bound == answer.energy
    assert answer.energy == pytest.approx(cost.min(), abs=1e-6)
    assert "elimination" in problem.memo
    (told,) = log_partition(problem)
    assert told == pytest.approx(np.logaddexp.reduce(-cost), abs=1e-4)


def test_samples_under_a_rule_are_exact():
    own = text(5)
    rule = Pattern(own, regex="(a|b)+ t.*")
    problem = Problem(required(rule) + 1.0 * NGram(own, order=2))
    fits = [w for w in every(5) if rule.holds(list(w))]
    cost = [
        float(NGram(own, order=2).cost(torch.tensor([[LETTERS.index(c) for c in w]]))) for w in fits
    ]
    wanted = np.exp(-np.array(cost))
    (drawn,) = samples(problem, 4000)
    assert drawn.exact
    met = ["".join(one.values["text"]) for one in drawn.samples]
    share = np.array([met.count(w) for w in fits]) / 4000
    assert share.sum() == pytest.approx(1)
    assert np.abs(share - wanted / wanted.sum()).sum() / 2 < 0.05


def test_a_long_text_under_rules_is_proved():
    """Forty letters, three rules; every one of them holds."""
    letters = (" ", *"abcdefghijklmnopqrstuvwxyz")
    own = text(24, letters)
    rules = [Contains(own, words=["quartz"]), Pattern(own, regex="the .*[a-z]")]
    problem = Problem(required(rules[0]) + required(rules[1]) + 1.0 * NGram(own, order=2))
    (answer,) = answers(problem)
    assert answer.status is Status.OPTIMAL and all(r.holds(answer.values["text"]) for r in rules)


def test_shorter_texts_and_values_of_several_letters():
    own = text(5, ("a", "th", "e", ""))
    rule = Length(own, low=3, high=4)
    fits = [
        list(t)
        for t in itertools.product(("a", "th", "e", ""), repeat=5)
        if 3 <= len("".join(t)) <= 4 and not re.search("0+1", "".join(str(int(bool(x))) for x in t))
    ]
    got = [
        list(t) for t in itertools.product(("a", "th", "e", ""), repeat=5) if rule.holds(list(t))
    ]
    assert got == fits
    both = Problem(required(rule) + required(Pattern(own, regex="the(a|e)")))
    (answer,) = answers(both)
    assert "".join(answer.values["text"]) in ("thea", "thee")


def test_rules_on_texts_stand_beside_other_rules():
    own = text(4, "abct")
    words = InDictionary(own, words=["tact", "abac", "acta"])
    (none,) = answers(Problem(AllDifferent(own, lines=[[0, 1, 2, 3]]) + words))
    assert none.status is Status.INFEASIBLE
    (priced,) = answers(Problem(AllDifferent(own, lines=[[0, 1, 2, 3]]) + 2.0 * words))
    assert priced.status is Status.OPTIMAL and priced.energy == 2.0
    (either,) = answers(Problem(words | Pattern(own, regex="cab.")))
    assert either.status is Status.OPTIMAL


@pytest.mark.parametrize(
    "regex",
    ["(ab", "a)", "[a", "*a", "a{2,1}", "(?=a)b", "^a$", "(a)\\1", "(" * 3000, "a\\b", "(?#x"],
)
def test_expressions_that_are_none_are_refused(regex):
    with pytest.raises(BadQuery) as told:
        Pattern(text(4), regex=regex)
    assert [m.path for m in told.value.mistakes] == ["regex"]
    assert all(m.problem and m.remedy for m in told.value.mistakes)


@pytest.mark.parametrize(
    ("regex", "n"),
    [("(a|b)*a(a|b){14}", 40), ("(a{1000}){1000}", 5), (".{100000}", 5), ("x" * 20000, 3)],
)
def test_expressions_that_explode_are_refused(regex, n):
    with pytest.raises(BadQuery, match="states|steps|letters"):
        Pattern(text(n), regex=regex)
    small = Pattern(text(6), regex="(a|b)*a(a|b){3}")  # as large, but short texts never see it
    assert small.holds(list("bbabab")) and len(small.automata[0].moves) < 40


@pytest.mark.parametrize(
    ("made", "path"),
    [
        (lambda v: Contains(v, words=[]), "words"),
        (lambda v: Excludes(v, words=["a", ""]), "words"),
        (lambda v: Acrostic(v, spells="a b"), "spells"),
        (lambda v: Length(v, low=3, high=2), "low"),
        (lambda v: LetterCounts(v, counts={"ab": 1}), "counts.ab"),
        (lambda v: LetterCounts(v, counts={"a": [2, 1]}), "counts.a"),
        (lambda v: InDictionary(v, words=[]), "words"),
        (lambda v: InDictionary(v, words=["a"], file="x.txt"), "file"),
        (lambda v: InDictionary(v, file="nowhere.txt"), "file"),
        (lambda v: InDictionary(v, words=["a"], lines=[[0, 9]]), "lines[0][1]"),
    ],
)
def test_what_is_wrong_is_said(made, path):
    with pytest.raises(BadQuery) as told:
        made(text(4))
    assert [m.path for m in told.value.mistakes] == [path]


def test_a_list_of_words_is_held_once():
    """Two grids of nine letters and 20,000 words: no word is written out for a line."""
    rng = np.random.default_rng(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = {"".join(letters[c] for c in row) for row in rng.integers(0, 26, (20_000, 9))}
    grid = Variable("grid", Finite(tuple(letters), (9, 9)))
    lines = [[9 * r + c for c in range(9)] for r in range(9)]
    term = InDictionary(grid, lines=lines, words=sorted(words))
    (table,) = term.factors(grid.domain).tables
    assert table.count == 9 and table.tuples.nbytes + table.costs.nbytes < 2_000_000
    assert table.tuples is not None and term.dictionary.spelled(9) is term.dictionary.spelled(9)


@pytest.mark.parametrize("regex", ["a**", "a{1}{2}", "[]a]", "[^]]", "(a", "[é-a]"])
def test_what_python_reads_otherwise_is_refused(regex: str) -> None:
    with pytest.raises(BadQuery, match="regex"):
        Pattern(Variable("x", Finite(("a", "b"), (2,))), regex=regex)


@pytest.mark.parametrize("regex", [r"\w\w", r"a\d", "(?i)[a-z]+"])
def test_classes_of_ascii_are_refused_beside_other_letters(regex: str) -> None:
    with pytest.raises(BadQuery, match="ASCII"):
        Pattern(Variable("x", Finite(("é", "a"), (2,))), regex=regex)
    Pattern(Variable("x", Finite(("e", "a"), (2,))), regex=regex)
