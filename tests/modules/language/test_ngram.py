"""Counts of runs of letters: chances that sum to 1, what changes cost, proofs, files."""

import itertools
import math

import numpy as np
import pytest
import torch

from engine import Finite, Problem, Variable, answers
from engine.energy.lesson import Lesson
from engine.errors import BadQuery
from engine.sampling.exact import log_partition
from engine.testing import check_term
from modules.language.ngram.chain import chain_of, packed, read_chain
from modules.language.ngram.counts import numbered, runs_of
from modules.language.ngram.term import NGram
from modules.language.ngram.train import fold
from modules.shared.weights import write_weights

TEXT = "abracadabra cadabra abba cab dab crab a bad card " * 4
LETTERS = tuple(sorted(set(TEXT)))


def chain(order, least=1):
    runs = runs_of(numbered(TEXT, LETTERS), len(LETTERS), order, least)
    return chain_of(runs, LETTERS, False)


def plain_chance(order, before, letter):
    """p(letter | before) by dictionaries, straight from the formula."""
    runs = runs_of(numbered(TEXT, LETTERS), len(LETTERS), order)
    each = [*(r.shares for r in runs[:-1]), runs[-1].alone]
    shares = [
        dict(zip(r.keys.tolist(), s.tolist(), strict=True)) for r, s in zip(runs, each, strict=True)
    ]
    k, p = len(LETTERS), 1 / len(LETTERS)
    for n in range(min(order, len(before) + 1)):
        number = 0
        for c in before[len(before) - n :]:
            number = number * k + c
        given = [shares[n].get(number * k + w) for w in range(k)]
        if all(s is None for s in given):
            break
        p = (given[letter] or 0.0) + (1 - sum(s or 0.0 for s in given)) * p
    return p


@pytest.mark.parametrize(("order", "least"), [(1, 1), (2, 1), (4, 1), (5, 3)])
def test_the_chances_of_a_letter_sum_to_one(order, least):
    sums = np.exp(-chain(order, least).costs.astype(np.float64)).sum(1)
    assert sums == pytest.approx(np.ones(len(sums)), abs=1e-6)


def test_shipped_chances_sum_to_one():
    for name, k in (("english.safetensors", 27), ("english_joined.safetensors", 26)):
        shipped = read_chain(name)
        assert len(shipped.alphabet) == k and shipped.order == 5
        sums = np.exp(-shipped.costs.astype(np.float64)).sum(1)
        assert sums == pytest.approx(np.ones(len(sums)), abs=1e-5)


@pytest.mark.parametrize("order", [1, 3, 5])
def test_a_text_costs_what_the_formula_says(order):
    rng = np.random.default_rng(order)
    text = Variable("text", Finite(LETTERS, (9,)))
    term = NGram.of(chain(order), text)
    places = rng.integers(0, len(LETTERS), (20, 9))
    wanted = [
        -sum(math.log(plain_chance(order, row[:t].tolist(), row[t])) for t in range(9))
        for row in places
    ]
    assert term.cost(torch.from_numpy(places)).tolist() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("order", [2, 5])
def test_the_term_keeps_its_laws(order):
    check_term(NGram.of(chain(order), Variable("text", Finite(LETTERS, (6,)))))


def test_the_cheapest_text_is_proved_and_the_sum_over_texts_is_one():
    text = Variable("text", Finite(LETTERS, (5,)))
    term = NGram.of(chain(3), text)
    problem = Problem(1.0 * term)
    places = np.array(list(itertools.product(range(len(LETTERS)), repeat=5)))
    every = term.cost(torch.from_numpy(places)).numpy()
    (answer,) = answers(problem)
    assert answer.status == "OPTIMAL" and answer.energy == pytest.approx(every.min(), abs=1e-6)
    assert log_partition(problem)[0] == pytest.approx(0.0, abs=1e-5)
    (filled,) = answers(problem.given(text=["a", None, None, None, "d"]))
    mine = (places[:, 0] == LETTERS.index("a")) & (places[:, 4] == LETTERS.index("d"))
    assert filled.energy == pytest.approx(every[mine].min(), abs=1e-6)


def test_blanks_are_filled_from_both_sides():
    letters = (" ", *"abcdefghijklmnopqrstuvwxyz")
    text = Variable("text", Finite(letters, (11,)))
    told = [None if c == "?" else c for c in "th? q?iet t"]
    (answer,) = answers(Problem(1.0 * NGram(text, order=3)).given(text=told))
    assert answer.values["text"][5] == "u" and answer.status == "OPTIMAL"


def test_counts_are_written_and_read_again(tmp_path):
    data, out = tmp_path / "text.txt", tmp_path / "w.safetensors"
    data.write_text(TEXT.upper().replace(" ", ", "))
    said = NGram.learn(Lesson(data, out, params={"order": 4, "alphabet": " abcdr"}))
    assert any("bits a letter" in line for line in said)
    text = Variable("text", Finite(("A", "b", " "), (6,)))  # capitals are folded
    own, kept = chain(4), NGram(text, weights=str(out)).chain
    assert kept.folded and kept.alphabet == tuple(" abcdr")
    assert np.abs(np.exp(-kept.costs) - np.exp(-own.costs)).max() < 2e-3  # 16 bits a share


def test_texts_are_folded_into_an_alphabet():
    assert fold("Été, 1999!\n", " abcdefghijklmnopqrstuvwxyz", True) == "ete "
    assert fold("It's", "abcdefghijklmnopqrstuvwxyz", True) == "its"


def test_wrong_input_is_told(tmp_path):
    text = Variable("text", Finite(("a", "é", 3), (4,)))
    with pytest.raises(BadQuery, match="is no letter of") as told:
        NGram(text)
    assert len(told.value.mistakes) == 2
    letters = Variable("text", Finite(("a", "b"), (4,)))
    with pytest.raises(BadQuery, match="runs of 5"):
        NGram(letters, order=7)
    with pytest.raises(BadQuery, match="No such file"):
        NGram(letters, weights="nowhere.safetensors")
    short = tmp_path / "short.txt"
    short.write_text("a few letters")
    with pytest.raises(BadQuery, match="letters of the alphabet"):
        NGram.learn(Lesson(short, tmp_path / "w.safetensors"))
    wrong = tmp_path / "wrong.safetensors"
    kept = packed(runs_of(numbered(TEXT, LETTERS), len(LETTERS), 2), {"order": 2})
    write_weights(wrong, "language.ngram", kept)
    with pytest.raises(BadQuery, match="weights"):
        NGram(letters, weights=str(wrong))
