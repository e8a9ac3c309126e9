"""The doors that a case goes through, and what comes back: complaints, none where all is right.

Every door is a function of a case and a house: what is slow to start is started once.
"""

import contextlib
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from engine import Budget, Energy, Finite, Problem, Real, Variable, answers, named, required
from engine import soft_min as engine_soft_min
from engine.answer import Answer
from engine.errors import BadQuery
from engine.minimizers.neighbourhoods import LargeNeighbourhoods
from engine.minimizers.portfolio import Portfolio
from engine.session import Session
from modules.catalogue import Catalogue
from services.query import options_of, query_of
from services.reasoner.reason import Reasoner
from tests.support.fuzz.checks import Complaint, check
from tests.support.fuzz.draw import PARTICLES, Case
from tests.support.fuzz.landscape import Landscape

ODD = Path(__file__).with_name("odd.py")
NAMES = (
    "Tenths", "Unsure", "UnsureTable", "Word", "Wave", "WaveTable", "Modulo", "Pull", "Slope",
    "Within", "Toward", "Gate",
)  # fmt: skip
WALL = 20.0  # seconds after which a small query hangs
DECIDES = ("branch_and_bound", "cp_sat", "enumeration", "cadical")
SEARCHES = ("annealing", "gibbs", "descent", "langevin")


def catalogue() -> Catalogue:
    """The shipped kinds, and the odd ones."""
    return Catalogue(entry_points=False, also=tuple(f"{ODD}:{name}" for name in NAMES))


class House:
    """What doors need: kinds, a reasoner, and servers that are started when first asked for."""

    def __init__(self) -> None:
        self.kinds = catalogue()
        self.reasoner = Reasoner(self.kinds)
        self._ends: list[Callable[[], None]] = []

    def close(self) -> None:
        for end in reversed(self._ends):
            end()
        self._ends.clear()

    @cached_property
    def _loop(self) -> Any:
        from tests.support.fuzz.loop import Loop

        loop = Loop()
        self._ends.append(loop.close)
        return loop

    def _served(self, kinds: Any) -> Any:
        from services.client import Client
        from services.server.app import create_server

        service = self._loop.do(create_server(Reasoner(kinds)))
        self._ends.append(lambda: self._loop.do(service.drain(0)))
        client = Client(f"127.0.0.1:{service.port}")
        self._ends.append(client.close)
        return client

    @cached_property
    def client(self) -> Any:
        """Asks a service whose kinds are its own."""
        return self._served(self.kinds)

    @cached_property
    def remote(self) -> Any:
        """A catalogue whose every kind is hosted."""
        from services.host.app import create_host
        from services.remote.kinds import RemoteKinds

        names = self.kinds.names()
        host = self._loop.do(create_host(self.kinds, names))
        self._ends.append(lambda: self._loop.do(host.drain(0)))
        kinds = RemoteKinds(self.kinds, {name: [f"127.0.0.1:{host.port}"] for name in names})
        self._ends.append(kinds.close)
        return kinds

    @cached_property
    def hosted(self) -> Any:
        """Asks a service whose kinds are all hosted."""
        return self._served(self.remote)

    @cached_property
    def folder(self) -> Path:
        made = tempfile.TemporaryDirectory()
        self._ends.append(made.cleanup)
        return Path(made.name)


Found = Iterator[Complaint]
Door = Callable[[Case, Landscape, House], Found]


@contextlib.contextmanager
def timed(found: list[Complaint]) -> Iterator[Callable[[], bool]]:
    """Tells a search to stop when it hangs, and says so."""
    began = time.monotonic()
    yield lambda: time.monotonic() - began > WALL
    if time.monotonic() - began > WALL:
        found.append(Complaint("hang", f"more than {WALL:g} s"))


def problem_of(case: Case, kinds: Catalogue) -> Problem:
    """The problem as a program writes it, without evidence."""
    variables = {}
    for name, spec in case.query["variables"].items():
        shape = tuple(spec.get("shape", ()))
        if "values" in spec:
            variables[name] = Variable(name, Finite(tuple(spec["values"]), shape))
        else:
            low = -math.inf if spec["low"] is None else spec["low"]
            high = math.inf if spec["high"] is None else spec["high"]
            variables[name] = Variable(name, Real(shape, low, high))
    energies = [energy_of(term, variables, kinds) for term in case.query["terms"]]
    parts = [part for energy in energies for part in energy.summands()]
    from engine.energy import Sum

    return Problem(Sum(*parts), tuple(variables.values()))


