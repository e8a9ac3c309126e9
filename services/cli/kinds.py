"""`basin kinds`: what kinds there are, here or in a service, and the parameters of each."""

import inspect
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.errors import BadQuery, BasinError
from services.cli.console import ANSWERED, FAILED, REFUSED, tell
from services.cli.listing import recall
from services.cli.modules import catalogue_of
from services.query.kind import KindDescription, describe

if TYPE_CHECKING:
    from modules.catalogue import Catalogue


def kinds(
    name: str | None, as_json: bool, server: str | None = None, modules: Sequence[str] = ()
) -> int:
    """List all kinds, or describe one; the exit code. server: whose, None: of this process.
    modules: files of kinds of one's own."""
    try:
        own = catalogue_of(modules, server) if modules else None
        chosen, said = _here(name, own) if server is None else _there(name, server)
    except BadQuery as error:
        tell("", error)
        return REFUSED
    except BasinError as error:
        tell("", error)
        return FAILED
    if as_json:
        print(json.dumps([asdict(kind) for kind in chosen]))
    elif name is None:
        _list(chosen)
    else:
        _show(chosen[0], said)
    return ANSWERED


def _here(name: str | None, own: "Catalogue | None") -> tuple[list[KindDescription], str]:
    """The kinds of this process, and of one all that its class says of itself. own: where they are
    found, with files beside them; None: as installed."""
    if name is None:
        names = (field.name for field in fields(KindDescription))
        every, failures = recall(_every, names) if own is None else _every(own)
        for failed, why in failures.items():
            print(f"{failed}: could not be loaded: {why}", file=sys.stderr)
        return [KindDescription(**kind) for kind in every], ""
    kind = (own or catalogue_of()).kind(name)
    return [describe(kind)], inspect.cleandoc(kind.term.__doc__ or "")


def _every(own: "Catalogue | None" = None) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """All kinds described, and why others could not be loaded."""
    catalogue = own or catalogue_of()  # loads torch, which a listing kept does without
    return [asdict(describe(kind)) for kind in catalogue.kinds()], catalogue.failures


def _there(name: str | None, server: str) -> tuple[list[KindDescription], str]:
    """The kinds of a service, and of one what it is in one line."""
    from services.client import Client  # gRPC is loaded only where a service is asked

    with Client(server) as client:
        found = client.kinds() if name is None else [client.kind(name)]
    return found, "" if name is None else found[0].about


def _list(every: list[KindDescription]) -> None:
    table = Table("kind", "about", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for kind in every:
        table.add_row(Text(kind.kind, "bold"), Text(kind.about))
    Console().print(table)


def _show(kind: KindDescription, said: str) -> None:
    console = Console()
    console.print(Text(kind.kind, "bold"))
    for paragraph in said.split("\n\n"):
        console.print(Text(" ".join(paragraph.split())))
    default = "required" if kind.required_by_default else "weighted"
    unit = "in nats" if kind.calibrated else "without a unit"
    console.print(Text(f"\nBy default {default}; its energy is {unit}.\n", "dim"))
    for name, field in kind.parameters.get("properties", {}).items():
        must = "" if name in kind.parameters.get("required", ()) else " (may be left out)"
        line = Text("params.").append(name, "bold").append(must, "dim")
        console.print(line.append(f"  {field.get('description', '')}"))
