"""Learning: exact identities, the seven 2-D sets, Ising couplings, samplers, resumption, tables.

Finished figures are kept in $BASIN_BENCH_WORK (default build/bench/learning), one file each, so
that a run that was cut off goes on where it stood; remove the folder to measure anew.
"""

import os
from pathlib import Path

from benchmarks import _learned_rules, _tables
from benchmarks import _objectives as exact
from benchmarks.common import ROOT, Row, at_least, at_most, data_folder, kept, one_core
from engine.learning.objectives.contrastive_divergence import ContrastiveDivergence
from engine.learning.objectives.pseudo_likelihood import PseudoLikelihood
from engine.minimizers.gibbs import Gibbs
from engine.moves.proposals import Path as PathFlips
from tests.support import planar

STEPS, SITES, RATE = 4000, 8, 2e-3
# MMD x 1e-4 of Zhang et al., EB-GFN, 2022 (PCD) and Schroeder et al., 2024 (ED)
PUBLISHED = {
    "2spirals": (2.160, 0.120, 0.097),
    "8gaussians": (0.954, 0.014, -0.066),
    "circles": (0.188, 0.137, 0.022),
    "moons": (0.962, -0.088, 0.018),
    "pinwheel": (0.505, 0.046, 0.351),
    "swissroll": (1.382, 0.045, 0.097),
    "checkerboard": (2.831, 1.541, 2.049),
}


def run(data: Path | None = None, seed: int = 0) -> list[Row]:
    """All rows."""
    work = Path(os.environ.get("BASIN_BENCH_WORK") or ROOT / "build" / "bench" / "learning")
    with one_core():
        rows = kept(work, f"kernels {seed}", exact.kernels)
        rows += kept(work, f"gaussians {seed}", lambda: exact.gaussians(seed))
        rows += kept(work, f"outliers {seed}", lambda: exact.outliers(seed))
        rows += kept(work, f"wells {seed}", lambda: exact.wells(seed))
        rows += kept(work, f"couplings {seed}", lambda: exact.couplings(seed))
        rows += kept(work, f"sampler {seed}", lambda: exact.sampler(seed))
        rows += kept(work, "resumed", exact.resumed)
        rows += kept(work, f"twin {seed}", lambda: twin(seed))
        rows += planes(work, seed)
    folder = data_folder(data)
    rows += _tables.rows(folder, work, seed)
    rows += _learned_rules.rows(folder, work, seed)
    return rows


def twin(seed: int) -> list[Row]:
    """The same at 8 bits an axis, where everything can be summed: the exact divergence."""
    name = "2-D moons with 16 bits: exact KL of 65,536 cells"
    return [at_most(name, planar.twin(seed, SITES, RATE), 0.05, "nats")]


def planes(work: Path, seed: int) -> list[Row]:
    """Every set by grid energy discrepancy and by persistent contrastive divergence as long."""
    rows: list[Row] = []
    scores = {}
    for name in planar.SETS:
        both = kept(
            work,
            f"{name} {STEPS} {SITES} {planar.SAMPLES} annealed {seed}",
            lambda name=name: plane(name, seed),
        )
        rows += both
        scores[name] = {row["name"].split(": ")[1]: row["value"] for row in both}
    reach = sum(s["MMD x 1e-4"] <= 0.5 for s in scores.values())
    near = sum(s["NLL above its floor"] <= 0.08 for s in scores.values())
    beats = sum(s["NLL above its floor"] <= s["NLL above its floor, PCD"] for s in scores.values())
    fits = sum(s["MMD x 1e-4"] <= s["MMD x 1e-4, PCD"] for s in scores.values())
    return rows + [
        at_least("2-D sets with MMD x 1e-4 <= 0.5", reach, 5, "of 7"),
        at_least("2-D sets with NLL within 0.08 of the entropy floor", near, 5, "of 7"),
        at_least(
            "2-D sets where ED is at least as likely as PCD of equal CPU time", beats, 5, "of 7"
        ),
        at_least("2-D sets where ED has at most the MMD of PCD of equal CPU time", fits, 5, "of 7"),
    ]


def plane(name: str, seed: int) -> list[Row]:
    """One set: grid energy discrepancy with every value enumerated, 8 sites of each example."""
    one = planar.Planar(name)
    ed, pcd = planar.fresh(one, seed), planar.fresh(one, seed)
    seconds = planar.fit(ed, one, PseudoLikelihood(sites=SITES, clip=5.0), STEPS, RATE, seed)
    rival = ContrastiveDivergence(Gibbs(flips=PathFlips(2)), 5, buffer=10_000)
    trial = planar.fit(planar.fresh(one, seed), one, rival, 40, RATE / 2, seed) / 40
    taken = planar.fit(pcd, one, rival, max(100, int(seconds / trial)), RATE / 2, seed)
    mine, other = planar.judged(ed, one, seed), planar.judged(pcd, one, seed)
    old, bernoulli, grid = PUBLISHED[name]
    note = (
        f"width {planar.WIDTH}, {STEPS} steps, {seconds:.0f} CPU s; published ED-Bern {bernoulli}, "
        f"ED-Grid {grid}; importance samples {100 * mine['effective']:.0f} % effective; fresh "
        f"points against fresh points {mine['same']:.3f}"
    )
    target = 2.5 if name == "checkerboard" else 0.5
    return [
        at_most(
            f"2-D {name}: MMD x 1e-4", mine["mmd"], target, "", peer="PCD, published",
            peer_value=old, note=note,
        ),
        at_most(
            f"2-D {name}: NLL above its floor", mine["gap"], 0.08, "nats",
            note=f"NLL {mine['nll']:.3f}",
        ),
        at_most(
            f"2-D {name}: MMD x 1e-4, 20 sweeps from an even start as published", mine["even"],
            target, "", note="flips of single bits, not annealed",
        ),
        at_most(
            f"2-D {name}: MMD x 1e-4, PCD", other["mmd"], None, "",
            note=f"{taken:.0f} CPU s; 20 sweeps from an even start {other['even']:.3f}",
        ),
        at_most(
            f"2-D {name}: NLL above its floor, PCD", other["gap"], None, "nats",
            note=f"importance samples {100 * other['effective']:.0f} % effective",
        ),
    ]  # fmt: skip
