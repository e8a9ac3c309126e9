"""A timetable: lessons to hours and rooms, without clashes, wishes met as well as may be."""

import itertools
import random
from typing import Any

DAYS = ("Mon", "Tue", "Wed")
HOURS = (1, 2, 3)
ROOMS = ("hall", "lab", "studio")
CLASSES = ("5a", "5b", "6a")
TEACHERS = {"maths": "Noether", "physics": "Curie", "art": "Kahlo", "history": "Herodotus"}
PLACES = [f"{day}{hour}-{room}" for day in DAYS for hour in HOURS for room in ROOMS]
TIMES = [f"{day}{hour}" for day in DAYS for hour in HOURS]
LESSONS = [f"{subject}_{name}" for name in CLASSES for subject in TEACHERS]
LESSONS += [f"maths_{name}_again" for name in CLASSES]


def timetable(seed: int) -> dict[str, Any]:
    """Rules: no teacher, class or room twice at a time; physics in the lab; some hours are taken.
    Wishes: teachers like some days less, early is better. A variable for each lesson."""
    rng = random.Random(f"timetable {seed}")
    busy = rng.sample(list(itertools.product(TEACHERS, TIMES)), 4)
    early = [(0, 1, 3)[int(place[3]) - 1] for place in PLACES]
    terms = [
        _rule("all_different", "one lesson a room", lines=[list(range(len(LESSONS)))]),
        _rule("at_most_one", "one lesson a class", groups=_never_twice(CLASSES)),
        _rule("at_most_one", "one lesson a teacher", groups=_never_twice(TEACHERS)),
        _rule(
            "exactly_one",
            "physics in the lab",
            groups=[[[k, p] for p in PLACES if p.endswith("lab")] for k in _of("physics")],
        ),
        _rule(
            "clause",
            "hours that are taken",
            clauses=[[[k, p, False]] for s, time in busy for k in _of(s) for p in _during(time)],
        ),
        _wish("early is better", 0.25, range(len(LESSONS)), early),
    ]
    for subject, teacher in TEACHERS.items():
        day = rng.choice(DAYS)
        costs = [1 if place.startswith(day) else 0 for place in PLACES]
        terms.append(_wish(f"{teacher} likes no {day}", 0.5, _of(subject), costs))
    free = [time for time in TIMES if time not in {taken for _, taken in busy}]
    return {
        "variables": {lesson: {"values": PLACES} for lesson in LESSONS},
        "terms": terms,
        "evidence": {LESSONS[0]: rng.choice(_during(rng.choice(free)))},
    }


def _of(word: str) -> list[int]:
    """The lessons of a class or of a subject."""
    return [k for k, lesson in enumerate(LESSONS) if word in lesson.split("_")]


def _during(time: str) -> list[str]:
    """The places at one time."""
    return [place for place in PLACES if place.startswith(f"{time}-")]


def _never_twice(words: Any) -> list[list[list[Any]]]:
    """For each class or subject and each time: its lessons then."""
    return [[[k, p] for k in _of(word) for p in _during(t)] for word in words for t in TIMES]


def _rule(kind: str, name: str, **params: Any) -> dict[str, Any]:
    return {"kind": f"discrete.{kind}", "scope": LESSONS, "name": name, "params": params}


def _wish(name: str, weight: float, lessons: Any, costs: list[int]) -> dict[str, Any]:
    return {
        "kind": "discrete.table",
        "scope": LESSONS,
        "name": name,
        "required": False,
        "weight": weight,
        "params": {"sites": [[k] for k in lessons], "costs": costs},
    }
