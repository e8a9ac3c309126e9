"""A process that answers cases one by one, and who watches it: a search that hangs is ended.

A line of JSON in is a case and a door, a line out the complaints. A loop inside compiled code hears
no signal, so that nothing but another process can tell that it hangs.
"""

import json
import os
import select
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from tests.support.fuzz.checks import Complaint
from tests.support.fuzz.draw import Case

ROOT = Path(__file__).resolve().parents[3]
START = 120.0  # seconds for the first answer: imports, caches


class Worker:
    """Asks one process, and starts another in place of one that hangs or ends."""

    def __init__(self, patience: float = 40.0):
        self.patience = patience
        self._process: subprocess.Popen[str] | None = None
        self._told: IO[str]  # what it says on stderr

    def complaints(self, case: Case, door: str) -> list[Complaint]:
        """What is wrong with a case; also where its process hangs or ends."""
        patience = self.patience if self._process is not None else self.patience + START
        process = self._process or self._started()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps([asdict(case), door]) + "\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], patience)
        line = process.stdout.readline() if ready else ""
        if line:
            return [Complaint(*found) for found in json.loads(line)]
        code, last = process.poll(), self._last()
        self.close()
        if ready:
            return [Complaint("exception", f"the process ended with {code}: {last}")]
        return [Complaint("hang", f"no answer in {patience:g} s")]

    def close(self) -> None:
        """End the process, however busy it is."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
            self._told.close()

    def _started(self) -> subprocess.Popen[str]:
        self._told = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed with the process)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.fuzz.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._told,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        return self._process

    def _last(self) -> str:
        self._told.seek(0)
        return self._told.read()[-300:]


def main() -> None:
    """Answers every line of standard input."""
    import logging

    import torch

    from tests.support.fuzz.doors import House, complaints

    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing else may write there
    house = House()
    for line in sys.stdin:
        fields, door = json.loads(line)
        found: list[Any] = complaints(Case(**fields), door, house)
        out.write(json.dumps(found) + "\n")
        out.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
