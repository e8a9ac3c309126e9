"""Rules learned from solved examples, against planted rules, exact solution sets and games."""

import itertools
import json
import math
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import BadQuery, Finite, Problem, Status, Variable, answers
from engine.energy.lesson import Lesson
from engine.testing import check_term
from examples.generators.grids import grids
from modules.discrete.all_different import AllDifferent
from modules.discrete.learned_couplings import LearnedCouplings
from modules.discrete.learned_rules.counts import DIFFERENT, LineCounts, PairCounts
from modules.discrete.learned_rules.examples import read_solved
from modules.discrete.learned_rules.relations import all_pairs, geometric, pairs_of
from modules.discrete.learned_rules.rules_file import Learned, load_learned
from modules.discrete.learned_rules.search import cliques, find_rules, literal_cliques
from modules.discrete.learned_rules.significance import Candidates, blamed, log_chance
from modules.discrete.learned_rules.term import LearnedRules
from modules.discrete.learned_rules.train import Options, learned_from, report

SHIPPED = "learned_sudoku.safetensors"
DIGITS = tuple(range(1, 10))
UNITS = [line for lines in geometric(("row", "column", "box"), (9, 9)).values() for line in lines]


@pytest.fixture(scope="module")
def sudokus():
    """Solved boards from the generator: relabelled, turned and band-shuffled from few."""
    rng, made = random.Random(5), []
    base = [np.array([int(c) for c in g]).reshape(9, 9) for g in grids(8, seed=3)]
    for k in range(220):
        board = base[k % len(base)]
        order = [b * 3 + r for b in rng.sample(range(3), 3) for r in rng.sample(range(3), 3)]
        board = board[order][
            :, [b * 3 + r for b in rng.sample(range(3), 3) for r in rng.sample(range(3), 3)]
        ]
        names = rng.sample(DIGITS, 9)
        turned = board.T if rng.random() < 0.5 else board
        made.append("".join(str(names[v - 1]) for v in turned.ravel()))
    return made


def text(examples):
    return "\n".join("".join(map(str, x)) for x in examples)


# --- evidence -------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.floats(0.01, 0.99), st.integers(0, 60))
@settings(deadline=None, max_examples=60)
def test_the_bound_is_never_below_the_exact_chance(trials, chance, seen):
    exact = math.fsum(
        math.comb(trials, x) * chance**x * (1 - chance) ** (trials - x)
        for x in range(min(seen, trials) + 1)
    )
    bound = log_chance(np.array([float(seen)]), np.array([trials * chance]), np.ones(1))[0]
    assert bound >= math.log(exact) - 1e-9


def test_the_bound_holds_for_pairs_that_share_sites():
    rng = np.random.default_rng(0)
    n, k = 5, 3  # all 10 pairs of a line of 5 sites: each site is in 4 of them
    x = rng.integers(0, k, (200_000, n))
    one, other = all_pairs(n).T
    agree = (x[:, one] == x[:, other]).sum(1)
    for seen in range(4):
        bound = log_chance(np.array([float(seen)]), np.array([10 / k]), np.array([5.0]))[0]
        assert (agree <= seen).mean() <= math.exp(bound) + 0.005


def test_blame_falls_on_the_example_that_breaks_many_rules():
    exceptions = np.zeros((20, 30), dtype=bool)
    exceptions[:, 7] = True  # one example breaks them all
    exceptions[0, 3] = True  # and one rule is broken by another example, too
    blame = blamed(exceptions, np.full(20, 5.0), 9.0, 3)
    assert blame.nonzero()[0].tolist() == [7]
    assert not blamed(exceptions, np.full(20, 5.0), 9.0, 0).any()
    assert not blamed(exceptions[:1], np.full(1, 5.0), 9.0, 3).any()


# --- planted rules --------------------------------------------------------------------------------


def planted(rng, n, k, rules):
    """Forbidden pairs of values, every solution, and the pairs that no solution has."""
    pairs = all_pairs(n).tolist()
    chosen = set()
    while len(chosen) < rules:
        chosen.add((rng.randrange(len(pairs)), rng.randrange(k), rng.randrange(k)))
    space = np.array(list(itertools.product(range(k), repeat=n)))
    for c, a, b in chosen:
        i, j = pairs[c]
        space = space[(space[:, i] != a) | (space[:, j] != b)]
    absent = {
        (c, a, b)
        for c, (i, j) in enumerate(pairs)
        for a in range(k)
        for b in range(k)
        if not ((space[:, i] == a) & (space[:, j] == b)).any()
    }
    return chosen, space, absent


