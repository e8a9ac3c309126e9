"""A session over a query as people write it: terms by their kinds, changes that apply as a whole.

`engine.session.Session` does the work; this compiles what is asked of it, tells every mistake with
its field path, and takes back a change that fails in the middle.
"""

import time
from collections.abc import Mapping
from typing import Any

from engine.answer import Answer
from engine.errors import BadQuery, Cancelled, Mistake, OutOfTime, TooLarge, known, shown
from engine.minimizer import never
from engine.problem import Problem
from engine.session import Session
from engine.settle import answers
from engine.solve import Budget
from services.query import Query
from services.query.change import Change, Resolve
from services.reasoner.compile import Compiler, compile_terms, narrow_problem
from services.reasoner.evidence import given_row
from services.reasoner.reason import StopSignal, add_extras, minimizer_for
from services.remote.agreement import check_answers
from services.remote.lifecycle import Patience, attend, close_remotes, may_still_judge

AS_IS = Resolve()
LATE = 0.1  # seconds, or a quarter of a tick, that a late module may delay the best so far
MARGIN = 0.03  # seconds of a tick kept for judging the best so far; at most half of it


class QuerySession:
    """One row of evidence under an energy that changes; answers are verified as any other.

    problem: of the query, where it was compiled before.
    """

    def __init__(self, query: Query, compiler: Compiler, problem: Problem | None = None):
        if query.rows != 1:
            raise BadQuery(
                Mistake("evidence", f"{query.rows} rows", "a session takes one; open one for each")
            )
        self.query, self.compiler, self.limits = query, compiler, compiler.limits
        self._session = self._opened(compiler.problem(query) if problem is None else problem)
        close_remotes(self.problem)  # it may be long until something is asked

    @property
    def problem(self) -> Problem:
        """The problem as it stands."""
        return self._session.problem

    @property
    def terms(self) -> tuple[str, ...]:
        """The names of the terms that stand, each once, in order."""
        return tuple(dict.fromkeys(summand.label for summand in self.problem.summands))

    def change(self, change: Change) -> None:
        """All of a change, or nothing of it. Raises BadQuery with every mistake."""
        before = self.problem
        mistakes = list(self._wrong_names(change))
        try:
            asked = self.compiler.with_files(self._asked(change))
            variables = {v.name: v for v in (*before.variables, *before.inputs)}
            energies = compile_terms(asked, variables, self.compiler.catalogue, self.limits)
            if change.evidence is not None:
                narrow_problem(before.root or before, asked, self.limits)
        except BadQuery as error:
            raise type(error)(*mistakes, *map(_renamed, error.mistakes)) from None
        if mistakes:
            raise BadQuery(*mistakes)
        try:
            for name in change.drop:
                self._session.drop(name)
            for spec, energy in zip(change.add, energies, strict=True):
                self._session.add(spec.name or spec.kind, energy)
            if change.evidence is not None:
                self._session.given(given_row(asked.evidence[0], {v.name for v in before.inputs}))
        except Exception:
            self._session = self._opened(before)
            raise
        finally:
            close_remotes(self.problem)

    def answer(
        self, resolve: Resolve = AS_IS, stop: StopSignal = never, patience: Patience | None = None
    ) -> Answer:
        """The verified answer as things stand, from where the last one stood.

        patience: how long hosts are waited for; without it, until `stop` or the end of the tick.
        Raises ModuleFault where a host contradicts itself, OutOfTime where it was given up and
        nothing is known yet.
        """
        patience = patience or self.patience(resolve, stop)
        with attend(self.problem, patience):
            answer = self._answer(resolve, stop, patience)
            check_answers(self.problem, [answer])
        return answer

    @staticmethod
    def patience(resolve: Resolve, stop: StopSignal) -> Patience:
        """How long the hosts of a tick are waited for."""
        if resolve.seconds is None:
            return Patience(stop)
        end = time.monotonic() + resolve.seconds
        late = end + max(LATE, resolve.seconds / 4)
        return Patience(lambda: stop() or time.monotonic() >= end, lambda: time.monotonic() >= late)

    def _answer(self, resolve: Resolve, stop: StopSignal, patience: Patience) -> Answer:
        try:
            return self._searched(resolve, stop)
        except Cancelled:  # a module is late: the best so far is worth a little more time
            if not may_still_judge(patience):
                raise
        answer = self.best()
        if answer is None:
            raise OutOfTime("a module did not answer before the deadline, nothing is known yet")
        return answer

    def _searched(self, resolve: Resolve, stop: StopSignal) -> Answer:
        options, mine = resolve.options, self.query.budget
        seconds = mine.seconds
        if resolve.seconds is not None:
            seconds = max(resolve.seconds - MARGIN, resolve.seconds / 2)
        budget = Budget(seconds, mine.steps if resolve.steps is None else resolve.steps, stop)
        if options.prove or options.minimizer is not None:
            search, particles = minimizer_for(self.problem, options, seconds), mine.particles
            every = answers(
                self.problem, search, particles=particles, budget=budget, seed=mine.seed
            )
        else:
            every = [self._session.answer(budget)]
        return add_extras(self.problem, every, options, budget, mine.seed)[0]

    def best(self) -> Answer | None:
        """The best values known so far, without a search; None where none are known."""
        return self._session.best()

    def _opened(self, problem: Problem) -> Session:
        budget = self.query.budget
        return Session(problem, particles=budget.particles, seed=budget.seed)

    def _asked(self, change: Change) -> Query:
        """A query of what is new alone, so that it is checked as any other."""
        evidence: Mapping[str, Any] = {} if change.evidence is None else change.evidence
        return self.query.changed(self.limits, terms=change.add, evidence=(evidence,))

    def _wrong_names(self, change: Change) -> list[Mistake]:
        """Names to drop that do not stand, or names to add that do."""
        left, mistakes = list(self.terms), []
        for k, name in enumerate(change.drop):
            if name in left:
                left.remove(name)
                continue
            remedy = known(name, left) if left else "none are left"
            mistakes.append(Mistake(f"drop[{k}]", f"{shown(name)} is no term", remedy))
        added: list[str] = []
        for k, spec in enumerate(change.add):
            name = spec.name or spec.kind
            if name in left or (spec.name is None and name in added):
                taken = f"{shown(name)} is the name of another term"
                mistakes.append(Mistake(f"add[{k}].name", taken, "give it a name of its own"))
            added.append(name)
        left += added
        if len(left) > self.limits.terms:
            said = f"{len(left)} terms would stand"
            raise TooLarge(Mistake("add", said, self.limits.told("terms")))
        return mistakes


def _renamed(mistake: Mistake) -> Mistake:
    """`terms[0].params` of the query that was checked is `add[0].params` of the change."""
    if mistake.path.startswith("terms["):
        return Mistake("add" + mistake.path.removeprefix("terms"), mistake.problem, mistake.remedy)
    return mistake
