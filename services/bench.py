"""`basin bench`: runs benchmarks/NAME.py, prints its figures, and keeps them with the machine's."""

import importlib.util
import json
import os
import platform
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from engine.errors import BadQuery, Mistake, known
from services.ask import ANSWERED, REFUSED, tell
from services.figures import write_page

COLUMNS = ("name", "value", "target", "unit", "peer", "peer_value")
PACKAGES = ("torch", "numba", "numpy", "ortools", "python-sat")


def bench(name: str | None, as_json: bool, docs: bool, seed: int) -> int:
    """Run one benchmark, if one is named, and write the page of all figures, if asked to."""
    try:
        if name is not None:
            _measured(find(name), as_json, seed)
        elif not docs:
            raise BadQuery(Mistake("NAME", "is missing", f"known: {', '.join(benchmarks())}"))
        if docs:
            print(write_page(_folders()[0]), file=sys.stderr)
    except BadQuery as error:
        tell("", error)
        return REFUSED
    return ANSWERED


def _measured(path: Path, as_json: bool, seed: int) -> None:
    rows = [_row(row) for row in _loaded(path).run(seed=seed)]
    done = {"rows": rows, "machine": machine(seed)}
    results = path.parent / "results"
    results.mkdir(exist_ok=True)
    (results / path.with_suffix(".json").name).write_text(json.dumps(done, indent=1) + "\n")
    if as_json:
        print(json.dumps(done))
    else:
        _show(path.stem, rows)


def find(name: str) -> Path:
    """The file of a benchmark."""
    named = benchmarks()
    if name not in named:
        raise BadQuery(Mistake("NAME", f"{name!r} is no benchmark", known(name, named)))
    return named[name]


def benchmarks() -> dict[str, Path]:
    """The files with a function `run(seed=...)` that makes rows, by name."""
    every = [path for folder in reversed(_folders()) for path in sorted(folder.glob("*.py"))]
    runs = re.compile(r"^def run\(", re.MULTILINE)
    return {path.stem: path for path in every if runs.search(path.read_text())}


def _folders() -> list[Path]:
    """`benchmarks` of this folder, where there is one, before that of the checkout."""
    every = [Path("benchmarks"), Path(__file__).resolve().parents[1] / "benchmarks"]
    return [folder for folder in every if folder.is_dir()]


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


def machine(seed: int) -> dict[str, Any]:
    """What the figures were measured on, when, and with which seed."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": dict(_versions()),
        "seed": seed,
        "date": datetime.now(UTC).date().isoformat(),
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
