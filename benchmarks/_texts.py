"""Ciphers of news (Penn Treebank), crosswords of ENABLE, automata beside runs of letters.

Seconds are those of the CPU. The counts were made of Brown and WikiText-2, never of the Penn
Treebank. What came out worse: runs of 4 letters alone decipher 99 of 100 texts of 300 letters, one
with `b` and `f` exchanged, which they think likelier; so they stand in for runs of 5, whose table of
27^5 costs is too large to be explicit. Clause learning over selectors
of words, which filled crosswords before there was a search of lists, took 3 to 12 s and 1.5 GB for
13 x 13, and gave two of ten up after a minute of a busy machine.
"""

import gzip
import itertools
import random
import re
import string
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import Row, at_least, at_most, clock, data_folder, missing, one_core
from engine import Budget, Finite, Problem, Status, Variable, answers, required
from engine.minimizers.branch_and_bound import BranchAndBound
from modules.discrete.all_different import AllDifferent
from modules.language.cipher import Cipher
from modules.language.in_dictionary import InDictionary
from modules.language.ngram.term import NGram
from modules.language.ngram.train import fold
from modules.language.pattern import Pattern
from services.formats.cipher import ORDER, PARTICLES
from services.formats.crossword import BLOCK, OPEN, lines_of_grid

LETTERS = string.ascii_lowercase
TEXTS, RIGHT = 100, 0.98
SIDE, BLOCKS = 13, 44


def ciphers(data: Path | None = None, seed: int = 0, share: float = 1.0) -> list[Row]:
    """Texts under random keys: how many are deciphered, and in which time."""
    folder = data_folder(data)
    if folder is None:
        return [missing("ciphers", None, "", "no data; set BASIN_DATA")]
    news = (folder / "language" / "ptb.valid.txt").read_text().replace("<unk>", " ")
    news = re.sub(r"\bN\b", " ", news)
    rows = []
    count = max(1, int(TEXTS * share))
    cases = (
        ("300 letters with blanks", 300, " " + LETTERS, "english.safetensors", 100.0),
        ("150 letters without blanks", 150, LETTERS, "english_joined.safetensors", 85.0),
    )
    for name, length, alphabet, weights, wanted in cases:
        rng = np.random.default_rng(seed)
        text, solved, seconds = fold(news, alphabet, True), 0, list[float]()
        for _ in range(count):
            start = int(rng.integers(0, len(text) - length))
            plain = text[start : start + length].strip()
            key = rng.permutation(26)
            told = "".join(LETTERS[key[LETTERS.index(c)]] if c != " " else c for c in plain)
            with one_core(), clock() as took:
                found = deciphered(told, weights, seed)
            seconds.append(took.cpu)
            right = [a == b for a, b in zip(found, plain, strict=True) if b != " "]
            solved += sum(right) >= RIGHT * len(right)
        percent = 100 * solved / count
        note = f"{count} texts of ptb.valid"
        rows += [
            at_least(f"{name}: texts deciphered to 98 % and more", percent, wanted, "%", note=note),
            at_most(f"{name}: seconds of the slowest", max(seconds[1:] or seconds), 2.0, "s"),
        ]
    return rows


def deciphered(told: str, weights: str, seed: int) -> str:
    """A text by its best key."""
    key = Variable("key", Finite(tuple(LETTERS), (26,)))
    cipher = Cipher(key, text=told, weights=weights, order=ORDER)
    energy = AllDifferent(key, lines=[[*range(26)]]) + 1.0 * cipher
    (answer,) = answers(Problem(energy), particles=PARTICLES, seed=seed)
    plain = dict(zip(LETTERS, answer.values["key"], strict=True))
    return "".join(plain.get(c, c) for c in told)


def crosswords(data: Path | None = None, seed: int = 0) -> list[Row]:
    """Grids filled from ENABLE, and two that cannot be."""
    folder = data_folder(data)
    if folder is None:
        return [missing("crosswords", None, "", "no data; set BASIN_DATA")]
    raw = gzip.decompress((folder / "language" / "enable1_words.txt.gz").read_bytes()).decode()
    words = frozenset(w for w in raw.split() if 1 < len(w) < 16)
    rng = random.Random(seed)
    small = [_lettered(["....."] * 5, 2, rng) for _ in range(20)]
    large = [blocked(random.Random(seed + k)) for k in range(10)]
    rows = []
    for name, grids in (("5 x 5, two letters given", small), ("13 x 13 with blocks", large)):
        filled, shut, seconds = 0, 0, list[float]()
        for grid in grids:
            problem = _problem(grid, words)
            with one_core(), clock() as took:
                (answer,) = answers(problem, seed=seed)
            seconds.append(took.cpu)
            filled += answer.status is Status.OPTIMAL and _valid(grid, answer.values["grid"], words)
            if answer.status is Status.INFEASIBLE:
                (other,) = answers(problem, BranchAndBound(), budget=Budget(seconds=60))
                shut += other.status is Status.INFEASIBLE
        note = f"{filled} filled, every word looked up again; {shut} have none, two searches prove"
        whole = f"{name}: filled, or proved to have no filling"
        rows += [
            at_least(whole, filled + shut, len(grids), "grids", note=note),
            at_most(f"{name}: seconds of the slowest", max(seconds[1:]), 10.0, "s"),
        ]
    crossed = list(large[0])
    row = next(r for r, line in enumerate(crossed) if line.startswith(OPEN * 3))
    crossed[row] = "xq" + crossed[row][2:]  # no word begins so
    closed = [["qz...", *["....."] * 4], crossed]
    proved = 0
    for grid in closed:
        (answer,) = answers(_problem(grid, words), budget=Budget(steps=100_000))
        proved += answer.status is Status.INFEASIBLE
    rows.append(at_least("grids that cannot be filled: proved", proved, 2, "grids"))
    with one_core(), clock() as took:
        (peer,) = answers(_problem(large[0], words), BranchAndBound(), budget=Budget(seconds=60))
    note = f"the first 13 x 13 grid; the peer ends {peer.status.value}"
    mine = seconds[0]
    peers = {"peer": "clause learning over words", "peer_value": took.cpu, "note": note}
    return [*rows, at_most("search of lists: seconds of one grid", mine, None, "s", **peers)]


