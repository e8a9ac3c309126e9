"""Starts Basin's services as processes of their own, says where they listen, and stops them."""

import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SAYS = "listening on "


@contextlib.contextmanager
def service(*arguments: str, folder: Path = ROOT, patience: float = 60.0) -> Iterator[str]:
    """Runs `basin ARGUMENTS --listen 127.0.0.1:0` in `folder`; gives its address."""
    command = ["services.cli", *arguments, "--listen", "127.0.0.1:0"]
    with started(command, folder, patience) as (address, _):
        yield address


@contextlib.contextmanager
def started(
    command: Sequence[str], folder: Path = ROOT, patience: float = 60.0
) -> Iterator[tuple[str, int]]:
    """Runs `python -m COMMAND` in `folder`; gives the address it says it listens on, and its id.

    Raises RuntimeError with what it wrote where it ends early or does not say in time.
    """
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C reaches this process first, which then stops the others
    )
    try:
        yield _address(process, " ".join(command), patience), process.pid
    finally:
        stop(process)


def stop(process: subprocess.Popen[str], patience: float = 5.0) -> None:
    """Asks a service to end, and ends it when it does not."""
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _address(process: subprocess.Popen[str], name: str, patience: float) -> str:
    """Where the service listens: it says so itself. What it says later is read and dropped."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        with process.stdout as out:
            for line in out:
                lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    said = ""
    while True:
        try:
            line = lines.get(timeout=patience)
        except queue.Empty:
            raise RuntimeError(f"{name} did not start in {patience:g} s: {said}") from None
        if line is None:
            raise RuntimeError(f"{name} ended: {said}")
        if line.startswith(SAYS):
            return line.removeprefix(SAYS).strip()
        said += line
