"""Memory that a host shares with callers on its own machine: a sealed memory file, one a stream.

The host makes it and names it; a caller names nothing. Sealed means that neither end can shrink it
under the other's feet; with no name in any folder it is gone when both ends are, however they end.
A caller opens it through /proc, which works for the host's own user on the host's own machine, and
trusts it only when it begins with the token that came over the stream. Linux only.
"""

import contextlib
import fcntl
import mmap
import os
import secrets
import sys
import threading
from collections.abc import Callable

from services.transport.pipes import Bell, HostBell
from services.v1 import module_pb2 as pb

HEAD = 64  # bytes of the file before the region: the token stands there
_NAME = "basin-region"
_TOKEN_BYTES = 32
_SEALS = (
    (fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL) if sys.platform == "linux" else 0
)


class Regions:
    """What one host may share, in bytes: each stream, and all of them together; and how many
    streams it answers through pipes."""

    def __init__(self, each: int, every: int, bells: int):
        self.each, self.every, self.bells = each, every, bells
        self._used = self._rung = 0
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Bytes of all regions of open streams."""
        return self._used

    def open(self, size: int, answer: Callable[[bytes], bytes]) -> "HostRegion | None":
        """A new region; None where it would be too large, or the system has none.

        answer: of a message that comes through its pipes, where it gets any.
        """
        with self._lock:
            if sys.platform != "linux" or size > self.each or self._used + size > self.every:
                return None
            self._used += size
        try:
            return HostRegion(size, self, answer)
        except OSError:
            self.give_back(size)
            return None

    def bell(self, answer: Callable[[bytes], bytes]) -> HostBell | None:
        """Pipes for a region; None where there are as many as may be."""
        with self._lock:
            if self._rung >= self.bells:
                return None
            self._rung += 1
        try:
            return HostBell(answer)
        except OSError:
            self.give_back(0, True)
            return None

    def give_back(self, size: int, rung: bool = False) -> None:
        """A region of this size is closed, and its pipes if it had any."""
        with self._lock:
            self._used -= size
            self._rung -= rung


class HostRegion:
    """The host's end of a region."""

    def __init__(self, size: int, home: Regions, answer: Callable[[bytes], bytes]):
        self.size, self.home = size, home
        self.token = secrets.token_bytes(_TOKEN_BYTES)
        self._descriptor = os.memfd_create(_NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self._descriptor, HEAD + size)
            fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, _SEALS)
            memory = mmap.mmap(self._descriptor, HEAD + size)
        except OSError:
            os.close(self._descriptor)
            raise
        memory[:_TOKEN_BYTES] = self.token
        self.memory = memoryview(memory)[HEAD:]
        self._bell = home.bell(answer)

    def told(self) -> pb.Region:
        """Where a caller finds it."""
        told = pb.Region(
            process=os.getpid(), descriptor=self._descriptor, bytes=self.size, token=self.token
        )
        if self._bell is not None:
            told.asks, told.tells = self._bell.asks, self._bell.tells
        return told

    def close(self) -> None:
        """Give it up; views of it that a term still holds stay valid."""
        os.close(self._descriptor)
        self.memory = memoryview(b"")
        if self._bell is not None:
            self._bell.close()
        self.home.give_back(self.size, self._bell is not None)


def bell_of(told: pb.Region) -> Bell | None:
    """The pipes beside the memory that a host told of and that could be attached; None where there
    are none."""
    if not (told.HasField("asks") and told.HasField("tells")):
        return None
    with contextlib.suppress(OSError, OverflowError):
        return Bell(told.process, told.asks, told.tells)
    return None


def detach(memory: memoryview) -> None:
    """Unmap what was attached: now, or, where somebody still holds a view of it, with the last."""
    mapped = memory.obj
    assert isinstance(mapped, mmap.mmap)
    with contextlib.suppress(BufferError):
        memory.release()
        mapped.close()


def attach(told: pb.Region) -> memoryview | None:
    """The memory that a host told of; None unless it is that region, sealed, on this machine."""
    path = f"/proc/{told.process}/fd/{told.descriptor}"
    if sys.platform != "linux" or not told.bytes:
        return None
    with contextlib.suppress(OSError, ValueError, OverflowError):
        if not os.readlink(path).startswith(f"/memfd:{_NAME}"):
            return None
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            sealed = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
            if not sealed or os.fstat(descriptor).st_size < HEAD + told.bytes:
                return None
            memory = mmap.mmap(descriptor, HEAD + told.bytes)
        finally:
            os.close(descriptor)
        if secrets.compare_digest(memory[:_TOKEN_BYTES], told.token):
            return memoryview(memory)[HEAD:]
    return None
