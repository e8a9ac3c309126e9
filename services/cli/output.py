"""Answers as people and programs read them: one JSON record, or a picture on a terminal."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.answer import Answer, Ended, Margin, Place, RunnerUp, Status
from engine.plain import nest
from services.formats.base import Asked, Values

PICTURED = 12  # instances up to which each is drawn; beyond, each is one line
NAMED = 12  # sites that one line names
WIDTH = 200  # entries of a list that a picture shows

_COLORS = {
    Status.OPTIMAL: "green",
    Status.SATISFIED: "green",
    Status.SCORED: "cyan",
    Status.INFEASIBLE: "yellow",
    Status.UNSATISFIED: "red",
}
_ENDS = {
    Ended.TIME: "not proved: the time was over",
    Ended.STEPS: "not proved: the steps were over",
    Ended.GAVE_UP: "not proved: the search gave up",
    Ended.CANCELLED: "not proved: the search was stopped",
}
Beside = Callable[[int, Mapping[str, Any]], dict[str, str]]
_encode = json.JSONEncoder(allow_nan=False).encode


def line(asked: Asked, row: int, answer: Answer) -> str:
    """One answer as a line of JSON. Numbers that are not finite become null."""
    return encode_json(record(asked, row, answer))


def encode_json(made: dict[str, Any]) -> str:
    """A record as a line of JSON. Numbers that are not finite become null."""
    try:
        return _encode(made)
    except ValueError:
        return _encode(_finite(made))


def record(asked: Asked, row: int, answer: Answer) -> dict[str, Any]:
    """One answer as plain data, with the fields of the command line's contract."""
    solved = answer.values is not None and answer.status is not Status.INFEASIBLE
    return {
        "instance": f"{asked.source}#{asked.numbers[row]}",
        "status": answer.status.value,
        "flags": [flag.value for flag in answer.flags],
        "abstained": [_place(place) for place in answer.abstained],
        "energy": answer.energy,
        "bound": answer.bound,
        "solution": asked.written(row, answer.values) if solved and answer.values else None,
        "seconds": answer.seconds,
        "steps": answer.steps,
        "ended": None if answer.ended is None else answer.ended.value,
        "proved_by": None if answer.proved_by is None else answer.proved_by.value,
        "converged": answer.converged,
        "unique": answer.unique,
        "alternatives": [asked.written(row, other.values) for other in answer.alternatives],
        "terms": [{"term": share.term, "energy": share.energy} for share in answer.terms],
        "findings": [
            {"term": f.term, "holds": f.holds, "required": f.required, "text": f.text}
            for f in answer.findings
        ],
        "evidence_conflict": [_place(place) for place in answer.conflict.evidence],
        "rule_conflict": [{"term": p.term, "part": p.part} for p in answer.conflict.rules],
        "repair": [_place(place) for place in answer.conflict.repair],
        "explanation": answer.conflict.text,
        "runner_up": _runner_up(asked, row, answer.runner_up),
        "margins": {
            m.variable: _margin(m, (answer.values or {})[m.variable]) for m in _margins(answer)
        },
        **asked.fields(row, answer),
    }


def _runner_up(asked: Asked, row: int, other: RunnerUp | None) -> dict[str, Any] | None:
    if other is None:
        return None
    return {
        "solution": asked.written(row, other.values),
        "energy": other.energy,
        "terms": [{"term": share.term, "energy": share.energy} for share in other.terms],
        "text": other.text,
    }


def _margins(answer: Answer) -> list[Margin]:
    """Those with two numbers for each site of a variable: a service elsewhere may say anything."""
    sites = {name: math.prod(_shape(value)) for name, value in (answer.values or {}).items()}
    return [m for m in answer.margins if len(m.low) == len(m.high) == sites.get(m.variable)]


def _margin(margin: Margin, values: Any) -> dict[str, Any]:
    """Both numbers of each site, nested as its values; `only` where no other value is possible."""
    only = [low == math.inf for low in margin.low]
    told = {"low": margin.low, "high": margin.high, "only": only}
    return {name: nest(flat, _shape(values)) for name, flat in told.items()}


def _shape(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list):
        return ()
    return (len(values), *(_shape(values[0]) if values else ()))


def _least_ahead(answer: Answer) -> str:
    """The sites that are least ahead, in words."""
    every = [
        (high, low, margin.variable, place)
        for margin in _margins(answer)
        for place, (low, high) in enumerate(zip(margin.low, margin.high, strict=True))
        if low < math.inf
    ]
    said = []
    for high, low, name, place in sorted(every)[:NAMED]:
        values = (answer.values or {})[name]
        where = Place.at(name, _shape(values), place, None).where
        at_least = "" if low == -math.inf else f" by at least {low:.4g}"
        at_most = "" if high == math.inf else f" by at most {high:.4g}"
        both = f"{at_least}{' and' if at_least and at_most else ''}{at_most}"
        said.append(where + (f" by {low:.4g}" if low == high else both))
    return ", ".join(said)


def _place(place: Place) -> dict[str, Any]:
    site = place.site[0] if len(place.site) == 1 else [*place.site] or 0
    return {"variable": place.variable, "site": site, "value": place.value}


