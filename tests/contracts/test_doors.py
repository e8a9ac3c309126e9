"""The same at every door, hosted or in process: mistakes, liars, streams, what progress costs."""

import json
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import BadQuery, ModuleFault
from modules.catalogue import Catalogue
from services.cli import session
from services.cli.ask import AskArguments, ask
from services.cli.sample import sample
from services.client import Client
from services.query import query_of
from services.query.sampling import sampling_of
from services.reasoner.diagnose import mistakes_apart
from services.reasoner.reason import Reasoner
from services.reasoner.sample import sample_query
from services.reasoner.session import QuerySession
from services.remote.exchanges import Exchanges
from services.remote.kinds import RemoteKinds
from services.rpc.server import Service
from services.server.app import create_server
from services.wire.events import Progress, Result
from tests.support.fuzz.loop import Loop
from tests.support.serving import soft

pytestmark = pytest.mark.clock

# ---------------------------------------------------------------- rules at a price


@pytest.mark.parametrize("weight", [None, 0.5])
@pytest.mark.parametrize("given", [[0, 0, None], [0, 1, None], [None, None, None], [2, 1, 1]])
def test_a_hosted_rule_costs_what_it_costs_in_process(remote, catalogue, weight, given) -> None:
    """Its structure is a hard table: at a weight it is paid for, here as there."""
    term: dict[str, Any] = {"kind": "kinds.Word", "scope": ["x"]}
    term |= {} if weight is None else {"required": False, "weight": weight}
    variables = {"x": {"values": [0, 1, 2], "shape": [3]}}
    query = query_of({"variables": variables, "terms": [term], "evidence": {"x": given}})
    answers = [Reasoner(kinds).reason(query)[0] for kinds in (catalogue, remote)]
    possible = any(
        all(g in (None, w) for g, w in zip(given, word)) for word in ((0, 1, 2), (2, 1, 0))
    )
    for answer in answers:
        if weight is None and not possible:
            assert answer.status == "INFEASIBLE"
        else:
            assert answer.status == "OPTIMAL"
            assert answer.energy == answer.bound == (0 if possible else 0.5)


# ---------------------------------------------------------------- mistakes

GOOD: dict[str, Any] = {
    "variables": {"x": {"values": [0, 1, 2], "shape": [3]}, "y": {"low": 0.0, "shape": [2]}},
    "terms": [
        {"kind": "discrete.all_different", "scope": ["x"], "params": {"lines": [[0, 1]]}},
        {"kind": "discrete.table", "scope": ["x[0]"], "params": {"sites": [0], "costs": [1, 2, 3]}},
        {"kind": "kinds.Pull", "scope": ["y"], "params": {}},
    ],
    "evidence": {"x": [0, None, None]},
}
WRONG = [
    ("variables.x.shape", [0]),
    ("variables.x.shape", [2, 0]),
    ("variables.x.values", [1, 1]),
    ("variables.y.high", -1.0),
    ("variables.y.shape", [0]),
    ("terms.0.params", {}),
    ("terms.0.params.lines", [[0, 0]]),
    ("terms.0.params.lines", [[7]]),
    ("terms.0.params.lines", "all"),
    ("terms.0.params.line", [[0]]),
    ("terms.0.scope", ["z"]),
    ("terms.0.scope", ["x[5]"]),
    ("terms.0.scope", ["y"]),
    ("terms.1.params.costs", [1]),
    ("terms.1.params.sites", [-1]),
    ("terms.1.params.costs", {"a": 1}),
    ("terms.1.weight", -1.0),
    ("terms.1.kind", "discrete.tabel"),
    ("terms.2.params.seconds", "long"),
    ("terms.2.params.second", 1),
    ("terms.2.required", True),
    ("terms.2.scope", ["x", "y"]),
    ("evidence.x", [0, 9, None]),
    ("evidence.y", [0.0]),
]


def spoilt(wrong: list[tuple[str, Any]]) -> dict[str, Any]:
    """The good query with some of its fields replaced."""
    data = json.loads(json.dumps(GOOD))
    for path, value in wrong:
        *outer, last = path.split(".")
        at = data
        for step in outer:
            at = at[int(step)] if isinstance(at, list) else at[step]
        at[last] = value
    return data