def found_cells(rules):
    k = len(rules.values)
    cells = {tuple(row) for row in rules.forbidden.tolist()}
    return cells | {(int(c), a, a) for c in rules.different for a in range(k)}


@pytest.mark.parametrize("seed", range(6))
def test_planted_rules_are_recovered_and_none_is_invented(seed):
    rng = random.Random(seed)
    chosen, space, absent = planted(rng, 6, 3, 8)
    for count in (30, 150, 2000):
        examples = space[[rng.randrange(len(space)) for _ in range(count)]]
        try:
            found = found_cells(find_rules(read_solved(text(examples), values=["0", "1", "2"])))
        except BadQuery as error:
            assert count == 30 and "too few" in str(error)
            continue
        assert found <= absent  # whatever is found is true of every solution
        if count == 2000:
            assert chosen <= found


@pytest.mark.parametrize("seed", range(4))
def test_wrong_examples_are_named_and_do_not_hide_the_rules(seed):
    rng = random.Random(seed)
    chosen, space, absent = planted(rng, 6, 3, 8)
    examples = space[[rng.randrange(len(space)) for _ in range(2000)]].tolist()
    wrong = set(rng.sample(range(2000), 60))  # 3 %
    for e in wrong:
        examples[e] = [rng.randrange(3) for _ in range(6)]
    rules = find_rules(read_solved(text(examples), values=["0", "1", "2"]))
    assert chosen <= found_cells(rules) <= absent
    assert {line - 1 for line in rules.suspects} <= wrong
    try:  # without allowance the wrong ones do hide them
        strict = found_cells(find_rules(read_solved(text(examples), values="012"), noise=0.0))
    except BadQuery:
        strict = set()
    assert not chosen <= strict


def test_free_choice_shows_no_rule_however_skewed():
    rng = np.random.default_rng(1)
    for _ in range(10):
        shares = rng.dirichlet(np.full(4, 0.5), size=6)
        examples = np.stack([rng.choice(4, size=400, p=p) for p in shares], 1)
        with pytest.raises(BadQuery):
            find_rules(read_solved(text(examples), values=["0", "1", "2", "3"]))


def test_equal_sites_and_exact_groups_are_found():
    rng = random.Random(2)
    examples = []
    for _ in range(1500):
        a = rng.randrange(3)
        one = rng.randrange(3)  # exactly one of sites 2, 3, 4 is 2; the others are 0 or 1
        examples.append([a, a, *(2 if s == one else rng.randrange(2) for s in range(3))])
    rules = find_rules(read_solved(text(examples)))
    assert {(0, a, b) for a in range(3) for b in range(3) if a != b} <= found_cells(rules)
    exact = [set(g) for g, exactly in zip(rules.groups, rules.exact) if exactly]
    assert {(2, 2), (3, 2), (4, 2)} in exact


# --- merging --------------------------------------------------------------------------------------


@given(st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)).filter(lambda p: p[0] < p[1])))
@settings(deadline=None, max_examples=50)
def test_cliques_cover_the_pairs_and_nothing_else(pairs):
    lines = cliques([list(p) for p in sorted(pairs)], 8)
    covered = {pair for line in lines for pair in itertools.combinations(line, 2)}
    assert covered == pairs


@given(st.sets(st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(0, 2)), min_size=1))
@settings(deadline=None, max_examples=40)
def test_groups_of_literals_mean_the_same_as_the_pairs(cells):
    n, k, pairs = 4, 3, all_pairs(4)
    groups = literal_cliques(pairs, np.array(sorted(cells)), n, k)
    for x in itertools.product(range(k), repeat=n):
        allowed = not any(x[pairs[c][0]] == a and x[pairs[c][1]] == b for c, a, b in cells)
        assert allowed == all(sum(x[s] == v for s, v in group) <= 1 for group in groups)


def test_counts_of_both_kinds_agree_with_counting_by_hand():
    examples = ["0102", "2101", "1120", "0021"]
    pair = PairCounts(read_solved("\n".join(examples)))
    for c, (i, j) in enumerate(pair.pairs):
        for a, b in itertools.product("012", repeat=2):
            seen = sum(x[i] == a and x[j] == b for x in examples)
            shares = sum(x[i] == a for x in examples) * sum(x[j] == b for x in examples) / 4
            assert pair.seen[c, int(a), int(b)] == seen
            assert pair.expected[c, int(a), int(b)] == pytest.approx(shares)
    line = LineCounts(read_solved("\n".join(examples), ("row",)))
    same = sum(x[0] == x[1] for x in examples) + sum(x[2] == x[3] for x in examples)
    (different, _) = line.shapes().observed
    assert different == same and line.shapes().label[0].tolist() == [0, DIFFERENT]


