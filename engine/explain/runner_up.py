"""The best answer that differs where it is asked to, and in words why it lost."""

from collections.abc import Iterator, Sequence

from engine.answer import Answer, Place, RunnerUp, Status
from engine.compare import room
from engine.errors import BadQuery, Mistake, known
from engine.explain.alternatives import FOUND, differing, next_best
from engine.minimizer import Minimizer
from engine.problem import Problem
from engine.solve import Budget

SHOWN = 3  # differing sites that are spelled out


def runner_up(
    problem: Problem,
    answer: Answer,
    names: Sequence[str] = (),
    *,
    minimizer: Minimizer | None = None,
    budget: Budget | None = None,
    seed: int = 0,
) -> RunnerUp | None:
    """The best answer of a one-row problem that differs in at least one site of each variable
    named, else in any site. None: there is no such answer, or none was found.

    Raises BadQuery as `check_differ`.
    """
    check_differ(problem, names)
    finite = {v.name: v for v in problem.finite}
    if answer.values is None or answer.status not in FOUND or not finite:
        return None
    groups = [[finite[name]] for name in names] or [list(finite.values())]
    apart = [(group, answer.values) for group in groups]
    other = next_best(problem, apart, minimizer=minimizer, budget=budget, seed=seed)
    if other.status not in FOUND or other.values is None or other.energy is None:
        return None
    shares = other.terms[: len(problem.summands)]  # those behind say where it had to differ
    text = f"{_differences(problem, answer, other)}; {_loss(problem, answer, other)}"
    return RunnerUp(other.values, other.energy, shares, text)


def check_differ(problem: Problem, names: Sequence[str]) -> None:
    """Raises BadQuery for a name that is no variable of finite values."""
    finite = [v.name for v in problem.finite]
    wrong = [
        Mistake(f"options.differ[{k}]", f"{name!r} has no finite values", known(name, finite))
        for k, name in enumerate(names)
        if name not in finite
    ]
    if wrong:
        raise BadQuery(*wrong)


def _differences(problem: Problem, answer: Answer, other: Answer) -> str:
    assert answer.values is not None and other.values is not None
    every = differing(problem.finite, other.values, answer.values)
    said = [
        f"{Place.at(variable.name, variable.domain.shape, place, new).text} instead of {old!r}"
        for variable, place, new, old in every[:SHOWN]
    ]
    more = f" and {len(every) - SHOWN} more sites" if len(every) > SHOWN else ""
    return f"with {', '.join(said)}{more}"


def _loss(problem: Problem, answer: Answer, other: Answer) -> str:
    """What the runner-up costs more, term by term."""
    assert answer.energy is not None and other.energy is not None
    more = other.energy - answer.energy
    best = "" if other.status is Status.OPTIMAL else "; nothing proves it the best of these"
    shares = list(_shares(answer, other))
    if abs(more) <= room(problem, answer.energy):
        level = f" ({', '.join(shares)})" if shares else ""
        return f"it is as good as the answer{level}{best}"
    way = "more" if more > 0 else "less"
    return f"it costs {abs(more):.6g} {way} ({', '.join(shares)}){best}"


def _shares(answer: Answer, other: Answer) -> Iterator[str]:
    ours = {share.term: share.energy for share in answer.terms}
    for share in other.terms:
        before = ours.get(share.term)
        if before is not None and share.energy is not None and share.energy != before:
            yield f"{share.term} {share.energy - before:+.6g}"
