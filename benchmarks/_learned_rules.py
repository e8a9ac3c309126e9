"""Rules learned from solved examples: Sudoku, wrong and few examples, queens, colourings."""

import itertools
import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Row, at_least, at_most, clock, kept, missing, one_core
from benchmarks.sudoku import puzzles, written
from engine import Answer, BadQuery, Budget, Finite, Problem, Status, Variable, answers
from engine.energy.lesson import Lesson
from modules.discrete.all_different import AllDifferent
from modules.discrete.learned_couplings import LearnedCouplings
from modules.discrete.learned_rules.examples import read_solved
from modules.discrete.learned_rules.relations import all_pairs, geometric
from modules.discrete.learned_rules.rules_file import load_learned
from modules.discrete.learned_rules.search import Rules, find_rules
from modules.discrete.learned_rules.term import LearnedRules
from modules.discrete.learned_rules.train import learn
from modules.graph.coloring import Coloring

BOARDS = 200
DIGITS = tuple(range(1, 10))
HARD = "forum_hardest_1106_shared.txt"
MORE = "forum_hardest_1905_11plus_shared.txt.gz"
CLUES = "sudoku17_shared.txt"


def rows(folder: Path | None, work: Path, seed: int) -> list[Row]:
    """All rows, on one core; `work` keeps what is done."""
    with tempfile.TemporaryDirectory() as place, one_core():
        weights = Path(place) / "w.safetensors"
        found = kept(work, f"planted {seed}", lambda: planted(seed))
        found += kept(work, "queens", lambda: queens(weights))
        found += kept(work, f"colourings {seed}", lambda: colourings(weights, seed))
        if folder is None:
            return [*found, missing("rules from 200 solved grids", None, "", "set BASIN_DATA")]
        boards = folder / "sudoku"
        return (
            kept(work, "learned sudoku", lambda: sudoku(boards, weights))
            + kept(work, f"noisy sudoku {seed}", lambda: noisy(boards, seed))
            + found
        )


def taught(text: str, out: Path, **params: Any) -> Rules:
    """Learn, couplings included, and read the file back."""
    data = out.with_suffix(".txt")
    data.write_text(text)
    learn(Lesson(data, out, params=params))
    return load_learned(str(out)).rules


def solutions(path: Path) -> list[str]:
    return puzzles(path.with_name(path.name.split(".")[0] + "_solutions.txt.gz"))


def cells(puzzle: str) -> list[list[int | None]]:
    flat = [int(sign) if sign in "123456789" else None for sign in puzzle]
    return [flat[k : k + 9] for k in range(0, 81, 9)]


def right(found: Sequence[Answer], known: Sequence[str]) -> int:
    """Verified answers that are the known solution."""
    return sum(
        a.status is Status.OPTIMAL and written(a) == text
        for a, text in zip(found, known, strict=True)
    )


def sudoku(folder: Path, weights: Path) -> list[Row]:
    grids = solutions(folder / CLUES)
    with clock() as told:
        rules = taught("\n".join(grids[:BOARDS]), weights)
    units = geometric(("row", "column", "box"), (9, 9))
    every = sorted(sorted(line) for lines in units.values() for line in lines)
    same = sum(line in every for line in rules.lines) if len(rules.lines) == 27 else 0
    made = [
        at_most("learning from 200 solved grids", told.cpu, 60, "CPU s"),
        at_least("groups found that are rows, columns, boxes", same, 27, "groups"),
    ]
    grid = Variable("grid", Finite(DIGITS, (9, 9)))
    problem = Problem(LearnedRules(grid, weights=str(weights)), (grid,))
    for name, first, count in ((HARD, 0, 122), (CLUES, BOARDS, 500), (MORE, 0, 500)):
        asked = puzzles(folder / name)[first : first + count]
        known = solutions(folder / name)[first : first + count]
        with clock() as told:
            found = answers(problem.given_rows([{"grid": cells(p)} for p in asked]))
        share = 100 * right(found, known) / len(asked)
        note = f"{len(asked)} puzzles, {1000 * told.cpu / len(asked):.2f} CPU ms each"
        made.append(at_least(f"solved by learned rules alone: {name}", share, 100, "%", note=note))
    lines = [list(range(0, 81, 10)), list(range(8, 80, 8))]
    both = LearnedRules(grid, weights=str(weights)) + AllDifferent(grid, lines=lines)
    board = np.array(answers(Problem(both, (grid,)))[0].values["grid"]).ravel()
    good = sum(len(set(board[line])) == 9 for line in [*every, *lines])
    made.append(at_least("lines right under an added diagonal rule", good, 29, "lines"))
    return made + couplings(folder, grid, weights, rules)


