"""The formats of instances: what they read, what they refuse, and in which words."""

import bz2
import gzip
import json
import lzma
import random
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadQuery, TooLarge
from modules.shared.lines import lines_of, whole_of
from modules.shared.reading import texts
from services import formats
from services.formats import format_of, read
from services.formats.query import laid_over
from tests.support.puzzles import grid, puzzle, solutions, written

CNF = "c made by hand\np cnf 3 2\n1 -2 0\n2 3 0\n"
COL = "c a triangle\np edge 3 3\ne 1 2\ne 2 3\ne 1 3\n"
QUERY = "variables: {x: {values: [0, 1], shape: [2]}}\nterms: []\n"


@pytest.fixture
def put(tmp_path):
    """Writes a file and gives its name."""

    def write(name: str, text: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def only(asked):
    (one,) = asked
    return one


def refused(call, *args, **kwargs) -> list[str]:
    """What is said of a text that must be refused."""
    with pytest.raises(BadQuery) as caught:
        call(*args, **kwargs)
    return [str(mistake) for mistake in caught.value.mistakes]


# --- our own puzzles ------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [4, 9])
def test_own_puzzles_have_one_solution(n):
    asked, solved = puzzle(n, seed=n, holes=None if n == 4 else 40)
    values = [0 if c == "." else int(c) for c in asked]
    assert [written(s) for s in solutions(n, values)] == [solved]
    assert asked.count(".") >= (8 if n == 4 else 40)


def test_the_oracle_counts_solutions():
    assert len(solutions(4, [0] * 16, most=1000)) == 288
    assert solutions(4, [1, 1] + [0] * 14) == []


# --- finding the format ---------------------------------------------------------------------------


def test_formats_are_found_in_the_package():
    assert {f.name for f in formats.formats()} >= {"sudoku", "cnf", "col", "query"}


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("a.cnf", "", "cnf"),
        ("a.cnf.gz", "", "cnf"),
        ("a.COL", "", "col"),
        ("a.json", "", "query"),
        ("-", CNF, "cnf"),
        ("a.txt", COL, "col"),
        ("-", "# a comment\n\n" + "." * 81, "sudoku"),
        ("-", "007 " + "." * 256 + " x", "sudoku"),
        ("-", "." * 80, "sudoku"),
        ("-", QUERY, "query"),
        ("-", "# a comment\n---\nvariables: {}", "query"),
        ("-", '{"variables": {}}', "query"),
    ],
)
def test_format_is_told_by_name_or_content(name, text, wanted):
    assert format_of(name, text).name == wanted


def test_unknown_formats_are_named():
    (said,) = refused(format_of, "a.txt", "hello world\n")
    assert "known: cipher, cnf, col, " in said
    (said,) = refused(format_of, "a.txt", CNF, "cnff")
    assert said.startswith("--format: 'cnff' is unknown; did you mean cnf?")


# --- sudoku ---------------------------------------------------------------------------------------


def test_sudokus_of_one_size_are_one_query(put):
    boards = [puzzle(9, seed, holes=30) for seed in range(3)]
    lines = ["# three", *(f"{asked} {solved}" for asked, solved in boards), ""]
    one = only(read(put("three.txt", "\n".join(lines))))
    assert one.query.rows == 3
    assert [i.rpartition("/")[2] for i in one.instances] == [f"three.txt#{k}" for k in (1, 2, 3)]
    assert one.query.terms[0].kind == "discrete.all_different"
    assert len(one.query.terms[0].params["lines"]) == 27
    for (asked, _), evidence in zip(boards, one.query.evidence):
        flat = [v for row in evidence["grid"] for v in row]
        assert "".join("." if v is None else str(v) for v in flat) == asked


@pytest.mark.parametrize("n", [4, 9, 16, 25])
def test_solutions_are_written_as_they_are_read(n, put):
    solved = written(grid(n, random.Random(n)))
    one = only(read(put("a.txt", solved.lower() if n == 16 else solved)))
    evidence = one.query.evidence[0]
    assert one.solution(evidence) == solved
    drawn = one.picture(evidence).splitlines()
    assert len(drawn) == n + n**0.5 - 1 and len({len(row) for row in drawn}) == 1


