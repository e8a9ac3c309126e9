"""Complete search by clause learning over clauses, at-most-one groups, linear sums and costs.

A literal is `2 * variable + (1 if negated else 0)`; `literal ^ 1` is its negation. The search
decides literals, propagates to the fixpoint, and turns every conflict into a learned clause at its
first unique implication point. Groups, sums and the cost bound propagate natively and explain
themselves only when a conflict asks, so none of them is expanded into clauses.

Sources: Marques-Silva and Sakallah, "GRASP", IEEE Trans. Computers 1999 (learning); Moskewicz et
al., "Chaff", DAC 2001 (two watched literals, activities); Een and Sorensson, "An extensible
SAT-solver", SAT 2003 (frame, assumptions, minimization); Audemard and Simon, "Predicting learnt
clauses quality", IJCAI 2009 (number of levels in a clause); Biere, Froehlich, "Evaluating CDCL
restart schemes", POS 2015; Gent, "Optimal implementation of watched literals", JAIR 2013.

The result is a function of (formula, seed, sequence of calls). Nothing here reads a clock.

Taking an array out of the state counts a reference with an atomic instruction, so what runs often
takes its arrays once and loops over them; a function of one variable that was handed the whole
state cost half of the time. A call that is handed arrays, inlined or not, may count each as well:
appending to watch lists and finding places in chains without such calls is a tenth of the ruler of
8 marks. Most of what is left is waiting for memory: clauses and lists that the next steps will read
are asked for ahead (a tenth of the time of 25 x 25 Sudokus).

Whole numbers that a loop passes to another are `np.int64` from the start: a constant has a type of
its own, for which all that is called with it would be compiled once more.

Tried and rejected: shortening learned clauses by unit propagation (Luo et al., IJCAI 2017), with a
fifth of the propagations: as many conflicts on 25 x 25 Sudokus (-5 % over six boards), no gain.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from engine.kernels.fused import fused, prefetch

LIMIT = 0  # the budget is spent; search again to go on
SATISFIED = 1  # `model(state)` satisfies everything and costs less than `upper`
REFUTED = 2  # impossible under the assumptions in `core(state)`
FULL = 3  # internal: some storage must grow


class Formula(NamedTuple):
    """What must hold, and what it costs; C clauses, G groups, S sums, K cost groups.

    Each family is a list of rows: row i is `lit[ptr[i]:ptr[i + 1]]`. Made by `formula`.
    """

    variables: int
    clause_ptr: np.ndarray  # int64 (C + 1)  at least one literal is true
    clause_lit: np.ndarray  # int32
    group_ptr: np.ndarray  # int64 (G + 1)  at most one literal is true
    group_lit: np.ndarray  # int32
    sum_ptr: np.ndarray  # int64 (S + 1)  coefficients of the true literals total <= bound
    sum_lit: np.ndarray  # int32
    sum_coef: np.ndarray  # int64          > 0
    sum_bound: np.ndarray  # int64 (S)
    cost_ptr: np.ndarray  # int64 (K + 1)  other constraints must make exactly one literal true
    cost_lit: np.ndarray  # int32
    cost: (
        np.ndarray
    )  # int64          the objective adds those of the true literals; with any choice
    # of one literal a group it stays within 2^61


class State(NamedTuple):
    """A search between two calls: always at the root level; V variables, L = 2V literals.

    The first block is static and shared by copies; the rest changes in place.
    """

    in_group_ptr: np.ndarray  # uint32 (L + 1)  groups of each literal
    in_group: np.ndarray  # uint32
    group_ptr: np.ndarray  # uint32 (G + 1)
    group_lit: np.ndarray  # uint32
    in_sum_ptr: np.ndarray  # uint32 (L + 1)  sums of each literal
    in_sum: np.ndarray  # uint32
    in_sum_coef: np.ndarray  # int64
    sum_ptr: np.ndarray  # uint32 (S + 1)  in chains, those that add most first
    sum_lit: np.ndarray  # uint32         where one is true, all of its chain before it are
    sum_reach: np.ndarray  # int64         what it adds, together with those
    sum_end: np.ndarray  # uint32          where its chain ends
    sum_of: np.ndarray  # uint32           its sum
    sum_bound: np.ndarray  # int64 (S)
    in_cost_ptr: np.ndarray  # uint32 (L + 1)  cost groups of each literal
    in_cost: np.ndarray  # uint32
    cost_ptr: np.ndarray  # uint32 (K + 1)  cheapest first
    cost_lit: np.ndarray  # uint32
    cost: np.ndarray  # int64

    value: np.ndarray  # int8 (L)       1 true, -1 false, 0 open
    level: np.ndarray  # int32 (V)
    place: np.ndarray  # int32 (V)      position on the trail
    reason: np.ndarray  # int64 (V)     payload * 4 + kind; NONE for a decision
    trail: np.ndarray  # uint32 (V)
    trail_at: np.ndarray  # int32 (3V + 2)  where each level begins on the trail
    slack: np.ndarray  # int64 (S)      bound minus the counted true coefficients
    touched: np.ndarray  # uint32 (S)    sums to look at, while they are
    waits: np.ndarray  # uint8 (S)      whether they are among them
    near: np.ndarray  # uint32 (., 2)   where the true literals of a chain may end, and those fixed
    span: np.ndarray  # int32 (K, 2)    first literal not false; all from the second on are false
    undo: np.ndarray  # int32 (., 4)    trail position, cost group and its former span
    undo_bound: np.ndarray  # int64 (.)    the former lower bound
    activity: np.ndarray  # float64 (V)
    heap: np.ndarray  # int32 (V)       open variables, most active first
    heap_at: np.ndarray  # int32 (V)    -1 where not in the heap
    phase: np.ndarray  # uint8 (3, V)   last, target and best phases
    mark: np.ndarray  # uint8 (L)
    scratch: np.ndarray  # uint32 (3, V + 1)  learned literals; marked variables; a stack
    stamp: np.ndarray  # int64 (3V + 2)
    arena: (
        np.ndarray
    )  # uint32         clauses: size, levels (0: given), used, search start, literals
    watch: np.ndarray  # int64          clause << 33 | binary << 32 | another of its literals
    watch_at: np.ndarray  # int64 (L, 3)  start, size, capacity of each literal's watch list
    log: np.ndarray  # int32            +(size + 1) or -(size + 1), then the literals
    model: np.ndarray  # uint8 (V)
    core: np.ndarray  # int32 (L)
    shared: np.ndarray  # uint32          clauses for others: size, levels, literals
    ints: np.ndarray  # int64 (40)
    floats: np.ndarray  # float64 (16)


STATIC = 18  # how many leading fields of State never change

# ints
TRAIL, HEAD, COUNTED, LEVEL, ARENA, WATCH, WIDEST, LOG = range(8)
HEAP, LEARNED, LEVELS, CONFLICTS, RANDOM, REDUCE_AT, REDUCTIONS, FALSE = range(8, 16)
CORE, STAMP, UNDO, LOGGING, DIRTY, RESTART_AT, STABLE, MODE_AT = range(16, 24)
LUBY_U, LUBY_V, TARGET, BEST, REPHASE_AT, REPHASES, DECISIONS, PROPAGATIONS = range(24, 32)
SHARED, SHARE, BOUND, MUST_BEAT, LOOKS = range(32, 37)
# floats
INCREMENT, FAST, SLOW, DECAY, P0, P1, P2, P3, P4, P5 = range(10)

SETTINGS = dict(
    first=[2000, 1000, 1000, 2], decay=0.92, phase=1, p=[1024, 0.95, 600, 1000, 1.1, 1000]
)
NONE = -1
CLAUSE, LITERAL, SUM, COST = range(4)  # kinds of reasons
HEADER = 4  # words before a clause's literals
MASK = (1 << 32) - 1
BINARY = 1 << 32
REF = (1 << 30) - 1
FAR = 1 << 31
NEVER = 1 << 62  # an upper cost that any solution beats
TIER = 6  # clauses of up to so many levels stay longer
MINIMIZED = 2_000_000  # looks that may shorten one learned clause
DECIDED = 500  # looks that a decision is worth: it is drawn from a heap, and goes back there
AHEAD = 3  # clauses asked for before their turn
SHARED_WORDS = 1 << 15


@fused()
def _push(watch, watch_at, ints, literal, entry):
    """Append to the list visited when `literal` becomes true. -> False where storage is full"""
    room = watch_at[literal, 1] < watch_at[literal, 2] or _widen(watch, watch_at, ints, literal)
    if room:
        size = watch_at[literal, 1]
        watch[watch_at[literal, 0] + size] = entry
        watch_at[literal, 1] = size + 1
    return room


@fused()
def _widen(watch, watch_at, ints, literal):
    """Move a full list to where it has room for more. -> False where there is none"""
    start, size = watch_at[literal, 0], watch_at[literal, 1]
    wanted = 2 * size + 4
    fresh = ints[WATCH]
    fits = fresh + wanted <= len(watch)
    if fits:
        for k in range(size):
            watch[fresh + k] = watch[start + k]
        watch_at[literal, 0] = fresh
        watch_at[literal, 2] = wanted
        ints[WATCH] = fresh + wanted
        ints[WIDEST] = max(ints[WIDEST], wanted)
    return fits


@fused(inline="always")
def _assign(value, level, place, reason, trail, n, literal, lev, why):
    value[literal] = 1
    value[literal ^ 1] = -1
    v = literal >> 1
    level[v] = lev
    place[v] = n
    reason[v] = why
    trail[n] = literal


@fused()
def _propagate(st):
    """To the fixpoint. -> a conflict's reason, NONE, or -2 where watch storage is full

    Clauses and groups come first; sums and costs, which count, wait until those are done. A
    conflict without a clause is written behind the arena's end, where it looks like one.
    """
    value, level, place, reason, trail = st.value, st.level, st.place, st.reason, st.trail
    arena, watch, watch_at, ints = st.arena, st.watch, st.watch_at, st.ints
    in_group_ptr, in_group = st.in_group_ptr, st.in_group
    group_ptr, group_lit = st.group_ptr, st.group_lit
    in_sum_ptr, in_sum, in_sum_coef = st.in_sum_ptr, st.in_sum, st.in_sum_coef
    sum_ptr, sum_lit, sum_reach, sum_end = st.sum_ptr, st.sum_lit, st.sum_reach, st.sum_end
    sum_bound, slack, near = st.sum_bound, st.slack, st.near
    touched, waits, in_cost_ptr = st.touched, st.waits, st.in_cost_ptr
    sums, costs = len(sum_lit) > 0, len(st.cost_lit) > 0
    n, head, lev = ints[TRAIL], ints[HEAD], ints[LEVEL]
    began = head
    seen = np.int64(0)
    conflict = NONE
    while True:
        while head < n and conflict == NONE:
            p = np.int64(trail[head])
            for k in range(in_group_ptr[p], in_group_ptr[p + 1]):
                g = in_group[k]
                seen += np.int64(group_ptr[g + 1]) - np.int64(group_ptr[g])
                for m in range(group_ptr[g], group_ptr[g + 1]):
                    o = np.int64(group_lit[m])
                    if value[o] >= 0 and o != p:
                        if value[o] > 0:
                            conflict = ints[ARENA] * 4
                            arena[ints[ARENA]] = 2
                            arena[ints[ARENA] + 1] = 0
                            arena[ints[ARENA] + HEADER] = p ^ 1
                            arena[ints[ARENA] + HEADER + 1] = o ^ 1
                            break
                        _assign(value, level, place, reason, trail, n, o ^ 1, lev, p * 4 + LITERAL)
                        n += 1
                if conflict != NONE:
                    break
            if conflict != NONE:
                break
            if head + 2 < n:
                prefetch(watch, watch_at[np.int64(trail[head + 2]), 0])
            i = j = watch_at[p, 0]
            end = i + watch_at[p, 1]
            seen += 1 + watch_at[p, 1]
            while i < end:
                w = watch[i]
                i += 1
                if i + AHEAD < end:
                    prefetch(arena, (watch[i + AHEAD] >> 33) & REF)
                b = w & MASK
                vb = value[b]
                if vb > 0:
                    watch[j] = w
                    j += 1
                    continue
                ref = (w >> 33) & REF
                if w & BINARY:
                    watch[j] = w
                    j += 1
                    if vb < 0:
                        conflict = ref * 4
                        break
                    _assign(value, level, place, reason, trail, n, b, lev, p * 4 + LITERAL)
                    n += 1
                    continue
                base = ref + HEADER
                first = np.int64(arena[base] ^ arena[base + 1]) ^ p ^ 1  # the other watched one
                vf = value[first]
                if vf > 0:
                    watch[j] = ref << 33 | first
                    j += 1
                    continue
                stop = base + np.int64(arena[ref])
                start = base + np.int64(arena[ref + 3])
                k = start
                while k < stop and value[arena[k]] < 0:
                    k += 1
                if k == stop:
                    k = base + 2
                    while k < start and value[arena[k]] < 0:
                        k += 1
                    if k == start:
                        k = stop
                if k < stop:
                    arena[ref + 3] = k - base
                    o = np.int64(arena[k])
                    if value[o] > 0:  # satisfied: a better blocking literal is enough
                        watch[j] = ref << 33 | o
                        j += 1
                        continue
                    q = o ^ 1
                    if watch_at[q, 1] == watch_at[q, 2] and not _widen(watch, watch_at, ints, q):
                        watch[j] = w
                        j += 1
                        conflict = -2
                        break
                    watch[watch_at[q, 0] + watch_at[q, 1]] = ref << 33 | first  # `_push`, in place
                    watch_at[q, 1] += 1
                    arena[base] = first
                    arena[base + 1] = o
                    arena[k] = p ^ 1
                else:
                    watch[j] = ref << 33 | first
                    j += 1
                    if vf < 0:
                        conflict = ref * 4
                        break
                    _assign(value, level, place, reason, trail, n, first, lev, ref * 4)
                    n += 1
            if i != j:
                while i < end:
                    watch[j] = watch[i]
                    i += 1
                    j += 1
                watch_at[p, 1] = j - watch_at[p, 0]
            if conflict == NONE:
                head += 1
        ints[TRAIL], ints[HEAD] = n, head
        if conflict != NONE:
            break
        counted = ints[COUNTED]
        ints[COUNTED] = n
        if sums:
            n, conflict, looked = _count(
                value, level, place, reason, trail, in_sum_ptr, in_sum, in_sum_coef, sum_ptr,
                sum_lit, sum_reach, sum_end, sum_bound, slack, near, touched, waits, arena,
                ints[ARENA], counted, n, lev,
            )  # fmt: skip
            ints[TRAIL] = n
            seen += looked
        if costs and conflict == NONE:
            pays = head == n and ints[DIRTY] == 1
            for k in range(counted, head):
                p = np.int64(trail[k] ^ 1)
                pays = pays or in_cost_ptr[p] < in_cost_ptr[p + 1]
            if pays:
                conflict = _pay(st, counted, head)
                n = ints[TRAIL]
        if conflict != NONE or head == n:
            break
    ints[PROPAGATIONS] += head - began
    ints[LOOKS] += seen
    return conflict


@fused()
def _count(
    value, level, place, reason, trail, in_sum_ptr, in_sum, in_sum_coef, sum_ptr, lit, reach, ends,
    bound, slack, near, touched, waits, arena, ref, counted, n, lev,
):  # fmt: skip
    """One round of the sums, for trail[counted:n]. -> the end of the trail; a conflict's reason, or
    NONE; looks. ref: the arena's end"""
    waiting = 0
    seen = np.int64(0)
    for j in range(counted, n):
        p = np.int64(trail[j])
        seen += np.int64(in_sum_ptr[p + 1]) - np.int64(in_sum_ptr[p])
        for k in range(in_sum_ptr[p], in_sum_ptr[p + 1]):
            s = np.int64(in_sum[k])
            slack[s] -= in_sum_coef[k]
            if waits[s] == 0:
                waits[s] = 1
                touched[waiting] = s
                waiting += 1
    conflict = NONE
    for j in range(waiting):
        s = np.int64(touched[j])
        waits[s] = 0
        if conflict != NONE:
            continue
        left = slack[s]
        k, stop = np.int64(sum_ptr[s]), np.int64(sum_ptr[s + 1])
        if left < 0:
            seen += stop - k
            conflict = 4 * _explain_sum(
                value, level, place, lit, reach, ends, near, k, stop, bound[s], arena, ref,
                np.int64(-1), np.int64(FAR),
            )  # fmt: skip
            continue
        while k < stop:
            seen += 1
            end = np.int64(ends[k])
            if reach[end - 1] <= left:
                break
            if end > k + 1:
                m = _risen(value, lit, near, k, end)
                most = left + (reach[m - 1] if m > k else 0)
                low, k = k, min(k + most, end)  # by steps of one
                if (k < end and reach[k] <= most) or (k > low and reach[k - 1] > most):
                    k = _beyond(reach, low, end, most)
            if k < end:  # the rest of its chain follows
                o = np.int64(lit[k])
                if value[o] == 0:
                    _assign(value, level, place, reason, trail, n, o ^ 1, lev, k * 4 + SUM)
                    n += 1
            k = end
    return n, conflict, seen


