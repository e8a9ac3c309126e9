"""The one loop: steps a minimizer and yields ever better solutions until proved or out of budget.

Deadlines, progress, cancelling and streaming all come from this being a generator. Decisions
depend on counts; seconds only end the loop.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from engine.domain import State
from engine.energy import judge, plain_scope
from engine.errors import BadQuery, Cancelled, Mistake
from engine.minimizer import Minimizer, score
from engine.moves.start import Proposer, Start
from engine.problem import Problem
from engine.random import Stream
from engine.rows import Report
from engine.solve.batch import Batch, Failed
from engine.solve.budget import SLACK, Budget, Solution, budget_of, minimizer_of
from engine.solve.standing import filled_report
from engine.solve.tally import Decided, Tally

PILOT = 16  # terms that are asked beforehand, to learn how long the final check takes
MANY = 64  # terms from which on that is worth knowing
WIDE = 10_000  # or numbers of a state


def solve(
    problem: Problem,
    minimizer: Minimizer | None = None,
    *,
    particles: int = 64,
    budget: Budget | None = None,
    seed: int = 0,
    start: State | None = None,
    starts: Sequence[Proposer] = (),
    search: Any = None,
) -> Iterator[Solution]:
    """Yields a solution whenever some row got better, and a last one with `final` set.

    `start` may hold states of any of the variables, relaxed or decided; they are moved into the
    narrowed domains first. Where they hold none, `starts` and the terms are asked, one share of the
    particles each, and the last share is random. `search` is that of an earlier solution of one
    row, by the same minimizer under other evidence: it goes on where the minimizer can renew it.
    Without a time limit the result is a function of (problem, seed), and of all these. The default
    minimizer goes on until its limit of time, if there is one, or until it has proved its answer; a
    limit that is over before the search begins leaves a start as it was drawn.
    """
    if particles < 1:
        raise BadQuery(Mistake("particles", f"{particles!r}", "give at least 1"))
    budget = budget_of(budget).begun()
    minimizer = minimizer_of(minimizer, budget)
    reserve = checking(problem) if budget.seconds is not None else 0.0
    minimizer = minimizer.until(lambda: not budget.lasts(problem.rows, reserve))
    rng = Stream(seed, problem.keys)
    x = Start(problem, particles, rng.at(0), start or {}, starts)
    batch: Batch[None] = Batch(minimizer)
    tickets = [(None, row) for row in range(problem.rows)]
    prepared = all(budget.lasts(problem.rows, reserve) for _ in minimizer.prepare(problem))
    renewed = None if search is None or not prepared else minimizer.renewed(problem, search)
    if renewed is not None:
        found = report_start(problem, rng, x.given)  # no answer is worse than this
        energy, violation = score(problem, {v.name: found.x[v.name] for v in problem.open})
        found = replace(found, energy=energy, violation=violation)
        first = batch.resume(problem, minimizer.told(problem, renewed, found), rng, tickets)
    elif prepared:
        first = batch.join(problem, x, rng, tickets)
    else:
        first = report_start(problem, rng, x.given)
    tally = Tally([(first, row) for _, row in tickets], budget, reserve, prepared)
    batch.leave(ticket for ticket in tickets if ticket[1] not in tally.running)
    looked = tally.clocked(budget.since or 0.0)
    cancelled = False
    while tally.running:
        if budget.stop() or not prepared:
            cancelled = True
            break
        stepped = batch.step()
        if isinstance(stepped, Failed):
            if isinstance(stepped.error, Cancelled):
                yield tally.solution()  # what is known until then
            raise stepped.error
        assert stepped is not None
        for place, (_, row) in enumerate(stepped.tickets):
            tally.take(row, stepped, place)
        looked = tally.clocked(looked)
        batch.leave(ticket for ticket in stepped.tickets if ticket[1] not in tally.running)
        if any(stepped.better):
            yield tally.solution()
            looked = time.monotonic()  # what the caller does meanwhile is not the search's time
    solution = tally.solution(True, cancelled)
    yield replace(solution, search=batch.state_of(tickets[0]) if problem.rows == 1 else None)


def report_start(problem: Problem, rng: Stream, given: State) -> Report:
    """How rows stand of which nothing but a start is known: their first particle."""
    firsts = {n: x[:: x.shape[0] // problem.rows] for n, x in given.items()}
    begun = Report.blank(problem, Decided(problem, Start(problem, 1, rng.at(0), firsts)))
    return filled_report(problem, begun)


def checking(problem: Problem) -> float:
    """Seconds that the final check of a row will take, by some of its terms; 0 where few terms
    over little make it short, or where other processes are asked."""
    summands = problem.summands
    width = sum(math.prod(d.event) for d in problem.domains.values())
    if not summands or not all(summand.term.reusable for summand in summands):
        return 0.0
    if len(summands) < MANY and width < WIDE:
        return 0.0
    one, spent = problem.select([0]), []
    rng = Stream(0, one.keys)
    x = {n: one.sample(n, 1, rng.fork(k)) for k, n in enumerate(one.domains)}
    began = time.perf_counter()
    (plain,) = one.asked(x)
    state, together = one.whole(x), dict[int, bool | None]()
    for kin in one.kin:  # asked at once, however many they are
        kin.energies(state)
        together |= zip(kin.places, kin.verdicts(plain), strict=True)
    whole = time.perf_counter() - began
    for place in range(0, len(summands), max(1, len(summands) // PILOT)):
        term, began = summands[place].term, time.perf_counter()
        if place not in together and summands[place].weight is not None:
            term(state)
        verdict = together[place] if place in together else judge(term, plain)
        if verdict is False:
            term.explain(*plain_scope(term, plain))
        spent.append(time.perf_counter() - began)
    if len(spent) > 1:
        spent.remove(max(spent))  # the first of a sort may prepare something
    return whole + SLACK * len(summands) * sum(spent) / len(spent)