def _lettered(grid: list[str], count: int, rng: random.Random) -> list[str]:
    """A grid with some letters at random; none that hardly any word has."""
    cells = [list(line) for line in grid]
    for place in rng.sample(range(len(grid) * len(grid[0])), count):
        cells[place // len(grid[0])][place % len(grid[0])] = rng.choice("abcdefghijklmnoprstuvwy")
    return ["".join(line) for line in cells]


def blocked(rng: random.Random) -> list[str]:
    """A square grid of words of 3 to 9 letters, the same turned half round, in one piece."""
    while True:
        cells = [[OPEN] * SIDE for _ in range(SIDE)]
        places = [(r, c) for r in range(SIDE) for c in range(SIDE)]
        rng.shuffle(places)
        count = 0
        for r, c in places:
            other = SIDE - 1 - r, SIDE - 1 - c
            if count >= BLOCKS or cells[r][c] == BLOCK:
                continue
            cells[r][c] = cells[other[0]][other[1]] = BLOCK
            if all(n >= 3 for n in _runs(cells)):
                count += 1 if (r, c) == other else 2
            else:
                cells[r][c] = cells[other[0]][other[1]] = OPEN
        if all(3 <= n <= 9 for n in _runs(cells)) and _whole(cells):
            return ["".join(line) for line in cells]


def _runs(cells: list[list[str]]) -> list[int]:
    """The lengths of all runs of open cells."""
    lines = [*map("".join, cells), *map("".join, zip(*cells, strict=True))]
    return [len(run) for line in lines for run in line.split(BLOCK) if run]


def _whole(cells: list[list[str]]) -> bool:
    """All open cells hang together."""
    free = {(r, c) for r in range(SIDE) for c in range(SIDE) if cells[r][c] == OPEN}
    left = [min(free)]
    free.discard(left[0])
    while left:
        r, c = left.pop()
        for near in ((r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)):
            if near in free:
                free.discard(near)
                left.append(near)
    return not free


def _problem(grid: list[str], words: frozenset[str]) -> Problem:
    size = (len(grid), len(grid[0]))
    variable = Variable("grid", Finite((*LETTERS, BLOCK), size))
    term = InDictionary(variable, lines=lines_of_grid(grid), words=words)
    told = [[None if sign == OPEN else sign for sign in line] for line in grid]
    return Problem(required(term)).given(grid=told)


def _valid(grid: list[str], found: list[list[str]], words: frozenset[str]) -> bool:
    """Every word is one, and what was given stands."""
    cells, told = list(itertools.chain(*found)), "".join(grid)
    kept = all(a in (OPEN, b) for a, b in zip(told, cells, strict=True))
    return kept and all("".join(cells[c] for c in line) in words for line in lines_of_grid(grid))


def chains(seed: int = 0) -> list[Row]:
    """The best text under a pattern and a model of three letters, against all texts."""
    letters = (" ", "a", "e", "t")
    rng, same, proved, count = random.Random(seed), 0, 0, 20
    for _ in range(count):
        first, last = rng.choice("ate"), rng.choice("ate")
        regex = rng.choice([f".*{first}{last}.*", f"{first}+.*{last}", f"[^{first}]*( {last}.*)?"])
        text = Variable("text", Finite(letters, (6,)))
        rule, model = Pattern(text, regex=regex), NGram(text, order=3)
        every = np.array(list(itertools.product(range(4), repeat=6)))
        fits = np.array([rule.holds([letters[p] for p in row]) for row in every])
        least = float(model.cost(torch.from_numpy(every[fits])).min())
        (answer,) = answers(Problem(required(rule) + 1.0 * model))
        same += abs((answer.energy or 0.0) - least) <= 1e-6
        proved += answer.status is Status.OPTIMAL
    name = "a pattern beside runs of three letters"
    return [
        at_least(f"{name}: least energy as enumeration says", same, count, "questions"),
        at_least(f"{name}: proved least", proved, count, "questions"),
    ]


SECTIONS = {"ciphers": ciphers, "crosswords": crosswords, "automata": chains}
