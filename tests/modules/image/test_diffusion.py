"""image.diffusion: laws, what it proposes, what it says no to, and how it learns."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine import Budget, Finite, Problem, Real, Stream, Variable, answers
from engine.answer import Flag
from engine.energy.lesson import Lesson
from engine.errors import BadQuery
from engine.testing import check_term
from modules.image._generated.pictures import pictures_of
from modules.image.diffusion.stepping import load_stepping
from modules.image.diffusion.term import SHIPPED, Diffusion
from tests.support.refining import area


def picture(shape=(8, 8), low=0.0, high=1.0):
    return Variable("picture", Real(shape, low, high))


def digits():
    return pictures_of(Path("digits"), 0).held.double()


def test_the_term_keeps_its_contract():
    check_term(Diffusion.example())


def test_digits_cost_less_than_noise_and_than_digits_with_rows_exchanged():
    term, held = Diffusion.example(), digits()
    noise = torch.rand(len(held), 8, 8, generator=torch.Generator().manual_seed(0))
    mixed = held[:, [1, 0, 3, 2, 5, 4, 7, 6]]
    with torch.no_grad():
        usual, odd, other = (term.energy(x.float()) for x in (held, noise, mixed))
    assert area(usual, odd) >= 0.99
    assert area(usual, other) >= 0.85


def test_it_proposes_pictures_that_have_the_pixels_given():
    term, held = Diffusion.example(), digits()
    given = [[v if k < 4 else None for v in row] for k, row in enumerate(held[0].tolist())]
    domain = term.scope[0].variable.domain
    narrow = domain.narrow([given, None])
    rng = Stream(0, torch.tensor([5, 6]))
    (made,) = term.propose(3, rng, None, narrow)
    assert made.shape == (6, 8, 8) and made.dtype == torch.float64
    assert float(made.min()) >= 0 and float(made.max()) <= 1
    assert torch.allclose(made[:3, :4], held[0, :4].expand(3, 4, 8), atol=1e-6)
    alone = term.propose(3, Stream(0, torch.tensor([5])), None, narrow.select([0]))[0]
    assert torch.allclose(alone, made[:3], atol=1e-5)  # whatever rows stand beside
    (free,) = term.propose(200, Stream(0, torch.tensor([5])), None, domain)
    noise = torch.rand(200, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert area(term.energy(free.float()), term.energy(noise)) >= 0.9


def test_answers_keep_what_is_given_and_odd_pictures_abstain():
    x, held = picture(), digits()
    problem = Problem(Diffusion(x, SHIPPED))
    half = [[v if k < 4 else None for v in row] for k, row in enumerate(held[1].tolist())]
    odd = [[float((j + k) % 2) for j in range(8)] for k in range(8)]
    whole = held[2].tolist()
    told = problem.given_rows([{"picture": p} for p in (half, odd, whole)])
    filled, strange, usual = answers(told, budget=Budget(steps=20), particles=4)
    assert filled.values["picture"][:4] == half[:4]
    assert Flag.ABSTAIN in strange.flags and Flag.ABSTAIN not in usual.flags


def test_wrong_scopes_and_files_are_named(tmp_path):
    with pytest.raises(BadQuery, match="weights are of 8 x 8"):
        Diffusion(picture((9, 8)), SHIPPED)
    with pytest.raises(BadQuery, match="single values"):
        Diffusion(Variable("picture", Finite((0, 1), (8, 8))), SHIPPED)
    with pytest.raises(BadQuery, match="weights"):
        Diffusion(picture(), "nowhere.safetensors")
    other = tmp_path / "broken.safetensors"
    other.write_bytes(b"none")
    with pytest.raises(BadQuery, match="holds no weights of image.diffusion"):
        Diffusion(picture(), str(other))


def test_a_training_is_taken_up_again_and_leaves_sheets(tmp_path):
    """Cut off after a step and taken up again: the same weights as at once."""
    pytest.importorskip("pytorch_lightning")
    params = {"hidden": [16], "width": 16, "steps": 2, "batch": 8}
    made = []
    for name in ("once", "twice"):
        out, work = tmp_path / f"{name}.safetensors", tmp_path / name
        lesson = Lesson(pictured(tmp_path), out, steps=10, work=work, params=params)
        if name == "twice":
            short = Diffusion.learn(replace(lesson, seconds=1e-6))
            assert any("ended by seconds" in line for line in short)
        said = Diffusion.learn(lesson)
        assert any("10 steps" in line for line in said)
        made.append(load_stepping(str(out)))
        assert list((work / "diffusion").glob("sheet_*.png"))
    a, b = (m.judge.state_dict() for m in made)
    assert all(torch.equal(a[n], b[n]) for n in a)
    assert made[0].band(1.0) >= made[0].band(0.5)
    with pytest.raises(BadQuery, match="entropi"):
        Diffusion.learn(Lesson(pictured(tmp_path), tmp_path / "w", params={"entropi": 1}))


def pictured(folder):
    """A file of 30 pictures of 5 x 4."""
    path = folder / "pictures.npy"
    np.save(path, np.random.default_rng(0).integers(0, 255, (30, 5, 4)).astype(np.uint8))
    return path
