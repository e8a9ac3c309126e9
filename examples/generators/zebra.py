"""Who owns the zebra? Five houses in a row, and clues about who lives where with what."""

import itertools
import random
from collections.abc import Iterable
from typing import Any

from examples.generators.settled import problem_of, settled

HOUSES = (1, 2, 3, 4, 5)
LISTS = {
    "colours": ("red", "green", "ivory", "yellow", "blue"),
    "people": ("Englishman", "Spaniard", "Ukrainian", "Norwegian", "Japanese"),
    "pets": ("dog", "snails", "fox", "horse", "zebra"),
    "drinks": ("coffee", "tea", "milk", "juice", "water"),
    "games": ("chess", "go", "cards", "dominoes", "darts"),
}
EINSTEIN = (  # the classical clues, with games in place of tobacco
    ("same", "Englishman", "red"),
    ("same", "Spaniard", "dog"),
    ("same", "coffee", "green"),
    ("same", "Ukrainian", "tea"),
    ("left of", "ivory", "green"),
    ("same", "chess", "snails"),
    ("same", "go", "yellow"),
    ("at", "milk", 3),
    ("at", "Norwegian", 1),
    ("next to", "cards", "fox"),
    ("next to", "go", "horse"),
    ("same", "dominoes", "juice"),
    ("same", "Japanese", "darts"),
    ("next to", "Norwegian", "blue"),
)
Clue = tuple[str, str, Any]


def einstein() -> dict[str, Any]:
    """The classical puzzle: the Norwegian drinks water and the Japanese owns the zebra."""
    return query_of_clues(EINSTEIN)


def zebra(seed: int) -> dict[str, Any]:
    """Other clues about another street; leaving out any one of them would leave a choice."""
    for attempt in itertools.count():
        rng = random.Random(f"zebra {seed} {attempt}")
        clues = rng.sample(_true_clues(_street(rng), rng), 40)
        if _one_answer(clues):
            return query_of_clues(_few(clues, rng))
    raise AssertionError


def query_of_clues(clues: Iterable[Clue]) -> dict[str, Any]:
    """One variable for each name: the number of its house; a clue is a term."""
    names = [name for every in LISTS.values() for name in every]
    terms = [
        {
            "kind": "discrete.all_different",
            "scope": list(every),
            "name": f"different houses: {kind}",
            "params": {"lines": [[0, 1, 2, 3, 4]]},
        }
        for kind, every in LISTS.items()
    ]
    evidence = {}
    for clue, a, b in clues:
        if clue == "at":
            evidence[a] = b
        else:
            terms.append(_term(clue, a, b))
    variables = {name: {"values": list(HOUSES)} for name in names}
    return {"variables": variables, "terms": terms, "evidence": evidence}


def _term(clue: str, a: str, b: str) -> dict[str, Any]:
    said = {"same": f"{a} = {b}", "left of": f"{a} left of {b}", "next to": f"{a} next to {b}"}
    term: dict[str, Any] = {"scope": [a, b], "name": said[clue]}
    if clue == "same":
        return {"kind": "discrete.equal", **term, "params": {"pairs": [[0, 1]]}}
    good = [
        [x, y, 0]
        for x, y in itertools.product(HOUSES, HOUSES)
        if y - x == 1 or (clue == "next to" and x - y == 1)
    ]
    params = {"sites": [0, 1], "default": None, "tuples": good}
    return {"kind": "discrete.table", **term, "required": True, "params": params}


def _street(rng: random.Random) -> dict[str, int]:
    """The house of each name."""
    return {
        name: place
        for names in LISTS.values()
        for name, place in zip(names, rng.sample(HOUSES, 5), strict=True)
    }


def _true_clues(house: dict[str, int], rng: random.Random) -> list[Clue]:
    """Everything that may be said of a street, each pair of names once."""
    said: list[Clue] = []
    for a, b in itertools.combinations(house, 2):
        if house[a] == house[b]:
            said.append(("same", a, b))
        elif house[b] - house[a] == 1:
            said.append((rng.choice(("left of", "next to")), a, b))
        elif house[a] - house[b] == 1:
            said.append((rng.choice(("left of", "next to")), b, a))
    first = rng.choice([name for name in house if house[name] in (1, 3)])
    return [*said, ("at", first, house[first])]


def _one_answer(clues: list[Clue]) -> bool:
    query = query_of_clues(clues)
    return bool(settled(problem_of(query), [query["evidence"]], unique=True)[0].unique)


def _few(clues: list[Clue], rng: random.Random) -> list[Clue]:
    """Clues left out one by one while there is one answer."""
    for clue in rng.sample(clues, len(clues)):
        fewer = [c for c in clues if c != clue]
        if _one_answer(fewer):
            clues = fewer
    return clues