def test_sudoku_lines_match_a_known_board(put):
    one = only(read(put("a.txt", "." * 16)))
    lines = one.query.terms[0].params["lines"]
    assert [0, 1, 2, 3] in lines and [0, 4, 8, 12] in lines and [2, 3, 6, 7] in lines


def test_sizes_may_be_mixed(put):
    text = "\n".join(["." * 81, "1" + "." * 15, "." * 80 + "5"])
    nine, four = read(put("a.txt", text))
    assert nine.numbers == (1, 3) and four.numbers == (2,)


@pytest.mark.parametrize(
    "line", ["{p}", "id7 {p}", "id7 {p} {s}", "{p},{s}", "{p} # easy", "  {p}  ", "1251_9x9\t{p}"]
)
def test_a_puzzle_may_have_an_id_and_a_rest(line, put):
    p, s = "0" * 80 + "9", "1" * 81
    one = only(read(put("a.txt", line.format(p=p, s=s) + "\r\n")))
    assert one.query.evidence[0]["grid"][8][8] == 9


def test_all_wrong_lines_are_told(put):
    text = "\n".join(["." * 80, "." * 81, "." * 80 + "A", "." * 15 + "5", "x"])
    said = refused(read, put("a.txt", text))
    assert [s.split(":")[0] for s in said] == ["line 1", "line 3", "line 4", "line 5"]
    assert "80 characters" in said[0] and "81, a 9x9 grid" in said[0]
    assert "'A' at place 81" in said[1] and "use 1 to 9" in said[1]
    assert "'5' at place 16" in said[2] and "4x4" in said[2]


def test_many_wrong_lines_are_counted(put):
    said = refused(read, put("a.txt", "." * 80 + "\n" + "12\n" * 500))
    assert len(said) == 101 and said[-1].startswith("401 more mistakes")


def test_large_files_become_several_queries(put, monkeypatch):
    monkeypatch.setattr("services.formats.sudoku.BATCH", 3)
    every = read(put("a.txt", ("." * 16 + "\n") * 7))
    assert [a.numbers for a in every] == [(1, 2, 3), (4, 5, 6), (7,)]


# --- cnf ------------------------------------------------------------------------------------------


def test_cnf_becomes_one_clause_term(put):
    one = only(read(put("a.cnf", CNF)))
    assert one.query.variables["x"].shape == (3,)
    assert one.query.terms[0].params["clauses"] == [
        [[0, True, True], [1, True, False]],
        [[1, True, True], [2, True, True]],
    ]
    assert one.solution({"x": [True, False, True]}) == [1, -2, 3]


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("p cnf 2 2\n1 2\n0 -1\nc within\n-2 0\n", [[1, 2], [-1, -2]]),
        ("p cnf 2 1\n1 2 0\n%\n0\n\n", [[1, 2]]),
        ("p cnf 2 2\n1 0 0", [[1], []]),
        ("p   cnf  2   1  \n 1 1 -2 0", [[1, -2]]),
        ("p cnf 0 0\n", []),
    ],
)
def test_cnf_as_it_is_written_in_the_wild(text, clauses):
    from services.formats.cnf import parse

    assert parse(text)[1] == clauses


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 2 0\n", "line 1: clauses before the header; begin with p cnf"),
        ("c nothing\n", "line 1: the header is missing"),
        ("p cnf 2\n1 0\n", "line 1: 'p cnf 2' is no header"),
        ("p cnf two 1\n1 0\n", "line 1: 'p cnf two 1' is no header"),
        ("p cnf 2 -1\n", "line 1: 'p cnf 2 -1' is no header"),
        ("p dnf 2 1\n1 0\n", "line 1: 'p dnf 2 1' is no header"),
        ("p cnf 2 1\np cnf 2 1\n1 0\n", "line 2: a second header"),
        ("p cnf 2 1\n1 3 0\n", "line 2: literal 3, but the header names 2 variables; give -2 to 2"),
        ("p cnf 2 1\n1 x 0\n", "line 2: 'x' is no literal"),
        ("p cnf 2 1\n1 1.5 0\n", "line 2: '1.5' is no literal"),
        ("p cnf 2 2\n1 0\n", "line 2: 1 clauses, but the header says 2"),
        ("p cnf 2 1\n1 0\n2 0\n", "line 3: 2 clauses, but the header says 1"),
        ("p cnf 2 1\n1 2\n", "line 2: the last clause does not end; end every clause with 0"),
    ],
)
def test_cnf_mistakes(text, said, put):
    assert refused(read, put("a.cnf", text))[0].startswith(said)


