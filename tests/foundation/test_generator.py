"""An image made by a generator and a correction, x = y + G(z), seen in part: x is defined, and the
entries that are masked do not count."""

import numpy as np
import pytest
import torch

from engine import Given, Input, Problem, Real, Term, Variable, answers
from engine.energy.definition import Definition
from engine.minimizers.descent import Descent
from engine.testing import check_term

PIXELS, LATENT = 12, 3
NOISE, CHANGE = 0.1, 0.5  # how wide the noise is, and how far a pixel may lie from the generator


class Made(Definition):
    """x = y + G(z)."""

    dtype = torch.float64

    def __init__(self, latent, correction, image, generator):
        """generator: (B, d) to (B, n)."""
        super().__init__(latent, correction, image)
        self.generator = generator

    def define(self, latent, correction):  # (B, d), (B, n) -> (B, n)
        return correction + self.generator(latent)


class Seen(Term):
    """E = |x - seen|^2 / (2 NOISE^2) over the pixels that were seen."""

    dtype = torch.float64
    partial = True

    def energy(self, seen, image):  # `Given` (B, n), (B, n) -> (B,)
        return 0.5 * self.residual(seen, image).square().sum(1)

    def residual(self, seen, image):
        values, present = seen
        return (image - values) * present / NOISE


class Small(Term):
    """E = |x|^2 / (2 width^2)."""

    dtype = torch.float64

    def __init__(self, x, width):
        super().__init__(x)
        self.width = width

    def energy(self, x):  # (B, n) -> (B,)
        return 0.5 * self.residual(x).square().sum(1)

    def residual(self, x):
        return x / self.width


class Network(torch.nn.Module):
    """A fixed random generator; bend = 0: it is linear."""

    def __init__(self, bend: float):
        super().__init__()
        rng, self.bend = torch.Generator().manual_seed(0), bend
        for name, shape in (("first", (LATENT, 8)), ("second", (8, PIXELS))):
            self.register_buffer(name, torch.randn(shape, generator=rng, dtype=torch.float64) / 2)

    def forward(self, z):  # (B, d) -> (B, n)
        h = z @ self.first
        return (h + self.bend * (h.tanh() - h)) @ self.second


def made(bend: float = 1.0) -> Problem:
    """The whole problem, lifted: latent, correction and image are asked for."""
    z = Variable("latent", Real((LATENT,), -8, 8))
    y = Variable("correction", Real((PIXELS,), -8, 8))
    x = Variable("image", Real((PIXELS,)))
    seen = Input("seen", Real((PIXELS,)))
    energy = Made(z, y, x, Network(bend)) + Seen(seen, x) + Small(z, 1.0) + Small(y, CHANGE)
    return Problem(energy, (z, y, x, seen))


def photograph(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels, and which of them were seen."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, PIXELS), rng.random(PIXELS) < 0.7


def least(pixels: np.ndarray, there: np.ndarray) -> float:
    """The least energy where the generator is linear, by the normal equations."""
    net = Network(0.0)
    whole = torch.cat([net.first @ net.second, torch.eye(PIXELS, dtype=torch.float64)]).numpy()
    rows = whole.T[there] / NOISE
    weight = np.diag([1.0] * LATENT + [CHANGE**-2] * PIXELS)
    best = np.linalg.solve(rows.T @ rows + weight, rows.T @ pixels[there] / NOISE)
    off = rows @ best - pixels[there] / NOISE
    return float(0.5 * (off @ off + best @ weight @ best))


def test_the_terms_keep_their_contract() -> None:
    problem = made()
    for summand in problem.summands:
        check_term(summand.term)


def test_the_image_is_computed_and_not_searched() -> None:
    pixels, there = photograph(0)
    reduced = made().given(seen=Given(pixels, there)).reduced()
    assert [v.name for v in reduced.open] == ["latent", "correction"]
    rng = torch.Generator().manual_seed(1)
    z, y = (torch.rand(4, n, generator=rng, dtype=torch.float64) for n in (LATENT, PIXELS))
    found = reduced.whole({"latent": z, "correction": y})["image"]
    torch.testing.assert_close(found, y + Network(1.0)(z))


def test_the_gradient_is_that_of_finite_differences() -> None:
    pixels, there = photograph(1)
    reduced = made().given(seen=Given(pixels, there)).reduced()
    rng = torch.Generator().manual_seed(2)
    state = {
        name: torch.rand(2, n, generator=rng, dtype=torch.float64).requires_grad_()
        for name, n in (("latent", LATENT), ("correction", PIXELS))
    }

    def energy(latent, correction):
        return reduced.totals({"latent": latent, "correction": correction}).energy

    assert torch.autograd.gradcheck(energy, tuple(state.values()))


@pytest.mark.parametrize("seed", range(3))
def test_descent_finds_the_least_of_a_linear_generator(seed: int) -> None:
    """As the normal equations say; what the pixels that were not seen hold changes nothing."""
    pixels, there = photograph(seed)
    wild = np.where(there, pixels, 1e3)
    rows = [{"seen": Given(one, there)} for one in (pixels, wild)]
    rows.append({"seen": [p if s else None for p, s in zip(pixels.tolist(), there, strict=True)]})
    first, *others = answers(made(0.0).given_rows(rows).reduced(), Descent(), particles=4)
    assert first.status == "SATISFIED" and first.energy == pytest.approx(
        least(pixels, there), rel=1e-6
    )
    assert all(one.values == first.values and one.energy == first.energy for one in others)


def test_a_bent_generator_fills_in_what_was_not_seen() -> None:
    """The true latent is met: pixels it makes, half of them hidden, come back."""
    rng = np.random.default_rng(3)
    truth = torch.from_numpy(rng.normal(0, 1, (1, LATENT)))
    pixels = Network(1.0)(truth)[0].numpy()
    there = np.arange(PIXELS) % 2 == 0
    told = made().given(seen=Given(pixels, there))
    (answer,) = answers(told.reduced(), Descent(), particles=16)
    assert answer.status == "SATISFIED"
    image, correction = (np.array(answer.values[name]) for name in ("image", "correction"))
    latent = torch.tensor([answer.values["latent"]], dtype=torch.float64)
    np.testing.assert_allclose(image, correction + Network(1.0)(latent)[0].numpy())
    assert np.abs(image - pixels).max() < 0.5 * np.abs(pixels).max()
