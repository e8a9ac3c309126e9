"""A job shop: six jobs on six machines, each job in its own order, done as early as possible.

    python examples/job_shop.py

Fisher and Thompson, "Probabilistic learning combinations of local job-shop scheduling rules", 1963:
the least end is 55. Starts are whole numbers; rules between them speak of values, not of literals.
"""

from engine import Finite, Problem, Variable, answers, required
from modules.discrete.linear import Linear
from modules.discrete.no_overlap import NoOverlap
from modules.discrete.table import Table

JOBS = (  # (machine, duration) in the order of each job
    ((2, 1), (0, 3), (1, 6), (3, 7), (5, 3), (4, 6)),
    ((1, 8), (2, 5), (4, 10), (5, 10), (0, 10), (3, 4)),
    ((2, 5), (3, 4), (5, 8), (0, 9), (1, 1), (4, 7)),
    ((1, 5), (0, 5), (2, 5), (3, 3), (4, 8), (5, 9)),
    ((2, 9), (1, 3), (4, 5), (5, 4), (0, 3), (3, 1)),
    ((1, 3), (3, 3), (5, 9), (0, 10), (4, 4), (2, 1)),
)
HORIZON = 70


def job_shop(jobs=JOBS, horizon: int = HORIZON) -> Problem:
    """When each task of each job starts, and when all are done."""
    times = tuple(range(horizon + 1))
    start = Variable("start", Finite(times, (len(jobs), len(jobs[0]))))
    end = Variable("end", Finite(times))
    energy = 1.0 * Table(end, sites=[0], costs=list(times))
    machines: dict[int, list[tuple[int, int]]] = {}
    for j, job in enumerate(jobs):
        for k, (machine, duration) in enumerate(job):
            site, last = j * len(job) + k, k + 1 == len(job)
            machines.setdefault(machine, []).append((site, duration))
            after = len(jobs) * len(job) if last else site + 1  # the end, or the next task
            scope = (start, end) if last else (start,)
            energy = energy + required(
                Linear(*scope, values=[[site, 1], [after, -1]], compare="<=", constant=-duration)
            )
    for tasks in machines.values():
        sites, durations = zip(*tasks, strict=True)
        energy = energy + required(NoOverlap(start, sites=sites, durations=durations))
    return Problem(energy)


def main() -> None:
    (answer,) = answers(job_shop())
    print(f"{answer.status}: all is done at {answer.values['end']}")
    for j, starts in enumerate(answer.values["start"]):
        steps = zip(JOBS[j], starts, strict=True)
        print(f"job {j}:", ", ".join(f"machine {m} {s}-{s + d}" for (m, d), s in steps))


if __name__ == "__main__":
    main()
