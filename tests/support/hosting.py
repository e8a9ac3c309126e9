"""A host in this process, and tensors pulled by it."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from engine import Real, Variable
from modules.catalogue import Catalogue
from services.host.app import add_host, build_host
from services.host.servicer import NAME, ModuleServicer
from services.remote.kinds import RemoteKinds
from services.remote.term import Remote
from services.rpc.server import Service, start
from services.settings import RemotePolicy
from services.transport.shared import SHARED
from tests.support.fuzz.loop import Loop

WIDE = SHARED // 4 // 64 + 1  # floats in each of 64 states from which memory is shared


class Running:
    """Hosts in this process, with their insides in reach."""

    def __init__(self, loop: Loop, catalogue: Catalogue):
        self.loop, self.catalogue = loop, catalogue
        self.services: list[Service] = []

    def host(self, **options: Any) -> tuple[ModuleServicer, str]:
        """A host of every kind, and its address."""
        host = build_host(self.catalogue, self.catalogue.names(), **options)
        made: Service = self.loop.do(
            start(
                lambda server: add_host(host, server),
                [NAME],
                "127.0.0.1:0",
                workers=[host.workers],
            )
        )
        self.services.append(made)
        return host, f"127.0.0.1:{made.port}"

    def kinds(self, *addresses: str, **policy: Any) -> RemoteKinds:
        """A catalogue whose every kind is hosted there."""
        return RemoteKinds(
            self.catalogue,
            {name: addresses for name in self.catalogue.names()},
            RemotePolicy(**policy),
        )


@pytest.fixture
def running(loop: Loop, catalogue: Catalogue) -> Iterator[Running]:
    made = Running(loop, catalogue)
    yield made
    for service in made.services:
        loop.do(service.drain(0))


def pull(kinds: RemoteKinds, sites: int = 3, seconds: float = 0.0, name: str = "x") -> Remote:
    """A hosted squared distance from 0.3."""
    return kinds.kind("kinds.Pull").build(  # type: ignore[return-value]
        [Variable(name, Real((sites,), -1.0, 1.0))], {"seconds": seconds}
    )


def check_pull(term: Remote, x: torch.Tensor) -> None:
    """Energies and slopes against their formulas."""
    x = x.detach().requires_grad_()
    energy = term({"x": x})
    torch.testing.assert_close(energy, ((x.detach() - 0.3) ** 2).sum(-1).double())
    (slope,) = torch.autograd.grad(energy.sum(), x)
    torch.testing.assert_close(slope, 2 * (x.detach() - 0.3))
    torch.testing.assert_close(term({"x": x.detach()}), energy.detach())


def soon(true: Callable[[], bool], seconds: float = 2.0) -> float:
    """Seconds until something is so."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds
        time.sleep(0.001)
    return time.monotonic() - began


def echo(data: bytes) -> bytes:
    """What a bell is asked."""
    return data