@fused()
def _pay(st, counted, until):
    """One round of the costs, for trail[counted:until]. -> a conflict's reason, or NONE"""
    value, level, place, reason, trail = st.value, st.level, st.place, st.reason, st.trail
    ints, span, in_cost_ptr = st.ints, st.span, st.in_cost_ptr
    n, lev = ints[TRAIL], ints[LEVEL]
    conflict = NONE
    for j in range(counted, until):
        p = np.int64(trail[j] ^ 1)
        for k in range(in_cost_ptr[p], in_cost_ptr[p + 1]):
            g = np.int64(st.in_cost[k])
            first = np.int64(span[g, 0])
            end = np.int64(st.cost_ptr[g + 1])
            if first == end or value[st.cost_lit[first]] >= 0:
                continue
            _save(st, g, j)
            was = st.cost[first]
            while first < end and value[st.cost_lit[first]] < 0:
                first += 1
            span[g, 0] = first
            if first == end:  # one literal of the group is true in every model
                if conflict == NONE:
                    conflict = _all_false(st, g)
            else:
                ints[BOUND] += st.cost[first] - was
                ints[DIRTY] = 1
    if conflict == NONE and n == until and ints[DIRTY] == 1 and ints[MUST_BEAT] < NEVER:
        ints[DIRTY] = 0
        left = ints[MUST_BEAT] - ints[BOUND]
        if left <= 0:
            conflict = _explain_cost(st, np.int64(-1), np.int64(0), np.int64(FAR))
        else:
            ints[LOOKS] += len(span)
            for g in range(len(span)):
                first, end = np.int64(span[g, 0]), np.int64(span[g, 1])
                cheapest = st.cost[first]
                if st.cost[end - 1] - cheapest < left or value[st.cost_lit[end - 1]] > 0:
                    continue
                _save(st, g, n - 1)
                while end > first and st.cost[end - 1] - cheapest >= left:
                    o = np.int64(st.cost_lit[end - 1])
                    if value[o] > 0:
                        break  # its group's others are still to be ruled out; the bound follows
                    if value[o] == 0:
                        _assign(value, level, place, reason, trail, n, o ^ 1, lev, g * 4 + COST)
                        n += 1
                    end -= 1
                span[g, 1] = end
    ints[TRAIL] = n
    return conflict


