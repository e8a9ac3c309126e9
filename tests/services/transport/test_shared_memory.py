"""Frames, shared memory and pipes: what they carry, and what no message makes them do."""

import gc
import math
import mmap
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from engine import BadQuery, Real, Variable
from engine.errors import BasinError, ModuleFault, ModuleUnavailable
from modules.catalogue import Catalogue
from services.host.bound_term import BoundTerm
from services.host.stream import EvaluateStream
from services.remote.kinds import RemoteKinds
from services.remote.term import Remote
from services.settings import DEFAULT, Limits
from services.transport import shared_memory
from services.transport.base import Carried
from services.transport.frames import Frame, load
from services.transport.pipes import MOST, Bell, HostBell
from services.transport.shared import LASTING, LENT
from services.transport.shared_memory import Regions, attach, bell_of
from services.v1 import module_pb2 as pb
from services.v1 import module_pb2_grpc as rpc
from services.v1 import tensor_pb2
from services.wire.arrays import share, view, within
from services.wire.binding import Binding, binding_to_proto
from tests.support.hosting import WIDE, Running, check_pull, echo, pull, soon
from tests.support.serving import Process

# ---------------------------------------------------------------- frames

contents = st.lists(st.binary(max_size=300), max_size=4)


@given(st.integers(0, 2**64 - 1), st.booleans(), contents)
def test_a_frame_is_the_plain_message(sequence: int, want: bool, raw: list[bytes]) -> None:
    head = pb.EvaluateRequest(batch=pb.Batch(sequence=sequence, want_gradient=want))
    plain = pb.EvaluateRequest()
    plain.CopyFrom(head)
    plain.raw_contents.extend(raw)
    data = Frame(head, raw).dump()
    assert pb.EvaluateRequest.FromString(data) == plain
    for sent in (data, plain.SerializeToString()):
        got = load(pb.EvaluateRequest, sent)
        assert got.head == head and [bytes(c) for c in got.raw] == raw


@given(st.binary(max_size=60))
def test_frames_of_any_bytes_agree_with_protobuf(data: bytes) -> None:
    """What protobuf refuses is refused, and nothing else goes wrong."""
    try:
        got = load(pb.EvaluateRequest, data)
    except DecodeError:
        return
    plain = pb.EvaluateRequest.FromString(data)
    assert [bytes(c) for c in got.raw] == list(plain.raw_contents)


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=3), st.integers(1, 30))
def test_a_frame_cut_short_is_refused(raw: list[bytes], cut: int) -> None:
    data = Frame(pb.EvaluateRequest(), raw).dump()
    cut = min(cut, len(raw[-1]))  # inside the last tensor
    with pytest.raises(DecodeError):
        load(pb.EvaluateRequest, data[:-cut])


# ---------------------------------------------------------------- shared memory


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_no_slice_leaves_its_region(offset: int, size: int) -> None:
    memory = memoryview(bytearray(1024))
    place = tensor_pb2.SharedSlice(offset=offset, bytes=size)
    if offset % 64 == 0 and offset + size <= 1024:
        assert len(within(place, memory)) == size
        return
    with pytest.raises(BadQuery, match="slice"):
        within(place, memory)


def test_numbers_in_shared_memory_are_checked_like_any_other() -> None:
    memory = memoryview(bytearray(1024))
    spec = tensor_pb2.TensorSpec()
    x = np.random.default_rng(0).random((3, 5), dtype=np.float32)
    assert share(x, spec, memory, 64) == 128
    there = view(spec, [], region=memory)
    assert np.array_equal(there, x)
    there[0, 0] = 7.0
    assert view(spec, [], region=memory)[0, 0] == 7.0  # where it stands: no copy
    with pytest.raises(BadQuery, match="slice"):
        view(spec, [])
    spec.shape[:] = [3, 6]
    with pytest.raises(BadQuery, match="needs 72 bytes, not 60"):
        view(spec, [], region=memory)
    with pytest.raises(ValueError, match="of 1024"):
        share(np.zeros(300), spec, memory, 0)


