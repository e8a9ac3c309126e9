"""Blurred and noisy pictures: what each learned energy finds is nearer than filters come."""

import json
from pathlib import Path

import pytest
import torch

from engine import Budget, Input, Problem, Real, Variable, answers
from modules.image._generated.pictures import pictures_of
from modules.image.diffusion.term import Diffusion
from modules.image.hat.term import Hat
from modules.image.observation import Observation
from modules.image.taught.term import Taught

WEIGHTS, NOISE = "digits8.safetensors", 0.05
KERNEL = [[0.0625, 0.125, 0.0625], [0.125, 0.25, 0.125], [0.0625, 0.125, 0.0625]]
PICTURE, SEEN = Variable("picture", Real((8, 8), 0.0, 1.0)), Input("seen", Real((8, 8)))
BLUR = Observation(SEEN, PICTURE, noise=NOISE, blur=KERNEL)


def away(x: torch.Tensor, held: torch.Tensor) -> float:
    return float((x.clamp(0, 1) - held).square().mean())


def blurred(x: torch.Tensor) -> torch.Tensor:
    return BLUR.blurred(x).reshape(x.shape)


def wiener(seen: torch.Tensor, share: float) -> torch.Tensor:
    """conj(K) Y / (|K|^2 + share) of each frequency."""
    around = torch.nn.functional.pad(seen[:, None], (4, 4, 4, 4), mode="replicate")[:, 0]
    kernel = torch.zeros(around.shape[1:], dtype=torch.float64)
    kernel[:3, :3] = torch.tensor(KERNEL, dtype=torch.float64)
    k = torch.fft.fft2(kernel.roll((-1, -1), (0, 1)))
    clear = torch.fft.ifft2(torch.fft.fft2(around) * k.conj() / (k.abs().square() + share)).real
    return clear[:, 4:-4, 4:-4]


@pytest.fixture(scope="module")
def held() -> torch.Tensor:
    """Digits that the shipped weights have not learned from."""
    return pictures_of(Path("digits"), 0).held[:8].double()


@pytest.fixture(scope="module")
def seen(held) -> torch.Tensor:
    noise = torch.randn(held.shape, generator=torch.Generator().manual_seed(0))
    return blurred(held) + NOISE * noise.double()


@pytest.mark.parametrize("kind", (Hat, Taught, Diffusion))
def test_the_least_energy_is_sharper_than_filters_make_it(kind, held, seen) -> None:
    problem = Problem(1.0 * BLUR + 1.0 * kind(PICTURE, WEIGHTS), (PICTURE, SEEN))
    told = problem.given_rows([{"seen": x} for x in seen.tolist()])
    every = answers(told, particles=4, budget=Budget(steps=40))
    found = torch.tensor([one.values["picture"] for one in every])
    ours = away(found, held)
    filtered = min(away(wiener(seen, share), held) for share in (1e-3, 3e-3, 0.01, 0.03, 0.1))
    sharpened = min(away(seen + a * (seen - blurred(seen)), held) for a in (0.5, 1.0, 1.5, 2.0))
    assert ours < 0.7 * filtered and ours < 0.7 * sharpened < 0.7 * away(seen, held)


def test_a_blurred_picture_is_asked_by_command(basin, held, seen) -> None:
    query = {
        "variables": {"picture": {"low": 0, "high": 1, "shape": [8, 8]}},
        "inputs": {"seen": {"shape": [8, 8]}},
        "terms": [
            {
                "kind": "image.observation",
                "scope": ["seen", "picture"],
                "params": {"noise": NOISE, "blur": KERNEL},
            },
            {
                "kind": "image.hat",
                "scope": ["picture"],
                "weight": 1,
                "params": {"weights": WEIGHTS},
            },
        ],
        "evidence": {"seen": seen[0].tolist()},
        "budget": {"steps": 40, "particles": 4},
    }
    Path("q.json").write_text(json.dumps(query))
    done = basin("ask", "q.json", "--json", "--pictures", "drawn")
    assert done.code == 0, done.err
    found = torch.tensor(json.loads(done.out)["solution"]["picture"])
    assert away(found, held[0]) < 0.7 * away(seen[0], held[0])
    assert Path("drawn/q_1_picture.png").read_bytes().startswith(b"\x89PNG")
