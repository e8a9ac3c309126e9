"""`basin kinds`, `basin new` and `basin check`: what kinds there are, a new one, and its laws."""

import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.energy import Term
from engine.errors import BadQuery, BasinError, Mistake, ModuleFault
from engine.testing import check_term
from modules.catalogue import Catalogue, Kind
from services.ask import ANSWERED, FAILED, REFUSED, tell

TERM = '''"""{title}: say in one sentence what is low in energy."""

from engine import Finite, Term, Variable, View
from torch import Tensor


class {title}(Term):
    """The number of sites that do not take the value `wanted`. Replace this by your energy."""

    def __init__(self, x: Variable | View, wanted: int = 1):
        super().__init__(x)
        self.wanted = wanted
        self.place = self.scope[0].variable.domain.place(wanted)

    def energy(self, x: Tensor) -> Tensor:  # (B, n, k) -> (B,)
        return (1 - x[..., self.place]).flatten(1).sum(1)

    def holds(self, x: list) -> bool:  # plain values; leave it out where nothing is decided
        return all(value == self.wanted for value in x)

    @classmethod
    def example(cls) -> "{title}":
        return cls(Variable("x", Finite((0, 1, 2), (3,))))
'''
TEST = '''"""The laws every term must keep, on the example of {title}."""

from engine.testing import check_term

from {module} import {title}


def test_{module}_keeps_the_laws():
    check_term({title}.example())
'''


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


def new(name: str) -> int:
    """Write NAME.py and test_NAME.py into this folder; the exit code."""
    try:
        paths = _write(name)
    except BadQuery as error:
        tell("", error)
        return REFUSED
    for path in paths:
        print(f"wrote {path}")
    print(f"next: write `energy` in {paths[0]}, then run: basin check {paths[0]}")
    return ANSWERED


def _write(name: str) -> list[Path]:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise BadQuery(
            Mistake(
                "KIND",
                f"{name!r} is no name for a file",
                "use small letters, digits and _, such as my_term",
            )
        )
    title = "".join(word.title() for word in name.split("_"))
    texts = {
        Path(f"{name}.py"): TERM.format(title=title),
        Path(f"test_{name}.py"): TEST.format(title=title, module=name),
    }
    there = [path for path in texts if path.exists()]
    if there:
        raise BadQuery(
            *(Mistake(str(path), "is there already", "take another name") for path in there)
        )
    for path, text in texts.items():
        path.write_text(text)
    return list(texts)


def check(name: str) -> int:
    """Hold a kind, or the term of a file, against the contract kit; the exit code."""
    try:
        kind = _kind(name)
        example = _example(kind)
        broken = _broken(kind, example)
    except BasinError as error:
        tell("", error)
        return REFUSED
    console = Console(highlight=False)
    if broken:
        console.print(Text(f"{kind.name}: broken: {broken}", "red"), soft_wrap=True)
        return REFUSED
    for law in laws(kind):
        console.print(Text("kept  ", "green").append(law, "default"), soft_wrap=True)
    return ANSWERED


def laws(kind: Kind) -> list[str]:
    """What `check_term` has tried, in words."""
    every = [
        "energy: one finite or infinite number a state, the same alone and in a batch",
        "pure: the same states cost the same, and no input changes",
        "gradient: agrees with differences",
        "floor: no state costs less",
        "explain: says why, exactly where holds is False",
        "factors: cost what energy and holds say, without evidence and with it",
        "propose: finite states of the right shapes, each row its own",
    ]
    if kind.term.affine:
        every.insert(3, "affine: straight along each site")
    if kind.required_by_default:
        every.insert(-1, "rule: the energy is 0 exactly where it holds")
    return every


def _kind(name: str) -> Kind:
    """The kind of a name of the catalogue, of a file, or of `module:Class`."""
    if not re.search(r"\.py(:\w+)?$|:", name):
        return Catalogue().kind(name)
    catalogue = Catalogue(packages=(), entry_points=False, also=(name,))
    found = catalogue.kinds()
    if not found:
        why = "; ".join(catalogue.failures.values())
        raise BadQuery(Mistake(name, f"could not be loaded: {why}", "mend it, or the name"))
    return found[0]


def _example(kind: Kind) -> Term:
    try:
        made = kind.term.example()
    except BasinError:
        raise
    except Exception as error:  # a user's code may raise anything
        raise ModuleFault(
            kind.name, f"its example raised {type(error).__name__}: {error}"
        ) from error
    if isinstance(made, Term):
        return made
    wrote = "has no example" if made is None else f"has {made!r} for an example"
    title = kind.term.__name__
    raise BadQuery(
        Mistake(
            kind.name,
            f"{wrote}, and is checked on one",
            f"write in {title}: @classmethod def example(cls): return cls(Variable(...), ...), "
            "a small term over variables of its own",
        )
    )


def _broken(kind: Kind, example: Term) -> str:
    """The law that is broken, in words; empty when all are kept."""
    try:
        check_term(example)
    except AssertionError as error:
        return str(error)
    except BasinError:
        raise
    except Exception as error:  # a user's code may raise anything
        raise ModuleFault(kind.name, f"raised {type(error).__name__}: {error}") from error
    return ""