@fused()
def _save(st, g, at):
    """Remember a cost group's span and the bound, so that backtracking restores both exactly."""
    k = st.ints[UNDO]
    st.undo[k, 0] = at
    st.undo[k, 1] = g
    st.undo[k, 2] = st.span[g, 0]
    st.undo[k, 3] = st.span[g, 1]
    st.undo_bound[k] = st.ints[BOUND]
    st.ints[UNDO] = k + 1


@fused()
def _temporary(st, end):
    """Close the clause written behind the arena's end. -> its reason"""
    ref = st.ints[ARENA]
    st.arena[ref] = end - ref - HEADER
    st.arena[ref + 1] = 0
    return ref * 4


@fused(inline="always")
def _risen(value, lit, near, first, end):
    """Behind the true literals of a chain, looked for from where they ended last. -> place"""
    k = np.int64(near[first, 0])
    while k < end and value[lit[k]] > 0:
        k += 1
    while k > first and value[lit[k - 1]] <= 0:
        k -= 1
    near[first, 0] = k
    return k


@fused(inline="always")
def _fixed(value, level, lit, near, first, end):
    """Behind those that are true at the root. -> place"""
    k = np.int64(near[first, 1])
    while k < end and value[lit[k]] > 0 and level[lit[k] >> 1] == 0:
        k += 1
    near[first, 1] = k
    return k


@fused()
def _beyond(reach, low, end, most):
    """The first literal of a chain that adds more than `most`. -> place"""
    while low < end:
        middle = (low + end) >> 1
        if reach[middle] > most:
            end = middle
        else:
            low = middle + 1
    return low


@fused()
def _explain_sum(
    value, level, place, lit, reach, ends, near, low, stop, bound, arena, ref, implied, before
):
    """Why the sum at low to stop fails, or why the literal at `implied` must be false: of enough
    chains one literal, true and placed `before`. Written as a clause of false literals behind the
    arena's end `ref`. -> its reference"""
    need = bound + 1  # the total that the explanation must reach
    own = np.int64(0)
    if implied >= 0:
        need -= reach[implied]
        own = np.int64(ends[implied])
    k = np.int64(low)
    while k < stop:  # what holds anyway
        behind = np.int64(ends[k])
        if behind != own:
            fixed = _fixed(value, level, lit, near, k, behind)
            if fixed > k:
                need -= reach[fixed - 1]
        k = behind
    end = ref + HEADER
    k = np.int64(low)
    while k < stop and need > 0:
        first, k = k, np.int64(ends[k])
        if k == own:
            continue
        m = _risen(value, lit, near, first, k) - 1
        while m >= first and (value[lit[m]] <= 0 or place[lit[m] >> 1] >= before):
            m -= 1
        if m < first:
            continue
        fixed = np.int64(near[first, 1])
        if fixed > first:
            need += reach[fixed - 1]
        while m > fixed and reach[m - 1] >= need:  # one that adds less suffices
            o = np.int64(lit[m - 1])
            if value[o] <= 0 or place[o >> 1] >= before:
                break
            m -= 1
        need -= reach[m]
        if level[lit[m] >> 1] > 0:
            arena[end] = lit[m] ^ 1
            end += 1
    arena[ref] = end - ref - HEADER
    arena[ref + 1] = 0
    return ref


@fused()
def _all_false(st, g):
    """The clause of cost group g. -> its reason"""
    end = st.ints[ARENA] + HEADER
    for k in range(st.cost_ptr[g], st.cost_ptr[g + 1]):
        st.arena[end] = st.cost_lit[k]
        end += 1
    return _temporary(st, end)


@fused()
def _explain_cost(st, group, cost, before):
    """Why the bound fails, or why a literal of `group` with `cost` must be false: the false
    literals, placed `before`, that are cheaper than each other group's cheapest open one. What the
    bound exceeds its limit by pays for leaving some of them out. -> reason, as `_explain_sum`"""
    value, place, cost_lit = st.value, st.place, st.cost_lit
    total = cost - st.ints[MUST_BEAT]
    for g in range(len(st.span)):
        if g != group:
            k, last = np.int64(st.cost_ptr[g]), np.int64(st.cost_ptr[g + 1]) - 1
            while k < last and value[cost_lit[k]] < 0 and place[cost_lit[k] >> 1] < before:
                k += 1
            total += st.cost[k]
            st.ints[LOOKS] += k - np.int64(st.cost_ptr[g]) + 1
    end = st.ints[ARENA] + HEADER
    for g in range(len(st.span)):
        if g != group:
            low, last = np.int64(st.cost_ptr[g]), np.int64(st.cost_ptr[g + 1]) - 1
            k = low
            while k < last and value[cost_lit[k]] < 0 and place[cost_lit[k] >> 1] < before:
                k += 1
            while k > low and st.cost[k] - st.cost[k - 1] <= total:
                if st.level[cost_lit[k - 1] >> 1] == 0:
                    break  # free to keep
                total -= st.cost[k] - st.cost[k - 1]
                k -= 1
            for m in range(low, k):
                st.arena[end] = cost_lit[m]
                end += 1
    return _temporary(st, end)


@fused()
def _cost_antecedent(st, v):
    """Why the cost bound gave variable v its value, as a clause. -> its reference"""
    what = st.reason[v] >> 2
    implied = 2 * v if st.value[2 * v] < 0 else 2 * v + 1  # the false literal of v
    k = np.int64(st.cost_ptr[what])
    while st.cost_lit[k] != implied:
        k += 1
    return _explain_cost(st, what, st.cost[k], np.int64(st.place[v])) >> 2


@fused(inline="always")
def _single(arena, ref, literal):
    """Write the reason `literal` behind the arena's end `ref`, as a clause. -> its reference"""
    arena[ref] = 1
    arena[ref + 1] = 0
    arena[ref + HEADER] = literal ^ 1
    return ref


@fused()
def _up(heap, heap_at, activity, k):
    v = heap[k]
    a = activity[v]
    while k > 0:
        parent = (k - 1) >> 1
        u = heap[parent]
        if activity[u] >= a:
            break
        heap[k] = u
        heap_at[u] = k
        k = parent
    heap[k] = v
    heap_at[v] = k


@fused()
def _pop(heap, heap_at, activity, ints):
    top = np.int64(heap[0])
    heap_at[top] = -1
    ints[HEAP] -= 1
    n = ints[HEAP]
    if n > 0:
        v = heap[n]
        a = activity[v]
        k = 0
        while 2 * k + 1 < n:
            child = 2 * k + 1
            if child + 1 < n and activity[heap[child + 1]] > activity[heap[child]]:
                child += 1
            u = heap[child]
            if activity[u] <= a:
                break
            heap[k] = u
            heap_at[u] = k
            k = child
        heap[k] = v
        heap_at[v] = k
    return top


