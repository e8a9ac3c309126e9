"""The format `table` and `basin train` from the command line: asking, rules, flips, mistakes."""

import csv
import io
import itertools
import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from engine.errors import BadQuery
from examples.generators.loans import loans, open_table, table_of
from modules.discrete.tabular.counterfactual import smallest_change
from modules.discrete.tabular.model import load_model
from modules.discrete.tabular.network import TableNet
from modules.discrete.tabular.reading import read_grid
from services import formats
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


def test_what_a_change_must_keep_stays(table):
    given = list(csv.DictReader(io.StringIO(table.read_text())))
    flip = {**WEIGHTS, "flip": {"repaid": "no"}}

    def changed(answers: list[dict]) -> set[str]:
        pairs = [(r, a["solution"] or r) for r, a in zip(given, answers, strict=True)]
        return {n for r, s in pairs for n in r if r[n] and r[n] != s[n]} - {"repaid"}

    name = min(changed(lines(ask(table, flip))))
    kept = lines(ask(table, {**flip, "keep": [name]}))
    assert name not in changed(kept) and any(a["solution"] for a in kept)


def test_a_search_for_changes_gives_up_when_it_is_stopped():
    net = TableNet((2, 3, 2, 2), 4, torch.Generator().manual_seed(0))
    row = torch.tensor([0, 0, 0, 0])
    label = 1 - int(net.logits(row[None], 3).argmax())
    looks = []
    assert smallest_change(net, row, 3, label, [0, 1, 2], lambda: looks.append(1) or True) is None
    assert looks == [1]


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
        (
            {"weight": "x"},
            None,
            "--given.weight: 'weight' is none of its values; did you mean weights",
        ),
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


# ---------------------------------------------------------------- given cells, names, bytes


def test_people_see_what_was_given_and_the_chances_of_what_was_not(table):
    given = list(csv.DictReader(io.StringIO(table.read_text())))
    exact = lines(ask(table, WEIGHTS))
    shown = basin("ask", str(table), "--given", json.dumps(WEIGHTS)).stdout
    parts = shown.split(f"{table}#")[1:]
    for row, part, answer in zip(given, parts, exact, strict=True):
        told = dict(line.strip().split(" = ") for line in part.splitlines()[1:] if " = " in line)
        for name, cell in row.items():
            if cell:
                assert told[name] == cell
            else:
                value = answer["solution"][name]
                chance = answer["probabilities"][name][value]
                assert told[name] == f"{value}  (chance {chance:.4g})"
    drawn = basin("sample", str(table), "--given", json.dumps(WEIGHTS)).stdout
    for row in given:
        assert all(f"  {name} = {cell}\n" in drawn for name, cell in row.items() if cell)


def rows_of(count: int, cell) -> str:
    """A table of ages, names by `cell(k)` and labels."""
    return "".join(
        f"{20 + k * 7 % 50},{cell(k)},{'yes' if k % 2 else 'no'}\n" for k in range(count)
    )


def trained(tmp_path: Path, text: str, **params) -> tuple[dict, str]:
    """What --given takes to ask the weights of a short training, and what it said."""
    data, out = tmp_path / "data.csv", tmp_path / "w.safetensors"
    data.write_text(text)
    params = {"hidden": 2, **params}
    done = train(data, out, "--steps", "8", "--params", json.dumps(params))
    assert done.exit_code == 0, done.output
    return {"weights": str(out)}, done.stderr


@pytest.mark.parametrize("word", ["NA", "None", "null", "n/a", "-", '"NA"', '"?"'])
def test_a_name_that_was_given_stays(tmp_path, word):
    text = rows_of(60, lambda k: ("ZA", "BW", word)[k % 3])
    given, _ = trained(tmp_path, "age,country,label\n" + text)
    path = tmp_path / "open.csv"
    path.write_text(f"age,country,label\n40,{word},\n40,,yes\n")
    first, second = lines(ask(path, given))
    assert first["solution"]["country"] == word.strip('"')
    assert set(first["probabilities"]) == {"label"}
    assert set(second["probabilities"]["country"]) == {"ZA", "BW", word.strip('"')}


def test_words_for_missing_are_saved_and_what_counts_as_missing_is_told(tmp_path):
    text = rows_of(60, lambda k: ("ZA", "BW", "NA")[k % 3])
    given, said = trained(tmp_path, "age,country,label\n" + text, missing=["NA", "-1"])
    assert "country: nominal, 2 values, with missing cells; 20 cells say 'NA', taken" in said
    path = tmp_path / "open.csv"
    path.write_text("age,country,label\n-1,NA,yes\n30,ZA,yes\n")
    done = ask(path, given)
    first, second = lines(done)
    assert set(first["probabilities"]) == {"age", "country"} and not second["probabilities"]
    told = [line for line in done.stderr.splitlines() if "counts as missing" in line]
    assert told == [
        f"{path}: line 2, column age: '-1' counts as missing",
        f"{path}: line 2, column country: 'NA' counts as missing",
    ]


