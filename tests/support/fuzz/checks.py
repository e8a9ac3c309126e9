"""What an answer may claim of a row, held against the landscape: every complaint has a class."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from engine.answer import Answer, Status
from tests.support.fuzz.landscape import Landscape, Row, Site, Total, flat
from tests.support.fuzz.meaning import key

FOUND = (Status.OPTIMAL, Status.SATISFIED, Status.SCORED)
SITES = 12  # up to which an explicit problem has to be decided
FREE = 4000  # completions without evidence up to which a conflict is checked


class Complaint(NamedTuple):
    """One thing that is wrong: its class, and the claim beside what is true."""

    kind: str
    text: str


def check(
    answer: Answer,
    row: Row,
    options: Mapping[str, Any],
    *,
    decides: bool = True,
    scored: bool = False,
) -> Iterator[Complaint]:
    """All complaints about an answer. decides: whoever answered has to settle small problems;
    scored: no search took place, so that values may be missing."""
    yield from _finite(answer)
    yield from _infeasible(answer, row)
    if answer.bound is not None:
        yield from _bound(answer, row, "bound", answer.bound)
    if scored and (answer.values is None or answer.status is Status.INFEASIBLE):
        return
    if decides:
        yield from _undecided(answer, row)
    if answer.values is None:
        if answer.status is not Status.INFEASIBLE:
            yield Complaint("values", f"{answer.status} without values")
        elif options.get("explain"):
            yield from _conflict(answer, row)
        return
    values = yield from _given(answer.values, row, "evidence")
    if values is None:
        return
    total = row.scape.total(values, row.active)
    yield from _energy(answer, row, total)
    yield from _findings(answer, row, total)
    yield from _optimal(answer, row, total)
    yield from _unique(answer, row, total)
    yield from _alternatives(answer, row, values, total, options)
    yield from _runner_up(answer, row, values, options)


def _finite(answer: Answer) -> Iterator[Complaint]:
    numbers = [answer.energy, answer.bound, *(t.energy for t in answer.terms)]
    numbers += [a.energy for a in answer.alternatives]
    if any(n is not None and not math.isfinite(n) for n in numbers):
        yield Complaint("finite", f"a number that is not finite: {numbers}")


def _infeasible(answer: Answer, row: Row) -> Iterator[Complaint]:
    if answer.status is not Status.INFEASIBLE:
        holds = answer.status in (Status.OPTIMAL, Status.SATISFIED)
        if holds and not row.open_reals and not row.possible:
            yield Complaint("infeasible", f"{answer.status}, but no completion keeps the rules")
        return
    if row.possible:
        one = row.possible[0]
        word = "keeps the rules" if one.feasible else "cannot be judged"
        yield Complaint("infeasible", f"INFEASIBLE, but a completion {word} at {one.energy:.17g}")
    elif any(t.finitely for t in row.totals):
        yield Complaint("infeasible", "INFEASIBLE, though only a rule about open reals fails")


def _bound(answer: Answer, row: Row, what: str, bound: float) -> Iterator[Complaint]:
    if row.feasible:
        least = row.feasible[0]
        if bound > least.energy + least.slack + (0.0 if row.decimal else 8 * least.size):
            yield Complaint(what, f"bound {bound:.17g} above the least energy {least.energy:.17g}")
    loose = 0.0 if row.exact else _loose(row)
    holds = answer.energy is not None and answer.status in (Status.OPTIMAL, Status.SATISFIED)
    if holds and bound > answer.energy + loose:
        yield Complaint(what, f"bound {bound:.17g} above the energy {answer.energy:.17g}")


def _loose(row: Row) -> float:
    return max((t.slack + 8 * t.size for t in row.totals), default=0.0) + 1e-9


def _undecided(answer: Answer, row: Row) -> Iterator[Complaint]:
    if any(row.scape.summands[t].leaf is None for t in row.active):
        return  # a choice adds up its branches in float64, which may leave a proof open
    small = len({s for s in row.scape.sites}) <= SITES
    if not (small and row.explicit and not row.unsure) or row.open_reals:
        return
    if answer.status not in (Status.OPTIMAL, Status.INFEASIBLE):
        yield Complaint("undecided", f"{answer.status} {[f.value for f in answer.flags]}")


def _given(values: Mapping[str, Any], row: Row, what: str) -> Any:
    """The values by site; a complaint where one is none, or not what was given."""
    found: dict[Site, Any] = {}
    for name, spec in row.scape.query["variables"].items():
        own = flat(values[name]) if name in values else []
        count = math.prod(spec.get("shape", ()))
        if len(own) != count:
            yield Complaint(what, f"{name} has {len(own)} values, not {count}")
            return None
        given = row.evidence.get(name)
        told = flat(given) if given is not None else [None] * count
        for where, (value, want) in enumerate(zip(own, told)):
            if "values" in spec:
                if key(value) not in [key(v) for v in spec["values"]]:
                    yield Complaint(what, f"{name}[{where}] = {value!r} is none of the values")
                    return None
                found[name, where] = key(value)
            else:
                low, high = spec.get("low"), spec.get("high")
                low, high = -math.inf if low is None else low, math.inf if high is None else high
                if type(value) is not float or not low <= value <= high:
                    yield Complaint(what, f"{name}[{where}] = {value!r} outside [{low}, {high}]")
                    return None
                found[name, where] = value
            if want is None:
                continue
            same = key(value) == key(want) if "values" in spec else value.hex() == float(want).hex()
            if not same:
                yield Complaint(what, f"{name}[{where}] = {value!r}, given {want!r}")
                return None
    return found


def _energy(answer: Answer, row: Row, total: Total) -> Iterator[Complaint]:
    if total.infinite:
        if answer.energy is not None or answer.status in FOUND:
            yield Complaint("energy", f"{answer.status} {answer.energy} of forbidden values")
        return
    if answer.energy is None:
        yield Complaint("energy", f"no energy; {total.energy:.17g} is right")
        return
    if abs(answer.energy - total.energy) > total.slack + total.size:
        yield Complaint("energy", f"energy {answer.energy:.17g}; {total.energy:.17g} is right")
    shares = [t.energy for t in answer.terms]
    if len(shares) != len(total.shares):
        yield Complaint("share", f"{len(shares)} terms, not {len(total.shares)}")
        return
    for t, (said, right) in enumerate(zip(shares, total.shares)):
        if said is None or abs(said - right) > total.slack + total.size:
            yield Complaint("share", f"term {t} has {said}; {right:.17g} is right")


def _findings(answer: Answer, row: Row, total: Total) -> Iterator[Complaint]:
    if len(answer.findings) != len(total.holds):
        yield Complaint("finding", f"{len(answer.findings)} findings, not {len(total.holds)}")
        return
    for t, (finding, right) in enumerate(zip(answer.findings, total.holds)):
        summand = row.scape.summands[row.active[t]]
        shy = summand.unsure and finding.holds is None
        if finding.required != (summand.weight is None):
            yield Complaint("finding", f"term {t}: required is {finding.required}")
        if finding.holds is not right and not shy and summand.temperature is None:
            yield Complaint("finding", f"term {t} holds: {finding.holds}; {right} is right")


def _optimal(answer: Answer, row: Row, total: Total) -> Iterator[Complaint]:
    if answer.status in (Status.OPTIMAL, Status.SATISFIED) and total.feasible is False:
        yield Complaint("status", f"{answer.status}, but a required rule fails")
    if answer.status is Status.UNSATISFIED and total.feasible is True:
        yield Complaint("status", "UNSATISFIED, but every required rule holds")
    if answer.status is not Status.OPTIMAL:
        return
    if any(f.required and f.holds is None for f in answer.findings):
        yield Complaint("optimal", "OPTIMAL, but a required rule could not say")
    if row.possible:
        least = row.possible[0]
        more = total.exact - least.exact if row.decimal else total.energy - least.energy
        if more > row.gap(total, least):
            yield Complaint(
                "optimal",
                f"OPTIMAL at {total.energy:.17g}, but {least.energy:.17g} is possible",
            )


def _unique(answer: Answer, row: Row, total: Total) -> Iterator[Complaint]:
    if answer.unique is None or row.unsure or answer.status is not Status.OPTIMAL:
        return
    if row.open_reals:
        if answer.unique is True:
            level = [t for t in row.feasible if t.energy < total.energy - row.gap(t, total)]
            if level:
                yield Complaint("unique", "the only answer, with a real that may move")
        return
    sure = unsure = 0
    for other in row.feasible:
        more = other.exact - total.exact if row.decimal else other.energy - total.energy
        gap = row.gap(other, total)
        rounded = other.rounded or total.rounded
        sure += more <= -gap or (more == 0 and bool(rounded or other.exact == total.exact))
        unsure += more <= gap
    if answer.unique and (sure if gap else unsure) > 1:
        yield Complaint("unique", f"the only answer, but {sure} are as good")
    if answer.unique is False and unsure < 2:
        yield Complaint("unique", "not the only answer, but no other is as good")


def _alternatives(
    answer: Answer, row: Row, values: Mapping[Site, Any], total: Total, options: Mapping[str, Any]
) -> Iterator[Complaint]:
    distance = options.get("distance", 1)
    finite = [s for s in values if "values" in row.scape.query["variables"][s[0]]]
    before = [values]
    for k, other in enumerate(answer.alternatives):
        own = yield from _given(other.values, row, "alternative")
        if own is None:
            return
        here = row.scape.total(own, row.active)
        if here.feasible is False:
            yield Complaint("alternative", f"alternative {k} breaks a required rule")
            return
        if abs(other.energy - here.energy) > here.slack + here.size:
            yield Complaint(
                "alternative",
                f"alternative {k}: energy {other.energy:.17g}; {here.energy:.17g} is right",
            )
        apart = [sum(own[s] != old[s] for s in finite) for old in before]
        if min(apart) < distance:
            yield Complaint("alternative", f"alternative {k} lies {min(apart)} sites away")
        least = _least_apart(row, before, finite, distance)
        if least is not None and not row.open_reals and not row.unsure and row.explicit:
            more = here.exact - least.exact if row.decimal else here.energy - least.energy
            if more > row.gap(here, least):
                yield Complaint(
                    "alternative",
                    f"alternative {k} costs {here.energy:.17g}, the next best {least.energy:.17g}",
                )
        before.append(own)
    asked = options.get("alternatives", 0)
    if len(answer.alternatives) > asked and asked:
        yield Complaint("alternative", f"{len(answer.alternatives)} alternatives, not {asked}")
    settled = answer.status is Status.OPTIMAL and row.explicit and not row.unsure
    if settled and len(answer.alternatives) < asked and not row.open_reals:
        least = _least_apart(row, before, finite, distance)
        if least is not None and "minimizer" not in options:
            yield Complaint(
                "alternative",
                f"{len(answer.alternatives)} alternatives of {asked}, but there is another",
            )


def _least_apart(
    row: Row, before: Sequence[Mapping[Site, Any]], finite: Sequence[Site], distance: int
) -> Total | None:
    """The cheapest completion that lies so many sites away from all of these."""
    place = row.scape.at
    for total, values in row.ranked():
        if all(sum(values[place[s]] != old[s] for s in finite) >= distance for old in before):
            return total
    return None


def _runner_up(
    answer: Answer, row: Row, values: Mapping[Site, Any], options: Mapping[str, Any]
) -> Iterator[Complaint]:
    other = answer.runner_up
    if other is None:
        if options.get("explain") and answer.status is Status.OPTIMAL and row.explicit:
            finite = [s for s in values if "values" in row.scape.query["variables"][s[0]]]
            least = _least_apart(row, [values], finite, 1) if finite else None
            if least is not None and not row.unsure and "minimizer" not in options:
                yield Complaint("runner-up", "none, but there is another answer")
        return
    own = yield from _given(other.values, row, "runner-up")
    if own is None:
        return
    here = row.scape.total(own, row.active)
    if here.feasible is False:
        yield Complaint("runner-up", "breaks a required rule")
    elif abs(other.energy - here.energy) > here.slack + here.size:
        yield Complaint("runner-up", f"energy {other.energy:.17g}; {here.energy:.17g} is right")
    if own == values:
        yield Complaint("runner-up", "is the answer itself")


def _conflict(answer: Answer, row: Row) -> Iterator[Complaint]:
    """Evidence in conflict and its repair; nothing where no explanation was found."""
    why = answer.conflict
    if row.scape.open_reals or row.unsure:
        return
    if not why.evidence and not why.rules and not why.repair:
        return
    whole = row.scape
    free = Landscape(whole.query, [{}])
    if free.size > FREE:
        return
    told = [((p.variable, _place(whole, p.variable, p.site)), key(p.value)) for p in why.evidence]
    given = _entries(whole, row.evidence)
    if any(given.get(site) != value for site, value in told):
        yield Complaint("conflict", f"{told} is not what was given")
        return
    base = free.view({}, row.active)
    feasible = [
        dict(zip(free.sites, values))
        for values, total in zip(base.completions, base.totals)
        if total.feasible is not False
    ]

    def fits(entries: Sequence[tuple[Site, Any]]) -> bool:
        return any(all(v[s] == w for s, w in entries) for v in feasible)

    if fits(told):
        yield Complaint("conflict", f"{told} can be kept together")
    elif row.explicit and any(not fits([e for e in told if e != one]) for one in told):
        yield Complaint("conflict", f"{told} is not minimal")
    gone = {(p.variable, _place(whole, p.variable, p.site)) for p in why.repair}
    left = [(s, w) for s, w in given.items() if s not in gone]
    if why.repair and not fits(left):
        yield Complaint("repair", f"giving up {gone} does not help")
    elif why.repair:
        fewest = min((sum(v[s] != w for s, w in given.items()) for v in feasible), default=0)
        if len(gone) != fewest:
            yield Complaint("repair", f"gives up {len(gone)}, but {fewest} would do")


def _entries(whole: Landscape, evidence: Mapping[str, Any]) -> dict[Site, Any]:
    return {
        (name, where): key(value)
        for name, nested in evidence.items()
        if nested is not None and "values" in whole.query["variables"][name]
        for where, value in enumerate(flat(nested))
        if value is not None
    }


def _place(whole: Landscape, name: str, site: Sequence[int]) -> int:
    place = 0
    for k, n in zip(site, whole.query["variables"][name].get("shape", ())):
        place = place * n + k
    return place
