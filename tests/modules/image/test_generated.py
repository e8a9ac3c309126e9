"""Energies of pictures with a generator: what they hold usual, propose, refuse and learn."""

import json
import math
from pathlib import Path

import pytest
import torch

from engine import Finite, Problem, Real, Variable, answers
from engine.energy.lesson import Lesson
from engine.errors import BadQuery
from engine.random import Stream
from engine.solve.budget import Budget
from modules.image._generated.pictures import pictures_of
from modules.image._generated.train import Run
from modules.image.classifier.reader import load_reader
from modules.image.diffusion.term import Diffusion
from modules.image.hat.term import Hat
from modules.image.shows import Shows
from modules.image.taught.term import Taught
from modules.shared.weights import parsed, save_described

WEIGHTS = "digits8.safetensors"
KINDS = (Hat, Taught)


def picture(low: float = 0.0, size: int = 8) -> Variable:
    return Variable("picture", Real((size, size), low, 1.0))


@pytest.fixture(scope="module")
def held() -> torch.Tensor:
    """Digits that the shipped weights have not learned from."""
    return pictures_of(Path("digits"), 0).held


@pytest.mark.parametrize("kind", KINDS)
def test_noise_costs_more_than_digits(kind, held) -> None:
    term, rng = kind(picture(), WEIGHTS), torch.Generator().manual_seed(0)
    with torch.no_grad():
        usual, odd = term.energy(held), term.energy(torch.rand(held.shape, generator=rng))
        noisy = term.energy(held + 0.3 * torch.randn(held.shape, generator=rng))
    assert float(usual.max()) < float(odd.min())
    assert float((noisy > usual.max()).float().mean()) > 0.9
    domain = picture().domain
    assert bool(term.accepts([domain], [held]).float().mean() > 0.99)
    assert not bool(term.accepts([domain], [torch.ones(1, 8, 8)]).any())


@pytest.mark.parametrize("kind", KINDS)
def test_slopes_lead_from_noise_back(kind, held) -> None:
    """One step down the slope brings noisy digits nearer to what they were."""
    term, rng = kind(picture(), WEIGHTS), torch.Generator().manual_seed(0)
    noisy = (held + 0.15 * torch.randn(held.shape, generator=rng)).requires_grad_()
    (slope,) = torch.autograd.grad(term.energy(noisy).sum(), noisy)
    nearer = noisy.detach() - 0.15**2 * slope
    before, after = ((x - held).square().mean() for x in (noisy.detach(), nearer))
    assert float(after) < 0.8 * float(before)


@pytest.mark.parametrize("kind", KINDS)
def test_proposals_have_the_pixels_that_are_given(kind, held) -> None:
    half = [[*row[:4], *[None] * 4] for row in held[0].tolist()]
    domain = Problem(1.0 * kind(picture(), WEIGHTS)).given(picture=half).domain("picture")
    term = kind(picture(), WEIGHTS)
    (x,) = term.propose(4, Stream(0, torch.zeros(1, dtype=torch.int64)), None, domain)
    assert torch.equal(x[:, :, :4], held[:1, :, :4].double().expand(4, 8, 4))
    assert len({tuple(one.flatten().tolist()) for one in x}) == 4
    assert float((x[:, :, 4:] - held[0, :, 4:]).square().mean()) < 0.1


