"""Complete search for grouped choice: every site takes one candidate, every group at most one.

A *candidate* is value v of site i, numbered `offset[i] + v`. A *group* is a set of candidates of
which at most one is chosen, exactly one if the group is exact (exact cover, Sudoku, assignment,
colouring, packing). The search is depth-first with propagation to the fixpoint at every node:

- choosing a candidate rules out the other candidates of its site and of its groups;
- a site or exact group (a *unit*) with one candidate left chooses it, with none left fails.

A unit keeps `count << 40 | sum of its open candidates` in one integer: one subtraction per removed
candidate, and at count one the sum *is* the candidate left. Open candidates are bits in 64-bit
words, so what a choice rules out is found by a few masks. A node branches on the unit of least
`count / (4 + failures seen there)` (Boussemart, Hemery, Lecoutre and Sais, "Boosting systematic
search by weighting constraints", ECAI 2004); ties go to the unit with the most exclusions.

Candidates may have *prices*; then the cheapest solution is sought (`search_priced`). No solution
below a node costs less than the sum of what its sites would pay for their cheapest open candidates;
one that this sum and its own price bring to the limit is ruled out. The limit is the best solution
so far, and before there is one a budget that grows (iterative deepening: Korf, Artificial
Intelligence 27, 1985), because under a small budget most priced sites are decided at once. What was
ruled out for its price says what the next solution costs at least, so budgets below are left out.

Tried on Sudoku and rejected (mean ms of the hardest list; this file 0.3): static ties 0.41, scores
from neighbouring pairs 0.9, removing common neighbours of pairs 0.49 (a fifth fewer nodes),
restarts 0.36; one mask list per candidate in place of its groups' gains a tenth, but preparing it
takes ten times as long on 25 x 25. On priced Sudoku: counting a failure of the units of a site
whose price ends a node takes ten times as many nodes, forgetting failures at each budget twice as
many.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from engine.kernels.fused import fused, put, trailing_zeros, worth

LIMIT = 0  # the node limit ended the row: nothing is proved beyond the solutions found
EXHAUSTED = 1  # the whole space was searched
ENOUGH = 2  # `wanted` solutions were found; there may be more

FEW = 64  # nodes of a row that are searched without numba, where it is not loaded

ONE = 1 << 40  # one candidate in a unit's integer
SUM = ONE - 1  # the bits that hold the sum of its open candidates
PAIR = ONE + ONE
FAR = 1 << 62
PRIOR = 4  # failures every unit starts with
BUDGETS = 16  # budgets before there is none: 1, 3, 6, 10, ... steps


class Cover(NamedTuple):
    """Static structure of a problem: n sites, C candidates, U units, K labels; made by `cover`.

    A *move* k < C chooses candidate k, move C + k rules it out. A move walks the blocks
    `move_block[move_ptr[k]:move_ptr[k + 1]]`: block b < S is a set (a site or a group), block
    S + c the candidate c alone. A block is given as bits of 64-bit words.
    """

    offset: np.ndarray  # int32 (n + 1)   first candidate of each site
    site_of: np.ndarray  # int32 (C)
    unit_ptr: np.ndarray  # int32 (U + 1)  units are the sites and the exact groups
    unit_candidate: np.ndarray  # uint32
    in_ptr: np.ndarray  # int32 (C + 1)  units of each candidate
    in_unit: np.ndarray  # uint32
    full: np.ndarray  # int64 (U)      count and sum of each unit with everything open
    move_ptr: np.ndarray  # int32 (2C + 1)
    move_block: np.ndarray  # int32
    block_ptr: np.ndarray  # int32 (S + C + 1)
    reach_word: np.ndarray  # uint32
    reach_mask: np.ndarray  # int64
    label: np.ndarray  # int32 (C)      value label of each candidate; K where it has none
    label_class: np.ndarray  # int32 (K + 1)  labels of one class >= 0 are interchangeable


class Found(NamedTuple):
    """What `search` found, one entry per row."""

    status: np.ndarray  # int8 (R)   LIMIT, EXHAUSTED or ENOUGH
    found: np.ndarray  # int32 (R)  number of distinct solutions listed
    counted: np.ndarray  # bool (R)   `found` is proved to be the true number of solutions
    solutions: np.ndarray  # int32 (R, wanted, n)  values; -1 beyond `found`
    spent: np.ndarray  # int64 (R)  nodes: decisions taken


class Priced(NamedTuple):
    """What `search_priced` found, one entry per row."""

    status: np.ndarray  # int8 (R)   LIMIT, or EXHAUSTED: nothing costs less than the first listed
    found: np.ndarray  # int32 (R)  number of solutions listed, a cheapest one first
    listed: np.ndarray  # bool (R)   all that cost less than `margin` more than the first are listed
    solutions: np.ndarray  # int32 (R, wanted, n)  values; undefined beyond `found`
    paid: np.ndarray  # int64 (R, wanted)  their prices
    bound: np.ndarray  # int64 (R)   proved: no solution costs less; FAR where there is none at all
    spent: np.ndarray  # int64 (R)  nodes: decisions taken


def cover(
    sizes: ArrayLike,
    group_ptr: ArrayLike,
    group_literal: ArrayLike,
    group_exact: ArrayLike,
    label: ArrayLike | None = None,
    label_class: ArrayLike | None = None,
) -> Cover:
    """Prepares the static structure once; many searches may share it, in many threads.

    sizes (n): number of values of each site. Group g holds the candidates
    `group_literal[group_ptr[g]:group_ptr[g + 1]]`, without repeats, and is exact where
    `group_exact[g]`. label (C): a value label 0..K-1 of each candidate, or -1; label_class (K):
    labels of equal class >= 0 are interchangeable: exchanging two of them, at all sites at once,
    maps the groups onto themselves (checked; ValueError if not).
    """
    sizes = np.asarray(sizes, np.int64)
    n, count = len(sizes), int(sizes.sum())
    offset = np.r_[0, np.cumsum(sizes)]
    group_ptr, literal = np.asarray(group_ptr, np.int64), np.asarray(group_literal, np.int64)
    exact = np.asarray(group_exact, bool)
    if literal.size and not 0 <= literal.min() <= literal.max() < count:
        raise ValueError(f"group_literal must lie in 0..{count - 1}")
    if len(exact) != len(group_ptr) - 1 or group_ptr[-1] != len(literal):
        raise ValueError("group_ptr, group_literal and group_exact do not fit together")

    # sets: the sites, then the groups; each is an exclusion, and a unit where one must be chosen
    size = np.r_[sizes, np.diff(group_ptr)]
    member = np.r_[np.arange(count), literal]
    owner = np.repeat(np.arange(len(size)), size)
    if repeats(owner, member, count):
        raise ValueError("a group names a candidate twice")
    if int(size.max(initial=0)) * count >= ONE:
        raise ValueError("too many candidates in one group")

    degree = np.bincount(member, (size - 1)[owner], count)  # exclusions of each candidate
    mean = np.bincount(owner, degree[member], len(size)) / np.maximum(size, 1)
    units = np.flatnonzero(np.r_[np.ones(n, bool), exact])
    units = units[np.argsort(-mean[units], kind="stable")]
    start = np.r_[0, np.cumsum(size)]
    unit_ptr = np.r_[0, np.cumsum(size[units])]
    unit_candidate = member[_ranges(start[units], size[units])]
    unit_of = np.repeat(np.arange(len(units)), size[units])
    in_ptr = np.r_[0, np.cumsum(np.bincount(unit_candidate, minlength=count))]
    sums = np.bincount(unit_of, unit_candidate, len(units)).astype(np.int64)

    own, sets = np.arange(count), len(size)
    block_ptr, word, mask = _masks(owner, member, sets, count)
    _, own_word, own_mask = _masks(own, own, count, count)  # ruling out: a block of one bit
    move_ptr = np.r_[0, np.cumsum(np.bincount(member, minlength=count))]
    sets_in = owner[np.argsort(member, kind="stable")]

    if label is None:
        label, label_class = np.full(count, -1), np.zeros(0, int)
    label, label_class = np.asarray(label, np.int64), np.asarray(label_class, np.int64)
    site_of = np.repeat(np.arange(n), sizes)
    _check_labels(site_of, group_ptr, literal, exact, label, label_class)
    return Cover(
        offset=offset.astype(np.int32),
        site_of=site_of.astype(np.int32),
        unit_ptr=unit_ptr.astype(np.int32),
        unit_candidate=unit_candidate.astype(np.uint32),
        in_ptr=in_ptr.astype(np.int32),
        in_unit=unit_of[np.argsort(unit_candidate, kind="stable")].astype(np.uint32),
        full=size[units] * ONE + sums,
        move_ptr=np.r_[move_ptr, len(sets_in) + 1 + own].astype(np.int32),
        move_block=np.r_[sets_in, sets + own].astype(np.int32),
        block_ptr=np.r_[block_ptr, len(word) + 1 + own].astype(np.int32),
        reach_word=np.r_[word, own_word].astype(np.uint32),
        reach_mask=np.r_[mask, own_mask],
        label=np.where(label < 0, len(label_class), label).astype(np.int32),
        label_class=np.r_[label_class, -1].astype(np.int32),
    )


def repeats(owner: np.ndarray, member: np.ndarray, count: int) -> bool:
    """Whether some list names one of `count` members twice."""
    key = owner * max(count, 1) + member
    if not (np.diff(key) > 0).all():  # lists are mostly in order already
        key.sort()
    return bool((np.diff(key) == 0).any())


def search(
    structure: Cover,
    allowed: ArrayLike,
    nodes: int,
    wanted: int = 1,
    symmetry: bool = False,
    threads: int = 1,
) -> Found:
    """Searches every row of a batch; a row's result depends on that row alone.

    allowed (R, C): which candidates the evidence leaves possible. nodes: decisions per row.
    wanted: solutions to look for (1: any; 2: uniqueness). symmetry: try only one of the labels
    that are interchangeable and alike under the row's evidence; it finds a solution or proves
    there is none, and `counted` is False for a row where it may have hidden solutions.
    """
    allowed = np.ascontiguousarray(np.asarray(allowed) != 0, np.uint8)
    rows, n = len(allowed), len(structure.offset) - 1
    if allowed.shape != (rows, len(structure.site_of)) or wanted < 1:
        raise ValueError(f"allowed must be (rows, {len(structure.site_of)}) and wanted positive")
    alike = _alike(structure, allowed) if symmetry else np.full((rows, 0), -1, np.int32)
    status, found = np.zeros(rows, np.int8), np.zeros(rows, np.int32)
    spent, solutions = np.zeros(rows, np.int64), np.full((rows, wanted, n), -1, np.int32)

    def part(low: int, high: int, loop=_search, nodes=nodes) -> None:
        loop(*structure[:-1], allowed, alike, nodes, wanted, low, high,
             status, found, solutions, spent,
             None, None, None, None, None, None, None, None)  # fmt: skip

    few, decided = min(nodes, FEW), False
    if not worth(rows * (few + 1) * (len(structure.full) + len(structure.in_unit))):
        part(0, rows, _search.plain, few)
        decided = few == nodes or not (status == LIMIT).any()
    if not decided:
        _in_parts(part, rows, threads)
    hidden = (alike >= 0).any(1)  # rows in which labels were taken as one
    return Found(status, found, (status == EXHAUSTED) & (~hidden | (found == 0)), solutions, spent)


def search_priced(
    structure: Cover,
    allowed: ArrayLike,
    price: ArrayLike,
    nodes: int,
    *,
    below: ArrayLike = FAR,
    above: ArrayLike = 0,
    step: ArrayLike = 1,
    margin: int = 0,
    wanted: int = 1,
    threads: int = 1,
) -> Priced:
    """The cheapest solution of every row, as `search` for the structure, evidence and threads.

    price (R, C) >= 0: what each candidate adds, less than 2^60 in all. nodes: decisions per row,
    over all budgets. below: only solutions that cost less are sought; above: none costs less, as
    is known; step: the unit of the budgets; one for all rows, or (R). margin, wanted: list what
    costs less than `margin` more than the cheapest solution, as many of these as are wanted.
    """
    allowed = np.ascontiguousarray(np.asarray(allowed) != 0, np.uint8)
    price = np.ascontiguousarray(price, np.int64)
    rows, n = len(allowed), len(structure.offset) - 1
    if allowed.shape != (rows, len(structure.site_of)) or price.shape != allowed.shape:
        raise ValueError(f"allowed and price must be (rows, {len(structure.site_of)})")
    if wanted < 1 or price.min(initial=0) < 0:
        raise ValueError("wanted must be positive, and no price negative")
    most = FAR // (BUDGETS * BUDGETS)
    above = np.array(np.broadcast_to(np.asarray(above, np.int64), rows))
    below = np.array(np.broadcast_to(np.asarray(below, np.int64), rows)).clip(max=FAR)
    steps = np.array(np.broadcast_to(np.asarray(step, np.int64), rows)).clip(1, most)
    status, found = np.zeros(rows, np.int8), np.zeros(rows, np.int32)
    spent, solutions = np.zeros(rows, np.int64), np.full((rows, wanted, n), -1, np.int32)
    paid, bound = np.zeros((rows, wanted), np.int64), np.zeros(rows, np.int64)
    listed = np.zeros(rows, np.bool_)
    alike = np.full((rows, 0), -1, np.int32)

    def part(low: int, high: int) -> None:
        _search(*structure[:-1], allowed, alike, nodes, wanted, low, high,
                status, found, solutions, spent,
                price, below, above, steps, margin, paid, bound, listed)  # fmt: skip

    _in_parts(part, rows, threads)
    return Priced(status, found, listed, solutions, paid, bound, spent)


def _in_parts(part: Callable[[int, int], None], rows: int, threads: int) -> None:
    """All rows, in ranges that threads take in turn."""
    if threads <= 1 or rows <= 1:
        part(0, rows)
    else:  # many short ranges, because a hard row may take a thousand times as long as another
        cuts = np.unique(np.linspace(0, rows, min(rows, 16 * threads) + 1).astype(int)).tolist()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(part, cuts[:-1], cuts[1:]))


def reference_search(sizes, groups, exact, allowed, wanted: int) -> list[tuple[int, ...]]:
    """The plain meaning of `search` for one row: up to `wanted` solutions, in order of values.

    groups: lists of candidates; exact: one flag each. Fewer than `wanted` means exhausted; -1:
    all solutions.
    """
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    solutions: list[tuple[int, ...]] = []

    def extend(values: tuple[int, ...]) -> None:
        if len(solutions) == wanted:
            return
        chosen = {start + value for start, value in zip(starts, values)}
        taken = [len(chosen.intersection(group)) for group in groups]
        if max(taken, default=0) > 1:
            return
        if len(values) < len(sizes):
            start = starts[len(values)]
            for value in range(sizes[len(values)]):
                if allowed[start + value]:
                    extend((*values, value))
        elif all(count == 1 for count, must in zip(taken, exact) if must):
            solutions.append(values)

    extend(())
    return solutions


def reference_priced(sizes, groups, exact, allowed, price) -> list[tuple[int, tuple[int, ...]]]:
    """The plain meaning of `search_priced` for one row: every solution with its price, cheapest
    first."""
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    every = reference_search(sizes, groups, exact, allowed, -1)
    return sorted((sum(int(price[a + v]) for a, v in zip(starts, one)), one) for one in every)


def _ranges(start: np.ndarray, size: np.ndarray) -> np.ndarray:
    """start[0], start[0] + 1, ... (size[0] numbers), start[1], ..."""
    return np.repeat(start - np.r_[0, np.cumsum(size)[:-1]], size) + np.arange(int(size.sum()))


def _masks(owner, member, owners: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(owner, candidate) pairs as rows of (word, 64-bit mask): ptr (owners + 1), word, mask."""
    words = (count >> 6) + 1
    order = np.argsort(owner * words + (member >> 6), kind="stable")
    key = (owner * words + (member >> 6))[order]
    bit = np.uint64(1) << (member[order] & 63).astype(np.uint64)
    first = np.flatnonzero(np.r_[True, key[1:] != key[:-1]][: len(key)])
    mask = np.bitwise_or.reduceat(bit, first) if len(first) else bit
    ptr = np.searchsorted(key[first], np.arange(owners + 1) * words)
    return ptr, key[first] % words, mask.view(np.int64)


