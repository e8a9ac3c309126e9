"""Proofs of refutation: a checker by reverse unit propagation, and the DRAT text format.

Independent of the search in `clauses`: plain Python, slow, meant for small formulas and tests.
Source: Goldberg and Novikov, "Verification of proofs of unsatisfiability for CNF formulas",
DATE 2003; Wetzler, Heule and Hunt, "DRAT-trim", SAT 2014 (format).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence


def steps(log: Sequence[int]) -> Iterator[tuple[bool, list[int]]]:
    """(added or deleted, literals) of every entry of `clauses.proof`."""
    log = [int(x) for x in log]
    k = 0
    while k < len(log):
        size = abs(log[k]) - 1
        yield log[k] > 0, log[k + 1 : k + 1 + size]
        k += 1 + size


def _fails(clauses: Iterable[tuple[int, ...]], true: set[int]) -> bool:
    """Whether unit propagation from the literals `true` falsifies a clause."""
    clauses = list(clauses)
    moved = True
    while moved:
        moved = False
        rest = []
        for clause in clauses:
            if any(o in true for o in clause):
                continue
            free = [o for o in clause if o ^ 1 not in true]
            if not free:
                return True
            if len(free) == 1:
                true.add(free[0])
                moved = True
            else:
                rest.append(clause)
        clauses = rest
    return False


def check_rup(clauses: Iterable[Sequence[int]], log: Sequence[int]) -> bool:
    """Whether every added clause of the log follows by unit propagation from the clauses before it,
    and the log ends in the empty clause. Deleting a clause that is not there is ignored."""
    known = Counter(tuple(sorted({int(o) for o in clause})) for clause in clauses)
    for added, literals in steps(log):
        clause = tuple(sorted(set(literals)))
        if not added:
            if known[clause] > 0:
                known[clause] -= 1
            continue
        if any(o ^ 1 in clause for o in clause):
            continue  # a tautology
        if not _fails(+known, {o ^ 1 for o in clause}):
            return False
        if not clause:
            return True
        known[clause] += 1
    return False


def drat_text(log: Sequence[int]) -> str:
    """The log for a DRAT checker: variable v is number v + 1."""
    lines = []
    for added, literals in steps(log):
        numbers = [str(-(o >> 1) - 1 if o & 1 else (o >> 1) + 1) for o in literals]
        lines.append(" ".join(([] if added else ["d"]) + numbers + ["0"]))
    return "".join(line + "\n" for line in lines)
