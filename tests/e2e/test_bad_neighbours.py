"""Hosts that hang and terms that leave: a service answers its other callers, and lives on."""

import os
import signal
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import BasinError, OutOfTime
from services.client import Client
from tests.support.serving import Process, sudoku

pytestmark = pytest.mark.clock

TERMS = textwrap.dedent(
    """
    import sys
    from engine import Finite, Term, Variable

    class Leaving(Term):
        \"\"\"Ends the process that asks it.\"\"\"

        def __init__(self, x: Variable):
            super().__init__(x)

        def energy(self, x):
            sys.exit(5)
    """
)


def hosted(kind: str) -> dict:
    return {
        "variables": {"x": {"values": [0, 1], "shape": [20]}},
        "terms": [{"kind": kind, "scope": ["x"]}],
    }


def test_a_host_that_hangs_keeps_nobody_waiting(
    started: Callable[..., Process], kinds_file: Path
) -> None:
    host = started("host", f"{kinds_file}:Pull", "--listen", "127.0.0.1:0")
    served = started(
        "serve", "--listen", "127.0.0.1:0", "--set", "policy.workers=2",
        "--remote", f"kinds.Pull={host.address}",
    )  # fmt: skip
    query = {
        "variables": {"x": {"low": -1.0, "high": 1.0, "shape": [3]}},
        "terms": [{"kind": "kinds.Pull", "scope": ["x"], "params": {"seconds": 0.0}}],
    }
    with Client(served.address) as client:
        client.solve(sudoku(), deadline=20.0)  # kernels are loaded
        os.kill(host.process.pid, signal.SIGSTOP)
        try:
            late: list[float] = []

            def call() -> None:
                began = time.monotonic()
                with pytest.raises(OutOfTime):
                    client.solve(query, deadline=1.5)
                late.append(time.monotonic() - began)

            callers = [threading.Thread(target=call) for _ in range(2)]
            for caller in callers:
                caller.start()
            for caller in callers:
                caller.join()
            began = time.monotonic()
            client.solve(sudoku(), deadline=20.0)
            assert time.monotonic() - began < 2 and max(late) < 2.5
        finally:
            os.kill(host.process.pid, signal.SIGCONT)


def test_a_term_that_leaves_ends_no_service(
    started: Callable[..., Process], tmp_path: Path
) -> None:
    (tmp_path / "leaving.py").write_text(TERMS)
    served = started("host", str(tmp_path / "leaving.py"), "--listen", "127.0.0.1:0")
    front = started("serve", "--listen", "127.0.0.1:0", "--remote", f"leaving={served.address}")
    with Client(front.address) as client:
        for ask in (
            lambda: client.sample(hosted("leaving"), 2, deadline=20.0),
            lambda: client.solve(hosted("leaving"), deadline=20.0),
        ):
            with pytest.raises(BasinError):
                ask()
        assert client.solve(sudoku(), deadline=20.0)
    assert served.process.poll() is None and front.process.poll() is None