def test_regions_are_bounded_and_given_back() -> None:
    regions = Regions(each=1 << 20, every=(1 << 20) + 4096, bells=1)
    assert regions.open((1 << 20) + 1, echo) is None
    one = regions.open(1 << 20, echo)
    assert one is not None and regions.open(8192, echo) is None
    other = regions.open(4096, echo)
    assert other is not None
    assert bell_of(one.told()) is not None and bell_of(other.told()) is None  # one bell at most
    one.close()
    other.close()
    assert regions.used == 0
    again = regions.open(8192, echo)
    assert again is not None and bell_of(again.told()) is not None
    again.close()


def test_a_caller_trusts_only_the_region_it_was_told_of() -> None:
    one = Regions(1 << 20, 1 << 20, 1).open(4096, echo)
    assert one is not None
    told = one.told()
    memory = attach(told)
    assert memory is not None and len(memory) == 4096
    memory[:3] = b"abc"
    assert bytes(one.memory[:3]) == b"abc"
    for wrong in (
        {"token": bytes(32)},
        {"descriptor": told.descriptor + 500},
        {"process": 2**40},
        {"bytes": 8192},  # more than there is
        {"bytes": 0},
    ):
        other = pb.Region()
        other.CopyFrom(told)
        for field, value in wrong.items():
            setattr(other, field, value)
        assert attach(other) is None, wrong
    loose = os.memfd_create("basin-region", os.MFD_ALLOW_SEALING)  # could shrink under its reader
    os.ftruncate(loose, 8192)
    mmap.mmap(loose, 8192)[:32] = told.token
    assert attach(pb.Region(process=os.getpid(), descriptor=loose, bytes=4096,
                            token=told.token)) is None  # fmt: skip
    os.close(loose)
    with pytest.raises(PermissionError):  # and a caller cannot shrink it under the host
        descriptor = os.open(f"/proc/{told.process}/fd/{told.descriptor}", os.O_RDWR)
        try:
            os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)
    one.close()
    assert bytes(memory[:3]) == b"abc"  # what is mapped stays


@given(st.lists(st.binary(min_size=1, max_size=MOST), min_size=1, max_size=5))
def test_a_bell_carries_what_fits(messages: list[bytes]) -> None:
    """And says, of what its host cannot answer, that the stream has to be asked."""

    def answer(data: bytes) -> bytes:
        if data.startswith(b"a"):
            raise BadQuery("no")
        return data if data.startswith(b"b") else data + bytes(MOST)

    host = HostBell(answer)
    bell = Bell(os.getpid(), host.asks, host.tells)
    for message in messages:
        assert bell.send(message)
        wanted = message if message.startswith(b"b") else b""
        assert bell.receive(10.0, lambda: False) == wanted
    assert not bell.send(bytes(MOST + 1))
    bell.close()
    host.close()


def test_a_bell_waits_no_longer_than_it_should() -> None:
    free = threading.Event()
    host = HostBell(lambda data: data if free.wait(10) else b"")
    bell = Bell(os.getpid(), host.asks, host.tells)
    assert bell.send(b"b")
    assert bell.receive(0.05, lambda: False) is None
    assert bell.receive(10.0, lambda: True) is None
    free.set()
    assert bell.receive(10.0, lambda: False) == b"b"
    host.close()
    assert bell.receive(10.0, lambda: False) == b""  # nobody is left who could answer
    soon(lambda: not host._ends)
    assert not bell.send(b"b")
    bell.close()


def test_a_caller_that_does_not_read_loses_its_bell() -> None:
    host = HostBell(echo)
    bell = Bell(os.getpid(), host.asks, host.tells)
    soon(lambda: not bell.send(bytes(MOST)))
    soon(lambda: not host._ends)
    bell.close()


