"""All completions of a small query, and what each costs: the oracle of the fuzzer.

Finite sites take all their values, open reals a few samples (then only what a sample shows is
known). Costs of exact terms are whole numbers after scaling, so that they compare exactly.
"""

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from tests.support.fuzz.meaning import EXPLICIT, INFINITE, Meaning, decimal, key, meaning_of

ULP = 2.0**-52

Site = tuple[str, int]  # a variable, and the flat place in it


def flat(value: Any) -> list[Any]:
    """Nested lists as one list."""
    if isinstance(value, (list, tuple)):
        return [entry for part in value for entry in flat(part)]
    return [value]


def places_of(view: str, shape: Sequence[int]) -> np.ndarray:
    """The flat places of a view such as `x[0, ::-1]`, in its shape."""
    name, _, index = view.partition("[")
    at = np.arange(math.prod(shape)).reshape(shape)
    if not index:
        return at
    return np.array(eval(f"at[{index}", {"__builtins__": {}}, {"at": at}))


@dataclass(frozen=True)
class Branch:
    """One term: the sites it speaks of, and what it means."""

    meaning: Meaning
    sites: tuple[Site, ...]
    explicit: bool


@dataclass(frozen=True)
class Summand:
    """One summand of a query: a term, or a choice between several lists of summands."""

    name: str
    weight: Fraction | None  # None: required
    leaf: Branch | None = None
    choices: tuple[tuple["Summand", ...], ...] = ()
    temperature: float | None = None  # of a soft choice

    @property
    def exact(self) -> bool:
        """Its costs are known without rounding."""
        if self.leaf is not None:
            return self.leaf.meaning.slack is None
        return self.temperature is None and all(s.exact for c in self.choices for s in c)

    @property
    def explicit(self) -> bool:
        """The engine has to see it as explicit structure."""
        if self.leaf is not None:
            return self.leaf.explicit
        return self.temperature is None and all(s.explicit for c in self.choices for s in c)

    @property
    def unsure(self) -> bool:
        """It may say that it cannot say."""
        if self.leaf is not None:
            return self.leaf.meaning.unsure is not None or self.leaf.meaning.shy
        return any(s.unsure for c in self.choices for s in c)

    @property
    def rule(self) -> bool:
        """It is required without being asked for: a choice between such is so, too."""
        if self.leaf is not None:
            return self.leaf.meaning.rule and self.weight is None
        return self.weight is None


@dataclass(frozen=True)
class Said:
    """What a summand says of some values: its verdict, and its energy without the weight."""

    holds: bool | None
    amount: Any  # a Fraction, a float, or INFINITE
    slack: float  # by which a float may be off
    span: float  # the sum of the magnitudes it adds


def summand_of(term: Mapping[str, Any], variables: Mapping[str, Any], place: int) -> Summand:
    """A term of a query, or {"any": [[term, ...], ...]} with or without "soft"."""
    if "any" in term:
        choices = tuple(
            tuple(summand_of(t, variables, k) for k, t in enumerate(branch))
            for branch in term["any"]
        )
        rule = all(s.rule for c in choices for s in c) and "soft" not in term
        weight = decimal(term["weight"]) if "weight" in term else None if rule else Fraction(1)
        return Summand(term["name"], weight, None, choices, term.get("soft"))
    scope, sites, shapes = [], [], []
    for view in term["scope"]:
        name = view.partition("[")[0]
        spec = variables[name]
        at = places_of(view, spec.get("shape", ()))
        shapes.append(at.shape)
        for where in at.reshape(-1).tolist():
            scope.append(spec.get("values"))
            sites.append((name, where))
    meaning = meaning_of(term["kind"], term.get("params", {}), scope, shapes)
    weight = decimal(term.get("weight", 1.0))
    required = term.get("required")
    if required is None:
        required = meaning.rule and weight == 1
    explicit = term["kind"] in EXPLICIT
    leaf = Branch(meaning, tuple(sites), explicit)
    return Summand(term.get("name") or term["kind"], None if required else weight, leaf)


