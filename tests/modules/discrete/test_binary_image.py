"""Energies of bits: examples read and refused, learning by the command, images completed."""

from pathlib import Path

import pytest
import torch

from engine.domain import Finite, Variable
from engine.energy.lesson import Lesson
from engine.errors import BadQuery
from engine.minimizers.gibbs import Gibbs
from engine.problem import Problem
from engine.settle import answers
from engine.solve import Budget
from engine.testing import check_term
from modules.discrete.binary_image.term import BinaryImage
from modules.discrete.lattice import Lattice
from modules.shared.bits import bits_of
from tests.support.lessons import lesson_of


def bars(count: int, seed: int) -> str:
    """6 x 6 images of one bar, upright or level, two pixels wide, as lines of bits."""
    g = torch.Generator().manual_seed(seed)
    lines = []
    for _ in range(count):
        image = torch.zeros(6, 6, dtype=torch.long)
        at = int(torch.randint(5, (1,), generator=g))
        image[at : at + 2] = 1
        if torch.rand(1, generator=g) < 0.5:
            image = image.T
        lines.append("".join(str(b) for b in image.reshape(-1).tolist()))
    return "\n".join(lines)


def lesson(text: str, out: Path, **params) -> Lesson:
    return lesson_of(text, out, steps=params.pop("steps", 150), params=params, command="t")


@pytest.mark.slow
def test_an_image_is_completed_from_its_half(tmp_path):
    out = tmp_path / "bars.safetensors"
    said = BinaryImage.learn(lesson(bars(400, 1), out, shape=[6, 6], channels=4, steps=300))
    assert said[0] == "400 examples of 36 sites"
    term = BinaryImage(Variable("image", Finite((0, 1), (6, 6))), weights=str(out))
    check_term(term, samples=8)
    whole = [[int(b) for b in row] for row in ["110000"] * 6]
    given = [row if k < 3 else [None] * 6 for k, row in enumerate(whole)]
    (answer,) = answers(
        Problem(term).given(image=given), Gibbs(), particles=16, budget=Budget(steps=400)
    )
    assert answer.values["image"] == whole
    with pytest.raises(BadQuery, match=r"these images have \[6, 6\]"):
        BinaryImage(Variable("image", Finite((0, 1), (6, 5))), weights=str(out))


def test_a_lattice_learns_from_a_file(tmp_path):
    out = tmp_path / "w.safetensors"
    Lattice.learn(lesson(bars(400, 2), out, shape=[6, 6], pairs="torus"))
    term = Lattice(Variable("spin", Finite((0, 1), (6, 6))), weights=str(out))
    assert len(term.couplings) == 72 and term.couplings.mean() > 0.1  # neighbours like to agree


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "0 examples are too few"),
        ("0101\n0121", "line 2: '2' is no bit"),
        ("0101\n01", "line 2: has 2 bits; the shape has 4 sites"),
        ("0101\n01", "line 2"),
    ],
)
def test_wrong_examples_are_told_by_line(text, said):
    with pytest.raises(BadQuery, match=said):
        bits_of(text, (2, 2))


@pytest.mark.parametrize(
    "params, said",
    [
        ({}, "params.shape"),
        ({"shape": [6, 6], "width": 3}, "params.width"),
        ({"shape": [2, 6]}, "params.shape"),
    ],
)
def test_wrong_params_are_told(params, said, tmp_path):
    with pytest.raises(BadQuery, match=said):
        BinaryImage.learn(lesson(bars(3, 0), tmp_path / "w.safetensors", **params))
