"""How `discrete.tabular` learns: schema, training, one temperature, the band of ordinary rows."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field, StrictInt
from torch import Tensor

from engine.errors import BadQuery, Mistake
from engine.lesson import Lesson
from engine.objectives.erasure import Conditionals, Erasure, column_losses
from engine.random import Stream
from modules.catalogue import validated
from modules.discrete.schema import Column, Schema, Type, Wanted, infer, read_grid
from modules.discrete.table_model import TableModel
from modules.discrete.table_net import TableNet, fitted_temperature
from modules.parameters import Number, Strict

try:
    from engine.train import Recipe, Stored, Trained, train
except ImportError as error:  # the extra `train` is not installed
    raise BadQuery(Mistake("", str(error), "install the extra `train`")) from None

STEPS = 4_000
HELD_OUT = 0.1  # share of the rows that temperature and band are fitted on
MOST = 5_000  # of these
ORDINARY = 0.999  # quantile of their energies that ends the band
SPLIT = 621  # lane of the stream


class Options(Strict):
    """What may be given as `params` of a training."""

    types: dict[str, str] = Field(
        default_factory=dict,
        description="Of single columns: numeric, ordinal, cyclic, nominal, ignored.",
    )
    target: str | None = Field(None, description="The column that training and temperature favour.")
    bins: Annotated[StrictInt, Field(ge=2, le=256)] = Field(32, description="Of numeric columns.")
    hidden: Annotated[StrictInt, Field(ge=1, le=4096)] = 128
    rate: Annotated[Number, Field(gt=0, le=1)] = 3e-3
    batch: Annotated[StrictInt, Field(ge=1, le=65_536)] = 256


@dataclass(frozen=True, eq=False)
class Split:
    """Rows to learn from, and rows to fit temperature and band on; -1: a missing cell."""

    schema: Schema
    rows: Tensor  # (N, D)
    held: Tensor  # (M, D)


def prepared(text: str, options: Options, seed: int) -> Split:
    """The schema of a table and its rows, split at random. Raises BadQuery with every mistake."""
    grid = read_grid(text)
    try:
        schema = infer(grid, Wanted(options.types, options.bins))
        if options.target is not None:
            schema.place(options.target)
    except BadQuery as error:
        raise _placed(error) from None
    codes = torch.from_numpy(schema.codes(grid))
    if len(codes) < 20:
        raise BadQuery(Mistake("", f"{len(codes)} rows are too few to learn from", "give 20"))
    stream = Stream(seed, torch.zeros(1, dtype=torch.int64)).fork(SPLIT)
    order = stream.uniform(1, len(codes), dtype=torch.float64)[0].argsort()
    held = min(MOST, max(1, int(HELD_OUT * len(codes))))
    return Split(schema, codes[order[held:]], codes[order[:held]])


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
    _begin_at_marginals(net, split.rows)
    target = None if options.target is None else split.schema.place(options.target)
    steps = STEPS if lesson.steps is None else lesson.steps
    recipe = Recipe(
        steps=steps,
        batch=min(options.batch, len(split.rows)),
        rate=options.rate,
        weight_decay=1e-4,
        warm=max(1, steps // 10),
        every=max(1, min(500, steps // 4)),
        average=0.995,
        seconds=lesson.seconds,
        seed=lesson.seed,
    )
    trained = train(
        Erasure(favoured=target),
        {"energy": net},
        Stored({"codes": split.rows}),
        recipe,
        work=lesson.work,
        held_out=lambda nets: conditional_loss(nets["energy"], split.held[:500], target),
    )
    net.eval().requires_grad_(False)
    columns = range(len(net.sizes)) if target is None else [target]
    net.temperature.fill_(fitted_temperature([_cells(net, split.held, d) for d in columns]))
    model = TableModel(split.schema, net, options.target, _band(net, split.held), lesson.command)
    return model, trained


def _begin_at_marginals(net: TableNet, rows: Tensor) -> None:
    """Single values start at the logarithm of their share: training learns the rest."""
    with torch.no_grad():
        for d, size in enumerate(net.sizes):
            column = rows[:, d]
            counts = torch.bincount(column[column >= 0], minlength=size).double() + 0.5
            logs = (counts / counts.sum()).log()
            start = net.starts[d]
            net.single[start : start + size] = logs.float()


@torch.no_grad()
def _cells(net: TableNet, rows: Tensor, column: int) -> tuple[Tensor, Tensor]:
    """Logits and codes of the cells of one column that are not missing."""
    present = rows[rows[:, column] >= 0]
    return net.logits(present, column), present[:, column]


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
    target = None if options.target is None else split.schema.place(options.target)
    loss = conditional_loss(model.net, split.held, target)
    about = "a cell" if options.target is None else options.target
    return [
        *(_described(c) for c in split.schema.columns),
        f"{trained.steps} steps in {trained.seconds:.1f} s, ended by {trained.stopped}; "
        f"on {len(split.held)} held-out rows -ln p of {about} given the others is {loss:.4f}, "
        f"at temperature {float(model.net.temperature):.3f}",
        f"wrote {lesson.out}",
    ]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Steps this small are slower on several threads: seven times, on a shared machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _described(column: Column) -> str:
    if column.type is Type.IGNORED:
        return f"{column.name}: ignored"
    what = "bins" if column.type is Type.NUMERIC else "values"
    gaps = ", with missing cells" if column.gaps else ""
    return f"{column.name}: {column.type}, {len(column.values)} {what}{gaps}"
