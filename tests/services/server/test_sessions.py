"""Sessions on the wire: they say what a fresh query says, whatever was changed, and cost no other
caller anything."""

import functools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from engine.answer import Flag, Status
from engine.errors import (
    BadQuery,
    BasinError,
    Cancelled,
    OutOfTime,
    SessionNotFound,
    TooManySessions,
    UnknownKind,
)
from modules.catalogue import Catalogue
from services.client import Client
from services.query import query_of
from services.reasoner.reason import Reasoner
from services.remote.kinds import RemoteKinds
from services.rpc.server import Service
from services.rpc.status import code_of, error_of_call, from_status
from services.server.app import create_server
from services.settings import Limits, Policy
from services.v1 import answer_pb2, query_pb2
from services.v1 import session_pb2 as pb
from services.v1.session_pb2_grpc import SessionServiceStub
from services.wire.query import query_to_proto
from tests.support.fuzz.loop import Loop
from tests.support.serving import GRID, soft, sudoku

pytestmark = pytest.mark.clock

APART = {"kind": "discrete.not_equal", "scope": ["grid"], "params": {"pairs": [[0, 1]]}}
OPEN = [[None] * 9 for _ in range(9)]


@pytest.fixture(params=["stream", "calls"])
def stream(request: pytest.FixtureRequest) -> bool:
    return request.param == "stream"


def clue(row: int, column: int, value: int | None) -> list[list[int | None]]:
    """The puzzle with another clue."""
    grid = [list(line) for line in GRID]
    grid[row][column] = value
    return grid


def plain(answer: Any) -> Any:
    """What must be the same however it was found."""
    return answer.status, answer.values, answer.energy, answer.bound


def test_a_session_says_what_a_fresh_query_says(client: Client, stream: bool) -> None:
    query = sudoku()
    with client.session(query, stream=stream) as session:
        assert session.terms == ("discrete.all_different",)
        assert plain(session.answer()) == plain(client.solve(query)[0])
        even = {"kind": "discrete.linear", "scope": ["grid"]}
        even["params"] = {"terms": [[2, 4, 1]], "compare": "==", "constant": 1}
        steps: list[tuple[dict[str, Any], dict[str, Any]]] = [
            ({"add": [APART | {"name": "apart"}]}, {}),
            ({"add": [even | {"name": "even"}]}, {}),
            ({"evidence": {"grid": clue(0, 2, 1)}}, {"evidence": {"grid": clue(0, 2, 1)}}),
            ({"drop": ["even"]}, {}),
            ({"evidence": {"grid": clue(0, 2, None)}}, {"evidence": {"grid": clue(0, 2, None)}}),
        ]
        standing: dict[str, Any] = {}
        for change, fields in steps:
            standing |= {term["name"]: term for term in change.get("add", ())}
            for name in change.get("drop", ()):
                del standing[name]
            query = query | fields
            session.change(change)
            assert session.terms == ("discrete.all_different", *standing)
            fresh = query | {"terms": [*query["terms"], *standing.values()]}
            assert plain(session.answer()) == plain(client.solve(fresh)[0])


def test_the_names_of_the_engine(client: Client, stream: bool) -> None:
    """add, drop, given, answer: as `engine.session.Session` has them."""
    with client.session(sudoku(), stream=stream) as session:
        session.add("apart", APART)
        session.given({"grid": OPEN})
        assert session.answer().status is Status.OPTIMAL
        session.drop("discrete.all_different")
        session.given({"grid": [[5] * 9] * 9})
        answer = session.answer(options={"explain": True})
        assert answer.status is Status.INFEASIBLE
        assert {p.site for p in answer.conflict.evidence} == {(0, 0), (0, 1)}
        assert len(answer.conflict.repair) == 1
        assert session.answer(change={"drop": ["apart"]}).status is Status.OPTIMAL
        assert session.terms == ()


