"""What all benchmarks share: rows, the data folder, clocks of CPU and wall, one core.

A row that could not be measured has value None and says why in `note`.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypedDict

import torch

from examples.generators import VARIANTS
from modules.catalogue import Catalogue
from services.reasoner.reason import Reasoner

ROOT = Path(__file__).resolve().parents[1]


class Row(TypedDict):
    """One figure: a plain mapping, so that it is JSON as it stands."""

    name: str  # in plain words, what "Must show" says
    value: float | None
    target: float | None
    unit: str
    peer: str | None
    peer_value: float | None
    reached: bool | None  # None: not measured, or there is no target
    note: str


def at_most(name: str, value: float | None, target: float | None, unit: str, **more: Any) -> Row:
    """A figure that should be small."""
    return _row(name, value, target, unit, False, **more)


def at_least(name: str, value: float | None, target: float | None, unit: str, **more: Any) -> Row:
    """A figure that should be large."""
    return _row(name, value, target, unit, True, **more)


def missing(name: str, target: float | None, unit: str, why: str) -> Row:
    """A figure that could not be measured."""
    return _row(name, None, target, unit, True, note=why)


def _row(
    name: str,
    value: float | None,
    target: float | None,
    unit: str,
    large: bool,
    peer: str | None = None,
    peer_value: float | None = None,
    note: str = "",
) -> Row:
    reached = None
    if value is not None and target is not None:
        reached = bool(value >= target if large else value <= target)
    return Row(
        name=name,
        value=None if value is None else float(f"{value:.6g}"),
        target=target,
        unit=unit,
        peer=peer,
        peer_value=None if peer_value is None else float(f"{peer_value:.6g}"),
        reached=reached,
        note=note,
    )


def kept(work: Path, name: str, make: Callable[[], Iterable[Row]]) -> list[Row]:
    """The rows of one measurement, from the folder if it was made before."""
    path = work / f"{hashlib.blake2b(name.encode(), digest_size=8).hexdigest()}.json"
    if path.exists():
        return json.loads(path.read_text())["rows"]
    rows = list(make())
    work.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"name": name, "rows": rows}, indent=1))
    os.replace(part, path)
    return rows


def data_folder(data: Path | None) -> Path | None:
    """The folder of public instances: the one given, $BASIN_DATA, or ../shared/data."""
    given = data or os.environ.get("BASIN_DATA")
    folder = Path(given) if given else ROOT.parent / "shared" / "data"
    return folder if folder.is_dir() else None


@dataclass
class Clock:
    """Seconds of wall and of this process's CPU."""

    wall: float = 0.0
    cpu: float = 0.0


@contextlib.contextmanager
def clock() -> Iterator[Clock]:
    """Times a block; the figures are there when it ends."""
    told = Clock()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield told
    finally:
        told.wall, told.cpu = time.perf_counter() - wall, time.process_time() - cpu


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """This process, its threads and its children on one core, where the system allows it."""
    threads = torch.get_num_threads()
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    torch.set_num_threads(1)
    if allowed:
        os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if allowed:
            os.sched_setaffinity(0, allowed)


@cache
def catalogue() -> Catalogue:
    """The kinds that come with Basin, those that were asked for loaded, as in a warm process."""
    return Catalogue(entry_points=False)


def reasoner() -> Reasoner:
    """A reasoner that has kept nothing of any query."""
    return Reasoner(catalogue())


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of all lies at or below."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def auroc(good: Sequence[float], bad: Sequence[float]) -> float:
    """The chance that a good one scores above a bad one; a tie counts half."""
    every = sorted([(v, 1) for v in good] + [(v, 0) for v in bad])
    below, total, at = 0, 0.0, 0
    while at < len(every):
        end = at
        while end < len(every) and every[end][0] == every[at][0]:
            end += 1
        wins = sum(kind for _, kind in every[at:end])
        losses = end - at - wins
        total += wins * (below + losses / 2)
        below, at = below + losses, end
    return total / (len(good) * len(bad))


@cache
def variant(name: str, seed: int) -> dict[str, Any]:
    """One generated query of a variant of the examples."""
    return VARIANTS[name](seed)
