"""`basin kinds`: what kinds there are, and the parameters of each."""

import inspect
import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.errors import BadQuery, BasinError
from modules.catalogue import Catalogue, Kind
from services.cli.ask import ANSWERED, FAILED, REFUSED, tell


def kinds(name: str | None, as_json: bool) -> int:
    """List all kinds, or describe one; the exit code."""
    catalogue = Catalogue()
    try:
        chosen = catalogue.kinds() if name is None else [catalogue.kind(name)]
    except BadQuery as error:
        tell("", error)
        return REFUSED
    except BasinError as error:
        tell("", error)
        return FAILED
    for failed, why in catalogue.failures.items():
        print(f"{failed}: could not be loaded: {why}", file=sys.stderr)
    if as_json:
        print(json.dumps([described(kind) for kind in chosen]))
    elif name is None:
        _list(chosen)
    else:
        _describe(chosen[0])
    return ANSWERED


def described(kind: Kind) -> dict[str, Any]:
    """One kind as plain data, with the fields of the command line's contract."""
    return {
        "kind": kind.name,
        "about": kind.about,
        "required_by_default": kind.required_by_default,
        "calibrated": kind.calibrated,
        "parameters": kind.schema,
    }


def _list(every: list[Kind]) -> None:
    table = Table("kind", "about", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for kind in every:
        table.add_row(Text(kind.name, "bold"), Text(kind.about))
    Console().print(table)


def _describe(kind: Kind) -> None:
    console = Console()
    console.print(Text(kind.name, "bold"))
    for paragraph in inspect.cleandoc(kind.term.__doc__ or "").split("\n\n"):
        console.print(Text(" ".join(paragraph.split())))
    default = "required" if kind.required_by_default else "weighted"
    unit = "in nats" if kind.calibrated else "without a unit"
    console.print(Text(f"\nBy default {default}; its energy is {unit}.\n", "dim"))
    schema = kind.schema
    for name, field in schema.get("properties", {}).items():
        must = "" if name in schema.get("required", ()) else " (may be left out)"
        said = Text("params.").append(name, "bold").append(must, "dim")
        console.print(said.append(f"  {field.get('description', '')}"))
