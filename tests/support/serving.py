"""What tests of services share: real servers on port 0, kinds that misbehave, processes."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.support.fuzz.loop import Loop as Loop

KINDS = '''
"""Kinds for the tests of services."""
import os
import time

import torch

from tests.support.hosted import Pull as Pull
from engine import Factors, Term, Variable
from engine.factors import Table


class Hinted(Term):
    """Squared distance from 0.3, which it proposes, or something wrong of your choice."""

    def __init__(self, x: Variable, how: str = ""):
        super().__init__(x)
        self.how = how

    def energy(self, x):
        return ((x - 0.3) ** 2).flatten(1).sum(-1)

    def propose(self, particles, rng, known, domain):
        if self.how == "raise":
            raise ValueError("secret text")
        x = 0.3 + 1e-3 * rng.normal(particles, *domain.event)
        return (x[:1] if self.how == "shape" else x * float("nan") if self.how == "nan" else x,)


class Banded(Term):
    """The sum; it stands by numbers below 1, and by all where their sum is up to 1, or up to 2
    where the evidence says nothing."""

    def energy(self, x):
        return x.flatten(1).sum(-1)

    def accepts(self, domains, tensors):
        (domain,), (x,) = domains, tensors
        free = (domain.high > domain.low).flatten(1).all(-1).expand(len(x))
        few = x.flatten(1).sum(-1) <= 1.0 + free.float()
        return few[:, None] | (x.flatten(1) < 1.0)


class Word(Term):
    """One of two words, as a hard table; its energy is 1 where it is neither."""

    WORDS = [(0, 1, 2), (2, 1, 0)]
    affine = False

    def __init__(self, x: Variable):
        super().__init__(x)

    def energy(self, x):
        return 1 - sum(x[:, 0, a] * x[:, 1, b] * x[:, 2, c] for a, b, c in self.WORDS)

    def holds(self, values):
        return tuple(values) in self.WORDS

    def factors(self, *domains):
        import numpy as np

        sizes = Factors.sizes_of(domains)
        return Factors.table(sizes, np.array(self.WORDS), np.zeros(2), float("inf"))


class Motif(Term):
    """Three places of a word, the first once more, spell one of two words."""

    WORDS = [(0, 1, 0, 2), (2, 2, 2, 1)]
    affine = False
    fixed_structure = True

    def __init__(self, x: Variable):
        super().__init__(x)

    def energy(self, x):
        return 1 - sum(x[:, 0, a] * x[:, 1, b] * x[:, 2, c] for a, b, _, c in self.WORDS)

    def holds(self, values):
        return (values[0], values[1], values[0], values[2]) in self.WORDS

    def factors(self, *domains):
        import numpy as np

        one, zero = np.array([[0, 1, 0, 2]]), np.array([0])
        listed = np.array([*self.WORDS, (0, 1, 1, 2)])  # the last says two things of one site
        table = Table(one, listed, np.zeros(3), float("inf"), zero, zero)
        return Factors(Factors.sizes_of(domains), 3, tables=(table,))

    def says(self, part):
        return "one of the two words"


class Pairs(Term):
    """Neighbours that are alike cost one each; never explicit."""

    def __init__(self, x: Variable, seconds: float = 0.0):
        super().__init__(x)
        self.seconds = seconds

    def energy(self, x):
        time.sleep(self.seconds)
        return (x[:, 1:] * x[:, :-1]).sum((-2, -1))

    def factors(self, *domains):
        return None

    def floor(self):
        return 0.0


class Liar(Term):
    """Its structure lets everything pass, its judgement nothing."""

    def energy(self, x):
        return x.flatten(1).sum(-1) * 0

    def holds(self, *values):
        return False

    def factors(self, *domains):
        sizes = Factors.sizes_of(domains)
        return Factors(sizes, len(sizes))


class Priced(Term):
    """Its structure costs more than its energy says."""

    def __init__(self, x: Variable):
        super().__init__(x)

    def energy(self, x):
        return x[:, 0, 0]

    def factors(self, *domains):
        import numpy as np

        sizes = Factors.sizes_of(domains)
        return Factors.table(sizes, np.array([[1], [0]]), np.array([5.0, 7.0]))


class Broken(Term):
    """Wrong in a way of your choice."""

    def __init__(self, x: Variable, how: str):
        super().__init__(x)
        self.how = how
        if how == "init":
            raise OSError("secret path")

    def energy(self, x):
        if self.how == "nan":
            return x.flatten(1).sum(-1) * float("nan")
        if self.how == "shape":
            return x.flatten(1)
        if self.how == "kind":
            return 3.0
        if self.how == "slope":
            return (x.flatten(1).sum(-1) * 0).sqrt()
        if self.how == "exit":
            os._exit(1)
        raise ValueError("secret text")

    def factors(self, *domains):
        if self.how != "factors":
            return None
        sizes = Factors.sizes_of(domains)
        return Factors(sizes, len(sizes) + 1)
'''

ROWS = [[9 * r + c for c in range(9)] for r in range(9)]
COLUMNS = [[9 * r + c for r in range(9)] for c in range(9)]
BOXES = [
    [9 * (3 * a + i) + 3 * b + j for i in range(3) for j in range(3)]
    for a in range(3)
    for b in range(3)
]
PUZZLE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
GRID = [[None if c == "." else int(c) for c in PUZZLE[9 * r : 9 * r + 9]] for r in range(9)]


def sudoku(**fields: Any) -> dict[str, Any]:
    """A Sudoku as three terms."""
    return {
        "variables": {"grid": {"values": list(range(1, 10)), "shape": [9, 9]}},
        "terms": [
            {"kind": "discrete.all_different", "scope": ["grid"], "params": {"lines": lines}}
            for lines in (ROWS, COLUMNS, BOXES)
        ],
        "evidence": {"grid": GRID},
    } | fields


def soft(kind: str, sites: int = 12, seconds: float = 0.0, **fields: Any) -> dict[str, Any]:
    """A query of one hosted soft term, whose search has no end of its own."""
    real = {"low": -1.0, "high": 1.0, "shape": [sites]}
    return {
        "variables": {"x": real if kind == "kinds.Pull" else {"values": [0, 1], "shape": [sites]}},
        "terms": [{"kind": kind, "scope": ["x"], "params": {"seconds": seconds}}],
    } | fields


class Process:
    """`basin ...` in a process of its own, which says where it listens."""

    def __init__(self, *arguments: str, cwd: Path | None = None):
        self.began = time.monotonic()
        root = str(Path(__file__).resolve().parents[2])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.cli", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            raise ValueError(self.process.communicate()[1])
        self.address = line.split()[-1]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Its exit code after a signal."""
        self.process.send_signal(number)
        self.process.communicate(timeout=20)  # closes the pipes too
        return self.process.returncode