def couplings(folder: Path, grid: Variable, weights: Path, rules: Rules) -> list[Row]:
    """The raw couplings: as a classifier of pairs, and as the only energy."""
    learned = load_learned(str(weights)).couplings
    assert learned is not None
    true = np.zeros(len(learned), dtype=bool)
    true[rules.different] = True
    gap = float(learned[true, 0].min() - learned[~true, 0].max())
    made = [at_least("raw couplings: least of a rule less most of no rule", gap, 0, "nats")]
    term = LearnedCouplings(grid, weights=str(weights))
    found, lower = [], 0
    asked, known = puzzles(folder / CLUES), solutions(folder / CLUES)
    some = range(BOARDS, BOARDS + 10)
    for k in some:
        budget = Budget(seconds=5)
        found.append(answers(Problem(term, (grid,)).given(grid=cells(asked[k])), budget=budget)[0])
        truth = grid.domain.encode([[int(v) for v in known[k][r : r + 9]] for r in range(0, 81, 9)])
        lower += found[-1].energy < float(term({"grid": truth[None]})) - 1e-6
    solved = sum(written(a) == known[k] for a, k in zip(found, some, strict=True))
    name = "raw couplings as the only energy: 17-clue puzzles solved in 5 s each"
    note = f"of 10; an energy below that of the solution was found on {lower}"
    return [*made, at_least(name, solved, None, "puzzles", note=note)]


def spoilt(grids: Sequence[str], share: float, rng: random.Random) -> tuple[list[str], list[int]]:
    """Some grids with one wrong digit, and which."""
    made, wrong = list(grids), sorted(rng.sample(range(len(grids)), int(share * len(grids))))
    for k in wrong:
        site = rng.randrange(81)
        digit = rng.choice([d for d in "123456789" if d != made[k][site]])
        made[k] = made[k][:site] + digit + made[k][site + 1 :]
    return made, wrong


def noisy(folder: Path, seed: int) -> list[Row]:
    every, whole, named = solutions(folder / CLUES), 0, 0
    for k in range(20):
        rng = random.Random(seed + k)
        grids, wrong = spoilt(rng.sample(every, BOARDS), 0.05, rng)
        rules = find_rules(read_solved("\n".join(grids)))
        whole += len(rules.lines) == 27
        named += list(rules.suspects) == [w + 1 for w in wrong]
    few = 0
    for k in range(20):
        sample = random.Random(seed + k).sample(every, BOARDS)
        few += len(find_rules(read_solved("\n".join(sample))).lines) == 27
    return [
        at_least("draws of 200 grids that give the 27 groups", few, 20, "of 20"),
        at_least("the same with 5 % of the grids wrong by a digit", whole, 20, "of 20"),
        at_least("draws in which exactly the wrong grids are named", named, None, "of 20"),
    ]


def planted(seed: int) -> list[Row]:
    """8 random forbidden pairs over 6 sites of 3 values: what is found, and what is false."""
    space = np.array(list(itertools.product(range(3), repeat=6)))
    made = []
    for count in (50, 200, 500, 2000):
        hit = asked = false = told = 0
        for k in range(100):
            rng = random.Random(1000 * seed + k)
            cells_of = [(c, a, b) for c in range(15) for a in range(3) for b in range(3)]
            chosen = set(rng.sample(cells_of, 8))
            allowed = space
            for c, a, b in chosen:
                i, j = all_pairs(6)[c]
                allowed = allowed[(allowed[:, i] != a) | (allowed[:, j] != b)]
            examples = allowed[[rng.randrange(len(allowed)) for _ in range(count)]]
            text = "\n".join("".join(map(str, row)) for row in examples)
            asked += len(chosen)
            try:
                rules = find_rules(read_solved(text, values=("0", "1", "2")))
            except BadQuery:
                continue
            found = {tuple(row) for row in rules.forbidden.tolist()}
            found |= {(int(c), a, a) for c in rules.different for a in range(3)}
            hit += len(found & chosen)
            told += len(found)
            for c, a, b in found:
                i, j = all_pairs(6)[c]
                false += bool(((allowed[:, i] == a) & (allowed[:, j] == b)).any())
        name = f"planted rules, {count} examples"
        made += [
            at_most(f"{name}: false", false, 1, "rules", note=f"of {told} in 100 sets"),
            at_least(f"{name}: recovered", 100 * hit / asked, None, "%"),
        ]
    return made