def test_options_of_an_answer(client: Client, stream: bool) -> None:
    query = {
        "variables": {"x": {"values": [0, 1, 2], "shape": [3]}},
        "terms": [
            {"kind": "discrete.all_different", "scope": ["x"], "params": {"lines": [[0, 1, 2]]}}
        ],
    }
    with client.session(query, stream=stream) as session:
        assert session.answer(options={"prove": True}).unique is False
        assert len(session.answer(options={"alternatives": 9}).alternatives) == 5
        session.given({"x": [0, 1, None]})
        assert session.answer(options={"prove": True}).unique is True
        named = session.answer(options={"prove": True, "minimizer": "branch_and_bound"})
        assert named.unique is True
        with pytest.raises(BadQuery, match="minimizer"):
            session.answer(options={"minimizer": "branch_and_bond"})
        with pytest.raises(BadQuery, match="options.score: a session searches"):
            session.answer(options={"score": True})


MALFORMED: list[tuple[dict[str, Any], str]] = [
    ({"drop": ["rule"]}, r"drop\[0\]: 'rule' is no term; known: discrete.all_different"),
    ({"drop": ["discrete.all_diferent"]}, r"drop\[0\].*did you mean discrete.all_different"),
    ({"drop": ["discrete.all_different"] * 2}, r"drop\[1\].*is no term; none are left"),
    ({"drop": "x"}, r"drop: 'x' is no list"),
    ({"add": [{"kind": "discrete.all_different", "scope": ["grid"]}]}, r"add\[0\].name.*another"),
    ({"add": [APART, APART]}, r"add\[1\].name: 'discrete.not_equal' is the name of another term"),
    ({"add": [APART | {"name": ""}]}, r"add\[0\].name: '' is no name"),
    ({"add": [APART | {"scope": ["grod"]}]}, r"add\[0\].scope\[0\].*did you mean grid"),
    ({"add": [APART | {"scope": ["grid[9, :]"]}]}, r"add\[0\].scope\[0\].*out of range"),
    ({"add": [APART | {"scope": []}]}, r"add\[0\].scope: \(\) is empty|add\[0\].scope: \[\]"),
    ({"add": [APART | {"params": {"pair": [[0, 1]]}}]}, r"add\[0\].params.pair.*did you mean"),
    ({"add": [APART | {"params": {"pairs": [[0, 81]]}}]}, r"add\[0\].params.pairs\[0\]"),
    ({"add": [APART | {"weight": -1.0}]}, r"add\[0\].weight: -1.0 is out of range"),
    ({"add": [APART | {"wait": 1}]}, r"add\[0\].wait: unknown field.*did you mean weight"),
    ({"evidence": {"grid": 3}}, r"evidence.grid: 3 is no list"),
    ({"evidence": {"grid": clue(4, 4, 10)}}, r"evidence.grid\[4\]\[4\]"),
    ({"evidence": {"grit": OPEN}}, r"evidence.grit: 'grit' is no variable; did you mean grid"),
    ({"evidence": {"grid": [[5]]}}, r"evidence.grid"),
    ({"evidense": {}}, r"evidense: unknown field.*did you mean evidence"),
]


@pytest.mark.parametrize(("change", "said"), MALFORMED)
def test_a_malformed_change_is_told_and_changes_nothing(
    client: Client, change: dict[str, Any], said: str
) -> None:
    good = {"add": [APART | {"name": "kept"}]} if "add" not in change else {}
    with client.session(sudoku()) as session:
        before = session.answer()
        with pytest.raises(BadQuery, match=said) as caught:
            session.change({**good, **change})
        assert all(m.path and m.problem and m.remedy for m in caught.value.mistakes)
        assert plain(session.answer()) == plain(before)
        session.change({"add": [APART | {"name": "kept"}]})  # and it goes on
        assert session.terms == ("discrete.all_different", "kept")


def test_an_unknown_kind_keeps_its_class(client: Client, stream: bool) -> None:
    with client.session(sudoku(), stream=stream) as session:
        with pytest.raises(UnknownKind, match=r"add\[0\].*did you mean discrete.not_equal"):
            session.add("apart", APART | {"kind": "discrete.not_equl"})
        for wrong in ({"seconds": 0.0}, {"seconds": float("nan")}, {"steps": -1}):
            with pytest.raises(BadQuery, match="seconds|steps"):
                session.answer(**wrong)
        assert session.answer().status is Status.OPTIMAL