def test_a_label_asks_for_a_picture_of_it() -> None:
    shown = Variable("shown", Finite((0, 1, 7)))
    x = picture()
    energy = 1.0 * Hat(x, WEIGHTS) + 4.0 * Shows(x, shown, WEIGHTS)
    problem = Problem(energy).given_rows([{"shown": k} for k in (0, 1, 7)])
    every = answers(problem, particles=2, budget=Budget(steps=40))
    found = torch.tensor([one.values["picture"] for one in every]).float()
    read = load_reader(WEIGHTS).log_chances(found, ("0", "1", "7"), "light").argmax(1)
    assert read.tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_another_shape_is_refused(kind) -> None:
    with pytest.raises(BadQuery, match="9 x 9"):
        kind(picture(size=9), WEIGHTS)
    with pytest.raises(BadQuery, match="single values"):
        kind(Variable("picture", Finite((0, 1), (8, 8))), WEIGHTS)
    for low, high, said in ((0.0, 1e39, "1e.39"), (0.0, math.inf, "inf"), (-math.inf, 1.0, "-inf")):
        with pytest.raises(BadQuery, match=f"reaches {said}"):
            kind(Variable("picture", Real((8, 8), low, high)), WEIGHTS)
    other = Path(KINDS[kind is Hat].shipped / WEIGHTS)
    said = f"holds {KINDS[kind is Hat].form}, no weights of {kind.kind}"
    with pytest.raises(BadQuery, match=f"weights: .*{said}; make it with"):
        kind(picture(), str(other))


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_draws_sheets_and_is_taken_up(kind, tmp_path) -> None:
    small = {"hidden": [8], "painted": [8], "latent": 2, "moves": 2, "batch": 8}
    files = []
    for name, cuts in (("whole", (12,)), ("cut", (6, 12))):
        work = tmp_path / name
        for steps in cuts:
            seconds = None if steps == 12 else 1e-9
            lesson = Lesson(
                Path("digits"), work / "w.safetensors", seconds, 12, 0, work, small, "made"
            )
            said = kind.learn(lesson)
        assert said[-1].endswith("w.safetensors")
        assert list(work.rglob("sheet_*.png"))
        files.append(parsed((work / "w.safetensors").read_bytes()))
    (told, first), (again, second) = files
    assert told == again
    assert all(torch.equal(first[name], second[name]) for name in first | second)
    kind(picture(), str(tmp_path / "whole" / "w.safetensors"))


def test_a_limit_of_seconds_is_that_of_both_trainings_of_a_hat(tmp_path, monkeypatch) -> None:
    limits, trained = [], Run.trained

    def recorded(run, lesson, *more):
        limits.append(lesson.seconds)
        return trained(run, lesson, *more)

    monkeypatch.setattr(Run, "trained", recorded)
    small = {"hidden": [8], "painted": [8], "latent": 2, "moves": 2, "batch": 8}
    Hat.learn(Lesson(Path("digits"), tmp_path / "w", 100.0, 2, params=small))
    coding, judging = limits
    assert coding == 50.0 and 50.0 <= judging < 100.0


def test_answers_are_drawn(basin) -> None:
    query = {
        "variables": {"picture": {"low": 0, "high": 1, "shape": [8, 8]}},
        "terms": [{"kind": "image.hat", "scope": ["picture"], "params": {"weights": WEIGHTS}}],
        "budget": {"particles": 2},
    }
    Path("q.json").write_text(json.dumps(query))
    done = basin("ask", "q.json", "--json", "--pictures", "out", "--seconds", "1")
    assert done.code == 0, done.err
    assert Path("out/q_1_picture.png").read_bytes().startswith(b"\x89PNG")
    Path("taken").write_text("")
    assert basin("ask", "q.json", "--pictures", "taken").code == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": None},
        {"temperature": float("nan")},
        {"quantiles": []},
        {"quantiles": ["a"] * 9},
        {"quantiles": [*range(9, 0, -1)]},
    ],
)
@pytest.mark.parametrize("kind", (*KINDS, Diffusion))
def test_a_file_that_was_never_fitted_is_refused(kind, wrong, tmp_path) -> None:
    about, tensors = parsed((kind.shipped / WEIGHTS).read_bytes())
    path = tmp_path / "spoiled.safetensors"
    save_described(path, about["format"], tensors, {**json.loads(about["about"]), **wrong})
    with pytest.raises(BadQuery, match="holds no weights of"):
        kind(picture(), str(path))


@pytest.mark.parametrize("name", ["temperature", "beta", "move", "spread"])
@pytest.mark.parametrize("number", [-1.0, 0])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_whose_numbers_are_not_above_0_is_refused(kind, name, number, tmp_path) -> None:
    about, tensors = parsed((kind.shipped / WEIGHTS).read_bytes())
    path = tmp_path / "spoiled.safetensors"
    save_described(path, about["format"], tensors, {**json.loads(about["about"]), name: number})
    with pytest.raises(BadQuery, match=f"weights: the file says {name} {number:g}; .*above 0"):
        kind(picture(), str(path))
