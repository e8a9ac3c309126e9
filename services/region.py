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

from services.v1 import module_pb2 as pb

HEAD = 64  # bytes of the file before the region: the token stands there
_NAME = "basin-region"
_TOKEN_BYTES = 32
_SEALS = (
    (fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL) if sys.platform == "linux" else 0
)


class Regions:
    """What one host may share, in bytes: each stream, and all of them together."""

    def __init__(self, each: int, every: int):
        self.each, self.every = each, every
        self._used = 0
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Bytes of all regions of open streams."""
        return self._used

    def open(self, size: int) -> "HostRegion | None":
        """A new region; None where it would be too large, or the system has none."""
        with self._lock:
            if sys.platform != "linux" or size > self.each or self._used + size > self.every:
                return None
            self._used += size
        try:
            return HostRegion(size, self)
        except OSError:
            self.give_back(size)
            return None

    def give_back(self, size: int) -> None:
        """A region of this size is closed."""
        with self._lock:
            self._used -= size


class HostRegion:
    """The host's end of a region."""

    def __init__(self, size: int, home: Regions):
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

    def told(self) -> pb.Region:
        """Where a caller finds it."""
        return pb.Region(
            process=os.getpid(), descriptor=self._descriptor, bytes=self.size, token=self.token
        )

    def close(self) -> None:
        """Give it up; views of it that a term still holds stay valid."""
        os.close(self._descriptor)
        self.home.give_back(self.size)


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