@fused()
def _backtrack(st, to):
    """Undo every level above `to`."""
    value, trail, ints, heap_at = st.value, st.trail, st.ints, st.heap_at
    if ints[LEVEL] <= to:
        return
    start, counted = np.int64(st.trail_at[to]), ints[COUNTED]
    for k in range(ints[TRAIL] - 1, start - 1, -1):
        p = np.int64(trail[k])
        v = p >> 1
        value[p] = 0
        value[p ^ 1] = 0
        st.phase[0, v] = 1 - (p & 1)
        if heap_at[v] < 0:
            st.heap[ints[HEAP]] = v
            ints[HEAP] += 1
            _up(st.heap, heap_at, st.activity, ints[HEAP] - 1)
        if k < counted:
            for m in range(st.in_sum_ptr[p], st.in_sum_ptr[p + 1]):
                st.slack[st.in_sum[m]] += st.in_sum_coef[m]
    while ints[UNDO] > 0 and st.undo[ints[UNDO] - 1, 0] >= start:
        ints[UNDO] -= 1
        k = ints[UNDO]
        g = st.undo[k, 1]
        st.span[g, 0] = st.undo[k, 2]
        st.span[g, 1] = st.undo[k, 3]
        st.ints[BOUND] = st.undo_bound[k]
    ints[TRAIL] = ints[HEAD] = start
    ints[COUNTED] = min(counted, start)
    ints[LEVEL] = to


@fused()
def _distinct(level, stamp, ints, literals, low, high):
    """Number of decision levels above the root in a row of literals."""
    ints[STAMP] += 1
    now = ints[STAMP]
    count = 0
    for k in range(low, high):
        lev = np.int64(level[literals[k] >> 1])
        if lev > 0 and stamp[lev] != now:
            stamp[lev] = now
            count += 1
    return count


@fused()
def _bump(st, count):
    """Raise the activity of the first `count` marked variables."""
    activity, heap, heap_at, floats, clear = (
        st.activity, st.heap, st.heap_at, st.floats, st.scratch[1],
    )  # fmt: skip
    for k in range(count):
        v = np.int64(clear[k])
        activity[v] += floats[INCREMENT]
        if activity[v] > 1e100:
            for u in range(len(activity)):
                activity[u] *= 1e-100
            floats[INCREMENT] *= 1e-100
        if heap_at[v] >= 0:
            _up(heap, heap_at, activity, np.int64(heap_at[v]))


@fused()
def _analyze(st, ref):
    """Learn the first unique implication point's clause into scratch[0]. -> level to go back to

    The clause's literal to assert comes first, one of the highest other level second.
    """
    mark, level, reason, arena = st.mark, st.level, st.reason, st.arena
    trail, stamp, ints = st.trail, st.stamp, st.ints
    value, place, near = st.value, st.place, st.near
    sum_of, sum_bound = st.sum_of, st.sum_bound
    sum_ptr, sum_lit, sum_reach, sum_end = st.sum_ptr, st.sum_lit, st.sum_reach, st.sum_end
    learned, clear = st.scratch[0], st.scratch[1]
    lev = ints[LEVEL]
    n, marked, pending = np.int64(1), np.int64(0), 0
    k = ints[TRAIL] - 1
    v = np.int64(-1)
    while True:
        size = np.int64(arena[ref])
        ints[LOOKS] += size
        if arena[ref + 1] > 0:
            if arena[ref + 1] > 2:
                fewer = _distinct(level, stamp, ints, arena, ref + HEADER, ref + HEADER + size)
                if fewer < arena[ref + 1]:
                    arena[ref + 1] = max(fewer, 1)
            arena[ref + 2] = 2 if arena[ref + 1] <= TIER else 1
        for m in range(ref + HEADER, ref + HEADER + size):
            o = np.int64(arena[m])
            u = o >> 1
            if u != v and not mark[u] and level[u] > 0:
                mark[u] = 1
                clear[marked] = u
                marked += 1
                if level[u] >= lev:
                    pending += 1
                else:
                    learned[n] = o
                    n += 1
        while not mark[trail[k] >> 1]:
            k -= 1
        v = np.int64(trail[k] >> 1)
        k -= 1
        pending -= 1
        if pending == 0:
            break
        why = reason[v]
        if why & 3 == CLAUSE:
            ref = why >> 2
        elif why & 3 == LITERAL:
            ref = _single(arena, ints[ARENA], why >> 2)
        elif why & 3 == SUM:
            s = sum_of[why >> 2]
            ints[LOOKS] += np.int64(sum_ptr[s + 1]) - np.int64(sum_ptr[s])
            ref = _explain_sum(
                value, level, place, sum_lit, sum_reach, sum_end, near,
                np.int64(sum_ptr[s]), np.int64(sum_ptr[s + 1]), sum_bound[s],
                arena, ints[ARENA], why >> 2, np.int64(place[v]),
            )  # fmt: skip
        else:
            ref = _cost_antecedent(st, v)
    learned[0] = trail[k + 1] ^ 1
    bumped = marked
    size, marked = _minimize(st, n, marked)
    _bump(st, bumped)
    for m in range(marked):
        mark[clear[m]] = 0
    back = 0
    for m in range(1, size):
        if level[learned[m] >> 1] > back:
            back = np.int64(level[learned[m] >> 1])
            learned[1], learned[m] = learned[m], learned[1]
    ints[LEARNED] = size
    ints[LEVELS] = max(_distinct(level, stamp, ints, learned, np.int64(0), size), 1)
    return back


@fused()
def _minimize(st, n, marked):
    """Leave out the learned literals that the others imply. -> how many stay, new count of marked

    Marked variables are those of the clause, and those found to follow from it. After so many looks
    the rest of the literals stay, as what explains a cost may be long.
    """
    mark, level, reason, arena, ints = st.mark, st.level, st.reason, st.arena, st.ints
    value, place, near = st.value, st.place, st.near
    sum_of, sum_bound = st.sum_of, st.sum_bound
    sum_ptr, sum_lit, sum_reach, sum_end = st.sum_ptr, st.sum_lit, st.sum_reach, st.sum_end
    learned, clear, stack = st.scratch[0], st.scratch[1], st.scratch[2]
    far = ints[LOOKS] + MINIMIZED
    levels = np.int64(0)
    for m in range(1, n):
        levels |= np.int64(1) << (level[learned[m] >> 1] & 63)
    size = 1
    for m in range(1, n):
        implied = reason[learned[m] >> 1] != NONE
        top = marked
        stack[0] = learned[m] >> 1
        waiting = 1
        while implied and waiting > 0:
            if ints[LOOKS] >= far:
                implied = False
                break
            waiting -= 1
            u = np.int64(stack[waiting])
            why = reason[u]
            if why & 3 == CLAUSE:
                ref = why >> 2
            elif why & 3 == LITERAL:
                ref = _single(arena, ints[ARENA], why >> 2)
            elif why & 3 == SUM:
                s = sum_of[why >> 2]
                ints[LOOKS] += np.int64(sum_ptr[s + 1]) - np.int64(sum_ptr[s])
                ref = _explain_sum(
                    value, level, place, sum_lit, sum_reach, sum_end, near,
                    np.int64(sum_ptr[s]), np.int64(sum_ptr[s + 1]), sum_bound[s],
                    arena, ints[ARENA], why >> 2, np.int64(place[u]),
                )  # fmt: skip
            else:
                ref = _cost_antecedent(st, u)
            for k in range(ref + HEADER, ref + HEADER + np.int64(arena[ref])):
                v = np.int64(arena[k]) >> 1
                if mark[v] or level[v] == 0 or v == u:
                    continue
                if reason[v] == NONE or not (levels >> (level[v] & 63)) & 1:
                    implied = False
                    break
                mark[v] = 1
                clear[top] = v
                top += 1
                stack[waiting] = v
                waiting += 1
        if implied:
            marked = top
            continue
        for k in range(marked, top):
            mark[clear[k]] = 0
        learned[size] = learned[m]
        size += 1
    return size, marked


@fused()
def _analyze_core(st, literal):
    """The assumptions that make the assumption `literal` false, and itself, into core."""
    mark, arena, level = st.mark, st.arena, st.level
    value, place, near = st.value, st.place, st.near
    sum_of, sum_bound = st.sum_of, st.sum_bound
    sum_ptr, sum_lit, sum_reach, sum_end = st.sum_ptr, st.sum_lit, st.sum_reach, st.sum_end
    st.core[0] = literal
    n = 1
    if st.level[literal >> 1] > 0:
        mark[literal >> 1] = 1
        for k in range(st.ints[TRAIL] - 1, st.trail_at[0] - 1, -1):
            p = np.int64(st.trail[k])
            v = p >> 1
            if not mark[v]:
                continue
            mark[v] = 0
            if st.reason[v] == NONE:
                if p != literal:
                    st.core[n] = p
                    n += 1
                continue
            why = st.reason[v]
            if why & 3 == CLAUSE:
                ref = why >> 2
            elif why & 3 == LITERAL:
                ref = _single(arena, st.ints[ARENA], why >> 2)
            elif why & 3 == SUM:
                s = sum_of[why >> 2]
                ref = _explain_sum(
                    value, level, place, sum_lit, sum_reach, sum_end, near,
                    np.int64(sum_ptr[s]), np.int64(sum_ptr[s + 1]), sum_bound[s],
                    arena, st.ints[ARENA], why >> 2, np.int64(place[v]),
                )  # fmt: skip
            else:
                ref = _cost_antecedent(st, v)
            for m in range(ref + HEADER, ref + HEADER + np.int64(arena[ref])):
                u = np.int64(arena[m]) >> 1
                if u != v and st.level[u] > 0:
                    mark[u] = 1
    st.ints[CORE] = n


