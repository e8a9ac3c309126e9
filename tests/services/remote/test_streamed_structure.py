"""Structure beside rows on the stream of their batches: what rows were told travels once."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from engine import BadQuery, Finite, Input, Problem, Real, Variable
from engine.domain import Domain
from engine.errors import ModuleFault
from modules.catalogue import Catalogue
from services.host.app import build_host
from services.host.servicer import ModuleServicer
from services.host.stream import EvaluateStream
from services.query import query_of
from services.reasoner.reason import Reasoner
from services.remote.kinds import RemoteKinds
from services.settings import Limits
from services.transport.rows import BoundRows, ToldArrays, ToldRows
from services.transport.structure import StructureAsk
from services.v1 import module_pb2 as pb
from services.wire.binding import Binding, binding_to_proto
from tests.services.remote.test_inputs import FILE, MATRIX
from tests.support.hosting import Running, soon

N, DEEP = 300, 2  # vectors of a row, and their numbers


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue(packages=(), entry_points=False, also=(f"{FILE}:Guess",))


class Seen:
    """What reached hosts."""

    def __init__(self) -> None:
        self.unary = 0
        self.sizes: list[int] = []


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    made = Seen()
    structure, answer = ModuleServicer._structure, EvaluateStream.answer

    def asked(own: ModuleServicer, request: pb.StructureRequest) -> pb.StructureResponse:
        made.unary += 1
        return structure(own, request)

    def answered(own: EvaluateStream, data: bytes) -> bytes:
        made.sizes.append(len(data))
        return answer(own, data)

    monkeypatch.setattr(ModuleServicer, "_structure", asked)
    monkeypatch.setattr(EvaluateStream, "answer", answered)
    yield made


def vectors(rows: int) -> list[np.ndarray]:
    """In the numbers that the term takes, so that it is told just these."""
    rng = np.random.default_rng(rows)
    return [rng.random((N, DEEP)) for _ in range(rows)]


def query(rows: int) -> Any:
    told: list[dict[str, Any]] = [{"f": x} for x in vectors(rows)]
    told[1]["f"] = [*told[1]["f"][:-1], None]  # an entry is absent, and in the last row all
    told[2]["y"] = [2] + [None] * (N - 1)
    return query_of(
        {
            "variables": {"y": {"values": [0, 1, 2], "shape": [N]}},
            "inputs": {"f": {"shape": [N, DEEP]}},
            "terms": [{"kind": "told.Guess", "scope": ["f", "y"], "params": {"matrix": MATRIX}}],
            "evidence": [*told, {}],
        }
    )


def structure(kinds: Any, rows: int) -> tuple[Any, Any]:
    """A hosted term, and its structure beside some rows."""
    f, y = Input("f", Real((N, DEEP), -9, 9)), Variable("y", Finite((0, 1, 2), (N,)))
    term = kinds.kind("told.Guess").build([f, y], {"matrix": MATRIX})
    problem = Problem(term, (y, f)).given_rows([{"f": x} for x in vectors(rows)])
    return term, term.structured(1.0, *problem.scope(term))


def test_what_rows_were_told_travels_once(running: Running, seen: Seen) -> None:
    """One message binds the term, one has structure and all that was told, one the states."""
    _, address = running.host()
    kinds = running.kinds(address)
    for rows in (12, 5):
        asked = query(rows)
        seen.sizes.clear()
        found, own = Reasoner(kinds).reason(asked), Reasoner(running.catalogue).reason(asked)
        assert [(a.values, a.status) for a in found] == [(a.values, a.status) for a in own]
        assert [a.energy for a in found] == pytest.approx([a.energy for a in own])
        assert seen.unary == 0 and len(seen.sizes) == 3
        told = 8 * rows * N * DEEP
        assert told < seen.sizes[1] + 8 * DEEP and seen.sizes[2] < (rows + 1) * (3 * N * 8 + 100)
    kinds.close()


def test_a_host_that_does_not_know_it_is_called(running: Running, seen: Seen) -> None:
    """As hosts of before: whatever they were told travels twice."""
    host, address = running.host()
    host.modules["told.Guess"].ClearField("streams_structure")
    kinds = running.kinds(address)
    found, own = (Reasoner(k).reason(query(4)) for k in (kinds, running.catalogue))
    assert [a.values for a in found] == [a.values for a in own]
    assert seen.unary == 1 and len(seen.sizes) == 2
    kinds.close()


def test_a_lost_host_is_told_again(running: Running) -> None:
    one, first = running.host()
    two, second = running.host()
    kinds = running.kinds(first, second)
    term, before = structure(kinds, 3)
    service = running.services.pop(0 if one.streams else 1)
    running.loop.do(service.drain(0))
    soon(lambda: not (one.streams and two.streams))
    f, y = (view.variable for view in term.scope)
    told = [x + 1 for x in vectors(3)] + vectors(3)
    rows = Problem(term, (y, f)).given_rows([{"f": x} for x in told])
    after = term.structured(1.0, *rows.scope(term))
    for old, new in zip(before.tables, after.tables, strict=True):
        np.testing.assert_array_equal(old.costs, new.costs[3:])
    kinds.close()


def test_rows_are_cut_where_messages_have_no_room(running: Running, seen: Seen) -> None:
    """For what is told, and for the answer."""
    limits = Limits(message_bytes=100_000, chunk_bytes=50_000)
    _, address = running.host(limits=limits)
    kinds = RemoteKinds(running.catalogue, {"told.Guess": [address]}, limits=limits)
    _, whole = structure(kinds, 40)
    _, own = structure(running.catalogue, 40)
    for table, other in zip(whole.tables, own.tables, strict=True):
        np.testing.assert_allclose(table.costs, other.costs)
    assert seen.unary == 0 and len(seen.sizes) > 4 and max(seen.sizes) <= 100_000
    kinds.close()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda told: told.ClearField("costs"),
        lambda told: told.costs.shape.__setitem__(0, 2),
        lambda told: setattr(told, "digest", "another"),
        lambda told: told.costs.shape.append(1),
    ],
)
def test_an_answer_that_makes_no_sense_is_a_fault(
    running: Running, monkeypatch: pytest.MonkeyPatch, spoil: Any
) -> None:
    answer = EvaluateStream.answer

    def spoiled(own: EvaluateStream, data: bytes) -> bytes:
        response = pb.EvaluateResponse.FromString(answer(own, data))
        if response.HasField("structure"):
            response.structure.ClearField("factors")
            spoil(response.structure)
        return response.SerializeToString()

    _, address = running.host()
    kinds = running.kinds(address)
    structure(kinds, 3)  # its shape is known from now on
    monkeypatch.setattr(EvaluateStream, "answer", spoiled)
    with pytest.raises(ModuleFault, match="its structure"):
        structure(kinds, 4)
    kinds.close()


# ---------------------------------------------------------------- what hosts are sent


def bound(host: ModuleServicer, kind: str = "told.Guess") -> EvaluateStream:
    """A stream that knows the rows 0 and 1."""
    stream = EvaluateStream(host._bind, host.regions, host.limits)
    domains: list[Domain] = [Input("f", Real((2, 2))).domain, Finite((0, 1, 2), (2,))]
    params: dict[str, Any] = {"matrix": MATRIX}
    if kind != "told.Guess":
        domains, params = domains[1:], {"lines": [[0, 1]]}
    raw: list[bytes] = []
    request = pb.EvaluateRequest(binding=binding_to_proto(Binding(kind, params, (*domains,)), raw))
    request.raw_contents.extend(raw)
    stream.answer(request.SerializeToString())
    return stream


FINE = Finite((0, 1, 2), (2,))


def ask(
    keys: Any = (0, 1),
    domains: Any = (FINE,),
    told: Any = None,
    weight: float | None = 1.0,
) -> bytes:
    keys = np.array(keys)
    values = np.ones((len(keys.reshape(-1)), 2, 2)) if told is None else told
    rows = ToldRows(keys, [ToldArrays(values, None)])
    return StructureAsk("told.Guess", domains, rows, weight, "").message(BoundRows(10**6))


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        (ask([]), "rows"),
        (ask(domains=()), "domains"),
        (ask(domains=(FINE, FINE)), "domains"),
        (ask(domains=(Finite((0, 1), (2,)),)), "domains[0]"),
        (ask(domains=(Finite((0, 1, 2), (3,)),)), "domains[0]"),
        (ask(domains=(Real((2,)),)), "domains[0]"),
        (ask(domains=(Input("f", Real((2, 2))).domain,)), "domains[0]"),
        (ask(domains=(FINE.select([0, 0, 0]),)), "domains[0]"),
        (ask(told=np.ones((2, 3, 2))), "rows.inputs[0].tensor"),
        (ask(told=np.full((2, 2, 2), np.nan)), "rows.inputs[0].tensor"),
    ],
)
def test_a_stream_refuses_what_makes_no_sense(
    catalogue: Catalogue, asked: bytes, path: str
) -> None:
    stream = bound(build_host(catalogue, catalogue.names()))
    with pytest.raises(BadQuery) as caught:
        stream.answer(asked)
    assert [m.path for m in caught.value.mistakes] == [path]
    answer = pb.EvaluateResponse.FromString(stream.answer(ask()))
    assert answer.structure.digest and answer.structure.costs.shape[0] == 2  # it goes on
    assert not answer.structure.raw_contents and answer.raw_contents


def test_unknown_keys_and_terms_without_inputs_are_refused(catalogue: Catalogue) -> None:
    host = build_host(catalogue, catalogue.names())
    stream = bound(host)
    request = pb.EvaluateRequest.FromString(ask([4, 5]))
    request.ClearField("rows")
    with pytest.raises(BadQuery, match="no row has the key 4"):
        stream.answer(request.SerializeToString())
    other = build_host(Catalogue(entry_points=False), ["discrete.all_different"])
    with pytest.raises(BadQuery, match="takes no inputs"):
        bound(other, "discrete.all_different").answer(ask())
    fresh = EvaluateStream(host._bind, host.regions, host.limits)
    with pytest.raises(BadQuery, match="binding"):
        fresh.answer(ask())


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=3))
def test_no_message_harms_a_host(catalogue: Catalogue, changes: list[tuple[int, int]]) -> None:
    """Whatever bytes are changed: an answer, or what is wrong with the message."""
    stream = bound(build_host(catalogue, catalogue.names()))
    changed = bytearray(ask())
    for place, byte in changes:
        changed[place % len(changed)] = byte
    with suppress(BadQuery, ModuleFault, DecodeError):
        stream.answer(bytes(changed))
