"""A process that has loaded what programs import, and runs each of them in a child of its own.

A line of JSON in is a program and its folder, a line out its exit code and what it said on stderr.
A program finds what a new process finds, but for the seconds that imports take.
"""

import json
import os
import select
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

from tests.support.paths import ROOT

PATIENCE = 100.0  # seconds for a program


class Forked:
    """Runs programs one by one."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tests.support.forked import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )

    def run(self, program: str, folder: Path) -> tuple[int, str]:
        """Its exit code, and what it said on stderr. Raises TimeoutError."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([program, str(folder)]) + "\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], PATIENCE)[0]:
            raise TimeoutError(f"no end in {PATIENCE:g} s")
        code, said = json.loads(self._process.stdout.readline())
        return code, said

    def close(self) -> None:
        """End the process, and a program that is still at work."""
        os.killpg(self._process.pid, 9)
        self._process.communicate()


def _child(program: str, folder: str, said: int) -> int:
    """The program as `python -c` runs it. Returns its exit code."""
    os.dup2(said, 2)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(0, 1)
    os.chdir(folder)
    sys.path[0], sys.argv = "", ["-c"]
    names = sys.modules["__main__"].__dict__
    del names["main"]
    try:
        exec(compile(program, "<string>", "exec"), names)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    """Answers every line of standard input."""
    import engine.kernels.fused
    import modules.catalogue  # noqa: F401, loads torch and pydantic

    engine.kernels.fused.load()
    for line in sys.stdin:
        program, folder = json.loads(line)
        with tempfile.TemporaryFile() as said:
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    code = _child(program, folder, said.fileno())
                    sys.stderr.flush()
                finally:
                    os._exit(code)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            said.seek(0)
            told = json.dumps([code, said.read().decode(errors="replace")])
        sys.stdout.write(told + "\n")
        sys.stdout.flush()
