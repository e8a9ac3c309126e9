"""How kinds with one network are trained, and their weights written."""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from engine.energy import Term
from engine.energy.lesson import Lesson
from engine.learning.objective import Objective
from modules.shared.weights import Weights, write_weights

STEPS, BATCH, RATE = 2000, 64, 2e-3


def train_and_save(
    lesson: Lesson,
    kind: str,
    term: Term,
    examples: Tensor,
    objective: Objective,
    weights: Callable[[str], Weights],
    rate: float = RATE,
) -> list[str]:
    """Trains a term over one variable, writes its weights, and says what was done."""
    from engine.learning.examples import Stored
    from engine.learning.recipe import Recipe
    from engine.learning.train import train  # Lightning is loaded to train, not to ask

    recipe = Recipe(
        lesson.steps or STEPS,
        min(BATCH, len(examples)),
        rate,
        seconds=lesson.seconds,
        seed=lesson.seed,
    )
    (view,) = term.scope
    data = Stored({view.variable.name: examples})
    trained = train(objective, {"energy": term}, data, recipe, work=lesson.work)
    write_weights(lesson.out, kind, weights(lesson.command))
    return [
        f"{len(examples)} examples of {view.places.size} sites",
        f"{trained.steps} steps in {trained.seconds:.1f} s, ended by {trained.stopped}",
        f"wrote {lesson.out}",
    ]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Steps this small are slower on several threads: seven times, on a shared machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