def energy_of(
    term: Mapping[str, Any], variables: Mapping[str, Variable], kinds: Catalogue
) -> Energy:
    """One term of a case as an energy."""
    if "any" in term:
        branches = [
            sum(
                (energy_of(t, variables, kinds) for t in branch[1:]),
                energy_of(branch[0], variables, kinds),
            )
            for branch in term["any"]
        ]
        if "soft" in term:
            made: Energy = engine_soft_min(*branches, temperature=term["soft"])
        else:
            made = branches[0]
            for branch in branches[1:]:
                made = made | branch
        return named(term["name"], term["weight"] * made if "weight" in term else made)
    scope = []
    for view in term["scope"]:
        name, _, index = view.partition("[")
        at = variables[name]
        where = eval(f"at[{index}", {"__builtins__": {}}, {"at": at}) if index else at.view
        scope.append(where)
    made = kinds.kind(term["kind"]).build(scope, term.get("params", {}))
    if term.get("required"):
        made = required(made)
    elif term.get("required") is False or term.get("weight", 1.0) != 1.0:
        made = term.get("weight", 1.0) * made
    return named(term["name"], made)


def engine(case: Case, scape: Landscape, house: House) -> Found:
    """The engine in this process: each row alone, and all rows as one batch; every other case
    without elimination, so that those that search are asked too."""
    minimizer = Portfolio(narrow=0) if case.seed % 2 else Portfolio()
    found: list[Complaint] = []
    problem = problem_of(case, house.kinds)
    with timed(found) as late:
        budget = Budget(steps=case.steps, stop=late)
        together = answers(
            problem.given_rows(case.rows),
            minimizer,
            particles=PARTICLES,
            budget=budget,
            seed=case.seed % 1000,
        )
        yield from judged(case, scape, together, {})
        if len(case.rows) > 1:
            for row, evidence in enumerate(case.rows):
                (alone,) = answers(
                    problem.given(**evidence),
                    minimizer,
                    particles=PARTICLES,
                    budget=budget,
                    seed=case.seed % 1000,
                )
                yield from judged(case, scape, [alone], {}, [evidence])
                exactly = all(summand.explicit for summand in scape.summands)
                yield from same("batch", together[row], alone, exactly)
    yield from found


def weighted(case: Case, scape: Landscape, house: House) -> Found:
    """Costs beside rules, by the default search, by one without elimination, by one without a
    linear relaxation that opens, and by large neighbourhoods alone."""
    least = Portfolio(narrow=0)
    every = (Portfolio(), least, replace(least, opening=False), LargeNeighbourhoods(patience=20))
    found: list[Complaint] = []
    problem = problem_of(case, house.kinds).given_rows(case.rows)
    minimizer = every[case.seed % len(every)]
    if minimizer.refuses(problem) is not None:
        minimizer = every[0]
    with timed(found) as late:
        budget = Budget(steps=case.steps, stop=late)
        given = answers(
            problem, minimizer, particles=PARTICLES, budget=budget, seed=case.seed % 1000
        )
        yield from judged(case, scape, given, {}, decides=isinstance(minimizer, Portfolio))
    yield from found


def judged(
    case: Case,
    scape: Landscape,
    given: Sequence[Answer],
    options: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]] | None = None,
    **how: Any,
) -> Found:
    """The answers of some rows against the landscape."""
    rows = case.rows if rows is None else rows
    if len(given) != len(rows):
        yield Complaint("rows", f"{len(given)} answers for {len(rows)} rows")
        return
    for answer, evidence in zip(given, rows):
        yield from check(answer, scape.view(evidence), options, **how)


def same(what: str, one: Answer, other: Answer, exactly: bool) -> Found:
    """Two doors have to say the same of one row; else the same up to what rounding may be."""
    told = [(a.status.value, a.energy, a.bound, repr(a.values)) for a in (one, other)]
    alike = told[0] == told[1]
    if not exactly and not alike:
        alike = one.status is other.status and _near(one.energy, other.energy)
    if not alike:
        yield Complaint("differs", f"{what}: {told[0]} and {told[1]}")


