"""`basin bench`: runs benchmarks/NAME.py, prints its figures, and keeps them with the machine's."""

import importlib.util
import json
import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from engine.errors import BadQuery, Mistake, known
from services.ask import ANSWERED, REFUSED, tell

COLUMNS = ("name", "value", "target", "unit", "peer", "peer_value")
PACKAGES = ("torch", "numba", "numpy", "ortools", "python-sat")


def bench(name: str, as_json: bool) -> int:
    """Run one benchmark; the exit code."""
    try:
        path = find(name)
    except BadQuery as error:
        tell("", error)
        return REFUSED
    rows = [_row(row) for row in _loaded(path).run()]
    done = {"rows": rows, "machine": machine()}
    results = path.parent / "results"
    results.mkdir(exist_ok=True)
    (results / f"{name}.json").write_text(json.dumps(done, indent=1) + "\n")
    if as_json:
        print(json.dumps(done))
    else:
        _show(name, rows)
    return ANSWERED


def find(name: str) -> Path:
    """The file of a benchmark, in this folder's `benchmarks` or in that of the checkout."""
    folders = [Path("benchmarks"), Path(__file__).resolve().parents[1] / "benchmarks"]
    every = [path for folder in folders for path in sorted(folder.glob("*.py"))]
    named = {path.stem: path for path in reversed(every) if not path.stem.startswith("_")}
    if name not in named:
        raise BadQuery(Mistake("NAME", f"{name!r} is no benchmark", known(name, named)))
    return named[name]


def _loaded(path: Path) -> Any:
    sys.path.insert(0, str(path.resolve().parents[1]))
    spec = importlib.util.spec_from_file_location(f"benchmarks.{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return {column: row.get(column) for column in COLUMNS} | row


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": dict(_versions()),
    }


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _versions() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def _show(name: str, rows: list[dict[str, Any]]) -> None:
    table = Table(*COLUMNS, title=name, title_justify="left")
    for row in rows:
        table.add_row(*(_text(row[column]) for column in COLUMNS))
    Console().print(table)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