def told(reasoner: Reasoner, data: dict[str, Any]) -> set[str]:
    """Every mistake of a query, as a caller is told."""
    try:
        reasoner.compiler.problem(query_of(data))
    except BadQuery as error:
        return {str(m) for m in error.mistakes}
    return set()


def test_the_good_query_is_good(remote: RemoteKinds) -> None:
    assert told(Reasoner(remote), GOOD) == set()


@given(st.lists(st.sampled_from(WRONG), min_size=1, max_size=4, unique_by=lambda w: w[0]))
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_mistakes_under_a_hosted_kind_are_told_as_in_process(
    remote: RemoteKinds, catalogue: Catalogue, wrong: list[tuple[str, Any]]
) -> None:
    wrong.sort(key=lambda w: len(w[0]))  # whole parameters before one of them
    data = spoilt(wrong)
    assert told(Reasoner(remote), data) == told(Reasoner(catalogue), data)
    apart = [{str(m) for m in mistakes_apart(data, source)} for source in (remote, catalogue)]
    assert apart[0] == apart[1]


@pytest.mark.parametrize("wrong", WRONG, ids=[f"{p}={v}" for p, v in WRONG])
def test_each_mistake_is_told_over_the_wire(client: Client, wrong: tuple[str, Any]) -> None:
    with pytest.raises(BadQuery) as caught:
        client.solve(spoilt([wrong]))
    assert all(m.problem and m.remedy for m in caught.value.mistakes)


# ---------------------------------------------------------------- liars

DOORS = (
    "reason", "session", "sample", "solve", "stream", "score", "explain", "draws",
    "stream session", "call session",
)  # fmt: skip


def lying(kind: str, **fields: Any) -> dict[str, Any]:
    """A query of one term whose structure and judgement disagree."""
    return {
        "variables": {"x": {"values": [0, 1], "shape": [1]}},
        "terms": [{"kind": kind, "scope": ["x"], "params": {}}],
        "budget": {"steps": 5, "particles": 4},
    } | fields


@pytest.mark.parametrize("kind", ["kinds.Liar", "kinds.Priced"])
@pytest.mark.parametrize("door", DOORS)
def test_a_liar_is_a_fault_at_every_door(
    remote: RemoteKinds, client: Client, kind: str, door: str
) -> None:
    data = lying(kind)
    query, here = query_of(data), Reasoner(remote)
    wish = sampling_of({"count": 3})
    ways: dict[str, Callable[[], Any]] = {
        "reason": lambda: here.reason(query),
        "session": lambda: QuerySession(query, here.compiler).answer(),
        "sample": lambda: sample_query(here.compiler.problem(query), query.budget, wish),
        "solve": lambda: client.solve(data),
        "stream": lambda: list(client.stream(data)),
        "score": lambda: client.score(lying(kind, evidence={"x": [1]})),
        "explain": lambda: client.explain(data),
        "draws": lambda: client.sample(data, 3),
        "stream session": lambda: client.session(data).answer(),
        "call session": lambda: client.session(data, stream=False).answer(),
    }
    with pytest.raises(ModuleFault, match="its structure") as caught:
        ways[door]()
    assert caught.value.module == kind


@pytest.mark.parametrize("local", [True, False])
def test_a_liar_is_a_fault_on_the_command_line(
    remote: RemoteKinds,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    local: bool,
) -> None:
    file = tmp_path / "q.json"
    file.write_text(json.dumps(lying("kinds.Liar")))
    server = None if local else f"127.0.0.1:{service.port}"
    for module in ("ask", "session"):
        monkeypatch.setattr(f"services.cli.{module}.catalogue_of", lambda *_: remote)
    monkeypatch.setattr("sys.stdin", ["{}\n"])
    for way in (
        lambda: ask(AskArguments([str(file)], server=server)),
        lambda: ask(AskArguments([str(file)], server=server, score=True, given='{"x": [1]}')),
        lambda: sample(AskArguments([str(file)], server=server), 2, 1.0),
        lambda: session.session(str(file), server),
    ):
        assert way() == 3
        said = capsys.readouterr()
        assert "its structure says" in said.err + said.out


def test_no_result_of_a_liar_leaves_in_a_stream(client: Client) -> None:
    got = []
    with pytest.raises(ModuleFault):
        for event in client.stream(lying("kinds.Liar", evidence=[{}, {"x": [1]}])):
            got.append(event)
    assert not [event for event in got if isinstance(event, Result)]


