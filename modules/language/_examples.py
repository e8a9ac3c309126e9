"""Small texts at random, for the examples on which kinds are held to their laws."""

import random
from collections.abc import Sequence

from engine.domain import Finite, Variable
from modules.shared.examples import values_of


def text_of(rng: random.Random, scope: Sequence[Variable] = ()) -> tuple[list[Variable], list[str]]:
    """Up to four sites in one or two variables, and what their values spell; over a scope, its
    first variable."""
    if scope:
        own = [scope[0]]
        return own, list(map(str, values_of(own)[0]))
    letters = rng.sample(["a", "b", " ", "", "ab", 1], rng.randint(1, 3))
    shapes = rng.choice([((1,),), ((2,),), ((3,),), ((2, 2),), ((2,), (1,))])
    made = [Variable(f"v{k}", Finite(tuple(letters), shape)) for k, shape in enumerate(shapes)]
    return made, list(map(str, letters))


def words_of(rng: random.Random, letters: Sequence[str], most: int = 2) -> list[str]:
    """One to three words of such letters, none of them empty."""
    some = [t for t in letters if t] or ["a"]
    return ["".join(rng.choices(some, k=rng.randint(1, most))) for _ in range(rng.randint(1, 3))]
