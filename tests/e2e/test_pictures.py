"""Energies of pictures by a host in a process of its own: what they say, propose and answer is, row
by row, what they do in this process; a host that dies is told of."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine import Real, Stream, Variable
from engine.errors import BadQuery, ModuleUnavailable
from modules.catalogue import Catalogue
from modules.image._generated.pictures import pictures_of
from services.client import Client
from services.query import query_of
from services.reasoner.reason import Reasoner
from services.remote.kinds import RemoteKinds
from services.server.app import create_server
from services.settings import RemotePolicy
from tests.support.fuzz.loop import Loop
from tests.support.serving import Process

NAMES = ("image.hat", "image.taught", "image.diffusion")
PARAMS = {"weights": "digits8.safetensors"}
DOORS = ("in process", "hosted")
PICTURE = Variable("picture", Real((8, 8), 0.0, 1.0))


@pytest.fixture(scope="module")
def host() -> Iterator[Process]:
    made = Process("host", *NAMES, "--listen", "127.0.0.1:0")
    yield made
    made.end()


@pytest.fixture(scope="module")
def sources(host: Process) -> Iterator[dict[str, Any]]:
    here = Catalogue(entry_points=False)
    there = RemoteKinds(here, {name: [host.address] for name in NAMES})
    yield dict(zip(DOORS, (here, there), strict=True))
    there.close()


@pytest.fixture(scope="module")
def clients(loop: Loop, sources: dict[str, Any]) -> Iterator[dict[str, Client]]:
    every = {door: loop.do(create_server(Reasoner(kinds))) for door, kinds in sources.items()}
    made = {door: Client(f"127.0.0.1:{service.port}") for door, service in every.items()}
    yield made
    for client in made.values():
        client.close()
    for service in every.values():
        loop.do(service.drain(0))


@pytest.fixture(scope="module")
def held() -> torch.Tensor:
    """Digits that the shipped weights have not learned from."""
    return pictures_of(Path("digits"), 0).held[:6].double()


def half(x: torch.Tensor) -> list[Any]:
    return [[*row[:4], *[None] * 4] for row in x.tolist()]


def query(kind: str, evidence: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    return {
        "variables": {"picture": {"low": 0, "high": 1, "shape": [8, 8]}},
        "terms": [{"kind": kind, "scope": ["picture"], "weight": 1, "params": PARAMS}],
        "evidence": evidence,
        "budget": {"steps": 6, "particles": 2, "seed": 4},
        **fields,
    }


@pytest.mark.parametrize("kind", NAMES)
def test_a_hosted_energy_and_its_slope_are_those_of_this_process(sources, kind, held) -> None:
    told = []
    for door in DOORS:
        term = sources[door].kind(kind).build([PICTURE], PARAMS)
        x = held.clone().requires_grad_()
        energy = term({"picture": x}).double()
        (slope,) = torch.autograd.grad(energy.sum(), x)
        told.append((energy.detach(), slope, [term({"picture": one[None]}).item() for one in held]))
    (energy, slope, alone), (other, its, by_itself) = told
    assert torch.equal(energy, other) and torch.equal(slope, its) and alone == by_itself
    assert alone == pytest.approx(energy.tolist(), rel=1e-5, abs=1e-4)  # float32 of a batch


@pytest.mark.parametrize("kind", NAMES)
def test_a_host_proposes_what_is_proposed_here(sources, kind, held) -> None:
    """To the bit; a row has the same proposals in any company."""
    domain, keys = PICTURE.domain.narrow([half(held[0]), None]), torch.tensor([5, 6])
    made = []
    for door in DOORS:
        term = sources[door].kind(kind).build([PICTURE], PARAMS)
        (x,) = term.propose(3, Stream(2, keys), None, domain)
        made.append(x)
    here, there = made
    (alone,) = term.propose(3, Stream(2, keys[1:]), None, domain.select([1]))
    assert torch.equal(here, there) and torch.equal(there[3:], alone)
    assert torch.allclose(there[:3, :, :4], held[:1, :, :4].expand(3, 8, 4), atol=1e-6)


@pytest.mark.parametrize("kind", NAMES)
def test_answers_are_the_same_at_both_doors_alone_and_in_a_batch(clients, kind, held) -> None:
    evidence = [{"picture": half(held[0])}, {"picture": held[1].tolist()}, {}]
    here, there = (clients[door].solve(query(kind, evidence)) for door in DOORS)
    for one, other in zip(here, there, strict=True):
        assert (one.status, one.values, one.flags) == (other.status, other.values, other.flags)
        assert one.energy == other.energy
    for row, answer in zip(evidence, there, strict=True):
        (alone,) = clients["hosted"].solve(query(kind, [row]))
        assert alone.energy == pytest.approx(answer.energy, abs=1e-3)
        assert np.allclose(alone.values["picture"], answer.values["picture"], atol=1e-3)


@pytest.mark.parametrize("door", DOORS)
def test_pictures_are_given_as_bytes(clients, door, held) -> None:
    """float32 arrays and lists of the same numbers ask the same question."""
    seen = (
        held[:2] + 0.1 * torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(0))
    ).float()
    beside = {"kind": "image.observation", "scope": ["seen", "picture"], "params": {"noise": 0.1}}
    told = []
    for rows in (seen.numpy(), seen.tolist()):
        asked = query("image.hat", [{"seen": x} for x in rows], inputs={"seen": {"shape": [8, 8]}})
        asked["terms"].append(beside)
        told.append([(a.status, a.values, a.energy) for a in clients[door].solve(asked)])
    assert told[0] == told[1]
    given = query("image.hat", [{"picture": held[0].numpy()}])
    (answer,) = clients[door].score(given)
    assert answer.values is not None and np.array_equal(answer.values["picture"], held[0].numpy())


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("far", [1e39, -1e39, 2.0])
def test_numbers_that_are_no_pixels_are_refused_alike(clients, door, kind, far, held) -> None:
    odd = held[0].tolist()
    odd[2][3] = far
    asked = query(kind, [{"picture": odd}])
    for ask in (clients[door].solve, clients[door].score, lambda q: clients[door].sample(q, 2)):
        with pytest.raises(
            BadQuery, match=r"evidence\.picture\[2\]\[3\]: .* lies outside \[0, 1\]"
        ):
            ask(asked)
    open_ended = {"picture": {"low": None, "high": None, "shape": [8, 8]}}
    with pytest.raises(BadQuery, match=r"scope\[0\]: reaches -?inf; give {low: 0, high: 1}"):
        clients[door].solve(query(kind, [{"picture": odd}], variables=open_ended))


def test_a_host_that_is_killed_in_the_middle_is_told_of(started: Callable[..., Process]) -> None:
    """By the name of its kind and its address."""
    host = started("host", "image.hat", "--listen", "127.0.0.1:0")
    here = Catalogue(entry_points=False)
    kinds = RemoteKinds(here, {"image.hat": [host.address]}, RemotePolicy(return_seconds=0.2))
    seen: list[bool] = []

    def watch(*told: Any) -> None:
        seen.append(bool(told))
        host.process.kill()

    asked = query_of(query("image.hat", [{}], budget={"seconds": 30.0}))
    with pytest.raises(ModuleUnavailable, match=f"image.hat.*{host.address}"):
        Reasoner(kinds).reason(asked, watch=watch)
    assert seen
    kinds.close()