# --- games ----------------------------------------------------------------------------------------


def test_sudoku_from_boards_alone(sudokus):
    rules = find_rules(read_solved("\n".join(sudokus)))
    assert sorted(rules.lines) == sorted(sorted(line) for line in UNITS)
    assert rules.alike and rules.different.size == 810 and not rules.suspects
    said = report(rules)
    assert sum(line.startswith("  row") for line in said) == 9
    assert sum(line.startswith("  box") for line in said) == 9


def test_wrong_boards_are_named(sudokus):
    rng = random.Random(0)
    wrong = sorted(rng.sample(range(len(sudokus)), 9))
    boards = list(sudokus)
    for e in wrong:
        site = rng.randrange(81)
        other = rng.choice([d for d in "123456789" if d != boards[e][site]])
        boards[e] = boards[e][:site] + other + boards[e][site + 1 :]
    rules = find_rules(read_solved("\n".join(boards)))
    assert len(rules.lines) == 27
    assert list(rules.suspects) == [e + 1 for e in wrong]


def test_too_few_boards_say_so(sudokus):
    with pytest.raises(BadQuery, match="40 examples are too few.*give about"):
        find_rules(read_solved("\n".join(sudokus[:40])))


def test_shipped_rules_solve_and_take_another_rule():
    grid = Variable("grid", Finite(DIGITS, (9, 9)))
    learned = LearnedRules(grid, weights=SHIPPED)
    written = AllDifferent(grid, lines=UNITS)
    puzzle = "8..........36......7..9.2...5...7.......457.....1...3...1....68..85...1..9....4.."
    cells = [[int(c) if c != "." else None for c in puzzle[r * 9 : r * 9 + 9]] for r in range(9)]
    ours, theirs = (
        answers(Problem(term, (grid,)).given(grid=cells))[0] for term in (learned, written)
    )
    assert ours.status is Status.OPTIMAL and ours.values == theirs.values
    diagonals = AllDifferent(grid, lines=[list(range(0, 81, 10)), list(range(8, 80, 8))])
    both = answers(Problem(learned + diagonals, (grid,)))[0]
    assert both.status is Status.OPTIMAL
    board = np.array(both.values["grid"])
    assert all(len(set(board.ravel()[line])) == 9 for line in [*UNITS, *diagonals.lines])


def test_contracts():
    check_term(LearnedRules.example())
    check_term(LearnedCouplings.example())


def queens(n):
    for p in itertools.permutations(range(n)):
        if len({p[r] + r for r in range(n)}) == n == len({p[r] - r for r in range(n)}):
            yield "".join("1" if p[r] == c else "0" for r in range(n) for c in range(n))


def test_small_boards_of_queens_teach_large_ones(tmp_path):
    boards = [board for n in (4, 5, 6, 7) for board in queens(n)]
    learned = learned_from("\n".join(boards), Options(("row", "column", "diagonal")))
    said = report(learned.rules)
    assert {"row: never 1 twice", "column: 1 stands in every line"} <= set(said)
    assert not any("diagonal: 1 stands" in line for line in said)
    learned.save(tmp_path / "w.safetensors")
    for n in (6, 16):
        board = Variable("board", Finite((0, 1), (n, n)))
        term = LearnedRules(board, weights=str(tmp_path / "w.safetensors"))
        if n == 6:
            check_term(term)
        cells = np.array(answers(Problem(term, (board,)))[0].values["board"])
        r, c = np.nonzero(cells)
        assert len(r) == n
        assert all(len(set(line.tolist())) == n for line in (r, c, r + c, r - c))


def coloured(rng, nodes, share, k):
    """A random graph and a proper colouring of it, or None."""
    edges = [e for e in itertools.combinations(range(nodes), 2) if rng.random() < share]
    colour = []
    for node in range(nodes):
        taken = {colour[a] for a, b in edges if b == node}
        free = [v for v in range(k) if v not in taken]
        if not free:
            return None
        colour.append(rng.choice(free))
    return (edges, colour) if edges else None