def test_malformed_openings_are_told(client: Client, stream: bool) -> None:
    with pytest.raises(BadQuery, match="evidence: 2 rows; a session takes one"):
        client.session(sudoku(evidence=[{}, {}]), stream=stream)
    wrong = sudoku()
    wrong["terms"] = [APART | {"kind": "discrete.none"}]
    with pytest.raises(UnknownKind, match=r"terms\[0\]"):
        client.session(wrong, stream=stream)


def opening() -> pb.StreamSessionRequest:
    return pb.StreamSessionRequest(query=query_to_proto(query_of(sudoku())))


def misspelt() -> pb.StreamSessionRequest:
    message = opening()
    message.query.terms[0].kind = "discrete.all_diferent"
    return message


@pytest.mark.parametrize(
    ("messages", "kind", "said"),
    [
        ([pb.StreamSessionRequest()], BadQuery, "query: is missing"),
        ([pb.StreamSessionRequest(change=pb.Change())], BadQuery, "query: is missing"),
        ([pb.StreamSessionRequest(query=query_pb2.Query())], BadQuery, "variables"),
        ([misspelt()], UnknownKind, "terms[0].kind"),
    ],
)
def test_a_stream_tells_what_is_wrong_and_goes_on(
    client: Client, messages: list[pb.StreamSessionRequest], kind: type[BadQuery], said: str
) -> None:
    for k, message in enumerate(messages):
        message.sequence = 7 + k
    messages.append(opening())
    responses = list(client._sessions.StreamSession(iter(messages), timeout=10))
    assert [r.sequence for r in responses] == [m.sequence for m in messages]
    assert not responses[0].HasField("session")
    assert responses[1].session.terms and not responses[1].HasField("error")
    told = from_status(responses[0].error)
    assert type(told) is kind and said in str(told)
    assert all(m.problem and m.remedy for m in told.mistakes)
    assert code_of(responses[0].error).name == kind.code


def test_a_session_is_opened_once(client: Client) -> None:
    both = list(client._sessions.StreamSession(iter([opening(), opening()]), timeout=10))
    assert both[0].session.terms and "query: the session is open" in both[1].error.message
    assert both[1].session.terms == both[0].session.terms and not both[1].session.id


# --- ticks ------------------------------------------------------------------------------------


def test_every_tick_has_its_deadline_and_starts_from_the_last(client: Client, stream: bool) -> None:
    """A search that never ends: each answer comes before its deadline, none is worse."""
    query = soft("kinds.Pull", sites=40, seconds=0.002, budget={"particles": 4})
    with client.session(query, stream=stream) as session:
        session.answer(seconds=0.3)
        energies = []
        for _ in range(4):
            began = time.monotonic()
            answer = session.answer(seconds=0.4)
            assert time.monotonic() - began < 1.5  # 0.4 where the machine is idle
            assert answer.flags == (Flag.DEADLINE,) and answer.values is not None
            energies.append(answer.energy)
        assert energies == sorted(energies, reverse=True)
        session.given({"x": [0.5, *[None] * 39]})  # the plant moves on
        moved = session.answer(seconds=0.4)
        assert moved.values is not None and moved.values["x"][0] == 0.5
        assert moved.energy == pytest.approx(energies[-1] + 0.04, abs=0.02)


def test_a_tick_that_no_module_answers_is_told_and_the_session_goes_on(client: Client) -> None:
    query = soft("kinds.Pull", sites=4, seconds=1.5, budget={"particles": 2})
    with client.session(query) as session:
        with pytest.raises(OutOfTime):
            session.answer(seconds=0.3)
        session.change(
            {"drop": ["kinds.Pull"], "add": [{"kind": "kinds.Pull", "scope": ["x"], "name": "p"}]}
        )
        assert session.answer(seconds=0.5).values is not None


