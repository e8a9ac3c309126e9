"""The 2-D sets of the benchmark: encoding, densities that sum to one, the exact 16-bit twin."""

import pytest
import torch

from tests.support import planar
from tests.support.learners import stream


@pytest.mark.parametrize("name", planar.SETS)
def test_bits_come_back(name):
    one = planar.Planar(name)
    x = planar.points(name, 500, stream(5))
    bits = one.encode(x)
    cells = one.cells(bits)
    assert torch.equal(one.of_cells(cells), bits)
    assert ((cells.double() + 0.5) / one.scale - x).abs().max() < 1.01 / one.scale


def test_a_density_is_that_of_the_points():
    """It sums to one, and cells hold the points it foretells."""
    edge = torch.linspace(-4.5, 4.5, 61, dtype=torch.float64)
    middle = (edge[1:] + edge[:-1]) / 2
    p = planar.log_density("moons", torch.cartesian_prod(middle, middle)).exp() * 0.15**2
    assert abs(float(p.sum()) - 1) < 1e-3
    x = planar.points("moons", 50_000, stream(1))
    place = ((x + 4.5) / 0.15).long().clamp(0, 59)
    seen = torch.bincount(place[:, 0] * 60 + place[:, 1], minlength=3600) / 50_000
    assert (seen - p).abs().sum() < 0.15  # of 2; sampling alone gives about 0.1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_twin_of_16_bits_is_learned():
    assert planar.twin(0) <= 0.05
