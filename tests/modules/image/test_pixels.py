"""Smoothness and observation of pixels, against plain sums and all labellings."""

import itertools
import math
import random

import numpy as np
import pytest
import torch

from engine import Finite, Given, Input, Problem, Real, Variable, answers
from engine.errors import BadQuery
from engine.testing import check_term
from modules.image.observation import Observation
from modules.image.smoothness import DIAGONAL, Smoothness


def test_the_laws_hold():
    check_term(Smoothness.example())
    drawn = Smoothness.examples(random.Random(1))
    for _ in range(4):
        check_term(next(drawn))
    check_term(Observation.example())
    seen, x = Input("seen", Real((2, 3))), Variable("x", Real((2, 3), 0.0, 1.0))
    check_term(Observation(seen, x, noise=0.3, blur=[[0.25, 0.5, 0.25]]))
    check_term(Observation(seen, x, noise=0.3, most=2.0))
    labels = Variable("labels", Finite(("a", "b"), (2, 3)))
    colour, colours = Input("colour", Real((2, 3, 3))), [[0, 0, 1], [1, 0.5, 0]]
    check_term(Observation(colour, labels, noise=[0.3, 0.2], colours=colours, most=3.0))


def roughness(x, eight, most):
    """In plain loops."""
    total, (high, wide) = 0.0, x.shape
    ways = [(0, 1, 1.0), (1, 0, 1.0)] + [(1, 1, DIAGONAL), (1, -1, DIAGONAL)] * eight
    for r, c in np.ndindex(high, wide):
        for down, right, weight in ways:
            i, j = r + down, c + right
            if i < high and 0 <= j < wide:
                away = abs(float(x[r, c]) - float(x[i, j]))
                total += weight * (float(away > 0) if most is None else min(away, most))
    return total


@pytest.mark.parametrize("eight, most", [(False, None), (True, None), (True, 1.5)])
def test_small_pictures_are_cleaned_as_well_as_can_be(eight, most):
    rng = np.random.default_rng(0)
    seen = Input("seen", Real((3, 3)))
    x = Variable("x", Finite((0, 1, 3), (3, 3)))
    problem = Problem(
        Observation(seen, x, noise=0.7) + 0.8 * Smoothness(x, 8 if eight else 4, most)
    )
    rows = [3 * rng.random((3, 3)) for _ in range(3)]
    states = np.array(list(itertools.product((0, 1, 3), repeat=9))).reshape(-1, 3, 3)
    rough = np.array([roughness(s, eight, most) for s in states])
    for row, answer in zip(
        rows, answers(problem.given_rows([{"seen": r} for r in rows])), strict=True
    ):
        costs = ((row - states) ** 2).sum((1, 2)) / (2 * 0.7**2) + 0.8 * rough
        assert answer.status == "OPTIMAL" and answer.energy == pytest.approx(costs.min(), rel=1e-6)


def test_missing_pixels_are_filled_in():
    """A stripe with a hole: the pixels that were not seen follow their neighbours, with proof."""
    true = np.zeros((12, 12))
    true[4:8] = 1
    there = np.ones((12, 12), bool)
    there[3:9, 5:7] = False
    seen, x = Input("seen", Real((144,))), Variable("x", Finite((0.0, 1.0), (12, 12)))
    problem = Problem(Observation(seen, x, noise=0.2) + 1.0 * Smoothness(x))
    (answer,) = answers(problem.given(seen=Given(true.reshape(-1), there.reshape(-1))))
    assert answer.status == "OPTIMAL" and (np.array(answer.values["x"]) == true).all()


