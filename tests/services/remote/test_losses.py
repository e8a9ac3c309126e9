"""Batches over streams that break anywhere: each is answered once, right, and in order."""

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine import Real
from engine.errors import ModuleFault, ModuleUnavailable
from services.remote.exchanges import WINDOW, Exchanges
from services.remote.replica import Lost
from services.settings import PATIENT, Limits
from services.transport.base import Carried, Transport
from services.transport.chunk import Chunk
from services.v1 import module_pb2 as pb
from services.wire.arrays import Array
from services.wire.binding import Binding, BoundBinding

SMALL = Limits(chunk_bytes=32)  # two states of two floats in a chunk


class Breaking(Transport):
    """Energies are sums; `breaks` says before each thing it does whether the stream breaks."""

    def __init__(self, breaks: Callable[[], bool], room: int):
        self.breaks, self.room = breaks, room
        self.under_way: deque[Chunk] = deque()
        self.open = True

    def send(self, chunk: Chunk) -> bool:
        self._go_on()
        assert len(self.under_way) < WINDOW
        if len(self.under_way) == self.room:
            return False
        self.under_way.append(chunk)
        return True

    def receive(self, chunk: Chunk, lend: bool) -> list[Array]:
        self._go_on()
        assert self.under_way.popleft() is chunk
        return [chunk.states[0].sum(-1).astype("f8")]

    def stats(self) -> Carried:
        return Carried("nowhere")

    def close(self) -> None:
        self.open = False

    def _go_on(self) -> None:
        assert self.open
        if self.breaks():
            raise Lost(ModuleUnavailable("kinds.Sum", "it broke"))


class Source:
    """Replicas whose every stream is a `Breaking` one."""

    def __init__(self, breaks: list[bool], room: int, replicas: int, *floors: float):
        self.every, self.policy, self.limits = tuple(range(replicas)), PATIENT, SMALL
        self.breaks, self.room, self.floors = iter(breaks), room, iter(floors)
        self.opened: list[Breaking] = []

    def first(self, use: Any, avoid: Any) -> tuple[Transport, pb.Ready]:
        del use, avoid
        self.opened.append(Breaking(lambda: next(self.breaks, False), self.room))
        return self.opened[-1], pb.Ready(floor=next(self.floors, 0.0))


def exchanges(source: Source) -> Exchanges:
    bound = BoundBinding.of(Binding("kinds.Sum", {}, (Real((2,), 0.0, 1.0),)))
    return Exchanges(source, bound, sharing=False)  # type: ignore[arg-type]


@given(
    breaks=st.sets(st.integers(0, 40), max_size=8),
    room=st.integers(1, WINDOW),
    sizes=st.lists(st.integers(0, 20), min_size=1, max_size=4),
    backwards=st.booleans(),
)
def test_batches_outlive_streams_that_break(
    breaks: set[int], room: int, sizes: list[int], backwards: bool
) -> None:
    """breaks: the places, in all that is done, where a stream breaks."""
    source = Source([k in breaks for k in range(41)], room, replicas=1 + len(breaks))
    asked = exchanges(source)
    batches = [torch.arange(2.0 * n).view(n, 2) + n for n in sizes]
    sent = [(x, asked.send([x], False)) for x in batches]
    for x, pending in sent[:: -1 if backwards else 1]:
        energy, slopes = asked.wait(pending)
        assert torch.equal(energy, x.sum(-1).double()) and not slopes
    stats = asked.stats()
    assert stats.waiting == 0 and stats.messages == sum(max(1, -(-n // 2)) for n in sizes)
    assert [one.open for one in source.opened] == [False] * (len(source.opened) - 1) + [True]


def test_a_batch_that_breaks_every_stream_is_given_up() -> None:
    source = Source([True] * 100, WINDOW, replicas=3)
    asked = exchanges(source)
    with pytest.raises(ModuleUnavailable, match="it broke"):
        asked.send([torch.rand(2, 2)], False)
    assert len(source.opened) == 4 and asked.stats().waiting == 0  # one round more than replicas
    assert asked.stats().carried is None


def test_replicas_of_two_versions_are_told() -> None:
    """A floor that a proof leans on must not change under it."""
    source = Source([False, False, True], WINDOW, 2, 0.0, -1.0)
    asked = exchanges(source)
    x = torch.rand(2, 2)
    asked.wait(asked.send([x], False))
    with pytest.raises(ModuleFault, match="nowhere: its floor.*one version"):
        asked.wait(asked.send([x], False))
    assert not source.opened[-1].open
