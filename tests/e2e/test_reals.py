"""Reals over the wire: bits of what is given, rows that leave and join a batch, and hosted networks
that are handed their own dtype at every door."""

import random
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from engine import Budget, Problem, Real, Variable, answers
from engine.domain import Finite, flatten
from modules.catalogue import Catalogue
from services.client import Client
from services.host.app import create_host
from services.reasoner.minimizers import minimizer_named
from services.reasoner.reason import Reasoner
from services.remote.kinds import RemoteKinds
from services.server.app import create_server
from tests.support.fuzz.loop import Loop

KINDS = '''
"""Networks as users write them: over reals, over finite sites, over both, in float64."""
import torch
from torch import nn

from engine import Term, Variable, View
from engine.energy import at_every_site


class Net(Term):
    """A small network over all its sites."""

    affine = False

    def __init__(self, *scope: Variable | View):
        super().__init__(*scope)
        sizes = [v.of(v.variable.domain).event for v in self.scope]
        self.size = sum(torch.Size(event).numel() for event in sizes)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.net = nn.Sequential(nn.Linear(self.size, 4), nn.Tanh(), nn.Linear(4, 1))

    def energy(self, *tensors):
        assert all(x.dtype == self.dtype for x in tensors), [x.dtype for x in tensors]
        return self.net(torch.cat([x.flatten(1) for x in tensors], 1))[:, 0]

    def accepts(self, domains, tensors):
        return at_every_site(self.energy(*tensors) < 1e6, domains)


class Double(Net):
    """The same in float64, over squares that float32 would lose."""

    dtype = torch.float64

    def __init__(self, *scope: Variable | View):
        super().__init__(*scope)
        self.net.double()

    def energy(self, *tensors):
        bowl = (tensors[0] - 1 / 3).square().flatten(1).sum(-1)
        return super().energy(*tensors) + 1e3 * bowl


class Near(Term):
    """A rule: the first real is this number, to the bit."""

    def __init__(self, x: Variable, number: float):
        super().__init__(x)
        self.number = number

    def energy(self, x):
        return (x.flatten(1)[:, 0] - self.number).abs().clamp(max=1.0)

    def holds(self, value):
        return value[0] == self.number
'''
STEPS = 5  # not seconds: a machine that pauses has no candidate in a fraction of one
HARD = [0.1, -0.1, -0.0, 5e-324, 1 / 3, 16777217.0, 1e-45, 0.7, 3.0]


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    path: Path = tmp_path_factory.mktemp("nets") / "nets.py"
    path.write_text(KINDS)
    return Catalogue(also=tuple(f"{path}:{name}" for name in ("Net", "Double", "Near")))


@pytest.fixture(scope="module")
def remote(loop: Loop, kinds: Catalogue) -> Iterator[RemoteKinds]:
    names = ["nets.Net", "nets.Double", "nets.Near"]
    service = loop.do(create_host(kinds, names))
    hosted = RemoteKinds(kinds, {name: [f"127.0.0.1:{service.port}"] for name in names})
    yield hosted
    hosted.close()
    loop.do(service.drain(0))


@pytest.fixture(scope="module", params=["in process", "hosted"])
def client(request, loop: Loop, kinds: Catalogue, remote: RemoteKinds) -> Iterator[Client]:
    made = Reasoner(remote if request.param == "hosted" else kinds)
    service = loop.do(create_server(made))
    with Client(f"127.0.0.1:{service.port}") as client:
        yield client
    loop.do(service.drain(0))


def bits(x: float) -> bytes:
    assert type(x) is float
    return struct.pack("d", x)


def kept(value: Any, given: list[float | None]) -> bool:
    pairs = zip(flatten(value, (len(given),)), given, strict=True)
    return all(old is None or bits(new) == bits(float(old)) for new, old in pairs)


def query(kind: str, rows: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    scope = ["z"] if kind == "finite" else ["x"] if kind == "real" else ["x", "z"]
    name = "nets.Double" if kind == "double" else "nets.Net"
    return {
        "variables": {"x": {"low": -2.0, "high": 2e7, "shape": [2]},
                      "z": {"values": ["a", "b"], "shape": [3]}},
        "terms": [
            {"kind": name, "scope": scope},
            {"kind": "discrete.table", "scope": ["z"], "params": {"sites": [0], "costs": [0, 1]}},
        ],
        "evidence": rows,
        "budget": {"steps": STEPS, "particles": 4},
        **fields,
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["real", "finite", "mixed", "double"])
def test_networks_are_asked_at_every_door(client: Client, kind: str) -> None:
    r = random.Random(1)
    rows = [{"x": [r.choice(HARD), None], "z": [None, "b", None]} for _ in range(3)]
    whole = [{"x": [r.choice(HARD), 1], "z": ["a", "b", "a"]} for _ in range(3)]
    asked = query(kind, rows)
    for answer, row in zip(client.solve(asked), rows, strict=True):
        assert answer.values is not None and kept(answer.values["x"], row["x"])
    for answer, row in zip(client.score(query(kind, whole)), whole, strict=True):
        assert answer.values is not None and kept(answer.values["x"], row["x"])
    for drawn, row in zip(client.sample(asked, 3), rows, strict=True):
        assert all(kept(s.values["x"], row["x"]) for s in drawn.samples)
    with client.session(query(kind, rows[:1])) as session:
        for row in rows:
            session.given(row)
            answer = session.answer(steps=STEPS)
            assert answer.values is not None and kept(answer.values["x"], row["x"])


@pytest.mark.parametrize("minimizer", ["gibbs", "descent"])
@pytest.mark.parametrize("kind", ["Net", "Double"])
def test_a_hosted_network_answers_as_one_of_this_process(
    kinds: Catalogue, remote: RemoteKinds, kind: str, minimizer: str
) -> None:
    x, z = Variable("x", Real((2,), -1.0, 1.0)), Variable("z", Finite((0, 1), (2,)))
    told = []
    for source in (kinds, remote):
        problem = Problem(1.0 * source.kind(f"nets.{kind}").build([x, z], {}))
        rows = problem.given_rows([{}, {"x": [0.1, None]}])
        search = minimizer_named(minimizer)
        told.append(answers(rows, search, particles=4, budget=Budget(steps=60), seed=2))
    for here, there in zip(*told, strict=True):
        assert here.values == there.values and here.energy == there.energy


@pytest.mark.parametrize("number", HARD)
def test_a_rule_judges_the_bits_that_were_given(client: Client, number: float) -> None:
    asked = query("real", [{"x": [number, None]}])
    asked["terms"].append({"kind": "nets.Near", "scope": ["x"], "params": {"number": number}})
    (answer,) = client.solve(asked)
    assert [f.holds for f in answer.findings if f.required] == [True]


def test_rows_that_leave_and_join_keep_their_own_reals(client: Client) -> None:
    """Calls of one structure share a batch; each has the reals of its own evidence, in all
    alternatives."""

    def ask(k: int) -> None:
        rows = [{"x": [0.1 * k + j / 7, -0.0], "z": [None] * 3} for j in range(1 + k % 3)]
        asked = query("mixed", rows)
        asked["terms"] = [
            {"kind": "discrete.clause", "scope": ["z"],
             "params": {"clauses": [[[0, "a", True], [1, "b", True]]]}},
        ]  # fmt: skip
        options = {"alternatives": 2}
        for answer, row in zip(client.solve(asked, options), rows, strict=True):
            assert answer.values is not None and kept(answer.values["x"], row["x"])
            assert answer.alternatives
            assert all(kept(other.values["x"], row["x"]) for other in answer.alternatives)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(24)))