class Landscape:
    """A case's summands over all completions of its base domains."""

    def __init__(self, query: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]):
        self.query, self.rows = query, rows
        variables = query["variables"]
        self.summands = [summand_of(term, variables, k) for k, term in enumerate(query["terms"])]
        self.sites: list[Site] = []
        self.options: list[list[Any]] = []
        self.open_reals = False
        for name, spec in variables.items():
            shape = tuple(spec.get("shape", ()))
            for where in range(math.prod(shape)):
                given = [flat(row[name])[where] if row.get(name) is not None else None
                         for row in rows]  # fmt: skip
                self.sites.append((name, where))
                self.options.append(self._options(spec, given))
        self.at = {site: k for k, site in enumerate(self.sites)}

    def _options(self, spec: Mapping[str, Any], given: Sequence[Any]) -> list[Any]:
        """The values of a site that some row of evidence allows."""
        if "values" in spec:
            every = [key(v) for v in spec["values"]]
            if None in given:
                return every
            return [v for v in every if v in {key(g) for g in given}]
        told = [float(g) for g in given if g is not None]
        if None not in given:
            return list(dict.fromkeys(told))
        low = -4.0 if spec.get("low") is None else spec["low"]
        high = 4.0 if spec.get("high") is None else spec["high"]
        self.open_reals = self.open_reals or low < high
        samples = {low, high, (low + high) / 2}
        samples |= {v for v in (0.0, 0.1, 0.25, 0.5, 0.75) if low <= v <= high}
        return [*sorted(samples), *dict.fromkeys(t for t in told if t not in samples)]

    @property
    def size(self) -> int:
        return math.prod(map(len, self.options))

    @functools.cached_property
    def completions(self) -> list[tuple[Any, ...]]:
        return list(itertools.product(*self.options))

    @functools.cached_property
    def said(self) -> list[list[Said]]:
        """[summand][completion]"""
        return [self._tabulated(summand) for summand in self.summands]

    def _tabulated(self, summand: Summand) -> list[Said]:
        """What a summand says of every completion; asked once for each set of values it sees."""
        sites = [self.at[site] for site in dict.fromkeys(_seen(summand))]
        known: dict[tuple[Any, ...], Said] = {}
        out = []
        for values in self.completions:
            mine = tuple([values[k] for k in sites])
            found = known.get(mine)
            if found is None:
                found = known[mine] = say(summand, dict(zip(self.sites, values)))
            out.append(found)
        return out

    def open(self, evidence: Mapping[str, Any]) -> np.ndarray:
        """The numbers of the completions that evidence allows."""
        fixed = {}
        for name, value in evidence.items():
            if value is None:
                continue
            real = "values" not in self.query["variables"][name]
            for where, entry in enumerate(flat(value)):
                if entry is not None:
                    fixed[self.at[name, where]] = float(entry) if real else key(entry)
        return np.array(
            [
                k
                for k, values in enumerate(self.completions)
                if all(values[s] == v for s, v in fixed.items())
            ],
            dtype=np.int64,
        )

    def open_sites(self, evidence: Mapping[str, Any]) -> set[Site]:
        """The reals that may take more than one number."""
        out = set()
        for name, where in self.sites:
            spec, given = self.query["variables"][name], evidence.get(name)
            free = given is None or flat(given)[where] is None
            if "values" not in spec and spec.get("low") != spec.get("high") and free:
                out.add((name, where))
        return out

    def total(self, values: Mapping[Site, Any], active: Sequence[int]) -> "Total":
        """What the summands say of one completion, any reals among them."""
        return summed([(self.summands[t], say(self.summands[t], values)) for t in active])

    def view(self, evidence: Mapping[str, Any], active: Sequence[int] | None = None) -> "Row":
        """One row of evidence under some of the terms."""
        active = range(len(self.summands)) if active is None else active
        numbers = self.open(evidence)
        totals = [
            summed([(self.summands[t], self.said[t][k]) for t in active]) for k in numbers.tolist()
        ]
        if loose := self.open_sites(evidence):
            real = [any(s in loose for s in _seen(self.summands[t])) for t in active]
            totals = [replace(t, finitely=_finitely(t, real)) for t in totals]
        return Row(self, tuple(active), [self.completions[k] for k in numbers], totals, evidence)