def test_a_blurred_picture_of_numbers_comes_back():
    rng = np.random.default_rng(1)
    true = rng.random((5, 6))
    kernel = np.array([[0.1, 0.1, 0.1], [0.1, 0.6, 0.1], [0.1, 0.1, 0.1]])
    seen, x = Input("seen", Real((5, 6))), Variable("x", Real((5, 6), 0.0, 1.0))
    term = Observation(seen, x, noise=0.1, blur=kernel.tolist())
    blurred = term.blurred(torch.from_numpy(true)[None]).numpy().reshape(5, 6)
    edge = np.pad(true, 1, mode="edge")
    wanted = sum(kernel[i, j] * edge[i : i + 5, j : j + 6] for i in range(3) for j in range(3))
    assert np.allclose(blurred, wanted)
    (answer,) = answers(Problem(1.0 * term).given(seen=blurred))
    assert answer.energy < 1e-4 and np.abs(np.array(answer.values["x"]) - true).max() < 0.05


def test_what_makes_no_sense_is_refused():
    x = Variable("x", Finite((0, 1), (2, 3)))
    named = Variable("named", Finite(("a", "b"), (2, 3)))
    real = Variable("real", Real((2, 3)))
    seen = Input("seen", Real((2, 3)))
    for make, said in (
        (lambda: Smoothness(Variable("y", Finite((0, 1), (6,)))), "shape"),
        (lambda: Smoothness(x, 5), "give 4 or 8"),
        (lambda: Smoothness(named, most=1), "no number"),
        (lambda: Observation(Input("s", Real((3, 2))), x), "shape"),
        (lambda: Observation(seen, named), "no number"),
        (lambda: Observation(seen, named, colours=[1.0]), "as many as labels"),
        (lambda: Observation(seen, x, blur=[[1.0]]), "over labels"),
        (lambda: Observation(seen, x, noise=[1.0, -1.0]), "above 0"),
        (lambda: Observation(seen, real, blur=[[0.5, 0.5]]), "no kernel"),
        (lambda: Observation(seen, real, colours=[1.0]), "real numbers"),
    ):
        with pytest.raises(BadQuery, match=said):
            make()


def test_what_was_seen_far_off_rules_out_no_label():
    """Its square is no number: that proves nothing."""
    x, seen = Variable("x", Finite((0, 1), (1, 2))), Input("seen", Real((1, 2)))
    term = Observation(seen, x)
    (answer,) = answers(Problem(1.0 * term, (x, seen)).given(seen=[[1e200, 1.0]]))
    assert answer.status == "OPTIMAL" and math.isfinite(answer.energy)
    assert answer.values["x"][0][1] == 1
    hot = torch.eye(2).reshape(1, 1, 2, 2).double()
    given = Given(torch.tensor([[[1e200, 1.0]]]), torch.ones(1, 1, dtype=torch.bool))
    assert term.energy(given, hot).isfinite().all()


@pytest.mark.parametrize("small", [1e-150, 1e-200, 1e-308, 5e-324])
def test_noise_whose_square_is_no_number_forbids_nothing(small):
    """Labels that are just what was seen cost nothing; in steps of a small scale too."""
    x, seen = Variable("x", Finite((0, 1), (1, 2))), Input("seen", Real((1, 2)))
    term = Observation(seen, x, noise=small)
    (answer,) = answers(Problem(1.0 * term, (x, seen)).given(seen=[[0.0, 1.0]]))
    assert (answer.status, answer.energy) == ("OPTIMAL", 0.0)
    assert answer.values["x"] == [[0, 1]]
    term = Observation(seen, x, noise=small, colours=[0.0, 4 * small])
    (answer,) = answers(Problem(1.0 * term, (x, seen)).given(seen=[[3 * small, small]]))
    assert answer.status == "OPTIMAL" and answer.energy == pytest.approx(1.0)
    assert answer.values["x"] == [[1, 0]]
    term = Observation(seen, x, noise=[small, 1.0])
    (answer,) = answers(Problem(1.0 * term, (x, seen)).given(seen=[[0.0, 1.0]]))
    price = math.log(1.0) - math.log(small)  # of the label with more noise
    assert answer.values["x"] == [[0, 1]] and answer.energy == pytest.approx(price)
