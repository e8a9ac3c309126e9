"""Fixtures of the tests of services; a module that wants them names this file as a plugin."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modules.catalogue import Catalogue
from services.client import Client
from services.host.app import create_host
from services.reasoner.reason import Reasoner
from services.remote.kinds import RemoteKinds
from services.rpc.server import Service
from services.server.app import create_server
from tests.support.fuzz.loop import Loop
from tests.support.serving import KINDS, Process


@pytest.fixture(scope="session")
def loop() -> Loop:
    """Never closed: gRPC servers that are collected late still schedule something on it."""
    return Loop()


@pytest.fixture(scope="module")
def kinds_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kinds") / "kinds.py"
    path.write_text(KINDS)
    return path


@pytest.fixture(scope="module")
def catalogue(kinds_file: Path) -> Catalogue:
    names = ("Pull", "Hinted", "Banded", "Pairs", "Word", "Motif", "Liar", "Priced", "Broken")
    return Catalogue(also=tuple(f"{kinds_file}:{name}" for name in names))


@pytest.fixture(scope="module")
def host(loop: Loop, catalogue: Catalogue) -> Iterator[str]:
    """A host of everything, in this process."""
    service: Service = loop.do(create_host(catalogue, catalogue.names(), reflection=True))
    yield f"127.0.0.1:{service.port}"
    loop.do(service.drain(0))


@pytest.fixture(scope="module")
def remote(host: str, catalogue: Catalogue) -> Iterator[RemoteKinds]:
    """A catalogue whose every kind is hosted."""
    kinds = RemoteKinds(catalogue, {name: [host] for name in catalogue.names()})
    yield kinds
    kinds.close()


@pytest.fixture(scope="module")
def service(loop: Loop, remote: RemoteKinds) -> Iterator[Service]:
    made: Service = loop.do(create_server(Reasoner(remote), reflection=True))
    yield made
    loop.do(made.drain(0))


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[Client]:
    with Client(f"127.0.0.1:{service.port}") as made:
        yield made


@pytest.fixture
def started() -> Iterator[Callable[..., Process]]:
    """Starts processes, and ends those still running."""
    every: list[Process] = []

    def start(*arguments: str, **options: Any) -> Process:
        every.append(Process(*arguments, **options))
        return every[-1]

    yield start
    for process in every:
        process.end(signal.SIGKILL)
