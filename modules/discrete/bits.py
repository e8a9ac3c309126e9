"""Examples of bits to learn from: one a line, a character 0 or 1 for each site, row-major."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from engine.energy import Term
from engine.energy.lesson import Lesson
from engine.errors import BadQuery, Mistake
from engine.learning.objective import Objective
from modules.lines import lines_of
from modules.weights import Weights, write_weights

MISTAKES = 20  # told at once
STEPS, BATCH, RATE = 2000, 64, 2e-3


def read_bits(text: str, shape: Sequence[int]) -> Tensor:
    """The examples, one-hot. `#` begins a comment. -> (N, *shape, 2)

    Raises BadQuery with every line that is wrong.
    """
    sites, rows, wrong = math.prod(shape), [], []
    for number, line in enumerate(lines_of(text), 1):
        bare = "".join(line.split("#")[0].split())
        if not bare:
            continue
        if set(bare) - {"0", "1"}:
            odd = sorted(set(bare) - {"0", "1"})[0]
            wrong.append(Mistake(f"line {number}", f"{odd!r} is no bit", "write 0 and 1"))
        elif len(bare) != sites:
            problem = f"has {len(bare)} bits"
            wrong.append(Mistake(f"line {number}", problem, f"the shape has {sites} sites"))
        else:
            rows.append([int(c) for c in bare])
        if len(wrong) >= MISTAKES:
            break
    if wrong:
        raise BadQuery(*wrong)
    if len(rows) < 2:
        raise BadQuery(Mistake("", f"{len(rows)} examples are too few to learn from", "give more"))
    bits = torch.tensor(rows)
    return torch.nn.functional.one_hot(bits, 2).float().reshape(-1, *shape, 2)


def taught(
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
