"""The run over many seeds through a door, and what was found."""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.support.fuzz.checks import Complaint
from tests.support.fuzz.doors import PLAIN
from tests.support.fuzz.draw import Case, generate
from tests.support.fuzz.shrink import shown, shrunk

APART = 10**9  # seeds from one draw of a case to the next
Ask = Callable[[Case, str], list[Complaint]]  # a case and a door: what is wrong


@dataclass
class Tally:
    """What a run came to."""

    door: str
    queries: int = 0
    answers: int = 0  # rows of them
    wrong: list[tuple[Case, Complaint]] = field(default_factory=list)  # the first of each query
    seconds: float = 0.0

    @property
    def kinds(self) -> Counter[str]:
        """How many queries drew each class of complaint."""
        return Counter(complaint.kind for _, complaint in self.wrong)


def case_of(seed: int, door: str) -> Case:
    """The case of a seed for a door: a file cannot hold what only Python can write, the command
    knows no odd kinds, and callers meet in one batch most where an energy is opaque. One in four
    that weighs has costs of all digits."""
    if door == "crowd":
        return generate(seed, "opaque" if seed % 2 else "explicit")
    if door == "weighted":
        family = "long" if seed // 4 % 4 == 3 else "explicit"
        drawn = (generate(seed + k * APART, family) for k in itertools.count())
        return next(case for case in drawn if case.weighs)
    case = generate(seed)
    unfit = (case.python and door in PLAIN) or (case.odd and door == "command")
    return generate(seed, "explicit") if unfit else case


def fuzz(
    door: str,
    seeds: Iterable[int],
    ask: Ask,
    *,
    until: float = float("inf"),
    enough: int = 10**9,
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
        found = ask(case, door)
        tally.queries += 1
        tally.answers += len(case.rows)
        if found:
            tally.wrong.append((case, found[0]))
    tally.seconds = time.monotonic() - began
    return tally


def replay(seed: int, door: str, ask: Ask) -> str:
    """The case of a seed made small, and what is wrong with it, as text."""
    case = case_of(seed, door)
    found = ask(case, door)
    return reported(case, door, found[0], ask) if found else f"seed {seed}, door {door}: right"


def reported(case: Case, door: str, complaint: Complaint, ask: Ask, seconds: float = 30.0) -> str:
    """A case as text, made small while the same class of complaint stays."""
    last = [complaint]

    def fails(smaller: Case) -> bool:
        same = [c for c in ask(smaller, door) if c.kind == complaint.kind]
        last[:] = same[:1] or last
        return bool(same)

    small = shrunk(case, fails, seconds)
    return shown(small, door, last[0])