def _places(places: Sequence[Place]) -> str:
    """The first few of some sites in words, and how many more there are."""
    said = ", ".join(place.text for place in places[:NAMED])
    return f"{said} and {len(places) - NAMED} more" if len(places) > NAMED else said


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def show(console: Console, asked: Asked, row: int, answer: Answer, whole: bool) -> None:
    """One answer on a terminal; `whole`: with its picture and everything that was found."""
    console.print(_headline(asked.instances[row], answer), highlight=False, soft_wrap=True)
    for part in _body(asked, row, answer) if whole else ():
        console.print(part, highlight=False, soft_wrap=isinstance(part, Text))


def _headline(instance: str, answer: Answer) -> Text:
    said = Text(instance, "bold")
    said.append("  ")
    said.append(answer.status.value, f"bold {_COLORS[answer.status]}")
    said.append("".join(f" {flag.value}" for flag in answer.flags), "magenta")
    said.append("  ")
    said.append(", ".join(_facts(answer)), "dim")
    return said


def _facts(answer: Answer) -> Iterator[str]:
    if answer.unique is not None:
        if answer.terms:
            yield "no other is as good" if answer.unique else "others are as good"
        else:
            yield "the only answer" if answer.unique else "there are others"
    if answer.energy is not None:
        yield f"energy {answer.energy:.12g}"
    if answer.bound is not None and answer.bound != answer.energy:
        yield f"bound {answer.bound:.12g}"
    if answer.ended in _ENDS:
        yield _ENDS[answer.ended]
    if answer.proved_by is not None and any(share.energy for share in answer.terms):
        yield f"{'bound' if answer.ended in _ENDS else 'proved'} by {answer.proved_by.value}"
    if answer.converged is False:
        yield "numbers not converged"
    unasked = sum(f.holds is None and bool(f.text) for f in answer.findings)
    if unasked:
        yield f"{unasked} terms were not asked" if unasked > 1 else "1 term was not asked"
    yield f"{answer.seconds:.3g} s"


def _body(asked: Asked, row: int, answer: Answer) -> Iterator[Text | Table]:
    if answer.values is not None and answer.status is not Status.INFEASIBLE:
        yield indent_lines(picture_of(asked, row, answer.values, asked.beside))
    for text in asked.pictured.said(row, answer) if asked.pictured else ():
        yield Text(f"  {text}")
    weighed = [share for share in answer.terms if share.energy]
    if weighed and len(answer.terms) > 1:
        table = Table(box=None, padding=(0, 2), header_style="dim")
        table.add_column("term", overflow="fold")
        table.add_column("energy", no_wrap=True)
        for share in weighed:
            table.add_row(Text(share.term), f"{share.energy:.12g}")
        yield table
    for finding in answer.findings:
        if finding.holds is False:
            rule = "rule broken" if finding.required else "preference not met"
            yield Text(f"  {rule}: {finding.term}: {finding.text}", "red")
        elif finding.text:
            yield Text(f"  {finding.term}: {finding.text}", "yellow")
    if answer.abstained:
        yield Text(f"  not stood by: {_places(answer.abstained)}", "magenta")
    if answer.conflict.text:
        yield Text(f"  {answer.conflict.text}", "yellow")
    if ahead := _least_ahead(answer):
        yield Text(f"  least ahead: {ahead}", "dim")
    if answer.runner_up is not None:
        yield Text(f"  runner-up: {answer.runner_up.text}", "dim")
        yield indent_lines(picture_of(asked, row, answer.runner_up.values))
    for k, other in enumerate(answer.alternatives, 1):
        yield Text(f"  alternative {k}, energy {other.energy:.12g}", "dim")
        yield indent_lines(picture_of(asked, row, other.values))
    yield Text()


def indent_lines(text: str) -> Text:
    """A picture below its headline: printed with `soft_wrap`, long lines go on in the next."""
    return Text("\n".join(f"  {row}" for row in text.split("\n")))


def picture_of(asked: Asked, row: int, values: Values, beside: Beside | None = None) -> str:
    """Values as people see them: the picture of the format, or a table with what the file held."""
    if asked.picture is not None:
        return asked.picture(values)
    if asked.restored is None:
        return tables_of(values)
    solution = asked.written(row, values)
    said = beside(row, solution) if beside else {}
    return "\n".join(
        f"{name} = {'' if value is None else value}" + (f"  ({said[name]})" if name in said else "")
        for name, value in solution.items()
    )


def tables_of(values: Values) -> str:
    """The values of all variables: single ones, lists, and grids with aligned columns."""
    return "\n".join(_tabled(name, value) for name, value in values.items())


def _tabled(name: str, value: Any) -> str:
    if not isinstance(value, list):
        return f"{name} = {_entry(value)}"
    if any(isinstance(entry, list) for entry in value):
        if any(isinstance(inner, list) for entry in value for inner in entry):
            return f"{name} = {json.dumps(value)}"
        rows = [[_entry(inner) for inner in entry] for entry in value]
        width = max((len(text) for row in rows for text in row), default=0)
        lines = (" ".join(text.rjust(width) for text in row) for row in rows)
        return "\n".join([f"{name} =", *(f"  {row}" for row in lines)])
    letters = all(isinstance(entry, str) and len(entry) < 2 for entry in value)
    if letters and any(not entry.strip() for entry in value):  # blanks would be lost in a list
        return f"{name} = {json.dumps(''.join(value), ensure_ascii=False)}"
    return f"{name} = {' '.join(_shortened(map(_entry, value), len(value)))}"


def _entry(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _shortened(entries: Iterable[str], count: int) -> list[str]:
    kept = [entry for _, entry in zip(range(WIDTH), entries)]
    return kept if count <= WIDTH else [*kept, f"... ({count} entries)"]