def _check_labels(site_of, group_ptr, literal, exact, label, label_class) -> None:
    """Raises ValueError unless exchanging neighbours of a class maps the groups onto themselves."""
    if len(label) != len(site_of) or label.max(initial=-1) >= len(label_class):
        raise ValueError("label must name a label of label_class for each candidate, or -1")
    owner = np.repeat(np.arange(len(exact)), np.diff(group_ptr))
    order = np.argsort(label[literal], kind="stable")
    cuts = np.searchsorted(label[literal][order], np.arange(len(label_class) + 1))
    key = np.random.default_rng(0).integers(0, 1 << 63, len(label), np.uint64)  # a set by its sum
    every = np.argsort(label, kind="stable")
    ends = np.searchsorted(label[every], np.arange(len(label_class) + 1))
    for kind in np.unique(label_class[label_class >= 0]):
        members = np.flatnonzero(label_class == kind)
        for a, b in zip(members[:-1], members[1:]):
            of_a, of_b = every[ends[a] : ends[a + 1]], every[ends[b] : ends[b + 1]]
            once = len(np.unique(site_of[of_a])) == len(of_a)
            if not once or not np.array_equal(site_of[of_a], site_of[of_b]):
                raise ValueError(f"labels {a} and {b} of class {kind} must be at the same sites")
            near = np.r_[order[cuts[a] : cuts[a + 1]], order[cuts[b] : cuts[b + 1]]]
            touched = np.unique(owner[near])
            size = np.diff(group_ptr)[touched]
            inside = literal[_ranges(group_ptr[touched], size)]
            starts = np.r_[0, np.cumsum(size)[:-1]][: len(size)]
            if not size.size:
                continue
            flag, sums = exact[touched].astype(np.uint64), []
            for _ in range(2):  # as they are, and after the exchange, which undoes itself
                own = np.add.reduceat(key[inside], starts) * np.uint64(2) + flag
                sums.append(np.sort(own))
                key[of_a], key[of_b] = key[of_b], key[of_a]
            if not np.array_equal(*sums):
                raise ValueError(f"exchanging labels {a} and {b} of class {kind} changes groups")


