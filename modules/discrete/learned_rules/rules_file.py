"""What was learned from solved examples, as one safetensors file: rules, couplings, where from."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from engine.decimals import Floats, Ints
from engine.domain import View
from engine.errors import BadQuery, Mistake
from modules.discrete.learned_rules.relations import GEOMETRY, Lines, all_pairs, geometric, pairs_of
from modules.discrete.learned_rules.search import Rules
from modules.parameters import Site, Strict
from modules.shared.files import File
from modules.shared.sites import Layout, read_sites
from modules.shared.weights import loaded, parsed, plain_values, save


class Parameters(Strict):
    """Where the rules are, and what stands in the learned relations."""

    weights: File = Field(
        description="A file of `basin train discrete.learned_rules`; a bare name is also looked "
        "for among those that ship with Basin."
    )
    relations: dict[str, list[list[Site]]] | None = Field(
        None,
        description="Lines of sites of each relation that the shape does not give, such as edge: "
        "[[0, 1], [1, 2]]. Rows, columns, boxes and diagonals come from the shape.",
    )


FOLDER = Path(__file__).parent  # of what ships with Basin
FORMAT = "basin.learned_rules.1"
PLAIN = (
    "values", "relations", "sites", "lines", "exact", "examples", "confidence", "noise", "suspects",
    "alike", "left_out", "open",
)  # fmt: skip


REMEDY = "make it with `basin train discrete.learned_rules --data FILE --out W.safetensors`"


@dataclass(frozen=True, eq=False)
class Learned:
    """Rules, and the couplings of the same relations or pairs.

    couplings: what two values cost, in nats: (C, 1) where values are alike (the cost of being the
    same), else (C, k, k), symmetric with relations; None: not trained.
    """

    rules: Rules
    couplings: Floats | None

    def tables(self) -> Floats:
        """The couplings of each relation in full. -> (C, k, k)"""
        assert self.couplings is not None
        k = len(self.rules.values)
        if self.rules.alike:
            return self.couplings[..., None] * np.eye(k)
        return self.couplings

    def save(self, path: str | Path) -> None:
        """Writes the file."""
        r = self.rules
        groups = [(g, *literal) for g, group in enumerate(r.groups) for literal in group]
        tensors = {
            "different": r.different.astype(np.int32),
            "forbidden": r.forbidden.astype(np.int32),
            "present": r.present.astype(np.int32),
            "groups": np.array(groups, dtype=np.int32).reshape(-1, 3),
        }
        if self.couplings is not None:
            tensors["couplings"] = self.couplings.astype(np.float32)
        about = {name: getattr(r, name) for name in PLAIN}
        whole = {name: torch.from_numpy(np.ascontiguousarray(t)) for name, t in tensors.items()}
        save(path, whole, {"format": FORMAT, "rules": json.dumps(about)})


def load_learned(path: str) -> Learned:
    """What a file holds; a bare name is also looked for beside the kinds that ship with Basin.

    Raises BadQuery under `weights`.
    """
    return loaded(path, FOLDER, _learned, "learned rules", REMEDY)


@lru_cache(maxsize=8)
def _learned(raw: bytes) -> Learned:
    about, held = parsed(raw)
    if about.get("format") != FORMAT:
        raise ValueError(about.get("format"))
    plain = plain_values(about["rules"])
    tensors: dict[str, Any] = {name: tensor.numpy() for name, tensor in held.items()}
    rows = tensors["groups"].astype(np.int64)
    groups = tuple(
        tuple((int(site), int(place)) for _, site, place in rows[rows[:, 0] == g])
        for g in range(len(plain["exact"]))
    )
    for name in ("values", "relations", "exact", "suspects"):
        plain[name] = tuple(plain[name])
    if not all(isinstance(name, str) for name in (*plain["values"], *plain["relations"])):
        raise ValueError("names")
    plain["lines"] = [[int(site) for site in line] for line in plain["lines"]]
    plain["sites"] = int(plain["sites"])
    found = {name: tensors[name].astype(np.int64) for name in ("different", "forbidden", "present")}
    rules = Rules(groups=groups, **found, **{name: plain[name] for name in PLAIN})
    couplings = tensors.get("couplings")
    return Learned(rules, None if couplings is None else couplings.astype(np.float64))


@dataclass(frozen=True, eq=False)
class Fitted:
    """What was learned, laid onto the sites and values of a query."""

    learned: Learned
    lines: dict[str, Lines]  # of each relation; without relations: empty
    places: Ints  # (k,) of each learned value among those of the query; -1: absent, which is
    # allowed where all rules only ask whether two values differ

    def values(self, layout: Layout) -> list[Any]:
        """The query's own value for each learned one; None where the query has none."""
        plain = list(layout.domains[0].values)
        return [None if place < 0 else plain[place] for place in self.places]

    def pairs(self) -> list[Ints]:
        """The pairs of sites of each relation that was learned. -> (M, 2) each"""
        rules = self.learned.rules
        if not rules.relations:
            return list(all_pairs(rules.sites)[:, None])
        return [pairs_of(self.lines[name]) for name in rules.relations]


def fit(
    learned: Learned, layout: Layout, scope: tuple[View, ...], relations: dict[str, Any] | None
) -> Fitted:
    """Checks that a query's sites, values and relations are those that were learned about.

    Raises BadQuery: variables of different values, another number of sites, an unknown value (but
    where values are alike and every rule asks only whether two differ, any values do), lines that
    are missing or unknown.
    """
    rules = learned.rules
    if not layout.uniform:
        raise BadQuery(
            Mistake("scope", "names variables of different values", "give them the same")
        )
    if not rules.relations and layout.sites != rules.sites:
        raise BadQuery(
            Mistake(
                "scope",
                f"has {layout.sites} sites; the examples had {rules.sites}",
                "name as many, or train with relations, which serve any size",
            )
        )
    return Fitted(learned, _lines(rules, layout, scope, relations or {}), _places(rules, layout))


def _places(rules: Rules, layout: Layout) -> Ints:
    names = [str(value) for value in layout.domains[0].values]
    strange = [name for name in names if name not in rules.values]
    absent = [value for value in rules.values if value not in names]
    if (strange or absent) and (len(rules.forbidden) or not rules.alike):
        said = f"the value {strange[0]} is not among" if strange else f"lacks {absent[0]} of"
        listed = ", ".join(rules.values[:30])
        raise BadQuery(Mistake("scope", f"{said} the values of the examples", f"they are {listed}"))
    place = {name: k for k, name in enumerate(names)}
    return np.array([place.get(value, -1) for value in rules.values], dtype=np.int64)


def _lines(
    rules: Rules, layout: Layout, scope: tuple[View, ...], given: dict[str, Any]
) -> dict[str, Lines]:
    asked = [name for name in rules.relations if name not in GEOMETRY]
    mistakes = [
        Mistake(f"relations.{name}", "was not learned about", f"learned: {', '.join(asked) or '-'}")
        for name in given
        if name not in asked
    ]
    mistakes += [
        Mistake("relations", f"gives no lines of {name}", f"write {name}: [[0, 1], [1, 2], ...]")
        for name in asked
        if name not in given
    ]
    if mistakes:
        raise BadQuery(*mistakes)
    shape = scope[0].shape if len(scope) == 1 else (layout.sites,)
    lines = geometric(rules.relations, shape)
    return {**lines, **{n: read_sites(layout, given[n], f"relations.{n}") for n in asked}}
