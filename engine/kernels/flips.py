"""Local search over clauses, some at a price: flips of the variable that gains most.

Every clause that fails weighs something, and a flip gains what it mends less what it breaks. Where
none gains, the clauses that fail weigh more from now on, those at a price by shares of it up to a
limit, and the best variable of one of them, now and then any, is flipped whatever it breaks.

Source: Lei and Cai, "Solving (weighted) partial MaxSAT by dynamic local search for SAT", IJCAI 2018
(SATLike).

The result is a function of the arguments. Nothing here reads a clock.
"""

from typing import NamedTuple

import numpy as np

from engine.kernels.fused import fused, put

TRIES = 16  # variables that gain, of which the best is flipped
SHARES = 16  # what a clause of the usual price weighs at first
RULE = 48  # what a clause that must hold weighs at first
NOISE = 16  # one in so many flips that gain nothing is of any variable of the clause
LIMIT = 500  # times that weight, which a clause at a price comes to
RULES, PRICED, GAINS, RANDOM = range(4)


class Clauses(NamedTuple):
    """Clauses of literals `2 * variable + (1 if negated else 0)`, no variable twice in one."""

    variables: int
    ptr: np.ndarray  # int64 (C + 1)  row i is lit[ptr[i]:ptr[i + 1]]
    lit: np.ndarray  # int64
    price: np.ndarray  # int64 (C)  paid where it fails; 0: it must hold


@fused(inline="always")
def _listed(row, at, ints, which, k):
    """Puts k into a list."""
    if at[k] < 0:
        at[k] = ints[which]
        row[ints[which]] = k
        ints[which] += 1


@fused(inline="always")
def _unlisted(row, at, ints, which, k):
    """Takes k out of a list, the last to its place."""
    if at[k] >= 0:
        ints[which] -= 1
        last = row[ints[which]]
        row[at[k]] = last
        at[last] = at[k]
        at[k] = -1


@fused(inline="always")
def _draw(ints, n):
    """A number below n (a linear congruence, Knuth's MMIX)."""
    ints[RANDOM] = ints[RANDOM] * 6364136223846793005 + 1442695040888963407
    return ((ints[RANDOM] >> 33) & 0x7FFFFFFF) % n


@fused()
def _weigh(ptr, lit, c, more, score, gaining, gaining_at, ints):
    """All variables of a clause gain so much more, or less, by a flip."""
    for k in range(ptr[c], ptr[c + 1]):
        v = lit[k] >> 1
        score[v] += more
        if score[v] > 0:
            _listed(gaining, gaining_at, ints, GAINS, v)
        else:
            _unlisted(gaining, gaining_at, ints, GAINS, v)