def _near(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= 2e-6 * max(1.0, abs(one))


def reasoner(case: Case, scape: Landscape, house: House) -> Found:
    """A query as people write it, with its options."""
    found: list[Complaint] = []
    with timed(found) as late:
        given = house.reasoner.reason(query_of(case.asked()), options_of(case.options), stop=late)
    yield from judged(case, scape, given, case.options)
    yield from found


def score(case: Case, scape: Landscape, house: House) -> Found:
    """Scores without a search."""
    given = house.reasoner.reason(query_of(case.asked()), options_of({"score": True}))
    yield from judged(case, scape, given, {}, decides=False, scored=True)


def minimizers(case: Case, scape: Landscape, house: House) -> Found:
    """Every minimizer that can be named, as far as it takes the query."""
    for name in (*DECIDES, *SEARCHES):
        options = {"minimizer": name, "prove": bool(case.options.get("prove"))}
        found: list[Complaint] = []
        query = query_of(case.asked() | {"budget": {"particles": PARTICLES, "steps": 20}})
        try:
            with timed(found) as late:
                given = house.reasoner.reason(query, options_of(options), stop=late)
        except BadQuery:
            continue  # it says that this is not for it
        except Exception as error:
            yield Complaint("exception", f"{name}: {type(error).__name__}: {error}")
            continue
        for complaint in judged(case, scape, given, options, decides=False):
            yield complaint._replace(text=f"{name}: {complaint.text}")
        yield from found


def talk(case: Case, scape: Landscape, house: House) -> Found:
    """A session in this process: terms come and go, evidence changes."""
    found: list[Complaint] = []
    problem = problem_of(case, house.kinds)
    variables = {v.name: v for v in problem.variables}
    terms = {term["name"]: term for term in case.query["terms"]}
    with timed(found) as late:
        session = Session(problem.given_rows(case.rows[:1]), particles=PARTICLES)
        evidence, standing = case.rows[0], list(terms)
        for step in [{}, *case.script]:
            for name in step.get("drop", ()):
                session.drop(name)
                standing.remove(name)
            for name in step.get("add", ()):
                session.add(name, energy_of(terms[name], variables, house.kinds))
                standing.append(name)
            if "evidence" in step:
                evidence = step["evidence"]
                session.given(evidence)
            answer = session.answer(Budget(steps=case.steps, stop=late))
            active = [list(terms).index(name) for name in standing]
            yield from check(answer, scape.view(evidence, active), {})
    yield from found


def served_talk(case: Case, scape: Landscape, house: House) -> Found:
    """A session over gRPC, as one stream or in single calls."""
    yield from _served_talk(case, scape, house.client)


def _served_talk(case: Case, scape: Landscape, client: Any) -> Found:
    terms = {term["name"]: term for term in case.query["terms"]}
    evidence, standing = case.rows[0], list(terms)
    asked = case.asked() | {"evidence": evidence}
    with client.session(asked, stream=bool(case.seed % 2), deadline=WALL) as session:
        for step in [{}, *case.script]:
            change = {k: v for k, v in step.items() if k != "add"}
            change |= {"add": [terms[name] for name in step["add"]]} if "add" in step else {}
            standing = [n for n in standing if n not in step.get("drop", ())]
            standing += step.get("add", ())
            evidence = step.get("evidence", evidence)
            answer = session.answer(change=change, options=case.options)
            active = [list(terms).index(name) for name in standing]
            yield from check(answer, scape.view(evidence, active), case.options)


def grpc(case: Case, scape: Landscape, house: House) -> Found:
    """Solve and SolveStream, which have to say the same; Score."""
    yield from _called(case, scape, house.client)
    given = house.client.score(case.asked(), deadline=WALL)
    yield from judged(case, scape, given, {}, decides=False, scored=True)


def _called(case: Case, scape: Landscape, client: Any) -> Found:
    given = client.solve(case.asked(), case.options, deadline=WALL)
    yield from judged(case, scape, given, case.options)
    if case.options.get("explain"):
        return  # which no stream does
    streamed = {}
    for event in client.stream(case.asked(), case.options, deadline=WALL):
        if hasattr(event, "answer"):
            streamed[event.row] = event.answer
        elif event.bound is not None:
            row = scape.view(case.rows[event.row])
            if row.feasible and event.bound > row.feasible[0].energy + 1e-6 + row.feasible[0].slack:
                yield Complaint("bound", f"progress tells the bound {event.bound}")
    for row, answer in enumerate(given):
        yield from same("stream", answer, streamed[row], exactly=True)


def hosted(case: Case, scape: Landscape, house: House) -> Found:
    """A service whose kinds are all hosted elsewhere: it has to say what the local one says."""
    given = house.hosted.solve(case.asked(), case.options, deadline=WALL)
    yield from judged(case, scape, given, case.options)
    here = house.reasoner.reason(query_of(case.asked()), options_of(case.options))
    for one, other in zip(given, here):
        yield from same("hosted", one, other, exactly=False)


def hosted_talk(case: Case, scape: Landscape, house: House) -> Found:
    """A session whose kinds are hosted elsewhere."""
    yield from _served_talk(case, scape, house.hosted)


def crowd(case: Case, scape: Landscape, house: House) -> Found:
    """Many callers at once, each with one row of evidence: what batches in a service."""
    rows = [*case.evidences, {}] if not case.query["terms"] else [*case.evidences] * 2
    asked = [case.asked() | {"evidence": row} for row in rows]
    with ThreadPoolExecutor(len(asked)) as pool:
        waits = [pool.submit(house.client.solve, query, {}, deadline=WALL) for query in asked]
        for evidence, wait in zip(rows, waits):
            yield from judged(case, scape, wait.result(), {}, [evidence])


def command(case: Case, scape: Landscape, house: House) -> Found:
    """`basin ask --json` over a file, in this process."""
    from typer.testing import CliRunner

    from services.cli import app

    file = house.folder / "query.json"
    file.write_text(json.dumps(case.asked()))
    wishes = ["--prove"] * bool(case.options.get("prove"))
    wishes += ["--explain"] * bool(case.options.get("explain"))
    wishes += ["--alternatives", str(case.options.get("alternatives", 0))]
    wishes += ["--distance", str(case.options.get("distance", 1))]
    done = CliRunner().invoke(app, ["ask", str(file), "--json", *wishes])
    if done.exit_code:
        yield Complaint(
            "exception", f"exit {done.exit_code}: {done.output[-500:]} {done.exception}"
        )
        return
    lines = [json.loads(line, parse_constant=_no_number) for line in done.stdout.splitlines()]
    here = house.reasoner.reason(query_of(case.asked()), options_of(case.options))
    if len(lines) != len(here):
        yield Complaint("rows", f"{len(lines)} lines for {len(here)} rows")
    for line, answer in zip(lines, here):
        told = line["status"], line["energy"], line["bound"], line["unique"], repr(line["solution"])
        values = None if answer.values is None else {k: answer.values[k] for k in line["solution"]}
        right = answer.status.value, answer.energy, answer.bound, answer.unique, repr(values)
        if told != right:
            yield Complaint("differs", f"command: {told} and here {right}")
    yield from judged(case, scape, here, case.options)


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


def cp_sat(case: Case, scape: Landscape, house: House) -> Found:
    """No door: the oracle itself against CP-SAT, with and without presolve."""
    from tests.support.fuzz.cpsat import disagreements

    yield from disagreements(case, scape)


DOORS: dict[str, Door] = {
    "engine": engine,
    "weighted": weighted,
    "reasoner": reasoner,
    "score": score,
    "minimizers": minimizers,
    "session": talk,
    "command": command,
    "grpc": grpc,
    "grpc session": served_talk,
    "crowd": crowd,
    "hosted": hosted,
    "hosted session": hosted_talk,
    "oracle": cp_sat,
}
PLAIN = tuple(
    name for name in DOORS if name not in ("engine", "weighted", "session")
)  # take only files


def complaints(case: Case, door: str, house: House) -> list[Complaint]:
    """What is wrong with what comes back through a door; an exception is wrong, too."""
    scape = Landscape(case.query, case.evidences)
    found: list[Complaint] = []
    began = time.monotonic()
    try:
        found += DOORS[door](case, scape, house)
    except BadQuery as error:
        found.append(Complaint("refused", str(error)))
    except Exception as error:
        slow = time.monotonic() - began >= WALL
        kind = "hang" if slow else "exception"
        found.append(Complaint(kind, f"{type(error).__name__}: {error}"))
    return found
