"""Lattices: the laws of a term, its structure, weights on disk, couplings learned from samples."""

import pytest
import torch

from engine.domain import Finite, Variable
from engine.errors import BadQuery
from engine.learning.corruptions import bernoulli
from engine.learning.examples import Stored
from engine.learning.objectives.energy_discrepancy import EnergyDiscrepancy
from engine.learning.objectives.pseudo_likelihood import PseudoLikelihood
from engine.learning.recipe import Recipe
from engine.learning.train import train
from engine.problem import Problem
from engine.settle import answers
from engine.testing import check_term
from modules.discrete.lattice import KIND, Lattice
from modules.shared.weights import read_weights, write_weights
from tests.support.learners import every_state


def spin(*shape: int) -> Variable:
    return Variable("spin", Finite((-1, 1), shape))


def test_laws():
    check_term(Lattice.example())
    check_term(Lattice(spin(3, 3), pairs="torus", couplings=0.7))
    check_term(
        Lattice(spin(3), Variable("b", Finite(("d", "u"))), pairs="all", fields=[1, 2, 3, 4])
    )


def test_pairs_of_shapes():
    assert len(Lattice(spin(5, 5)).one) == 40
    assert len(Lattice(spin(5, 5), pairs="torus").one) == 50
    assert len(Lattice(spin(2, 3), pairs="torus").one) == 3 + 6  # an axis of two is joined once
    assert len(Lattice(spin(5, 5), pairs="all").one) == 300


def test_the_ground_state_of_a_ferromagnet_is_proved():
    problem = Problem(Lattice(spin(3, 3), couplings=1.0, fields=0.1)).given()
    (answer,) = answers(problem)
    assert answer.values["spin"] == [[1] * 3] * 3
    assert answer.status.name == "OPTIMAL" and abs(answer.energy + 12 + 0.9) < 1e-5


@pytest.mark.parametrize(
    "objective",
    [PseudoLikelihood(), EnergyDiscrepancy(bernoulli(("spin",), 0.2), 16)],
    ids=["pseudo-likelihood", "energy discrepancy"],
)
def test_couplings_are_learned_from_samples(objective):
    truth = Lattice(spin(3, 3), couplings=0.3, fields=0.1)
    states = every_state(9).reshape(-1, 3, 3, 2)
    with torch.no_grad():
        p = torch.softmax(-truth.energy(states), 0)
    g = torch.Generator().manual_seed(0)
    drawn = states[torch.multinomial(p, 20_000, replacement=True, generator=g)]
    term = Lattice(spin(3, 3), pairs="all")
    train(objective, {"energy": term}, Stored({"spin": drawn}), Recipe(400, batch=400, rate=0.03))
    wanted = torch.zeros(9, 9, dtype=torch.float64)
    wanted[truth.one, truth.other] = truth.couplings.detach()
    error = (term.couplings - wanted[term.one, term.other]).square().mean().sqrt()
    assert error < 0.04, f"{float(error.detach()):g}"  # couplings of 0.3 and of 0


def test_weights_come_back(tmp_path):
    path = tmp_path / "w.safetensors"
    term = Lattice(spin(2, 2), pairs=[[0, 3], [1, 2]], couplings=[0.5, -0.5], fields=[1, 2, 3, 4])
    write_weights(path, KIND, term.weights("a test"))
    again = Lattice(spin(2, 2), weights=str(path))
    x = every_state(4).reshape(-1, 2, 2, 2)
    assert torch.equal(term.energy(x), again.energy(x))
    assert read_weights(str(path), KIND, tmp_path).settings["made"] == "a test"


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda p: Lattice(spin(3), couplings=[1.0]), "couplings: has 1 numbers; give 2"),
        (lambda p: Lattice(Variable("x", Finite((0, 1, 2), (2,)))), r"scope\[0\]: has 3 values"),
        (lambda p: Lattice(spin(2), spin(2)), "needs one variable with a shape"),
        (lambda p: Lattice(spin(3), weights=str(p / "none.safetensors")), "No such file"),
        (lambda p: Lattice(spin(3), weights=str(p / "text.safetensors")), "holds no weights"),
        (lambda p: Lattice(spin(3), weights=str(p / "four.safetensors")), "learned on 4 sites"),
        (lambda p: read_weights(str(p / "four.safetensors"), "other", p), "weights of discrete"),
    ],
)
def test_mistakes_are_told(make, said, tmp_path):
    (tmp_path / "text.safetensors").write_text("this is no file of tensors")
    write_weights(tmp_path / "four.safetensors", KIND, Lattice(spin(4)).weights("a test"))
    with pytest.raises(BadQuery, match=said):
        make(tmp_path)
