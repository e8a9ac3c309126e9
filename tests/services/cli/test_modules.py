"""`--module FILE.py`: a term of one's own in every command, and what goes wrong in it."""

import json
from pathlib import Path

import pytest

from tests.support.command import command as started
from tests.support.command import write

MINE = '''"""Mine."""

from engine import Finite, Term, Variable


class Mine(Term):
    """{about}"""

    def __init__(self, x: Variable):
        super().__init__(x)
        {init}

    def energy(self, x):
        return {energy}

    @classmethod
    def example(cls):
        return cls(Variable("x", Finite((0, 1, 2), (3,))))
'''
ASKED = {
    "variables": {"x": {"values": [0, 1, 2], "shape": [3]}},
    "terms": [{"kind": "mine", "scope": ["x"]}],
}


def mine(energy: str = "(1 - x[..., 2]).flatten(1).sum(1)", init: str = "pass") -> None:
    Path("mine.py").write_text(MINE.format(about="Twos are low.", energy=energy, init=init))
    write("q.json", ASKED)


def test_a_term_of_a_file_is_asked_scored_drawn_listed(basin):
    mine()
    (answer,) = basin("ask", "q.json", "--module", "mine.py", "--json").answers
    assert answer["status"] == "OPTIMAL" and answer["solution"] == {"x": [2, 2, 2]}
    given = {**ASKED, "evidence": {"x": [0, 1, 2]}}
    (scored,) = basin("score", write("g.json", given), "--module", "mine.py", "--json").answers
    assert scored["energy"] == 2.0
    drawn = basin("sample", "q.json", "--module", "mine.py", "--count", "3", "--json")
    assert drawn.code == 0 and len(drawn.answers[0]["samples"]) == 3
    listed = basin("kinds", "--module", "mine.py", "--json")
    assert {"mine", "discrete.table"} <= {kind["kind"] for kind in json.loads(listed.out)}
    assert "Twos are low." in basin("kinds", "mine", "--module", "mine.py").out
    turn = basin("session", "q.json", "--module", "mine.py", input="{}\n")
    assert turn.answers[0]["solution"] == {"x": [2, 2, 2]}
    taught = basin("train", "mine", "--module", "mine.py", "--data", "q.json", "--out", "w")
    assert taught.code == 2 and "mine does not learn" in taught.err


def test_an_unknown_kind_says_how_to_bring_ones_own(basin):
    mine()
    done = basin("ask", "q.json")
    assert done.code == 2 and "'mine' is unknown" in done.err
    assert "--module FILE.py" in done.err


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("gone.py", None, "there is no file gone.py"),
        ("bad.py", "class A(:\n", "line 1"),
        ("bad.py", "x = 1\ny = 1 / 0\n", "ZeroDivisionError: division by zero (bad.py, line 2)"),
        ("bad.py", "x = 1\n", "defines no concrete Term"),
        ("bad.txt", "x = 1\n", "names no term"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_told(basin, file, text, said):
    mine()
    if text is not None:
        Path(file).write_text(text)
    done = basin("ask", "q.json", "--module", file)
    assert done.code == 2 and said in done.err and len(done.told) == 1
    if file.endswith(".py"):
        for command in ("check", "host"):
            done = basin(command, file)
            assert done.code == 2 and said in done.err and len(done.told) == 1, command


def test_beside_a_service_it_is_refused(basin):
    mine()
    for command in (["ask", "q.json"], ["sample", "q.json"], ["kinds"], ["session", "q.json"]):
        done = basin(*command, "--module", "mine.py", "--server", "127.0.0.1:1")
        assert done.code == 2 and "basin host mine.py" in done.err, command


WRONG = [
    ("x.sum()", "energy gave shape []; give shape ["),
    ("None", "energy gave None"),
    ("1.0", "energy gave float, not a tensor"),
    ("x[..., 0].sum(1, keepdim=True)", "energy gave shape ["),
    ("x[..., 0].sum(1).long()", "energy gave int64, not floating numbers"),
    ("x @ x.new_zeros(7, 7)", "energy raised RuntimeError: "),
    ("x @ x.new_zeros(3, 3).double()", "register_buffer"),
]


@pytest.mark.parametrize(("energy", "said"), WRONG)
def test_a_fault_of_a_term_is_one_line_and_ends_with_3(basin, energy, said):
    mine(energy)
    given = write("g.json", {**ASKED, "evidence": {"x": [0, 1, 2]}})
    for command in (["ask", "q.json"], ["score", given], ["sample", "q.json"]):
        done = basin(*command, "--module", "mine.py")
        assert done.code == 3, (command, done.err)
        (line,) = done.told
        assert "module Mine: " in line and said in line
        if "raised" in line:
            assert "(mine.py, line 14)" in line
    done = basin("session", "q.json", "--module", "mine.py", input="{}\n")
    assert done.code == 3 and said in done.answers[0]["text"]


def test_a_fault_while_a_term_is_made_names_the_line(basin):
    mine(init="1 / 0")
    done = basin("ask", "q.json", "--module", "mine.py")
    assert done.code == 3
    (line,) = done.told
    assert "module Mine: __init__ raised ZeroDivisionError: division by zero" in line
    assert "(mine.py, line 11)" in line


def test_check_names_method_and_line(basin):
    mine("x @ x.new_zeros(7, 7)")
    done = basin("check", "mine.py")
    assert done.code == 2 and "energy raised RuntimeError" in done.err
    assert "(mine.py, line 14)" in done.err


def test_what_basin_new_writes_is_asked(basin):
    done = basin("new", "my_term")
    assert done.code == 0 and "basin ask FILE --module my_term.py" in done.out
    query = {**ASKED, "terms": [{"kind": "my_term", "scope": ["x"]}]}
    (answer,) = basin("ask", write("q.json", query), "--module", "my_term.py", "--json").answers
    assert answer["solution"] == {"x": [1, 1, 1]}


def test_a_host_says_under_which_names_it_hosts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE.format(about="A.", energy="x[..., 0].sum(1)", init="pass"))
    process = started("host", "mine.py", "discrete.table", "--listen", "127.0.0.1:0")
    try:
        assert process.stdout.readline().startswith("listening on ")
        assert process.stderr.readline() == "hosts mine, discrete.table\n"
    finally:
        process.terminate()
        process.communicate(timeout=30)
