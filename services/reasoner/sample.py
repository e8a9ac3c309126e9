"""From a query to samples."""

from engine.errors import Mistake, TooLarge
from engine.minimizer import never
from engine.problem import Problem
from engine.sampling.draw import samples
from engine.sampling.samples import Samples
from engine.solve import Budget as Spent
from services.query import Budget
from services.query.sampling import Sampling
from services.reasoner.reason import StopSignal
from services.remote.agreement import check_values, judge_ahead
from services.remote.lifecycle import Patience, attend, remotes_of
from services.settings import DEFAULT, Limits

CHECKED = 256  # draws of a row on which the structure of hosted terms is held against judgement


def sample_query(
    problem: Problem,
    budget: Budget,
    wishes: Sampling,
    limits: Limits = DEFAULT,
    stop: StopSignal = never,
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
        raise TooLarge(Mistake("count", said, limits.told("sites")))
    with attend(problem, patience or Patience(stop)):
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