@fused()
def _flips(ptr, lit, price, seen_ptr, seen, step, x, best, cost, goal, flips, seed):
    """Flips from x on; the best state that keeps all rules goes to `best`. -> its cost, `cost`
    where none is cheaper"""
    c_count, v_count = len(ptr) - 1, len(x)
    ints = np.zeros(4, np.int64)
    ints[RANDOM] = seed
    weight, true, support = step.copy(), np.zeros(c_count, np.int64), np.zeros(c_count, np.int64)
    failing, failing_at = np.zeros((2, c_count), np.int64), np.full(c_count, -1, np.int64)
    gaining, gaining_at = np.zeros(v_count, np.int64), np.full(v_count, -1, np.int64)
    score, turn = np.zeros(v_count, np.int64), np.zeros(v_count, np.int64)
    paid = 0
    for c in range(c_count):
        for k in range(ptr[c], ptr[c + 1]):
            if x[lit[k] >> 1] != (lit[k] & 1):
                true[c] += 1
                support[c] += lit[k] >> 1
        if true[c] == 0:
            which = PRICED if price[c] else RULES
            _listed(failing[which], failing_at, ints, which, c)
            paid += price[c]
            _weigh(ptr, lit, c, weight[c], score, gaining, gaining_at, ints)
        elif true[c] == 1:
            score[support[c]] -= weight[c]
    for v in range(v_count):
        if score[v] > 0:
            _listed(gaining, gaining_at, ints, GAINS, v)
        else:
            _unlisted(gaining, gaining_at, ints, GAINS, v)
    for done in range(flips + 1):
        if ints[RULES] == 0 and paid < cost:
            cost = paid
            put(best, x)
            if cost <= goal:
                break
        if ints[RULES] + ints[PRICED] == 0 or done == flips:
            break
        chosen = -1
        if ints[GAINS]:
            for t in range(min(TRIES, ints[GAINS])):
                v = gaining[t if ints[GAINS] <= TRIES else _draw(ints, ints[GAINS])]
                if (
                    chosen < 0
                    or score[v] > score[chosen]
                    or (score[v] == score[chosen] and turn[v] < turn[chosen])
                ):
                    chosen = v
        else:
            for which in range(2):
                for k in range(ints[which]):
                    c = failing[which, k]
                    if which == RULES or weight[c] < LIMIT * step[c]:
                        weight[c] += step[c]
                        _weigh(ptr, lit, c, step[c], score, gaining, gaining_at, ints)
            which = RULES if ints[RULES] else PRICED
            c = failing[which, _draw(ints, ints[which])]
            size = ptr[c + 1] - ptr[c]
            if size == 0:
                continue
            if _draw(ints, NOISE) == 0:
                chosen = lit[ptr[c] + _draw(ints, size)] >> 1
            else:
                for k in range(ptr[c], ptr[c + 1]):
                    v = lit[k] >> 1
                    if (
                        chosen < 0
                        or score[v] > score[chosen]
                        or (score[v] == score[chosen] and turn[v] < turn[chosen])
                    ):
                        chosen = v
        turn[chosen] = done + 1
        for side in range(2):
            for k in range(seen_ptr[2 * chosen + side], seen_ptr[2 * chosen + side + 1]):
                c = seen[k]
                w = weight[c]
                if x[chosen] == side:  # the literal becomes true
                    true[c] += 1
                    support[c] += chosen
                    if true[c] == 1:
                        which = PRICED if price[c] else RULES
                        _unlisted(failing[which], failing_at, ints, which, c)
                        paid -= price[c]
                        _weigh(ptr, lit, c, -w, score, gaining, gaining_at, ints)
                        score[chosen] -= w
                    elif true[c] == 2:
                        u = support[c] - chosen
                        score[u] += w
                        if score[u] > 0:
                            _listed(gaining, gaining_at, ints, GAINS, u)
                else:
                    true[c] -= 1
                    support[c] -= chosen
                    if true[c] == 0:
                        which = PRICED if price[c] else RULES
                        _listed(failing[which], failing_at, ints, which, c)
                        paid += price[c]
                        _weigh(ptr, lit, c, w, score, gaining, gaining_at, ints)
                        score[chosen] += w
                    elif true[c] == 1:
                        u = support[c]
                        score[u] -= w
                        if score[u] <= 0:
                            _unlisted(gaining, gaining_at, ints, GAINS, u)
        x[chosen] ^= 1
        if score[chosen] > 0:
            _listed(gaining, gaining_at, ints, GAINS, chosen)
        else:
            _unlisted(gaining, gaining_at, ints, GAINS, chosen)
    return cost


def local_search(
    clauses: Clauses, x: np.ndarray, cost: int, goal: int, flips: int, seed: int = 0
) -> tuple[int, np.ndarray | None]:
    """What the cheapest state costs that keeps all rules and was met in so many flips, and that
    state; none that costs less than `cost` is met: `cost`, None. It ends where one costs no more
    than `goal`. x: (V,) uint8, where it begins."""
    priced = clauses.price > 0
    usual = max(1.0, float(clauses.price[priced].mean())) if priced.any() else 1.0
    step = np.full(len(clauses.price), RULE, np.int64)
    step[priced] = np.maximum(1, np.rint(SHARES * (clauses.price[priced] / usual)))
    order = np.argsort(clauses.lit, kind="stable")
    owner = np.repeat(np.arange(len(clauses.price)), np.diff(clauses.ptr))
    seen_ptr = np.zeros(2 * clauses.variables + 1, np.int64)
    np.cumsum(np.bincount(clauses.lit, minlength=2 * clauses.variables), out=seen_ptr[1:])
    state, best = x.astype(np.uint8), np.zeros(clauses.variables, np.uint8)
    found = _flips(
        clauses.ptr, clauses.lit, clauses.price, seen_ptr, owner[order].astype(np.int64), step,
        state, best, cost, goal, flips, seed,
    )  # fmt: skip
    return int(found), best if found < cost else None
