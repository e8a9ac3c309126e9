"""`basin session`: a query that changes between answers, one JSON object a line in and out."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from engine.answer import Answer
from engine.errors import BadQuery, BasinError, Mistake, TooLarge, known, shown
from modules.catalogue import Catalogue
from modules.shared.files import Confine
from services import formats
from services.cli import output
from services.cli.console import ANSWERED, FAILED, REFUSED, tell
from services.cli.modules import catalogue_of
from services.formats.arrays import inside
from services.query import Query, S, spec_of
from services.query.change import Change, Resolve
from services.query.document import parse_json
from services.reasoner.compile import Compiler
from services.reasoner.diagnose import diagnosis
from services.reasoner.faults import faults_told
from services.reasoner.session import QuerySession

SAMPLES = {
    "add": '{"add": [{"kind": "discrete.not_equal", "scope": ["x"], "params": {"pairs": [[0, 1]]}, '
    '"name": "apart"}]}',
    "drop": '{"drop": ["apart"]}',
    "evidence": '{"evidence": {"x": [1, null, 3]}}',
    "options": '{"options": {"explain": true}}',
}  # a line for each field that holds more than a number

Turn = Callable[[Change, Resolve], Answer]


def session(file: str, server: str | None, modules: Sequence[str] = ()) -> int:
    """Answers each line of standard input until it ends; the exit code."""
    try:
        kinds = catalogue_of(modules, server)
        asked = _one(file, None if server else kinds)
        with _opened(asked.query, kinds, server, inside(Path(file).parent)) as turn:
            return _talked(asked, turn)
    except BasinError as error:
        tell(file, error)
        return REFUSED if isinstance(error, BadQuery) else FAILED


def _one(file: str, kinds: Catalogue | None) -> formats.Asked:
    """The only instance of a file. Raises BadQuery."""
    if file == "-":
        raise BadQuery(Mistake("FILE", "is standard input", "name a file: lines follow there"))
    every = formats.read(file, None, None, diagnosis(kinds))
    rows = sum(asked.query.rows for asked in every)
    if rows != 1:
        raise BadQuery(
            Mistake("evidence", f"{rows} rows", "a session takes one; open one for each")
        )
    return every[0]


@contextlib.contextmanager
def _opened(query: Query, kinds: Catalogue, server: str | None, confine: Confine) -> Iterator[Turn]:
    """One turn of a session in this process, or in a service, which reads files of its own."""
    if server is None:
        with faults_told():
            talk = QuerySession(query, Compiler(kinds, kept=0, confine=confine))

        @faults_told()
        def here(change: Change, resolve: Resolve) -> Answer:
            talk.change(change)
            return talk.answer(resolve)

        yield here
        return
    from services.client import Client  # gRPC is loaded only where a service is asked

    with Client(server) as client, client.session(query) as there:
        yield lambda change, resolve: there.answer(
            seconds=resolve.seconds, steps=resolve.steps, options=resolve.options, change=change
        )


def _talked(asked: formats.Asked, turn: Turn) -> int:
    """A line out for each line in: the fields of `basin ask --json`, or what was wrong."""
    code = ANSWERED
    for number, line in enumerate(filter(str.strip, sys.stdin), 1):
        instance = {"instance": f"{asked.source}#{number}"}
        try:
            made = output.record(asked, 0, turn(*_read(line))) | instance
        except BadQuery as error:
            told = (
                {"path": m.path, "problem": m.problem, "remedy": m.remedy} for m in error.mistakes
            )
            made, code = instance | {"mistakes": list(told)}, max(code, REFUSED)
        except BasinError as error:
            made, code = instance | {"error": error.reason, "text": str(error)}, max(code, FAILED)
        print(output.encode_json(made), flush=True)
    return code


def _read(line: str) -> tuple[Change, Resolve]:
    """What a line asks: the fields of a change and of a question, in one object."""
    data: Any = parse_json(line)
    if not isinstance(data, dict):
        raise BadQuery(Mistake("", "is no object", 'write {} or {"evidence": {...}} and so on'))
    fields = [*Change.model_fields, *Resolve.model_fields]
    wrong = [
        Mistake(name, f"unknown field, with the value {shown(data[name])}", known(name, fields))
        for name in data
        if name not in fields
    ]
    change, resolve = _part(Change, data, wrong), _part(Resolve, data, wrong)
    if wrong or change is None or resolve is None:
        raise BadQuery(*map(_with_sample, wrong))
    return change, resolve


def _with_sample(mistake: Mistake) -> Mistake:
    """A field that is of another kind as a whole is answered by a line that is right."""
    sample = SAMPLES.get(mistake.path)
    return mistake if sample is None else Mistake(mistake.path, mistake.problem, f"write {sample}")


def _part(spec: type[S], data: dict[str, Any], wrong: list[Mistake]) -> S | None:
    """One of the two parts of a line; its mistakes go to `wrong`."""
    try:
        return spec_of(spec, {name: data[name] for name in spec.model_fields if name in data})
    except TooLarge:
        raise
    except BadQuery as error:
        wrong += error.mistakes
        return None
