"""Peers in a process of their own, which the system ends after so many CPU seconds."""

import math
import multiprocessing
import resource
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.common import clock


def within(limit: float, work: Callable[[], Any]) -> tuple[Any, float]:
    """What it returns, plain, and its CPU seconds; None and the limit where it takes longer."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_done, args=(work, limit, there))
    child.start()
    there.close()
    try:
        told, seconds = here.recv()
    except EOFError:  # the system ended it
        told, seconds = None, limit
    child.join()
    return told, seconds


def _done(work: Callable[[], Any], limit: float, there: Connection) -> None:
    used = time.process_time()
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used + limit),) * 2)
    with clock() as taken:
        told = work()
    there.send((told, taken.cpu) if taken.cpu < limit else (None, limit))