def test_streams_end_whatever_the_door(
    remote: RemoteKinds, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Any] = []
    close = Exchanges.close
    monkeypatch.setattr(Exchanges, "close", lambda own: (closed.append(own), close(own))[1])
    here, query = Reasoner(remote), query_of(soft("kinds.Pull", 3, budget={"steps": 3}))
    talk = QuerySession(query, here.compiler)
    for way in (
        lambda: here.reason(query),
        lambda: talk.answer(),
        lambda: sample_query(here.compiler.problem(query), query.budget, sampling_of({"count": 2})),
    ):
        closed.clear()
        way()
        assert closed


def test_draws_are_judged_in_one_call(remote: RemoteKinds, monkeypatch: pytest.MonkeyPatch) -> None:
    query = query_of(
        {
            "variables": {"x": {"values": [0, 1, 2], "shape": [6]}},
            "terms": [
                {"kind": "discrete.not_equal", "scope": ["x"], "params": {"pairs": [[0, 1]]}}
            ],
        }
    )
    problem = Reasoner(remote).compiler.problem(query)
    home = remote.remotes["discrete.not_equal"]
    asked: list[int] = []
    judge = home.judge
    monkeypatch.setattr(
        home, "judge", lambda b, a, **more: (asked.append(len(a)), judge(b, a, **more))[1]
    )
    (row,) = sample_query(problem, query.budget, sampling_of({"count": 40}))
    assert len(row.samples) == 40 and len(asked) == 1


# ---------------------------------------------------------------- streams


def test_progress_asks_no_host(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many exchanges with a look at every step as with none; and the shares add up."""
    sent: list[int] = []
    send = Exchanges.send
    monkeypatch.setattr(
        Exchanges, "send", lambda own, *asked: (sent.append(1), send(own, *asked))[1]
    )
    query = soft("kinds.Pairs", 4, budget={"particles": 4, "steps": 40, "seed": 1})
    counts = []
    for kinds in (1, 2):
        events: list[Any] = []
        for solve in (client.solve, lambda q: list(client.stream(q, interval=1e-9))):
            sent.clear()
            events = solve(query | {"terms": [*(query["terms"] * kinds)]})
            counts.append(len(sent))
        shown = [event for event in events if isinstance(event, Progress)]
        assert shown
        for progress in shown:
            told = [share.energy for share in progress.terms]
            assert told == ([progress.energy] if kinds == 1 else [])
    assert counts[0] == counts[1] and counts[2] == counts[3]


def long_and_short() -> dict[str, Any]:
    """Two rows over the same costs: one that takes all the time it gets, one that is given."""
    draw = random.Random(3)
    terms = [
        {
            "kind": "discrete.table",
            "scope": ["x"],
            "required": False,
            "params": {
                "sites": [draw.sample(range(100), 2) for _ in range(10)],
                "costs": [[draw.randrange(50) for _ in range(2)] for _ in range(2)],
            },
        }
        for _ in range(100)
    ]
    return {
        "variables": {"x": {"values": [0, 1], "shape": [100]}},
        "terms": terms,
        "evidence": [{}, {"x": [0, 1] * 50}],
        "budget": {"particles": 4, "seconds": 2.0},
    }


@pytest.mark.parametrize("where", ["local", "hosted"])
def test_a_row_is_answered_when_it_is_done(
    loop: Loop, catalogue: Catalogue, client: Client, where: str
) -> None:
    made: Service = loop.do(create_server(Reasoner(catalogue)))
    with Client(f"127.0.0.1:{made.port}") as local:
        asking = local if where == "local" else client
        came: dict[int, float] = {}
        began = time.monotonic()
        for event in asking.stream(long_and_short(), interval=0.001):
            assert event.row not in came, "a result is the last message of its row"
            if isinstance(event, Result):
                came[event.row] = time.monotonic() - began
        assert list(came) == [1, 0] and came[1] < came[0] - 0.5
        # what comes one by one is what comes at once
        query = long_and_short() | {"budget": {"particles": 4, "steps": 3}}
        whole = asking.solve(query, {"alternatives": 1})
        parts = [e for e in asking.stream(query, {"alternatives": 1}) if isinstance(e, Result)]
        assert sorted(event.row for event in parts) == [0, 1]
        for event in parts:
            assert replace(event.answer, seconds=0) == replace(whole[event.row], seconds=0)
    loop.do(made.drain(0))
