"""The page of all benchmark figures: docs/benchmarks.md, written from benchmarks/results/*.json.

What stands above a table is the docstring of benchmarks/NAME.py: what was measured, and what was
tried and came out worse. benchmarks/published.json holds what others publish of their systems.
"""

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]

_INTRODUCTION = """# Benchmarks

Every figure here was measured by `basin bench NAME`, which keeps it in
`benchmarks/results/NAME.json`; this page is written from those files by `basin bench --docs`, and
by nothing else. A peer's figure comes from the same run on the same machine, unless it says
"published". Targets that were not reached are listed first.
"""


def write_page(folder: Path) -> Path:
    """Write docs/benchmarks.md of the checkout that holds this folder of benchmarks."""
    path = folder.resolve().parent / "docs" / "benchmarks.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text(page(folder))
    return path


def page(folder: Path) -> str:
    """The whole page, as Markdown, of a folder of benchmarks and their results."""
    results = {
        path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("results/*.json"))
    }
    parts = [_INTRODUCTION, *_summary(results)]
    for name, result in results.items():
        parts += _benchmark(name, result, _docstring(folder / f"{name}.py"))
    published = folder / "published.json"
    if published.exists():
        parts += _published(json.loads(published.read_text()))
    return "\n".join(parts)


def _summary(results: Mapping[str, Any]) -> Iterator[str]:
    lost = [
        [name, row["name"], _number(row["value"]), _number(row["target"]), row["unit"] or ""]
        for name, result in results.items()
        for row in result["rows"]
        if row.get("reached") is False
    ]
    every = [row for result in results.values() for row in result["rows"]]
    aimed = [row for row in every if row.get("reached") is not None]
    met = len(aimed) - len(lost)
    yield f"{len(every)} figures, {len(aimed)} with a target, {met} of them reached."
    yield ""
    if lost:
        yield "## Not reached"
        yield ""
        yield from _table(["benchmark", "figure", "value", "target", "unit"], lost)


def _benchmark(name: str, result: Mapping[str, Any], about: str) -> Iterator[str]:
    yield f"## {name}"
    yield ""
    if about:
        yield about
        yield ""
    yield _machine(result["machine"])
    yield ""
    columns = ["figure", "value", "target", "unit", "reached", "peer", "peer's value", "note"]
    yield from _table(columns, [_cells(row) for row in result["rows"]])


def _cells(row: Row) -> list[str]:
    reached = {True: "yes", False: "**no**", None: ""}[row.get("reached")]
    value = "not measured" if row["value"] is None else _number(row["value"])
    peer = [row.get("peer") or "", _number(row.get("peer_value"))]
    return [
        row["name"],
        value,
        _number(row.get("target")),
        row.get("unit") or "",
        reached,
        *peer,
        row.get("note") or "",
    ]


def _machine(machine: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    said = [f"{machine['cpu']}, {machine['cores']} cores", f"Python {machine['python']}", packages]
    said += [f"{word} {machine[word]}" for word in ("gpu", "seed", "date") if word in machine]
    return f"Machine: {'; '.join(said)}."


def _published(entries: Sequence[Mapping[str, str]]) -> Iterator[str]:
    yield "## What others publish"
    yield ""
    yield "Other machines and mostly other instances: these lines prove no ratio."
    yield ""
    columns = ["system", "task", "figure", "conditions", "source"]
    yield from _table(columns, [[entry[column] for column in columns] for entry in entries])


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        escaped = [cell.replace("|", r"\|") for cell in row]
        yield f"| {' | '.join(escaped)} |"
    yield ""


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def _docstring(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text())) or "") if path.exists() else ""
