"""`basin ask`: reads files, has their queries answered, writes the answers in input order.

A file with mistakes is told of, each mistake on its own line, and left out; the others are asked.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from engine.answer import Answer
from engine.errors import BadQuery, BasinError, Mistake
from engine.explain.change import SmallestChange
from engine.problem import Problem
from engine.sampling.marginals import Marginals
from engine.solve import Solution
from modules.catalogue import Catalogue
from services import formats
from services.cli import output
from services.cli.console import ANSWERED, BROKEN_PIPE, FAILED, INTERRUPTED, REFUSED, tell
from services.cli.modules import catalogue_of
from services.formats import Asked
from services.query import Options, Query, options_of, query_of
from services.query.document import parse_json
from services.query.wish import Wish
from services.reasoner.compile import KEPT
from services.reasoner.diagnose import diagnosis
from services.reasoner.reason import Reasoner, StopSignal, Watch, minimizer_of, watch_nothing

COMPLETE = "branch_and_bound"  # what settles which readings there are
LEFT_OUT = f"values are left out of more than {output.PICTURED} instances; --json has them all"


class Solver(Protocol):
    """What answers a query, row by row: a reasoner in this process, or a service."""

    def __call__(
        self, query: Query, options: Options, watch: Watch, stop: StopSignal, /
    ) -> Sequence[Any]: ...


Chances = Callable[[Query, StopSignal], Sequence[Marginals]]  # what tells the marginals of a query
Changes = Callable[[Query, Wish, Options, Watch, StopSignal], Sequence[SmallestChange]]


@dataclass(frozen=True)
class Solvers:
    """What answers the questions of a command; None: it does not ask this."""

    solve: Solver
    chances: Chances | None = None  # beside the answers, where the format of a file shows them
    changes: Changes | None = None  # in place of answers, where a file asks for smallest changes


@dataclass(frozen=True)
class AskArguments:
    """What the command line asks for, not yet checked."""

    files: Sequence[str]
    format: str | None = None
    given: str | None = None
    seconds: float | None = None
    particles: int | None = None
    seed: int | None = None
    device: str = "cpu"
    server: str | None = None
    prove: bool = False
    alternatives: int = 0
    explain: bool = False
    score: bool = False
    json: bool = False
    distance: int = 1
    differ: Sequence[str] = ()
    minimizer: str | None = None
    proof: str | None = None  # the file to write it to
    modules: Sequence[str] = ()  # files of kinds of one's own
    pictures: str | None = None  # the folder to draw answers into
    margins: bool = False


@dataclass(frozen=True)
class Settings:
    """What is asked of every file."""

    format: str | None
    given: Any
    budget: dict[str, Any]  # laid over that of a query file
    options: Options
    proof: Path | None
    kinds: Catalogue | None  # what files are checked against; None: the service does it


def ask(wishes: AskArguments) -> int:
    """Ask everything, and return the exit code."""
    try:
        settings = settings_of(wishes)
    except BadQuery as error:
        tell("", error)
        return REFUSED
    writer: Writer = _Lines() if wishes.json else _Screen(len(wishes.files))
    if wishes.pictures is not None:
        from services.cli.drawn import Drawn  # torch is loaded only where pictures are drawn

        try:
            writer = Drawn(Path(wishes.pictures), writer)
        except BadQuery as error:
            tell("", error)
            return REFUSED
    return run(wishes, settings, _solvers(wishes, settings.kinds), writer)


def run(wishes: AskArguments, settings: Settings, solvers: Solvers, writer: "Writer") -> int:
    """Every file read, asked and written, and the exit code."""
    with _interrupts(gentle=wishes.server is None) as stopped:
        session = _Run(settings, solvers, writer, stopped)
        try:
            session.run(wishes.files)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the last flush
            return BROKEN_PIPE
        except KeyboardInterrupt:
            return INTERRUPTED
        return INTERRUPTED if stopped() else session.code


class _Run:
    """One call of the command: what was asked, and how it goes so far."""

    def __init__(
        self,
        settings: Settings,
        solvers: Solvers,
        writer: "Writer",
        stopped: Callable[[], bool],
    ):
        self.settings, self.solvers = settings, solvers
        self.writer, self.stopped = writer, stopped
        self.code = ANSWERED

    def run(self, sources: Sequence[str]) -> None:
        """Every file in turn. All are read first, so that mistakes are told at once."""
        read: list[tuple[str, list[Asked]]] = []
        for source in sources:
            with self._telling(source):
                read.append((source, self._read(source)))
                for notice in (n for asked in read[-1][1] for n in asked.notices):
                    print(f"{source}: {notice}", file=sys.stderr)
        if (
            self.settings.proof
            and sum(asked.query.rows for _, every in read for asked in every) > 1
        ):
            tell("", BadQuery(Mistake("--proof", "takes one instance", "ask the others apart")))
            self.code = REFUSED
            return
        for source, every in read:
            with self._telling(source):
                self._answer(every)

    def _read(self, source: str) -> list[Asked]:
        settings = self.settings
        return formats.read(source, settings.format, settings.given, diagnosis(settings.kinds))

    def _answer(self, every: list[Asked]) -> None:
        """The queries of one file; its answers are written as soon as their turn comes."""
        waiting: dict[int, tuple[Asked, int, Any]] = {}
        turn = 1
        try:
            for asked in every:
                if self.stopped():
                    return
                answers, asked = self._solve(asked)
                for row, answer in enumerate(answers):
                    waiting[asked.numbers[row]] = (asked, row, answer)
                while turn in waiting:
                    self.writer.write(*waiting.pop(turn))
                    turn += 1
        finally:
            for number in sorted(waiting):
                self.writer.write(*waiting[number])

    def _solve(self, asked: Asked) -> tuple[Sequence[Any], Asked]:
        """The answers of a query, and the query with what its format shows beside them."""
        query = with_budget(asked.query, self.settings.budget)
        with _progress(asked.source, query.rows) as watch:
            if asked.wish:
                asked = replace(asked, changes=self._change(query, asked.wish, watch))
                answers: Sequence[Any] = [row.answer for row in asked.changes]
            else:
                options = self.settings.options
                if asked.pictured:  # its runner-up is another reading
                    plain: dict[str, Any] = {"alternatives": 0, "explain": False}
                    plain |= {} if options.minimizer else {"minimizer": COMPLETE}
                    options = options.model_copy(update=plain)
                answers = self.solvers.solve(query, options, watch, self.stopped)
                if asked.pictured and not self.settings.options.score:
                    far = self.settings.options.explain or self.settings.options.alternatives > 0
                    answers = asked.pictured.settled(answers, self._again, far)
        if self.settings.proof:
            self._keep_proof(self.settings.proof, answers[0].proof)
        if self.solvers.chances and asked.chances:
            asked = replace(asked, marginals=self.solvers.chances(query, self.stopped))
        return answers, asked

    def _again(self, query: Query) -> Sequence[Answer]:
        """Another query of the same file, answered within the same budget, with proof."""
        query = with_budget(query, self.settings.budget)
        options = Options(minimizer=self.settings.options.minimizer or COMPLETE)
        return self.solvers.solve(query, options, watch_nothing, self.stopped)

    def _change(self, query: Query, wish: Wish, watch: Watch) -> Sequence[SmallestChange]:
        if self.solvers.changes is None or self.settings.options.score:
            remedy = "use basin ask, or leave flip out"
            raise BadQuery(Mistake("--given.flip", "asks for an answer by search", remedy))
        return self.solvers.changes(query, wish, self.settings.options, watch, self.stopped)

    def _keep_proof(self, path: Path, proof: str | None) -> None:
        if proof is None:
            print(f"{path}: not written, as nothing was refuted", file=sys.stderr)
            return
        try:
            path.write_text(proof)
        except OSError as error:
            said = error.strerror or "cannot be written"
            raise BadQuery(Mistake("--proof", f"{path}: {said}", "name another file")) from None

    @contextlib.contextmanager
    def _telling(self, source: str) -> Iterator[None]:
        """Mistakes and failures are told and remembered; what comes next goes on."""
        try:
            yield
        except BadQuery as error:
            tell(source, error)
            self.code = max(self.code, REFUSED)
        except BasinError as error:
            tell(source, error)
            self.code = max(self.code, FAILED)


def with_budget(query: Query, budget: dict[str, Any]) -> Query:
    """The query with parts of its budget replaced; both were checked before."""
    changed = query.budget.model_copy(update=budget)
    return query.model_copy(update={"budget": changed})


def settings_of(wishes: AskArguments) -> Settings:
    """Everything the flags say, checked. Raises BadQuery with every mistake."""
    mistakes: list[Mistake] = []
    names = ("seconds", "particles", "seed")
    budget = {n: getattr(wishes, n) for n in names if getattr(wishes, n) is not None}
    wished = ("prove", "alternatives", "explain", "score", "distance", "minimizer", "margins")
    asked = {n: getattr(wishes, n) for n in wished}
    asked |= {"differ": tuple(wishes.differ), "proof": wishes.proof is not None}
    given, options, kinds = None, Options(), None
    try:
        query_of({"variables": {"x": {"values": [0]}}, "terms": [], "budget": budget})
    except BadQuery as error:
        mistakes += [_flag(m, "budget.") for m in error.mistakes]
    try:
        options = options_of(asked)
        if wishes.server is None:
            minimizer_of(options)
    except BadQuery as error:
        mistakes += [_flag(m, "options.") for m in error.mistakes]
    try:
        given = None if wishes.given is None else parse_json(wishes.given)
    except BadQuery as error:
        mistakes += [Mistake("--given", str(m)) for m in error.mistakes]
    if wishes.device != "cpu":
        mistakes.append(Mistake("--device", f"{wishes.device!r} is not supported", "known: cpu"))
    try:
        formats.format_of("", "", wishes.format or "query")
    except BadQuery as error:
        mistakes += error.mistakes
    try:
        kinds = catalogue_of(wishes.modules, wishes.server)
    except BadQuery as error:
        mistakes += error.mistakes
    if mistakes:
        raise BadQuery(*mistakes)
    kinds = kinds if wishes.server is None else None  # a service may know other kinds
    proof = None if wishes.proof is None else Path(wishes.proof)
    return Settings(wishes.format, given, budget, options, proof, kinds)


def _flag(mistake: Mistake, prefix: str) -> Mistake:
    return Mistake(f"--{mistake.path.removeprefix(prefix)}", mistake.problem, mistake.remedy)


def reasoner_of(files: Sequence[str], kinds: Catalogue) -> Reasoner:
    """What answers some files in this process: after a single one nothing comes back to what it
    would keep."""
    return Reasoner(kinds, kept=KEPT if len(files) > 1 else 0)


def _solvers(wishes: AskArguments, kinds: Catalogue | None) -> Solvers:
    if kinds is not None:
        reasoner = reasoner_of(wishes.files, kinds)
        return Solvers(
            reasoner.reason,
            reasoner.marginals,
            lambda query, wish, *how: reasoner.smallest_change(query, wish.wanted, wish.keep, *how),
        )
    from services.client import Client  # gRPC is loaded only where a service is asked

    assert wishes.server is not None
    client = Client(wishes.server)
    return Solvers(
        lambda query, options, *_: client.solve(query, options),
        lambda query, _: client.marginals(query),
        lambda query, wish, options, *_: client.smallest_change(
            query, wish.wanted, wish.keep, options
        ),
    )


class Writer(Protocol):
    """What becomes of what was found for a row."""

    def write(self, asked: Asked, row: int, answer: Any, /) -> None: ...


class _Lines:
    """One JSON object a line."""

    def write(self, asked: Asked, row: int, answer: Answer) -> None:
        sys.stdout.write(output.line(asked, row, answer) + "\n")


class _Screen:
    """Pictures for people; one line an instance where there are many."""

    def __init__(self, files: int):
        self.console, self.files = Console(), files
        self.said = False  # that values are left out

    def write(self, asked: Asked, row: int, answer: Answer) -> None:
        few = asked.query.rows <= output.PICTURED and self.files <= output.PICTURED
        output.show(self.console, asked, row, answer, few)
        if not few and not self.said:
            print(LEFT_OUT, file=sys.stderr)
            self.said = True


@contextlib.contextmanager
def _progress(source: str, rows: int) -> Iterator[Watch]:
    """A bar on stderr, where that is a terminal: rows answered, best energy, bound."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield watch_nothing
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[best]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    with bar:
        task = bar.add_task(source, total=rows, best="")

        def watch(problem: Problem, solution: Solution) -> None:
            del problem
            report = solution.report
            best = ""
            if rows == 1:
                best = f"energy {float(report.energy[0]):.6g}, bound {float(report.bound[0]):.6g}"
            bar.update(task, completed=int(report.done.sum()), best=best)

        yield watch


@contextlib.contextmanager
def _interrupts(gentle: bool) -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C ends the search, and what was found is written; the second ends it all.

    Not gentle: the first ends it all, as a call to a service cannot be asked to stop.
    """
    pressed: list[int] = []

    def press(number: int, frame: Any) -> None:
        del frame
        pressed.append(number)
        if len(pressed) > 1 or not gentle:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
