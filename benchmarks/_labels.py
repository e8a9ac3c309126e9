"""Labels on a graph of 100,000 nodes, in a process of its own: what memory and a sweep come to.

python -m benchmarks._labels SEED
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch

from engine import Problem
from engine.minimizers.annealing import Annealing
from engine.moves.start import Start
from engine.random import Stream
from tests.foundation.test_labels import Labels, drawn

NODES, EDGES, LABELS, PARTICLES, SWEEPS = 100_000, 1_000_000, 7, 64, 6


def measured(seed: int) -> dict[str, float]:
    """Peak memory above what the process held before, and CPU seconds of a sweep of all particles
    and of the plain loop, each the median of several."""
    annealed(drawn(60, 100, LABELS), 2)  # the kernels are loaded
    before = _held()
    term = drawn(NODES, EDGES, LABELS, seed)
    spent, energy = annealed(term, SWEEPS)
    memory = _peak() - before
    return {
        "memory": memory / 1e6,
        "sweep": float(np.median(spent)),
        "plain": float(np.median(plain(term))),
        "energy": energy,
    }


def annealed(term: Labels, sweeps: int) -> tuple[list[float], float]:
    """CPU seconds of steps of annealing, each of one sweep where the graph is large."""
    problem, minimizer = Problem(term), Annealing()
    for _ in minimizer.prepare(problem):
        pass
    rng = Stream(0, problem.keys)
    s = minimizer.init(problem, Start(problem, PARTICLES, rng.at(0), {}), rng)
    spent = []
    while int(s.sweep[0]) < sweeps:
        done = int(s.sweep[0])
        took, s = _timed(lambda s=s: minimizer.step(problem, s, rng))
        spent.append(took / (int(s.sweep[0]) - done))
    return spent, float(minimizer.report(problem, s).energy[0])


def plain(term: Labels) -> list[float]:
    """CPU seconds of sweeps of as many particles by the loop below."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, LABELS, (PARTICLES, NODES)).astype(np.uint8)
    start = np.searchsorted(term.end.numpy(), np.arange(NODES + 1))
    near, costs = term.near.numpy().astype(np.int32), term.costs.numpy()
    _plain(start, near, costs, term.price, x[:1], 1.0)
    return [
        _timed(lambda: _plain(start, near, costs, term.price, x, 1.0))[0] for _ in range(SWEEPS)
    ]


@numba.njit
def _plain(start, near, costs, price, x, beta):
    """Metropolis, site by site, written for this energy alone."""
    for p in range(len(x)):
        for i in range(x.shape[1]):
            old, new = x[p, i], np.random.randint(costs.shape[1])
            change = costs[i, new] - costs[i, old]
            for e in range(start[i], start[i + 1]):
                other = x[p, near[e]]
                change += price * ((other == old) * 1.0 - (other == new) * 1.0)
            if change <= 0 or np.random.random() < np.exp(-beta * change):
                x[p, i] = new


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.process_time()
    out = work()
    return time.process_time() - began, out


def _held() -> float:
    """Bytes in memory now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _peak() -> float:
    """Bytes in memory at most; `getrusage` would count those of the process that started this."""
    with open("/proc/self/status") as file:
        told = next(line for line in file if line.startswith("VmHWM"))
    return int(told.split()[1]) * 1024


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(measured(int(sys.argv[1]))))