def test_an_edge_rule_colours_other_graphs(tmp_path):
    rng = random.Random(4)
    made = [e for e in (coloured(rng, 10, 0.3, 4) for _ in range(60)) if e]
    lines = [
        text([colour]) + " edge=" + ",".join(f"{a}-{b}" for a, b in edges) for edges, colour in made
    ]
    learned = learned_from(
        "\n".join(lines), Options(("edge",)), Lesson(Path(), Path("w"), steps=40)
    )
    assert report(learned.rules)[2] == "edge: all values differ"
    assert learned.couplings is not None and learned.couplings[0, 0] > 0.3
    learned.save(tmp_path / "w.safetensors")
    edges = [e for e in itertools.combinations(range(60), 2) if rng.random() < 0.08]
    names = Variable("c", Finite(("red", "green", "blue", "grey", "black"), (60,)))
    relations = {"edge": [list(e) for e in edges]}
    term = LearnedRules(names, weights=str(tmp_path / "w.safetensors"), relations=relations)
    found = answers(Problem(term, (names,)))[0]
    assert found.status is Status.OPTIMAL
    assert all(found.values["c"][a] != found.values["c"][b] for a, b in edges)


# --- couplings ------------------------------------------------------------------------------------


def test_couplings_tell_the_rules_apart(sudokus):
    pytest.importorskip("pytorch_lightning")
    learned = learned_from("\n".join(sudokus), Options(), Lesson(Path(), Path("w"), steps=150))
    weights = learned.couplings[:, 0]
    rules = np.zeros(len(weights), dtype=bool)
    rules[learned.rules.different] = True
    assert weights[rules].min() > weights[~rules].max() + 0.1


def test_a_lesson_cut_off_goes_on_from_its_folder(tmp_path):
    pytest.importorskip("pytorch_lightning")
    rng = random.Random(0)
    _, space, _ = planted(rng, 5, 3, 6)
    solved = text(space[[rng.randrange(len(space)) for _ in range(1000)]])
    lesson = Lesson(Path(), Path("w"), steps=20)
    whole = learned_from(solved, Options(), lesson)
    kept = replace(lesson, work=tmp_path)
    cut = learned_from(solved, Options(), replace(kept, seconds=1e-9))
    assert not np.array_equal(cut.couplings, whole.couplings)
    assert np.array_equal(learned_from(solved, Options(), kept).couplings, whole.couplings)


def test_a_file_keeps_what_was_learned(tmp_path):
    rng = random.Random(0)
    _, space, _ = planted(rng, 5, 3, 6)
    examples = space[[rng.randrange(len(space)) for _ in range(1000)]]
    learned = learned_from(text(examples), Options(), Lesson(Path(), Path("w"), steps=20))
    learned.save(tmp_path / "w.safetensors")
    again = load_learned(str(tmp_path / "w.safetensors"))
    assert report(again.rules) == report(learned.rules)
    assert again.rules.groups == learned.rules.groups and again.rules.exact == learned.rules.exact
    assert np.allclose(again.couplings, learned.couplings, atol=1e-6)
    x = Variable("x", Finite((0, 1, 2), (5,)))
    term = LearnedRules(x, weights=str(tmp_path / "w.safetensors"))
    check_term(term)
    check_term(LearnedCouplings(x, weights=str(tmp_path / "w.safetensors")))
    good = {tuple(row) for row in space.tolist()}
    every = [x for x in itertools.product(range(3), repeat=5) if term.holds(list(x))]
    assert good <= set(every)


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "relations", "said"),
    [
        ("", (), "has no example"),
        ("0123\n", (), "has one example"),
        ("0123\n01.3\n", (), "line 2, site 2: is blank"),
        ("0123\n012\n", (), "line 2: has 3 sites, the first example 4"),
        ("0123\n0127\n", (), "line 2, site 3: '7' is no value"),
        ("01230\n01231\n", ("row",), "line 1: has 5 sites; give a square board"),
        ("0110\n1001 \n", ("edge",), "line 1: gives no lines of edge"),
        ("0110 edge=0-9\n1001 edge=0-1\n", ("edge",), "line 1, edge[0]: '0-9' is no line"),
        ("0110 pair=0-1\n1001 edge=0-1\n", ("edge",), "line 1: 'pair' is no relation"),
        ("010101010\n101010101\n", ("box",), "line 1: a board of 3 x 3 has no boxes"),
    ],
)
def test_mistakes_in_examples(words, relations, said):
    with pytest.raises(BadQuery) as error:
        read_solved(words, relations, ["0", "1", "2", "3"])
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"relation": ["row"]}, "params.relation: unknown field"),
        ({"relations": "row"}, "params.relations: 'row' is no list"),
        ({"noise": "much"}, "params.noise: 'much'"),
        ({"alike": "yes"}, "params.alike: 'yes'"),
    ],
)
def test_mistakes_in_options(params, said):
    with pytest.raises(BadQuery) as error:
        Options.of(params)
    assert said in str(error.value)


