"""The contract of a minimizer."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from engine.compare import slack
from engine.domain import Real, State
from engine.minimizer import Minimizer, score
from engine.problem import Problem
from engine.random import Stream
from engine.rows import NUMBERS, Report
from engine.solve.batch import Batch, Failed
from engine.solve.standing import gather_rows
from engine.testing.elsewhere import Mixed, elsewhere
from engine.testing.numbers import bits_of

AWAY_STEPS = 3  # that are repeated on another device


@dataclass(frozen=True)
class _Trial:
    """One run of a minimizer: its reports after the first look and after each step."""

    reports: list[Report]
    states: list[Any]


def check_minimizer(
    minimizer: Minimizer, problem: Problem, *, particles: int = 4, steps: int = 8, seed: int = 0
) -> None:
    """All laws of a minimizer on a problem, best one of several rows of evidence.

    A step is pure; the same seed gives the same answer; states stay inside the narrowed domains;
    no report is worse than the start or than an earlier one; proofs hold for the state reported;
    a row alone does what it does in a batch; who is told of a state that was found ends no worse,
    and believes neither its energy nor a bound above it; under moved evidence nothing stays that
    was found or proved under the last; a problem on another device is searched there, with the same
    reports. To try that moves the terms and brings them back, their parameters as new objects.
    """
    name = type(minimizer).__name__
    start = _start(problem, particles, seed)
    trial = _run(minimizer, problem, start, steps, seed)
    _check_reports(name, problem, trial.reports)
    _check_never_worse(name, problem, trial.reports[-1], start)
    again = _run(minimizer, problem, start, steps, seed)
    for k, (a, b) in enumerate(zip(trial.reports, again.reports, strict=True)):
        _assert_same(f"{name}: the same seed, step {k}", a, b)
    rng = _stream(problem, seed)
    for k in {0, len(trial.states) - 2}:  # the state before a step is as good as new
        if not 0 <= k < len(trial.states) - 1:  # done before the first step
            continue
        report = minimizer.report(problem, trial.states[k])
        _assert_same(
            f"{name}: a later step changed the state after step {k}", report, trial.reports[k]
        )
        repeated = minimizer.step(problem, trial.states[k], rng.at(k + 1))
        report = minimizer.report(problem, repeated)
        _assert_same(f"{name}: step {k + 1} repeated", report, trial.reports[k + 1])
    for row in range(problem.rows if problem.rows > 1 else 0):
        own = {n: x.unflatten(0, (problem.rows, -1))[row] for n, x in start.items()}
        alone = _run(minimizer, problem.select([row]), own, steps, seed)
        _assert_same(f"{name}: row {row} alone", _row(trial.reports[-1], row), alone.reports[-1])
    if problem.rows > 1:
        _check_joining(minimizer, problem, start, trial, steps, seed)
    _check_told(minimizer, problem, start, trial, steps, seed)
    _check_renewed(minimizer, problem, trial, steps, seed)
    _check_elsewhere(minimizer, problem, start, trial, seed)


def _check_told(
    minimizer: Minimizer, problem: Problem, start: State, trial: _Trial, steps: int, seed: int
) -> None:
    """The last states of a trial, told after its first step: alone, with a lower energy than they
    have, and with a bound above it; and nothing told."""
    name, last = type(minimizer).__name__, trial.reports[-1]
    true = last.unproved()
    clean = (last.violation == 0) & last.energy.isfinite()
    fine = last.energy.isfinite() & (last.bound < torch.inf)
    lie = replace(true, energy=torch.where(fine, last.energy - 1e3, last.energy))
    wrong = replace(true, bound=torch.where(clean, last.energy + 1e3, -torch.inf))
    nothing = true.only(torch.zeros_like(last.done))
    for what, report in (("a state", true), ("a lie", lie), ("a wrong bound", wrong)):
        told = _run(minimizer, problem, start, steps, seed, report)
        _check_reports(f"{name}, told {what},", problem, told.reports)
        worse = last.better(told.reports[-1]) & (told.reports[-1].bound < torch.inf)
        assert not worse.any(), f"{name}: ends worse where it is told {what}"
    same = _run(minimizer, problem, start, steps, seed, nothing)
    _assert_same(f"{name}: told nothing", same.reports[-1], last)
    if problem.rows == 1:
        return
    whole = _run(minimizer, problem, start, steps, seed, true)
    for row in range(problem.rows):
        own = {n: x.unflatten(0, (problem.rows, -1))[row] for n, x in start.items()}
        alone = _run(minimizer, problem.select([row]), own, steps, seed, _row(true, row))
        _assert_same(
            f"{name}: row {row} told alone", _row(whole.reports[-1], row), alone.reports[-1]
        )


def _check_renewed(
    minimizer: Minimizer, problem: Problem, trial: _Trial, steps: int, seed: int
) -> None:
    """The last state, renewed for the same rows in another order: its reports are of these."""
    moved = problem.select([*range(1, problem.rows), 0])
    state = minimizer.renewed(moved, trial.states[-1])
    rng, reports = _stream(moved, seed), list[Report]()
    while state is not None and len(reports) <= steps:
        reports.append(minimizer.report(moved, state))
        if bool(reports[-1].done.all()):
            break
        state = minimizer.step(moved, state, rng.at(len(reports)))
    _check_reports(f"{type(minimizer).__name__}, renewed,", moved, reports)
    report = minimizer.report(problem, trial.states[-1])
    _assert_same(f"{type(minimizer).__name__}: renewed, the old state", report, trial.reports[-1])


def _check_elsewhere(
    minimizer: Minimizer, problem: Problem, start: State, trial: _Trial, seed: int
) -> None:
    """The first steps on another device, and the rows of a state taken and stacked there."""
    name, home = type(minimizer).__name__, problem.device
    with elsewhere() as device:
        try:
            moved = problem.to(device)
            away = _run(minimizer, moved, _moved(start, device), AWAY_STEPS, seed)
            for report in away.reports:
                for what in NUMBERS:
                    _assert_there(f"{name}: {what}", getattr(report, what), device)
                for n in (v.name for v in moved.open):
                    _assert_there(f"{name}: {n}", report.x[n], device)
            parts = [minimizer.select(away.states[-1], [r], moved.rows) for r in range(moved.rows)]
            again = minimizer.stack(parts, [1] * moved.rows)
            reports = [*away.reports, minimizer.report(moved, again)]
            told = [replace(r.to(home), x=_moved(r.x, home), others=()) for r in reports]
        except Mixed as error:
            raise AssertionError(f"{name}: on another device {error}") from error
    for k, (report, wanted) in enumerate(zip(told[:-1], trial.reports, strict=False)):
        _assert_same(f"{name}: step {k} on another device", report, wanted)
    _assert_same(f"{name}: rows taken and stacked on another device", told[-1], told[-2])


def _assert_there(what: str, x: Tensor, device: torch.device) -> None:
    assert x.device == device, f"{what} lies on {x.device}, and the problem on another device"


def _moved(state: State, device: torch.device) -> dict[str, Tensor]:
    return {n: x.to(device) for n, x in state.items()}


def _check_joining(
    minimizer: Minimizer, problem: Problem, start: State, trial: _Trial, steps: int, seed: int
) -> None:
    """Rows that join a running batch one by one end as rows that began together."""
    batch: Batch[int] = Batch(minimizer)
    rng = _stream(problem, seed)
    last: dict[int, tuple[Report, int]] = {}
    waiting = list(range(problem.rows))
    while waiting or last:
        if waiting:
            row = waiting.pop(0)
            x = {n: t.unflatten(0, (problem.rows, -1))[row] for n, t in start.items()}
            own = rng.select(torch.tensor([row]))
            last[row] = batch.join(problem.select([row]), x, own, [(row, 0)]), 0
        stepped = batch.step()
        assert not isinstance(stepped, Failed), f"a step failed: {stepped.error!r}"
        for place, (row, _) in enumerate(() if stepped is None else stepped.tickets):
            last[row] = stepped.report, place  # type: ignore[union-attr]
            if stepped.done[place] or stepped.steps[place] == steps:  # type: ignore[union-attr]
                batch.leave([(row, 0)])
                what = f"{type(minimizer).__name__}: row {row} in a batch that others join"
                whole = next((r for r in trial.reports if bool(r.done[row])), trial.reports[-1])
                _assert_same(what, _row(whole, row), gather_rows([last.pop(row)]))


def _stream(problem: Problem, seed: int) -> Stream:
    return Stream(seed, problem.keys)


def _start(problem: Problem, particles: int, seed: int) -> dict[str, Tensor]:
    rng = _stream(problem, seed).at(0)
    return {
        v.name: problem.domain(v.name).sample(particles, rng.fork(k))
        for k, v in enumerate(problem.variables)
        if v in problem.open
    }


def _run(
    minimizer: Minimizer,
    problem: Problem,
    x: State,
    steps: int,
    seed: int,
    told: Report | None = None,
) -> _Trial:
    """A trial; told: of the same rows, after the first step."""
    rng = _stream(problem, seed)
    before = {n: t.clone() for n, t in x.items()}
    state = minimizer.init(problem, x, rng.at(0))
    states, reports = [state], [minimizer.report(problem, state)]
    for k in range(1, steps + 1):
        if bool(reports[-1].done.all()):
            break
        state = minimizer.step(problem, state, rng.at(k))
        if k == 1 and told is not None:
            state = minimizer.told(problem, state, told)
        states.append(state)
        reports.append(minimizer.report(problem, state))
    for n, t in x.items():
        assert torch.equal(t, before[n]), f"{type(minimizer).__name__}: changes its start"
    return _Trial(reports, states)


def _check_reports(name: str, problem: Problem, reports: Iterable[Report]) -> None:
    last: Report | None = None
    for k, report in enumerate(reports):
        rows = problem.rows
        for what in ("energy", "violation", "bound", "done", "unique"):
            shape = tuple(getattr(report, what).shape)
            assert shape == (rows,), f"{name}: {what} of {rows} rows has shape {shape}"
        for n in (v.name for v in problem.open):
            x = report.x[n]
            assert x.shape[0] == rows, f"{name}: {x.shape[0]} states of {n} for {rows} rows"
            domain = problem.domain(n)
            assert tuple(x.shape) == (rows, *domain.shape), (
                f"{name}: after step {k} {n} is undecided: it has shape {tuple(x.shape)}"
            )
            settled = domain.decide(x)
            assert x.dtype == settled.dtype, f"{name}: after step {k} {n} is {x.dtype}"
            assert torch.allclose(settled, x, atol=1e-5), (
                f"{name}: after step {k} {n} has left its narrowed domain"
            )
            if isinstance(domain, Real):
                assert torch.equal(bits_of(settled), bits_of(x)), (
                    f"{name}: after step {k} {n} has given numbers changed, or lies past an edge"
                )
        found = report.energy.isfinite() & (report.bound < torch.inf)
        told = score(problem, report.x)
        for what in ("energy", "violation"):
            a, b = getattr(report, what)[found], getattr(told, what)[found]
            assert torch.allclose(a, b, rtol=1e-4, atol=1e-4), (
                f"{name}: after step {k} it reports {what} {a.tolist()}, the states have "
                f"{b.tolist()}"
            )
        clean = found & (report.violation == 0)
        over = report.bound - report.energy
        assert bool((over <= slack(problem, report.x))[clean].all()), (
            f"{name}: after step {k} a bound lies above the energy of a state"
        )
        if last is not None:
            assert not (last.better(report) & (report.bound < torch.inf)).any(), (
                f"{name}: the report after step {k} is worse than the one before"
            )
            assert (report.bound >= last.bound).all(), f"{name}: a bound is taken back"
        last = report


def _check_never_worse(name: str, problem: Problem, report: Report, start: State) -> None:
    """No start is better than the last report."""
    told = score(problem, problem.decide(start))
    energy, violation = (t.unflatten(0, (problem.rows, -1)) for t in told)
    for row in range(problem.rows):
        if report.bound[row] == torch.inf:
            continue
        for e, v in zip(energy[row].tolist(), violation[row].tolist(), strict=True):
            mine = float(report.violation[row]), float(report.energy[row])
            better = v < mine[0] - 1e-6 or (
                v <= mine[0] + 1e-6 and e < mine[1] - 1e-5 * (1 + abs(e))
            )
            assert not better, (
                f"{name}: row {row} ends with violation {mine[0]:g} and energy {mine[1]:g}, "
                f"a start has {v:g} and {e:g}"
            )


def _row(report: Report, row: int) -> Report:
    """One row of a report."""
    one = slice(row, row + 1)
    return Report(
        {n: x[one] for n, x in report.x.items()},
        report.energy[one],
        report.violation[one],
        report.bound[one],
        report.done[one],
        report.unique[one],
        (tuple(report.others[row]),) if report.others else (),
    )


def _assert_same(what: str, a: Report, b: Report) -> None:
    for name in ("energy", "violation", "bound"):
        x, y = getattr(a, name), getattr(b, name)
        near = (x - y).abs() <= 1e-4 * (1 + y.abs())
        same = (x == y) | (near & x.isfinite() & y.isfinite())
        assert same.all(), f"{what}: {name} is {x.tolist()}, and then {y.tolist()}"
    for name in ("done", "unique"):
        x, y = getattr(a, name), getattr(b, name)
        assert torch.equal(x, y), f"{what}: {name} is {x.tolist()}, and then {y.tolist()}"
    for n in a.x:
        assert torch.allclose(a.x[n].double(), b.x[n].double(), atol=1e-4), (
            f"{what}: the best states of {n} differ"
        )