def test_cnf_of_absurd_size_is_refused_fast(put):
    with pytest.raises(TooLarge):
        read(put("a.cnf", "p cnf 99999999999999999999 1\n1 0\n"))


NUMBERS = ["2_0", "+2", "\uff12", "\u0662", "2.0", "0x2", "1e1", "-", "--2", "2-", "\u00b2"]


@pytest.mark.parametrize("word", NUMBERS)
def test_numbers_are_ascii_digits(word, put):
    for text in (f"p cnf 30 1\n{word} 0\n", f"p cnf {word} 0\n", f"p cnf 30 {word}\n"):
        (said,) = refused(read, put("a.cnf", text))
        assert "is no literal" in said or "is no header" in said
    for text in (f"p edge 30 1\ne 1 {word}\n", f"p edge {word} 0\n", f"p edge 30 {word}\n"):
        (said,) = refused(read, put("a.col", text), given={"colors": 3})
        assert "is no edge" in said or "is no header" in said


@given(st.integers(-(10**30), 10**30), st.text(max_size=8))
def test_a_word_is_a_whole_number_only_as_it_is_written(number, text):
    assert whole_of(str(number)) == number
    read_as = whole_of(text)
    assert read_as is None or set(text) <= set("-0123456789") and read_as == int(text)


# --- lines ----------------------------------------------------------------------------------------

STRANGE = ["\u2028", "\u2029", "\x85", "\f", "\v", "\xa0"]


@given(st.lists(st.text(st.sampled_from(["a", *STRANGE, "\x1c"]), min_size=1)), st.data())
def test_only_three_signs_end_a_line(lines, data):
    ends = [data.draw(st.sampled_from(["\n", "\r\n", "\r"])) for _ in lines]
    text = "".join(line + end for line, end in zip(lines, ends))
    assert lines_of(text) == [*lines, ""]


