"""Denoising and segmentation as least energies over labels of pixels, beside toulbar2 and medians.

Pictures are drawn here: shapes on a ground, under noise. E = colours seen + weight * Potts.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch.nn.functional import pad

from benchmarks.common import Row, at_least, at_most, clock, missing
from engine import Budget, Finite, Input, Problem, Real, Status, Variable, answers
from modules.image.observation import Observation
from modules.image.smoothness import Smoothness

SIDE, PICTURES, NOISE, WEIGHT = 48, 10, 0.5, 1.2
FEW = 24  # a side of pictures of four labels
COLOURS = ((0.9, 0.2, 0.2), (0.2, 0.8, 0.3), (0.2, 0.3, 0.9), (0.9, 0.9, 0.3))


def shapes(rng: np.random.Generator, side: int, labels: int) -> np.ndarray:
    """Ellipses of random labels on a ground of label 0. -> (side, side) int64"""
    out = np.zeros((side, side), dtype=np.int64)
    y, x = np.indices(out.shape)
    for _ in range(6):
        a, b = rng.uniform(0.1, 0.35, 2) * side
        v, u = rng.uniform(0, side, 2)
        turn = rng.uniform(0, np.pi)
        p = (x - u) * np.cos(turn) + (y - v) * np.sin(turn)
        q = (y - v) * np.cos(turn) - (x - u) * np.sin(turn)
        out[(p / a) ** 2 + (q / b) ** 2 < 1] = rng.integers(labels)
    return out


def signal(got: np.ndarray, true: np.ndarray) -> float:
    """Peak signal to noise ratio of pictures in [0, 1], in decibels."""
    return float(-10 * np.log10(max(1e-6, ((got - true) ** 2).mean())))


def median(noisy: np.ndarray, side: int) -> np.ndarray:
    """The median of side x side pixels round each."""
    edge = side // 2
    x = pad(torch.from_numpy(noisy)[None, None], (edge,) * 4, mode="replicate")[0, 0]
    return x.unfold(0, side, 1).unfold(1, side, 1).flatten(2).median(2).values.numpy()


def two_values(seed: int) -> Iterable[Row]:
    """Pictures of two values under heavy noise: denoised, and segmented by two colours."""
    rng = np.random.default_rng([seed, 11])
    x = Variable("x", Finite((0.0, 1.0), (SIDE, SIDE)))
    y = Input("y", Real((SIDE, SIDE)))
    denoise = Problem(1.0 * Observation(y, x, noise=NOISE) + WEIGHT * Smoothness(x))
    label = Variable("label", Finite(("ground", "thing"), (SIDE, SIDE)))
    colour = Input("colour", Real((SIDE, SIDE, 3)))
    seen = Observation(colour, label, noise=NOISE, colours=[list(c) for c in COLOURS[:2]])
    segment = Problem(1.0 * seen + WEIGHT * Smoothness(label, neighbours=8))
    true = [shapes(rng, SIDE, 2) for _ in range(2 * PICTURES)]
    noisy = [t + NOISE * rng.normal(size=t.shape) for t in true[:PICTURES]]
    tinted = [
        np.array(COLOURS)[t] + NOISE * rng.normal(size=(*t.shape, 3)) for t in true[PICTURES:]
    ]
    with clock() as took:
        clean = answers(denoise.given_rows([{"y": n} for n in noisy]))
        parts = answers(segment.given_rows([{"colour": n} for n in tinted]))
    proved = sum(a.status is Status.OPTIMAL for a in [*clean, *parts])
    got = [np.array(a.values["x"]) for a in clean]
    ours = float(np.mean([signal(g, t) for g, t in zip(got, true, strict=False)]))
    best = max(
        float(np.mean([signal(median(n, k), t) for n, t in zip(noisy, true, strict=False)]))
        for k in (3, 5, 7)
    )
    named = [np.array(a.values["label"]) == "thing" for a in parts]
    share = np.mean([(n == t).mean() for n, t in zip(named, true[PICTURES:], strict=True)])
    peers = [
        *toulbar2(denoise, [{"y": n} for n in noisy], took.cpu / len(true)),
        *toulbar2(segment, [{"colour": n} for n in tinted], took.cpu / len(true)),
    ]
    beaten = [a.energy <= e + 1e-6 for a, e in zip([*clean, *parts], peers, strict=False)]
    return [
        at_least(f"{2 * PICTURES} pictures of two labels, denoised or segmented: proved least",
                 proved, 2 * PICTURES, "pictures",
                 note=f"{1000 * took.cpu / len(true):.3g} ms of CPU a picture"),
        at_least("the same: energy at most toulbar2's at equal CPU (1 s at least)",
                 float(sum(beaten)), 2 * PICTURES, "pictures") if peers else
        missing("the same: energy at most toulbar2's", 2 * PICTURES, "pictures", "no pytoulbar2"),
        at_least("denoised by the least energy: PSNR", ours, best, "dB",
                 peer="the best median filter of 3, 5 and 7 pixels", peer_value=best,
                 note="the target is the peer's"),
        at_least("pixels segmented right", 100 * share, None, "%"),
    ]  # fmt: skip


def four_labels(seed: int) -> Iterable[Row]:
    """Pictures of four labels: no cut tells the least; a bound is proved."""
    rng = np.random.default_rng([seed, 12])
    label = Variable("label", Finite((0, 1, 2, 3), (FEW, FEW)))
    colour = Input("colour", Real((FEW, FEW, 3)))
    seen = Observation(colour, label, noise=NOISE, colours=[list(c) for c in COLOURS])
    problem = Problem(1.0 * seen + WEIGHT * Smoothness(label))
    true = [shapes(rng, FEW, 4) for _ in range(PICTURES)]
    rows = [{"colour": np.array(COLOURS)[t] + NOISE * rng.normal(size=(*t.shape, 3))} for t in true]
    with clock() as took:
        found = [answers(problem.given_rows([row]), budget=Budget(seconds=10))[0] for row in rows]
    peers = toulbar2(problem, rows, took.cpu / len(true))
    name = f"{PICTURES} pictures of four labels: energy at most toulbar2's at equal CPU, or proved"
    if not peers:
        return [missing(name, PICTURES, "pictures", "no pytoulbar2")]
    good = [
        a.status is Status.OPTIMAL or a.energy <= e + 1e-6
        for a, e in zip(found, peers, strict=True)
    ]
    gaps = [(a.energy - a.bound) / max(1.0, abs(a.energy)) for a in found]
    excess = [a.energy / e - 1 for a, e in zip(found, peers, strict=True)]
    return [
        at_least(name, float(sum(good)), PICTURES, "pictures",
                 note=f"{took.cpu / PICTURES:.3g} s of CPU a picture; energy above the peer's by "
                 f"{100 * np.mean(excess):.3g} % on the average"),
        at_most("the same: energy above the proved bound", 100 * float(np.mean(gaps)), None, "%"),
    ]  # fmt: skip


def toulbar2(problem: Problem, rows, seconds: float) -> list[float]:
    """The energies that toulbar2 finds in the same time, at least a second; none without it."""
    try:
        import pytoulbar2
    except ImportError:
        return []
    out = []
    for row in rows:
        one = problem.given_rows([row])
        factors, _ = one.factored()
        network = pytoulbar2.CFN(1e6, 6, vac=1)
        for k, size in enumerate(factors.sizes.tolist()):
            network.AddVariable(f"v{k}", range(size))
        for table in one.explicit.factors.tables:
            for scope, dense in _each(table, factors.sizes):
                network.AddFunction([f"v{s}" for s in scope], dense)
        solved = network.Solve(timeLimit=max(1, round(seconds)))
        out.append(float("inf") if solved is None else _energy(one, solved[0]))
    return out


def _energy(problem: Problem, places) -> float:
    """What its labels cost here: toulbar2 rounds every cost to six digits."""
    return float(problem.exactly(np.array(places, dtype=np.int64), 0))


def _each(table, sizes):
    """Each scope of a table with its costs in full."""
    for one in table.each():
        shape = tuple(sizes[one.scopes[0]].tolist())
        dense = one.dense(shape).reshape(-1).tolist()
        yield from ((scope.tolist(), dense) for scope in one.scopes)