def _alike(structure: Cover, allowed: np.ndarray) -> np.ndarray:
    """int32 (R, K + 1): first label of the class that the row allows at the same sites; -1: none.

    A label that stands alone in its row is -1 too: there is nothing to exchange it with.
    """
    kinds = structure.label_class
    alike = np.full((len(allowed), len(kinds)), -1, np.int32)
    order = np.argsort(structure.label, kind="stable")
    starts = np.searchsorted(structure.label[order], np.arange(len(kinds) + 1))
    for kind in np.unique(kinds[kinds >= 0]):
        members = np.flatnonzero(kinds == kind)
        places = np.stack([order[starts[a] : starts[a + 1]] for a in members])  # (k, sites)
        pattern = np.packbits(allowed[:, places], axis=-1)  # (R, k, bytes)
        row = np.arange(len(allowed)).repeat(len(members)).reshape(*pattern.shape[:2], 1)
        keys = np.concatenate([row.view(np.uint8), pattern], -1).reshape(row.size, -1)
        _, index, same, count = np.unique(
            keys.view(f"V{keys.shape[1]}")[:, 0],
            return_index=True,
            return_inverse=True,
            return_counts=True,
        )
        first = members[index[same] % len(members)]
        alike[:, members] = np.where(count[same] > 1, first, -1).reshape(row.shape[:2])
    return alike


