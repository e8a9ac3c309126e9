"""The run over many seeds, which doors they go through, and what was found."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from benchmarks._fuzz.checks import Complaint
from benchmarks._fuzz.doors import House, complaints
from benchmarks._fuzz.draw import Case, generate
from benchmarks._fuzz.shrink import shown, shrunk

FAMILIES = {"crowd": "opaque"}
UNSUITED = frozenset({"minimizers", "grpc", "hosted", "crowd", "command", "reasoner", "score"})


@dataclass
class Tally:
    """What a run came to."""

    door: str
    queries: int = 0  # cases
    answers: int = 0  # rows of them
    wrong: list[tuple[Case, Complaint]] = field(default_factory=list)  # the first of each case
    seconds: float = 0.0

    def count(self, *kinds: str) -> int:
        return sum(complaint.kind in kinds for _, complaint in self.wrong)

    @property
    def kinds(self) -> Counter[str]:
        return Counter(complaint.kind for _, complaint in self.wrong)


def case_of(seed: int, door: str) -> Case:
    """The case of a seed for a door; one that only Python can write is drawn anew for others."""
    case = generate(seed)
    if case.python and door not in ("engine", "session"):
        return generate(seed, "explicit")
    if door == "crowd":
        return generate(seed, "opaque" if seed % 2 else "explicit")
    return case


def fuzz(
    door: str,
    seeds: Iterable[int],
    house: House,
    *,
    until: float = float("inf"),
    enough: int = 10**9,
    tell: Callable[[str], None] | None = None,
) -> Tally:
    """Sends the cases of seeds through a door, until it is late or enough is wrong.

    until: by time.monotonic().
    """
    tally = Tally(door)
    began = time.monotonic()
    for seed in seeds:
        if time.monotonic() > until or len(tally.wrong) >= enough:
            break
        case = case_of(seed, door)
        found = complaints(case, door, house)
        tally.queries += 1
        tally.answers += len(case.rows)
        if found:
            tally.wrong.append((case, found[0]))
            if tell is not None:
                tell(shown(case, door, found[0]))
    tally.seconds = time.monotonic() - began
    return tally


def replay(seed: int, door: str, house: House | None = None) -> list[Complaint]:
    """What is wrong with the case of a seed."""
    own = house or House()
    try:
        return complaints(case_of(seed, door), door, own)
    finally:
        if house is None:
            own.close()


def smallest(case: Case, door: str, complaint: Complaint, house: House, seconds: float = 30.0) -> Case:
    """The case made small while the same kind of complaint stays."""

    def fails(smaller: Case) -> bool:
        return any(c.kind == complaint.kind for c in complaints(smaller, door, house))

    return replace(shrunk(case, fails, seconds))
