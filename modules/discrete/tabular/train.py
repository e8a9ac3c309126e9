"""How `discrete.tabular` learns: schema, training, one temperature, the band of ordinary rows."""

import math
from dataclasses import dataclass
from typing import Annotated, cast

import numpy as np
import torch
from pydantic import Field, StrictInt
from torch import Tensor

from engine.domain import Finite
from engine.energy.lesson import Lesson
from engine.errors import BadQuery, Mistake
from engine.learning.objectives.erasure import Erasure
from engine.learning.optimizers import AdamW
from modules.discrete.tabular.judging import (
    Judge,
    begin_at_marginals,
    conditional_loss,
    cut_off,
    judged_cells,
    plain_net,
    temperature_of,
)
from modules.discrete.tabular.model import TableModel
from modules.discrete.tabular.network import TableNet
from modules.discrete.tabular.reading import read_grid
from modules.discrete.tabular.schema import Schema, Type
from modules.discrete.tabular.split import Split, parted, shares
from modules.discrete.tabular.term import identifier, identifiers
from modules.discrete.tabular.types import Wanted, infer
from modules.parameters import Number, Strict, validated
from modules.shared.reading.examples import text_of
from modules.shared.training import one_thread

try:
    from engine.learning.examples import Stored
    from engine.learning.recipe import Recipe, Trained
    from engine.learning.train import train
except ImportError as error:  # the extra `train` is not installed
    raise BadQuery(Mistake("", str(error), "install the extra `train`")) from None

STEPS = 4_000
LOOKS = ((2_000, 25), (math.inf, 250))  # rows, and steps from one look at held-out rows to the next
LOOKED_AT = 500  # held-out rows at most, each time
WAIT = 1_000  # steps without a better look after which training ends
ORDINARY = 0.999  # quantile of their energies that ends the band


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
    return parted(schema, codes, target, seed, grid.notes)


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


@dataclass(frozen=True, eq=False)
class Fitted:
    """alone: columns that others do not help with, nor they with others."""

    model: TableModel
    trained: Trained
    alone: tuple[str, ...]


def fitted(split: Split, options: Options, lesson: Lesson) -> Fitted:
    """Trains a network on the rows as far as those held out bear it out, cuts off the columns that
    it does not help with, then fits temperature and band."""
    net = TableNet(split.schema.sizes, options.hidden, torch.Generator().manual_seed(lesson.seed))
    begin_at_marginals(net, split)
    row = net.scope[0].variable.domain
    assert isinstance(row, Finite)
    target = None if options.target is None else split.schema.place(options.target)
    steps = STEPS if lesson.steps is None else lesson.steps
    every = next(looks for most, looks in LOOKS if len(split.rows) < most)
    every = max(1, min(every, steps // 4))
    recipe = Recipe(
        steps=steps,
        batch=min(options.batch, len(split.rows)),
        optimizers={"energy": AdamW(options.rate, weight_decay=1e-4)},
        warm=max(1, steps // 10),
        every=every,
        patience=max(1, WAIT // every),
        average=0.995,
        seconds=lesson.seconds,
        seed=lesson.seed,
    )
    few = Split(split.schema, split.rows, split.held[:LOOKED_AT])
    judge = Judge(net, judged_cells(few), target)
    trained = train(
        Erasure(favoured=target),
        {"energy": net},
        Stored({"row": net.places(split.rows).to(row.dtype)}),
        recipe,
        work=lesson.work,
        held_out=lambda nets: judge(cast(TableNet, nets["energy"])),
    )
    net.eval().requires_grad_(False)
    alone: list[int] = []
    if trained.kept:
        net, alone = cut_off(net, split, judge)
        told = [j for j in judged_cells(split) if j.column not in alone]
        if fitting := [j for j in told if j.column == target] or told:
            net.temperature.fill_(temperature_of(net, fitting))
    for d in alone:  # once more, as their chances are divided by the temperature
        net.stand_alone(d, shares(split.rows[:, d], split.schema.modelled[d]))
    model = TableModel(split.schema, net, options.target, _band(net, split.held), lesson.command)
    return Fitted(model, trained, tuple(split.schema.modelled[d].name for d in alone))


@torch.no_grad()
def _band(net: TableNet, held: Tensor) -> float:
    """The energy that all but a thousandth of held-out rows lie below; complete rows alone."""
    whole = held[(held >= 0).all(-1)]
    if len(whole) < 100:
        return math.inf
    return float(np.quantile(net.cost(net.places(whole)).double().numpy(), ORDINARY))


def learn(lesson: Lesson) -> list[str]:
    """Learns from a CSV, writes the weights, and says what was learned."""
    options = Options(**validated(Options, lesson.params, "discrete.tabular"))
    split = prepared(text_of(lesson.data), options, lesson.seed)
    with one_thread():
        made = fitted(split, options, lesson)
    made.model.save(lesson.out)
    trained = made.trained
    return [
        *split.notes,
        *_described(split.schema),
        f"{trained.steps} steps in {trained.seconds:.1f} s, ended by {trained.stopped}; "
        + _judgement(made, split),
        f"wrote {lesson.out}",
    ]


def _judgement(made: Fitted, split: Split) -> str:
    """How good the chances are on rows that were not learned from, beside frequencies alone."""
    net, name = made.model.net, made.model.target
    target = None if name is None else split.schema.place(name)
    loss, plain = (conditional_loss(n, split.held, target) for n in (net, plain_net(split)))
    about = "a cell" if name is None else name
    said = (
        f"on {len(split.held)} held-out rows -ln p of {about} given the others is {loss:.4f}, "
        f"at temperature {float(net.temperature):.3f}; by its frequencies alone {plain:.4f}"
    )
    if not made.trained.kept:
        return f"{said}; nothing better than these was found, and the chances are these"
    said += f"; the weights are those of step {made.trained.kept}"
    if made.alone:
        said += f"; not told by other columns, known by frequencies alone: {', '.join(made.alone)}"
    return said


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
