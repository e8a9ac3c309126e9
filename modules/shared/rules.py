"""Reads linear comparisons as people write them: one, or many of them at once."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from typing import Any

import numpy as np

from engine.decimals import decimal
from engine.errors import BadQuery, Mistake, Mistakes, join, known, shown
from engine.factors import ints
from engine.factors.families import starts
from modules.shared.compared import COMPARE, Exact, Rule
from modules.shared.guards import Guard
from modules.shared.literals import read_literals
from modules.shared.numbers import read_amounts, values_of_site
from modules.shared.sites import MISTAKES, Layout, finite, listed, read_lists

NAMES = ("terms", "values", "compare", "constant", "guard", "both_ways")
STRICT = {
    "<": "write <= with a smaller constant; known: <=, ==, >=",
    ">": "write >= with a larger constant; known: <=, ==, >=",
}


def read_rules(layout: Layout, rules: Any) -> list[Rule]:
    """Rules out of a list of mappings from the names of parameters. Raises BadQuery with every
    place where something is wrong."""
    wrong, every = Mistakes(MISTAKES), listed(rules)
    if every is None:
        remedy = "write it as [{terms: ..., compare: ..., constant: ...}, ...]"
        raise BadQuery(Mistake("rules", f"{shown(rules)} is no list", remedy))
    told: list[Mapping[str, Any]] = []
    for k, rule in enumerate(every):
        try:
            own = dict(rule)
        except (TypeError, ValueError):
            remedy = "write it as {terms: ..., compare: ..., constant: ...}"
            wrong.add(f"rules[{k}]", f"{shown(rule)} is no mapping", remedy)
            continue
        for name in own:
            if name not in NAMES:
                wrong.add(f"rules[{k}].{name}", "unknown field", known(str(name), NAMES))
        for name in ("compare", "constant"):
            if own.get(name) is None:
                wrong.add(f"rules[{k}].{name}", "is missing", f"write {name}")
        told.append(own)
    wrong.check()
    return read_all(layout, told, "rules[{}]")


def read_all(layout: Layout, told: Sequence[Mapping[str, Any]], path: str = "") -> list[Rule]:
    """Rules out of their parameters, whose names stand behind `path`, with the number of the rule
    in the place of {}. Raises BadQuery with every place where something is wrong."""
    wrong, never = Mistakes(MISTAKES), Guard(layout, ())
    terms: list[list[Any]] = []
    amounts: list[list[tuple[int, float]]] = []
    guards: list[Guard] = []
    for k, own in enumerate(told):
        with _collected(wrong, path.format(k)):
            terms.append(read_lists(own.get("terms", ()), "terms"))
            values, guard = own.get("values", ()), own.get("guard", ())
            _check_sides(own["compare"], own["constant"])
            amounts.append(read_amounts(layout, values, "values"))
            both = own.get("both_ways", False)
            guards.append(never if _empty(guard) and not both else Guard(layout, guard, both))
            if not terms[-1] and not amounts[-1]:
                remedy = "name at least one literal, or a site under values"
                raise BadQuery(Mistake("terms", "is empty", remedy))
    wrong.check()
    first = starts(ints(map(len, terms)))

    def path_of(literal: int) -> str:
        k = int(np.searchsorted(first, literal, side="right")) - 1
        return join(path.format(k), f"terms[{literal - int(first[k])}]")

    flat = list(chain.from_iterable(terms))
    site, place, numbers = read_literals(layout, flat, path_of, float)
    values = layout.values_at(site, place)
    plain = list(zip(site.tolist(), values, map(_exact, numbers), strict=True))
    sites, places, ends = site.tolist(), place.tolist(), first.tolist()
    out = []
    for k, own in enumerate(told):
        a, b = ends[k], ends[k + 1]
        literals = sites[a:b], places[a:b], plain[a:b]
        for s, coefficient in amounts[k]:
            _spell(layout, s, coefficient, literals)
        constant = _exact(own["constant"])
        out.append(Rule(layout, *literals, amounts[k], own["compare"], constant, guards[k]))
    return out


def check_form(own: Mapping[str, Any], several: bool) -> None:
    """One comparison is told, or several are. Raises BadQuery."""
    told = [k for k, x in own.items() if x is not None and x is not False and not _empty(x)]
    if several and told:
        remedy = "write it inside of each rule, or leave `rules` out"
        raise BadQuery(*(Mistake(name, "stands beside `rules`", remedy) for name in told))
    missing = [name for name in ("compare", "constant") if own[name] is None]
    if missing and not several:
        remedy = "write it, or several comparisons under `rules`"
        raise BadQuery(*(Mistake(name, "is missing", remedy) for name in missing))


def _empty(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and not value


@contextlib.contextmanager
def _collected(wrong: Mistakes, path: str) -> Iterator[None]:
    """What is wrong with a rule is told beside what is wrong with others."""
    try:
        yield
    except BadQuery as error:
        wrong.take(*(replace(m, path=join(path, m.path)) for m in error.mistakes))


def _check_sides(compare: Any, constant: Any) -> None:
    if compare not in COMPARE:
        remedy = STRICT.get(compare) or known(compare, COMPARE)
        raise BadQuery(Mistake("compare", f"{compare!r} is unknown", remedy))
    if not finite(constant):
        problem = f"{constant!r} is no finite number"
        raise BadQuery(Mistake("constant", problem, "give a finite number"))


def _spell(
    layout: Layout,
    site: int,
    coefficient: float,
    literals: tuple[list[int], list[int], list[tuple[int, Any, Exact]]],
) -> None:
    """Puts the literals that say what the values of a whole site count behind others."""
    sites, places, plain = literals
    times, values = _exact(coefficient), values_of_site(layout, site)
    here, at = ints([site] * len(values)), np.arange(len(values))
    worth = [times * _exact(v) for v in values]
    sites += here.tolist()
    places += at.tolist()
    plain += zip(here.tolist(), layout.values_at(here, at), worth, strict=True)


def _exact(number: float | Fraction) -> Exact:
    """A number as the decimal it is written as; whole numbers and fractions stay as they are."""
    return number if isinstance(number, (int, Fraction)) else decimal(number)