def test_mistakes_in_queries(tmp_path):
    grid = Variable("grid", Finite(DIGITS, (9, 9)))
    small = Variable("grid", Finite(DIGITS, (3, 3)))
    (tmp_path / "no.safetensors").write_bytes(b"nothing of the kind")
    for scope, params, said in (
        (grid, {"weights": "nowhere.safetensors"}, "weights: nowhere.safetensors: No such file"),
        (grid, {"weights": str(tmp_path / "no.safetensors")}, "holds no learned rules"),
        (small, {"weights": SHIPPED}, "scope: has 9 sites; the examples had 81"),
        (grid, {"weights": SHIPPED, "relations": {"edge": [[0, 1]]}}, "was not learned about"),
    ):
        with pytest.raises(BadQuery) as error:
            LearnedRules(scope, **params)
        assert said in str(error.value)
    examples = [e for e in itertools.product("01", repeat=4) if e[0] != "1" or e[1] != "1"] * 30
    learned = learned_from(text(examples), Options())
    learned.save(tmp_path / "w.safetensors")
    for values in ((0, 2), (0, 1, 2), (0,)):
        with pytest.raises(BadQuery, match="values of the examples"):
            LearnedRules(
                Variable("x", Finite(values, (4,))), weights=str(tmp_path / "w.safetensors")
            )


def test_tests_count_only_what_chance_could_show():
    tests = Candidates(
        np.zeros((3, 2), int),
        np.zeros(3),
        np.array([0.0, 1.0, 2.0]),
        np.ones(1),
        lambda t: np.zeros((len(t), 1), bool),
    )
    assert tests.count == 2


def test_lines_of_the_geometry():
    for line in geometric(("diagonal",), (5, 5))["diagonal"]:
        r, c = np.divmod(line, 5)
        for i, j in itertools.combinations(range(len(line)), 2):
            assert abs(r[i] - r[j]) == abs(c[i] - c[j])
    touching = {tuple(p) for p in pairs_of(geometric(("diagonal",), (5, 5))["diagonal"]).tolist()}
    every = {
        (a, b)
        for a, b in itertools.combinations(range(25), 2)
        if abs(a // 5 - b // 5) == abs(a % 5 - b % 5)
    }
    assert touching == every


def test_saving_without_couplings_leaves_none(tmp_path):
    rules = load_learned(SHIPPED).rules
    Learned(rules, None).save(tmp_path / "w.safetensors")
    assert load_learned(str(tmp_path / "w.safetensors")).couplings is None
    with pytest.raises(BadQuery, match="holds rules alone"):
        LearnedCouplings(
            Variable("grid", Finite(DIGITS, (9, 9))), weights=str(tmp_path / "w.safetensors")
        )


def basin(*words):
    command = [sys.executable, "-m", "services.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_from_the_command_line(tmp_path, sudokus):
    pytest.importorskip("pytorch_lightning")
    data, out = tmp_path / "grids.txt", tmp_path / "w.safetensors"
    data.write_text("# solved boards\n" + "\n".join(sudokus))
    words = ("train", "discrete.learned_rules", "--data", str(data), "--out", str(out))
    done = basin(*words, "--steps", "5")
    assert done.returncode == 0 and "27 groups" in done.stderr
    query = {
        "variables": {"grid": {"values": list(DIGITS), "shape": [9, 9]}},
        "terms": [
            {"kind": "discrete.learned_rules", "scope": ["grid"], "params": {"weights": str(out)}}
        ],
        "evidence": {"grid": [[8, *[None] * 8], *[[None] * 9] * 8]},
    }
    (tmp_path / "q.json").write_text(json.dumps(query))
    asked = basin("ask", str(tmp_path / "q.json"), "--json")
    board = np.array(json.loads(asked.stdout)["solution"]["grid"])
    assert all(len(set(board.ravel()[line])) == 9 for line in UNITS)
    data.write_text("\n".join(sudokus[:30]))
    done = basin(*words)
    assert done.returncode == 2 and "too few" in done.stderr and "Traceback" not in done.stderr


def test_a_file_written_anew_is_read_anew(tmp_path):
    file = tmp_path / "w.safetensors"
    first = load_learned(SHIPPED)
    first.save(file)
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    assert load_learned(str(file)).rules.suspects == first.rules.suspects
    changed = replace(first, rules=replace(first.rules, suspects=(7,)))
    changed.save(file)
    os.utime(file, ns=times)  # within one tick of the clock
    assert load_learned(str(file)).rules.suspects == (7,)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