@fused()
def _record(st, row, low, size, sign):
    """Append a clause to the proof log, if there is one."""
    if st.ints[LOGGING]:
        k = st.ints[LOG]
        st.log[k] = sign * (size + 1)
        for m in range(size):
            st.log[k + 1 + m] = row[low + m]
        st.ints[LOG] = k + 1 + size


@fused()
def _share(st, size, levels):
    """Keep the learned clause for others, while there is room."""
    ints = st.ints
    k = ints[SHARED]
    if k + 2 + size <= len(st.shared):
        st.shared[k] = size
        st.shared[k + 1] = levels
        for m in range(size):
            st.shared[k + 2 + m] = st.scratch[0, m]
        ints[SHARED] = k + 2 + size


@fused()
def _attach(st, size, levels):
    """Store scratch[0, :size] as a clause and watch its first two literals. -> its reference"""
    arena, ints, learned = st.arena, st.ints, st.scratch[0]
    ref = ints[ARENA]
    arena[ref] = size
    arena[ref + 1] = levels
    arena[ref + 2] = 2 if levels <= TIER else 1
    arena[ref + 3] = 2
    for k in range(size):
        arena[ref + HEADER + k] = learned[k]
    ints[ARENA] = ref + HEADER + size
    a, b = np.int64(learned[0]), np.int64(learned[1])
    entry = ref << 33 | (BINARY if size == 2 else 0)
    _push(st.watch, st.watch_at, ints, a ^ 1, entry | b)
    _push(st.watch, st.watch_at, ints, b ^ 1, entry | a)
    return ref


@fused()
def _room(st):
    """Whether one more conflict surely fits."""
    ints, v = st.ints, len(st.level)
    if len(st.arena) - ints[ARENA] < 2 * v + len(st.cost_lit) + 64:
        return False
    if len(st.watch) - ints[WATCH] < 6 * ints[WIDEST] + 64:
        return False
    return not ints[LOGGING] or len(st.log) - ints[LOG] >= v + 8


@fused()
def _insert(st, ptr, lit, levels, row):
    """Add rows of `lit` from `row` on as clauses, at the root; `levels` as in the arena.
    -> first row that has no room"""
    ints, value, mark, learned = st.ints, st.value, st.mark, st.scratch[0]
    while row < len(ptr) - 1:
        if not _room(st):
            break
        low, high, depth = ptr[row], ptr[row + 1], levels[row]
        row += 1
        n = np.int64(0)
        true = False
        for k in range(low, high):
            o = np.int64(lit[k])
            if value[o] > 0 or mark[o ^ 1]:  # holds already, or a literal and its negation
                true = True
                break
            if value[o] == 0 and not mark[o]:
                mark[o] = 1
                learned[n] = o
                n += 1
        for k in range(n):
            mark[learned[k]] = 0
        if true:
            continue
        if n == 0:
            ints[FALSE] = 1
        elif n == 1:
            k = ints[TRAIL]
            o = np.int64(learned[0])
            _assign(value, st.level, st.place, st.reason, st.trail, k, o, 0, NONE)
            ints[TRAIL] = k + 1
        else:
            _attach(st, n, min(depth, n))
    return row