def test_pipes_that_are_none_are_not_opened(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as file:
        with pytest.raises(OSError, match="no pipe"):
            Bell(os.getpid(), file.fileno(), file.fileno())
        told = pb.Region(process=os.getpid(), asks=file.fileno(), tells=2**40)
        assert bell_of(told) is None
        assert bell_of(pb.Region(process=2**40, asks=0, tells=1)) is None


def test_a_stream_that_lasts_goes_through_pipes(running: Running) -> None:
    """Small batches too; faults are told as ever, and a bell that ends is done without."""
    host, address = running.host(shared_memory=True)
    kinds = running.kinds(address)
    term, x = pull(kinds), torch.rand(2, 3)
    for _ in range(LASTING):
        assert carried(term) == Carried(address, lends=True)
        term({"x": x})
    check_pull(term, x)
    assert carried(term).pipes and carried(term).memory and carried(term).piped == 2
    with pytest.raises(ModuleFault, match="refused a message.*finite"):
        term({"x": x * math.nan})
    for _ in range(LASTING + 1):
        check_pull(term, x)
    assert carried(term).piped == 6  # of ten exchanges
    (evaluation,) = host.streams
    assert evaluation._region is not None and evaluation._region._bell is not None
    evaluation._region._bell.close()
    check_pull(term, x)
    assert carried(term).piped == 6 and carried(term).memory  # the stream was asked
    term.close()
    soon(lambda: host.regions.used == 0)
    kinds.close()


@pytest.mark.parametrize("kept", ["graph", "slope"])
def test_large_slopes_are_lent_and_never_change(running: Running, kept: str) -> None:
    """A caller that keeps a graph, or slopes, finds them as they were whatever it asks after."""
    host, address = running.host(shared_memory=True)
    kinds = running.kinds(address)
    term = pull(kinds, WIDE)
    first, second = (torch.rand(LENT // 4 // WIDE + 1, WIDE) for _ in range(2))

    def energy() -> tuple[torch.Tensor, torch.Tensor]:
        leaf = first.clone().requires_grad_()
        return term({"x": leaf}).sum(), leaf

    for _ in range(3):  # nothing is kept
        torch.testing.assert_close(torch.autograd.grad(*energy())[0], 2 * (first - 0.3))
    assert carried(term).lends
    total, leaf = energy()
    slope = torch.autograd.grad(total, leaf)[0] if kept == "slope" else None
    assert carried(term).lent == 1
    check_pull(term, second)
    assert not carried(term).lends  # from now on they are copied
    if slope is None:
        (slope,) = torch.autograd.grad(total, leaf)
    torch.testing.assert_close(slope, 2 * (first - 0.3))
    check_pull(term, second)
    assert not carried(term).lent
    kinds.close()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_way_gives_the_same(running: Running, dtype: torch.dtype) -> None:
    host, address = running.host(shared_memory=True)
    x = torch.rand(64, WIDE, dtype=dtype)
    found = []
    for sharing in (True, False):
        kinds = running.kinds(address, shared_memory=sharing)
        term = pull(kinds, WIDE)
        leaf = x.clone().requires_grad_()
        energy = term({"x": leaf})
        (slope,) = torch.autograd.grad(energy.sum(), leaf)
        found.append((energy.detach(), slope))
        assert (host.regions.used > 0) == sharing
        assert torch.equal(term({"x": x[:4]}), energy.detach()[:4])  # a small one, in line
        term.close()
        soon(lambda: host.regions.used == 0)
        kinds.close()
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)
    torch.testing.assert_close(found[0][0].float(), ((x.float() - 0.3) ** 2).sum(-1))


def test_a_batch_that_grows_gets_a_larger_region(running: Running) -> None:
    host, address = running.host(shared_memory=True)
    kinds = running.kinds(address)
    term = pull(kinds, WIDE)
    sizes = []
    for rows in (64, 300, 64):
        check_pull(term, torch.rand(rows, WIDE))
        sizes.append(host.regions.used)
    assert sizes[0] < sizes[1] == sizes[2]
    kinds.close()


def test_without_shared_memory_tensors_go_in_line(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that has too little, and a caller that cannot attach: the answers are the same."""
    small = Limits(region_bytes=4096)
    host, address = running.host(shared_memory=True, limits=small)
    other, elsewhere = running.host(shared_memory=True)
    for at, attaching in ((address, shared_memory.attach), (elsewhere, lambda told: None)):
        monkeypatch.setattr("services.transport.shared.attach", attaching)
        kinds = running.kinds(at)
        check_pull(pull(kinds, WIDE), torch.rand(64, WIDE))
        kinds.close()
    assert host.regions.used == 0
    off, plain = running.host()
    assert not off.modules["kinds.Pull"].shared_memory
    kinds = running.kinds(plain)
    check_pull(pull(kinds, WIDE), torch.rand(64, WIDE))
    kinds.close()


def test_a_caller_cannot_have_a_host_read_elsewhere(running: Running) -> None:
    host, address = running.host(shared_memory=True)
    kinds = running.kinds(address)
    term = pull(kinds)
    own = term.bound(tuple(view.variable.domain for view in term.scope))
    bound = pb.EvaluateRequest(binding=own.message, raw_contents=own.raw)
    for offset, size, room in (
        (4096, 12, (0, 0)),
        (4032, 120, (0, 0)),
        (2**64 - 64, 128, (0, 0)),
        (1, 12, (0, 0)),
        (0, 12, (4096, 64)),
        (0, 12, (0, 2**63)),
    ):
        batch = pb.EvaluateRequest()
        spec = batch.batch.states.add(data_type=tensor_pb2.DATA_TYPE_FLOAT32, shape=[1, 3])
        spec.slice.offset, spec.slice.bytes = offset, size
        if room != (0, 0):
            batch.batch.room.offset, batch.batch.room.bytes = room
        asked = pb.EvaluateRequest(region=pb.RegionRequest(bytes=4096))
        with grpc.insecure_channel(address) as channel:
            replies = rpc.ModuleServiceStub(channel).Evaluate(iter([bound, asked, batch]))
            assert next(replies).HasField("ready")
            assert next(replies).region.bytes == 4096
            with pytest.raises(grpc.RpcError) as caught:
                next(replies)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "region of 4096" in caught.value.details()
    soon(lambda: host.regions.used == 0)
    check_pull(term, torch.rand(2, 3))  # and the host goes on
    kinds.close()


def carried(term: Remote) -> Carried:
    """What the open stream of a term does."""
    found = term.stats().carried
    assert found is not None
    return found


def bound(catalogue: Catalogue) -> tuple[EvaluateStream, bytes]:
    """A stream at its host that shares memory, and a batch that lies there."""
    x = Variable("x", Real((3,)))
    hosted = BoundTerm.of(catalogue.kind("kinds.Pull"), Binding("kinds.Pull", {}, (x.domain,)))
    made = EvaluateStream(lambda message, raw: hosted, Regions(1 << 20, 1 << 20, 1), DEFAULT)
    raw: list[bytes] = []
    message = binding_to_proto(Binding("kinds.Pull", {}, (x.domain,)), raw)
    made.answer(pb.EvaluateRequest(binding=message, raw_contents=raw).SerializeToString())
    made.answer(pb.EvaluateRequest(region=pb.RegionRequest(bytes=4096)).SerializeToString())
    batch = pb.EvaluateRequest()
    batch.batch.want_gradient = True
    for place in (batch.batch.states.add(data_type=1, shape=[4, 3]).slice, batch.batch.room):
        place.offset, place.bytes = 64 * (place is not batch.batch.room), 48
    return made, batch.SerializeToString()


@given(data=st.data())
def test_no_message_harms_a_host(catalogue: Catalogue, data: st.DataObject) -> None:
    """Any bytes, and a sound batch with some bytes changed: an answer, or a mistake told."""
    evaluation, sound = bound(catalogue)
    assert pb.EvaluateResponse.FromString(evaluation.answer(sound)).HasField("energies")
    bent = bytearray(sound)
    for place in data.draw(st.lists(st.integers(0, len(sound) - 1), max_size=3)):
        bent[place] = data.draw(st.integers(0, 255))
    for message in (bytes(bent), data.draw(st.binary(max_size=40))):
        try:
            assert isinstance(evaluation.answer(message), bytes)
        except BasinError as error:
            assert str(error)
    evaluation.close()


def mapped() -> int:
    """Regions that this process has in its memory."""
    return Path("/proc/self/maps").read_text().count("memfd:basin-region")


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Nothing is left to the garbage collector."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_memory_is_given_back_with_its_stream(
    started: Callable[..., Process], kinds_file: Path, catalogue: Catalogue, uncollected: None
) -> None:
    """At once, however the stream ends: closed, replaced by a larger region, its host killed; what
    was lent out of it stays for as long as somebody holds it."""
    command = ("host", f"{kinds_file}:Pull", "--shared-memory")
    hosts = [started(*command) for _ in range(2)]
    kinds = RemoteKinds(catalogue, {"kinds.Pull": [host.address for host in hosts]})
    before = mapped()
    term = pull(kinds, WIDE)
    check_pull(term, torch.rand(64, WIDE))
    assert mapped() == before + 1
    check_pull(term, torch.rand(256, WIDE))  # a larger one
    assert mapped() == before + 1
    for _ in range(2):  # one host after the other
        (mine,) = [host for host in hosts if host.address == carried(term).address]
        mine.process.send_signal(signal.SIGKILL)
        mine.process.wait()
        hosts.remove(mine)
        if hosts:
            check_pull(term, torch.rand(64, WIDE))
            assert mapped() == before + 1
            continue
        with pytest.raises(ModuleUnavailable) as lost:
            check_pull(term, torch.rand(64, WIDE))
        assert mapped() == before, lost  # while the error is still held
    term.close()
    kinds.close()
    assert mapped() == before


def test_memory_that_was_lent_outlives_its_stream(running: Running, uncollected: None) -> None:
    """Both ends stand in this process."""
    host, address = running.host(shared_memory=True)
    kinds = running.kinds(address)
    before, term = mapped(), pull(kinds, WIDE)
    leaf = torch.rand(LENT // 4 // WIDE + 1, WIDE, requires_grad=True)
    total = term({"x": leaf}).sum()
    assert carried(term).lent == 1 and mapped() == before + 2
    term.close()
    soon(lambda: host.regions.used == 0)
    assert mapped() == before + 1  # of the caller
    (slope,) = torch.autograd.grad(total, leaf)
    torch.testing.assert_close(slope, 2 * (leaf.detach() - 0.3))
    del slope, total
    assert mapped() == before
    kinds.close()


def test_a_host_gives_back_what_its_streams_shared() -> None:
    """Views that a term still holds stay valid."""
    before, regions = mapped(), Regions(each=1 << 20, every=1 << 20, bells=0)
    one = regions.open(4096, echo)
    assert one is not None and mapped() == before + 1
    view_of_it = one.memory[:64]
    view_of_it[0] = 7
    one.close()
    assert view_of_it[0] == 7 and mapped() == before + 1
    del view_of_it
    assert mapped() == before


def test_nothing_is_left_when_a_host_is_killed(
    started: Callable[..., Process], kinds_file: Path, catalogue: Catalogue
) -> None:
    """The region of a killed host has no name anywhere; another host takes the batch."""
    with ThreadPoolExecutor(2) as pool:
        command = ("host", f"{kinds_file}:Pull", "--shared-memory")
        hosts = list(pool.map(lambda _: started(*command), range(2)))
    before = set(os.listdir("/dev/shm"))
    kinds = RemoteKinds(catalogue, {"kinds.Pull": [host.address for host in hosts]})
    term = pull(kinds, WIDE)
    x = torch.rand(64, WIDE)
    check_pull(term, x)
    before_it = carried(term)
    assert before_it.memory
    (mine,) = [host for host in hosts if host.address == before_it.address]
    mine.process.send_signal(signal.SIGKILL)
    mine.process.wait()
    check_pull(term, x)
    assert (
        carried(term).memory and carried(term).address != before_it.address
    )  # shared with the other one now
    assert set(os.listdir("/dev/shm")) == before
    kinds.close()
