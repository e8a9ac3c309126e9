"""`basin train`: a kind learns from a file of examples, and its weights are written."""

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.energy import Term
from engine.energy.lesson import Lesson
from engine.errors import BadQuery, BasinError, Mistake, ModuleFault, known
from modules.catalogue import Catalogue, Kind
from modules.shared.reading.examples import check_data
from services.cli.console import ANSWERED, FAILED, REFUSED, tell
from services.cli.modules import catalogue_of
from services.query.document import parse_json
from services.reasoner.faults import faults_told


def train(
    kind: str,
    data: str,
    out: str,
    seconds: float | None,
    steps: int | None,
    seed: int,
    work: str | None,
    params: str | None,
    modules: Sequence[str] = (),
) -> int:
    """Have a kind learn; the exit code."""
    try:
        catalogue = catalogue_of(modules)
        learner, lesson = _lesson(catalogue, kind, data, out, seconds, steps, seed, work, params)
    except BadQuery as error:
        tell("", error)
        return REFUSED
    except BasinError as error:
        tell("", error)
        return FAILED
    try:
        with faults_told():
            said = learner.term.learn(lesson)
    except ModuleFault as error:
        tell("", error)
        return FAILED
    except BadQuery as error:
        for mistake in error.mistakes:
            tell("" if _ours(mistake) else data, BadQuery(_flagged(mistake)))
        return REFUSED
    for line in said:
        print(line, file=sys.stderr)
    return ANSWERED


def _ours(mistake: Mistake) -> bool:
    """Whether a mistake is one of the command, and not of the examples."""
    return re.split(r"[.\[]", mistake.path)[0] in ("params", "work", "KIND")


def _flagged(mistake: Mistake) -> Mistake:
    ours = _ours(mistake) and not mistake.path.startswith("KIND")
    path = f"--{mistake.path}" if ours else mistake.path
    return Mistake(path, mistake.problem, mistake.remedy)


def _lesson(
    catalogue: Catalogue,
    name: str,
    data: str,
    out: str,
    seconds: float | None,
    steps: int | None,
    seed: int,
    work: str | None,
    params: str | None,
) -> tuple[Kind, Lesson]:
    """Everything the command line says, checked before anything long begins."""
    kind = catalogue.kind(name)
    wrong: list[Mistake] = []
    if not learns(kind):
        able = [k.name for k in catalogue.kinds() if learns(k)]
        wrong.append(Mistake("KIND", f"{name} does not learn", known(name, able)))
    for flag, value in (("--seconds", seconds), ("--steps", steps)):
        if value is not None and value <= 0:
            wrong.append(Mistake(flag, f"{value!r}", "give a number above 0"))
    if not 0 <= seed < 2**63:
        wrong.append(Mistake("--seed", f"{seed!r}", "give 0 to 2^63 - 1"))
    given: Any = {}
    if params is not None:
        try:
            given = parse_json(params)
        except BadQuery as error:
            wrong += error.under("--params").mistakes
        if not isinstance(given, Mapping):
            wrong.append(Mistake("--params", "is no mapping", "give a JSON object {name: value}"))
    place = Path(out)
    if not place.parent.is_dir():
        wrong.append(Mistake("--out", f"there is no directory {place.parent}", "make it first"))
    elif place.is_dir() or place.suffix != ".safetensors":
        wrong.append(Mistake("--out", f"{out!r}", "name a file that ends in .safetensors"))
    try:
        if data not in kind.term.data_sets:
            check_data(Path(data))
    except BadQuery as error:
        wrong += [Mistake(_at(data, m.path), m.problem, m.remedy) for m in error.mistakes]
    if wrong:
        raise BadQuery(*wrong)
    command = f"basin {shlex.join(sys.argv[1:])}" if sys.argv[1:2] == ["train"] else ""
    folder = None if work is None else Path(work)
    return kind, Lesson(Path(data), place, seconds, steps, seed, folder, given, command)


def learns(kind: Kind) -> bool:
    """Whether a kind can learn from examples."""
    return kind.term.learn.__func__ is not Term.learn.__func__  # type: ignore[attr-defined]


def _at(data: str, path: str) -> str:
    return f"{data}: {path}" if path else data
