"""`basin kinds`: what kinds there are, and the parameters of each."""

import inspect
import json
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.errors import BadQuery, BasinError
from services.cli.console import ANSWERED, FAILED, REFUSED, tell
from services.cli.listing import recall

if TYPE_CHECKING:
    from modules.catalogue import Kind


def kinds(name: str | None, as_json: bool) -> int:
    """List all kinds, or describe one; the exit code."""
    if name is not None:
        return _one(name, as_json)
    every, failures = recall(_every)
    for failed, why in failures.items():
        print(f"{failed}: could not be loaded: {why}", file=sys.stderr)
    if as_json:
        print(json.dumps(every))
        return ANSWERED
    table = Table("kind", "about", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for kind in every:
        table.add_row(Text(kind["kind"], "bold"), Text(kind["about"]))
    Console().print(table)
    return ANSWERED


def _every() -> tuple[list[dict[str, Any]], dict[str, str]]:
    """All kinds described, and why others could not be loaded."""
    from modules.catalogue import Catalogue

    catalogue = Catalogue()
    return [described(kind) for kind in catalogue.kinds()], catalogue.failures


def _one(name: str, as_json: bool) -> int:
    from modules.catalogue import Catalogue

    try:
        kind = Catalogue().kind(name)
    except BasinError as error:
        tell("", error)
        return REFUSED if isinstance(error, BadQuery) else FAILED
    if as_json:
        print(json.dumps([described(kind)]))
    else:
        _describe(kind)
    return ANSWERED


def described(kind: "Kind") -> dict[str, Any]:
    """One kind as plain data, with the fields of the command line's contract."""
    return {
        "kind": kind.name,
        "about": kind.about,
        "required_by_default": kind.required_by_default,
        "calibrated": kind.calibrated,
        "parameters": kind.schema,
    }


def _describe(kind: "Kind") -> None:
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
