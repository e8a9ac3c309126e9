"""Samplers of a few Gaussian steps: formulas by hand, eight Gaussians, planted faults."""

import math

import pytest
import torch
from torch import nn

from engine.errors import BadQuery
from engine.learning.examples import Drawn
from engine.learning.objectives.denoising_diffusion import (
    DenoisingDiffusion,
    cosine,
    diffusing,
)
from engine.learning.objectives.max_entropy_irl import Moves, SeparateValue, SharedValue, Velocities
from engine.learning.optimizers import Adam
from engine.learning.recipe import Recipe
from engine.learning.refiner import PITCH, Refiner, Timed, Waves
from engine.learning.train import train
from tests.support import refining
from tests.support.learners import spins
from tests.support.refining import (
    WAVY,
    Plane,
    area,
    ends,
    fresh,
    modes,
    refined,
    sliced,
    stream,
)


class Still(nn.Module):
    """A mean that stays where it is."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(2))

    def forward(self, x, t):
        return self.shift.expand_as(x)


def nets(steps=3, seed=0):
    torch.manual_seed(seed)
    refiner = Refiner(Timed((2,), (2,), steps, 16), (2,), steps)
    return {"energy": Plane(16), "value": Timed((2,), (), steps, 16), "refiner": refiner}


def test_a_path_begins_at_noise_and_takes_its_steps():
    refiner = Refiner(Still(), (2,), 4, first=0.5, last=0.5)
    path = refiner.path(20_000, stream(0))
    assert path.shape == (5, 20_000, 2)
    spread = path.var((1, 2))
    wanted = torch.tensor([1.0 + t / 4 for t in range(5)])
    assert torch.allclose(spread, wanted, rtol=0.03)
    again = refiner.path(10_000, stream(0))
    assert torch.equal(again, path[:, :10_000])  # a particle draws the same in other company


def test_costs_are_those_of_the_formula():
    refiner = Refiner(Still(), (2,), 2, first=1.0, last=0.5)
    now, after = torch.zeros(2, 2), torch.tensor([[1.0, 1.0], [2.0, 0.0]])
    moves = Moves(now, after, torch.tensor([0, 1]))
    s = Velocities(torch.tensor([0.5, 4.0]))
    cost = SeparateValue(entropy=0.3, velocity=0.1).cost(refiner, moves, s)
    wanted = [0.1 * 1 / (2 * 0.5), 0.1 * 2 / (2 * 4.0) - 0.3 * math.log(0.5)]
    assert cost.tolist() == pytest.approx(wanted)


def test_the_price_of_entropy_falls_with_every_step():
    refiner = Refiner(Still(), (2,), 1, first=0.5, last=0.5)
    moves = Moves(torch.zeros(1, 2), torch.ones(1, 2), torch.tensor([0]))
    falling, even = (SeparateValue(entropy=0.3, velocity=0.1, fall=f) for f in (0.5, 1.0))
    s = falling.start({**nets(1), "refiner": refiner}, stream(0))
    path = torch.stack([torch.zeros(4, 2), torch.ones(4, 2)])
    for step in range(3):
        s = falling.moved(s, path)
        once = even.cost(refiner, moves, s)
        assert falling.cost(refiner, moves, s).tolist() == pytest.approx(
            (once * 0.5**step).tolist()
        )


def test_targets_follow_paths_as_far_as_they_are_told():
    """Two paths of three steps, by hand; 0: the next value alone, 1: all that came."""
    later = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    cost = torch.tensor([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])

    def told(trace):
        return SeparateValue(trace=trace).returns(later.flatten(), cost.flatten(), 3).reshape(3, 2)

    assert torch.allclose(told(0.0), later + cost)
    whole = torch.stack([5 + cost[:, 0].flip(0).cumsum(0), 6 + cost[:, 1].flip(0).cumsum(0)], 1)
    assert torch.allclose(told(1.0), whole.flip(0))
    second = 0.3 + 0.75 * 3.0 + 0.25 * 5.5
    first = 0.1 + 0.75 * 1.0 + 0.25 * second
    assert told(0.25)[:, 0].tolist() == pytest.approx([first, second, 5.5])


def test_waves_are_of_the_formula_and_kept_with_the_weights():
    torch.manual_seed(0)
    waves, x = Waves(2, 5_000), torch.randn(3, 2)
    seen = waves(x)
    assert torch.equal(seen[:, :2], x)
    for place in (0, 77):
        turn = (x * waves.way[:, place]).sum(1)
        assert torch.allclose(seen[:, 2 + place], turn.sin(), atol=1e-5)
        assert torch.allclose(seen[:, 5_002 + place], turn.cos(), atol=1e-5)
    assert float(waves.way.std()) == pytest.approx(PITCH, rel=0.03)
    first, other = Timed((2,), (), 3, 8, 4), Timed((2,), (), 3, 8, 4)
    t = torch.tensor([0, 1, 2])
    assert not torch.allclose(first(x, t), other(x, t))
    other.load_state_dict(first.state_dict())
    assert torch.equal(first(x, t), other(x, t))


def test_the_velocity_that_is_allowed_adapts():
    objective = SeparateValue(memory=0.75)
    path = torch.zeros(2, 5, 2)
    path[1] = 2.0
    first = objective.moved(Velocities(torch.zeros(1)), path)
    assert first.squared.tolist() == [4.0]
    assert objective.moved(first, 2 * path).squared.tolist() == [0.75 * 4 + 0.25 * 16]


def test_each_update_moves_its_own_network():
    """The target of the value stands, and the sampler learns without moving the energy."""
    own = nets()
    x = {"x": torch.randn(8, 2)}
    s = SeparateValue().start(own, stream(0))
    said = []
    for update in SeparateValue(visits=2).updates(own, x, s, stream(1)):
        said.append(update.trains)
        slopes = torch.autograd.grad(
            update.loss, list(own[update.trains].parameters()), allow_unused=True
        )
        assert any(g is not None and bool((g != 0).any()) for g in slopes)
        if update.trains == "value":
            assert not torch.autograd.grad(
                update.loss, list(own["energy"].parameters()), allow_unused=True
            ).count(None) < len(list(own["energy"].parameters()))
    assert said == ["energy", "value", "refiner", "refiner"]
    shared = {name: own[name] for name in ("energy", "refiner")}
    every = [u.trains for u in SharedValue().updates(shared, x, s, stream(1))]
    assert every == ["energy", "energy", "refiner"]


def test_one_step_finds_the_law_of_a_known_energy():
    """At an energy that stands, E = |x - m|^2 / (2 r), one step of Gaussian noise that need not
    move (no price of velocity) ends at m with spread (tau r)^(1/2), D tau for D dimensions."""

    class Fixed(Plane):
        def energy(self, x):
            return (x - 1.0).square().sum(1) / 2 + 0 * self.net(x)[:, 0]

    own = nets(1)
    own["energy"] = Fixed(4)
    objective = SeparateValue(entropy=0.08, velocity=0.0, square=0.0, clip=None)
    data = Drawn(lambda size, rng: {"x": rng.normal(size, 2)}, "noise")
    rates = {"refiner": Adam(1e-2), "energy": Adam(1e-9), "value": Adam(1e-3)}
    train(objective, own, data, Recipe(400, 256, optimizers=rates, average=0.98))
    end = ends(own["refiner"], 5)
    assert end.mean(0).tolist() == pytest.approx([1.0, 1.0], abs=0.05)
    # V + c: (mean of |x - m|^2) / 2 = D sigma^2 / 2, less tau ln sigma: sigma^2 = tau / D
    assert float(end.std()) == pytest.approx(math.sqrt(0.08 / 2), rel=0.15)


@pytest.mark.slow
def test_eight_gaussians_in_five_steps():
    objective = SeparateValue(fall=0.5 ** (1 / 300), square=0.4, clip=None, trace=0.9)
    energy, refiner = refined(objective, 5, 300, 0, WAVY)
    x, made = fresh(9), ends(refiner, 9)
    assert sliced(made, x) <= 0.15 and modes(made) == 8
    with torch.no_grad():
        odd = area(energy.energy(x), energy.energy(refining.even_noise(9)))
    assert 0.85 <= odd <= refining.ceiling(9) + 0.01
    assert sliced(refiner.path(10_000, stream(1))[0], x) > 1.0  # the noise it began at


@pytest.mark.slow
def test_without_entropy_modes_are_lost():
    """Planted: tau = 0."""
    _, refiner = refined(SeparateValue(entropy=0.0), 5, 250, 0)
    assert modes(ends(refiner, 9)) < 8


def test_steps_back_of_an_exact_denoiser():
    """Data are standard normal, so that the noise in y is (1 - a^2)^(1/2) y on average, and the
    spread of every step is known."""

    class Exact(nn.Module):
        def __init__(self):
            super().__init__()
            self.none = nn.Parameter(torch.zeros(()))

        def forward(self, y, k):
            return (1 - share[k]).sqrt()[:, None] * y + self.none

    spread = cosine(6)
    share = torch.tensor([1 - b for b in spread]).cumprod(0)
    refiner = diffusing(Exact(), (2,), spread)
    path = refiner.path(40_000, stream(0))
    variance, before = 1.0, [1.0, *share.tolist()]
    for t in range(6):
        k = 5 - t
        own = spread[k] * (1 - before[k]) / (1 - before[k + 1])
        variance = (1 - spread[k]) * variance + own
        assert float(path[t + 1].var()) == pytest.approx(variance, rel=0.03)
    (update,) = DenoisingDiffusion().updates(
        {"refiner": refiner}, {"x": torch.randn(4000, 2)}, (), stream(2)
    )
    assert float(update.loss.detach()) == pytest.approx(float(share.mean()), rel=0.1)


def test_wrong_networks_and_numbers_are_named():
    own = nets()
    with pytest.raises(BadQuery, match="visits: 0"):
        SeparateValue(visits=0)
    with pytest.raises(BadQuery, match="entropy: -1"):
        SeparateValue(entropy=-1)
    with pytest.raises(BadQuery, match="trace: 2"):
        SeparateValue(trace=2)
    with pytest.raises(BadQuery, match="fall: 0"):
        SeparateValue(fall=0)
    with pytest.raises(BadQuery, match="steps: 0"):
        Refiner(Still(), (2,), 0)
    with pytest.raises(BadQuery, match="first: nan"):
        Refiner(Still(), (2,), 1, math.nan)
    with pytest.raises(BadQuery, match="nets.refiner"):
        SeparateValue().start({"energy": own["energy"]}, stream(0))
    with pytest.raises(BadQuery, match="makes states of shape"):
        SeparateValue().start({**own, "refiner": Refiner(Still(), (3,), 1)}, stream(0))
    with pytest.raises(BadQuery, match="one variable of real numbers"):
        SeparateValue().start({**own, "energy": spins(3, 0)}, stream(0))
    with pytest.raises(BadQuery, match="spread"):
        diffusing(Still(), (2,), [0.5, 1.0])
    with pytest.raises(BadQuery, match="make it by `diffusing`"):
        DenoisingDiffusion().start(own, stream(0))


def test_area_is_the_chance_of_being_above():
    usual, odd = torch.tensor([0.0, 1.0, 1.0]), torch.tensor([1.0, 2.0])
    pairs = [(o > u) + 0.5 * (o == u) for u in usual.tolist() for o in odd.tolist()]
    assert area(usual, odd) == pytest.approx(sum(pairs) / 6)
    assert sliced(fresh(1), fresh(2)) < 0.06 < sliced(fresh(1), fresh(2) + 0.5)
