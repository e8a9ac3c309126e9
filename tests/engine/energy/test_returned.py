"""What a term gives back in a wrong form is told under its name, with the form that is wanted."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from engine import Finite, Problem, Real, Term, Variable, answers
from engine.energy.returned import changes_of, cost_of, energy_of, violation_of
from engine.errors import ModuleFault
from engine.minimizers.descent import Descent

X = Variable("x", Finite((0, 1, 2), (3,)))
WRONG: list[tuple[Callable[[Any], Any], str]] = [
    (lambda x: x.sum(), r"gave shape \[\]"),
    (lambda x: None, "gave None"),
    (lambda x: 1.0, "gave float, not a tensor"),
    (lambda x: x.flatten(1).sum(1, keepdim=True), r"gave shape \[\d+, 1\]"),
    (lambda x: x.flatten(1), r"gave shape \[\d+, \d\]"),
    (lambda x: x.flatten(1).sum(1).long(), "gave int64, not floating numbers"),
]


def made(method: str, wrong: Callable[[Any], Any], opaque: bool = True) -> Term:
    """A term one of whose methods gives what it must not."""

    class Made(Term):
        def energy(self, x):
            return x.flatten(1).sum(1)

    setattr(Made, method, lambda self, *tensors: wrong(tensors[-1]))
    if opaque:
        Made.factors = lambda self, *domains: None
    return Made(X)


@pytest.mark.parametrize("opaque", [False, True])
@pytest.mark.parametrize("method", ["energy", "cost"])
@pytest.mark.parametrize(("wrong", "said"), WRONG)
def test_energies_of_another_form(method, wrong, said, opaque) -> None:
    term = made(method, wrong, opaque)
    with pytest.raises(ModuleFault, match=rf"module Made: {method} {said}"):
        answers(Problem(1.0 * term))


@pytest.mark.parametrize(("wrong", "said"), WRONG[:3])
def test_energies_of_reals(wrong, said) -> None:
    class Near(Term):
        def energy(self, z):
            return wrong(z)

    with pytest.raises(ModuleFault, match=rf"module Near: energy {said}"):
        answers(Problem(Near(Variable("z", Real((2,), -1, 1)))), Descent())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda x: x.flatten(1).sum(1), r"gave shape \[\d+\]; give shape \[\d+, parts\]"),
        (lambda x: x.flatten(1)[:1, :, None], "parts"),
        (lambda x: None, "gave None"),
        (lambda x: x.flatten(1).long(), "gave int64"),
    ],
)
def test_violations_of_another_form(wrong, said) -> None:
    term = made("violation", wrong)
    with pytest.raises(ModuleFault, match=f"module Made: violation .*{said}"):
        violation_of(term, [torch.zeros(4, 3, 3)])
    for state in (torch.zeros(4, 3, 3), torch.zeros(4, 3, dtype=torch.uint8)):
        with pytest.raises(ModuleFault, match=f"module Made: violation .*{said}"):
            term.parts_started({"x": state})()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda x: torch.zeros(4, 3), r"gave shape \[4, 3\]; give shape \[4, 2, values\]"),
        (lambda x: torch.zeros(4, 1, 3), r"gave shape \[4, 1, 3\]"),
        (lambda x: None, "gave None"),
        (lambda x: torch.zeros(4, 2, 3, dtype=torch.int64), "gave int64"),
    ],
)
def test_changes_of_another_form(wrong, said) -> None:
    term, sites = made("changes", wrong), torch.tensor([[0, 0], [0, 2]])
    with pytest.raises(ModuleFault, match=f"module Made: changes {said}"):
        changes_of(term, sites, [torch.zeros(4, 3, dtype=torch.long)])


def test_right_forms_pass_as_they_are() -> None:
    term = made("cost", lambda x: x.sum(1).double())
    relaxed, places = torch.rand(4, 3, 3), torch.ones(4, 3, dtype=torch.long)
    assert torch.equal(energy_of(term, [relaxed]), term.energy(relaxed))
    assert cost_of(term, [places]).tolist() == [3.0] * 4
