"""Sudokus as people write them: every way to write a board is read as that board, or refused."""

import random

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from engine.errors import BadQuery, Mistakes
from modules.catalogue import Catalogue
from services.formats import format_of
from services.formats.boards import read_boards
from services.formats.signs import BLANKS, Puzzle
from services.formats.sudoku import Sudoku
from services.query import Options
from services.reasoner.reason import Reasoner
from tests.support.puzzles import SIGNS, grid, puzzle, solutions, written

SIZE = st.sampled_from([4, 9, 16, 25])


def read(text: str) -> list[Puzzle]:
    """The boards of a text that must be read."""
    wrong = Mistakes()
    found = read_boards(text, wrong)
    wrong.check()
    return found


def refused(text: str) -> list[str]:
    """What is said of a text that must be refused."""
    with pytest.raises(BadQuery) as caught:
        Sudoku().read(text, "a.txt", None)
    return [str(mistake) for mistake in caught.value.mistakes]


def cells_of(found: Puzzle) -> list[int | None]:
    """Places of the values, from 0; None where nothing is given."""
    signs = f"0{SIGNS}"[found.first :]
    return [signs.index(c) if c in signs[: found.n] else None for c in found.cells]


@st.composite
def boards(draw, sizes=SIZE) -> tuple[int, list[int | None]]:
    """A part of a full grid, as places of values from 0, its size first. Its last value occurs."""
    n = draw(sizes)
    rng = random.Random(draw(st.integers(0, 2**32)))
    share = draw(st.floats(0.1, 0.9))
    full = [value - 1 for value in grid(n, rng)]
    cells: list[int | None] = [value if rng.random() < share else None for value in full]
    last = full.index(n - 1)
    cells[last] = n - 1
    cells[(last + 1) % (n * n)] = None
    return n, cells


def rows_of(n: int, cells: list[str]) -> list[list[str]]:
    return [cells[k : k + n] for k in range(0, n * n, n)]


def chunks(row: list[str], m: int) -> list[list[str]]:
    return [row[k : k + m] for k in range(0, len(row), m)]


# --- ways to write a board ------------------------------------------------------------------------


def one_line(n, cells):
    return "".join(cells)


def with_rest(n, cells):
    return f"{''.join(cells)}, rated 7.2"


def with_id(n, cells):
    return f"7 {''.join(cells)}"


def quoted(n, cells):
    return f'"{"".join(cells)}"'


def in_a_table(n, cells):
    return f"id,puzzle,solution\n1,{''.join(cells)},{'1' * n * n}"


def plain_rows(n, cells):
    return "\n".join("".join(row) for row in rows_of(n, cells))


def spaced_rows(n, cells):
    return "\n".join(" ".join(row) for row in rows_of(n, cells))


def csv_rows(n, cells):
    return "\n".join(",".join(row) for row in rows_of(n, cells))


def list_rows(n, cells):
    return "\n".join(f"[{', '.join(row)}]," for row in rows_of(n, cells))


def boxed_rows(n, cells):
    m = int(n**0.5)
    ruler = "+".join(["-" * (2 * m + 1)] * m)
    out = []
    for k, row in enumerate(rows_of(n, cells)):
        if k and k % m == 0:
            out.append(ruler)
        out.append(" | ".join(" ".join(part) for part in chunks(row, m)))
    return "\n".join(out)


def framed(n, cells, lid, wall, floor):
    """Rows of boxes between walls, a floor below each box but the last; the lid comes first."""
    m, out = int(n**0.5), [lid]
    for k, row in enumerate(rows_of(n, cells)):
        if k and k % m == 0:
            out.append(floor)
        out.append(f"{wall}{wall.join(''.join(part) for part in chunks(row, m))}{wall}")
    return "\n".join(out)


def framed_rows(n, cells):
    m = int(n**0.5)
    lid = f"*{'-' * (n + m - 1)}*"
    floor = "+".join(["-" * m] * m)
    return "\n".join([framed(n, cells, lid, "|", f"|{floor}|"), lid])


def drawn_rows(n, cells):
    m = int(n**0.5)
    lines = ["─" * m] * m
    return framed(n, cells, f"┌{'┬'.join(lines)}┐", "│", f"├{'┼'.join(lines)}┤")


def bands(n, cells):
    m = int(n**0.5)
    every = ["".join(row) for row in rows_of(n, cells)]
    return "\n\n".join("\n".join(every[k : k + m]) for k in range(0, n, m))


def numbers(n, cells):
    blank = [c for c in cells if c not in SIGNS][0]
    told = [str(SIGNS.index(c) + 1) if c in SIGNS else "0" for c in cells]
    assert blank
    return "\n".join(" ".join(t.rjust(2) for t in row) for row in rows_of(n, told))


def headed(n, cells):
    return f"Grid 01\n{plain_rows(n, cells)}"


def sdk(n, cells):
    return f"#A me\n#D easy\n[Puzzle]\n{plain_rows(n, cells)}\n[State]\n{'1' * n}"


