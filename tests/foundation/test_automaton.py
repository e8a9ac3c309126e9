"""Words that an automaton accepts, each letter at a price: a chain with a hidden site for the state
after every letter. Elimination finds the cheapest word with a proof, and sums over all of them."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from engine import Factors, Finite, Problem, Status, Term, Variable, answers, required
from engine.factors import Table
from engine.sampling.exact import log_partition
from engine.testing import check_term

LETTERS = "abc"


class Accepted(Term):
    """A deterministic automaton accepts the word: `moves[state][letter]` is the next state, or
    None; it begins in state 0 and has to end in one of `final`."""

    fixed_structure = True

    def __init__(self, word, moves, final):
        super().__init__(word)
        self.moves, self.final = moves, final
        step = torch.zeros(len(moves), len(LETTERS), len(moves))
        for s, row in enumerate(moves):
            for c, t in enumerate(row):
                step[s, c, t if t is not None else 0] = float(t is not None)
        self.register_buffer("step", step)

    def energy(self, word):  # (B, n, k) -> (B,) the chance that independent letters are refused
        step = self.step.to(word.dtype)
        state = torch.ones_like(step[:1, 0]).cumsum(1) == 1  # the first state
        state = state.to(word.dtype).expand(len(word), -1)
        for k in range(word.shape[1]):
            state = torch.einsum("bs,bc,sct->bt", state, word[:, k], step)
        return 1.0 - state[:, sorted(self.final)].sum(1)

    def holds(self, word):
        state = 0
        for letter in word:
            state = None if state is None else self.moves[state][LETTERS.index(letter)]
        return state in self.final

    def factors(self, word):
        n, states = word.sites, len(self.moves)
        steps = [(s, c, t) for s, row in enumerate(self.moves) for c, t in enumerate(row)
                 if t is not None]  # fmt: skip
        first = [(c, t) for s, c, t in steps if s == 0]
        last = [(s, c) for s, c, t in steps if t in self.final]
        hidden = n + np.arange(n - 1)  # the state after each letter but the last
        scopes = np.stack([hidden[:-1], np.arange(1, n - 1), hidden[1:]], 1)
        tables = (
            self.allowing(first, np.array([[0, hidden[0]]])),
            self.allowing(steps, scopes),
            self.allowing(last, np.array([[hidden[-1], n - 1]])),
        )
        sizes = np.append(np.full(n, word.event[-1]), np.full(n - 1, states))
        return Factors(sizes, n, tables=tables, functional=True)

    def allowing(self, tuples, scopes):
        """A table that forbids all but some combinations; all of them are one part."""
        one = np.zeros(len(scopes), np.int64)
        return Table(scopes, np.array(tuples), np.zeros(len(tuples)), math.inf, one, one)


# no two equal letters in a row, an even number of b
MOVES = [[1, 5, 3], [None, 5, 3], [1, None, 7], [1, 5, None],
         [None, 2, 7], [4, None, 7], [4, 2, 7], [4, 2, None]]  # fmt: skip
FINAL = {0, 1, 2, 3}


class Prices(Term):
    """E = the sum of a price for each letter at each place."""

    fixed_structure = True

    def __init__(self, word, costs):
        super().__init__(word)
        self.costs = costs

    def energy(self, word):  # (B, n, k) -> (B,)
        return (word * torch.from_numpy(self.costs).to(word.dtype)).sum((1, 2))

    def factors(self, word):
        return Factors.unary(self.costs)


def priced(n: int, seed: int) -> tuple[Problem, np.ndarray, Accepted]:
    costs = np.random.default_rng(seed).integers(0, 40, (n, 3)).astype(float)
    word = Variable("word", Finite(tuple(LETTERS), (n,)))
    rule = Accepted(word, MOVES, FINAL)
    return Problem(0.1 * Prices(word, costs) + required(rule)), costs / 10, rule


@pytest.mark.parametrize("seed", range(6))
def test_the_cheapest_accepted_word_is_proved(seed: int) -> None:
    problem, costs, rule = priced(7, seed)
    words = [
        w for w in itertools.product(range(3), repeat=7) if rule.holds([LETTERS[c] for c in w])
    ]
    every = costs[np.arange(7), np.array(words)].sum(1)
    (answer,) = answers(problem)
    assert answer.status is Status.OPTIMAL and answer.energy == answer.bound
    assert answer.energy == pytest.approx(every.min(), abs=1e-9)
    assert rule.holds(answer.values["word"]) and "elimination" in problem.memo
    (told,) = log_partition(problem)
    assert told == pytest.approx(float(np.logaddexp.reduce(-every)))


def test_a_long_word_is_proved_too() -> None:
    """2,000 letters, against the recursion over states."""
    problem, costs, _ = priced(2000, 1)
    least = {0: 0.0}
    for own in costs:
        following: dict[int, float] = {}
        for state, cost in least.items():
            for letter, to in enumerate(MOVES[state]):
                if to is not None:
                    following[to] = min(cost + own[letter], following.get(to, math.inf))
        least = following
    (answer,) = answers(problem)
    assert answer.status is Status.OPTIMAL
    assert answer.energy == pytest.approx(min(least[s] for s in FINAL if s in least), abs=1e-6)


def test_its_laws_hold() -> None:
    check_term(priced(4, 0)[2])


def test_states_that_the_letters_do_not_determine_are_caught() -> None:
    """A second hidden run that may be anything, said to be functional."""

    class Loose(Accepted):
        def factors(self, word):
            known = super().factors(word)
            return replace(known, sizes=np.append(known.sizes, 2))

    term = Loose(Variable("word", Finite(tuple(LETTERS), (3,))), MOVES, FINAL)
    with pytest.raises(AssertionError, match="functional"):
        check_term(term)
