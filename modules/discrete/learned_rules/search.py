"""Rules found from solved examples: tested one by one, then merged into groups."""

import math
from dataclasses import dataclass

import numpy as np

from engine.decimals import Ints
from engine.errors import BadQuery, Mistake
from engine.factors import Different, Factors, ints
from engine.factors.tightened import tighten
from modules.discrete.learned_rules.counts import DIFFERENT, EQUAL, LineCounts, PairCounts
from modules.discrete.learned_rules.examples import Solved
from modules.discrete.learned_rules.relations import Lines, all_pairs
from modules.discrete.learned_rules.significance import (
    Bools,
    Candidates,
    blamed,
    needed,
    strong,
    threshold,
)

ALIKE = 0.9  # share of the evidence
LOOKS = 8  # families of tests that share the chance of an error: four, each looked at twice

Label = tuple[int, int]  # relation, code
Literals = tuple[tuple[int, int], ...]  # (site, place of the value)


@dataclass(frozen=True, eq=False)
class Rules:
    """What examples show. Relation c is a name, or without names the c-th pair of sites."""

    values: tuple[str, ...]
    relations: tuple[str, ...]  # none: every pair of sites
    sites: int  # of an example; 0 with relations, which serve boards of any size
    different: Ints  # (D,) relations whose two sites never agree
    forbidden: Ints  # (F, 3) relation, value, value: never together
    present: Ints  # (Q, 2) relation, value: it stands in every line
    lines: Lines  # without relations: the different pairs, merged
    groups: tuple[Literals, ...]  # without relations: the forbidden pairs, merged: at most one
    exact: tuple[bool, ...]  # of each group: exactly one
    examples: int
    confidence: float
    noise: float
    suspects: tuple[int, ...]  # where examples stand that break a rule
    alike: bool  # no value is special: only rules on whether two values are the same
    left_out: int  # rules on single values that were left out for that
    open: int  # rules that no example breaks, and that too few examples speak for

    @property
    def count(self) -> int:
        """Rules, before they were merged."""
        return len(self.different) + len(self.forbidden) + len(self.present)


def find_rules(
    solved: Solved, confidence: float = 0.99, noise: float = 0.1, alike: bool | None = None
) -> Rules:
    """The rules that examples speak for.

    confidence: 1 - the chance that any rule is false (evidence.py says under which assumption).
    noise: the share of examples that may be wrong. alike: whether no value is special, so that a
    rule can only ask whether two values are the same; None: it is so where rules of this kind carry
    `ALIKE` of all evidence (collected examples often favour some values at some sites, which is no
    rule). Raises BadQuery where no rule is found.
    """
    for name, value in (("confidence", confidence), ("noise", noise)):
        if not 0 <= value < 1:
            raise BadQuery(Mistake(name, f"{value!r}", "give a number from 0 to below 1"))
    search = _Search(solved, 1 - confidence, noise, alike)
    search.look()
    if search.broken.any():
        search.look()  # without the examples that break a rule
    if not search.found:
        raise BadQuery(Mistake("", *search.too_few()))
    return search.rules(confidence, noise)


