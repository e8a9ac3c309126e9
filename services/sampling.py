"""Samples of a query: what may be asked, within limits, and the draws of each row."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from engine.errors import Mistake, TooLarge
from engine.minimizer import never
from engine.problem import Problem
from engine.sampling.draw import Samples, samples
from engine.solve import Budget as Spent
from services.agreement import Patience, attended, check_values, judge_ahead, remotes_of
from services.fields import Number, Whole
from services.limits import DEFAULT, Limits
from services.query import Budget, Spec, spec_of
from services.reason import Stop

CHECKED = 256  # draws of a row on which the structure of hosted terms is held against judgement


class Sampling(Spec):
    """How many draws, and how hot."""

    count: Annotated[Whole, Field(ge=1)] = Field(description="Draws for each row.")
    temperature: Annotated[Number, Field(gt=0, allow_inf_nan=False)] = Field(
        1.0, description="In units of the energy: p is proportional to exp(-energy / temperature)."
    )


def sampling_of(data: Mapping[str, Any], limits: Limits = DEFAULT) -> Sampling:
    """What is asked, from plain data. Raises BadQuery with every mistake, or TooLarge."""
    wishes = spec_of(Sampling, data, limits)
    if wishes.count > limits.samples:
        raise TooLarge(Mistake("count", f"{wishes.count}", f"the limit is {limits.samples}"))
    return wishes


def sampled(
    problem: Problem,
    budget: Budget,
    wishes: Sampling,
    limits: Limits = DEFAULT,
    stop: Stop = never,
    patience: Patience | None = None,
) -> list[Samples]:
    """The draws of each row of a problem, whose terms may be hosted. Raises TooLarge.

    patience: how long hosts are waited for; without it, until `stop`. Raises ModuleFault where a
    host contradicts itself on one of the first CHECKED draws of a row.
    """
    sites = sum(domain.sites for domain in problem.domains.values())
    total = problem.rows * wishes.count * sites
    if total > limits.sites:
        said = f"{total} values in all draws of all rows"
        raise TooLarge(Mistake("count", said, f"the limit is {limits.sites}"))
    with attended(problem, patience or Patience(stop)):
        rows = samples(
            problem,
            wishes.count,
            wishes.temperature,
            particles=budget.particles,
            budget=Spent(budget.seconds, budget.steps, stop),
            seed=budget.seed,
            ahead=judge_ahead,
        )
        if remotes_of(problem):
            drawn = (
                (row, one.values) for row, told in enumerate(rows) for one in told.samples[:CHECKED]
            )
            check_values(problem, list(drawn))
    return rows
