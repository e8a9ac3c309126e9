"""The command line: what it answers, how it refuses, and the fields programs rely on."""

import gzip
import itertools
import json
import os
import re
import signal
import subprocess
import sys

import pytest

from modules.catalogue import Catalogue
from services.cli import ask
from tests.support.command import (
    CNF,
    COL,
    CONTRADICTION,
    FIELDS,
    QUERY,
    changed,
    term,
    write,
)
from tests.support.paths import ROOT
from tests.support.puzzles import puzzle

# --- answers --------------------------------------------------------------------------------------


def test_sudokus_are_answered_in_input_order(basin):
    boards = [
        puzzle(n, seed, holes=None if n == 4 else 40)
        for n, seed in ((9, 1), (4, 2), (9, 3), (4, 4))
    ]
    write("mixed.txt", "\n".join(asked for asked, _ in boards))
    done = basin("ask", "mixed.txt", "--json")
    assert done.code == 0 and done.err == ""
    assert [a["instance"] for a in done.answers] == [f"mixed.txt#{k}" for k in (1, 2, 3, 4)]
    for answer, (_, solved) in zip(done.answers, boards):
        assert list(answer) == FIELDS
        assert answer["solution"] == solved and answer["unique"] is True
        assert answer["status"] == "OPTIMAL" and answer["energy"] == answer["bound"] == 0
        assert answer["findings"][0]["holds"] is True