class _Search:
    """Accepted rules so far, and the examples that break one of them."""

    def __init__(self, solved: Solved, alpha: float, noise: float, alike: bool | None):
        self.solved, self.alpha, self.alike = solved, alpha, alike
        self.left_out = 0
        self.allowance = int(noise * solved.count)
        widest = max(board.sites for board in solved.boards)
        # calling an example wrong takes: that it is one of the wrong ones, where, and which value
        self.price = math.log(widest * len(solved.values) / noise) if noise else math.inf
        self.broken: Bools = np.zeros(solved.count, dtype=bool)
        self.kept = np.arange(solved.count)  # the examples that this look is at
        self.found: set[Label] = set()
        self.present: set[Label] = set()
        self.families: tuple[Candidates, ...] = ()

    def limit(self, tests: int) -> float:
        """What ln P must not exceed in a family of so many tests."""
        return threshold(self.alpha / LOOKS, tests)

    def take(self, *families: Candidates) -> list[set[Label]]:
        """The labels of the accepted tests of each family. Examples that break an accepted rule are
        marked: they are wrong, as the rule is worth more than they are."""
        before = self.broken[self.kept]
        chosen, exceptions, worth = [], [], []
        for tests in families:
            limit = self.limit(tests.count)
            found = strong(tests, limit)
            chosen.append(found)
            exceptions.append(tests.exceptions(found))
            worth.append(limit - tests.surprise()[found])
        against = np.concatenate(exceptions) & ~before
        open_rules = against.any(1)
        allowance = self.allowance - int(self.broken.sum())
        blame = blamed(
            against[open_rules], np.concatenate(worth)[open_rules], self.price, allowance
        )
        self.broken[self.kept] |= blame
        good = ~(against & ~blame).any(1)
        ends = np.cumsum([len(found) for found in chosen])[:-1]
        return [
            {(int(c), int(code)) for c, code in tests.label[found[mine]]}
            for tests, found, mine in zip(families, chosen, np.split(good, ends), strict=True)
        ]

    def look(self) -> None:
        """Every family of tests once, over the examples that broke no rule before."""
        self.kept = np.flatnonzero(~self.broken)
        solved = self.solved.kept(~self.broken)
        counts = LineCounts(solved) if solved.relations else PairCounts(solved)
        self.families = (counts.shapes(), counts.cells())
        if self.alike is None:
            self.alike = self._alike()
        if self.alike and isinstance(counts, PairCounts):
            self.families = (counts.even_shapes(), self.families[1])
        asked = self.families[: 1 if self.alike else 2]
        if isinstance(counts, LineCounts):
            *new, present = self.take(*asked, counts.presences())
            self.present |= present
        else:
            new = self.take(*asked)
        self.found = self.found.union(*new)
        if isinstance(counts, PairCounts):
            self._complete(counts)

    def _alike(self) -> bool:
        """Whether rules on the same and not the same carry nearly all evidence."""
        shapes, cells = self.families
        k = len(self.solved.values)
        sure = strong(shapes, self.limit(shapes.count))
        told = {(int(c), int(code)) for c, code in shapes.label[sure]}
        rest = strong(cells, self.limit(cells.count))
        own = [
            (c, EQUAL if code % (k + 1) else DIFFERENT) not in told
            for c, code in cells.label[rest].tolist()
        ]
        evidence = -shapes.surprise()[sure].sum()
        other = -cells.surprise()[rest][own].sum()
        alike = bool(evidence > ALIKE * (evidence + other))
        self.left_out = sum(own) if alike else 0
        return alike

    def _complete(self, counts: PairCounts) -> None:
        """Pairs that chance seldom brings together, judged in their group, until none is new."""
        while True:
            known = np.zeros(len(counts.pairs), dtype=bool)
            known[[c for c, code in self.found if code == DIFFERENT]] = True
            (new,) = self.take(counts.given_known(known, bool(self.alike)))
            if not new:
                return
            self.found |= new

    def too_few(self) -> tuple[str, str]:
        """Why nothing was found, and what would help."""
        n = self.solved.count
        tries = [needed(tests, self.limit(tests.count), n) for tests in self.families]
        enough = min((t for t in tries if t is not None), default=None)
        if enough is None:
            return (
                f"{n} examples break every rule that could be asked for",
                "name other relations, or allow for more noise",
            )
        return (
            f"{n} examples are too few to be sure of any rule",
            f"give about {enough}, name relations, or ask for less confidence",
        )

    def rules(self, confidence: float, noise: float) -> Rules:
        """What was accepted, without what follows from it, and merged."""
        solved, k = self.solved, len(self.solved.values)
        different = sorted(c for c, code in self.found if code == DIFFERENT)
        same = {c for c, code in self.found if code == EQUAL}
        shaped = set(different)
        cells = {
            (c, code // k, code % k)
            for c, code in self.found
            if code >= 0 and not (c in shaped if code // k == code % k else c in same)
        }
        cells |= {(c, a, b) for c in same for a in range(k) for b in range(k) if a != b}
        if solved.relations:
            cells = {(c, min(a, b), max(a, b)) for c, a, b in cells}
        forbidden = np.array(sorted(cells), dtype=np.int64).reshape(-1, 3)
        lines, groups, exact = self._merged(different, forbidden)
        return Rules(
            solved.values,
            solved.relations,
            0 if solved.relations else solved.boards[0].sites,
            ints(different),
            forbidden,
            np.array(sorted(self.present), dtype=np.int64).reshape(-1, 2),
            lines,
            groups,
            exact,
            solved.count,
            confidence,
            noise,
            tuple(sorted(solved.numbers[self.broken].tolist())),
            bool(self.alike),
            self.left_out,
            self._open(),
        )

    def _merged(
        self, different: list[int], forbidden: Ints
    ) -> tuple[Lines, tuple[Literals, ...], tuple[bool, ...]]:
        """Pairs of sites as groups. With relations, lines are the groups: nothing to merge."""
        if self.solved.relations:
            return [], (), ()
        sites, k = self.solved.boards[0].sites, len(self.solved.values)
        pairs = all_pairs(sites)
        lines = cliques(pairs[different].tolist(), sites)
        groups = literal_cliques(pairs, forbidden, sites, k)
        if not groups:
            return lines, (), ()
        self.kept = np.flatnonzero(~self.broken)
        counts = PairCounts(self.solved.kept(~self.broken))
        (exact,) = self.take(counts.presences(groups))
        return lines, groups, tuple((g, 0) in exact for g in range(len(groups)))

    def _open(self) -> int:
        """Rules that no example breaks, yet without enough evidence; of shapes only, since single
        cells that never occur are many by chance."""
        shapes = self.families[0]
        never = (shapes.observed == 0) & (shapes.expected > 0)
        return sum((int(c), int(code)) not in self.found for c, code in shapes.label[never])


def cliques(pairs: Lines, nodes: int) -> Lines:
    """Pairs merged into cliques that cover them all, each sorted."""
    if not pairs:
        return []
    sites = ints([site for pair in pairs for site in pair])
    start = np.arange(0, len(sites) + 1, 2)
    many = np.full(nodes, nodes + 1)  # values: enough that no clique is too large
    zeros = np.zeros(len(pairs), dtype=np.int64)
    merged = tighten(Factors(many, nodes, different=Different(start, sites, zeros, zeros)))
    return sorted(sorted(line.tolist()) for line in merged.different.lines())


def literal_cliques(pairs: Ints, forbidden: Ints, sites: int, k: int) -> tuple[Literals, ...]:
    """Forbidden pairs of values merged into groups of which at most one literal is true; the
    literals of one site exclude each other as well, so that they may share a group."""
    if not len(forbidden):
        return ()
    relation, a, b = forbidden.T
    one, other = pairs[relation].T
    literals = np.stack([one * k + a, other * k + b], 1)
    touched = np.unique(literals // k)
    own = [
        [int(s) * k + v, int(s) * k + w] for s in touched for v in range(k) for w in range(v + 1, k)
    ]
    merged = cliques([*literals.tolist(), *own], sites * k)
    return tuple(
        tuple((literal // k, literal % k) for literal in group)
        for group in merged
        if len({literal // k for literal in group}) > 1
    )
