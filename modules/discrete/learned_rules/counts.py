"""What examples show: how often each possible rule has an exception, and how often chance would.

Two kinds of examples: with relations (any pair of sites in a line of the relation counts alike), or
without (every pair of sites is a relation of its own). Possible rules of a relation, by code:
DIFFERENT (the two sites never agree), EQUAL (they always agree), or a cell a * k + b (value a at
the one and b at the other never stand together; in a line the order does not matter).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from engine.decimals import Floats, Ints
from engine.errors import BadQuery, Mistake
from engine.factors import floats, ints
from modules.discrete.learned_rules.examples import Board, Solved
from modules.discrete.learned_rules.relations import Lines, all_pairs, pairs_of
from modules.discrete.learned_rules.significance import Bools, Candidates

DIFFERENT, EQUAL = -1, -2
LITERALS = 4000  # sites times values up to which every pair of sites is looked at


class LineCounts:
    """Counts of examples with relations."""

    def __init__(self, solved: Solved):
        self.solved, k = solved, len(solved.values)
        self.k = k
        size = (solved.count, len(solved.relations))
        self.seen = np.zeros((*size, k, k))  # (N, C, k, k) pairs with values a <= b
        self.expected = np.zeros((len(solved.relations), k, k))
        self.cover = np.ones(len(solved.relations))
        self.absent = np.zeros((*size, k))  # (N, C, k) lines without value a
        self.absent_expected = np.zeros((len(solved.relations), k))
        self.absent_cover = np.ones(len(solved.relations))
        first = 0
        for board in solved.boards:
            mine = slice(first, first + len(board.places))
            counts = np.stack([(board.places == a).sum(1) for a in range(k)], 1)  # (N, k)
            for c, name in enumerate(solved.relations):
                self._add(board, board.lines[name], counts, c, mine)
            first = mine.stop

    def _add(self, board: Board, lines: Lines, counts: Ints, c: int, mine: slice) -> None:
        pairs, n, k = pairs_of(lines), board.sites, self.k
        if not len(pairs):
            return
        one, other = board.places[:, pairs[:, 0]], board.places[:, pairs[:, 1]]  # (N, M)
        code = np.minimum(one, other) * k + np.maximum(one, other)
        row = np.arange(len(code))[:, None] * k * k
        flat = np.bincount((row + code).ravel(), minlength=len(code) * k * k)
        self.seen[mine, c] = flat.reshape(-1, k, k)
        # the values of an example over its sites in any order: two of them without replacement
        both = counts[:, :, None] * (counts[:, None] - np.eye(k)) / (n * (n - 1))  # (N, k, k)
        both = np.triu(both + both.swapaxes(1, 2) - both * np.eye(k))
        self.expected[c] += len(pairs) * both.sum(0)
        degree = np.bincount(pairs.ravel()).max()
        self.cover[c] = max(self.cover[c], degree + 1)  # Vizing: so many sets of disjoint pairs
        for line in lines:
            here = board.places[:, line]
            for a in range(k):
                self.absent[mine, c, a] += (here != a).all(1)
                self.absent_expected[c, a] += _none(counts[:, a], n, len(line)).sum()
        self.absent_cover[c] = max(self.absent_cover[c], _overlap(lines, n))

    def shapes(self) -> Candidates:
        """DIFFERENT and EQUAL of each relation."""
        eye = np.eye(self.k, dtype=bool)
        seen = np.stack([self.seen[..., eye].sum(-1), self.seen[..., ~eye].sum(-1)], -1)
        mean = np.stack([self.expected[..., eye].sum(-1), self.expected[..., ~eye].sum(-1)], -1)
        return self._tests(seen, mean, ints([DIFFERENT, EQUAL]), self.cover)

    def cells(self) -> Candidates:
        """Each pair of values of each relation."""
        upper = np.flatnonzero(np.triu(np.ones((self.k, self.k))))
        seen = self.seen.reshape(*self.seen.shape[:2], -1)[..., upper]
        mean = self.expected.reshape(len(self.expected), -1)[:, upper]
        return self._tests(seen, mean, upper, self.cover)

    def presences(self) -> Candidates:
        """Each value of each relation: that it stands in every line."""
        codes = np.arange(self.k)
        return self._tests(self.absent, self.absent_expected, codes, self.absent_cover)

    def _tests(self, seen: Floats, mean: Floats, codes: Ints, cover: Floats) -> Candidates:
        """seen: (N, C, T), mean: (C, T)"""
        classes, width = mean.shape
        label = np.stack([np.repeat(np.arange(classes), width), np.tile(codes, classes)], 1)
        flat = seen.reshape(len(seen), -1)

        def exceptions(tests: Ints) -> Bools:
            return flat[:, tests].T > 0

        return Candidates(label, flat.sum(0), mean.ravel(), np.repeat(cover, width), exceptions)


class PairCounts:
    """Counts of examples without relations: relation c is the pair of sites `pairs[c]`."""

    def __init__(self, solved: Solved):
        (board,) = solved.boards
        self.x, self.k = board.places, len(solved.values)
        n = self.x.shape[1]
        if n * self.k > LITERALS:
            raise BadQuery(
                Mistake(
                    "relations",
                    f"without them {n} sites of {self.k} values are too many pairs",
                    "name relations, such as row, column, diagonal",
                )
            )
        self.pairs = all_pairs(n)  # (P, 2)
        self.hot = np.eye(self.k, dtype=np.float32)[self.x].reshape(len(self.x), -1)  # (N, n k)
        self.share = self.hot.mean(0, dtype=np.float64)  # (n k,)
        one, other = self.pairs.T
        both = (self.hot.T @ self.hot).reshape(n, self.k, n, self.k)
        self.seen = both[one, :, other].astype(np.float64)  # (P, k, k)
        shares = self.share.reshape(n, self.k)
        self.expected = len(self.x) * shares[one][:, :, None] * shares[other][:, None]

    def shapes(self) -> Candidates:
        """DIFFERENT and EQUAL of each pair of sites."""
        label, means, counts = [], [], []
        for code in (DIFFERENT, EQUAL):
            mask = np.eye(self.k, dtype=bool) ^ (code == EQUAL)
            label.append(np.stack([np.arange(len(self.pairs)), np.full(len(self.pairs), code)], 1))
            counts.append(self.seen[:, mask].sum(-1))
            means.append(self.expected[:, mask].sum(-1))
        names = np.concatenate(label)

        def exceptions(tests: Ints) -> Bools:
            one, other = self.pairs[names[tests, 0]].T
            agree = (self.x[:, one] == self.x[:, other]).T  # (m, N)
            return agree ^ (names[tests, 1] == EQUAL)[:, None]

        return Candidates(
            names, np.concatenate(counts), np.concatenate(means), np.ones(1), exceptions
        )

    def even_shapes(self) -> Candidates:
        """DIFFERENT and EQUAL where no value is special: then any renaming of the values turns
        examples into examples, and chance is even, whatever a collection of them favours. Pairs
        that had no exception to expect by their shares are left open all the same."""
        tests, n = self.shapes(), len(self.x)
        chance = np.where(tests.label[:, 1] == DIFFERENT, 1 / self.k, 1 - 1 / self.k)
        return replace(tests, expected=np.where(tests.expected >= 1, n * chance, 0.0))

    def cells(self) -> Candidates:
        """Each pair of values of each pair of sites."""
        size = self.k * self.k
        pair = np.repeat(np.arange(len(self.pairs)), size)
        label = np.stack([pair, np.tile(np.arange(size), len(self.pairs))], 1)

        def exceptions(tests: Ints) -> Bools:
            (one, other), code = self.pairs[label[tests, 0]].T, label[tests, 1]
            left, right = one * self.k + code // self.k, other * self.k + code % self.k
            return (self.hot[:, left] * self.hot[:, right]).T > 0

        return Candidates(label, self.seen.ravel(), self.expected.ravel(), np.ones(1), exceptions)

    def given_known(self, known: Bools, alike: bool) -> Candidates:
        """DIFFERENT of further pairs, beside rules already known. known: (P,) bool

        Asked of the pairs that share a clique of known rules with at least half as many sites as
        there are values. Chance is taken given the sites of that clique: of the values that are
        left, the two sites choose independently. So a pair that seldom meets by its shares alone is
        judged by how often it could have met inside its group. alike: no value is special, so that
        all values left are as likely; else by their shares.
        """
        n = self.x.shape[1]
        near = np.zeros((n, n), dtype=bool)
        one, other = self.pairs[known].T
        near[one, other] = near[other, one] = True
        shared = near.astype(np.float32) @ near
        asked: list[int] = []
        means: list[float] = []
        for pair in np.flatnonzero(~known & (shared[tuple(self.pairs.T)] >= self.k // 2)).tolist():
            a, b = self.pairs[pair].tolist()
            group = _clique(near, np.flatnonzero(near[a] & near[b]))
            if len(group) >= self.k // 2:
                asked.append(pair)
                means.append(self._meetings(a, b, group, alike))
        chosen = self.pairs[ints(asked)]
        agree = (self.x[:, chosen[:, 0]] == self.x[:, chosen[:, 1]]).T
        label = np.stack([ints(asked), np.full(len(asked), DIFFERENT)], 1)
        return Candidates(
            label, agree.sum(1).astype(float), floats(means), np.ones(1), lambda tests: agree[tests]
        )

    def _meetings(self, a: int, b: int, group: Ints, alike: bool) -> float:
        """How often two sites agree when each takes one of the values that the group leaves."""
        shares = np.ones_like(self.share) if alike else self.share
        shares = shares.reshape(-1, self.k)
        left = np.ones((len(self.x), self.k), dtype=bool)  # (N, k)
        left[np.arange(len(self.x))[:, None], self.x[:, group]] = False
        first, second = shares[a] * left, shares[b] * left
        whole = first.sum(1) * second.sum(1)
        meet = (first * second).sum(1)
        return float(np.divide(meet, whole, out=np.zeros_like(meet), where=whole > 0).sum())

    def presences(self, groups: Sequence[Sequence[tuple[int, int]]]) -> Candidates:
        """Each group of literals (site, place): that one of them is true in every example."""
        rows = [[site * self.k + place for site, place in group] for group in groups]
        none = np.array([(self.hot[:, row].sum(1) == 0) for row in rows]).reshape(len(rows), -1)
        mean = floats(len(self.x) * np.prod(1 - self.share[row]) for row in rows)
        label = np.stack([np.arange(len(rows)), np.zeros(len(rows))], 1).astype(np.int64)
        return Candidates(label, none.sum(1).astype(float), mean, np.ones(1), lambda t: none[t])


def _none(count: Ints, sites: int, drawn: int) -> Floats:
    """The chance that none of `count` sites is among `drawn` of all sites. -> (N,)"""
    steps = np.arange(drawn)
    return np.clip((sites - count[:, None] - steps) / (sites - steps), 0, None).prod(1)


def _overlap(lines: Lines, sites: int) -> int:
    """The most lines that share a site with one line, itself included."""
    member = np.zeros((len(lines), sites), dtype=np.float32)
    for k, line in enumerate(lines):
        member[k, line] = 1
    return int(((member @ member.T) > 0).sum(1).max())


def _clique(near: Bools, candidates: Ints) -> Ints:
    """A clique among the candidates, grown by the site with most neighbours in reach."""
    members = []
    while len(candidates):
        reach = near[np.ix_(candidates, candidates)].sum(1)
        best = candidates[int(reach.argmax())]
        members.append(best)
        candidates = candidates[near[best][candidates]]
    return ints(members)