@pytest.mark.parametrize("before", ["", "import numba; "])
def test_a_small_file_needs_no_numba_and_is_answered_the_same(before, basin):
    """By another path to the same bits: what ran is not seen in the answer."""
    lines = {"lines": [[0, 1, 2]]}
    write("a.json", changed(terms=[{**QUERY["terms"][0], "params": lines}]))
    code = (
        f"import sys; sys.argv = ['basin', 'ask', 'a.json', '--json']; {before}"
        "from services.cli import app; app(standalone_mode=False); print('numba' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    answer, loaded = done.stdout.decode().splitlines()
    assert loaded == str(bool(before)), done.stderr
    (here,) = basin("ask", "a.json", "--json").answers
    assert {**json.loads(answer), "seconds": 0} == {**here, "seconds": 0}


def test_several_files_and_formats_in_one_call(basin):
    asked, solved = puzzle(4, 1)
    write("a.cnf", CNF)
    write("b.txt.gz", gzip.compress(asked.encode()))
    write("c.json", QUERY)
    done = basin("ask", "a.cnf", "b.txt.gz", "c.json", "--json")
    assert done.code == 0, done.err
    cnf, sudoku, query = done.answers
    assert cnf["solution"] == [-1, -2, 3]
    assert sudoku["solution"] == solved and sudoku["instance"] == "b.txt.gz#1"
    assert query["solution"]["x"][0] == 2 and query["energy"] == query["bound"] == 0.5
    assert query["terms"] == [
        {"term": "discrete.all_different", "energy": 0.0}, {"term": "taste", "energy": 0.5}
    ]  # fmt: skip


def test_standard_input(basin):
    done = basin("ask", "-", "--json", input=puzzle(4, 5)[0])
    assert done.code == 0 and done.answers[0]["instance"] == "-#1"
    done = basin("ask", "-", "--json", input=gzip.compress(CNF.encode()))
    assert done.code == 0 and done.answers[0]["solution"] == [-1, -2, 3]


def test_infeasible_is_an_answer(basin):
    write("a.cnf", CONTRADICTION)
    done = basin("ask", "a.cnf", "--json")
    (answer,) = done.answers
    assert done.code == 0 and answer["status"] == "INFEASIBLE"
    assert answer["solution"] is None and answer["energy"] is None


def test_colors_are_an_input(basin):
    write("a.col", COL)
    done = basin("ask", "a.col", "--given", '{"colors": 3}', "--json")
    assert sorted(done.answers[0]["solution"]) == [0, 1, 2]
    done = basin("ask", "a.col", "--given", '{"colors": 2}', "--json")
    assert done.answers[0]["status"] == "INFEASIBLE"
    done = basin("ask", "a.col")
    assert done.code == 2 and done.err.startswith("a.col: --given.colors: ")


@pytest.mark.parametrize(
    ("name", "text", "status", "solution"),
    [
        ("a.cnf", "p cnf 0 0\n", "OPTIMAL", []),
        ("a.cnf", "p cnf 0 1\n0\n", "INFEASIBLE", None),
        ("a.cnf", "p cnf 2 1\n0\n", "INFEASIBLE", None),
        ("a.cnf", "p cnf 1 1\n1 -1 0\n", "OPTIMAL", ...),
        ("a.cnf", "p cnf 0 0\n%\n0\n", "OPTIMAL", []),
        ("a.col", "p edge 0 0\n", "OPTIMAL", []),
        ("a.col", "p edge 2 1\ne 2 2\n", "OPTIMAL", [0, 0]),
    ],
)
def test_the_smallest_instances(name, text, status, solution, basin):
    write(name, text)
    given = ("--given", '{"colors": 1}') if name == "a.col" else ()
    (answer,) = basin("ask", name, *given, "--json").answers
    assert answer["status"] == status and solution in (answer["solution"], ...)


@pytest.mark.parametrize(
    ("name", "text", "colors"),
    [
        ("a.cnf", "p cnf 0 0\n", 1),
        ("a.col", "p edge 0 0\n", 1),
        ("a.col", "p edge 0 0\n", 3),
        ("a.col", "p edge 2 0\n", 1),
        ("a.cnf", "p cnf 1 1\n1 0\n", 1),
    ],
)
def test_where_nothing_is_left_to_choose_there_is_one_answer(name, text, colors, basin):
    write(name, text)
    given = ("--given", json.dumps({"colors": colors})) if name == "a.col" else ()
    done = basin("ask", name, *given, "--prove", "--alternatives", "3", "--explain", "--json")
    (answer,) = done.answers
    assert answer["status"] == "OPTIMAL" and answer["unique"] is True
    assert answer["alternatives"] == [] and answer["runner_up"] is None


def test_given_is_evidence_of_a_query(basin):
    write("a.json", QUERY)
    done = basin("ask", "a.json", "--given", '{"x": [3, null, 1]}', "--json")
    assert done.answers[0]["solution"] == {"x": [3, 2, 1]} and done.answers[0]["energy"] == 2.0
    done = basin("ask", "a.json", "--given", '[{"x": [3, 2, null]}, {"x": [1, 2, null]}]', "--json")
    assert [a["solution"]["x"][2] for a in done.answers] == [1, 3]
    done = basin("ask", "a.json", "--given", '{"x": [4, null, null]}')
    assert done.code == 2 and "evidence.x[0]: 4 is none of the values" in done.err


def test_people_see_a_picture(basin):
    write("a.txt", puzzle(9, 1, holes=30)[0])
    write("b.cnf", CONTRADICTION)
    write("c.json", QUERY)
    done = basin("ask", "a.txt", "b.cnf", "c.json")
    assert done.code == 0
    assert "a.txt#1  OPTIMAL" in done.out and "+-------+" in done.out
    assert "b.cnf#1  INFEASIBLE" in done.out and "x = 2" in done.out


def test_many_instances_take_one_line_each(basin):
    write("a.txt", "\n".join([puzzle(4, 1)[0]] * 30))
    assert len(basin("ask", "a.txt").out.splitlines()) == 30


@pytest.mark.parametrize("count", [12, 13])
def test_values_that_are_left_out_are_told_once(count, basin):
    board = puzzle(4, 1)[0]
    write("a.txt", "\n".join([board] * count))
    done = basin("ask", "a.txt")
    left_out = "values are left out of more than 12 instances; --json has them all"
    assert done.told == ([] if count == 12 else [left_out])
    assert ("|" in done.out) == (count == 12)
    assert basin("ask", "a.txt", "--json").err == ""


def test_text_answers_are_whole(basin):
    names = [f"{chr(97 + k)} longish name of a value" for k in range(14)]
    name = "a_term_with_a_name_that_is_wider_than_any_terminal_" * 2
    query = {
        "variables": {"x": {"values": names, "shape": [14]}},
        "terms": [
            {"kind": "discrete.all_different", "scope": ["x"], "params": {"lines": [[*range(14)]]}},
            {
                "kind": "discrete.table",
                "scope": ["x"],
                "params": {"sites": [0], "costs": [1] * 14},
                "name": name,
            },
        ],
    }
    write("a.json", query)
    done = basin("ask", "a.json")
    for value in names:
        assert value in done.out
    letters = re.sub(r"[\s\d]", "", done.out)  # a name goes on below, beside its energy
    assert name in letters and "..." not in letters and "\u2026" not in letters
    done = basin("sample", "a.json", "--count", "2")
    assert all(done.out.count(value) == 2 for value in names)


def test_score_judges_without_search(basin):
    full = changed(evidence=[{"x": [1, 2, 3]}, {"x": [1, 1, 3]}, {"x": [1, None, None]}])
    write("a.json", full)
    for call in (("score", "a.json", "--json"), ("ask", "--score", "a.json", "--json")):
        done = basin(*call)
        good, bad, partial = done.answers
        assert done.code == 0
        assert good["status"] == "OPTIMAL" and good["energy"] == good["bound"] == 1.0
        assert bad["status"] == "UNSATISFIED" and bad["findings"][0]["holds"] is False
        assert bad["findings"][0]["text"]
        assert partial["solution"] is None and partial["bound"] <= 1.0


def test_alternatives(basin):
    write("a.json", QUERY)
    done = basin("ask", "a.json", "--alternatives", "2", "--json")
    (answer,) = done.answers
    others = answer["alternatives"]
    assert len(others) == 2 and all(sorted(other["x"]) == [1, 2, 3] for other in others)
    assert len({tuple(o["x"]) for o in [*others, answer["solution"]]}) == 3


def test_explain_names_the_conflict(basin):
    board = "11" + "." * 14
    write("a.txt", board)
    done = basin("ask", "a.txt", "--explain", "--json")
    (answer,) = done.answers
    assert answer["status"] == "INFEASIBLE"
    conflict = answer["evidence_conflict"]
    assert {tuple(c["site"]) for c in conflict} == {(0, 0), (0, 1)}
    assert all(c["variable"] == "grid" and c["value"] == 1 for c in conflict)
    assert len(answer["repair"]) == 1 and answer["rule_conflict"]


def test_the_same_seed_gives_the_same_answer(basin):
    write("a.json", QUERY)

    def values() -> list:
        done = basin("ask", "a.json", "--seed", "7", "--particles", "8", "--json")
        return [a["solution"] for a in done.answers]

    assert values() == values()


# --- refusals -------------------------------------------------------------------------------------

MALFORMED = {
    "unknown_kind": (
        term(kind="discrete.al_different"),
        "terms[0].kind: 'discrete.al_different' is unknown; did you mean discrete.all_different?",
    ),
    "no_kind": (term(kind=...), "terms[0].kind: is missing"),
    "no_scope": (term(scope=...), "terms[0].scope: is missing"),
    "unknown_variable": (term(scope=["y"]), "terms[0].scope[0]: 'y' is no variable"),
    "view_out_of_range": (term(scope=["x[7]"]), "terms[0].scope[0]: place 7 of axis 0 is out"),
    "too_many_axes": (term(scope=["x[0, 0]"]), "terms[0].scope[0]: 2 places for 1 axes"),
    "site_out_of_range": (
        term(params={"lines": [[0, 9]]}),
        "terms[0].params.lines[0][1]: site 9 is out of range",
    ),
    "no_params": (term(params=...), "terms[0].params.lines: is missing"),
    "unknown_parameter": (
        term(params={"lines": [[0]], "line": 1}),
        "terms[0].params.line: unknown field",
    ),
    "parameter_type": (term(params={"lines": 3}), "terms[0].params.lines: 3 is no list"),
    "unknown_field": (term(scopes=[]), "terms[0].scopes: unknown field"),
    "unknown_top_field": (changed(evidense={}), "evidense: unknown field"),
    "weight_zero": (term(required=False, weight=0), "terms[0].weight: 0 is out of range"),
    "weight_text": (term(required=False, weight="2"), "terms[0].weight: '2' is no number"),
    "weight_of_required": (term(required=True, weight=2), "terms[0].weight: 2 on a required term"),
    "weight_nan": (
        '{"variables": {"x": {"values": [1]}}, "terms": [{"kind": "discrete.clause", '
        '"scope": ["x"], "weight": NaN}]}',
        "terms[0].weight: nan",
    ),
    "cannot_be_required": (
        term(kind="graph.cut", required=True, params={"edges": [[0, 1, 1.0]]}),
        "terms[0].required: graph.cut cannot decide",
    ),
    "evidence_value": (changed(evidence={"x": [1, 7, None]}), "evidence.x[1]: 7 is none of the"),
    "evidence_shape": (changed(evidence={"x": [1, 2]}), "evidence.x: has 2 entries"),
    "evidence_name": (changed(evidence={"z": 1}), "evidence.z: 'z' is no variable"),
    "evidence_row": (changed(evidence=[{}, {"x": [9, None, None]}]), "evidence[1].x[0]: 9 is none"),
    "empty_domain": (
        changed(variables={"x": {"values": [], "shape": [3]}}),
        "variables.x.values: the domain is empty",
    ),
    "value_twice": (changed(variables={"x": {"values": [1, 2, 1]}}), "variables.x.values[2]: 1"),
    "no_domain": (changed(variables={"x": {"shape": [3]}}), "variables.x: "),
    "negative_shape": (
        changed(variables={"x": {"values": [1], "shape": [-1]}}),
        "variables.x.shape[0]: -1 is out",
    ),
    "no_sites": (
        changed(variables={"x": {"values": [1], "shape": [0]}}),
        "variables.x.shape: [0] has no",
    ),
    "too_large": (
        changed(variables={"x": {"values": [1], "shape": [10**9]}}),
        "variables.x.shape: 1000000000 sites; the limit is",
    ),
    "no_variables": ({"terms": []}, "variables: is missing"),
    "no_mapping": ("[1, 2]", "[1, 2] is no mapping"),
    "broken_json": ('{"variables": {"x": {"values": [1, 2}}', "line 1, column"),
    "truncated_json": (json.dumps(QUERY)[:-20], "line 1, column"),
    "budget_seconds": (changed(budget={"seconds": -1}), "budget.seconds: -1 is out of range"),
    "budget_seed": (changed(budget={"seed": "a"}), "budget.seed: 'a' is no whole number"),
    "real_scope": (
        changed(variables={"x": {"low": 0, "high": 1, "shape": [3]}}),
        "terms[0].scope[0]: x has real values",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_queries(case, basin):
    query, said = MALFORMED[case]
    write("q.json", query)
    done = basin("ask", "q.json", "--json")
    assert done.code == 2, done.error
    assert done.out == "" and done.told
    assert all(line.startswith("q.json: ") for line in done.told)
    assert f"q.json: {said}" in done.err
    assert ";" in done.told[0], "a remedy is told"


def test_mistakes_of_the_text_and_of_its_kinds_are_told_together(basin):
    wrong = changed(
        terms=[
            {"kind": "discrete.claus", "scope": ["x"]},
            {"kind": "discrete.clause", "scope": ["x"], "weight": -1, "params": {"clausen": []}},
            {"kind": "discrete.equal", "scope": ["y"], "params": {"pairs": [[0, 7]]}},
        ],
        budget={"seconds": -1},
        evidence={"x": [8, None, None]},
        variables={**QUERY["variables"], "y": {"values": []}},
    )
    write("q.json", wrong)
    places = {line.split(": ")[1] for line in basin("ask", "q.json", "--json").told}
    assert places == {
        "variables.y.values",
        "terms[0].kind",
        "terms[1].weight",
        "terms[1].params.clauses",
        "terms[1].params.clausen",
        "budget.seconds",
        "evidence.x[0]",
    }


def test_every_mistake_of_every_file_is_told(basin):
    wrong = changed(
        terms=[{"kind": "nothing", "scope": ["x"]}, {"kind": "discrete.clause", "scope": ["x"]}],
        evidence={"x": [8, 9, None]},
    )
    write("q.json", wrong)
    write("a.cnf", "p cnf 2 2\n1 x 0\n5 0\n")
    write("s.txt", "." * 16 + "\n" + "." * 17)
    write("good.cnf", CNF)
    done = basin("ask", "missing.txt", "q.json", "a.cnf", "s.txt", "good.cnf", "--json")
    assert done.code == 2
    starts = [line.split(": ")[:2] for line in done.told]
    assert starts == [
        ["missing.txt", "no such file; name a file that exists"],
        ["a.cnf", "line 2"],
        ["a.cnf", "line 3"],
        ["s.txt", "line 2"],
        ["q.json", "terms[0].kind"],
        ["q.json", "terms[1].params.clauses"],
        ["q.json", "evidence.x[0]"],
        ["q.json", "evidence.x[1]"],
    ]
    assert [a["instance"] for a in done.answers] == ["good.cnf#1"], "the others are answered"


def test_every_mistake_of_the_parts_is_told_once(basin):
    broken = {
        "variables": {
            "x": {"values": [1, 2, 3], "shape": [3]}, "y": {"values": [1, 1]}, "z": {"lo": 0},
        },
        "terms": [
            {"kind": "discrete.al_different", "scope": ["x"], "params": {"lines": [[0, 1, 2]]}},
            {"kind": "discrete.linear", "scope": ["x"], "params": {"terms": [], "compare": "="}},
            {"kind": "discrete.table", "scope": ["w"], "weight": -1, "params": {"cost": []}},
            {"kind": "discrete.all_different", "scope": ["x", "y"], "params": {"line": [[0]]}},
        ],
        "evidence": [{"x": [7, None, None], "q": 1, "z": 2}, {"x": [1, None, None]}, {"x": [8]}],
        "budget": {"second": 3},
    }  # fmt: skip
    write("a.json", broken)
    paths = [line.removeprefix("a.json: ").split(": ")[0] for line in basin("ask", "a.json").told]
    assert sorted(paths) == sorted(
        [
            "variables.y.values[1]",
            "variables.z",
            "terms[0].kind",
            "terms[1].params.compare",
            "terms[1].params.constant",
            "terms[2].weight",
            "terms[2].scope[0]",
            "terms[2].params.cost",
            "terms[2].params.sites",
            "terms[3].params.line",
            "terms[3].params.lines",
            "evidence[0].q",
            "evidence[0].x[0]",
            "evidence[2].x",
            "budget.second",
        ]
    )


@pytest.mark.parametrize("wrong", [None, 3, "x", [3], {"a": 1}, [[]]])
@pytest.mark.parametrize("field", ["kind", "scope", "params", "name", "weight"])
def test_parts_of_any_type_are_told_without_a_traceback(field, wrong, basin):
    query = term(**{field: wrong}) | {"evidense": 1}
    write("a.json", query)
    done = basin("ask", "a.json")
    assert done.code == 2 and "evidense" in done.err and isinstance(done.error, SystemExit)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--seconds", "-1"), "--seconds: -1"),
        (("--seconds", "nan"), "--seconds: nan"),
        (("--particles", "0"), "--particles: 0"),
        (("--particles", "99999"), "--particles: 99999 particles; the limit is"),
        (("--seed", "-3"), "--seed: -3"),
        (("--alternatives", "-1"), "--alternatives: -1"),
        (("--given", "{"), "--given: line 1, column 2: no JSON"),
        (("--format", "sudoko"), "--format: 'sudoko' is unknown; did you mean sudoku?"),
        (("--device", "tpu"), "--device: 'tpu'"),
        (("--differ", "x"), "--differ: speaks of the runner-up of explain; ask for explain too"),
        (("--distance", "2"), "--distance: speaks of alternatives; ask for alternatives too"),
    ],
)
def test_wrong_flags(flags, said, basin):
    write("a.cnf", CNF)
    done = basin("ask", "a.cnf", *flags)
    assert done.code == 2 and done.err.startswith(said) and done.out == ""


def test_a_failing_service_is_exit_3(basin):
    write("a.cnf", CNF)
    done = basin("ask", "a.cnf", "--server", "127.0.0.1:9", "--json")
    assert done.code == 3 and done.out == ""
    (said,) = done.told
    assert said.startswith("a.cnf: 127.0.0.1:9: ")


def test_interrupt_writes_what_was_found(basin, monkeypatch):
    write("a.cnf", CNF)
    write("b.cnf", CNF)
    real = ask._solvers(ask.AskArguments(["a.cnf", "b.cnf"]), Catalogue())

    def pressed(query, options, watch, stop):
        answers = real.solve(query, options, watch, stop)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        return answers

    monkeypatch.setattr(ask, "_solvers", lambda wishes, kinds: ask.Solvers(pressed))
    done = basin("ask", "a.cnf", "b.cnf", "--json")
    assert done.code == 130
    assert [a["instance"] for a in done.answers] == ["a.cnf#1"]


# --- the shared instances -------------------------------------------------------------------------


def test_shared_sudokus_are_solved(basin, shared_data):
    folder = shared_data / "sudoku"
    done = basin("ask", str(folder / "sudoku17_shared.txt"), "--json")
    with gzip.open(folder / "sudoku17_shared_solutions.txt.gz", "rt") as file:
        solved = [line.split()[0] for line in file if line[0] != "#"]
    assert [a["solution"] for a in done.answers] == solved
    assert {a["status"] for a in done.answers} == {"OPTIMAL"}


MARGINS = {
    "variables": {"x": {"values": [0, 1], "shape": [2, 2]}},
    "terms": [
        {
            "kind": "discrete.table",
            "scope": ["x"],
            "required": False,
            "params": {"sites": sites, "costs": costs},
        }
        for sites, costs in (
            ([0], [0, 4]),
            ([1], [2, 0.5]),
            ([2], [0, None]),
            ([0, 1], [[0, 1], [1, 0]]),
            ([1, 3], [[0, 3], [3, 0]]),
        )
    ],
}


def _least_by_value(site: int) -> list[float]:
    """The least energy of the query above for each value of a site, by enumeration."""
    least = [float("inf")] * 2
    for x in itertools.product((0, 1), repeat=4):
        cost = (0, 4)[x[0]] + (2, 0.5)[x[1]] + (0, float("inf"))[x[2]]
        cost += (x[0] != x[1]) + 3 * (x[1] != x[3])
        least[x[site]] = min(least[x[site]], cost)
    return least


def test_margins_enclose_what_another_value_costs_more(basin):
    write("a.json", MARGINS)
    (answer,) = basin("ask", "a.json", "--margins", "--json").answers
    told = answer["margins"]["x"]
    for site in range(4):
        row, column = divmod(site, 2)
        ahead = sorted(_least_by_value(site))[1] - answer["energy"]
        low, high = (told[name][row][column] for name in ("low", "high"))
        assert told["only"][row][column] == (ahead == float("inf"))
        if ahead < float("inf"):
            assert low - 1e-9 <= ahead <= high + 1e-9
            assert low == pytest.approx(ahead)  # the pairs are a tree
    assert "least ahead: x[1, 1] by at least 0.5" in basin("ask", "a.json", "--margins").out
    (plain,) = basin("ask", "a.json", "--json").answers
    assert plain["margins"] == {}


def test_margins_of_a_proved_answer_are_not_below_0(basin):
    ring = {"edges": [[0, 1, 2], [1, 2, 1], [2, 0, 3], [2, 3, 1]]}  # messages alone prove -1
    cut = {"kind": "graph.cut", "scope": ["x"], "params": ring}
    write("a.json", {"variables": {"x": {"values": [0, 1], "shape": [4]}}, "terms": [cut]})
    (answer,) = basin("ask", "a.json", "--margins", "--json").answers
    assert answer["status"] == "OPTIMAL" and answer["margins"]["x"]["low"] == [0] * 4


def test_margins_of_single_sites_and_of_what_has_none(basin):
    write("a.json", QUERY)  # three that differ, of which one site costs
    (answer,) = basin("ask", "a.json", "--margins", "--json").answers
    own = answer["margins"].get("x")
    assert own is None or own["low"][0] <= 0.5
    write("a.cnf", CNF)
    (answer,) = basin("ask", "a.cnf", "--margins", "--json").answers
    assert answer["margins"] == {}
    done = basin("ask", "a.json", "--margins", "--score")
    assert done.code == 2 and "--margins: speaks of the answer of a search" in done.err
