"""Complete search over sites whose rules are lists of allowed combinations (dictionaries, tables).

Every scope keeps, as bits, which combinations of its list are still possible. A value that leaves a
site takes the combinations that hold it out of every scope there; a value that no possible
combination of a scope holds leaves its site; so on to the fixpoint (compact-table: Demeulenaere et
al., CP 2016). A node branches on the site of least values / weight, the weights of a site being
those of its scopes, and each scope weighs the more the more often it ran empty (Boussemart et al.,
ECAI 2004): one branch gives the site the value that leaves most combinations, the other takes that
value away. Values are bits of one word, so a site has at most 64.

What is kept of a search is its path, a list of branches; `search` walks it again and goes on.
"""

from typing import NamedTuple

import numpy as np

from engine.kernels.fused import fused, put, trailing_zeros
from engine.kernels.philox import philox

LIMIT, SATISFIED, REFUTED = 0, 1, 2
ONE, ZERO = np.uint64(1), np.uint64(0)
NOISE = 1.0  # of the worth of a value, from the second run on


class Lists(NamedTuple):
    """Scopes and their lists as arrays."""

    start: np.ndarray  # (S + 1,) int64 where the sites of each scope begin
    site: np.ndarray  # (A,) int64
    words: np.ndarray  # (S,) int64 of the bits of each scope
    first: np.ndarray  # (S + 1,) int64 where these begin, of all scopes
    whole: np.ndarray  # (B,) uint64 the bits where everything is possible
    support: np.ndarray  # (A,) int64 where the supports of the values of this place begin
    bits: np.ndarray  # (P,) uint64 which combinations hold a value: `words` a value
    near_start: np.ndarray  # (n + 1,) int64
    near: np.ndarray  # (A,) int64 the places of `site` at which each site stands
    owner: np.ndarray  # (A,) int64 the scope of each place


@fused(inline="always")
def _count(word):
    """How many bits are 1. Source: Warren, Hacker's Delight."""
    x = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


@fused()
def _filter(s, c, domain, possible, seen, residue, mask, changed):
    """Brings one scope to its fixpoint; marks the places whose sites lost values. -> it is empty"""
    words, first = s.words[c], s.first[c]
    for e in range(s.start[c], s.start[c + 1]):
        now = domain[s.site[e]]
        if now == seen[e]:
            continue
        gone = seen[e] & ~now
        base = s.support[e]
        if _count(gone) < _count(now):
            while gone != ZERO:
                v = trailing_zeros(gone)
                gone &= gone - ONE
                for w in range(words):
                    possible[first + w] &= ~s.bits[base + v * words + w]
        else:
            mask[:words] = ZERO
            left = now
            while left != ZERO:
                v = trailing_zeros(left)
                left &= left - ONE
                for w in range(words):
                    mask[w] |= s.bits[base + v * words + w]
            for w in range(words):
                possible[first + w] &= mask[w]
    empty = True
    for w in range(words):
        if possible[first + w] != ZERO:
            empty = False
            break
    if empty:
        return True
    for e in range(s.start[c], s.start[c + 1]):
        i = s.site[e]
        base = s.support[e]
        left = domain[i]
        while left != ZERO:
            v = trailing_zeros(left)
            left &= left - ONE
            r = residue[e, v]
            if possible[first + r] & s.bits[base + v * words + r] != ZERO:
                continue
            found = False
            for w in range(words):
                if possible[first + w] & s.bits[base + v * words + w] != ZERO:
                    residue[e, v] = w
                    found = True
                    break
            if not found:
                domain[i] &= ~(ONE << np.uint64(v))
                changed[e] = 1
        seen[e] = domain[i]
    return False


