"""What `make demo` runs: services as real processes, questions through gRPC, checked answers.

A reasoner and two module hosts start on loopback. The first host serves the built-in kinds of the
questions, the second one the module of `custom_module/`; the reasoner has none of them in its own
process. Every answer is compared with what is known of it; the exit code is 0 only if all agree.
"""

import contextlib
import itertools
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

from rich.console import Console, Group  # noqa: E402
from rich.panel import Panel  # noqa: E402
from rich.table import Table  # noqa: E402

from engine.answer import Answer, Status  # noqa: E402
from engine.errors import BasinError  # noqa: E402
from examples.processes import service  # noqa: E402
from services import formats  # noqa: E402
from services.client import Client  # noqa: E402
from services.query import Options, Query  # noqa: E402
from services.wire.events import Progress, Result  # noqa: E402

BUILT_IN = (
    "discrete.all_different",
    "discrete.not_equal",
    "discrete.at_most_one",
    "discrete.exactly_one",
    "discrete.equal",
    "discrete.clause",
    "discrete.table",
    "discrete.linear",
    "graph.coloring",
)
CUSTOM = "harmony.Harmony"
QUESTIONS = (  # file, what it is; whether to prove that there is one answer
    ("sudoku.txt", "thirteen Sudokus in three sizes", True),
    ("sudoku_anti_knight.yaml", "Sudoku without equal values a knight's move apart", True),
    ("sudoku_killer.yaml", "killer Sudoku", True),
    ("queens.yaml", "twelve queens", True),
    ("zebra.yaml", "who owns the zebra?", True),
    ("map_coloring.yaml", "a map in four colours", False),
    ("timetable.yaml", "a timetable of fifteen lessons", False),
    ("custom_module/dinner.yaml", "a dinner, with an energy of our own", False),
)


@dataclass(frozen=True)
class Asked:
    """A question with its answers, and what an outside check says of them."""

    file: str
    query: Query
    solutions: list[Any]
    pictures: list[str]
    answers: list[Answer]
    updates: int
    seconds: float
    wrong: list[str]


def main() -> int:
    """Start, ask, show, stop; the exit code."""
    console = Console()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops what was started, as Ctrl-C
    try:
        with contextlib.ExitStack() as stack:
            client = started(console, stack)
            every = [asked(console, client, file, about, prove) for file, about, prove in QUESTIONS]
    except KeyboardInterrupt:
        console.print("stopped")
        return 130
    except (BasinError, RuntimeError) as error:
        console.print(f"failed: {error}", style="bold red", markup=False)
        return 1
    return summed_up(console, every)


def started(console: Console, stack: contextlib.ExitStack) -> Client:
    """The services, each in its own process; they end with `stack`."""
    with console.status("starting two module hosts and a reasoner ..."):
        began = time.perf_counter()
        built_in = stack.enter_context(service("host", *BUILT_IN))
        custom = stack.enter_context(
            service("host", "harmony:Harmony", folder=FOLDER / "custom_module")
        )
        remotes = [f"{kind}={built_in}" for kind in BUILT_IN] + [f"{CUSTOM}={custom}"]
        flags = itertools.chain.from_iterable(("--remote", remote) for remote in remotes)
        reasoner = stack.enter_context(service("serve", *flags))
        seconds = time.perf_counter() - began
    console.print(f"module host at {built_in}: {len(BUILT_IN)} built-in kinds")
    console.print(f"module host at {custom}: {CUSTOM}, from examples/custom_module/harmony.py")
    console.print(f"reasoner at {reasoner}; all up in {seconds:.1f} s\n")
    return stack.enter_context(Client(reasoner))


def asked(console: Console, client: Client, file: str, about: str, prove: bool) -> Asked:
    """One file through the service, shown as it goes."""
    began = time.perf_counter()
    solutions, pictures, answers, wrong, updates = [], [], [], [], 0
    for part in formats.read(str(FOLDER / file)):
        results: dict[int, Answer] = {}
        with console.status(f"{file}: {about} ...") as status:
            for event in client.stream(part.query, Options(prove=prove), deadline=60):
                if isinstance(event, Progress):
                    updates += 1
                    status.update(f"{file}: {about} ... {progress(event)}")
                elif isinstance(event, Result):
                    results[event.row] = event.answer
        for row, answer in sorted(results.items()):
            values = answer.values or {}
            answers.append(answer)
            solutions.append(part.solution(values) if values else None)
            if values:
                pictures.append(part.picture(values) if part.picture else pictured(file, values))
            evidence = dict(part.query.evidence[row])
            wrong += mistakes(file, answer, prove, evidence)
        if len(results) < part.query.rows:
            wrong.append("an answer is missing")
    done = Asked(
        file, part.query, solutions, pictures, answers, updates, time.perf_counter() - began, wrong
    )
    shown(console, done, about)
    return done


def progress(event: Progress) -> str:
    """The best energy so far and what is proved of it."""
    energy = "none yet" if event.energy is None else f"{event.energy:g}"
    bound = "open" if event.bound is None else f"{event.bound:g}"
    return f"best {energy}, bound {bound}"


def mistakes(file: str, answer: Answer, prove: bool, evidence: dict[str, Any]) -> list[str]:
    """What is wrong with an answer, by what the services claim and by checks of our own."""
    found = []
    if answer.status is not Status.OPTIMAL:
        return [f"status {answer.status}, not OPTIMAL"]
    if prove and answer.unique is not True:
        found.append("not proved to be the only answer")
    if any(finding.required and finding.holds is not True for finding in answer.findings):
        found.append("a rule does not hold")
    assert answer.values is not None
    for name, given in evidence.items():
        if not kept(given, answer.values[name]):
            found.append(f"{name} does not keep what was given")
    check = CHECKS.get(file)
    if check is not None and not check(answer.values, answer.energy or 0.0):
        found.append("the answer is not the one known to be right")
    return found


