"""The contract of a domain."""

import torch
from torch import Tensor

from engine.domain import Domain, Finite
from engine.errors import BadQuery
from engine.random import Stream
from engine.testing.elsewhere import elsewhere

OUTSIDE = 1e-3  # how far `project` moves what surely lies outside
TRIED = 8  # such points that are given as evidence


def check_domain(domain: Domain, *, samples: int = 16, seed: int = 0) -> None:
    """All laws of a domain: sampling, projecting, deciding, encoding, narrowing and its rows."""
    name = type(domain).__name__
    keys = torch.arange(domain.rows) + seed
    x = domain.sample(samples, Stream(seed, keys))
    _check_decided(domain, samples, "a sample", x)
    wild = Stream(seed + 1, keys).normal(samples, *domain.event) * 3
    decided = domain.decide(wild)
    _check_decided(domain, samples, "decide", decided)
    assert len(domain.fingerprints) == domain.rows, f"{name}: one fingerprint a row"
    drawn = _relaxed(domain, x)
    for what, y in (
        ("a sample", drawn),
        ("project", domain.project(wild)),
        ("decide", _relaxed(domain, decided)),
    ):
        assert torch.allclose(domain.project(y), y, atol=1e-5), f"{name}: {what} is not inside"
    inside = domain.project(wild)
    near, far = ((wild - y).reshape(len(x), -1).norm(dim=-1) for y in (inside, drawn))
    assert (near <= far + 1e-4).all(), f"{name}: a sample is nearer than the projection"
    for y in (x, decided):
        assert torch.equal(domain.decide(y), y), f"{name}: decide is not settled"
    if isinstance(domain, Finite):
        _check_finite(domain, samples, x)
    else:
        _check_outside(domain, wild, inside)
    _check_elsewhere(domain, x, wild, keys, seed)
    for row in range(domain.rows):
        _check_row(domain, row, x[row * samples])
    twice = domain.join([domain])
    assert twice.rows == 2 * domain.rows, f"{name}: join has {twice.rows} rows"
    back = twice.select(range(domain.rows))
    assert back.fingerprints == domain.fingerprints, f"{name}: select does not undo join"


def _check_elsewhere(domain: Domain, x: Tensor, wild: Tensor, keys: Tensor, seed: int) -> None:
    """On another device it draws, projects and decides the same, and tells the same of itself."""
    name = type(domain).__name__
    with elsewhere() as device:
        moved = domain.to(device)
        assert moved.device == device, f"{name}: lies on {moved.device} after `to`"
        assert moved.to(device) is moved, f"{name}: `to` copies a domain that is there"
        drawn = moved.sample(len(x) // domain.rows, Stream(seed, keys.to(device)))
        told = (drawn, moved.project(wild.to(device)), moved.decide(wild.to(device)))
        for what, there in zip(("sample", "project", "decide"), told, strict=True):
            assert there.device == device, f"{name}: {what} gives a tensor on {there.device}"
        assert moved.fingerprints == domain.fingerprints, f"{name}: `to` changes what is allowed"
        assert moved.decode(drawn) == domain.decode(x), f"{name}: decode differs by device"
        back = moved.join([moved]).select(range(domain.rows)).to(domain.device)
        here = [t.cpu() for t in told]
    assert back.fingerprints == domain.fingerprints, f"{name}: rows differ by device"
    for there, wanted in zip(here, (x, domain.project(wild), domain.decide(wild)), strict=True):
        assert torch.allclose(there, wanted, atol=1e-6), f"{name}: numbers differ by device"


def _relaxed(domain: Domain, x: Tensor) -> Tensor:
    """A decided state as a relaxed one."""
    return domain.hot(x) if isinstance(domain, Finite) else x


def _check_decided(domain: Domain, samples: int, what: str, x: Tensor) -> None:
    """A number for each site, or the place of a value."""
    name, wanted = type(domain).__name__, (domain.rows * samples, *domain.shape)
    assert tuple(x.shape) == wanted, f"{name}: {what} has shape {tuple(x.shape)}, not {wanted}"
    if isinstance(domain, Finite):
        assert x.dtype == domain.dtype, f"{name}: {what} is {x.dtype}, not {domain.dtype}"


def _check_finite(domain: Finite, samples: int, x: Tensor) -> None:
    """Places and distributions say the same; places that are ruled out go to the first allowed."""
    name, count = type(domain).__name__, len(domain.values)
    assert torch.equal(domain.decide(domain.hot(x)), x), f"{name}: decide does not undo hot"
    allowed = domain.allowed.repeat_interleave(samples, 0)
    for place in range(min(count, 64)):
        wild = torch.full_like(x, place)
        first = allowed.int().argmax(-1)
        wanted = torch.where(allowed[..., place], place, first).to(x.dtype)
        assert torch.equal(domain.decide(wild), wanted), f"{name}: decide moves place {place} wrong"
        assert torch.equal(domain.allows(wild), allowed[..., place]), f"{name}: allows is wrong"


def _check_outside(domain: Domain, wild: Tensor, inside: Tensor) -> None:
    """What `project` would move is no evidence: `narrow` refuses it."""
    per = len(wild) // domain.rows
    moved = (wild - inside).reshape(len(wild), -1).norm(dim=-1) > OUTSIDE
    for place in moved.nonzero()[:TRIED, 0].tolist():
        (value,) = domain.decode(wild[place : place + 1])
        try:
            domain.select([place // per]).narrow([value])
        except BadQuery:
            continue
        raise AssertionError(
            f"{type(domain).__name__}: narrow takes {value!r}, which project moves; "
            "raise BadQuery there"
        )


def _check_row(domain: Domain, row: int, state: Tensor) -> None:
    """Narrowing one row to a value, and not at all."""
    name, alone = type(domain).__name__, domain.select([row])
    (value,) = domain.decode(state[None])
    coded = domain.encode(value)
    assert coded.dtype == state.dtype and torch.equal(coded, state), (
        f"{name}: encode does not undo decode"
    )
    assert domain.decode(coded[None]) == [value], f"{name}: decode does not undo encode"
    assert alone.narrow([None]).fingerprints == alone.fingerprints, f"{name}: None narrows"
    given = alone.narrow([value])
    moved = given.decide(given.sample(3, Stream(5, torch.tensor([5]))))
    assert torch.equal(moved, state.expand_as(moved)), (
        f"{name}: a sample of the narrowed domain has another value than the given {value!r}"
    )
