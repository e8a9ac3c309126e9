"""Smallest changes against a plain loop over all values, and what the only rule knows by itself."""

import itertools
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from engine.answer import Answer, Status
from engine.domain import Finite, Variable
from engine.energy import Term
from engine.errors import BadQuery
from engine.explain.change import SmallestChange
from engine.problem import Problem
from examples.generators.loans import open_table
from modules.catalogue import Catalogue
from services.cli import app
from services.client import AsyncClient, Client
from services.query import Options, Query, query_of
from services.query.wish import Wish
from services.reasoner.change import smallest_changes
from services.reasoner.reason import Reasoner, solve_query
from services.rpc.server import Service
from tests.support.fuzz.loop import Loop

pytestmark = pytest.mark.clock


def rules(seed: int) -> dict[str, Any]:
    """Random clauses over x (2 x 2 of three values) and y, with a row as it stands."""
    rng = random.Random(seed)
    clauses = [
        [[rng.randrange(5), rng.randrange(3), rng.random() < 0.5] for _ in range(2)]
        for _ in range(6)
    ]
    row = [rng.randrange(3) for _ in range(5)]
    return {
        "variables": {"x": {"values": [0, 1, 2], "shape": [2, 2]}, "y": {"values": [0, 1, 2]}},
        "terms": [{"kind": "discrete.clause", "scope": ["x", "y"], "params": {"clauses": clauses}}],
        "evidence": {"x": [row[:2], row[2:4]], "y": row[4]},
        "budget": {"seconds": 10},
    }


def fewest(query: dict[str, Any], y: int, keep: bool) -> int | None:
    """How many sites of x must change where y is this, by a loop; None: none will do."""
    (term,) = query["terms"]
    before = [v for line in query["evidence"]["x"] for v in line]
    counts = [
        sum(a != b for a, b in zip(x, before, strict=True))
        for x in itertools.product(range(3), repeat=4)
        if all(
            any(([*x, y][s] == v) is sign for s, v, sign in clause)
            for clause in term["params"]["clauses"]
        )
    ]
    least = min(counts, default=None)
    return least if not keep or least == 0 else None


@pytest.mark.parametrize("keep", [False, True])
def test_the_fewest_changes_are_those_of_a_plain_loop(keep: bool) -> None:
    seen = set()
    for seed in range(25):
        query = rules(seed)
        (row,) = Reasoner(Catalogue()).smallest_change(
            query_of(query), {"y": 1}, ["x"] if keep else []
        )
        least = fewest(query, 1, keep)
        seen.add(least)
        if least is None:
            assert row.answer.status is Status.INFEASIBLE
            assert not row.changed and not row.smallest
            continue
        assert row.answer.status is Status.OPTIMAL and row.smallest
        assert row.answer.energy == least == len(row.changed)
        values = row.answer.values or {}
        assert values["y"] == 1
        for place in row.changed:
            a, b = place.site
            assert place.variable == "x" and query["evidence"]["x"][a][b] == place.value
            assert values["x"][a][b] != place.value
    assert seen >= ({0, None} if keep else {0, 1, 2})


def test_open_sites_are_filled_at_no_price_and_wishes_count_beside() -> None:
    query = rules(3)
    query["evidence"] = {"x": [[None, None], [0, 0]], "y": 2}
    query["terms"] = [
        {
            "kind": "discrete.all_different", "scope": ["x[0, :]", "y"],
            "params": {"lines": [[0, 1, 2]]},
        },
        {
            "kind": "discrete.table", "scope": ["x[1, :]"], "required": False,
            "params": {"sites": [0], "costs": [0.5, 0.25, 0.5]},
        },
    ]  # fmt: skip
    (row,) = Reasoner(Catalogue()).smallest_change(query_of(query), {"y": 0})
    values = row.answer.values or {}
    assert values["y"] == 0 and sorted(values["x"][0]) == [1, 2] and not row.changed
    assert row.answer.energy == 0.5 and not row.smallest  # its energy is least, not its count


class Knowing(Term):
    """Holds where all its sites are 1; it knows which must change, or less, or too little."""

    def __init__(self, x: Variable, how: str):
        super().__init__(x)
        self.how = how
        self.heard: list[Any] = []
        self.clocks: list[Callable[[], bool]] = []

    def energy(self, x: Any) -> Any:
        return x[..., 0].sum(-1)

    def holds(self, *values: Any) -> bool:
        return all(values[0])

    def fewest_changes(
        self,
        values: Sequence[Any],
        wanted: Sequence[Any],
        free: Sequence[tuple[int, int]],
        stop: Callable[[], bool],
    ) -> tuple[Sequence[tuple[int, int]], bool] | None:
        self.heard.append((values, wanted, free))
        self.clocks.append(stop)
        zeros = [(0, k) for k, v in enumerate(values[0]) if v == 0]
        return {"knows": (zeros, True), "unsure": (zeros, False), "errs": ([], True)}[self.how]


