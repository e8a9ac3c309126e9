"""An exception in the code of a term names term, method, file and line; any other names none."""

import pytest
import torch

from engine import Finite, Problem, Term, Variable, answers
from engine.energy.blame import OTHER_NUMBERS, blamed, said

X = Variable("x", Finite((0, 1), (2,)))


class Raises(Term):
    def energy(self, x):
        return self.helped(x)

    def helped(self, x):
        raise ValueError("of two\nlines")

    @classmethod
    def example(cls):
        return cls(3)


def caught(work) -> BaseException:
    with pytest.raises(Exception) as found:
        work()
    return found.value


def test_the_method_that_was_asked_and_the_innermost_line() -> None:
    blame = blamed(caught(lambda: answers(Problem(Raises(X)))))
    assert blame is not None
    assert blame[:3] == ("Raises", "energy", "test_blame.py")
    assert blame.line == Raises.helped.__code__.co_firstlineno + 1
    told = f"energy raised ValueError: of two lines (test_blame.py, line {blame.line})"
    assert str(blame) == told


def test_the_engine_and_others_are_not_blamed() -> None:
    assert blamed(caught(lambda: torch.zeros(2) @ torch.zeros(3))) is None
    assert blamed(caught(lambda: Problem(1.0 * Raises(X)).totals({}))) is None


def test_numbers_of_two_widths_come_with_a_hint() -> None:
    mixed = caught(lambda: torch.zeros(2, 2) @ torch.zeros(2, 2).double())
    assert said(mixed).endswith(OTHER_NUMBERS)
    mixed = caught(lambda: torch.einsum("ab,bc", torch.zeros(2, 2), torch.zeros(2, 2).double()))
    assert said(mixed).endswith(OTHER_NUMBERS)
    assert said(ValueError("same dtype")) == "ValueError: same dtype"
