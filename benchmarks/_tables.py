"""Learned tables: trained on made rows and tested on real ones, calibration, and the mixed rings.

The classifier of made rows is scikit-learn's histogram gradient boosting with its defaults. Each
table is split by a seeded permutation, four fifths to learn from; Beijing by year (2013 is tested),
as its hours are so alike that a random split tests memory; the random split is given as well.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from benchmarks.common import Row, at_least, at_most, clock, kept, missing
from engine.energy.lesson import Lesson
from engine.learning.examples import Stored
from engine.learning.objective import Nets, Objective, Update
from engine.learning.optimizers import AdamW
from engine.learning.recipe import Recipe
from engine.learning.train import train
from engine.random import Stream
from modules.discrete.tabular.marginals import generated
from modules.discrete.tabular.model import TableModel
from modules.discrete.tabular.network import TableNet, fitted_temperature
from modules.discrete.tabular.reading import Grid, read_grid
from modules.discrete.tabular.schema import Column, Schema, Type
from modules.discrete.tabular.split import Split
from modules.discrete.tabular.train import Options, fitted, one_thread, prepared
from modules.discrete.tabular.types import infer
from modules.shared.reading.texts import read_text

STEPS = 3_000
MADE, ROUNDS = 6_000, 25  # rows, Gibbs sweeps
SEEDS = 5
BINS = 15  # of the calibration error


class Table(NamedTuple):
    """A file of shared/data/tabular, and its target."""

    file: str
    target: str
    year: str | None = None  # tested apart, by this year


TABLES = {
    "adult": Table("adult_train.csv.gz", "income"),
    "bank": Table("bank_full_80.csv.gz", "y"),
    "cardio": Table("cardio_80.csv.gz", "cardio"),
    "churn": Table("churn_modelling_80.csv.gz", "Exited"),
    "mushroom": Table("mushroom_80.csv.gz", "edibility"),
    "beijing": Table("beijing_pm25_2010_2013.csv.gz", "pm2.5", year="2013"),
    "beijing, random split": Table("beijing_pm25_2010_2013.csv.gz", "pm2.5"),
}


def rows(data: Path | None, work: Path, seed: int = 0) -> Iterator[Row]:
    """Every figure about tables; `data` is the folder of public files, `work` keeps what is done."""
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield from kept(work, f"rings {seed}", lambda: rings(seed))
        if data is None or not (data / "tabular").is_dir():
            yield missing("tables: made rows against real ones", 0.9, "ratio", "no data folder")
            return
        folder = data / "tabular"
        yield from kept(work, "calibration", lambda: calibration(folder))
        for name, table in TABLES.items():
            yield from kept(
                work,
                f"table {name} {seed}",
                partial(made_against_real, name, table, folder, seed),
            )


# ---------------------------------------------------------------- made rows against real ones


def made_against_real(name: str, table: Table, folder: Path, seed: int) -> list[Row]:
    """How well a classifier does that has only seen made rows, against one that has seen real."""
    grid = _with_target(read_grid(read_text(str(folder / table.file))), table.target)
    learn, test = _halves(grid, table, seed)
    with clock() as time:
        model = _fit(learn, table.target, seed)
    split = model.schema.codes(learn)
    with clock() as making:
        made = _grid(model, generated(model, MADE, ROUNDS, seed, _independent(split, seed)))
    target = model.schema.modelled[model.schema.place(table.target)]
    numeric = target.type is Type.NUMERIC
    real, same, fake = (
        _tested(model.schema, grid, test, target, seed)
        for grid in (learn, _some(learn, MADE, seed), made)
    )
    note = (
        f"{MADE} made rows; as many real ones {same:.4g}; training {time.cpu:.0f} CPU s, "
        f"making {making.cpu:.0f} CPU s; {len(test.rows)} rows tested"
    )
    peer = {"peer": "trained on all real rows", "peer_value": real, "note": note}
    if numeric:
        label = f"{name}: RMSE of {table.target} from made rows, over that from real rows"
        return [at_most(label, fake / real, 1.15, "ratio", **{**peer, "peer_value": 1.0})]
    label = f"{name}: AUC of {table.target} from made rows, over that from real rows"
    note = f"AUC {fake:.4f} against {real:.4f}; {note}"
    made_row = {**peer, "peer_value": 1.0, "note": note}
    return [at_least(label, fake / real, 0.9, "ratio", **made_row)]


def _with_target(grid: Grid, target: str) -> Grid:
    grid = infer(grid).resolved(grid)
    at = grid.header.index(target)
    keep = [k for k, row in enumerate(grid.rows) if row[at] is not None]
    return _take(grid, keep)


def _take(grid: Grid, keep: list[int]) -> Grid:
    return Grid(grid.header, tuple(grid.rows[k] for k in keep), tuple(grid.lines[k] for k in keep))


def _some(grid: Grid, count: int, seed: int) -> Grid:
    order = np.random.default_rng(seed).permutation(len(grid.rows))[:count]
    return _take(grid, order.tolist())


def _halves(grid: Grid, table: Table, seed: int) -> tuple[Grid, Grid]:
    """Rows to learn from, and rows to test on."""
    if table.year is not None:
        at = grid.header.index("year")
        tested = [row[at] == table.year for row in grid.rows]
        learn = [k for k, t in enumerate(tested) if not t]
        return _take(grid, learn), _take(grid, [k for k, t in enumerate(tested) if t])
    order = np.random.default_rng(seed).permutation(len(grid.rows)).tolist()
    fifth = len(order) // 5
    return _take(grid, order[fifth:]), _take(grid, order[:fifth])


def _text(grid: Grid) -> str:
    lines = [grid.header, *(["" if c is None else c for c in row] for row in grid.rows)]
    return "\n".join(",".join(line) for line in lines) + "\n"


def _fit(grid: Grid, target: str | None, seed: int, **options: object) -> TableModel:
    chosen = Options(target=target, **options)  # type: ignore[arg-type]
    split = prepared(_text(grid), chosen, seed)
    return fitted(split, chosen, _lesson(seed)).model


def _lesson(seed: int, steps: int = STEPS) -> Lesson:
    return Lesson(Path(), Path("unwritten"), steps=steps, seed=seed)


def _independent(codes: np.ndarray, seed: int) -> Tensor:
    """Cells drawn by themselves, each column from its present ones. -> (MADE, D)"""
    rng = np.random.default_rng(seed)
    columns = [rng.choice(column[column >= 0], MADE) for column in codes.T]
    return torch.from_numpy(np.stack(columns, 1))


def _grid(model: TableModel, codes: Tensor) -> Grid:
    columns = model.schema.modelled
    cells = zip(*([c.values[k] for k in codes[:, d]] for d, c in enumerate(columns)), strict=True)
    return Grid(tuple(c.name for c in columns), tuple(cells), tuple(range(len(codes))))


def _features(schema: Schema, grid: Grid, target: Column) -> tuple[np.ndarray, np.ndarray]:
    """Numbers as they stand, names as codes; nan where a cell is missing. -> (N, D - 1), (N,)"""
    columns, wanted = [], np.zeros(0)
    for column in schema.modelled:
        at = grid.header.index(column.name)
        cells = [row[at] for row in grid.rows]
        named = isinstance(column.plain[0], str) or column is target
        if column is target and column.type is Type.NUMERIC:
            named = False
        code = {value: float(k) for k, value in enumerate(column.values)}
        made = [
            np.nan if c is None else code.get(c, np.nan) if named else float(c) for c in cells
        ]  # a name that was not learned from is unknown to the classifier as well
        if column is target:
            wanted = np.array(made)
        else:
            columns.append(made)
    return np.array(columns).T, wanted


def _tested(schema: Schema, learn: Grid, test: Grid, target: Column, seed: int) -> float:
    """AUC of a classifier, or RMSE of a regressor, on the rows tested."""
    x, y = _features(schema, learn, target)
    features = [c for c in schema.modelled if c is not target]
    named = [isinstance(c.plain[0], str) for c in features]
    seen_x, seen_y = _features(schema, test, target)
    if target.type is Type.NUMERIC:
        regressor = HistGradientBoostingRegressor(categorical_features=named, random_state=seed)
        error = regressor.fit(x, y).predict(seen_x) - seen_y
        return float(np.sqrt((error**2).mean()))
    classifier = HistGradientBoostingClassifier(categorical_features=named, random_state=seed)
    chance = classifier.fit(x, y).predict_proba(seen_x)[:, 1]
    return float(roc_auc_score(seen_y, chance))


# ---------------------------------------------------------------- calibration


class Classifier(nn.Module):
    """The peer: a network of the same size over the same literals, for the label alone."""

    def __init__(self, width: int, labels: int, own: slice, seed: int):
        super().__init__()
        torch.manual_seed(seed)  # nn.Linear takes no generator
        self.own = own
        self.layers = nn.Sequential(
            nn.Linear(width, 256), nn.SiLU(), nn.Linear(256, 128), nn.SiLU(), nn.Linear(128, labels)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        x[:, self.own] = 0
        return self.layers(x)


@dataclass(frozen=True)
class CrossEntropy(Objective[tuple[()]]):
    """-ln p of the label; what the peer is trained with."""

    literals: Callable[[Tensor], Tensor]  # of codes
    target: int

    def start(self, nets: Nets, rng: Stream) -> tuple[()]:
        return ()

    def updates(self, nets, batch, s, rng):  # type: ignore[no-untyped-def]
        codes = batch["codes"]
        logits = nets["energy"](self.literals(codes))
        loss = nn.functional.cross_entropy(logits, codes[:, self.target])
        yield Update("energy", loss, 5.0)
        return s


def literals(net: TableNet, codes: Tensor) -> Tensor:
    """Rows of codes as the literals of a network. (B, D) -> (B, width)"""
    return net.literals(net.places(codes))


def calibration(folder: Path) -> Iterator[Row]:
    """Expected calibration error on adult's test file: 15 bins of the chance of the answer."""
    ours, theirs, cooled, accuracy = [], [], [], []
    text = read_text(str(folder / "adult_train.csv.gz"))
    test = read_grid(read_text(str(folder / "adult_test_halfA.csv.gz")))
    for seed in range(SEEDS):
        options = Options(target="income")
        split = prepared(text, options, seed)
        model = fitted(split, options, _lesson(seed)).model
        target = model.schema.place("income")
        codes = torch.from_numpy(model.schema.codes(test))
        labels = codes[:, target]
        with torch.no_grad():
            logits = model.net.logits(codes, target)
        ours.append(calibration_error(logits.softmax(-1), labels))
        accuracy.append(float((logits.argmax(-1) == labels).double().mean()))
        peer = _peer(model, split, target, seed)
        with torch.no_grad():
            logits = peer(literals(model.net, codes))
            held = peer(literals(model.net, split.held))
        temperature = fitted_temperature([(held, split.held[:, target])])
        theirs.append(calibration_error(logits.softmax(-1), labels))
        cooled.append(calibration_error((logits / temperature).softmax(-1), labels))
    spread = ", ".join(f"{100 * e:.2f}" for e in ours)
    yield at_most(
        f"adult: calibration error of the learned energy, mean of {SEEDS} seeds",
        100 * float(np.mean(ours)),
        1.5,
        "%",
        peer="cross-entropy network of equal size (paper 2.62 -> 1.03)",
        peer_value=100 * float(np.mean(theirs)),
        note=f"seeds: {spread}; accuracy {np.mean(accuracy):.4f}; the peer with a temperature of "
        f"its own: {100 * float(np.mean(cooled)):.2f}",
    )