def test_leaving_a_session_ends_its_search(loop: Loop, remote: RemoteKinds) -> None:
    """The only worker of a service is free again, soon after a session with a search is closed."""
    made: Service = loop.do(create_server(Reasoner(remote), policy=Policy(workers=1)))  # type: ignore
    query = soft("kinds.Pull", sites=4, seconds=0.005, budget={"particles": 2})
    with Client(f"127.0.0.1:{made.port}") as asking:
        session = asking.session(query)
        failed: list[BaseException] = []

        def answer() -> None:
            try:
                session.answer()
            except BasinError as error:
                failed.append(error)

        thread = threading.Thread(target=answer)
        thread.start()
        time.sleep(0.3)
        session.close()
        thread.join()
        assert isinstance(failed[0], Cancelled)
        (after,) = asking.solve(query | {"budget": {"particles": 2, "steps": 1}}, deadline=5.0)
        assert after.values is not None and after.flags == ()
    loop.do(made.drain(0))


# --- whose sessions ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(loop: Loop) -> Iterator[Service]:
    """A service that allows two sessions a tenant, three in all, idle for half a second."""
    limits = Limits(sessions=2, all_sessions=3, idle_seconds=0.5)
    made: Service = loop.do(create_server(Reasoner(Catalogue(), limits)))
    yield made
    loop.do(made.drain(0))


def test_sessions_of_a_tenant_are_limited(small: Service, stream: bool) -> None:
    address = f"127.0.0.1:{small.port}"
    with Client(address, tenant="ann") as ann, Client(address, tenant="bob") as bob:
        first = ann.session(sudoku(), stream=stream)
        second = ann.session(sudoku(), stream=stream)
        with pytest.raises(TooManySessions, match="2 sessions are open"):
            ann.session(sudoku(), stream=stream)
        other = bob.session(sudoku(), stream=stream)
        with pytest.raises(TooManySessions, match="the service has as many"):
            bob.session(sudoku(), stream=stream)
        first.close()
        time.sleep(0.05)  # a stream's end is seen by its handler a moment later
        third = ann.session(sudoku(), stream=stream)
        for session in (second, third, other):
            session.close()
        time.sleep(0.05)


def test_nothing_crosses_a_tenant(small: Service) -> None:
    address = f"127.0.0.1:{small.port}"
    with Client(address, tenant="ann") as ann, Client(address, tenant="bob") as bob:
        session = ann.session(sudoku(), stream=False)
        number = session._call._id  # type: ignore[attr-defined]
        assert len(number) >= 22  # 128 random bits
        for who in (bob, Client(address)):
            session._call._who = who._who  # type: ignore[attr-defined]
            drop = functools.partial(session.drop, "discrete.all_different")
            for ask in (session.answer, drop, session.refresh):
                with pytest.raises(SessionNotFound, match="not yours"):
                    ask()
            session.close()  # of nobody's session: nothing happens
        session._call._who = ann._who  # type: ignore[attr-defined]
        assert session.answer().status is Status.OPTIMAL
        session.close()
        with pytest.raises(SessionNotFound):
            session.answer()
        with pytest.raises(SessionNotFound):
            session.refresh()
    for wrong in ("a b", "x" * 65, "ä"):
        with pytest.raises(BadQuery, match="x-basin-tenant"):
            Client(address, tenant=wrong)


def test_idle_sessions_expire(small: Service, stream: bool) -> None:
    with Client(f"127.0.0.1:{small.port}", tenant="idle") as asking:
        session = asking.session(sudoku(), stream=stream)
        for turn in (session.answer, session.refresh) * 2:
            assert session.expire_time is not None
            left = session.expire_time.timestamp() - time.time()
            assert 0.3 < left <= 0.5
            time.sleep(0.25)
            turn()  # being asked keeps it
        time.sleep(0.9)
        with pytest.raises(SessionNotFound, match="expired"):
            session.answer()
        others = [asking.session(sudoku(), stream=stream) for _ in range(2)]  # its place is free
        for other in others:
            other.close()
        time.sleep(0.05)


