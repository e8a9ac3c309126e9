"""Weighted timetables within short limits: what is said of an answer that came too early."""

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from benchmarks.common import Row, at_least, at_most, percentile, reasoner, variant
from engine.answer import Answer, Flag, Status
from services.query import query_of
from tests.support.oracle import Judge, entries

SECONDS = (0.002, 0.01, 0.05)


def limit_rows(seed: int, count: int) -> list[Row]:
    """Status, energy and bound against CP-SAT; how long after its limit an answer came."""
    good, late, statuses = 0, [], Counter[str]()
    reasoner().reason(query_of(variant("timetable", seed)))  # compiles the kernels, or loads them
    for k in range(count):
        query = variant("timetable", 1000 * seed + k)
        _, least, _ = Judge(query).solve()
        assert least is not None
        for seconds in SECONDS:
            asked = query_of({**query, "budget": {"seconds": seconds}})
            one = reasoner()
            began = time.perf_counter()
            answer = one.reason(asked)[0]
            late.append(time.perf_counter() - began - seconds)
            statuses[answer.status.value] += 1
            good += true(query, answer, least)
    told = ", ".join(f"{n} {status}" for status, n in sorted(statuses.items()))
    total = count * len(SECONDS)
    title = f"timetables within 2, 10 and 50 ms, {total} answers"
    return [
        at_least(
            f"{title}: status, energy and bound true, by CP-SAT", 100 * good / total, 100, "%",
            note=told,
        ),
        at_most(
            f"{title}: median past the limit, compiling and checking included",
            1000 * percentile(late, 0.5), 50, "ms", note=f"slowest {1000 * max(late):.3g} ms",
        ),
    ]  # fmt: skip


def true(query: Mapping[str, Any], answer: Answer, least: float) -> bool:
    """Whether what an answer claims is so: the bound lies at or below the least energy; values
    keep rules and evidence and cost what they should; OPTIMAL is least, and all else is late."""
    if answer.bound is not None and answer.bound > least + 1e-6:
        return False
    if answer.status is Status.UNSATISFIED:
        return Flag.DEADLINE in answer.flags
    if answer.status not in (Status.OPTIMAL, Status.SATISFIED) or answer.energy is None:
        return False
    assert answer.values is not None
    holds, cost, _ = Judge({**query, "evidence": answer.values}).solve()
    kept = set(entries(query.get("evidence", {}))) <= set(entries(answer.values))
    if not (holds and kept) or cost is None or abs(cost - answer.energy) > 1e-6:
        return False
    if answer.status is Status.SATISFIED:
        return Flag.DEADLINE in answer.flags
    return abs(cost - least) <= 1e-6