@fused()
def search(s, allowed, path, weight, key, run, fails):
    """Goes on with a search for at most so many failures.

    allowed (n,) uint64: the values of each site. path (D, 3) int64: site, value, and 1 where the
    site was given it, 0 where it was taken away. weight (S,): of the scopes, changed in place.
    -> (status, path, values left of each site (n,), failures)
    """
    n, scopes = len(allowed), len(s.words)
    domain = allowed.copy()
    possible = s.whole.copy()
    seen = np.zeros(len(s.site), dtype=np.uint64)
    seen[:] = ~ZERO
    residue = np.zeros((len(s.site), 64), dtype=np.int64)
    widest = 1
    for c in range(scopes):
        widest = max(widest, s.words[c])
    mask = np.zeros(widest, dtype=np.uint64)
    changed = np.zeros(len(s.site), dtype=np.uint8)
    queue, queued = np.zeros(scopes + 1, dtype=np.int64), np.zeros(scopes, dtype=np.uint8)
    deepest = 1
    for i in range(n):
        deepest += _count(allowed[i])
    steps = np.zeros((deepest + 1, 3), dtype=np.int64)
    stood = np.zeros((deepest + 1, n), dtype=np.uint64)  # domains before each step
    marks = np.zeros(deepest + 1, dtype=np.int64)  # entries of the trail before each step
    trail = np.zeros(1024, dtype=np.int64)  # scopes as they were saved
    saved, top, entries = np.zeros(1 << 14, dtype=np.uint64), 0, 0
    stamp, now = np.zeros(scopes, dtype=np.int64), 1
    depth, replay, failed, nodes = 0, 0, 0, 0
    head, tail = 0, 0
    for c in range(scopes):
        queue[tail] = c
        queued[c] = 1
        tail += 1
    while True:
        # --- to the fixpoint
        broken = False
        for i in range(n):
            if domain[i] == ZERO:
                broken = True
        while head != tail and not broken:
            c = queue[head]
            head = (head + 1) % (scopes + 1)
            queued[c] = 0
            if depth > 0 and stamp[c] != now:  # as it was before this step
                stamp[c] = now
                own = s.words[c] + s.start[c + 1] - s.start[c]
                if top + own > len(saved):
                    more = np.zeros(2 * len(saved) + own, dtype=np.uint64)
                    put(more[:top], saved[:top])
                    saved = more
                if entries == len(trail):
                    longer = np.zeros(2 * len(trail), dtype=np.int64)
                    put(longer[:entries], trail)
                    trail = longer
                for w in range(s.words[c]):
                    saved[top + w] = possible[s.first[c] + w]
                top += s.words[c]
                for e in range(s.start[c], s.start[c + 1]):
                    saved[top] = seen[e]
                    top += 1
                trail[entries] = c
                entries += 1
            if _filter(s, c, domain, possible, seen, residue, mask, changed):
                weight[c] += 1.0
                broken = True
            for e in range(s.start[c], s.start[c + 1]):
                if changed[e] == 0:
                    continue
                changed[e] = 0
                i = s.site[e]
                if domain[i] == ZERO:
                    if not broken:
                        weight[c] += 1.0
                    broken = True
                for q in range(s.near_start[i], s.near_start[i + 1]):
                    d = s.owner[s.near[q]]
                    if d != c and queued[d] == 0:
                        queued[d] = 1
                        queue[tail] = d
                        tail = (tail + 1) % (scopes + 1)
        # --- back where nothing is possible
        site, value, given = np.int64(-1), np.int64(0), np.int64(1)
        if broken:
            while head != tail:
                queued[queue[head]] = 0
                head = (head + 1) % (scopes + 1)
            failed += 1
            replay = len(path)
            while depth > 0:
                depth -= 1
                while entries > marks[depth]:
                    entries -= 1
                    c = trail[entries]
                    top -= s.start[c + 1] - s.start[c]
                    for e in range(s.start[c], s.start[c + 1]):
                        seen[e] = saved[top + e - s.start[c]]
                    top -= s.words[c]
                    for w in range(s.words[c]):
                        possible[s.first[c] + w] = saved[top + w]
                put(domain, stood[depth])
                if steps[depth, 2] == 1:
                    site, value, given = steps[depth, 0], steps[depth, 1], np.int64(0)
                    break
            if site < 0:
                return REFUTED, steps[:0].copy(), domain, failed
        elif replay < len(path):
            site, value, given = path[replay, 0], path[replay, 1], path[replay, 2]
            replay += 1
        else:
            best = np.inf
            for i in range(n):
                size = _count(domain[i])
                if size < 2:
                    continue
                heavy = 1e-9
                for q in range(s.near_start[i], s.near_start[i + 1]):
                    heavy += weight[s.owner[s.near[q]]]
                if size / heavy < best:
                    best, site = size / heavy, np.int64(i)
            if site < 0:
                return SATISFIED, steps[:depth].copy(), domain, failed
            if failed >= fails:
                return LIMIT, steps[:depth].copy(), domain, failed
            most, left = -1.0, domain[site]
            while left != ZERO:
                v = trailing_zeros(left)
                left &= left - ONE
                worth = 1.0
                for q in range(s.near_start[site], s.near_start[site + 1]):
                    e = s.near[q]
                    c, base = s.owner[e], s.support[e]
                    total = 0
                    for w in range(s.words[c]):
                        total += _count(
                            possible[s.first[c] + w] & s.bits[base + v * s.words[c] + w]
                        )
                    worth *= total
                c0, _, _, _ = philox(
                    np.uint64(v), np.uint64(nodes), np.uint64(run), np.uint64(7), key[0], key[1]
                )
                worth *= 1.0 + NOISE * min(run, 1) * np.float64(np.int64(c0)) / 2.0**32
                if worth > most:
                    most, value = worth, np.int64(v)
            nodes += 1
        # --- one step further
        steps[depth, 0], steps[depth, 1], steps[depth, 2] = site, value, given
        put(stood[depth], domain)
        marks[depth] = entries
        depth += 1
        now += 1
        bit = ONE << np.uint64(value)
        domain[site] = bit if given == 1 else domain[site] & ~bit
        for q in range(s.near_start[site], s.near_start[site + 1]):
            d = s.owner[s.near[q]]
            if queued[d] == 0:
                queued[d] = 1
                queue[tail] = d
                tail = (tail + 1) % (scopes + 1)