def test_questions_of_one_session_wait_for_each_other(client: Client, loop: Loop) -> None:
    """Calls of several threads on one id: each gets an answer of a state that stood."""
    session = client.session(sudoku(), stream=False)
    number = session._call._id  # type: ignore[attr-defined]
    change = pb.Change()
    change.evidence.entries.add(name="grid").value.null = 0
    asked = [
        client._sessions.ResolveSession.future(
            pb.ResolveSessionRequest(id=number, change=change), timeout=20
        )
        for _ in range(8)
    ]
    assert {call.result().answer.status for call in asked} == {1}
    session.close()


def test_a_tenant_of_the_metadata_is_checked(small: Service) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{small.port}") as channel:
        stub = SessionServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.CloseSession(pb.CloseSessionRequest(id="x"), metadata=(("x-basin-tenant", "a b"),))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


# --- single calls ------------------------------------------------------------------------------


def calls_of(client: Client) -> Iterator[tuple[str, Callable[[str], Any]]]:
    """Every call that names a session, by the id it is given."""
    stub = client._sessions
    who = {"timeout": 10, "metadata": client._who}
    yield "get", lambda number: stub.GetSession(pb.GetSessionRequest(id=number), **who)
    yield "change", lambda number: stub.ChangeSession(pb.ChangeSessionRequest(id=number), **who)
    yield "resolve", lambda number: stub.ResolveSession(pb.ResolveSessionRequest(id=number), **who)
    yield "close", lambda number: stub.CloseSession(pb.CloseSessionRequest(id=number), **who)


def created(client: Client) -> pb.Session:
    request = pb.CreateSessionRequest(query=query_to_proto(query_of(sudoku())))
    return client._sessions.CreateSession(request, timeout=10, metadata=client._who).session


def test_every_call_tells_how_the_session_stands(client: Client) -> None:
    """One resource, the same in all of them; the one that ends it has no time to expire."""
    made = created(client)
    assert made.id and list(made.terms) == ["discrete.all_different"]
    for name, call in calls_of(client):
        response = call(made.id)
        assert (response.session.id, response.session.terms) == (made.id, made.terms)
        assert response.session.HasField("expire_time") is (name != "close")
        if name == "resolve":
            assert response.answer.status == answer_pb2.STATUS_OPTIMAL
    change = pb.Change(drop=["discrete.all_different"])
    asked = pb.ChangeSessionRequest(id=created(client).id, change=change)
    assert not client._sessions.ChangeSession(asked, timeout=10).session.terms


def test_unknown_expired_and_other_peoples_sessions_are_not_found(small: Service) -> None:
    address = f"127.0.0.1:{small.port}"
    with Client(address, tenant="carl") as carl, Client(address, tenant="dora") as dora:
        mine = created(carl).id
        for who, number in ((carl, "nothing"), (carl, ""), (dora, mine)):
            for _, call in calls_of(who):
                with pytest.raises(grpc.RpcError) as caught:
                    call(number)
                assert type(error_of_call(caught.value)) is SessionNotFound
        assert dict(calls_of(carl))["get"](mine).session.id == mine  # nobody has ended it
        time.sleep(0.9)
        for _, call in calls_of(carl):
            with pytest.raises(grpc.RpcError, match="expired"):
                call(mine)


def test_what_stands_is_known_after_an_answer_that_failed(client: Client, stream: bool) -> None:
    """The change of a failed question stands: a stream says so at once, a call when asked."""
    with client.session(sudoku(), stream=stream) as session:
        with pytest.raises(BadQuery, match="minimizer"):
            session.answer(
                options={"minimizer": "none"}, change={"add": [APART | {"name": "apart"}]}
            )
        if not stream:
            session.refresh()
        assert session.terms == ("discrete.all_different", "apart")
        session.drop("apart")


def test_a_runner_up_of_a_session_differs_where_it_is_asked_to(
    client: Client, stream: bool
) -> None:
    query = {"variables": {"x": {"values": [0, 1]}, "y": {"values": [0, 1]}}, "terms": []}
    with client.session(query, stream=stream) as session:
        answer = session.answer(options={"explain": True, "differ": ["y"]})
        assert answer.runner_up is not None
        assert answer.runner_up.values["y"] != answer.values["y"]
        with pytest.raises(BadQuery, match="did you mean y|known: x, y"):
            session.answer(options={"explain": True, "differ": ["z"]})