def _peer(model: TableModel, split: Split, target: int, seed: int) -> Classifier:
    net = model.net
    own = slice(net.starts[target], net.starts[target + 1])
    peer = Classifier(net.width, net.sizes[target], own, seed)
    recipe = Recipe(
        steps=STEPS, batch=256, optimizers={"energy": AdamW(1e-3, weight_decay=1e-4)},
        warm=STEPS // 10, average=0.995, every=STEPS, seed=seed,
    )  # fmt: skip
    train(
        CrossEntropy(lambda codes: literals(net, codes), target),
        {"energy": peer},
        Stored({"codes": split.rows}),
        recipe,
    )
    return peer


def calibration_error(chances: Tensor, labels: Tensor) -> float:
    """Mean over rows of |accuracy - chance| of their bin (Naeini, Cooper, Hauskrecht, 2015)."""
    chance, said = chances.double().max(-1)
    right = (said == labels).double()
    place = (chance * BINS).long().clamp(max=BINS - 1)
    gaps = torch.zeros(BINS, dtype=torch.float64).index_add(0, place, right - chance)
    return float(gaps.abs().sum() / len(labels))


# ---------------------------------------------------------------- the rings


def rings(seed: int) -> Iterator[Row]:
    """Two numbers on a circle of radius 1.5, whose octant and a group give one of 16 colours."""
    rng = np.random.default_rng(seed)
    count = 20_000
    angle, radius = rng.uniform(0, 2 * np.pi, count), 1.5 + 0.015 * rng.standard_normal(count)
    group = rng.integers(0, 4, count)
    color = (_octant(angle) + 4 * group) % 16
    points = radius * np.cos(angle), radius * np.sin(angle)
    cells = zip(group.tolist(), color.tolist(), *(p.tolist() for p in points), strict=True)
    grid = Grid(
        ("group", "color", "x", "y"),
        tuple((f"g{g}", f"c{c}", repr(x), repr(y)) for g, c, x, y in cells),
        tuple(range(count)),
    )
    with clock() as time:
        chosen = Options(bins=64)
        split = prepared(_text(grid), chosen, seed)
        model = fitted(split, chosen, _lesson(seed)).model
    with clock() as making:
        made = _grid(model, generated(model, 4_000, ROUNDS, seed))
    g, c, x, y = (np.array([float(row[k].lstrip("gc")) for row in made.rows]) for k in range(4))  # type: ignore[union-attr]
    off = np.abs(np.hypot(x, y) - 1.5)
    legal = (_octant(np.arctan2(y, x)) + 4 * g) % 16 == c
    note = f"4,000 rows; training {time.cpu:.0f} CPU s, making {making.cpu:.0f} CPU s"
    yield at_most("rings: mean of |radius - 1.5|", float(off.mean()), 0.05, "", note=note)
    yield at_least("rings: share of legal (group, colour, octant)", float(legal.mean()), 0.9, "")


def _octant(angle: np.ndarray) -> np.ndarray:
    return (angle % (2 * np.pi) / (np.pi / 4)).astype(int) % 8