def _seen(summand: Summand) -> list[Site]:
    if summand.leaf is not None:
        return list(summand.leaf.sites)
    return [site for choice in summand.choices for s in choice for site in _seen(s)]


def say(summand: Summand, values: Mapping[Site, Any]) -> Said:
    """What a summand says of values."""
    if summand.leaf is None:
        return _said_by_choice(summand, values)
    meaning, own = summand.leaf.meaning, [values[s] for s in summand.leaf.sites]
    total: Any = Fraction(0)
    span, fails = 0.0, False
    for part in meaning.parts:
        amount = part.amount(*[own[s] for s in part.sites])
        total = total + amount if amount != INFINITE and total != INFINITE else INFINITE
        span += abs(float(amount)) if amount != INFINITE else 0.0
        fails = fails or (amount == INFINITE if meaning.priced else amount > 0)
    holds: bool | None = None
    if meaning.decides:
        holds = not fails if meaning.truth is None else meaning.truth(*own)
        if meaning.unsure is not None and meaning.unsure(*own):
            holds = None
    slack = 0.0
    if meaning.slack is not None and total != INFINITE:
        slack = meaning.slack * max(1.0, abs(float(total)))
    return Said(holds, total, slack, span)


def _said_by_choice(summand: Summand, values: Mapping[Site, Any]) -> Said:
    energies, verdicts, slack, span = [], [], 0.0, 0.0
    for choice in summand.choices:
        each = [(s, say(s, values)) for s in choice]
        energy: Any = Fraction(0)
        for s, said in each:
            weight = 1 if s.weight is None else s.weight
            energy = (
                INFINITE if INFINITE in (energy, said.amount) else energy + weight * said.amount
            )
            slack = max(slack, float(weight) * said.slack)
            span += float(weight) * said.span
        energies.append(energy)
        told = [said.holds for _, said in each]
        verdicts.append(False if False in told else None if None in told else True)
    holds = True if True in verdicts else None if None in verdicts else False
    if summand.temperature is None:
        return Said(holds, min(energies), slack, span)
    t, least = summand.temperature, float(min(energies))
    if least == INFINITE:
        return Said(holds, INFINITE, slack, span)
    total = sum(math.exp(-(float(e) - least) / t) for e in energies)
    slack += 1e-6 * max(1.0, abs(least), span)
    return Said(holds, least - t * math.log(total), slack, span)


@dataclass(frozen=True)
class Total:
    """What all summands say together."""

    feasible: bool | None  # None: a required rule cannot say
    exact: Fraction  # of the exact summands
    rounded: float  # of the others
    slack: float
    shares: tuple[float, ...]  # of each, 0 for required ones
    holds: tuple[bool | None, ...]
    required: tuple[bool, ...]
    infinite: bool
    span: float  # the sum of all magnitudes that are added
    finitely: bool = False  # every rule that looks at no open real holds, but another fails

    @property
    def energy(self) -> float:
        return float(self.exact) + self.rounded if self.rounded else float(self.exact)

    @property
    def loose(self) -> float:
        """By how much an opaque energy may lie above its bound and count as least."""
        return 1e-6 * max(1.0, abs(self.rounded)) if self.slack else 0.0

    @property
    def size(self) -> float:
        """What float64 may be off when it adds them."""
        return 4 * ULP * self.span


