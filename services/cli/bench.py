"""`basin bench`: runs benchmarks/NAME.py, prints its figures, and keeps them with the machine's.

A benchmark is a file with `run(seed=...)` that makes rows. One that takes long may have `SECTIONS`
beside it, functions of a seed by name: each can be run alone, and its rows then take the place of
those it made before.
"""

import importlib.util
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from engine.errors import BadQuery, Mistake, known
from services.cli.bench_report import write_page
from services.cli.console import ANSWERED, REFUSED, tell

Row = dict[str, Any]

COLUMNS = ("name", "value", "target", "unit", "peer", "peer_value")
PACKAGES = ("torch", "numba", "numpy", "ortools", "python-sat")


def bench(
    name: str | None, as_json: bool, docs: bool, seed: int, sections: Sequence[str] = ()
) -> int:
    """Run one benchmark, or some sections of it, if one is named, and write the page of all
    figures, if asked to."""
    try:
        if not _folders():
            raise BadQuery(
                Mistake("NAME", "there are no benchmarks here", "run it in a checkout of Basin")
            )
        if name is not None:
            _measured(find(name), as_json, seed, sections)
        elif not docs:
            raise BadQuery(Mistake("NAME", "is missing", f"known: {', '.join(benchmarks())}"))
        if docs:
            print(write_page(_folders()[0]), file=sys.stderr)
    except BadQuery as error:
        tell("", error)
        return REFUSED
    return ANSWERED


def _measured(path: Path, as_json: bool, seed: int, sections: Sequence[str]) -> None:
    """Runs a benchmark; what a section measured is kept before the next begins."""
    every = _sections(_loaded(path))
    if wrong := [name for name in sections if name not in every]:
        raise BadQuery(
            *(Mistake("--section", f"{name!r} is none", known(name, every)) for name in wrong)
        )
    kept = path.parent / "results" / path.with_suffix(".json").name
    kept.parent.mkdir(exist_ok=True)
    rows = [row for row in _rows_of(kept) if row.get("section", "") in every]
    for name in sections or every:
        began = time.monotonic()
        own = [_row(row, name) for row in every[name](seed=seed)]
        rows = sorted(
            [*(row for row in rows if row.get("section", "") != name), *own],
            key=lambda row: [*every].index(row.get("section", "")),
        )
        done = {"rows": rows, "machine": machine(seed)}
        kept.write_text(json.dumps(done, indent=1) + "\n")
        if name and sys.stderr.isatty():
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    if as_json:
        print(json.dumps(done))
    else:
        _show(path.stem, rows)


def _sections(module: Any) -> Mapping[str, Callable[..., Sequence[Row]]]:
    """What a benchmark runs, in order; one without sections is one, without a name."""
    return vars(module).get("SECTIONS", {"": module.run})


def _rows_of(path: Path) -> list[Row]:
    """The rows that a benchmark made before."""
    return json.loads(path.read_text())["rows"] if path.exists() else []


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


def _row(row: Row, section: str) -> Row:
    """A row with every column, and with its section where that has a name."""
    return {c: row.get(c) for c in COLUMNS} | row | ({"section": section} if section else {})


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


def _show(name: str, rows: Sequence[Row]) -> None:
    table = Table(*COLUMNS, title=name, title_justify="left")
    for row in rows:
        table.add_row(*(_text(row[column]) for column in COLUMNS))
    Console().print(table)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
