"""Hosted terms beside inputs: what travels how often, what a lost host costs, who is at fault."""

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from engine import BadQuery, Finite, Input, Problem, Real, Variable, answers
from engine.domain import Given
from engine.errors import ModuleFault
from engine.minimizers.descent import Descent
from engine.solve import Budget
from modules.catalogue import Catalogue
from services.host.app import build_host
from services.host.servicer import ModuleServicer
from services.host.stream import EvaluateStream
from services.query import query_of
from services.reasoner.reason import Reasoner
from services.remote.agreement import check_values
from services.remote.kinds import RemoteKinds
from services.remote.term import Remote
from services.settings import Limits
from services.v1 import module_pb2 as pb
from services.wire.binding import Binding, binding_to_proto
from services.wire.tensors import put
from tests.support.hosting import Running, soon

FILE = Path(__file__).parents[2] / "support" / "told.py"
MATRIX = [[1.0, -0.5, 0.25], [0.0, 2.0, -1.0]]


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    names = ("Guess", "Told", "Toward", "Sums")
    also = tuple(f"{FILE}:{name}" for name in names)
    return Catalogue(packages=(), entry_points=False, also=also)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How often hosts are asked, and how many bytes of batches reach them."""
    made: Counter[str] = Counter()
    for name in ("_structure", "_judge"):
        truly = getattr(ModuleServicer, name)

        def counted(own: Any, request: Any, name: str = name, truly: Any = truly) -> Any:
            made[name.strip("_")] += 1
            made[f"{name.strip('_')} bytes"] += request.ByteSize()
            return truly(own, request)

        monkeypatch.setattr(ModuleServicer, name, counted)
    answer = EvaluateStream.answer

    def answered(own: EvaluateStream, data: bytes) -> bytes:
        made["batches"] += 1
        made["batch bytes"] += len(data)
        return answer(own, data)

    monkeypatch.setattr(EvaluateStream, "answer", answered)
    yield made


def guess(kinds: Any, n: int = 2) -> tuple[Remote, Input, Variable]:
    f, y = Input("f", Real((n, 2), -9, 9)), Variable("y", Finite((0, 1, 2), (n,)))
    return kinds.kind("told.Guess").build([f, y], {"matrix": MATRIX}), f, y


def features(rows: int, n: int = 2, d: int = 2) -> list[np.ndarray]:
    rng = np.random.default_rng(rows)
    return [rng.random((n, d), dtype=np.float32) for _ in range(rows)]


# ---------------------------------------------------------------- what travels


def test_one_call_has_the_costs_of_all_rows(running: Running, seen: Counter[str]) -> None:
    """Also of rows that are looked at by themselves later; rows told the same are asked once."""
    _, address = running.host()
    kinds = running.kinds(address)
    term, f, y = guess(kinds)
    told = features(20)
    rows = Problem(term, (y, f)).given_rows([{"f": x} for x in told] + [{"f": told[0]}])
    whole = term.structured(1.0, *rows.scope(term))
    assert whole is not None and seen["structure"] == 1
    for picked in ([3], [5, 1], [20], [*range(21)]):
        part = term.structured(1.0, *rows.select(picked).scope(term))
        assert part is not None
        for table, own in zip(whole.tables, part.tables, strict=True):
            assert np.array_equal(table.costs[picked], own.costs)
    here, *_ = guess(running.catalogue)
    own = here.structured(1.0, *rows.scope(term))
    for table, other in zip(whole.tables, own.tables, strict=True):
        np.testing.assert_allclose(table.costs, other.costs)
    assert seen["structure"] == 1
    more = Problem(term, (y, f)).given_rows([{"f": told[2]}, {"f": told[2] + 1}])
    term.structured(1.0, *more.scope(term))
    assert seen["structure"] == 2
    assert term.structured(2.0, *more.scope(term)).tables[0].costs[0, 0] == pytest.approx(
        2 * whole.tables[0].costs[2, 0]
    )
    assert seen["structure"] == 3
    kinds.close()


def test_the_shape_of_a_structure_travels_once(running: Running, seen: Counter[str]) -> None:
    """From solve to solve, whatever the rows were told."""
    host, address = running.host()
    kinds = running.kinds(address)
    sent: list[pb.StructureResponse] = []
    truly = host._structure
    host._structure = lambda request: (sent.append(truly(request)), sent[-1])[1]  # type: ignore
    for k in range(3):
        term, f, y = guess(kinds)
        assert term.fixed_structure and term.partial
        (x,) = features(1)
        rows = Problem(term, (y, f)).given_rows([{"f": x + k, "y": [None, k]}])
        assert term.structured(1.0, *rows.scope(term)) is not None
    assert [r.HasField("factors") for r in sent] == [True, False, False]
    assert all(r.HasField("costs") for r in sent) and len({r.digest for r in sent}) == 1
    kinds.close()


def test_what_rows_were_told_travels_once_a_stream(running: Running, seen: Counter[str]) -> None:
    _, address = running.host()
    kinds = running.kinds(address)
    aim, x = Input("aim", Real((2000,))), Variable("x", Real((), -9, 9))
    term = kinds.kind("told.Sums").build([aim, x], {})
    told = [np.random.default_rng(k).random(2000, dtype=np.float32) / 2000 for k in range(4)]
    rows = Problem(term, (x, aim)).given_rows([{"aim": t} for t in told])
    answers(rows, Descent(), particles=16, budget=Budget(steps=30))
    assert seen["batches"] > 30
    each = 4 * 2000 + 2000  # numbers, and which are there
    assert 4 * each < seen["batch bytes"] < 5 * each + 1_000 * seen["batches"]
    kinds.close()


@pytest.mark.parametrize("sharing", [False, True])
def test_slopes_are_of_states_alone(running: Running, sharing: bool) -> None:
    """In line, through shared memory and its pipes; rows join and leave."""
    _, address = running.host(shared_memory=sharing)
    kinds = running.kinds(address)
    aim, x = Input("aim", Real((3,))), Variable("x", Real((3,), -9, 9))
    term = kinds.kind("told.Toward").build([aim, x], {})
    made = torch.Generator().manual_seed(0)
    pool = torch.randn(5, 3, generator=made)
    for k in range(12):
        told = pool[[k % 5] * 2 + [(k + 1) % 5]]
        state = torch.randn(3, 3, generator=made, requires_grad=True)
        energy = term.energy(told, state)
        torch.testing.assert_close(energy, ((state - told) ** 2).sum(-1).double())
        (slope,) = torch.autograd.grad(energy.sum(), state)
        torch.testing.assert_close(slope, 2 * (state - told))
    if sharing:
        carried = term.stats().carried
        assert carried is not None and carried.memory and carried.piped
    kinds.close()


def test_large_batches_are_cut_by_rows(running: Running, seen: Counter[str]) -> None:
    """No message holds more of what rows were told than messages may."""
    limits = Limits(message_bytes=100_000, chunk_bytes=50_000)
    _, address = running.host(limits=limits)
    kinds = RemoteKinds(running.catalogue, {"told.Sums": [address], "told.Guess": [address]},
                        limits=limits)  # fmt: skip
    aim, x = Input("aim", Real((5000,))), Variable("x", Real((), -9, 9))
    term = kinds.kind("told.Sums").build([aim, x], {})
    values = torch.rand(20, 5000)
    present = torch.ones(20, 5000, dtype=torch.bool)
    state = torch.zeros(40)
    told = Given(values.repeat_interleave(2, 0), present.repeat_interleave(2, 0))
    energy = term.energy(told, state)
    want = (values.sum(-1) * 5000).square().repeat_interleave(2)
    torch.testing.assert_close(energy, want.double(), rtol=1e-4, atol=0)
    assert seen["batches"] == 1 + 10  # two rows of 25,000 bytes in each
    classifier, f, y = guess(kinds, 300)
    rows = Problem(classifier, (y, f)).given_rows([{"f": t} for t in features(60, 300)])
    factors = classifier.structured(1.0, *rows.scope(classifier))
    assert factors is not None and factors.tables[0].costs.shape == (60, 300, 3)
    assert 4 <= seen["structure"] <= 12  # answers are large too
    kinds.close()


def test_answers_of_all_rows_are_checked_in_one_exchange(
    running: Running, seen: Counter[str]
) -> None:
    """A call for the costs, a message that binds the term, and a batch for all energies."""
    _, address = running.host()
    kinds = running.kinds(address)
    query = query_of(
        {
            "variables": {"y": {"values": [0, 1, 2], "shape": [2]}},
            "inputs": {"f": {"shape": [2, 2]}},
            "terms": [{"kind": "told.Guess", "scope": ["f", "y"], "params": {"matrix": MATRIX}}],
            "evidence": [{"f": x} for x in features(12)] + [{}],
        }
    )
    found = Reasoner(kinds).reason(query)
    own = Reasoner(running.catalogue).reason(query)
    assert [a.values for a in found] == [a.values for a in own]
    assert (seen["structure"], seen["batches"], seen["judge"]) == (1, 2, 0)
    kinds.close()


def test_judgement_is_asked_once(running: Running, seen: Counter[str]) -> None:
    _, address = running.host()
    kinds = running.kinds(address)
    told, y = Input("told", Finite("abc", (500,))), Variable("y", Finite("abc", (500,)))
    term = kinds.kind("told.Told").build([told, y], {})
    text = [*"abc" * 166, "a", "b"]
    other = ["b", *text[1:]]
    for _ in range(2):
        assert term.verdicts([[text, text], [text, other], [text, text]]) == [True, False, True]
    assert seen["judge"] == 2  # that binds it, that asks
    assert seen["judge bytes"] < 2 * 8 * 500 + 4 * 3_000  # what was told travels once
    assert term.explain(text, other) == ["label 0 is not a"]
    kinds.close()


def test_what_cannot_decide_is_not_asked(running: Running, seen: Counter[str]) -> None:
    _, address = running.host()
    kinds = running.kinds(address)
    term, _, _ = guess(kinds)
    given = Given(np.ones((2, 2)), np.ones(2, bool))
    assert not term.judge([[given, [0, 1]]])[0].HasField("holds")
    assert seen["judge"] == 0
    kinds.close()


# ---------------------------------------------------------------- losses, limits


def test_a_lost_host_is_told_again(running: Running) -> None:
    one, first = running.host()
    two, second = running.host()
    kinds = running.kinds(first, second)
    aim, x = Input("aim", Real((3,))), Variable("x", Real((3,), -9, 9))
    term = kinds.kind("told.Toward").build([aim, x], {})
    told, state = torch.rand(4, 3), torch.rand(4, 3)
    want = ((state - told) ** 2).sum(-1).double()
    torch.testing.assert_close(term.energy(told, state), want)
    service = running.services.pop(0 if one.streams else 1)
    running.loop.do(service.drain(0))
    soon(lambda: not (one.streams and two.streams))
    torch.testing.assert_close(term.energy(told, state), want)
    kinds.close()


def test_a_host_forgets_rows_that_are_not_named(running: Running) -> None:
    """So that a stream that lasts keeps no more than may be."""
    limits = Limits(input_numbers=35)
    _, address = running.host(limits=limits)
    kinds = RemoteKinds(running.catalogue, {"told.Toward": [address]}, limits=limits)
    aim, x = Input("aim", Real((10,))), Variable("x", Real((10,), -9, 9))
    term = kinds.kind("told.Toward").build([aim, x], {})
    pool = torch.rand(9, 10)
    for k in range(30):
        told = pool[[k % 9, (k * 2 + 1) % 9]]
        state = torch.rand(2, 10)
        want = ((state - told) ** 2).sum(-1).double()
        torch.testing.assert_close(term.energy(told, state), want)
    with pytest.raises(ModuleFault, match="drop some"):
        term.energy(pool[:4], torch.rand(4, 10))
    kinds.close()


def test_a_host_keeps_terms_and_not_what_rows_were_told(running: Running) -> None:
    host, address = running.host()
    kinds = running.kinds(address)
    for x in features(5):
        term, f, y = guess(kinds)
        rows = Problem(term, (y, f)).given_rows([{"f": x}])
        term.structured(1.0, *rows.scope(term))
    assert len(host._kept) == 1
    (kept,) = host._kept.values()
    assert not kept.told[0].present.any() and not kept.term.scope[0].variable.domain.present.any()
    kinds.close()


# ---------------------------------------------------------------- strangers


def bound(host: ModuleServicer) -> tuple[EvaluateStream, list[bytes]]:
    """A stream that was bound to `Toward`."""
    domains = (Input("a", Real((2,), -9, 9)).domain, Real((2,), -9, 9))
    raw: list[bytes] = []
    request = pb.EvaluateRequest(
        binding=binding_to_proto(Binding("told.Toward", {}, domains), raw), raw_contents=raw
    )
    stream = EvaluateStream(host._bind, host.regions, host.limits)
    stream.answer(request.SerializeToString())
    return stream, []


def batch(
    keys: Any, bind: Any = None, told: Any = None, present: Any = None, count: int = 1
) -> bytes:
    request, raw = pb.EvaluateRequest(), []
    put(torch.zeros(count, 2), request.batch.states.add(), raw)
    if keys is not None:
        put(torch.tensor(keys), request.batch.rows, raw)
    if bind is not None:
        request.rows.keys.extend(bind)
    for one in () if told is None else [told]:
        message = request.rows.inputs.add()
        put(one, message.values, raw)
        if present is not None:
            put(present, message.present, raw)
    request.raw_contents.extend(raw)
    return request.SerializeToString()


GOOD = torch.zeros(1, 2)


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        (batch(None), "rows.data_type"),
        (batch([7]), "rows"),
        (batch([0.0], [0], GOOD), "rows"),
        (batch([[0]], [0], GOOD), "rows"),
        (batch([0], [0]), "rows.inputs"),
        (batch([0], [0, 1], GOOD), "rows.inputs[0]"),
        (batch([0], [0], torch.zeros(1, 3)), "rows.inputs[0].tensor"),
        (batch([0], [0], torch.zeros(2)), "rows.inputs[0].tensor"),
        (batch([0], [0], torch.tensor(0.0)), "rows.inputs[0].tensor"),
        (batch([0], [0], torch.zeros(1, 2, dtype=torch.int64)), "rows.inputs[0].tensor"),
        (batch([0], [0], GOOD * torch.nan), "rows.inputs[0].tensor"),
        (batch([0], [0], GOOD, torch.ones(1, 1, dtype=torch.bool)), "rows.inputs[0].present"),
        (batch([0], [0], GOOD, torch.ones(1, 2)), "rows.inputs[0].present"),
        (batch([0, 0], [0], GOOD), "states[0]"),
    ],
)
def test_a_stream_refuses_what_makes_no_sense(running: Running, asked: bytes, path: str) -> None:
    host, _ = running.host()
    stream, _ = bound(host)
    with pytest.raises(BadQuery) as caught:
        stream.answer(asked)
    assert [m.path for m in caught.value.mistakes] == [path]
    answer = pb.EvaluateResponse.FromString(stream.answer(batch([3], [3], GOOD)))
    assert answer.HasField("energies")  # it goes on


def test_places_of_values_are_checked(running: Running) -> None:
    host, _ = running.host()
    told = Input("t", Finite("ab", (2,))).domain
    raw: list[bytes] = []
    request = pb.JudgeRequest(
        binding=binding_to_proto(Binding("told.Told", {}, (told, Finite("ab", (2,)))), raw)
    )
    candidate = request.candidates.add()
    candidate.values.add(null=0)
    candidate.values.add(json='["a", "b"]')
    put(torch.tensor([0, 2]), candidate.inputs.add().values, raw)
    request.raw_contents.extend(raw)
    with pytest.raises(BadQuery, match=r"candidates\[0\].*tensor: a place out of range"):
        host._judge(request)
    raw[-1] = np.array([0, 1], dtype=np.int64).tobytes()
    request.raw_contents[:] = raw
    assert host._judge(request).verdicts[0].holds is True


# ---------------------------------------------------------------- who is at fault


def test_costs_that_are_missing_are_a_fault(running: Running) -> None:
    host, address = running.host()
    kinds = running.kinds(address)
    truly = host._structure

    def forgetful(request: pb.StructureRequest) -> pb.StructureResponse:
        response = truly(request)
        response.ClearField("costs")
        return response

    host._structure = forgetful  # type: ignore[method-assign]
    term, f, y = guess(kinds)
    rows = Problem(term, (y, f)).given_rows([{"f": x} for x in features(2)])
    with pytest.raises(ModuleFault, match="its structure: costs"):
        term.structured(1.0, *rows.scope(term))
    kinds.close()


def test_costs_of_another_row_are_a_fault(running: Running) -> None:
    """The agreement of structure and energy is checked row by row."""
    host, address = running.host()
    kinds = running.kinds(address)
    query = query_of(
        {
            "variables": {"y": {"values": [0, 1, 2], "shape": [2]}},
            "inputs": {"f": {"shape": [2, 2]}},
            "terms": [{"kind": "told.Guess", "scope": ["f", "y"], "params": {"matrix": MATRIX}}],
            "evidence": [{"f": x * 4} for x in features(3)] + [{}],
        }
    )
    for order in itertools.permutations(range(4)):
        told = query.changed(evidence=[query.evidence[k] for k in order])
        assert [a.status for a in Reasoner(kinds).reason(told)] == ["OPTIMAL"] * 4
    truly = host._structure

    def shuffled(request: pb.StructureRequest) -> pb.StructureResponse:
        response = truly(request)
        place = response.costs.raw_index
        costs = np.frombuffer(response.raw_contents[place]).reshape([*response.costs.shape])
        response.raw_contents[place] = costs[::-1].tobytes()
        return response

    host._structure = shuffled  # type: ignore[method-assign]
    with pytest.raises(ModuleFault, match=r"its structure costs|contradict|disagree"):
        Reasoner(kinds).reason(query)
    kinds.close()


def test_agreement_stands_beside_its_row(running: Running) -> None:
    _, address = running.host()
    kinds = running.kinds(address)
    term, f, y = guess(kinds)
    rows = Problem(term, (y, f)).given_rows([{"f": x} for x in features(3)] + [{}])
    check_values(rows, [(row, {"y": [a, b]}) for row in range(4) for a in range(3) for b in (0, 2)])
    kinds.close()


def test_faults_of_a_term_beside_inputs_are_its_own(running: Running) -> None:
    _, address = running.host()
    kinds = running.kinds(address)
    f, y = Input("f", Real((2, 3))), Variable("y", Finite((0, 1, 2), (2,)))
    term = kinds.kind("told.Guess").build([f, y], {"matrix": MATRIX})
    problem = Problem(term, (y, f)).given(f=np.ones((2, 3)))
    with pytest.raises(ModuleFault, match="factors raised"):
        term.structured(1.0, *problem.scope(term))
    kinds.close()


def test_a_batch_without_states_is_refused(running: Running) -> None:
    """Of a term beside inputs, and of one without."""
    host, _ = running.host()
    stream, _ = bound(host)
    with pytest.raises(BadQuery, match="the scope has 1 entries"):
        request, raw = pb.EvaluateRequest(), []
        put(torch.tensor([0]), request.batch.rows, raw)
        request.rows.keys.append(0)
        put(GOOD, request.rows.inputs.add().values, raw)
        request.raw_contents.extend(raw)
        stream.answer(request.SerializeToString())


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=3))
def test_no_message_about_rows_harms_a_host(
    catalogue: Catalogue, changes: list[tuple[int, int]]
) -> None:
    """Whatever bytes are changed: an answer, or what is wrong with the message."""
    host = build_host(catalogue, catalogue.names())
    stream, _ = bound(host)
    domains = (Input("f", Real((2, 2))).domain.narrow([[[1, 2], None]]), Finite((0, 1, 2), (2,)))
    raw: list[bytes] = []
    asked = pb.StructureRequest(
        binding=binding_to_proto(Binding("told.Guess", {"matrix": MATRIX}, domains), raw),
        raw_contents=raw,
    )
    for work, message, kind in (
        (stream.answer, batch([0, 1], [0, 1], torch.zeros(2, 2), count=2), None),
        (host._structure, asked.SerializeToString(), pb.StructureRequest),
    ):
        changed = bytearray(message)
        for place, byte in changes:
            changed[place % len(changed)] = byte
        with suppress(BadQuery, ModuleFault, DecodeError):
            work(bytes(changed) if kind is None else kind.FromString(bytes(changed)))
