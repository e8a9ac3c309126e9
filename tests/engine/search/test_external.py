"""Solvers of others keep to the clock: seconds, deadlines, cancelling and Ctrl-C, best so far."""

import itertools
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import Budget, Problem, answers
from engine.answer import Answer, Flag
from engine.errors import BadQuery
from modules.catalogue import Catalogue
from services.client import Client
from services.query import Options, query_of
from services.reasoner.compile import compile_query
from services.reasoner.minimizers import minimizer_named
from services.reasoner.reason import Reasoner
from services.rpc.server import Service
from services.server.app import create_server
from tests.support.fuzz.loop import Loop
from tests.support.paths import ROOT

pytestmark = pytest.mark.clock

LATE = 1.0  # seconds that an end may take


def costly() -> dict[str, Any]:
    """Costs on many pairs of sites: cp_sat is at it for minutes, and has something in moments."""
    draw = random.Random(7)
    terms = [
        {
            "kind": "discrete.table",
            "scope": ["x"],
            "required": False,
            "params": {
                "sites": draw.sample(range(40), 2),
                "costs": [[draw.randrange(30) for _ in range(6)] for _ in range(6)],
            },
        }
        for _ in range(150)
    ]
    return {"variables": {"x": {"values": list(range(6)), "shape": [40]}}, "terms": terms}


def odd(nodes: int = 100) -> dict[str, Any]:
    """An odd number of marked edges at one node of a graph of degree three, an even one at all
    others, which no marking has: clauses that cadical is at for minutes (Tseitin 1968)."""
    ends = [node for node in range(nodes) for _ in range(3)]
    draw, edges = random.Random(0), [(0, 0)]
    while len(set(edges)) < len(ends) // 2 or any(a == b for a, b in edges):
        draw.shuffle(ends)
        edges = [tuple(sorted(ends[k : k + 2])) for k in range(0, len(ends), 2)]  # type: ignore
    clauses = [
        [[edge, 1 - mark, True] for edge, mark in zip(own, marks, strict=True)]
        for node in range(nodes)
        for own in [[k for k, edge in enumerate(edges) if node in edge]]
        for marks in itertools.product((0, 1), repeat=3)
        if sum(marks) % 2 != (node == 0)
    ]
    term = {"kind": "discrete.clause", "scope": ["x"], "params": {"clauses": clauses}}
    return {"variables": {"x": {"values": [0, 1], "shape": [len(edges)]}}, "terms": [term]}


HARD = {"cp_sat": costly, "cadical": odd}


@pytest.fixture(scope="module", params=sorted(HARD))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def fine(name: str, answer: Answer) -> None:
    """What there was by the end is told, and no more."""
    assert answer.status.value not in ("OPTIMAL", "INFEASIBLE")
    if name == "cp_sat":
        assert answer.values is not None and answer.energy is not None
        assert answer.bound is not None and answer.bound <= answer.energy


def test_seconds_are_kept(name: str) -> None:
    query = query_of(HARD[name]() | {"budget": {"seconds": 1.5}})
    problem = compile_query(query, Catalogue())
    for solve in (
        lambda: answers(problem, minimizer_named(name), budget=Budget(seconds=1.5)),
        lambda: Reasoner(Catalogue()).reason(query, Options(minimizer=name)),
    ):
        began = time.monotonic()
        (answer,) = solve()
        assert time.monotonic() - began < 1.5 + LATE
        assert Flag.DEADLINE in answer.flags
        fine(name, answer)


def test_seconds_are_those_of_each_row(name: str) -> None:
    query = query_of(HARD[name]() | {"evidence": [{}, {}], "budget": {"seconds": 0.8}})
    began = time.monotonic()
    rows = Reasoner(Catalogue()).reason(query, Options(minimizer=name))
    assert time.monotonic() - began < 1.6 + LATE
    for answer in rows:
        assert Flag.DEADLINE in answer.flags
        fine(name, answer)


def test_a_caller_may_stop_it(name: str) -> None:
    problem: Problem = compile_query(query_of(HARD[name]()), Catalogue())
    end = time.monotonic() + 1.5
    budget = Budget(stop=lambda: time.monotonic() >= end)
    (answer,) = answers(problem, minimizer_named(name), budget=budget)
    assert time.monotonic() < end + LATE
    assert Flag.CANCELLED in answer.flags
    fine(name, answer)


@pytest.fixture(scope="module")
def served(loop: Loop) -> Iterator[Client]:
    made: Service = loop.do(create_server(Reasoner(Catalogue())))
    with Client(f"127.0.0.1:{made.port}") as client:
        yield client
    loop.do(made.drain(0))


def test_the_deadline_of_a_call_brings_the_best_so_far(served: Client, name: str) -> None:
    began = time.monotonic()
    (answer,) = served.solve(HARD[name](), {"minimizer": name}, deadline=3.0)
    assert time.monotonic() - began < 3.0
    assert Flag.DEADLINE in answer.flags
    fine(name, answer)


@pytest.mark.parametrize("wrong", ["langevin", "subtrees", "restarts", "nothing"])
def test_no_minimizer_is_told_over_the_wire(served: Client, wrong: str) -> None:
    with pytest.raises(BadQuery, match="known: annealing") as caught:
        served.solve(costly(), {"minimizer": wrong})
    assert caught.value.mistakes[0].path == "options.minimizer"


def test_the_first_interrupt_gives_the_best_so_far(tmp_path: Path, name: str) -> None:
    file = tmp_path / "hard.json"
    file.write_text(json.dumps(HARD[name]()))
    command = ["-m", "services.cli", "ask", str(file), "--minimizer", name, "--json"]
    process = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    time.sleep(6)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())
    assert time.monotonic() - began < LATE
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert told["status"] not in ("OPTIMAL", "INFEASIBLE")
    assert name == "cadical" or told["solution"] is not None
