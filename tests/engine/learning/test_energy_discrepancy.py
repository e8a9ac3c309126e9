"""Channels against matrix exponentials, energy discrepancy against its identities."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import expm
from torch import Tensor, nn

from engine.domain import Finite, Real, Variable
from engine.energy import Term
from engine.errors import BadQuery
from engine.learning.corruptions import (
    Cyclic,
    Gaussian,
    Grid,
    Neighbour,
    Ordinal,
    Product,
    Uniform,
    bernoulli,
    cyclic_heat,
    ordinal_heat,
    uniform_heat,
)
from engine.learning.objectives.energy_discrepancy import (
    EnergyDiscrepancy,
    discrepancy,
    energy_rises,
    perturb,
)
from engine.learning.objectives.pseudo_likelihood import single_site_losses
from tests.support.learners import every_state, stream


def rates(kind: str, size: int) -> Tensor:
    """The rate matrices, written down plainly."""
    r = torch.zeros(size, size, dtype=torch.float64)
    for a in range(size):
        for b in range(size):
            if kind == "uniform":
                r[a, b] += 1 / size
            elif kind == "cyclic":
                r[a, b] += (b == (a + 1) % size) + (b == (a - 1) % size)
            else:
                r[a, b] += abs(a - b) == 1
    return r - torch.diag(r.sum(1))


def exponential(rates: Tensor) -> Tensor:
    """scipy's: torch's is 4e-11 off at some small times."""
    return torch.from_numpy(expm(rates.numpy()))


HEAT = {"uniform": uniform_heat, "cyclic": cyclic_heat, "ordinal": ordinal_heat}


@given(st.sampled_from(list(HEAT)), st.integers(2, 12), st.floats(0.001, 5))
def test_kernels_are_matrix_exponentials(kind, size, time):
    matrix = HEAT[kind](size, time)
    assert torch.allclose(matrix, exponential(time * rates(kind, size)), atol=1e-12)
    assert torch.allclose(matrix.sum(1), torch.ones(size, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(matrix, matrix.T, atol=1e-12)


def test_kernels_give_the_published_vectors():
    def near(row, *expected):
        assert torch.allclose(row, torch.tensor(expected, dtype=torch.float64), atol=1e-6)

    near(cyclic_heat(5, 0.3)[0], 0.599350, 0.172354, 0.027972, 0.027972, 0.172354)
    near(ordinal_heat(5, 0.3)[0], 0.771492, 0.197610, 0.027972, 0.002715, 0.000212)
    near(ordinal_heat(5, 0.3)[2], 0.027972, 0.172354, 0.599350, 0.172354, 0.027972)
    near(uniform_heat(5, 0.3)[0], 0.792655, *[0.051836] * 4)
    for size, cyclic, ordinal in ((4, 0.858, 0.926), (16, 0.266, 0.472)):  # time 0.005, in lengths
        assert abs(Cyclic(("x",), 0.005).matrix(size)[0, 0] - cyclic) < 1e-3
        assert abs(Ordinal(("x",), 0.005).matrix(size)[0, 0] - ordinal) < 1e-3


@pytest.mark.parametrize(
    "channel",
    [Uniform(("x",), 0.4), Cyclic(("x",), 0.01), Ordinal(("x",), 0.02), bernoulli(("x",), 0.2)],
    ids=str,
)
def test_draws_follow_the_kernel(channel):
    size = 2 if channel == bernoulli(("x",), 0.2) else 5
    place = torch.arange(size).repeat(4000)
    x = torch.eye(size)[place][:, None]  # (B, 1, k)
    y = channel.back({"x": x}, 5, stream(1))["x"]
    counts = torch.zeros(size, size, dtype=torch.float64)
    counts.index_put_(
        (place.repeat_interleave(5), y[:, 0].argmax(-1)),
        torch.ones(len(y)).double(),
        accumulate=True,
    )
    expected = channel.matrix(size)
    error = (counts / 20_000 - expected).abs()
    assert (error < 4.5 * (expected * (1 - expected) / 20_000).sqrt() + 1e-9).all()


def test_bernoulli_is_the_flip_of_each_bit():
    assert math.isclose(float(bernoulli(("x",), 0.1).matrix(2)[0, 1]), 0.1)


def test_grid_erases_one_site_and_neighbour_changes_one():
    x = {"a": torch.eye(3)[torch.randint(3, (200, 4))], "b": torch.eye(5)[torch.randint(5, (200,))]}
    y = Grid(("a", "b")).corrupt(x, stream())
    erased = (y["a"].sum(-1) == 0).sum(1) + (y["b"].sum(-1) == 0)
    assert (erased == 1).all()
    back = Grid(("a", "b")).back(y, 7, stream())
    changed = sum(
        (back[n] != x[n].repeat_interleave(7, 0)).any(-1).reshape(1400, -1).sum(1) for n in x
    )
    assert changed.max() == 1 and (back["a"].sum(-1) == 1).all()
    y = Neighbour(("a", "b")).corrupt(x, stream())
    assert (sum((y[n] != x[n]).any(-1).reshape(200, -1).sum(1) for n in x) == 1).all()


# ---------------------------------------------------------------- the objective


class Chart(Term):
    """E = the entry of one table over all sites."""

    affine = False

    def __init__(self, x: Variable, costs: Tensor):
        super().__init__(x)
        self.costs = nn.Parameter(costs.clone())

    def energy(self, x: Tensor) -> Tensor:  # (B, n, k) -> (B,)
        n, k = x.shape[1:]
        power = k ** torch.arange(n - 1, -1, -1)
        return self.costs[(x.argmax(-1) * power).sum(-1)]


def chart(n: int, k: int, seed: int) -> Chart:
    g = torch.Generator().manual_seed(seed)
    x = Variable("x", Finite(tuple(range(k)), (n,)))
    return Chart(x, torch.randn(k**n, generator=g, dtype=torch.float64))


def entropy(p: Tensor) -> Tensor:
    return -(p * p.log()).sum()


def divergence(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p.log() - q.log())).sum()


def exact_discrepancy(p: Tensor, u: Tensor, q: Tensor) -> Tensor:
    """E_p[U] - E_p E_q[U_q] by enumeration."""
    contrast = -(q @ torch.exp(-u)).log()
    return (p * u).sum() - p @ q @ contrast


@given(st.sampled_from(list(HEAT)), st.floats(0.05, 3), st.integers(0, 5))
def test_energy_discrepancy_identity(kind, time, seed):
    g = torch.Generator().manual_seed(seed)
    p = torch.rand(25, generator=g, dtype=torch.float64).softmax(0)
    u = torch.randn(25, generator=g, dtype=torch.float64)
    one = HEAT[kind](5, time)
    q = torch.kron(one, one)
    model = (-u).softmax(0)
    expected = divergence(p, model) - divergence(p @ q, model @ q) + entropy(p) - entropy(p @ q)
    assert torch.allclose(exact_discrepancy(p, u, q), expected, atol=1e-12)
    best = exact_discrepancy(p, -p.log() + 3, q)
    assert exact_discrepancy(p, u, q) > best


def test_the_estimate_approaches_the_exact_discrepancy():
    """Up to its own bias: with w = 0 and many negatives the loss is the discrepancy."""
    term, channel = chart(2, 5, 1), Uniform(("x",), 0.5)
    g = torch.Generator().manual_seed(2)
    p = torch.rand(25, generator=g, dtype=torch.float64).softmax(0)
    states = every_state(2, 5)
    x = {"x": states[torch.multinomial(p, 4000, replacement=True, generator=g)]}
    with torch.no_grad():
        rise = energy_rises(term, x, perturb(channel, x, 500, stream()))
    each = rise.logsumexp(1) - math.log(500)
    one = channel.matrix(5)
    exact = exact_discrepancy(p, term.costs.detach(), torch.kron(one, one))
    assert abs(each.mean() - exact) < 3 * each.std() / math.sqrt(len(each)) + 1 / 500
    assert torch.isclose(discrepancy(rise, 0.0), each.mean())


def test_grid_discrepancy_is_stochastic_pseudo_likelihood():
    term = chart(3, 4, 3)
    x = {"x": every_state(3, 4)}
    channel = Grid(("x",), every=True)
    y = channel.corrupt(x, stream(4))
    rise = energy_rises(term, x, channel.back(y, 4, stream()))
    erased = (y["x"].sum(-1) == 0).nonzero()[:, 1]  # (B,)
    losses = single_site_losses(term, x, None, stream())
    expected = losses.gather(1, erased[:, None])[:, 0] - math.log(4)
    assert torch.allclose(rise.logsumexp(1) - math.log(4), expected, atol=1e-12)


def test_negatives_of_one_example_share_their_corrupted_state():
    """Independent pairs (y, x) would be another objective, and a wrong one."""
    x = {"x": torch.zeros(1, 200)}
    back = perturb(Gaussian(("x",), 1.0), x, 4000, stream())["x"]
    shared = back.mean(0)  # y itself
    assert 0.8 < shared.std() < 1.2  # independent pairs would average to 0
    assert 0.95 < (back - shared).std() < 1.05


def test_a_channel_must_cover_every_variable():
    x, y = Variable("x", Finite((0, 1))), Variable("y", Real())

    class Both(Term):
        def energy(self, x, y):
            return x[:, 1] * y

    nets = {"energy": Both(x, y)}
    with pytest.raises(BadQuery, match="leaves \\['y'\\] alone"):
        EnergyDiscrepancy(Uniform(("x",), 0.1)).start(nets, stream())
    whole = Product((Uniform(("x",), 0.1), Gaussian(("y",), 0.1)))
    assert EnergyDiscrepancy(whole).start(nets, stream()) == ()
    with pytest.raises(BadQuery, match="share a variable"):
        Product((Uniform(("x",), 0.1), Grid(("x",))))