def test_columns_whose_names_look_alike_are_answered(tmp_path):
    header = "a b,a-b,a_b,label\n"
    cells = "".join(
        f"{k % 9},{k % 5},{'xy'[k % 2]},{'yes' if k % 3 else 'no'}\n" for k in range(60)
    )
    given, said = trained(tmp_path, header + cells)
    assert "a b: ordinal, 9 values; another column is called alike: in queries it is a_b_2" in said
    path = tmp_path / "open.csv"
    path.write_text(header + "4,,x,\n")
    (answer,) = lines(ask(path, given))
    assert answer["solution"]["a b"] == "4" and answer["solution"]["a_b"] == "x"
    assert set(answer["probabilities"]) == {"a-b", "label"}
    rule = {
        "kind": "discrete.clause", "scope": ["a_b_3"], "params": {"clauses": [[[0, 2, True]]]},
    }  # fmt: skip
    (ruled,) = lines(ask(path, {**given, "terms": [rule]}))
    assert ruled["solution"]["a-b"] == "2"
    flipped = lines(ask(path, {**given, "flip": {"label": "yes"}}))
    assert flipped[0]["solution"]["label"] == "yes"


@pytest.mark.parametrize("where", ["header", "cell", "quoted", "last line"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_bytes_that_are_no_utf8_are_told_by_their_line(tmp_path, where, end):
    rows = [b"age,city,label", b'40,"two', b'lines",yes', *[b"41,Rome,no"] * 30]
    at = {"header": 0, "cell": 5, "quoted": 2, "last line": 32}[where]
    rows[at] = rows[at].replace(b"e", b"\xe7")
    path = tmp_path / "t.csv"
    path.write_bytes(end.join(rows) + end)
    said = f"{path}: line {at + 1}: byte 0xe7 is not UTF-8; save the file as UTF-8"
    for done in (train(path, tmp_path / "w.safetensors"), ask(path, WEIGHTS)):
        assert done.exit_code == 2 and done.stderr.splitlines() == [said]


@pytest.mark.parametrize("kind", ["discrete.lattice", "discrete.learned_rules"])
def test_other_examples_that_are_no_utf8_are_refused_alike(tmp_path, kind):
    path = tmp_path / "t.txt"
    path.write_bytes(b"0101\n# caf\xe9\n1010\n")
    done = basin("train", kind, "--data", str(path), "--out", str(tmp_path / "w.safetensors"))
    assert done.exit_code == 2 and f"{path}: line 2: byte 0xe9 is not UTF-8" in done.stderr


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_a_table_in_another_dialect_trains_and_is_asked(tmp_path, suffix):
    text = "age,city,label\n" + rows_of(60, lambda k: f'"{k % 7},5"')
    given, _ = trained(tmp_path, text)
    path = tmp_path / f"open.{suffix}"
    separator = {"csv": ";", "tsv": "\t"}[suffix]
    path.write_text(
        f"\ufeffsep={separator}\r\nage;city;label\r\n40;3,5;\r\n".replace(";", separator)
    )
    (answer,) = lines(ask(path, given))
    assert answer["solution"]["city"] == "3,5" and set(answer["probabilities"]) == {"label"}


@pytest.mark.parametrize("size", [0, 1, 100, 1000, 0.3, 0.9, 0.999, "text", "torch", "folder"])
def test_a_broken_checkpoint_is_told(tmp_path, size):
    data, out, work = tmp_path / "t.csv", tmp_path / "w.safetensors", tmp_path / "work"
    data.write_text("a,b\n" + "x,1\ny,2\n" * 30)
    more = ("--steps", "3", "--work", str(work), "--params", '{"hidden": 2}')
    assert train(data, out, *more).exit_code == 0
    checkpoint = work / "training.ckpt"
    raw = checkpoint.read_bytes()
    if size == "text":
        checkpoint.write_text("no checkpoint\n")
    elif size == "torch":
        torch.save({"state_dict": {}, "basin": {"key": 3}}, checkpoint)
    elif size == "folder":
        checkpoint.unlink()
        checkpoint.mkdir()
    else:
        checkpoint.write_bytes(raw[: int(size * len(raw)) if isinstance(size, float) else size])
    done = train(data, out, *more)
    remedy = "is broken; delete it, or give another folder"
    assert done.exit_code == 2 and done.stderr.strip() == f"--work: {checkpoint} {remedy}"
    done = train(data, out, *(str(data) if arg == str(work) else arg for arg in more))
    assert done.exit_code == 2 and f"--work: {data} is no folder" in done.stderr


def test_a_table_of_boards_says_how_boards_are_asked():
    for header, boards in (("puzzle,solution", True), ("id;Quizzes", True), ("a,puzzled", False)):
        with pytest.raises(BadQuery) as told:
            formats.format_of("t.csv", "").read(f"{header}\n1,2\n", "t.csv", None)
        assert ("--format sudoku" in str(told.value)) == boards
