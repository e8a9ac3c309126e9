"""Weighted constraint networks, as toulbar2 writes them: tables of costs over a few variables each.

`NAME VARIABLES MOST_VALUES FUNCTIONS UPPER`, the number of values of each variable, and then for
each function `ARITY VARIABLE ... DEFAULT TUPLES`, with so many lines `VALUE ... COST`. A cost of at
least UPPER forbids; totals are not held to it. Of functions with a name, `-1 salldiff var COST` (or
`dec`) and `-1 sgcc var COST VALUES VALUE LOW HIGH ...` are read; others are refused by name.
The solution is the value of each variable, from 0, and the energy is the cost.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import combinations
from typing import Any, ClassVar, NamedTuple

from engine.errors import BadQuery, Mistake, shown
from modules.shared.lines import lines_of, whole_of
from services.formats.base import Asked, Format, Values, given_values
from services.query import query_of

FORM = "begin with NAME VARIABLES MOST_VALUES FUNCTIONS UPPER"
LARGEST = 10**15  # of a cost that is told apart from its neighbours
MOST = 10**6  # values of all variables, those that variables share once


class Function(NamedTuple):
    """One cost function: terms of a query but for their scopes, and the variables that they see."""

    sites: tuple[int, ...]
    params: dict[str, Any]
    kind: str
    weight: int | None  # None: it must hold


class Wcsp(Format):
    name: ClassVar[str] = "wcsp"
    suffixes: ClassVar[tuple[str, ...]] = (".wcsp",)

    def sniff(self, text: str) -> bool:
        words = text[:4096].split()[:5]
        return len(words) == 5 and not words[0].isdigit() and all(w.isdigit() for w in words[1:])

    def read(self, text: str, source: str, given: Any) -> list[Asked]:
        given_values(given, ())
        sizes, functions = parse(text)
        every = sorted(set(sizes))
        place = {k: [s for s, size in enumerate(sizes) if size == k] for k in every}
        rank = {s: k for own in place.values() for k, s in enumerate(own)}
        names = [f"x{size}[{rank[s]}]" for s, size in enumerate(sizes)]
        variables = {f"x{k}": {"values": list(range(k)), "shape": [len(place[k])]} for k in every}
        flat = {s: k for k, s in enumerate(s for k in every for s in place[k])}
        terms = [
            _term(own[0], names) if len(own) == 1 else _shared(own, list(variables), flat)
            for own in _alike(sizes, functions)
        ]
        query = query_of({"variables": variables, "terms": terms})
        order = [(f"x{size}", rank[s]) for s, size in enumerate(sizes)]
        return [Asked(query, source, (1,), partial(_values, order))]


def _term(function: Function, names: Sequence[str]) -> dict[str, Any]:
    rule: dict[str, Any] = {"required": True}
    if function.weight is not None:
        rule = {"required": False, "weight": function.weight}
    scope = [names[s] for s in function.sites]
    return {"kind": function.kind, "scope": scope, "params": function.params, **rule}


def _alike(sizes: Sequence[int], functions: Sequence[Function]) -> list[list[Function]]:
    """Tables of equal costs over variables of as many values, together."""
    groups: dict[Any, list[Function]] = {}
    for k, one in enumerate(functions):
        shape = tuple(sizes[s] for s in one.sites)
        table = one.kind == "discrete.table" and "tuples" in one.params
        told = (repr(one.params["tuples"]), one.params["default"]) if table else k
        groups.setdefault((shape, told), []).append(one)
    return list(groups.values())


def _shared(
    functions: Sequence[Function], scope: list[str], flat: dict[int, int]
) -> dict[str, Any]:
    """One table for several functions."""
    sites = [[flat[s] for s in function.sites] for function in functions]
    first = functions[0]
    whole = first._replace(params={**first.params, "sites": sites}, sites=())
    return {**_term(whole, []), "scope": scope}


def _values(order: Sequence[tuple[str, int]], values: Values) -> list[int]:
    """The value of each variable of the file."""
    return [values[name][k] for name, k in order]


class _Words:
    """The words of a text one after the other, each with its line."""

    def __init__(self, text: str):
        self.every = [
            (number, word) for number, line in enumerate(lines_of(text), 1) for word in line.split()
        ]
        self.at = 0

    @property
    def line(self) -> int:
        return self.every[min(self.at, len(self.every) - 1)][0] if self.every else 1

    def word(self, what: str) -> str:
        if self.at >= len(self.every):
            problem = f"the file ends where {what} should stand"
            raise BadQuery(
                Mistake(f"line {self.line}", problem, "look whether the file was cut off")
            )
        self.at += 1
        return self.every[self.at - 1][1]

    def whole(self, what: str, low: int | None = 0, high: int = LARGEST) -> int:
        number = self.line
        word = self.word(what)
        value = whole_of(word)
        if value is None or (low is not None and value < low) or value > high:
            least = "" if low is None else f" from {low} to {high}"
            remedy = f"give a whole number{least}; {FORM}"
            raise BadQuery(Mistake(f"line {number}", f"{shown(word)} is no {what}", remedy))
        return value


def parse(text: str) -> tuple[list[int], list[Function]]:
    """The number of values of each variable, and the cost functions. Raises BadQuery with the first
    line where something is wrong: what stands behind it cannot be told."""
    words = _Words(text)
    words.word("the name of the network")
    variables = words.whole("number of variables", 1)
    most = words.whole("largest number of values", 1)
    count, upper = words.whole("number of functions"), words.whole("upper bound", 1, 10**18)
    line = words.line
    sizes = [_size(words, most) for _ in range(variables)]
    if (told := sum(set(sizes))) > MOST:
        remedy = f"give at most {MOST} values in all"
        raise BadQuery(Mistake(f"line {line}", f"the variables have {told} values", remedy))
    functions = [f for _ in range(count) for f in _function(words, sizes, upper)]
    if words.at < len(words.every):
        remedy = f"mend the header, which says {count} functions"
        raise BadQuery(
            Mistake(f"line {words.line}", f"{shown(words.every[words.at][1])} is too much", remedy)
        )
    return sizes, functions


def _size(words: _Words, most: int) -> int:
    line = words.line
    size = words.whole("number of values", None, most)
    if size < 1:
        problem = "an interval without a list of values" if size < 0 else "a variable of no value"
        raise BadQuery(Mistake(f"line {line}", f"{problem} is not read", "give values from 1 on"))
    return size


def _function(words: _Words, sizes: Sequence[int], upper: int) -> Iterator[Function]:
    line = words.line
    arity = words.whole("number of variables of a function", None, len(sizes))
    if arity < 0:
        remedy = "write each function out"
        raise BadQuery(Mistake(f"line {line}", "functions that others share are not read", remedy))
    sites = tuple(words.whole("variable", 0, len(sizes) - 1) for _ in range(arity))
    if len(set(sites)) < arity:
        remedy = "name every variable of a function once"
        raise BadQuery(Mistake(f"line {line}", "a variable stands twice", remedy))
    default = words.whole("default cost", None)
    if default < -1:
        raise BadQuery(Mistake(f"line {line}", f"the cost {default} is negative", "give 0 or more"))
    if default == -1:
        yield from _named(words, words.word("the name of a function"), sites, sizes, upper)
    else:
        yield from _table(words, sites, sizes, default, upper)


def _table(
    words: _Words, sites: tuple[int, ...], sizes: Sequence[int], default: int, upper: int
) -> Iterator[Function]:
    line = words.line
    count = words.whole("number of tuples", None)
    if count < 0:
        remedy = "write each function out"
        raise BadQuery(Mistake(f"line {line}", "functions that others share are not read", remedy))

    def cost(value: int) -> int | None:
        return None if value >= upper else value

    if not sites:  # a constant, which every value of the first variable pays
        paid = cost(default)
        yield _priced((0,), {"sites": [0], "costs": [paid] * sizes[0]}, [paid])
        return
    seen: set[tuple[int, ...]] = set()
    tuples = []
    for _ in range(count):
        line = words.line
        values = tuple(words.whole("value", 0, sizes[s] - 1) for s in sites)
        paid = cost(words.whole("cost"))
        if values in seen:
            remedy = "name every combination once"
            raise BadQuery(Mistake(f"line {line}", f"{list(values)} stands twice", remedy))
        seen.add(values)
        tuples.append([*values, paid])
    params = {"sites": list(range(len(sites))), "tuples": tuples, "default": cost(default)}
    yield _priced(sites, params, [cost(default), *(t[-1] for t in tuples)])


def _priced(
    sites: tuple[int, ...], params: dict[str, Any], costs: Sequence[int | None]
) -> Function:
    """A table: a rule where nothing of it is paid."""
    hard = all(c is None or c == 0 for c in costs)
    return Function(sites, params, "discrete.table", None if hard else 1)


def _named(
    words: _Words, name: str, sites: tuple[int, ...], sizes: Sequence[int], upper: int
) -> Iterator[Function]:
    line = words.line
    if name not in ("salldiff", "sgcc"):
        remedy = "read are tables, salldiff and sgcc; write the function as a table"
        raise BadQuery(Mistake(f"line {line}", f"the function {shown(name)} is not read", remedy))
    how = words.word(f"how {name} counts")
    if how != "var" and not (name == "salldiff" and how in ("dec", "decbi")):
        remedy = "read are salldiff var, salldiff dec, and sgcc var"
        raise BadQuery(Mistake(f"line {line}", f"{name} {shown(how)} is not read", remedy))
    price = words.whole("cost")
    weight = None if price >= upper else price
    here = list(range(len(sites)))
    if name == "sgcc":
        made = list(_counted(words, sites, sizes, weight))
    elif weight is None:
        made = [Function(sites, {"lines": [here]}, "discrete.all_different", None)]
    elif how == "var":
        values = range(max(sizes[s] for s in sites))
        made = [_limit(sites, sizes, value, "<=", 1, weight) for value in values]
    else:
        pairs = [list(pair) for pair in combinations(here, 2)]
        made = [Function(sites, {"pairs": pairs}, "discrete.not_equal", weight)]
    yield from (f for f in made if weight != 0 and f.sites)


def _counted(
    words: _Words, sites: tuple[int, ...], sizes: Sequence[int], weight: int | None
) -> Iterator[Function]:
    """How often values stand: as many variables must change as there are values too many, or too
    few if that is more."""
    line = words.line
    count = words.whole("number of values")
    rows = []
    for _ in range(count):
        value = words.whole("value")
        rows.append((value, words.whole("least number"), words.whole("largest number")))
    n = len(sites)
    fixed = all(low == high for _, low, high in rows) and sum(r[1] for r in rows) == n
    fixed = fixed and {r[0] for r in rows} >= set(range(max(sizes[s] for s in sites)))
    sided = any(r[1] for r in rows) and any(r[2] < n for r in rows)
    if weight is not None and sided and not fixed:
        remedy = "give it a cost that forbids, or limits on one side"
        problem = "sgcc with a price on values too few and too many is not read"
        raise BadQuery(Mistake(f"line {line}", problem, remedy))
    for value, low, high in rows:
        if high < n:
            yield _limit(sites, sizes, value, "<=", high, weight)
        if low and not (weight is not None and fixed):
            yield _limit(sites, sizes, value, ">=", low, weight)


def _limit(
    sites: tuple[int, ...],
    sizes: Sequence[int],
    value: int,
    compare: str,
    constant: int,
    weight: int | None,
) -> Function:
    """At most, or at least, so many variables have a value."""
    own = [k for k, s in enumerate(sites) if value < sizes[s]]
    terms = [[k, value, 1] for k in own] or [[0, 0, 0]]
    params = {"terms": terms, "compare": compare, "constant": constant}
    return Function(sites, params, "discrete.linear", weight)