def summed(each: Sequence[tuple[Summand, Said]]) -> Total:
    """The sum of what summands say."""
    exact, rounded, slack, span = Fraction(0), 0.0, 0.0, 0.0
    feasible: bool | None = True
    shares, holds, infinite = [], [], False
    required = tuple(summand.weight is None for summand, _ in each)
    for summand, said in each:
        holds.append(said.holds)
        if summand.weight is None:
            shares.append(0.0)
            if said.holds is False or feasible is False:
                feasible = False
            elif said.holds is None:
                feasible = None
            continue
        if said.amount == INFINITE:
            infinite, feasible = True, False
            shares.append(math.inf)
            continue
        span += float(summand.weight) * said.span
        share = summand.weight * said.amount if summand.exact and summand.explicit else None
        if share is None:
            loose = float(summand.weight) * float(said.amount)
            rounded += loose
            least = 0.0 if summand.explicit else 1e-6 * max(1.0, abs(float(said.amount)))
            slack += float(summand.weight) * max(said.slack, least)
            shares.append(loose)
        else:
            exact += share
            shares.append(float(share))
    return Total(
        feasible, exact, rounded, slack, tuple(shares), tuple(holds), required, infinite, span
    )


def _finitely(total: Total, real: Sequence[bool]) -> bool:
    """No rule but those about open reals fails. real: of each summand"""
    fails = [holds is False for holds in total.holds]
    fails = [f and required for f, required in zip(fails, total.required)]
    return not total.infinite and any(fails) and all(r for f, r in zip(fails, real) if f)


@dataclass(frozen=True)
class Row:
    """What is true of one row of evidence."""

    scape: Landscape
    active: tuple[int, ...]
    completions: list[tuple[Any, ...]]
    totals: list[Total]
    evidence: Mapping[str, Any]

    @functools.cached_property
    def decimal(self) -> bool:
        """All weighed summands are explicit, and cost decimals."""
        weighed = [self.scape.summands[t] for t in self.active]
        return all(s.weight is None or (s.exact and s.explicit) for s in weighed)

    @functools.cached_property
    def exact(self) -> bool:
        """All weighed summands compare exactly: int64 holds their scaled sum."""
        if not self.decimal:
            return False
        unit = math.lcm(1, *(t.exact.denominator for t in self.totals if not t.infinite))
        largest = max((t.span for t in self.totals if not t.infinite), default=0)
        return largest * unit < 2**53

    @property
    def explicit(self) -> bool:
        return all(self.scape.summands[t].explicit for t in self.active)

    @property
    def unsure(self) -> bool:
        return any(self.scape.summands[t].unsure for t in self.active)

    @functools.cached_property
    def open_reals(self) -> bool:
        """Some real has more than one number left."""
        return bool(self.scape.open_sites(self.evidence))

    @functools.cached_property
    def feasible(self) -> list[Total]:
        """Of the completions that surely keep the rules, the cheapest first."""
        return sorted((t for t in self.totals if t.feasible is True), key=_order)

    @functools.cached_property
    def possible(self) -> list[Total]:
        """The same, with those of which a rule cannot say."""
        return sorted((t for t in self.totals if t.feasible is not False), key=_order)

    def ranked(self) -> list[tuple[Total, tuple[Any, ...]]]:
        """Surely feasible completions with what they cost, the cheapest first."""
        every = [p for p in zip(self.totals, self.completions) if p[0].feasible is True]
        return sorted(every, key=lambda p: _order(p[0]))

    def gap(self, one: Total, other: Total) -> float:
        """By how much two energies may differ and count as equal."""
        if self.exact:
            return 0.0
        if self.decimal:  # energies are told as floats
            return 2 * math.ulp(max(abs(one.energy), abs(other.energy)))
        opaque = max(one.loose, other.loose)
        return opaque + one.slack + other.slack + 8 * (one.size + other.size)


def _order(total: Total) -> Any:
    return total.exact if not total.rounded else total.exact + Fraction(total.rounded)
