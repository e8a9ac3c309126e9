"""How `discrete.tabular` learns: schema, training, one temperature, the band of ordinary rows."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
import torch
from pydantic import Field, StrictInt
from torch import Tensor

from engine.errors import BadQuery, Mistake
from engine.lesson import Lesson
from engine.objectives.erasure import Conditionals, Erasure, column_losses
from engine.random import Stream
from modules.catalogue import validated
from modules.discrete.schema import Column, Schema, Type
from modules.discrete.table_model import TableModel
from modules.discrete.table_net import TableNet, fitted_temperature
from modules.discrete.table_reading import read_grid
from modules.discrete.table_types import Wanted, infer
from modules.discrete.tabular import identifier, identifiers
from modules.parameters import Number, Strict

try:
    from engine.train import Recipe, Stored, Trained, train
except ImportError as error:  # the extra `train` is not installed
    raise BadQuery(Mistake("", str(error), "install the extra `train`")) from None

STEPS = 4_000
HELD_OUT, MOST = 0.1, 5_000  # share of the rows that are held out, and how many at most
SMALL_HELD_OUT, SMALL = 0.3, 90  # of few rows: a larger share, up to so many
LEAST = 20  # rows, and cells of the target, to learn from
LOOKS = ((2_000, 25), (math.inf, 250))  # rows, and steps from one look at held-out rows to the next
LOOKED_AT = 500  # held-out rows at most, each time
WAIT = 1_000  # steps without a better look after which training ends
ORDINARY = 0.999  # quantile of their energies that ends the band
SPLIT = 621  # lane of the stream


class Options(Strict):
    """What may be given as `params` of a training."""

    types: dict[str, str] = Field(
        default_factory=dict,
        description="Of single columns: numeric, ordinal, cyclic, nominal, ignored.",
    )
    target: str | None = Field(None, description="The column that training and temperature favour.")
    missing: list[str] | None = Field(
        None,
        description="The words that mean a missing cell, beside the empty one; without it, in "
        "columns of numbers NA, NULL, None, n/a, - and the like, in columns of names ? alone.",
    )
    bins: Annotated[StrictInt, Field(ge=2, le=256)] = Field(32, description="Of numeric columns.")
    hidden: Annotated[StrictInt, Field(ge=1, le=4096)] = 128
    rate: Annotated[Number, Field(gt=0, le=1)] = 3e-3
    batch: Annotated[StrictInt, Field(ge=1, le=65_536)] = 256


@dataclass(frozen=True, eq=False)
class Split:
    """Rows to learn from, and rows that tell when to stop, temperature and band; -1: missing.

    notes: what was left out of the file, in words.
    """

    schema: Schema
    rows: Tensor  # (N, D)
    held: Tensor  # (M, D)
    notes: tuple[str, ...] = ()


def prepared(text: str, options: Options, seed: int) -> Split:
    """The schema of a table and its rows, split at random. Raises BadQuery with every mistake."""
    grid = read_grid(text)
    missing = None if options.missing is None else tuple(options.missing)
    target = None
    try:
        schema = infer(grid, Wanted(options.types, options.bins, missing))
        if options.target is not None:
            target = schema.place(options.target)
    except BadQuery as error:
        raise _placed(error) from None
    codes = torch.from_numpy(schema.codes(grid))
    if len(codes) < LEAST:
        raise BadQuery(Mistake("", f"{len(codes)} rows are too few to learn from", f"give {LEAST}"))
    if target is not None:
        _check_label(schema.modelled[target], codes[:, target])
    order = _order(codes, target, seed)
    held = order[: _held_out(len(order))]
    rest = torch.ones(len(codes), dtype=torch.bool)
    rest[held] = False
    learned = torch.arange(len(codes))[rest]
    return Split(schema, codes[learned], codes[held], grid.notes)


def _check_label(column: Column, codes: Tensor) -> None:
    """BadQuery where nothing can be learned about the target."""
    present = int((codes >= 0).sum())
    if present < LEAST:
        problem = f"{present} cells are present, too few to learn from"
        raise BadQuery(Mistake(f"column {column.name}", problem, f"give {LEAST}, or no target"))
    if len(column.values) < 2:
        problem = f"has one value, {column.values[0]!r}: there is nothing to tell apart"
        raise BadQuery(
            Mistake(f"column {column.name}", problem, "give rows with others, or no target")
        )


def _held_out(rows: int) -> int:
    """How many rows are held out, of those that can be."""
    few = min(SMALL, int(SMALL_HELD_OUT * rows))
    return min(MOST, max(1, few, int(HELD_OUT * rows)))


def _order(codes: Tensor, target: int | None, seed: int) -> Tensor:
    """Rows in the order in which they are held out: at random, those with a target, each value
    of it in its share; of every value that two rows have, one comes first."""
    stream = Stream(seed, torch.zeros(1, dtype=torch.int64)).fork(SPLIT)
    drawn = stream.uniform(1, len(codes), dtype=torch.float64)[0]
    order = drawn.argsort()
    if target is None:
        return order
    order = order[codes[order, target] >= 0]
    labels = codes[order, target]
    place = torch.zeros(len(order), dtype=torch.float64)  # of each row within its value, 0 to 1
    for label in labels.unique():
        own = (labels == label).nonzero()[:, 0]
        place[own] = (torch.arange(len(own)) + 0.5).double() / len(own)
        if len(own) > 1:
            place[own[0]] = 0.0
        else:
            place[own[0]] = 1.0  # the only one is learned from
    return order[place.argsort(stable=True)]


def _placed(error: BadQuery) -> BadQuery:
    """Mistakes of the parameters say so; those of the file name its columns."""
    ours = ("types.", "bins")
    return BadQuery(
        *(
            Mistake(f"params.{m.path}", m.problem, m.remedy)
            if m.path.startswith(ours)
            else Mistake(m.path or "params.target", m.problem, m.remedy)
            for m in error.mistakes
        )
    )


def fitted(split: Split, options: Options, lesson: Lesson) -> tuple[TableModel, Trained]:
    """Trains a network on the rows, then fits temperature and band on those held out."""
    net = TableNet(split.schema.sizes, options.hidden, torch.Generator().manual_seed(lesson.seed))
    _begin_at_marginals(net, split)
    target = None if options.target is None else split.schema.place(options.target)
    steps = STEPS if lesson.steps is None else lesson.steps
    every = next(looks for most, looks in LOOKS if len(split.rows) < most)
    every = max(1, min(every, steps // 4))
    recipe = Recipe(
        steps=steps,
        batch=min(options.batch, len(split.rows)),
        rate=options.rate,
        weight_decay=1e-4,
        warm=max(1, steps // 10),
        every=every,
        patience=max(1, WAIT // every),
        average=0.995,
        seconds=lesson.seconds,
        seed=lesson.seed,
    )
    judged = judged_cells(split, target)
    few = Split(split.schema, split.rows, split.held[:LOOKED_AT])
    judge = Judge(net, judged_cells(few, None), target)
    trained = train(
        Erasure(favoured=target),
        {"energy": net},
        Stored({"codes": split.rows}),
        recipe,
        work=lesson.work,
        held_out=lambda nets: judge(nets["energy"]),
    )
    net.eval().requires_grad_(False)
    with torch.no_grad():
        net.temperature.fill_(_temperature(net, judged) if trained.kept else 1.0)
    model = TableModel(split.schema, net, options.target, _band(net, split.held), lesson.command)
    return model, trained


class Judged(NamedTuple):
    """Held-out cells of one column, and what is held against their chances.

    chances: one for the value that stands there; but values that no held-out cell has keep their
    share of the whole table, spread over all cells. So a rare value that happens to be missing from
    them costs what it should, and a chance below its frequency is never rewarded.
    """

    column: int
    rows: Tensor  # (M, D)
    chances: Tensor  # (M, K) float64
    one: bool  # whether all cells are the same


def judged_cells(split: Split, target: int | None) -> list[Judged]:
    """The cells that tell how good a network is: of the target, or of all columns."""
    out = []
    for d in range(len(split.schema.modelled)) if target is None else [target]:
        rows = split.held[split.held[:, d] >= 0]
        if not len(rows):
            continue
        size = split.schema.sizes[d]
        here = torch.bincount(rows[:, d], minlength=size)
        every = torch.cat([split.rows[:, d], rows[:, d]])
        absent = _shares(every, split.schema.modelled[d]) * (here == 0)
        chances = torch.nn.functional.one_hot(rows[:, d], size).double()
        chances = (1 - absent.sum()) * chances + absent
        out.append(Judged(d, rows, chances, int((here > 0).sum()) == 1))
    if not out:
        raise BadQuery(Mistake("", "no held-out cell is present", "give more cells"))
    return out


class Judge:
    """How good a network is on held-out cells: its cross-entropy in nats, mean over columns; with
    a target that of the target is added, and infinite where frequencies alone do better on it.

    What a network gains on the first one, which knows frequencies alone, is lessened by one
    standard error: with few cells, chance alone finds a network that seems a little better.
    """

    def __init__(self, first: object, judged: Sequence[Judged], target: int | None):
        self.judged, self.target = judged, target
        self.first = [self._losses(first, j) for j in judged]

    def __call__(self, net: object) -> float:
        total, doubt, favoured = 0.0, 0.0, 0.0
        for j, first in zip(self.judged, self.first, strict=True):
            losses = self._losses(net, j)
            unsure = float((losses - first).var()) / len(losses) if len(losses) > 1 else 0.0
            total, doubt = total + float(losses.mean()), doubt + unsure
            if j.column == self.target:
                favoured = float(losses.mean()) + math.sqrt(unsure)
                if favoured > float(first.mean()):
                    return math.inf
        return favoured + (total + math.sqrt(doubt)) / len(self.judged)

    @staticmethod
    @torch.no_grad()
    def _losses(net: object, j: Judged) -> Tensor:  # -> (M,)
        assert isinstance(net, Conditionals)
        logits = net.logits(j.rows, j.column).double()
        return torch.nn.functional.cross_entropy(logits, j.chances, reduction="none")


@torch.no_grad()
def _temperature(net: TableNet, judged: Sequence[Judged]) -> float:
    """Fitted on held-out cells; cells that are all the same say nothing about being surer."""
    found = fitted_temperature([(net.logits(j.rows, j.column), j.chances) for j in judged])
    return max(1.0, found) if all(j.one for j in judged) else found


def _shares(codes: Tensor, column: Column) -> Tensor:
    """How often each value stands in a column, with some cells added to each: more to bins, as
    these were made about equal. -> (K,) float64"""
    added = 2.0 if column.type is Type.NUMERIC else 0.5
    counts = torch.bincount(codes[codes >= 0], minlength=len(column.values)).double() + added
    return counts / counts.sum()


def _begin_at_marginals(net: TableNet, split: Split) -> None:
    """Single values start at the logarithm of their share: training learns the rest."""
    with torch.no_grad():
        for d, column in enumerate(split.schema.modelled):
            start = net.starts[d]
            shares = _shares(split.rows[:, d], column)
            net.single[start : start + len(shares)] = shares.log().float()


@torch.no_grad()
def _band(net: TableNet, held: Tensor) -> float:
    """The energy that all but a thousandth of held-out rows lie below; complete rows alone."""
    whole = held[(held >= 0).all(-1)]
    if len(whole) < 100:
        return math.inf
    return float(np.quantile(net.energy(net.hot(whole)).double().numpy(), ORDINARY))


@torch.no_grad()
def conditional_loss(net: object, rows: Tensor, target: int | None) -> float:
    """Mean of -ln p of a cell given the others, over columns, or of the target alone; in nats."""
    assert isinstance(net, Conditionals)
    columns = range(len(net.sizes)) if target is None else [target]
    each = [column_losses(net, rows, d) for d in columns]
    return float(np.mean([float(losses.mean()) for losses in each if len(losses)]))


def learn(lesson: Lesson) -> list[str]:
    """Learns from a CSV, writes the weights, and says what was learned."""
    options = Options(**validated(Options, lesson.params, "discrete.tabular"))
    split = prepared(lesson.text, options, lesson.seed)
    with one_thread():
        model, trained = fitted(split, options, lesson)
    model.save(lesson.out)
    return [
        *split.notes,
        *_described(split.schema),
        f"{trained.steps} steps in {trained.seconds:.1f} s, ended by {trained.stopped}; "
        + _judgement(model, split, trained.kept),
        f"wrote {lesson.out}",
    ]


def _judgement(model: TableModel, split: Split, kept: int) -> str:
    """How good the chances are on rows that were not learned from, beside frequencies alone."""
    target = None if model.target is None else split.schema.place(model.target)
    alone = TableNet(split.schema.sizes, 1)
    _begin_at_marginals(alone, split)
    loss, plain = (conditional_loss(net, split.held, target) for net in (model.net, alone))
    about = "a cell" if model.target is None else model.target
    said = (
        f"on {len(split.held)} held-out rows -ln p of {about} given the others is {loss:.4f}, "
        f"at temperature {float(model.net.temperature):.3f}; by its frequencies alone {plain:.4f}"
    )
    if kept == 0:
        return f"{said}; nothing better than these was found, and the chances are these"
    return f"{said}; the weights are those of step {kept}"


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Steps this small are slower on several threads: seven times, on a shared machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _described(schema: Schema) -> list[str]:
    """A line for each column: its type, its values, and what its cells were taken for."""
    names = [c.name for c in schema.modelled]
    called = dict(zip(names, identifiers(names), strict=True))
    out = []
    for column in schema.columns:
        said = [f"{column.name}: {column.type}"]
        if column.type is not Type.IGNORED:
            what = "bin" if column.type is Type.NUMERIC else "value"
            many = len(column.values) != 1
            said[0] += f", {len(column.values)} {what}{'s' if many else ''}"
            said[0] += ", with missing cells" if column.gaps else ""
            said += [] if many else ["it is the same in every row"]
        said += [column.note] if column.note else []
        if called.get(column.name, column.name) != identifier(column.name):
            said += [f"another column is called alike: in queries it is {called[column.name]}"]
        out.append("; ".join(said))
    return out
