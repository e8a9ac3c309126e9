"""Settings of the allocator and the interpreter for a process that serves."""

import ctypes
import gc
import logging
import sys

log = logging.getLogger(__name__)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def tune_malloc() -> None:
    """Keep freed memory of large messages: page faults are half of their cost (glibc only)."""
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(_M_TRIM_THRESHOLD, 512 << 20)
    except (AttributeError, OSError):
        log.debug("this C library has no mallopt")


def tune_python() -> None:
    """Leave what was loaded so far out of garbage collection, and collect less often: a look at
    every object of torch takes longer than a small query. Let threads take turns sooner."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    sys.setswitchinterval(0.001)  # a call waits for no more than this until a search lets go
