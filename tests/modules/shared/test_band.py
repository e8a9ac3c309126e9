"""The band of any classifier: formulas against plain numpy, and what lies far outside."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadQuery
from modules.shared.band import (
    LEAST,
    band_of,
    fit_band,
    fit_evidence,
    fit_gaussians,
    fit_nearest,
    limit_of,
    middle,
)


def drawn(seed: int, n: int = 60, d: int = 5, classes: int = 3):
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    h = torch.randn(n, d, generator=rng) + 4 * torch.nn.functional.one_hot(labels, d)
    return h, 6 * h[:, :classes], labels


def plain_evidence(h, logits, labels, gamma):
    """The formulas of the method, in numpy and float64, one class after the other."""
    h, logits, labels = (x.numpy().astype(float) for x in (h, logits, labels))
    out = np.zeros_like(logits)
    for y in range(logits.shape[1]):
        own = h[labels == y]
        mean, variance = own.mean(0), own.var(0)
        d2 = ((h - mean) ** 2 / variance).sum(1)
        n, at, column = len(h), np.sort(d2), np.sort(logits[:, y])
        low, high = int(0.025 * n), int(0.975 * n) - 1
        share = (d2 - at[low]) / (at[high] - at[low])
        r = share * (column[high] - column[low]) + column[low]
        out[:, y] = logits[:, y] - gamma * r
    return out


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.5])
def test_log_evidence_is_that_of_plain_numpy(gamma: float) -> None:
    h, logits, labels = drawn(0)
    evidence = fit_evidence(h, logits, labels, gamma=gamma)
    wanted = plain_evidence(h, logits, labels, gamma)
    np.testing.assert_allclose(evidence.log_evidence(h, logits), wanted, rtol=1e-6, atol=1e-6)
    energy = evidence.energy(h, logits)
    np.testing.assert_allclose(energy, -np.log(np.exp(wanted).sum(1)), rtol=1e-6, atol=1e-6)


def test_far_along_a_ray_nothing_is_known_but_to_logits_alone_everything_is() -> None:
    h, logits, labels = drawn(1)
    band, alone = fit_band(h, logits, labels), fit_band(h, logits, labels, gamma=0.0)
    far = h[:1] * torch.tensor([[10.0], [100.0], [1000.0]])  # of a linear head: logits grow
    energies = band.evidence.energy(far, 6 * far[:, :3])
    assert (energies.diff() > 0).all() and not band.inside(far, 6 * far[:, :3]).any()
    assert alone.inside(far, 6 * far[:, :3]).all()
    assert band.inside(h, logits).double().mean() >= 0.95


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=60), st.sampled_from([0.5, 0.95, 1.0]))
@settings(max_examples=50, deadline=None)
def test_the_limit_is_the_least_that_so_many_lie_below(values: list[int], share: float) -> None:
    x = torch.tensor(values).double()
    limit = limit_of(x, share)
    assert (x <= limit).double().mean() >= share - 1e-12
    assert (x < limit).double().mean() < share


def test_dead_units_empty_classes_and_single_examples_stay_finite() -> None:
    h, logits, labels = drawn(2)
    h[:, 0] = 0.0  # a unit that never fires
    labels[labels == 2] = 0
    labels[0] = 2  # one example
    logits = torch.cat([logits, logits[:, :1]], 1)  # and a class without any
    gaussians = fit_gaussians(h, labels, 4)
    assert (gaussians.variance > LEAST).all()
    torch.testing.assert_close(gaussians.mean[3], h.double().mean(0))
    band = fit_band(h, logits, labels)
    assert band.evidence.log_evidence(h, logits).isfinite().all()
    same = fit_band(h[:1].expand(4, -1), logits[:1].expand(4, -1), labels[:4] * 0)
    assert same.inside(h[:1], logits[:1]).all()  # intervals without a width


def test_a_file_keeps_the_band() -> None:
    h, logits, labels = drawn(3)
    band = fit_band(h[:40], logits[:40], labels[:40], held=(h[40:], logits[40:]))
    again = band_of(band.tensors())
    assert again.limit == band.limit
    assert torch.equal(again.evidence.energy(h, logits), band.evidence.energy(h, logits))


def test_middle_of_few() -> None:
    assert middle(torch.tensor([[3.0], [1.0], [2.0]])).reshape(-1).tolist() == [1.0, 2.0]
    assert middle(torch.tensor([[3.0]])).reshape(-1).tolist() == [3.0, 3.0]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"logits": torch.zeros(59, 3)}, "logits"),
        ({"embeddings": torch.full((60, 5), torch.nan)}, "embeddings"),
        ({"labels": torch.full((60,), 3)}, "labels"),
        ({"labelled": torch.zeros(60, dtype=torch.bool)}, "labelled"),
        ({"gamma": -1.0}, "gamma"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict, path: str) -> None:
    h, logits, labels = drawn(0)
    given = {"embeddings": h, "logits": logits, "labels": labels, "labelled": None, "gamma": 1.0}
    given |= change
    with pytest.raises(BadQuery) as told:
        fit_evidence(*given.values())
    assert told.value.mistakes[0].path == path


def test_outputs_of_another_network_are_refused() -> None:
    h, logits, labels = drawn(0)
    band = fit_band(h, logits, labels)
    with pytest.raises(BadQuery, match="fitted to"):
        band.inside(h[:, :4], logits)


def test_nearest_is_that_of_plain_numpy() -> None:
    """The distance by the pooled covariance, whose smallest spreads are lifted a little."""
    h, _, labels = drawn(7)
    away = fit_nearest(h, labels, 3).away(h)
    x, y = h.numpy().astype(float), labels.numpy()
    means = np.stack([x[y == k].mean(0) for k in range(3)])
    rest = x - means[y]
    spread = rest.T @ rest / len(x)
    spread += 1e-3 * np.linalg.eigvalsh(spread).mean() * np.eye(len(spread))
    inverse = np.linalg.inv(spread)
    each = [[(v - m) @ inverse @ (v - m) for m in means] for v in x]
    assert away.numpy() == pytest.approx(np.min(each, 1), rel=1e-4)
    assert float(fit_nearest(h, labels, 3).away(100 * h).min()) > float(away.max())