@pytest.mark.parametrize("how", ["knows", "unsure", "errs"])
def test_the_only_rule_may_know_them(how: str) -> None:
    x = Variable("x", Finite((0, 1), (4,)))
    term = Knowing(x, how)
    evidence = {"x": [0, 1, 0, 0]}
    data = {"variables": {"x": {"values": [0, 1], "shape": [4]}}, "terms": [], "evidence": evidence}
    (row,) = smallest_changes(
        Problem(term),
        query_of(data),
        Wish({"x": [None, None, None, 1]}),
        lambda problem, query, since: solve_query(problem, query, Options(), since=since),
    )
    assert term.heard == [([[0, 1, 0, 1]], [[None, None, None, 1]], [(0, 0), (0, 1), (0, 2)])]
    assert row.answer.status is Status.OPTIMAL and row.smallest is (how != "unsure")
    assert [place.site for place in row.changed] == [(0,), (2,)]


@pytest.mark.parametrize(
    "wanted, keep, options, said",
    [
        ({"z": 1}, [], {}, "wanted: 'z' is no variable"),
        ({"y": 7}, [], {}, "wanted.y: 7 is none of the values"),
        ({"x": [1]}, [], {}, "wanted.x"),
        ({}, ["x", "w"], {}, r"keep\[1\]: 'w' is no variable"),
        ({}, [], {"score": True}, "options.score: finds no smallest change"),
    ],
)
def test_mistakes_are_told_alike_at_both_doors(
    client: Client, wanted: Any, keep: Any, options: Any, said: str
) -> None:
    with pytest.raises(BadQuery, match=said):
        Reasoner(Catalogue()).smallest_change(query_of(rules(0)), wanted, keep, Options(**options))
    with pytest.raises(BadQuery, match=said):
        client.smallest_change(rules(0), wanted, keep, options)


def timeless(rows: list[SmallestChange]) -> list[Any]:
    """What does not tell the time."""
    return [
        (r.answer.status, r.answer.values, r.answer.energy, r.changed, r.smallest) for r in rows
    ]


def test_both_clients_say_what_this_process_says(
    loop: Loop, service: Service, client: Client
) -> None:
    address = f"127.0.0.1:{service.port}"
    query = rules(1) | {"evidence": [rules(k)["evidence"] for k in range(4)]}
    here = Reasoner(Catalogue()).smallest_change(query_of(query), {"y": 0})

    async def ask() -> list[SmallestChange]:
        async with AsyncClient(address) as asked:
            return await asked.smallest_change(query, {"y": 0})

    assert timeless(client.smallest_change(query, {"y": 0})) == timeless(here)
    assert timeless(loop.do(ask())) == timeless(here)
    assert {len(row.changed) for row in here} > {0}
    kept = Reasoner(Catalogue()).smallest_change(query_of(query), {"y": 0}, ["x"])
    assert timeless(client.smallest_change(query, {"y": 0}, ["x"])) == timeless(kept)
    assert {row.smallest for row in here + kept} == {True, False}


def basin(*args: str) -> Any:
    return CliRunner().invoke(app, list(args))


def flip(tmp_path: Path) -> list[str]:
    path = tmp_path / "open.csv"
    path.write_text(open_table(1))
    return [str(path), "--given", '{"weights": "loans.safetensors", "flip": {"repaid": "no"}}']


def test_a_flip_is_answered_alike_by_a_service(
    tmp_path: Path, service: Service, client: Client
) -> None:
    there = basin("ask", *flip(tmp_path), "--json", "--server", f"127.0.0.1:{service.port}")
    here = basin("ask", *flip(tmp_path), "--json")
    assert here.exit_code == there.exit_code == 0, there.output
    pairs = list(zip(here.stdout.splitlines(), there.stdout.splitlines(), strict=True))
    for one, other in pairs:
        a, b = json.loads(one), json.loads(other)
        assert a["energy"] == b["energy"] and a["smallest"] and b["smallest"]


@pytest.mark.parametrize("command", ["sample", "score"])
def test_draws_and_scores_of_a_flip_are_refused(tmp_path: Path, command: str) -> None:
    done = basin(command, *flip(tmp_path))
    assert done.exit_code == 2 and "--given.flip: asks for an answer by search" in done.stderr


def test_what_a_rule_knows_is_looked_for_within_the_seconds_of_its_row() -> None:
    x = Variable("x", Finite((0, 1), (4,)))
    term, clocks = Knowing(x, "knows"), []
    data = {
        "variables": {"x": {"values": [0, 1], "shape": [4]}}, "terms": [],
        "evidence": [{"x": [0, 1, 0, 0]}, {"x": [0, 0, 0, 0]}], "budget": {"seconds": 5.0},
    }  # fmt: skip

    def ask(problem: Problem, query: Query, since: float | None) -> list[Answer]:
        clocks.append((since, [stop() for stop in term.clocks]))
        return solve_query(problem, query, Options(), since=since)

    smallest_changes(Problem(term), query_of(data), Wish({}), ask)
    smallest_changes(Problem(term), query_of(data), Wish({}), ask, stop=lambda: True)
    assert [said for _, said in clocks[1:4]] == [
        [False] * 2,
        [False] * 2 + [True],
        [False] * 2 + [True] * 2,
    ]
    short = query_of(data | {"budget": {"seconds": 1e-9}})
    smallest_changes(Problem(term), short, Wish({}), ask)
    assert term.clocks[-1]() is True
    assert clocks[0][0] is not None and clocks[0][0] < clocks[1][0] < clocks[2][0]
