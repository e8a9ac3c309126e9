"""Sessions against queries asked anew: what a rule more costs where the last answer is known.

Cold is the whole query, from plain data to checked answer, by a reasoner of a warm process that
has kept nothing of it. Warm is one rule more from plain data in a session that has answered.
"""

import random
import statistics
from typing import Any, NamedTuple

from benchmarks.common import Row, at_least, at_most, clock, reasoner, variant
from engine.answer import Answer, Status
from engine.domain import flatten
from examples.generators import VARIANTS
from services.query import TermSpec, query_of, spec_of
from services.query.change import Change
from services.reasoner.session import QuerySession

Query = dict[str, Any]
KINDS = {
    "holds": "one more rule that its answer keeps",
    "breaks": "one more rule that its answer breaks",
    "own": "the last rule of its kind, after an answer without it",
}


class Timed(NamedTuple):
    """CPU seconds of one rule more, warm and cold, and whether both say the same."""

    warm: float
    cold: float
    same: bool


def session_rows(seed: int, count: int) -> list[Row]:
    """For each variant and each kind of rule the share of warm in cold, medians of `count`."""
    rows, same, total = [], 0, 0
    for name in VARIANTS:
        rng = random.Random(f"warm {name} {seed}")
        queries = [variant(name, 1000 * seed + k) for k in range(count)]
        for kind, said in KINDS.items():
            if kind == "own" and len(queries[0]["terms"]) < 2:
                continue
            every = [_timed(query, kind, rng) for query in queries]
            same, total = same + sum(one.same for one in every), total + len(every)
            warm, cold = (1000 * statistics.median(x) for x in list(zip(*every, strict=True))[:2])
            rows.append(
                at_most(
                    f"{name}: {said}, in a warm session, as a share of a cold query", warm / cold,
                    0.2, "of the CPU time", note=f"{warm:.3g} ms against {cold:.3g} ms",
                )
            )  # fmt: skip
    title = "status and energy of the session are those of the cold query"
    return [*rows, at_least(f"{title}, {total} cases", 100 * same / total, 100, "%")]


def _timed(query: Query, kind: str, rng: random.Random) -> Timed:
    first, rule = query, {**query["terms"][-1], "name": "one more"}
    if kind == "own":
        first = {**query, "terms": query["terms"][:-1]}
    talk = QuerySession(query_of(first), reasoner().compiler)
    before = talk.answer()
    if kind != "own":
        rule = _rule(query, before, kind == "holds", rng)
    with clock() as warm:
        talk.change(Change(add=(spec_of(TermSpec, rule),)))
        after = talk.answer()
    anew = reasoner()
    with clock() as cold:
        whole = {**first, "terms": [*first["terms"], rule]}
        again = anew.reason(query_of(whole))[0]
    level = (after.energy or 0.0) - (again.energy or 0.0)
    return Timed(warm.cpu, cold.cpu, after.status is again.status and abs(level) < 1e-6)


def _rule(query: Query, answer: Answer, holds: bool, rng: random.Random) -> Query:
    """Clauses over a few sites: each has a literal that is true in the answer, or one forbids
    what stands at a site that evidence leaves open."""
    assert answer.values is not None and answer.status is Status.OPTIMAL
    flat, opened, values = [], [], []
    for name, spec in query["variables"].items():
        shape = tuple(spec.get("shape", ()))
        mine = flatten(answer.values[name], shape)
        given = query.get("evidence", {}).get(name)
        pins = [None] * len(mine) if given is None else flatten(given, shape)
        opened += [len(flat) + k for k, pin in enumerate(pins) if pin is None]
        flat += mine
        values += [spec["values"]] * len(mine)
    sites = rng.sample(opened, min(3, len(opened)))
    if not holds:
        clauses = [[[sites[0], flat[sites[0]], False]]]
    else:
        others = [rng.randrange(len(flat)) for _ in sites]
        clauses = [
            [[s, flat[s], True], [t, rng.choice(values[t]), True]]
            for s, t in zip(sites, others, strict=True)
        ]
    scope = list(query["variables"])
    return {
        "kind": "discrete.clause",
        "scope": scope,
        "name": "one more",
        "params": {"clauses": clauses},
    }