def boards(n: int) -> Iterator[str]:
    """All solutions of n queens."""
    for p in itertools.permutations(range(n)):
        if len({p[r] + r for r in range(n)}) == n == len({p[r] - r for r in range(n)}):
            yield "".join("1" if p[r] == c else "0" for r in range(n) for c in range(n))


def queens(weights: Path) -> list[Row]:
    """Seeds, and as these give one board, also a first queen placed by the seed."""
    text = "\n".join(board for n in range(4, 9) for board in boards(n))
    taught(text, weights, relations=["row", "column", "diagonal"])
    made = []
    for n in (8, 20, 64):
        board = Variable("board", Finite((0, 1), (n, n)))
        problem = Problem(LearnedRules(board, weights=str(weights)), (board,))
        good, placed, different = 0, 0, set()
        with clock() as told:
            for seed in range(100):
                good += faultless(answers(problem, seed=seed)[0].values["board"], n)
                first: list[list[int | None]] = [[None] * n for _ in range(n)]
                first[0][random.Random(seed).randrange(n)] = 1
                cells = answers(problem.given(board=first), seed=seed)[0].values["board"]
                placed += faultless(cells, n)
                different.add(str(cells))
        note = f"{1000 * told.cpu / 200:.0f} CPU ms each"
        made += [
            at_least(f"{n} queens after boards of 4 to 8: right of 100 seeds", good, 100, "seeds"),
            at_least(
                f"{n} queens, the first placed by the seed: right",
                placed, 100, "seeds", note=f"{len(different)} different boards, {note}",
            ),
        ]  # fmt: skip
    made[0]["peer"], made[0]["peer_value"] = "composed energies (published)", 97
    return made


def faultless(board: Any, n: int) -> bool:
    r, c = np.nonzero(np.array(board))
    return len(r) == n and all(len(set(x.tolist())) == n for x in (r, c, r + c, r - c))


def colouring(rng: random.Random, k: int) -> str | None:
    """A random graph of 10 nodes and a proper colouring, as a line."""
    edges = [e for e in itertools.combinations(range(10), 2) if rng.random() < 0.3]
    colour: list[int] = []
    for node in range(10):
        taken = {colour[a] for a, b in edges if b == node}
        free = [v for v in range(k) if v not in taken]
        if not free or not edges:
            return None
        colour.append(rng.choice(free))
    return "".join(map(str, colour)) + " edge=" + ",".join(f"{a}-{b}" for a, b in edges)


def colourings(weights: Path, seed: int) -> list[Row]:
    rng = random.Random(seed)
    lines = [line for line in (colouring(rng, 4) for _ in range(300)) if line][:100]
    taught("\n".join(lines), weights, relations=["edge"])
    good, used = 0, []
    with clock() as told:
        for _ in range(100):
            edges = [e for e in itertools.combinations(range(100), 2) if rng.random() < 0.1]
            for k in itertools.count(2):  # as few colours as proved possible
                node = Variable("colour", Finite(tuple(range(k)), (100,)))
                term = LearnedRules(node, weights=str(weights), relations={"edge": edges})
                found = answers(Problem(term, (node,)))[0]
                if found.status is not Status.INFEASIBLE:
                    break
            judge = Coloring(node, edges=edges)
            good += found.status is Status.OPTIMAL and judge.holds(found.values["colour"])
            used.append(k)
    note = f"{min(used)} to {max(used)} colours, fewer proved impossible; {told.cpu:.1f} CPU s"
    name = "100-node graphs coloured without a conflict, after 10-node ones"
    return [at_least(name, good, 100, "graphs", note=note)]
