"""The one path of a question in this process: compile, minimize, verify, and what was asked beside.

A query becomes a problem, a minimizer settles it, and plain values are judged apart from the
search; proofs, alternatives and explanations are then single calls into the engine.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from engine.answer import Answer, Flag, Status
from engine.errors import Cancelled, OutOfTime
from engine.explain.alternatives import alternatives, unique
from engine.explain.change import SmallestChange
from engine.explain.conflict import conflict_or_late
from engine.explain.margins import margins, told_margins
from engine.explain.partial import partial
from engine.explain.proof import check_provable, refutation
from engine.explain.runner_up import check_differ, runner_up
from engine.judgement import score_plain, verify
from engine.minimizer import Minimizer, never
from engine.minimizers.portfolio import Portfolio
from engine.plain import flatten
from engine.problem import Problem
from engine.sampling.marginals import Marginals
from engine.solve import ENDLESS, Budget, Solution, solve
from modules.catalogue import Kinds
from modules.shared.files import Confine
from services.formats.arrays import nowhere
from services.query import Options, Query
from services.query.wish import Wish, check_searched
from services.reasoner.change import smallest_changes
from services.reasoner.compile import KEPT, Compiler
from services.reasoner.evidence import given_row
from services.reasoner.faults import faults_told
from services.reasoner.marginals import marginals_query
from services.reasoner.minimizers import minimizer_named
from services.remote.agreement import check_answers, judge_ahead, score_ahead
from services.remote.lifecycle import Patience, attend, may_still_judge, remotes_of
from services.settings import DEFAULT, Limits

Watch = Callable[[Problem, Solution], None]  # told of every better solution
Tell = Callable[[int, Answer], None]  # told of the answer of a row
StopSignal = Callable[[], bool]  # asked before every step


def watch_nothing(problem: Problem, solution: Solution) -> None:
    """Nobody looks on."""


class Reasoner:
    """Answers queries with the kinds of a catalogue; between them it keeps structure (the last
    `kept`), no answer. Its limits are those of the service it stands in; confine: which file a name
    in evidence means; unless said, none."""

    def __init__(
        self,
        catalogue: Kinds,
        limits: Limits = DEFAULT,
        kept: int = KEPT,
        confine: Confine = nowhere,
    ):
        self.catalogue, self.limits = catalogue, limits
        self.compiler = Compiler(catalogue, limits, kept, confine)

    @faults_told()
    def reason(
        self,
        query: Query,
        options: Options | None = None,
        watch: Watch = watch_nothing,
        stop: StopSignal = never,
    ) -> list[Answer]:
        """One answer for each row of evidence. Raises BadQuery with every mistake, or ModuleFault
        and its like where a kind is hosted."""
        since = time.monotonic()
        query = self.compiler.with_files(query)
        problem = self.compiler.problem(query)
        return solve_query(problem, query, options or Options(), watch, stop, since=since)

    @faults_told()
    def smallest_change(
        self,
        query: Query,
        wanted: Mapping[str, Any],
        keep: Sequence[str] = (),
        options: Options | None = None,
        watch: Watch = watch_nothing,
        stop: StopSignal = never,
    ) -> list[SmallestChange]:
        """The fewest values of each row of evidence that must change so that all required rules
        hold: under evidence that is `wanted` instead, with the given sites of `keep` as they are.
        The seconds of the query count for each row. Raises BadQuery with every mistake."""
        wished = options or Options()
        check_searched(wished)

        def ask(problem: Problem, query: Query, since: float | None) -> list[Answer]:
            return solve_query(problem, query, wished, watch, stop, since=since)

        query = self.compiler.with_files(query)
        problem = self.compiler.problem(query)
        wish = Wish(wanted, keep)
        return smallest_changes(problem.root or problem, query, wish, ask, self.limits, stop)

    @faults_told()
    def marginals(self, query: Query, stop: StopSignal = never) -> list[Marginals]:
        """For each row what each term that offers chances says of the open sites, by itself.
        Raises BadQuery with every mistake, or TooLarge."""
        since = time.monotonic()
        query = self.compiler.with_files(query)
        problem = self.compiler.problem(query)
        return marginals_query(problem, query, self.limits, stop, since)


class Rows:
    """The answers of one search: verified, held against the structure of hosted terms, with what
    was asked for beside them.

    tell: somebody waits for each row. Its answer is then made, and told, as soon as its search is
    over, unless something is asked for beside it: that comes when all searches are.
    """

    def __init__(
        self,
        problem: Problem,
        query: Query,
        options: Options,
        stop: StopSignal,
        tell: Tell | None,
        since: float | None = None,
    ):
        self.problem, self.options, self.tell = problem, options, tell
        self.budget = Budget(query.budget.seconds, query.budget.steps, stop, since).begun()
        self.seconds = query.budget.seconds
        self.seed = query.budget.seed
        self._verified: dict[int, Answer] = {}
        self._told: dict[int, Answer] = {}
        self._seen: Solution | None = None  # the last

    def look(self, solution: Solution) -> None:
        """A stage of the search."""
        self._seen = solution
        if self.tell is None:
            return
        limit = self.budget.steps
        done, steps = solution.report.done.tolist(), solution.steps
        over = [
            row for row in self._open() if done[row] or (limit is not None and steps[row] >= limit)
        ]
        self._verify(solution, over)

    def end(self, solution: Solution) -> bool:
        """The last stage; whether `every` is at once, with nothing left to search for."""
        self._seen = solution
        self._verify(solution, self._open())
        return all(row in self._told for row in range(self.problem.rows))

    def every(self) -> list[Answer]:
        """One answer for each row, once the search has ended."""
        for row, answer in self._verified.items():
            if row not in self._told:
                more = extras_of_row(
                    self.problem, row, answer, self.options, self.budget, self.seed
                )
                check_answers(self.problem.select([row]), [more])
                self._give(row, more)
        return [self._told[row] for row in range(self.problem.rows)]

    def best(self) -> list[Answer]:
        """The best so far of each row whose search was given up. Raises OutOfTime where there is
        none."""
        if self._seen is None:
            raise OutOfTime(
                "a module did not answer before the deadline, and nothing was found yet"
            )
        self._verify(replace(self._seen, cancelled=True), self._open())
        for row, answer in self._verified.items():
            if row not in self._told:
                self._give(row, _flagged(answer, Flag.CANCELLED))
        return self.every()

    def _open(self) -> list[int]:
        return [row for row in range(self.problem.rows) if row not in self._verified]

    def _verify(self, solution: Solution, rows: Sequence[int]) -> None:
        if not rows:
            return
        problem, part = self.problem, solution
        if len(rows) < problem.rows:
            problem, part = problem.select(rows), solution.select(rows)
        if remotes := remotes_of(problem):
            if any(term.decides for term in remotes):
                judge_ahead(problem, problem.asked(part.report.x))
            score_ahead(problem, part.report.x)
        answers = verify(problem, part)
        check_answers(problem, answers)
        for row, answer in zip(rows, answers, strict=True):
            self._verified[row] = answer
            if not needs_extras(answer, self.options):
                self._give(row, answer)

    def _give(self, row: int, answer: Answer) -> None:
        self._told[row] = answer
        if self.tell is not None:
            self.tell(row, answer)


def solve_query(
    problem: Problem,
    query: Query,
    options: Options,
    watch: Watch = watch_nothing,
    stop: StopSignal = never,
    tell: Tell | None = None,
    patience: Patience | None = None,
    since: float | None = None,
) -> list[Answer]:
    """The answers of a query that was compiled, whose terms may be hosted.

    patience: how long hosts are waited for; without it, until `stop`. since: when the question was
    asked, from which its seconds count; None: now. Raises ModuleFault where a
    host contradicts itself, OutOfTime where it was given up before anything was found.
    """
    patience = patience or Patience(stop)
    rows = Rows(problem, query, options, stop, tell, since)
    with attend(problem, patience):
        try:
            return (
                score_query(problem, query, tell)
                if options.score
                else _searched(rows, query, watch)
            )
        except Cancelled:
            if not may_still_judge(patience):
                raise
        return rows.best()


def _searched(rows: Rows, query: Query, watch: Watch) -> list[Answer]:
    for solution in solve(
        rows.problem,
        minimizer_for(rows.problem, rows.options, rows.seconds),
        particles=query.budget.particles,
        budget=rows.budget,
        seed=rows.seed,
    ):
        watch(rows.problem, solution)
        if not solution.final:
            rows.look(solution)
    rows.end(solution)
    return rows.every()


def add_extras(
    problem: Problem, answers: list[Answer], options: Options, budget: Budget, seed: int
) -> list[Answer]:
    """Verified answers with what was asked for beside them."""
    return [
        extras_of_row(problem, row, answer, options, budget, seed)
        if needs_extras(answer, options)
        else answer
        for row, answer in enumerate(answers)
    ]


def needs_extras(answer: Answer, options: Options) -> bool:
    """Something is asked for beside the answer, which may take a search of its own."""
    if answer.status is Status.INFEASIBLE:
        return options.explain or options.proof
    undecided = answer.status is Status.OPTIMAL and answer.unique is None
    if options.margins and answer.status is not Status.UNSATISFIED:
        return True
    return bool(options.alternatives or options.explain or (options.prove and undecided))


def minimizer_for(problem: Problem, options: Options, seconds: float | None) -> Minimizer:
    """The minimizer that is asked for; seconds: the limit of time, if there is one.

    Raises BadQuery for what this problem does not allow.
    """
    if options.proof:
        check_provable(problem)
    check_differ(problem, options.differ)
    return minimizer_of(options, Portfolio() if seconds is None else ENDLESS)


def minimizer_of(options: Options, default: Minimizer | None = None) -> Minimizer:
    """The minimizer that is asked for (default: `Portfolio()`), told what to find out.

    Raises BadQuery for other names.
    """
    default = default or Portfolio()
    named = default if options.minimizer is None else minimizer_named(options.minimizer)
    return named.asked(options.prove, options.alternatives)


def extras_of_row(
    problem: Problem, row: int, answer: Answer, options: Options, budget: Budget, seed: int
) -> Answer:
    """What was asked for beside the best values: other answers, or why there is none; DEADLINE
    where time ended before all of it was found, CANCELLED where the caller ended it."""
    one, stop = problem.select([row]), budget.stop
    budget = _left(budget, answer)
    over, short = budget.clock(), False
    if answer.status is Status.INFEASIBLE:
        answer = _explained(one, answer, budget, stop) if options.explain else answer
        return _proved(one, answer, budget, stop) if options.proof else answer
    plain = options.model_copy(update={"prove": False, "alternatives": 0})
    own = minimizer_of(plain)
    if options.alternatives:
        others = alternatives(
            one,
            answer,
            options.alternatives,
            distance=options.distance,
            minimizer=own,
            budget=budget,
            seed=seed,
        )
        answer = replace(answer, alternatives=others)
        short = len(others) < options.alternatives or over()  # the last may not be the next best
    if options.prove and answer.status is Status.OPTIMAL and answer.unique is None:
        known = unique(one, answer, minimizer=own, budget=budget, seed=seed)
        answer, short = replace(answer, unique=known), short or known is None
    if options.explain:
        other = runner_up(one, answer, options.differ, minimizer=own, budget=budget, seed=seed)
        answer, short = replace(answer, runner_up=other), short or other is None or over()
    if options.margins and answer.status is not Status.UNSATISFIED:
        answer = replace(answer, margins=told_margins(margins(one, answer, stop=over) or {}))
        short = short or over()
    return _cut(answer, stop) if short and over() else answer


def _left(budget: Budget, answer: Answer) -> Budget:
    """What the search of a row left of its time, for all that is asked beside it."""
    if budget.seconds is None:
        return budget
    left = replace(budget, seconds=max(0.0, budget.seconds - answer.seconds), since=None)
    return Budget(steps=budget.steps, stop=left.clock())


def _explained(problem: Problem, answer: Answer, budget: Budget, stop: StopSignal) -> Answer:
    """The answer with what conflicts; flagged where the end came before all of it was found."""
    over = budget.clock()
    why, short = conflict_or_late(problem, over)
    answer = replace(answer, conflict=why or answer.conflict)
    return _cut(answer, stop) if short and over() else answer


def _proved(problem: Problem, answer: Answer, budget: Budget, stop: StopSignal) -> Answer:
    """The answer with a proof that it is infeasible; flagged where the end came before."""
    proof = refutation(problem, budget)
    return _cut(answer, stop) if proof is None else replace(answer, proof=proof)


def _cut(answer: Answer, stop: StopSignal) -> Answer:
    """The answer with the flag that says who ended what was asked beside it."""
    return _flagged(answer, Flag.CANCELLED if stop() else Flag.DEADLINE)


def _flagged(answer: Answer, flag: Flag) -> Answer:
    return replace(answer, flags=tuple(dict.fromkeys((*answer.flags, flag))))


def score_query(problem: Problem, query: Query, tell: Tell | None = None) -> list[Answer]:
    """Energy, findings and bound of the values given, without any search."""
    answers = _scored(problem, query)
    check_answers(problem, answers)
    if tell is not None:
        for row, answer in enumerate(answers):
            tell(row, answer)
    return answers


def _scored(problem: Problem, query: Query) -> list[Answer]:
    names = {v.name for v in problem.inputs}
    rows = [given_row(evidence, names) for evidence in query.evidence]
    complete = [_complete(problem, evidence) for evidence in rows]
    open_rows = [row for row, whole in enumerate(complete) if not whole]
    asked = [
        {**evidence, **problem.told_plain(row)}
        for row, (evidence, whole) in enumerate(zip(rows, complete, strict=True))
        if whole
    ]
    judge_ahead(problem, asked)
    bounds = iter(partial(problem.select(open_rows)) if open_rows else ())
    alone = bool(names) or bool(problem.costs.shape[1])  # rows are told, or pay, differently
    return [
        _judged(problem.select([row]) if alone else problem, evidence) if whole else next(bounds)
        for row, (whole, evidence) in enumerate(zip(complete, rows, strict=True))
    ]


def _complete(problem: Problem, evidence: Mapping[str, Any]) -> bool:
    return all(
        evidence.get(v.name) is not None and None not in flatten(evidence[v.name], v.domain.shape)
        for v in problem.variables
    )


def _judged(problem: Problem, evidence: Mapping[str, Any]) -> Answer:
    """Complete values have one completion: themselves."""
    answer = replace(score_plain(problem, [evidence])[0])
    best = Status.OPTIMAL if answer.status is Status.SATISFIED else answer.status
    return replace(answer, status=best, bound=answer.energy)
