"""Pictures: energies with generators, taught by each other, and what is asked of them.

Each figure of fidelity stands beside that of held-out real pictures (`_fidelity.py`). Finished
figures are kept in $BASIN_BENCH_WORK (default build/bench/image), one file each, so that a run that
was cut off goes on where it stood; remove the folder to measure anew.
"""

import os
from collections.abc import Callable
from pathlib import Path

from benchmarks import _deblurred, _diffusion, _hat, _others, _pictures, _taught
from benchmarks.common import ROOT, Row, kept, one_core

SEEDS = 3


def run(data: Path | None = None, seed: int = 0) -> list[Row]:
    """All rows."""
    return [row for section in SECTIONS.values() for row in section(data=data, seed=seed)]


def section(name: str, rows: Callable[[int, int], list[Row]]) -> Callable[..., list[Row]]:
    """One measurement on one core, its rows kept; `rows` takes a seed and how many from it on."""

    def measured(data: Path | None = None, seed: int = 0) -> list[Row]:
        del data
        work = Path(os.environ.get("BASIN_BENCH_WORK") or ROOT / "build" / "bench" / "image")
        with one_core():
            return kept(work, f"{name} {seed}", lambda: rows(seed, SEEDS))

    return measured


SECTIONS = {
    "hat": section("hat", _hat.rows),
    "diffusion": section("diffusion", _diffusion.rows),
    "queries": section("queries", _pictures.rows),
    "deblurring": section("deblurring", _deblurred.rows),
    "taught": section("taught", _taught.rows),
    "others": section("others", _others.rows),
    "orders": section("orders", _diffusion.orders),
}
