"""Boards of pictures through a service, the classifier hosted or not.

python -m benchmarks._pictured serve [HOST]: a service whose classifier is its own, or that of a
host; python -m benchmarks._pictured host: that host.
"""

import statistics
import sys
import time

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import one_core
from engine import Input, Status, Variable
from examples.processes import started
from modules.catalogue import Catalogue, Kinds
from services.client import Client
from services.host.app import create_host
from services.query import Query, query_of
from services.reasoner.reason import Reasoner
from services.remote.kinds import RemoteKinds
from services.rpc.server import run
from services.server.app import create_server
from tests.foundation import test_pictures as pictures

KIND = "_pictured.Pictured"
BOARDS, CELLS, ROUNDS = 100, 33, 9


class Pictured(pictures.Reading):
    """-ln p(digit | picture) of a classifier by prototypes, for a query."""

    def __init__(self, seen: Input, digits: Variable):
        super().__init__(seen, digits, pictures.Prototypes(9))

    def costs(self, pictures: tuple[Tensor, Tensor]) -> Tensor:  # -> (B, n, k)
        return super().costs(pictures)


def catalogue() -> Catalogue:
    """The kinds of Basin and this one."""
    return Catalogue(entry_points=False, also=(f"{__file__}:Pictured",))


def boards(count: int, rng: np.random.Generator) -> Query:
    """Boards with pictures in some cells, as the rows of one query."""
    reading = pictures.sudoku(9)[1]
    rows = [
        {"seen": pictures.told(reading, pictures.board(9, rng), rng.permutation(81)[:CELLS], rng)}
        for _ in range(count)
    ]
    return query_of(
        {
            "variables": {"grid": {"values": list(range(1, 10)), "shape": [9, 9]}},
            "inputs": {"seen": {"shape": [81, pictures.SIDE, pictures.SIDE]}},
            "terms": [
                {
                    "kind": "discrete.all_different",
                    "scope": ["grid"],
                    "params": {"lines": pictures.lines(9)},
                },
                {"kind": KIND, "scope": ["seen", "grid"], "required": False},
            ],
            "evidence": rows,
        }
    )


def measured(seed: int) -> dict[str, float]:
    """Milliseconds of the clock a board, in process, through a service, and through a service
    whose classifier is hosted: medians of rounds that alternate; how many answers were proved."""
    rng = np.random.default_rng(seed)
    asked = [boards(BOARDS, rng) for _ in range(ROUNDS + 1)]
    took: dict[str, list[float]] = {"local": [], "served": [], "hosted": []}
    proved, energies = [], set()
    with (
        one_core(),
        started(["benchmarks._pictured", "host"]) as (host, _),
        started(["benchmarks._pictured", "serve"]) as (plain, _),
        started(["benchmarks._pictured", "serve", host]) as (remote, _),
        Client(plain) as served,
        Client(remote) as hosted,
    ):
        doors = {
            "local": Reasoner(catalogue()).reason,
            "served": served.solve,
            "hosted": hosted.solve,
        }
        for k, query in enumerate(asked):
            found = []
            for name, solve in doors.items():
                began = time.perf_counter()
                answers = solve(query)
                if k:  # the first is for what is made once
                    took[name].append(1000 * (time.perf_counter() - began) / BOARDS)
                proved += [a.status is Status.OPTIMAL for a in answers]
                found.append([round(a.energy or 0.0, 3) for a in answers])
            energies.add(found[0] == found[1] == found[2])
    told = {name: statistics.median(every) for name, every in took.items()}
    return {**told, "proved": 100 * statistics.mean(proved), "equal": float(energies == {True})}


def main() -> int:
    """Serve or host on a free port until SIGTERM."""
    torch.set_num_threads(1)
    role, *addresses = sys.argv[1:]
    if role == "host":
        return run(lambda: create_host(catalogue(), [KIND], shared_memory=True), "127.0.0.1:0")
    kinds: Kinds = RemoteKinds(catalogue(), {KIND: addresses}) if addresses else catalogue()
    reasoner = Reasoner(kinds)
    return run(lambda: create_server(reasoner, "127.0.0.1:0"), "127.0.0.1:0")


if __name__ == "__main__":
    sys.exit(main())