@fused(error_model="numpy")
def _budget(step, proved):
    """The first budget beyond what is proved; FAR after the last."""
    for k in range(1, BUDGETS + 1):
        if step * (k * (k + 1) // 2) > proved:
            return step * (k * (k + 1) // 2)
    return FAR


@fused(error_model="numpy")
def _search(offset, site_of, unit_ptr, unit_candidate, in_ptr, in_unit, full,
            move_ptr, move_block, block_ptr, reach_word, reach_mask, label,
            allowed, alike, nodes, wanted, begin, end,
            status, found, solutions, spent,
            price, below, above, steps, margin, paid, bound, listed):  # fmt: skip
    """Rows begin..end of `search`, or of `search_priced`: where `price` is None, what is said of
    prices is left out when this is compiled. Writes into status, found, solutions and spent, and
    into paid, bound and listed."""
    n = offset.size - 1
    candidates = site_of.size
    units = full.size
    symmetric = alike.shape[1] > 0
    alive = np.empty((candidates >> 6) + 1, np.int64)  # open candidates, the chosen ones included
    state = np.empty(units, np.int64)  # count and sum of the open candidates of each unit
    failures = np.empty(units, np.int64)
    ease = np.empty(units, np.int64)  # ONE / failures: a unit's rank is count * ease
    decided = np.empty(n, np.int64)
    uses = np.empty(alike.shape[1], np.int64)  # chosen candidates of each label
    queue = np.empty(units + candidates + 1, np.int64)  # moves
    trail = np.empty((candidates + 1, 2), np.int64)  # word and mask of what was ruled out
    chosen = np.empty(n + 1, np.int64)
    marks = np.empty((n + 1, 4), np.int64)  # per level: trails and choices before it, its candidate
    if price is not None:
        least = np.empty(n, np.int64)  # price of the cheapest open candidate of each site
        risen = np.empty((candidates + n, 2), np.int64)  # trail: a site, and its least before
        costly = np.empty(n, np.int64)  # sites whose prices differ
    row = begin
    work, budget = 0, np.int64(0)  # 0: the row is new
    while row < end:
        alive[:] = 0
        decided[:] = 0
        uses[:] = 0
        for u in range(units):
            state[u] = full[u]
            if budget == 0:
                failures[u] = PRIOR
                ease[u] = ONE // PRIOR
        for c in range(candidates):
            if allowed[row, c]:
                alive[c >> 6] |= np.int64(1) << (c & 63)
            else:
                for j in range(in_ptr[c], in_ptr[c + 1]):
                    state[in_unit[j]] -= ONE + c
        head, tail, level, top, picked, count = 0, 0, 0, 0, 0, 0
        outcome = LIMIT
        conflict = False
        if price is not None:
            if budget == 0:
                proved = above[row]  # no solution costs less
                budget = _budget(steps[row], proved)
            limit = min(budget, below[row])  # solutions must cost less
            excess = np.int64(FAR)  # the least that something ruled out for its price would cost
            lower = np.int64(0)  # no solution below this node costs less
            cheapest = np.int64(FAR)  # of the solutions found
            crowded = False  # some that are as good may have been left out
            lifts, dear, seen = 0, 0, np.int64(FAR)
            for i in range(n):
                low = np.int64(FAR)
                high = np.int64(0)
                for c in range(offset[i], offset[i + 1]):
                    if allowed[row, c]:
                        low = min(low, price[row, c])
                        high = max(high, price[row, c])
                least[i] = min(low, high)  # 0 where nothing is allowed
                lower += least[i]
                if high > low:
                    costly[dear] = i
                    dear += 1
            if lower >= limit:
                conflict = True
                excess = lower
        for u in range(units):
            if state[u] < ONE:
                conflict = True
            elif state[u] < PAIR:
                queue[tail] = state[u] & SUM
                tail += 1
        while True:
            while head < tail and not conflict:
                move = queue[head]
                head += 1
                word = np.int64(0)
                bit = np.int64(0)
                if move < candidates:
                    word = move >> 6
                    bit = np.int64(1) << (move & 63)
                    if alive[word] & bit == 0:
                        conflict = True
                        break
                    if decided[site_of[move]]:
                        continue
                    decided[site_of[move]] = 1
                    chosen[picked] = move
                    picked += 1
                    if symmetric:
                        uses[label[move]] += 1
                    alive[word] ^= bit  # hidden from its own groups
                    if price is not None:
                        site = site_of[move]
                        if price[row, move] > least[site]:
                            risen[lifts, 0] = site
                            risen[lifts, 1] = least[site]
                            lifts += 1
                            lower += price[row, move] - least[site]
                            least[site] = price[row, move]
                for k in range(move_ptr[move], move_ptr[move + 1]):
                    block = move_block[k]
                    for i in range(block_ptr[block], block_ptr[block + 1]):
                        w = reach_word[i]
                        gone = alive[w] & reach_mask[i]
                        if gone == 0:
                            continue
                        alive[w] ^= gone
                        trail[top, 0] = w
                        trail[top, 1] = gone
                        top += 1
                        while gone:
                            lost = np.int64(w) << 6
                            lost += trailing_zeros(gone)
                            gone &= gone - 1
                            if price is not None:
                                site = site_of[lost]
                                if price[row, lost] == least[site] and decided[site] == 0:
                                    low = np.int64(FAR)
                                    for c in range(offset[site], offset[site + 1]):
                                        if alive[c >> 6] >> (c & 63) & 1:
                                            low = min(low, price[row, c])
                                    if least[site] < low < FAR:
                                        risen[lifts, 0] = site
                                        risen[lifts, 1] = least[site]
                                        lifts += 1
                                        lower += low - least[site]
                                        least[site] = low
                            for j in range(in_ptr[lost], in_ptr[lost + 1]):
                                u = in_unit[j]
                                left = state[u] - (ONE + lost)
                                state[u] = left
                                if left < PAIR:
                                    if left >= ONE:
                                        queue[tail] = left & SUM
                                        tail += 1
                                    else:
                                        conflict = True
                                        failures[u] += 1
                                        ease[u] = ONE // failures[u]
                        if conflict:
                            break
                    if conflict:
                        break
                alive[word] |= bit
                if price is not None:
                    if lower >= limit:
                        conflict = True
                        excess = min(excess, lower)
            if price is not None:
                if not conflict and limit - lower < seen:  # rule out what is too costly by now
                    seen = limit - lower
                    head, tail = 0, 0
                    for j in range(dear):
                        site = costly[j]
                        if decided[site]:
                            continue
                        for c in range(offset[site], offset[site + 1]):
                            more = price[row, c] - least[site]
                            if more >= seen and alive[c >> 6] >> (c & 63) & 1:
                                excess = min(excess, lower + more)
                                queue[tail] = candidates + c
                                tail += 1
                    if tail:
                        continue
                if not conflict and level == 0 and count == 0:
                    proved = max(proved, lower)
            if not conflict and picked < n:
                first = np.int64(FAR)
                for u in range(units):  # two plain passes: the first one runs on vectors
                    rank = (state[u] >> 40) * ease[u]
                    first = min(first, rank if state[u] >= PAIR else np.int64(FAR))
                u = 0
                while state[u] < PAIR or (state[u] >> 40) * ease[u] != first:
                    u += 1
                k = unit_ptr[u]
                while alive[unit_candidate[k] >> 6] >> (unit_candidate[k] & 63) & 1 == 0:
                    k += 1
                if price is not None:  # the one that adds least
                    low = price[row, unit_candidate[k]] - least[site_of[unit_candidate[k]]]
                    for j in range(k + 1, unit_ptr[u + 1]):
                        c = np.int64(unit_candidate[j])
                        more = price[row, c] - least[site_of[c]]
                        if more < low and alive[c >> 6] >> (c & 63) & 1:
                            low = more
                            k = j
                if work == nodes:
                    break
                work += 1
                marks[level, 0] = top
                marks[level, 1] = picked
                marks[level, 2] = unit_candidate[k]
                if price is not None:
                    marks[level, 3] = lifts
                level += 1
                queue[0] = unit_candidate[k]
                head, tail = 0, 1
                continue
            if not conflict:
                place = count
                if price is not None:
                    if lower < cheapest:
                        if lower + margin <= cheapest:
                            crowded = False
                        kept = 0
                        for k in range(count):  # behind the new one, those that are near it
                            if paid[row, k] < lower + margin:
                                paid[row, kept] = paid[row, k]
                                put(solutions[row, kept], solutions[row, k])
                                kept += 1
                        count = kept
                        place = 0
                        if 0 < kept < wanted:
                            paid[row, kept] = paid[row, 0]
                            put(solutions[row, kept], solutions[row, 0])
                        elif kept == wanted:
                            count -= 1
                        cheapest = lower
                    paid[row, place] = lower
                for k in range(n):
                    site = site_of[chosen[k]]
                    solutions[row, place, site] = chosen[k] - offset[site]
                count += 1
                if price is None:
                    if count == wanted:
                        outcome = ENOUGH
                        break
                else:
                    crowded |= count == wanted and margin > 0
                    limit = cheapest if crowded else min(limit, cheapest + margin)
            if level == 0:
                outcome = EXHAUSTED
                break
            level -= 1  # back to the last decision, which is now ruled out
            conflict = False
            while top > marks[level, 0]:
                top -= 1
                w = trail[top, 0]
                back = trail[top, 1]
                alive[w] |= back
                while back:
                    c = (w << 6) + trailing_zeros(back)
                    back &= back - 1
                    for j in range(in_ptr[c], in_ptr[c + 1]):
                        state[in_unit[j]] += ONE + c
            if price is not None:
                seen = np.int64(FAR)
                while lifts > marks[level, 3]:
                    lifts -= 1
                    site = risen[lifts, 0]
                    lower += risen[lifts, 1] - least[site]
                    least[site] = risen[lifts, 1]
            while picked > marks[level, 1]:
                picked -= 1
                decided[site_of[chosen[picked]]] = 0
                if symmetric:
                    uses[label[chosen[picked]]] -= 1
            refuted = marks[level, 2]
            queue[0] = candidates + refuted
            head, tail = 0, 1
            if symmetric and uses[label[refuted]] == 0 and alike[row, label[refuted]] >= 0:
                site = site_of[refuted]  # and with it the labels no choice tells apart from it
                for c in range(offset[site], offset[site + 1]):
                    same = alike[row, label[c]] == alike[row, label[refuted]]
                    if same and c != refuted and uses[label[c]] == 0:
                        queue[tail] = candidates + c
                        tail += 1
        if price is not None:
            if outcome == EXHAUSTED:
                proved = max(proved, min(excess, cheapest))
                if count == 0 and proved < below[row]:
                    budget = _budget(steps[row], proved)
                    continue
                if count and not crowded and budget < min(cheapest + margin, below[row]):
                    budget = cheapest + margin  # what is near the cheapest may lie beyond it
                    continue
            bound[row] = proved
            near = cheapest + margin <= budget or budget >= below[row]
            listed[row] = outcome == EXHAUSTED and near and not crowded
        status[row] = outcome
        found[row] = count
        spent[row] = work
        work, budget = 0, np.int64(0)
        row += 1
