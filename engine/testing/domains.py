"""The contract of a domain."""

import torch
from torch import Tensor

from engine.domain import Domain
from engine.random import Stream


def check_domain(domain: Domain, *, samples: int = 16, seed: int = 0) -> None:
    """All laws of a domain: sampling, projecting, deciding, encoding, narrowing and its rows."""
    name = type(domain).__name__
    keys = torch.arange(domain.rows) + seed
    x = domain.sample(samples, Stream(seed, keys))
    wanted = (domain.rows * samples, *domain.event)
    assert tuple(x.shape) == wanted, f"{name}: sample gives {tuple(x.shape)}, not {wanted}"
    assert len(domain.fingerprints) == domain.rows, f"{name}: one fingerprint a row"
    wild = Stream(seed + 1, keys).normal(samples, *domain.event) * 3
    for what, y in (
        ("a sample", x),
        ("project", domain.project(wild)),
        ("decide", domain.decide(wild)),
    ):
        assert torch.allclose(domain.project(y), y, atol=1e-5), f"{name}: {what} is not inside"
    inside = domain.project(wild)
    near, far = ((wild - y).reshape(len(x), -1).norm(dim=-1) for y in (inside, x))
    assert (near <= far + 1e-4).all(), f"{name}: a sample is nearer than the projection"
    decided = domain.decide(x)
    assert torch.equal(domain.decide(decided), decided), f"{name}: decide is not settled"
    for row in range(domain.rows):
        _check_row(domain, row, decided[row * samples])
    twice = domain.join([domain])
    assert twice.rows == 2 * domain.rows, f"{name}: join has {twice.rows} rows"
    back = twice.select(range(domain.rows))
    assert back.fingerprints == domain.fingerprints, f"{name}: select does not undo join"


def _check_row(domain: Domain, row: int, state: Tensor) -> None:
    """Narrowing one row to a value, and not at all."""
    name, alone = type(domain).__name__, domain.select([row])
    (value,) = domain.decode(state[None])
    coded = domain.encode(value).to(state.dtype)
    assert torch.allclose(coded, state, atol=1e-5), f"{name}: encode does not undo decode"
    assert domain.decode(domain.encode(value)[None]) == [value], (
        f"{name}: decode does not undo encode"
    )
    assert alone.narrow([None]).fingerprints == alone.fingerprints, f"{name}: None narrows"
    given = alone.narrow([value])
    moved = given.decide(given.sample(3, Stream(5, torch.tensor([5]))))
    assert torch.allclose(moved, state.expand_as(moved).to(moved.dtype), atol=1e-5), (
        f"{name}: a sample of the narrowed domain has another value than the given {value!r}"
    )
