"""What is said of incomplete values bounds every completion, and names what is missing."""

import itertools
import random

import pytest

from engine import Finite, Problem, Real, Term, Variable, required
from engine.answer import Status
from engine.explain.partial import partial
from engine.settle import answers
from modules.language.contains import Contains
from modules.language.model.term import LanguageModel
from modules.language.ngram.term import NGram

LETTERS = tuple(" aet")


def given(rng: random.Random, count: int) -> list[str | None]:
    return [rng.choice(LETTERS) if rng.random() < 0.5 else None for _ in range(count)]


@pytest.mark.parametrize("made", ["ngram", "model", "both", "rule"])
def test_bounds_hold_for_every_completion(made: str) -> None:
    rng, count = random.Random(3), 4
    text = Variable("text", Finite(LETTERS, (count,)))
    model = LanguageModel(text, weights="shakespeare.safetensors")
    energy = 0.5 * NGram(text, order=2) if made != "model" else 2.0 * model
    energy = energy + 1.0 * model if made == "both" else energy
    energy = energy + required(Contains(text, words=["ta"])) if made == "rule" else energy
    rows = [{"text": given(rng, count)} for _ in range(8)]
    problem = Problem(energy).given_rows(rows)
    tight = 0
    for row, answer in enumerate(partial(problem)):
        left = [LETTERS if letter is None else (letter,) for letter in rows[row]["text"]]
        every = [{"text": [*one]} for one in itertools.product(*left)]
        told = answers(problem.given_rows(every))
        least = [one.energy for one in told if one.status is not Status.INFEASIBLE]
        if answer.status is Status.INFEASIBLE:
            assert not least
            continue
        lowest = min(least, default=1e300)  # what was not explicit may be off by so much
        assert answer.bound is not None and answer.bound <= lowest + 1e-6 * max(1.0, lowest)
        tight += bool(least) and answer.bound > 0.3 * min(least)
        waits = [k for k, letter in enumerate(rows[row]["text"]) if letter is None]
        assert [f.holds for f in answer.findings] == [None] * len(answer.findings)
        for finding in answer.findings:
            assert finding.text.startswith(f"waits for text[{waits[0]}]")
    assert tight >= 4


class Near(Term):
    """E = sum of squares."""

    def energy(self, x):
        return x.flatten(1).square().sum(1)

    def floor(self):
        return 0.0


def test_terms_of_which_all_is_given_wait_for_nothing() -> None:
    x, y = Variable("x", Real((2, 3), -1.0, 1.0)), Variable("y", Finite((0, 1), (2,)))
    problem = Problem(Near(x) + Near(y))
    rows = [
        {"x": [[0.5, None, 1], [None] * 3], "y": [0, 1]},
        {"x": [[0.5] * 3] * 2, "y": [None, 1]},
    ]
    first, other = partial(problem.given_rows(rows))
    said = "waits for x[0, 1], x[1, 0], x[1, 1], x[1, 2]"
    assert [f.text for f in first.findings] == [said]
    assert [f.text for f in other.findings] == ["waits for y[0]"]
    nothing = partial(problem)[0].findings[0].text
    assert nothing == "waits for x[0, 0], x[0, 1], x[0, 2], x[1, 0] and 2 more"