def kept(given: Any, value: Any) -> bool:
    """Whether values agree with what was given, where it was."""
    if isinstance(given, (list, tuple)):
        return all(kept(g, v) for g, v in zip(given, value, strict=True))
    return given is None or given == value


def is_sudoku(values: dict[str, Any], energy: float) -> bool:
    """Rows, columns and boxes, counted here."""
    del energy
    grid = values["grid"]
    n = len(grid)
    m = round(n**0.5)
    boxes = [
        {grid[r + i][c + j] for i in range(m) for j in range(m)}
        for r in range(0, n, m)
        for c in range(0, n, m)
    ]
    columns = [set(column) for column in zip(*grid, strict=True)]
    return all(len(line) == n for line in [*map(set, grid), *columns, *boxes])


def is_queens(values: dict[str, Any], energy: float) -> bool:
    """No two in one column or diagonal."""
    del energy
    rows = list(enumerate(values["queens"]))
    return all(abs(a - c) != abs(b - d) != 0 for (a, b), (c, d) in itertools.combinations(rows, 2))


def is_zebra(values: dict[str, Any], energy: float) -> bool:
    """The classical answer."""
    del energy
    return values["zebra"] == values["Japanese"] and values["water"] == values["Norwegian"]


def is_dinner(values: dict[str, Any], energy: float) -> bool:
    """Of least energy among all 720 seatings, tried here one by one."""
    del values
    opinions = (0.5, 0.1, 0.2, 0.8, 0.4, 0.9, 0.6)
    best = float("inf")
    for seats in itertools.permutations(range(2, 8)):
        seat = (1, *seats)
        if all((seat[a] - seat[b]) % 7 not in (1, 6) for a, b in ((1, 2), (3, 5))):
            at = sorted(range(7), key=seat.__getitem__)
            around = zip(at, at[1:] + at[:1], strict=True)
            unlike = sum((opinions[a] - opinions[b]) ** 2 for a, b in around)
            best = min(best, unlike + 0.5 * max(0, seat[6] - 4))
    return abs(best - energy) < 1e-5


CHECKS: dict[str, Callable[[dict[str, Any], float], bool]] = {
    "sudoku.txt": is_sudoku,
    "sudoku_anti_knight.yaml": is_sudoku,
    "sudoku_killer.yaml": is_sudoku,
    "queens.yaml": is_queens,
    "zebra.yaml": is_zebra,
    "custom_module/dinner.yaml": is_dinner,
}


def pictured(file: str, values: dict[str, Any]) -> str:
    """The values of an answer in a form that fits the question."""
    if "grid" in values:
        return "\n".join(" ".join(f"{value:>2}" for value in row) for row in values["grid"])
    if "queens" in values:
        return "\n".join(" ".join("Q" if c == q else "." for c in range(1, 13))
                         for q in values["queens"])  # fmt: skip
    if file == "zebra.yaml":
        streets = [sorted(n for n, house in values.items() if house == h) for h in range(1, 6)]
        return "\n".join(f"house {h}: {', '.join(names)}" for h, names in enumerate(streets, 1))
    if "seat" in values:
        guests = ("host", "Ada", "Blaise", "Carl", "Emmy", "Leonhard", "Sophie")
        order = sorted(range(7), key=values["seat"].__getitem__)
        return "around the table: " + ", ".join(guests[g] for g in order)
    if "country" in values:
        return ", ".join(f"{k}: {colour}" for k, colour in enumerate(values["country"]))
    return "\n".join(f"{name}: {value}" for name, value in values.items())


def shown(console: Console, done: Asked, about: str) -> None:
    """The first answer of a file, the energy of its terms, and what was checked."""
    answer = done.answers[0] if done.answers else None
    parts: list[Any] = [done.pictures[0] if done.pictures else "no answer"]
    weighed = [] if answer is None else [t for t in answer.terms if t.energy]
    if answer is not None and weighed:
        said = ", ".join(f"{t.term} {t.energy:g}" for t in weighed)
        parts.append(f"energy {answer.energy:g}, bound {answer.bound:g}: {said}")
    if len(done.answers) > 1:
        parts.append(f"... and {len(done.answers) - 1} more")
    verdict = "wrong: " + "; ".join(done.wrong) if done.wrong else "checked"
    statuses = ", ".join(sorted({a.status.value for a in done.answers}))
    parts.append(f"{statuses}; {verdict}; {done.seconds:.2f} s")
    title = f"{done.file}: {about}"
    style = "red" if done.wrong else "green"
    console.print(Panel(Group(*parts), title=title, title_align="left", border_style=style))


def summed_up(console: Console, every: list[Asked]) -> int:
    """All questions in one table; 0 when every answer is right."""
    table = Table("question", "asked", "status", "only one", "time", "checked")
    table.columns[0].no_wrap, table.columns[0].min_width = True, max(len(d.file) for d in every)
    for done in every:
        table.add_row(
            done.file,
            str(len(done.answers)),
            ", ".join(sorted({a.status.value for a in done.answers})),
            "proved" if all(a.unique for a in done.answers) else "",
            f"{done.seconds:.2f} s",
            "; ".join(done.wrong) if done.wrong else "right",
        )
    console.print(table)
    bad = [done.file for done in every if done.wrong or not done.answers]
    if bad:
        console.print(f"wrong: {', '.join(bad)}", style="bold red")
        return 1
    console.print(f"all {sum(len(done.answers) for done in every)} answers are right; "
                  "reasoner and hosts stopped")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
