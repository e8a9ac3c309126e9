"""Terms that benchmarks host; run as a program, a bare gRPC stream that sends bytes
back, or with an address a host that comes back at once."""

import asyncio
import os
import sys
import time
from pathlib import Path

import torch
from torch import nn

from engine.domain import Variable
from engine.energy import Term
from modules.catalogue import Catalogue

KINDS = str(Path(__file__).resolve())


class First(Term):
    """The first number of each state: what remains of an exchange is the exchange."""

    def energy(self, x):
        return x.flatten(1)[:, 0]


class Pull(Term):
    """Squared distance from 0.3, as slow as asked for; no floor, so no search ever ends."""

    def __init__(self, x: Variable, seconds: float = 0.0):
        super().__init__(x)
        self.seconds = seconds

    def energy(self, x):
        time.sleep(self.seconds)
        return ((x - 0.3) ** 2).flatten(1).sum(-1)


class Network(Term):
    """A small energy network with fixed random weights: so many hidden units in two layers."""

    def __init__(self, x: Variable, width: int = 256):
        super().__init__(x)
        rng = torch.Generator().manual_seed(0)
        sizes = (x.domain.sites, width, width, 1)
        self.layers = nn.ModuleList(
            nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True)
        )
        for layer in self.layers:
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5, generator=rng)

    def energy(self, x):
        for layer in self.layers[:-1]:
            x = torch.tanh(layer(x))
        return self.layers[-1](x)[:, 0]


def catalogue() -> Catalogue:
    """The kinds of this file."""
    names = ("First", "Pull", "Network")
    return Catalogue(entry_points=False, also=tuple(f"{KINDS}:{name}" for name in names))


async def _echo() -> None:
    import grpc

    async def back(requests, context):
        while (data := await context.read()) is not grpc.aio.EOF:
            await context.write(data)

    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 32 << 20)])
    handler = grpc.stream_stream_rpc_method_handler(back)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("Echo", {"Back": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"listening on 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


def _keep(address: str) -> None:
    """Host `Pull` in a process of its own, and when that ends in another: all code is loaded."""
    from services.host.app import run
    from services.settings import HostSettings

    while True:
        number = os.fork()  # before anything of gRPC runs
        if not number:
            print(f"process {os.getpid()}", flush=True)
            os._exit(run([f"{KINDS}:Pull"], HostSettings(listen=address)))
        os.waitpid(number, 0)


if __name__ == "__main__":
    if sys.argv[1:]:
        _keep(sys.argv[1])
    asyncio.run(_echo())