@fused()
def _reduce(st):
    """At the root: forget satisfied clauses, false literals and the least useful learned clauses,
    close the gaps, and watch anew."""
    arena, ints, value = st.arena, st.ints, st.value
    watch, watch_at = st.watch, st.watch_at
    used = ints[ARENA]
    counts = np.zeros(1024, np.int64)  # learned clauses that may go, by levels and size
    total = 0
    ref = 1
    while ref < used:
        size = np.int64(arena[ref])
        levels = np.int64(arena[ref + 1])
        if levels > 2 and arena[ref + 2] == 0:
            counts[min(levels, 31) * 32 + min(size // 2, 31)] += 1
            total += 1
        ref += HEADER + size
    drop = np.int64(total * 0.75)
    edge = 1023
    while edge > 0 and drop > counts[edge]:
        drop -= counts[edge]
        edge -= 1
    # at the edge itself only the `drop` oldest go
    n = 0
    if ints[LOGGING]:  # units first: deleting their reasons must not lose them
        for k in range(ints[TRAIL]):
            _record(st, st.trail, k, np.int64(1), np.int64(1))
    ref = fresh = 1
    for p in range(len(watch_at)):
        watch_at[p, 1] = 0
    while ref < used:
        size = np.int64(arena[ref])
        levels = np.int64(arena[ref + 1])
        low, high = ref + HEADER, ref + HEADER + size
        keep = True
        if levels > 2:
            if arena[ref + 2] > 0:
                arena[ref + 2] -= 1
            else:
                bucket = min(levels, 31) * 32 + min(size // 2, 31)
                if bucket > edge:
                    keep = False
                elif bucket == edge and drop > 0:
                    drop -= 1
                    keep = False
        shrinks = False
        for k in range(low, high):
            if value[arena[k]] > 0:
                keep = False
                break
            if value[arena[k]] < 0:
                shrinks = True
        if not keep:
            _record(st, arena, low, size, np.int64(-1))
        else:
            n = 0
            if shrinks:
                if ints[LOGGING]:
                    at = ints[LOG]
                    for k in range(low, high):
                        if value[arena[k]] == 0:
                            n += 1
                            st.log[at + n] = arena[k]
                    st.log[at] = n + 1
                    ints[LOG] = at + n + 1
                    _record(st, arena, low, size, np.int64(-1))
            n = 0
            used_up = arena[ref + 2]
            for k in range(low, high):
                if value[arena[k]] == 0:
                    arena[fresh + HEADER + n] = arena[k]
                    n += 1
            arena[fresh] = n
            arena[fresh + 1] = min(levels, n)
            arena[fresh + 2] = used_up
            arena[fresh + 3] = 2
            watch_at[arena[fresh + HEADER] ^ 1, 1] += 1
            watch_at[arena[fresh + HEADER + 1] ^ 1, 1] += 1
            fresh += HEADER + n
        ref = high
    ints[ARENA] = fresh
    wanted = 0
    for p in range(len(watch_at)):
        wanted += watch_at[p, 1] + (watch_at[p, 1] >> 1) + 4
    at = 0
    widest = 4
    for p in range(len(watch_at)):
        capacity = watch_at[p, 1]
        if wanted <= len(watch):
            capacity += (capacity >> 1) + 4
        watch_at[p, 0] = at
        watch_at[p, 1] = 0
        watch_at[p, 2] = capacity
        at += capacity
        widest = max(widest, capacity)
    ints[WATCH] = at
    ints[WIDEST] = widest
    for binary in (True, False):  # binary clauses first: they are the cheapest to visit
        ref = 1
        while ref < fresh:
            size = np.int64(arena[ref])
            if (size == 2) == binary:
                a, b = np.int64(arena[ref + HEADER]), np.int64(arena[ref + HEADER + 1])
                entry = ref << 33 | (BINARY if binary else 0)
                watch[watch_at[a ^ 1, 0] + watch_at[a ^ 1, 1]] = entry | b
                watch_at[a ^ 1, 1] += 1
                watch[watch_at[b ^ 1, 0] + watch_at[b ^ 1, 1]] = entry | a
                watch_at[b ^ 1, 1] += 1
            ref += HEADER + size
    for k in range(ints[TRAIL]):
        st.reason[st.trail[k] >> 1] = NONE


@fused()
def _draw(ints):
    """Next number of the state's own sequence, 31 bits (a linear congruence, Knuth's MMIX)."""
    ints[RANDOM] = ints[RANDOM] * 6364136223846793005 + 1442695040888963407
    return (ints[RANDOM] >> 33) & 0x7FFFFFFF


@fused()
def _rephase(st):
    """Start the saved phases afresh: best, flipped, best, random, ..."""
    ints, phase = st.ints, st.phase
    k = ints[REPHASES] % 6
    ints[REPHASES] += 1
    for v in range(len(st.level)):
        if k % 2 == 0:
            if phase[2, v] < 2:
                phase[0, v] = phase[2, v]
        elif k == 1:
            phase[0, v] = 1 - phase[0, v]
        elif k == 3:
            phase[0, v] = (_draw(ints) >> 8) & 1
        else:
            phase[0, v] = 0
        phase[1, v] = 2
    ints[TARGET] = 0
    ints[BEST] = 0


@fused()
def _aim(st, until):
    """Keep the phases of the largest assignment without a conflict (trail[:until])."""
    ints, phase = st.ints, st.phase
    for kind in (1, 2):
        if until > ints[TARGET + kind - 1]:
            ints[TARGET + kind - 1] = until
            for k in range(until):
                p = np.int64(st.trail[k])
                phase[kind, p >> 1] = 1 - (p & 1)


@fused()
def _decide(st):
    """The most active open variable in its phase. -> a literal, or -1 where none is open"""
    value, ints, phase = st.value, st.ints, st.phase
    while ints[HEAP] > 0:
        v = _pop(st.heap, st.heap_at, st.activity, ints)
        if value[2 * v] == 0:
            up = phase[0, v]
            if ints[STABLE] and phase[1, v] < 2:
                up = phase[1, v]
            return 2 * v + 1 - np.int64(up)
    return -1


@fused()
def _restart(st, floor):
    """Go back, but keep the levels that would be decided again anyway; assumptions are kept."""
    ints, activity, value = st.ints, st.activity, st.value
    while ints[HEAP] > 0 and value[2 * st.heap[0]] != 0:
        _pop(st.heap, st.heap_at, activity, ints)
    keep = floor
    if ints[HEAP] > 0:
        most = activity[st.heap[0]]
        while keep < ints[LEVEL] and activity[st.trail[st.trail_at[keep]] >> 1] > most:
            keep += 1
    _backtrack(st, keep)
    if ints[STABLE]:  # reluctant doubling: Luby's sequence, Knuth
        u, v = ints[LUBY_U], ints[LUBY_V]
        if u & -u == v:
            ints[LUBY_U], ints[LUBY_V] = u + 1, 1
        else:
            ints[LUBY_V] = 2 * v
        ints[RESTART_AT] = ints[CONFLICTS] + ints[LUBY_V] * np.int64(st.floats[P0])
    else:
        ints[RESTART_AT] = ints[CONFLICTS] + 2


@fused(inline="always")
def _run(st, assumptions, conflicts, looks, must_beat):
    """Search from the state's current level, until there were so many conflicts, or so many looks
    by the time of one. -> status, or FULL"""
    ints, floats = st.ints, st.floats
    if ints[MUST_BEAT] != must_beat:
        ints[MUST_BEAT] = must_beat
        ints[DIRTY] = 1
    assumed = len(assumptions)
    while ints[FALSE] == 0:
        if not _room(st):
            return FULL
        conflict = _propagate(st)
        if conflict == -2:
            return FULL
        if conflict != NONE:
            ints[CONFLICTS] += 1
            if ints[LOOKS] >= looks:
                conflicts = ints[CONFLICTS]
            ref = conflict >> 2
            if ints[STABLE] and ints[LEVEL] > assumed:
                _aim(st, np.int64(st.trail_at[ints[LEVEL] - 1]))
            highest = np.int64(0)
            for k in range(ref + HEADER, ref + HEADER + np.int64(st.arena[ref])):
                highest = max(highest, np.int64(st.level[st.arena[k] >> 1]))
            _backtrack(st, highest)  # a bound, rounded, may fail later than it could
            if highest == 0:
                ints[FALSE] = 1
                break
            back = _analyze(st, ref)
            learned, size = st.scratch[0], ints[LEARNED]
            _record(st, learned, np.int64(0), size, np.int64(1))
            if ints[LEVELS] <= ints[SHARE]:
                _share(st, size, ints[LEVELS])
            _backtrack(st, back)
            why = np.int64(NONE)
            p = np.int64(learned[0])
            if size > 1:
                why = _attach(st, size, ints[LEVELS]) * 4
                if size == 2:
                    why = np.int64(learned[1] ^ 1) * 4 + LITERAL
            _assign(st.value, st.level, st.place, st.reason, st.trail, ints[TRAIL], p, back, why)
            ints[TRAIL] += 1
            floats[INCREMENT] /= floats[P1] if ints[STABLE] else floats[DECAY]
            floats[FAST] += (ints[LEVELS] - floats[FAST]) * 0.03
            floats[SLOW] += (ints[LEVELS] - floats[SLOW]) * max(1e-4, 1.0 / (ints[CONFLICTS] + 1))
            continue
        if ints[CONFLICTS] >= conflicts:
            return LIMIT
        if ints[CONFLICTS] >= ints[REDUCE_AT]:
            if ints[LOGGING]:
                space = 4 * ints[ARENA] + 3 * len(st.level) + 64
                if len(st.log) - ints[LOG] < space:
                    return FULL
            _backtrack(st, np.int64(0))
            if ints[HEAD] < ints[TRAIL]:
                continue
            _reduce(st)
            ints[REDUCTIONS] += 1
            ints[REDUCE_AT] = ints[CONFLICTS] + np.int64(
                floats[P2] * np.sqrt(ints[REDUCTIONS] + 1.0)
            )
        if ints[CONFLICTS] >= ints[MODE_AT]:
            ints[STABLE] = 1 - ints[STABLE]
            if ints[STABLE]:
                ints[LUBY_U] = ints[LUBY_V] = 1
                ints[TARGET] = 0
                ints[RESTART_AT] = ints[CONFLICTS] + np.int64(floats[P0])
            else:
                ints[RESTART_AT] = ints[CONFLICTS] + 2
            ints[MODE_AT] = ints[CONFLICTS] + np.int64(floats[P3] * (1 + ints[RESTART_AT] * 0))
            floats[P3] *= 1.2
        if ints[CONFLICTS] >= ints[RESTART_AT] and ints[LEVEL] > assumed:
            if ints[STABLE] or floats[FAST] > floats[P4] * floats[SLOW]:
                if ints[CONFLICTS] >= ints[REPHASE_AT]:
                    _backtrack(st, np.int64(0))
                    _rephase(st)
                    ints[REPHASE_AT] = ints[CONFLICTS] + np.int64(floats[P5] * (ints[REPHASES] + 1))
                _restart(st, min(assumed, ints[LEVEL]))
        literal = np.int64(-1)
        while ints[LEVEL] < assumed:
            p = np.int64(assumptions[ints[LEVEL]])
            if st.value[p] < 0:
                _analyze_core(st, p)
                return REFUTED
            if st.value[p] == 0:
                literal = p
                break
            st.trail_at[ints[LEVEL]] = ints[TRAIL]
            ints[LEVEL] += 1
        if literal < 0:
            literal = _decide(st)
            if literal < 0:
                for v in range(len(st.level)):
                    st.model[v] = st.value[2 * v] > 0
                return SATISFIED
            ints[DECISIONS] += 1
            ints[LOOKS] += DECIDED
        st.trail_at[ints[LEVEL]] = ints[TRAIL]
        ints[LEVEL] += 1
        _assign(
            st.value, st.level, st.place, st.reason, st.trail, ints[TRAIL], literal,
            ints[LEVEL], NONE,
        )  # fmt: skip
        ints[TRAIL] += 1
    ints[CORE] = 0
    return REFUTED


@fused()
def _search(st, assumptions, conflicts, looks, must_beat):
    """`_run`, then back to the root unless storage must grow first. -> status"""
    status = _run(st, assumptions, conflicts, looks, must_beat)
    if status != FULL:
        _backtrack(st, np.int64(0))
    return status


def _rows(rows: Iterable[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    rows = [list(row) for row in rows]
    ptr = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=ptr[1:])
    return ptr, np.array([x for row in rows for x in row], np.int32)


def formula(
    variables: int,
    clauses: Iterable[Sequence[int]] = (),
    groups: Iterable[Sequence[int]] = (),
    sums: Iterable[tuple[Sequence[int], Sequence[int], int]] = (),
    costs: Iterable[tuple[Sequence[int], Sequence[int]]] = (),
) -> Formula:
    """A formula from plain rows of literals; a sum is (literals, coefficients, bound), a cost group
    (literals, costs). Large formulas are better built as arrays."""
    sums, costs = list(sums), list(costs)
    sum_ptr, sum_lit = _rows(row for row, _, _ in sums)
    cost_ptr, cost_lit = _rows(row for row, _ in costs)
    return Formula(
        variables,
        *_rows(clauses),
        *_rows(groups),
        sum_ptr,
        sum_lit,
        np.array([c for _, row, _ in sums for c in row], np.int64),
        np.array([bound for _, _, bound in sums], np.int64),
        cost_ptr,
        cost_lit,
        np.array([c for _, row in costs for c in row], np.int64),
    )


def _owner(ptr: np.ndarray) -> np.ndarray:
    """Row of every entry: (rows + 1) -> (entries)."""
    return np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))


def _ptr(owner: np.ndarray, rows: int) -> np.ndarray:
    ptr = np.zeros(rows + 1, np.uint32)
    np.cumsum(np.bincount(owner, minlength=rows), out=ptr[1:])
    return ptr


def _occurrences(
    owner: np.ndarray, lit: np.ndarray, literals: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """-> pointer by literal, rows that hold it, and which entries those are."""
    order = np.argsort(lit, kind="stable")
    return _ptr(lit, literals), owner[order].astype(np.uint32), order


def _proper_groups(
    ptr: np.ndarray, lit: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[list[int]]]:
    """Groups in which no variable occurs twice. -> owner, literals, clauses that say the rest

    A literal that occurs twice must be false; of a variable and its negation one is true, so every
    other literal of the group is false.
    """
    owner = _owner(ptr)
    variable = lit >> 1
    order = np.lexsort((variable, owner))
    twice = (owner[order][1:] == owner[order][:-1]) & (variable[order][1:] == variable[order][:-1])
    if not twice.any():
        return owner, lit, []
    keep = np.ones(len(lit), bool)
    clauses = []
    for g in np.unique(owner[order][1:][twice]):
        low, high = int(ptr[g]), int(ptr[g + 1])
        row = lit[low:high].tolist()
        both = {o for o in row if o ^ 1 in row}
        false = {o for o in row if row.count(o) > 1 or both - {o, o ^ 1}}
        clauses += [[o ^ 1] for o in sorted(false)]
        once = [k for k, o in enumerate(row) if o not in false and not both]
        keep[low:high] = False
        keep[[low + k for k in once]] = True
    return owner[keep], lit[keep], clauses


def _proper_sums(
    owner: np.ndarray, lit: np.ndarray, coef: np.ndarray, bound: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, list[list[int]]]:
    """Sums in which no variable occurs twice. -> owner, literals, coefficients, bounds, clauses
    that say what each sum alone implies"""
    order = np.lexsort((lit, owner))
    owner, lit, coef, bound = owner[order], lit[order], coef[order], bound.copy()
    first = np.ones(len(lit), bool)  # equal literals add up
    first[1:] = (owner[1:] != owner[:-1]) | (lit[1:] != lit[:-1])
    if len(lit):
        coef = np.add.reduceat(coef, np.flatnonzero(first))
    owner, lit = owner[first], lit[first]
    pair = np.flatnonzero((owner[1:] == owner[:-1]) & (lit[1:] == (lit[:-1] ^ 1)))
    both = np.minimum(coef[pair], coef[pair + 1])  # true whatever the variable is
    np.subtract.at(bound, owner[pair], both)
    coef[pair] -= both
    coef[pair + 1] -= both
    clauses: list[list[int]] = [[] for _ in range(int((bound < 0).sum()))]
    keep = coef > 0
    clauses += [[int(o) ^ 1] for o in lit[keep & (coef > bound[owner])]]
    reach = np.zeros(len(bound), np.int64)
    np.add.at(reach, owner, coef)
    binding = reach > bound
    keep &= (coef <= bound[owner]) & binding[owner]  # a literal that must be false counts nothing
    return owner[keep], lit[keep], coef[keep], bound, clauses


class _Chained(NamedTuple):
    """The literals of sums in an order in which each of a chain implies the one before it."""

    owner: np.ndarray  # (L,) and, of each sum, chains that add most first
    lit: np.ndarray
    coef: np.ndarray
    reach: np.ndarray  # what the literal and those before it in its chain add
    end: np.ndarray  # where its chain ends

    @staticmethod
    def of(owner: np.ndarray, lit: np.ndarray, coef: np.ndarray, pairs: np.ndarray) -> "_Chained":
        """pairs: `_implied`, of a formula with these literals in its sums, by sum and literal"""
        if not len(lit):
            none = np.zeros(0, np.int64)
            return _Chained(owner, lit, coef, none, none)
        alike = owner[1:] == owner[:-1]
        up = alike & np.isin(_pair(lit[1:], lit[:-1]), pairs)
        down = alike & np.isin(_pair(lit[:-1], lit[1:]), pairs) & ~up
        on = up | down
        on[1:] &= ~((up[1:] & down[:-1]) | (down[1:] & up[:-1]))  # a chain goes one way
        chain = np.concatenate([[0], np.cumsum(~on)])
        place = np.arange(len(lit))
        falls = np.zeros(int(chain[-1]) + 1, bool)
        falls[chain[1:][on & down]] = True
        total = np.add.reduceat(coef, np.flatnonzero(np.append(True, ~on)))
        order = np.lexsort((np.where(falls[chain], -place, place), chain, -total[chain], owner))
        owner, lit, coef, chain = owner[order], lit[order], coef[order], chain[order]
        first = np.concatenate([[0], np.flatnonzero(np.diff(chain)) + 1])
        lengths = np.diff(np.append(first, len(lit)))
        reach = np.cumsum(coef)
        reach -= np.repeat(reach[first] - coef[first], lengths)
        return _Chained(owner, lit, coef, reach, np.repeat(first + lengths, lengths))


def _pair(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return one.astype(np.int64) << 32 | other.astype(np.int64)


def _implied(formula: Formula, among: np.ndarray) -> np.ndarray:
    """Pairs of some literals of which the first implies the second: clauses of two, and groups of
    two or three. -> (P,) `_pair`"""
    asked = np.zeros(2 * formula.variables, bool)
    asked[among] = True
    rows = [_of_length(formula.clause_ptr, formula.clause_lit, 2) ^ 1]  # of which not both are true
    rows += [_of_length(formula.group_ptr, formula.group_lit, size) for size in (2, 3)]
    found = [np.zeros(0, np.int64)]
    for own in rows:
        for j, k in itertools.permutations(range(own.shape[1]), 2):
            at = asked[own[:, j]] & asked[own[:, k] ^ 1]
            found.append(_pair(own[at, j], own[at, k] ^ 1))
    return np.concatenate(found)


def _of_length(ptr: np.ndarray, lit: np.ndarray, size: int) -> np.ndarray:
    """The rows of so many literals. -> (m, size)"""
    first = ptr[:-1][np.diff(ptr) == size]
    return lit[first[:, None] + np.arange(size)]


def load(formula: Formula, seed: int = 0, log: bool = False) -> State:
    """The search before its first decision. `log`: keep a proof (see `proof`)."""
    variables, literals = formula.variables, 2 * formula.variables
    group_owner, group_lit, extra = _proper_groups(formula.group_ptr, formula.group_lit)
    in_group_ptr, in_group, _ = _occurrences(group_owner, group_lit, literals)
    sum_owner, sum_lit, sum_coef, bound, more = _proper_sums(
        _owner(formula.sum_ptr), formula.sum_lit, formula.sum_coef, formula.sum_bound
    )
    pairs = _implied(formula, sum_lit) if len(sum_lit) else np.zeros(0, np.int64)
    sums = _Chained.of(sum_owner, sum_lit, sum_coef, pairs)
    in_sum_ptr, in_sum, order = _occurrences(sums.owner, sums.lit, literals)
    cost_owner = _owner(formula.cost_ptr)
    cheapest = np.lexsort((formula.cost_lit, formula.cost, cost_owner))
    cost_lit, cost = formula.cost_lit[cheapest], formula.cost[cheapest]
    in_cost_ptr, in_cost, _ = _occurrences(cost_owner, cost_lit, literals)
    levels = 3 * variables + 2
    rng = np.random.default_rng(seed)
    ints, floats = np.zeros(40, np.int64), np.zeros(16)
    ints[[ARENA, HEAP, RANDOM]] = 1, variables, seed
    ints[[LOGGING, DIRTY]] = int(log), 1
    ints[[REDUCE_AT, MODE_AT, REPHASE_AT, RESTART_AT]] = SETTINGS["first"]
    floats[[INCREMENT, DECAY]] = 1.0, SETTINGS["decay"]
    ints[MUST_BEAT] = NEVER
    floats[P0 : P5 + 1] = SETTINGS["p"]
    ends = formula.cost_ptr.astype(np.int32)
    if len(cost):
        ints[BOUND] = cost[ends[:-1]].sum()
    activity = rng.random(variables) * 1e-6
    by_activity = np.argsort(-activity, kind="stable").astype(np.int32)
    at = np.empty(variables, np.int32)
    at[by_activity] = np.arange(variables, dtype=np.int32)
    phase = np.full((3, variables), 2, np.uint8)
    phase[0] = SETTINGS["phase"]
    total = len(formula.clause_lit)
    state = State(
        in_group_ptr,
        in_group,
        _ptr(group_owner, len(formula.group_ptr) - 1),
        group_lit.astype(np.uint32),
        in_sum_ptr,
        in_sum,
        sums.coef[order],
        _ptr(sums.owner, len(bound)),
        sums.lit.astype(np.uint32),
        sums.reach,
        sums.end.astype(np.uint32),
        sums.owner.astype(np.uint32),
        bound,
        in_cost_ptr,
        in_cost,
        formula.cost_ptr.astype(np.uint32),
        cost_lit.astype(np.uint32),
        np.ascontiguousarray(cost, np.int64),
        value=np.zeros(literals, np.int8),
        level=np.zeros(variables, np.int32),
        place=np.zeros(variables, np.int32),
        reason=np.full(variables, NONE, np.int64),
        trail=np.zeros(variables, np.uint32),
        trail_at=np.zeros(levels, np.int32),
        slack=bound.copy(),
        touched=np.zeros(len(bound), np.uint32),
        waits=np.zeros(len(bound), np.uint8),
        near=np.repeat(np.arange(len(sums.lit), dtype=np.uint32)[:, None], 2, 1),
        span=np.stack([ends[:-1], ends[1:]], 1),
        undo=np.zeros((2 * len(cost) + 8, 4), np.int32),
        undo_bound=np.zeros(2 * len(cost) + 8, np.int64),
        activity=activity,
        heap=by_activity,
        heap_at=at,
        phase=phase,
        mark=np.zeros(literals, np.uint8),
        scratch=np.zeros((3, variables + 1), np.uint32),
        stamp=np.zeros(levels, np.int64),
        arena=np.zeros(4 * total + 4 * variables + len(cost) + (1 << 14), np.uint32),
        watch=np.zeros(16 * literals + 8 * len(formula.clause_ptr) + (1 << 12), np.int64),
        watch_at=np.zeros((literals, 3), np.int64),
        log=np.zeros((1 << 14) * int(log), np.int32),
        model=np.zeros(variables, np.uint8),
        core=np.zeros(literals + 1, np.int32),
        shared=np.zeros(0, np.uint32),
        ints=ints,
        floats=floats,
    )
    ptr, lit = _rows(extra + more)
    state = _insert_all(state, ptr, lit)
    return _insert_all(state, formula.clause_ptr, formula.clause_lit)


def _insert_all(
    state: State, ptr: np.ndarray, lit: np.ndarray, levels: np.ndarray | None = None
) -> State:
    levels = np.zeros(len(ptr) - 1, np.int64) if levels is None else levels
    row = _insert(state, ptr, lit, levels, 0)
    while row < len(ptr) - 1:
        state = grow(state)
        row = _insert(state, ptr, lit, levels, row)
    return state


def grow(state: State) -> State:
    """The same search with more room; arrays that had enough are shared with the old state."""
    ints, variables = state.ints, len(state.level)
    arena, watch, log = state.arena, state.watch, state.log
    if len(arena) - ints[ARENA] < 4 * variables + 2 * len(state.cost_lit) + 128:
        if 2 * len(arena) > REF:
            raise MemoryError("clauses beyond 2^30 words")
        arena = _with_room(
            arena, len(arena), 2 * len(arena) + 8 * variables + 4 * len(state.cost_lit)
        )
    if len(watch) - ints[WATCH] < len(watch) // 2 + 12 * ints[WIDEST] + 128:
        watch = _with_room(watch, len(watch), 2 * len(watch) + 24 * int(ints[WIDEST]))
    if ints[LOGGING]:
        space = 8 * int(ints[ARENA]) + 6 * variables + 128
        if len(log) - ints[LOG] < space:
            log = _with_room(log, len(log), 2 * len(log) + space)
    return state._replace(arena=arena, watch=watch, log=log)


def _with_room(array: np.ndarray, used: int, length: int) -> np.ndarray:
    """A copy of so many entries, with room behind them that is written before it is read."""
    fresh = np.empty(length, array.dtype)
    fresh[:used] = array[:used]
    return fresh


def copy(state: State) -> State:
    """A fork: both may go on, neither sees the other. What storage has left is not copied."""
    own = {"arena": ARENA, "watch": WATCH, "log": LOG}
    used = {name: int(state.ints[at]) for name, at in own.items()}
    rest = {
        name: _with_room(array, used[name], len(array)) if name in used else array.copy()
        for name, array in zip(State._fields[STATIC:], state[STATIC:], strict=True)
    }
    return state._replace(**rest)


def search(
    state: State,
    assumptions: np.ndarray | Sequence[int] = (),
    conflicts: int = 1 << 60,
    upper: int = NEVER,
    looks: int = 1 << 60,
) -> tuple[int, State]:
    """Go on until a model costing less than `upper` is found, none is proved to exist under
    the assumptions (distinct literals, int32), `conflicts` more conflicts happened, or one happened
    after so many more `looks`: few conflicts may take long.

    Works in place; the state returned replaces the one given (`copy` first to keep that). What is
    learned depends on `upper`, which therefore may only decrease from call to call.
    """
    if upper > state.ints[MUST_BEAT]:
        raise ValueError(f"upper {upper} was lower before; load a fresh state to raise it")
    given = np.asarray(list(dict.fromkeys(np.asarray(assumptions, np.int32).tolist())), np.int32)
    target = int(state.ints[CONFLICTS]) + conflicts
    far = int(state.ints[LOOKS]) + looks
    while True:
        status = _search(state, given, target, far, upper)
        if status != FULL:
            return status, state
        state = grow(state)


def model(state: State) -> np.ndarray:
    """uint8 (V): the last model found."""
    return state.model.copy()


def core(state: State) -> np.ndarray:
    """int32: assumptions that cannot hold together; empty where the formula alone is refuted."""
    return state.core[: state.ints[CORE]].copy()


def add_clause(state: State, literals: np.ndarray | Sequence[int]) -> State:
    """One more clause, between searches; use the state returned."""
    lit = np.asarray(literals, np.int32)
    return _insert_all(state, np.array([0, len(lit)], np.int64), lit)


class Shared(NamedTuple):
    """Learned clauses on their way to another search of the same formula."""

    ptr: np.ndarray  # int64 (C + 1)
    lit: np.ndarray  # int32
    levels: np.ndarray  # int64 (C)  decision levels each had when it was learned


def sharing(state: State, levels: int) -> State:
    """The same search, which from now on keeps its learned clauses of up to `levels` decision
    levels for `shared`; use the state returned."""
    state.ints[[SHARE, SHARED]] = levels, 0
    return state._replace(shared=np.zeros(SHARED_WORDS, np.uint32))


def shared(state: State) -> Shared:
    """What was kept since the last call, which this empties; beyond its room none was."""
    end = int(state.ints[SHARED])
    words = state.shared[:end].astype(np.int64)
    state.ints[SHARED] = 0
    starts, k = [], 0
    while k < end:
        starts.append(k)
        k += 2 + int(words[k])
    at = np.array(starts, np.int64)
    sizes = words[at]
    ptr = np.concatenate([[0], np.cumsum(sizes)])
    inside = np.ones(end, bool)
    inside[at] = inside[at + 1] = False
    return Shared(ptr, words[inside].astype(np.int32), words[at + 1])


def add_shared(state: State, clauses: Shared) -> State:
    """Clauses that another search of the same formula learned, between searches; they may be
    forgotten again. Use the state returned."""
    return _insert_all(state, clauses.ptr, clauses.lit, clauses.levels)


def set_phase(state: State, phase: np.ndarray) -> None:
    """The values to try first: uint8 (V)."""
    state.phase[0] = phase
    state.phase[1:] = 2


def proof(state: State) -> np.ndarray:
    """int32: the proof so far, a concatenation of `+(n + 1)` (learned) or `-(n + 1)` (forgotten)
    and n literals. Every learned clause follows by unit propagation where the formula has clauses
    only and none was added; `engine.explain.rup` checks it. Ends with the empty clause."""
    end = int(state.ints[LOG])
    return np.append(state.log[:end], np.int32(1)) if state.ints[FALSE] else state.log[:end].copy()


def objective(formula: Formula, model: np.ndarray) -> int:
    """The cost of a model: uint8 (V)."""
    lit = formula.cost_lit
    return int(formula.cost[model[lit >> 1] != (lit & 1)].sum())


def reference_models(formula: Formula) -> np.ndarray:
    """Every model, by enumeration: uint8 (M, V), in counting order. For at most 20 variables."""
    n = formula.variables
    models = (np.arange(1 << n)[:, None] >> np.arange(n)[::-1] & 1).astype(np.uint8)

    def true(ptr: np.ndarray, lit: np.ndarray, row: int) -> np.ndarray:  # (M, literals of the row)
        at = lit[ptr[row] : ptr[row + 1]]
        return models[:, at >> 1] != (at & 1)

    good = np.ones(len(models), bool)
    for row in range(len(formula.clause_ptr) - 1):
        good &= true(formula.clause_ptr, formula.clause_lit, row).any(1)
    for row in range(len(formula.group_ptr) - 1):
        good &= true(formula.group_ptr, formula.group_lit, row).sum(1) <= 1
    for row in range(len(formula.sum_bound)):
        coef = formula.sum_coef[formula.sum_ptr[row] : formula.sum_ptr[row + 1]]
        good &= true(formula.sum_ptr, formula.sum_lit, row) @ coef <= formula.sum_bound[row]
    return models[good]


def add_clauses(state: State, ptr: np.ndarray, lit: np.ndarray) -> State:
    """More clauses, row i being `lit[ptr[i]:ptr[i + 1]]`, between searches."""
    return _insert_all(state, np.asarray(ptr, np.int64), np.asarray(lit, np.int32))


def conflicts(state: State) -> int:
    """How many conflicts the search has met so far."""
    return int(state.ints[CONFLICTS])


def propagations(state: State) -> int:
    """How many literals the search has propagated so far."""
    return int(state.ints[PROPAGATIONS])


def looks(state: State) -> int:
    """What the search has looked at so far: clauses watched, members of groups, sums and costs, and
    the literals of what explained conflicts; a decision counts as many. Some 4 ns each."""
    return int(state.ints[LOOKS])


def lower_bound(state: State) -> int:
    """What the cost groups cost at least, given what is fixed at the root."""
    return int(state.ints[BOUND])


def most_active(state: State) -> int | None:
    """The variable without a value that the search would decide next, between searches."""
    unset = np.flatnonzero(state.value[::2] == 0)
    return int(unset[state.activity[unset].argmax()]) if len(unset) else None
