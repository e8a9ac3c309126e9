"""The format `table` and `basin train` from the command line: asking, rules, flips, mistakes."""

import csv
import io
import itertools
import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from examples.generators.loans import loans, open_table, table_of
from modules.discrete.table_changes import smallest_change
from modules.discrete.table_model import load_model
from modules.discrete.table_net import TableNet
from modules.discrete.table_reading import read_grid
from services.cli import app

WEIGHTS = {"weights": "loans.safetensors"}


def basin(*args: str):
    return CliRunner().invoke(app, list(args))


def ask(path: Path, given: dict, *more: str):
    return basin("ask", str(path), "--given", json.dumps(given), "--json", *more)


def lines(done) -> list[dict]:
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def table(tmp_path) -> Path:
    path = tmp_path / "open.csv"
    path.write_text(open_table(2))
    return path


def test_empty_cells_are_answered_with_their_chances(table):
    model = load_model("loans.safetensors")
    given = list(csv.DictReader(io.StringIO(table.read_text())))
    every = lines(ask(table, WEIGHTS))
    assert [a["instance"] for a in every] == [f"{table}#{k}" for k in range(1, 7)]
    for row, answer in zip(given, every, strict=True):
        assert answer["status"] == "OPTIMAL" and list(answer["solution"]) == list(row)
        opened = {name for name, cell in row.items() if not cell}
        assert set(answer["probabilities"]) == opened
        for name, cell in row.items():
            if cell:
                assert answer["solution"][name] == cell  # as it stands in the file
                continue
            chances = answer["probabilities"][name]
            assert sum(chances.values()) == pytest.approx(1)
            if len(opened) == 1:
                assert answer["solution"][name] == max(chances, key=chances.__getitem__)
    codes = torch.from_numpy(model.schema.codes(read_grid(table.read_text())))[:1]
    target = model.schema.place("repaid")
    p = model.net.logits(codes, target).softmax(-1)[0]
    assert list(every[0]["probabilities"]["repaid"].values()) == pytest.approx(p.tolist(), abs=1e-5)


def test_rules_join_and_the_unsure_abstain(table):
    rule = {
        "kind": "discrete.clause", "scope": ["repaid"],
        "params": {"clauses": [[[0, "no", True]]]},
    }  # fmt: skip
    every = lines(ask(table, {**WEIGHTS, "terms": [rule]}))
    open_target = [a for a in every if "repaid" in a["probabilities"]]
    assert open_target and all(a["solution"]["repaid"] == "no" for a in open_target)
    clash = [a for a in every if "repaid" not in a["probabilities"] and a["solution"] is None]
    given = list(csv.DictReader(io.StringIO(table.read_text())))
    assert len(clash) == sum(row["repaid"] == "yes" for row in given)
    assert all(a["status"] == "INFEASIBLE" for a in clash)
    unsure = lines(ask(table, {**WEIGHTS, "confidence": 0.8}))
    for answer in unsure:
        sure = all(
            p[answer["solution"][name]] >= 0.8 for name, p in answer["probabilities"].items()
        )
        assert ("ABSTAIN" in answer["flags"]) is not sure
    assert len({tuple(a["flags"]) for a in unsure}) == 2


def test_the_smallest_change_of_each_row(table):
    every = lines(ask(table, {**WEIGHTS, "flip": {"repaid": "no"}, "keep": ["age", "month"]}))
    given = list(csv.DictReader(io.StringIO(table.read_text())))
    for row, answer in zip(given, every, strict=True):
        assert answer["status"] == "OPTIMAL" and answer["solution"]["repaid"] == "no"
        changed = [n for n in row if row[n] and row[n] != answer["solution"][n] and n != "repaid"]
        assert len(changed) == answer["energy"] and "age" not in changed
        assert answer["smallest"] or not all(row[n] for n in row if n != "repaid")


def test_the_fewest_changes_are_those_of_a_plain_loop_over_all_rows():
    net = TableNet((2, 3, 2, 2), 4, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for k, p in enumerate(net.parameters()):
            p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(k)))
    every = torch.tensor(list(itertools.product(*(range(k) for k in net.sizes))))
    labels = net.logits(every, 3).argmax(-1)
    sizes = set()
    for row in every[every[:, 3] == 0]:
        for label in (0, 1):
            changes = (every[:, :3] != row[:3]).sum(-1)[labels == label]
            found = smallest_change(net, row, 3, label, [0, 1, 2])
            if not len(changes):
                assert found is None
                continue
            least = int(changes.min())
            assert found is not None and len(found.columns) >= least
            if found.smallest:
                assert len(found.columns) == least
            sizes.add((least, found.smallest))
    assert {(0, True), (1, True)} <= sizes and (1, False) not in sizes


def test_scores_tell_odd_rows(tmp_path):
    path = tmp_path / "rows.csv"
    rows = [row for row in loans(21, 40) if row["job"]][:20]
    odd = {**rows[0], "age": "18", "job": "retired", "income": "80", "debt": "75", "late": "3"}
    path.write_text(table_of([*rows, odd]))
    every = lines(ask(path, WEIGHTS, "--score"))
    energies = [a["energy"] for a in every]
    assert energies[-1] == max(energies) and "ABSTAIN" in every[-1]["flags"]
    assert sum("ABSTAIN" in a["flags"] for a in every) <= 2