@pytest.mark.parametrize("sign", [sign for sign in STRANGE if sign != "\v"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_comment_ends_where_its_line_does(sign, end, put):
    def written_with(comment: str, text: str) -> bytes:
        return f"{comment} one{sign}two\n{text}".replace("\n", end).encode()

    assert only(read(put("a.cnf", written_with("c", CNF)))).query.variables["x"].shape == (3,)
    assert read(put("a.col", written_with("c", COL)), given={"colors": 3})
    assert only(read(put("a.sudoku", written_with("#", "." * 16 + "\n")))).query.rows == 1
    if sign != "\f":  # which YAML forbids
        assert read(put("a.yaml", written_with("#", QUERY)))
    assert format_of("-", written_with("c", CNF).decode()).name == "cnf"


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85"])
def test_signs_that_end_no_line_stay_in_texts(sign, put):
    text = f"variables: {{x: {{values: ['a{sign}b', a{sign}c, \"{sign}\"]}}}}\nterms: []\n"
    values = only(read(put("a.yaml", text))).query.variables["x"].values
    assert values == (f"a{sign}b", f"a{sign}c", sign)
    said = refused(read, put("b.yaml", f"# a{sign}b\nx: }}\n"))
    assert said[0].startswith("line 2"), "lines are counted as editors count them"


@pytest.mark.parametrize("end", ["\x1a", "\x1a\x1a\x1a", "\r\n\x1a\r\n", "\x1a \n"])
def test_a_last_ctrl_z_ends_the_text(end, put):
    assert read(put("a.cnf", CNF + end))
    assert read(put("a.col", COL + end), given={"colors": 3})
    assert read(put("a.sudoku", "." * 81 + end))
    assert read(put("a.yaml", QUERY + end))
    assert "the file is empty" in refused(read, put("b.cnf", end))[0]
    assert refused(read, put("c.cnf", CNF.replace("2 3", "2 \x1a 3"))), "within a text it is a sign"


# --- col ------------------------------------------------------------------------------------------


def test_col_becomes_a_coloring(put):
    text = COL + "e 2 1\ne 3 3\nn 1 4\n"
    one = only(read(put("a.col", text), given={"colors": 2}))
    assert one.query.variables["color"].values == (0, 1)
    assert one.query.terms[0].params["edges"] == [[0, 1], [1, 2], [0, 2]]
    assert one.solution({"color": [0, 1, 0]}) == [0, 1, 0]


def test_a_header_may_count_edges_both_ways(put):
    assert read(put("a.col", "p col 2 2\ne 1 2\n"), given={"colors": 2})


@pytest.mark.parametrize(
    ("text", "given", "said"),
    [
        (COL, None, "--given.colors: the number of colours is missing"),
        (COL, {"colors": 0}, "--given.colors: 0 is no number of colours"),
        (COL, {"colors": True}, "--given.colors: True is no number of colours"),
        (COL, {"colors": "3"}, "--given.colors: '3' is no number of colours"),
        (
            COL,
            {"colours": 3},
            "--given.colours: 'colours' is none of its values; did you mean colors?",
        ),
        (COL, [3], "--given: [3] is no mapping"),
        ("e 1 2\n", {"colors": 3}, "line 1: edges before the header"),
        ("c empty\n", {"colors": 3}, "line 1: the header is missing"),
        ("p edge 3\n", {"colors": 3}, "line 1: 'p edge 3' is no header"),
        ("p edge 2 1\ne 1 3\n", {"colors": 3}, "line 2: node 3, but the header names 2; give 1 to"),
        ("p edge 2 1\ne 0 1\n", {"colors": 3}, "line 2: node 0"),
        ("p edge 2 1\ne 1\n", {"colors": 3}, "line 2: 'e 1' is no edge"),
        ("p edge 2 1\nedge 1 2\n", {"colors": 3}, "line 2: 'edge' begins no line"),
        ("p edge 3 3\ne 1 2\ne 1 3\n", {"colors": 3}, "line 3: 2 edges, but the header says 3"),
    ],
)
def test_col_mistakes(text, given, said, put):
    assert refused(read, put("a.col", text), given=given)[0].startswith(said)


def test_mistakes_of_input_and_file_are_told_together(put):
    said = refused(read, put("a.col", "p edge 2 1\ne 1 3\n"))
    assert len(said) == 2


# --- query ----------------------------------------------------------------------------------------


def test_evidence_rows_are_instances(put):
    one = only(read(put("a.yaml", QUERY + "evidence: [{x: [0, null]}, {x: [1, 1]}]\n")))
    assert [i.rpartition("/")[2] for i in one.instances] == ["a.yaml#1", "a.yaml#2"]
    assert one.solution({"x": [0, 1]}) == {"x": [0, 1]}


def test_given_is_laid_over_evidence(put):
    path = put("a.yaml", QUERY + "evidence: {x: [0, null]}\n")
    assert only(read(path, given={"x": [None, 1]})).query.evidence == ({"x": [0, 1]},)
    rows = only(read(path, given=[{"x": [1, None]}, {}])).query.evidence
    assert rows == ({"x": [1, None]}, {"x": [0, None]})


def test_laying_over_keeps_what_is_wrong():
    assert laid_over({"x": [1, None]}, {"x": 3, "y": None}) == {"x": 3, "y": None}
    assert laid_over([1, 2], [None]) == [None]


def test_given_rows_must_fit(put):
    path = put("a.yaml", QUERY + "evidence: [{}, {}]\n")
    assert "3 rows for the 2 rows" in refused(read, path, given=[{}, {}, {}])[0]
    assert refused(read, path, given={"z": 1})[0].startswith("--given.evidence")


# --- files ----------------------------------------------------------------------------------------


PACKED = {".gz": partial(gzip.compress, mtime=0), ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("suffix", PACKED)
def test_packed_files_are_read_by_content(suffix, put):
    pack = PACKED[suffix]
    packed = pack(CNF[:20].encode()) + pack(CNF[20:].encode())
    for name in (f"a.cnf{suffix}", f"a.cnf{suffix.upper()}", "a.cnf", "a"):
        assert only(read(put(name, packed))).query.variables["x"].shape == (3,)
    assert only(read(put(f"q.yaml{suffix}", pack(QUERY.encode())))).query.rows == 1


def test_comments_need_not_be_utf8(put):
    assert read(put("a.cnf", b"c caf\xe9\n" + CNF.encode()))
    assert "is not UTF-8" in refused(read, put("a.yaml", b"# caf\xe9\n" + QUERY.encode()))[0]


@pytest.mark.parametrize(
    ("name", "raw", "said"),
    [
        ("a.cnf", b"", "the file is empty"),
        ("a.cnf", b" \n\n", "the file is empty"),
        ("a.cnf", bytes(range(256)), "the file is binary"),
        ("a.cnf", b"\xff\xd8\xff\xe0" + bytes(40), "save it as PNG"),
        ("a.cnf", CNF.encode("utf-16"), "the file is UTF-16"),
        ("a.gz", PACKED[".gz"](CNF.encode())[:-9], "the gzip ends too early"),
        ("a.gz", b"\x1f\x8b" + b"x" * 50, "the gzip is broken"),
    ],
)
def test_unreadable_files(name, raw, said, put):
    (mistake,) = refused(read, put(name, raw))
    assert said in mistake


@pytest.mark.parametrize("suffix", PACKED)
def test_broken_packings_are_told(suffix, put):
    packed = PACKED[suffix](CNF.encode() * 50)
    name = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz"}[suffix]
    for cut in (len(packed) // 2, len(packed) - 1, 7):
        (said,) = refused(read, put(f"a{suffix}", packed[:cut]))
        assert f"the {name} " in said
    broken = bytearray(packed)
    broken[len(packed) // 2] ^= 0xFF
    assert f"the {name} " in refused(read, put(f"a{suffix}", bytes(broken)))[0]


@pytest.mark.parametrize("suffix", PACKED)
def test_bombs_are_refused(suffix, put, monkeypatch):
    monkeypatch.setattr(texts, "MOST", 1 << 20)
    bomb = PACKED[suffix](b"0" * (1 << 19))
    with pytest.raises(TooLarge):
        read(put("a.packed", bomb * 16))
    with pytest.raises(TooLarge):
        read(put("b.packed", PACKED[suffix](b"0" * (8 << 20))))
    with pytest.raises(TooLarge):
        read(put("a.txt", b"." * (2 << 20)))


def test_missing_files_and_directories(tmp_path, put):
    put("puzzles.txt", "." * 81)
    (said,) = refused(read, str(tmp_path / "puzzels.txt"))
    assert "no such file" in said and "did you mean" in said and "puzzles.txt" in said
    assert "is a directory" in refused(read, str(tmp_path))[0]
    assert "no such file" in refused(read, str(tmp_path / "none" / "a"))[0]


# --- the shared instances -------------------------------------------------------------------------


def test_shared_sudokus_are_read(shared_data):
    folder = shared_data / "sudoku"
    for name, n, count in (
        ("sudoku17_shared.txt", 9, 2000),
        ("sudoku16x16_shared.txt", 16, 62),
        ("sudoku25x25_gecode_shared.txt", 25, 9),
        ("forum_hardest_1106_shared.txt", 9, 122),
    ):
        one = only(read(str(folder / name)))
        assert one.query.rows == count and one.query.variables["grid"].shape == (n, n)


def test_shared_graphs_are_read(shared_data):
    for path in sorted((shared_data / "coloring").glob("*.col")):
        one = only(read(str(path), given={"colors": 2}))
        assert one.query.terms[0].params["edges"]
    assert json.dumps(one.solution({"color": [0, 1]})) == "[0, 1]"