WAYS = [
    one_line, with_rest, with_id, quoted, in_a_table, plain_rows, spaced_rows, csv_rows, list_rows,
    boxed_rows, framed_rows, drawn_rows, bands, numbers, headed, sdk,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@given(board=boards(), blank=st.sampled_from([".", "0", "-", "*", "_", "?", "x", "X"]))
def test_every_way_to_write_a_board_is_read_as_that_board(way, board, blank):
    n, places = board
    text = way(n, [blank if place is None else SIGNS[place] for place in places])
    wrong = Mistakes()
    note(text)
    found = read_boards(text, wrong)
    note(str(wrong.found))
    # sixteen lines of sixteen signs may be 4x4 boards, and a row of dashes a ruler: then refused
    if wrong.found and ((n == 16 and "\n" in text) or blank in "-*_"):
        return
    (one,) = found
    assert not wrong.found and one.n == n and cells_of(one) == places


@pytest.mark.parametrize("way", [plain_rows, spaced_rows, boxed_rows, framed_rows, csv_rows])
@given(board=boards(), other=boards())
def test_rows_that_are_lost_or_cut_are_refused(way, board, other):
    n, places = board
    cells = ["." if place is None else SIGNS[place] for place in places]
    lines = way(n, cells).split("\n")
    row = next(k for k, line in enumerate(lines) if set(line) & set(SIGNS))
    for damaged in (lines[:row] + lines[row + 1 :], [*lines, lines[row]]):
        wrong = Mistakes()
        note("\n".join(damaged))
        found = read_boards("\n".join(damaged), wrong)
        assert wrong.found or (n == 16 and len(found) == len(damaged))
    assert refused("\n".join([*lines[:row], lines[row] + "1", *lines[row + 1 :]]))


@given(st.lists(boards(st.just(9)), min_size=2, max_size=4), st.booleans(), st.booleans())
def test_boards_follow_each_other(every, headings, empty):
    parts = [plain_rows(9, ["." if p is None else SIGNS[p] for p in places]) for _, places in every]
    if headings:
        parts = [f"Puzzle {k}:\n{part}" for k, part in enumerate(parts, 1)]
    found = read(("\n\n" if empty else "\n").join(parts))
    assert [cells_of(one) for one in found] == [places for _, places in every]


def test_boards_that_run_into_each_other_are_refused():
    lines = plain_rows(9, list("." * 80 + "9")).split("\n")
    (said,) = refused("\n".join([*lines[:8], "", *lines, lines[8]]))
    assert said.startswith("line 10: a board of 9 rows ends inside these lines")


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("n", [4, 9, 16, 25])
@pytest.mark.parametrize("blank", [".", "-", "*", "_"])
def test_usual_boards_are_not_refused(way, n, blank):
    rng = random.Random(n)
    cells = [SIGNS[v - 1] if rng.random() < 0.5 else blank for v in grid(n, rng)]
    if len(set(cells)) == n + 1:
        (one,) = read(way(n, cells))
        assert cells_of(one) == [None if c == blank else SIGNS.index(c) for c in cells]


# --- the solution beside the puzzle ---------------------------------------------------------------


@st.composite
def wrong_words(draw, n: int, least: int) -> str:
    """What stands where a puzzle should, and is none: a wrong length, or a wrong sign."""
    length = draw(st.integers(least, n * n + 3).filter(lambda k: k != n * n))
    if draw(st.booleans()):
        return draw(st.text("0.123-x", min_size=length, max_size=length))
    place = draw(st.integers(0, n * n - 1))
    word = draw(st.text("0123", min_size=n * n, max_size=n * n))
    return word[:place] + draw(st.sampled_from("!@ZzqR$")) + word[place + 1 :]


@pytest.mark.parametrize("n", [9, 16, 25])
@pytest.mark.parametrize("separator", [",", ";", "\t", " ", ", ", '","'])
@given(data=st.data())
def test_a_solution_is_never_taken_for_the_puzzle(n, separator, data):
    solved = written(grid(n, random.Random(data.draw(st.integers(0, 99)))))
    if data.draw(st.booleans()):
        solved = solved.translate(str.maketrans(SIGNS[:n], f"0{SIGNS[: n - 1]}"))
    least = 1 if separator == " " else 0  # a board that is indented is no empty word before it
    quote = '"' if '"' in separator else ""
    bad = f"{quote}{data.draw(wrong_words(n, least))}{separator}{solved}{quote}"
    wrong = Mistakes()
    found = read_boards(bad, wrong)
    assert wrong.found or all(one.n != n for one in found)
    header = f"puzzle{separator}solution\n".replace('"', "")
    wrong = Mistakes()
    found = read_boards(header + bad, wrong)
    assert wrong.found or all(one.n != n for one in found)


def test_a_line_without_a_puzzle_says_so():
    solved = written(grid(9, random.Random(1)))
    (said,) = refused(f"id7 {solved}\n")
    assert said.startswith("line 1: 'id7' is no puzzle, and the word after it has no blanks")


@pytest.mark.parametrize("sign", [s for s in BLANKS if s != "."])
def test_a_sign_for_blanks_leaves_as_much_open_as_a_dot(sign):
    open_board = puzzle(4, 3)[0]
    (one,) = read(f"{open_board.replace('.', sign)},{'1' * 16}")
    assert one.cells == open_board


def test_two_signs_for_blanks_are_told():
    (said,) = refused("1-..............\n")
    assert "- and . both stand for blanks" in said


# --- 0 as a value ---------------------------------------------------------------------------------


@given(boards(st.sampled_from([16, 25])))
def test_large_boards_may_begin_at_0(board):
    n, places = board
    asked = "".join("." if place is None else f"0{SIGNS}"[place] for place in places)
    if "0" in asked:
        (one,) = read(asked)
        assert one.first == 0 and cells_of(one) == places


@pytest.mark.parametrize("n", [4, 9, 16])
def test_what_begins_at_0_is_answered_from_0(n):
    from_0 = str.maketrans(SIGNS[:n], f"0{SIGNS[: n - 1]}")
    full = grid(n, random.Random(5))
    cells = [value if k % 5 else 0 for k, value in enumerate(full)]
    assert solutions(n, cells) == [full]
    (asked,) = Sudoku().read(written(cells).translate(from_0), "a.txt", None)
    (answer,) = Reasoner(Catalogue(entry_points=False)).reason(asked.query, Options(prove=True))
    assert answer.unique is True and answer.values
    assert asked.written(0, answer.values) == written(full).translate(from_0)
    assert set(asked.picture(answer.values)) - set(" |+-\n") == set(f"0{SIGNS}"[:n])


def test_two_zeros_in_a_line_of_a_large_board_rule_it_out():
    cells = list("." * 256)
    cells[0] = cells[9] = "0"
    (asked,) = Sudoku().read("".join(cells), "a.txt", None)
    (answer,) = Reasoner(Catalogue(entry_points=False)).reason(asked.query)
    assert answer.status.value == "INFEASIBLE"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("00" + "." * 79, "0 and . both occur"),  # two in a row: no values
        ("0G" + "." * 254, "0 and . both occur"),  # 17 signs
        ("0" * 17 + "." * 239, "0 and . both occur"),
        ("0" * 9 + "-" * 72, "0 and - both occur"),
    ],
)
def test_a_zero_that_may_be_both_is_told(line, said):
    (told,) = refused(line)
    assert said in told