@pytest.mark.parametrize(
    "given, text, said",
    [
        (None, None, "--given.weights: the weights are missing"),
        ({"weights": "no.safetensors"}, None, "--given.weights"),
        ({"weights": 3}, None, "--given.weights: 3 does not fit"),
        ({"weight": "x"}, None, "--given.weight: 'weight' is no input; did you mean weights"),
        ({**WEIGHTS, "flip": {"repaid": "perhaps"}}, None, "--given.flip.repaid: 'perhaps'"),
        ({**WEIGHTS, "flip": {"repayed": "no"}}, None, "--given.flip.repayed"),
        ({**WEIGHTS, "keep": ["age"]}, None, "--given.keep"),
        (
            {**WEIGHTS, "terms": [{"kind": "discrete.clause", "scope": ["repayed"]}]},
            None,
            "--given.terms[0].scope[0]: 'repayed' is no variable",
        ),
        (WEIGHTS, "", "the file is empty"),
        (WEIGHTS, "age,job\n3\n", "line 2: 1 cells, but the header names 2 columns"),
        (WEIGHTS, "age,job\n30,clerk\n", "line 1: column 'income' is missing"),
        (WEIGHTS, "age,job,size\n1,clerk,2\n", "line 1: column 'size' is unknown"),
        (
            WEIGHTS,
            "age,job,income,debt,late,month,repaid\n30,cleric,1,2,0,may,\n",
            "line 2, column job: 'cleric' is no value of job; did you mean clerk",
        ),
    ],
)
def test_mistakes_are_told_on_one_line_each(given, text, said, table):
    if text is not None:
        table.write_text(text)
    given_flag = [] if given is None else ["--given", json.dumps(given)]
    done = basin("ask", str(table), *given_flag, "--json")
    assert done.exit_code == 2 and done.stdout == ""
    assert any(line.startswith(f"{table}: ") and said in line for line in done.stderr.splitlines())
    assert "Traceback" not in done.stderr


def train(path: Path, out: Path, *more: str):
    return basin("train", "discrete.tabular", "--data", str(path), "--out", str(out), *more)


def test_train_then_ask(tmp_path):
    data, out = tmp_path / "loans.csv", tmp_path / "w.safetensors"
    data.write_text(table_of(loans(1, 200)))
    done = train(data, out, "--steps", "20", "--params", '{"hidden": 4}', "--seed", "7")
    assert done.exit_code == 0, done.output
    assert f"wrote {out}" in done.stderr and done.stdout == ""
    assert load_model(str(out)).target is None
    first = table_of(loans(9, 2)).replace(",yes", ",").replace(",no", ",")
    (tmp_path / "open.csv").write_text(first)
    every = lines(ask(tmp_path / "open.csv", {"weights": str(out)}))
    assert all(set(a["probabilities"]) >= {"repaid"} for a in every)


@pytest.mark.parametrize(
    "text, flags, said",
    [
        ("", (), "empty"),
        ("a,b\n", (), "line 2: there are no rows"),
        ("a,b\n" + "x,NaN\n" * 30, (), "column b: every cell is missing"),
        ("a,b\n" + "x,1\ny,2\n" * 30, ("--steps", "0"), "--steps: 0"),
        ("a,b\n" + "x,1\ny,2\n" * 30, ("--seconds", "-1"), "--seconds: -1.0"),
        ("a,b\n" + "x,1\ny,2\n" * 30, ("--params", "{"), "--params"),
        ("a,b\n" + "x,1\ny,2\n" * 30, ("--params", "3"), "--params: is no mapping"),
        ("a,b\n" + "x,1\ny,2\n" * 30, ("--params", '{"target": "c"}'), "--params.target: 'c' is"),
        ("a,b\n" + "x,1\ny,2\n" * 30, ("--params", '{"bin": 3}'), "--params.bin: unknown field"),
        ("a,b\n" + "x,1\ny,2\n" * 30, ("--params", '{"types": {"a": "numeric"}}'), "is no number"),
        ("a,b\nx,1\ny,2\n", (), "2 rows are too few"),
    ],
)
def test_mistakes_of_a_training(text, flags, said, tmp_path):
    data = tmp_path / "t.csv"
    data.write_text(text)
    done = train(data, tmp_path / "w.safetensors", *flags)
    assert done.exit_code == 2 and said in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "w.safetensors").exists()


def test_wrong_kinds_and_places_of_a_training(tmp_path):
    data = tmp_path / "t.csv"
    data.write_text("a,b\n" + "x,1\ny,2\n" * 30)
    done = basin("train", "discrete.clause", "--data", str(data), "--out", "w.safetensors")
    assert done.exit_code == 2 and "discrete.clause does not learn; did you mean" in done.stderr
    assert "known: " in done.stderr and "discrete.tabular" in done.stderr
    assert "did you mean discrete.tabular" in basin(
        "train", "discrete.tabulr", "--data", str(data), "--out", "w.safetensors"
    ).stderr  # fmt: skip
    done = train(data, tmp_path / "nowhere" / "w.safetensors")
    assert done.exit_code == 2 and "--out: there is no directory" in done.stderr
    done = train(data, tmp_path / "w.pkl")
    assert done.exit_code == 2 and ".safetensors" in done.stderr
    done = train(tmp_path / "none.csv", tmp_path / "w.safetensors")
    assert done.exit_code == 2 and "none.csv: no such file" in done.stderr


def test_another_run_is_not_resumed(tmp_path):
    data, out = tmp_path / "t.csv", tmp_path / "w.safetensors"
    data.write_text("a,b\n" + "x,1\ny,2\n" * 30)
    more = ("--work", str(tmp_path / "work"), "--params", '{"hidden": 2}')
    assert train(data, out, "--steps", "3", *more).exit_code == 0
    done = train(data, out, "--steps", "4", *more)
    assert done.exit_code == 2 and "--work" in done.stderr and "other recipe" in done.stderr
