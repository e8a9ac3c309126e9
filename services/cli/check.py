"""`basin check`: the contract of a kind."""

import itertools
import random
import re

from rich.console import Console
from rich.text import Text

from engine.energy import Term
from engine.energy.blame import blamed, said
from engine.errors import BadQuery, BasinError, Mistake, ModuleFault
from engine.testing import check_term
from modules.catalogue import Catalogue, Kind
from services.cli.console import ANSWERED, REFUSED, tell

RANDOM = 8  # instances at random parameters, beside the example


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
        "pure: the same states cost the same, and no tensor it is handed changes",
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
        return Catalogue(hint="of your own: basin check FILE.py").kind(name)
    return Catalogue(packages=(), entry_points=False, also=(name,)).spoken(name)


def _example(kind: Kind) -> Term:
    try:
        made = kind.term.example()
    except BasinError:
        raise
    except Exception as error:  # a user's code may raise anything
        blame = blamed(error)
        told = f"raised {said(error)}" if blame is None else str(blame).removeprefix("example ")
        raise ModuleFault(kind.name, f"its example {told}") from error
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
        for term in (example, *itertools.islice(kind.term.examples(random.Random(0)), RANDOM)):
            check_term(term)
    except AssertionError as error:
        return str(error)
    except BasinError:
        raise
    except Exception as error:  # a user's code may raise anything
        blame = blamed(error)
        raise ModuleFault(
            kind.name, f"raised {said(error)}" if blame is None else str(blame)
        ) from error
    return ""
