"""Randomness: published answers, two backends with the same bits, no dependence on the batch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.kernels.philox import fill
from engine.random import Stream, philox

KNOWN = [  # Random123 1.14, tests/kat_vectors, philox4x32 10
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip
KEYS = torch.tensor([0, -1, 1 << 62, -(1 << 63), 12345, -987654321, 7])


def words(text: str) -> torch.Tensor:
    return torch.tensor([int(word, 16) for word in text.split()])


def stream(seed: int = 3, step: int = 5) -> Stream:
    return Stream(seed, KEYS, step)


@pytest.mark.parametrize(("counter", "key", "out"), KNOWN)
def test_known_answers(counter: str, key: str, out: str) -> None:
    assert philox(words(counter), words(key)).tolist() == words(out).tolist()


@given(
    seed=st.integers(-(2**70), 2**70),
    key=st.integers(-(2**63), 2**63 - 1),
    step=st.integers(0, 2**32 - 1),
    lane=st.integers(0, 2**12),
)
def test_numba_draws_the_same_bits(seed: int, key: int, step: int, lane: int) -> None:
    rng = Stream(seed, torch.tensor([key]), step).fork(lane)
    out = np.zeros((3, 12), dtype=np.int64)
    steps = np.array([step], dtype=np.uint64)
    fill(out, rng.words.numpy().astype(np.uint64), 3, steps, rng.lane, 0)
    assert (out == rng.plain_bits(3, 3).numpy()).all()
    assert (out[:, :10] == rng.bits(3, 10).numpy()).all()
    assert (out[:, 4:11] == rng.bits(3, 7, 4).numpy()).all()
    assert (out[:, 8:] == rng.plain_bits(3, 1, 2).numpy()).all()
    with pytest.MonkeyPatch.context() as patch:  # as before numba is loaded
        patch.setattr("engine.random.worth", lambda steps: False)
        assert (out[:, :10] == rng.bits(3, 10).numpy()).all()


@pytest.mark.parametrize("draw", ["uniform", "normal"])
def test_a_row_draws_the_same_alone_and_in_a_batch(draw: str) -> None:
    whole = getattr(stream(), draw)(4, 3, 2).unflatten(0, (7, 4))
    for row in range(7):
        alone = getattr(stream().select(torch.tensor([row])), draw)(4, 3, 2)
        assert torch.equal(alone, whole[row])
    some = getattr(stream().select(torch.tensor([5, 2])), draw)(4, 3, 2).unflatten(0, (2, 4))
    assert torch.equal(some, whole[[5, 2]])


@given(
    seeds=st.lists(st.integers(-(2**70), 2**70), min_size=1, max_size=4),
    steps=st.lists(st.integers(0, 2**32 - 1), min_size=4, max_size=4),
    lane=st.integers(0, 50),
)
def test_rows_that_join_draw_as_alone(seeds: list[int], steps: list[int], lane: int) -> None:
    """Streams of other seeds, at other steps, side by side."""
    alone = [
        Stream(seed, torch.tensor([7 * k, -k]), step).fork(lane)
        for k, (seed, step) in enumerate(zip(seeds, steps, strict=False))
    ]
    both = Stream.join([Stream(s.seed, s.keys, s.step) for s in alone]).fork(lane)
    wanted = torch.cat([s.bits(2, 6) for s in alone])
    assert torch.equal(both.bits(2, 6), wanted)
    assert torch.equal(both.plain_bits(2, 2)[:, :6], wanted)
    last = torch.tensor([2 * len(alone) - 1])
    assert torch.equal(both.select(last).bits(2, 6), wanted[-2:])


def test_fewer_particles_or_sites_are_a_part_of_more() -> None:
    whole = stream().bits(8, 21).unflatten(0, (7, 8))
    assert torch.equal(stream().bits(3, 9).unflatten(0, (7, 3)), whole[:, :3, :9])


def test_uses_differ() -> None:
    rng = stream()
    others = [rng.at(6), rng.fork(0), rng.fork(1), rng.fork(0).fork(0), rng.fork(31),
              Stream(4, KEYS, 5)]  # fmt: skip
    drawn = [tuple(r.bits(2, 4).flatten().tolist()) for r in (rng, *others)]
    assert len(set(drawn)) == len(drawn)


def test_forks_do_not_meet() -> None:
    rng = stream()
    lanes = [rng.lane] + [rng.fork(k).lane for k in range(200)]
    lanes += [rng.fork(a).fork(b).lane for a in range(200) for b in range(8)]
    assert len(set(lanes)) == len(lanes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniform_moments_and_open_interval(dtype: torch.dtype) -> None:
    u = stream().uniform(1000, 60, dtype=dtype).double()  # 420,000 numbers
    assert u.min() > 0 and u.max() < 1
    assert abs(u.mean() - 1 / 2) < 0.002
    assert abs(u.var() - 1 / 12) < 0.001
    together = u[:, 1:] * u[:, :-1]
    assert abs(together.mean() - 1 / 4) < 0.002  # neighbours are independent


def test_uniform_ends_stay_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The greatest word rounds to 1 in single precision unless its last bits are dropped."""
    ends = torch.tensor([[0, 2**32 - 1]])
    monkeypatch.setattr(Stream, "bits", lambda *_: ends)
    for dtype in (torch.float32, torch.float64):
        u = stream().uniform(1, 2, dtype=dtype)
        assert u.min() > 0 and u.max() < 1


def test_normal_moments() -> None:
    z = stream().normal(1000, 60).double()
    assert abs(z.mean()) < 0.006
    assert abs(z.var() - 1) < 0.01
    assert abs((z**3).mean()) < 0.02
    assert abs((z**4).mean() - 3) < 0.06


def test_integers_cover_the_range() -> None:
    k = stream().integers(1000, 10, high=7)
    assert k.min() == 0 and k.max() == 6
    assert (torch.bincount(k.flatten(), minlength=7) / k.numel() - 1 / 7).abs().max() < 0.005


def test_what_is_no_seed_is_told() -> None:
    for seed in ("a", 1.5, None):
        with pytest.raises(TypeError, match="is no whole number; give one, such as 0"):
            Stream(seed, torch.tensor([1])).bits(1, 1)