def test_zeros_beside_dots_are_blanks_where_the_last_value_occurs():
    (one,) = read("9" + "0" * 40 + "." * 40)
    assert cells_of(one) == [8, *[None] * 80]


def test_the_boards_of_a_file_agree_on_0():
    zero, unclear = "0.1." + "." * 12, "1.2." + "." * 12
    assert [one.first for one in read(f"{unclear}\n{zero}\n")] == [0, 0]
    assert [one.first for one in read(f"{unclear}\n{unclear}\n")] == [1, 1]
    (said,) = refused(f"{zero}\n{unclear.replace('.', '0')}\n")
    assert said.startswith("line 2: 0 is a blank here, and a value in line 1")


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [6, 8, 10, 12, 36])
def test_sizes_that_are_not_read_are_told_once(n):
    line = "." * n**2
    for text in (f"{line}\n{line}\n", "\n".join(["." * n] * n) if n < 26 else line):
        (said,) = refused(text)
        assert f"a board of {n}x{n} cannot be read" in said and "examples/sudoku_jigsaw" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hello\n", "line 1: 'hello'"),
        ("# only a comment\n", "line 1: no puzzle in the whole text"),
        ("1 2 3 17\n" * 4, "line 1: '17' at place 4 is no value of a 4x4 grid; use 1 to 4"),
        ("1 2 3 ４\n" * 4, "line 1: '４' at place 4"),
        ("---------\n" * 9 + "9........\n" * 9, "line 1: may be a row of blanks, or a ruler"),
        ("id,puzzle\n1,2,3\n", "line 2: has 3 fields; the header names 2"),
        ("puzzle,board\n1,2\n", "line 1: columns 1 and 2 both seem to be puzzles"),
        ('id,puzzle\n1,"2\n', "line 2: is no line of a CSV"),
    ],
)
def test_what_is_no_board_is_told(text, said):
    assert refused(text)[0].startswith(said)


@pytest.mark.parametrize("way", [plain_rows, boxed_rows, framed_rows, headed, spaced_rows])
def test_rows_are_recognized_without_a_name(way):
    assert format_of("-", way(9, list("." * 80 + "9"))).name == "sudoku"


@given(st.text('0123456789.ABG-*_x|+=#,; \n"[]', max_size=400))
def test_any_text_is_read_or_refused(text):
    wrong = Mistakes()
    for one in read_boards(text, wrong):
        assert len(one.cells) == one.n**2
        cells_of(one)
