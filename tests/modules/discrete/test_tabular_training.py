"""Learned tables: what they come to know, and how a training ends."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors import safe_open

from engine.energy.lesson import Lesson
from engine.errors import BadQuery
from examples.generators.__main__ import SEED, query_file
from examples.generators.loans import chance_repaid, loans, open_table, table_of
from modules.discrete.tabular import judging, train
from modules.discrete.tabular.marginals import generated
from modules.discrete.tabular.model import TableModel, load_model
from modules.discrete.tabular.network import TableNet
from modules.discrete.tabular.reading import read_grid
from modules.discrete.tabular.schema import Type
from modules.discrete.tabular.split import Split
from modules.discrete.tabular.term import Tabular
from modules.discrete.tabular.types import infer
from tests.support.lessons import lesson_of
from tests.support.paths import ROOT
from tests.support.tables import LOANS, every_row, random_net

# ---------------------------------------------------------------- training


def in_process(tmp_path, name, seconds=None):
    """A short training into a folder of its own; -> its weights."""
    out = tmp_path / f"{name}.safetensors"
    lesson = lesson_of(
        table_of(loans(1, 200)), out, seconds=seconds, steps=40, seed=4, work=tmp_path / name,
        params={"hidden": 4, "bins": 6},
    )  # fmt: skip
    said = Tabular.learn(lesson)
    return load_model(str(out)).net.state_dict(), said[-2]


def test_a_training_that_stopped_goes_on_to_the_same_weights(tmp_path):
    whole, _ = in_process(tmp_path, "whole")
    first, said = in_process(tmp_path, "parts", seconds=1e-9)
    assert said.startswith("1 steps") and not torch.equal(whole["pairs"], first["pairs"])
    rest, said = in_process(tmp_path, "parts")
    assert said.startswith("40 steps")
    assert all(torch.equal(x, rest[name]) for name, x in whole.items())


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> TableModel:
    out = tmp_path_factory.mktemp("learned") / "w.safetensors"
    text = table_of(loans(3, 2000))
    params = {"target": "repaid", "bins": 12, "hidden": 16}
    said = Tabular.learn(lesson_of(text, out, steps=1000, params=params))
    assert any(line.startswith("job: nominal, 5 values, with missing cells") for line in said)
    return load_model(str(out))


def test_a_trained_table_comes_near_the_law_it_was_drawn_from(learned):
    rows = [row for row in loans(17, 1500) if row["job"]]
    truth = np.array([
        chance_repaid(float(r["income"]), float(r["debt"]), int(r["late"])) for r in rows
    ])  # fmt: skip
    codes = torch.from_numpy(learned.schema.codes(read_grid(table_of(rows))))
    target = learned.schema.place("repaid")
    yes = learned.schema.modelled[target].code("yes")
    p = learned.net.logits(codes, target).softmax(-1)[:, yes].numpy()
    base = truth.mean()
    assert np.abs(p - truth).mean() < 0.25 * np.abs(base - truth).mean() + 0.02
    labels = np.array([r["repaid"] == "yes" for r in rows])
    assert abs(p.mean() - labels.mean()) < 0.04
    assert 0.5 < float(learned.net.temperature) < 2 and np.isfinite(learned.band)


def learned_label(tmp_path, text: str, target: str | None = "label") -> tuple[TableModel, str]:
    """A table of x, typ and label, learned as it is by default; and what was said of its loss."""
    out = tmp_path / "w.safetensors"
    params = {"hidden": 32} if target is None else {"hidden": 32, "target": target}
    said = Tabular.learn(lesson_of(text, out, params=params))
    return load_model(str(out)), said[-2]


def labelled(rows: int, seed: int, label) -> str:
    """Numbers and names that have nothing to do with the label."""
    rng = np.random.default_rng(seed)
    cells = zip(rng.integers(1, 61, rows), rng.integers(0, 3, rows), label(rng, rows), strict=True)
    return "x,typ,label\n" + "".join(f"{x},{'abc'[t]},{y}\n" for x, t, y in cells)


def rare(count: int):
    def label(rng, rows):
        places = set(rng.choice(rows, count, replace=False).tolist())
        return ["yes" if k in places else "no" for k in range(rows)]

    return label


def chances_of_yes(model: TableModel) -> torch.Tensor:
    grid = read_grid("x,typ,label\n" + "".join(f"{x},{t},\n" for x in range(1, 61) for t in "abc"))
    target = model.schema.place("label")
    yes = model.schema.modelled[target].code("yes")
    return model.net.logits(torch.from_numpy(model.schema.codes(grid)), target).softmax(-1)[:, yes]


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("target", ["label", None])
def test_a_rare_label_has_a_chance_of_about_its_frequency(tmp_path, count, target):
    model, said = learned_label(tmp_path, labelled(200, count, rare(count)), target)
    p = chances_of_yes(model)
    assert float(p.min()) > 1e-3 and 0.3 < float(p.median()) / (count / 200) < 3, said


@pytest.mark.parametrize("seed", range(3))
def test_a_fair_coin_is_known_as_one(tmp_path, seed):
    def coin(rng, rows):
        return np.where(rng.permutation(rows) % 2 == 0, "yes", "no")

    model, said = learned_label(tmp_path, labelled(60, seed, coin))
    assert abs(float(chances_of_yes(model).median()) - 0.5) < 0.15, said


@pytest.mark.parametrize("target", ["repaid", None])
@pytest.mark.parametrize("rows", [40, 300])
def test_few_rows_are_never_learned_worse_than_their_frequencies(tmp_path, rows, target):
    options = train.Options(target=target, hidden=32)
    lesson = Lesson(tmp_path, tmp_path / "w.safetensors")
    split = train.prepared(table_of(loans(rows, rows)), options, 0)
    made = train.fitted(split, options, lesson)
    model, trained = made.model, made.trained
    at = None if target is None else split.schema.place(target)
    losses = []
    for d in range(len(split.schema.modelled)) if at is None else [at]:
        held = split.held[split.held[:, d] >= 0, d]
        learned_from = split.rows[split.rows[:, d] >= 0, d]
        added = 2.0 if split.schema.modelled[d].type is Type.NUMERIC else 0.5
        counts = np.bincount(learned_from, minlength=split.schema.sizes[d]) + added
        losses.append(-np.log(counts / counts.sum())[held].mean())
    loss = judging.conditional_loss(model.net, split.held, at)
    assert loss < np.mean(losses) + 0.01 and trained.stopped == "patience"


def test_cells_that_are_all_the_same_say_nothing_about_being_surer():
    schema = infer(read_grid(labelled(60, 0, rare(1))))
    rows = torch.from_numpy(schema.codes(read_grid(labelled(60, 0, rare(1)))))
    target = schema.place("label")
    one = rows[rows[:, target] == schema.modelled[target].code("no")]
    both = judging.judged_cells(Split(schema, rows, rows))[target]
    same = judging.judged_cells(Split(schema, rows, one))[target]
    assert same.one and not both.one
    assert same.chances.sum(-1).tolist() == pytest.approx([1] * len(one))
    share = same.chances[:, schema.modelled[target].code("yes")]
    assert share.tolist() == pytest.approx([1.5 / (len(rows) + len(one) + 1)] * len(one))
    net = TableNet(schema.sizes, 2)
    with torch.no_grad():
        net.single[net.starts[target] + schema.modelled[target].code("no")] = 1.0
    assert judging.temperature_of(net, [same]) >= 1


def test_a_column_that_stands_alone_has_its_chances_whatever_the_others_hold():
    net = random_net()
    net.temperature.fill_(1.7)
    chances_alone = torch.tensor([0.2, 0.7, 0.1], dtype=torch.float64)
    before = net.logits(every_row(net.sizes), 0)
    net.stand_alone(1, chances_alone)
    rows = every_row(net.sizes)
    rows = torch.cat([rows, torch.where(torch.rand(rows.shape) < 0.3, -1, rows)])
    found = net.logits(rows, 1).double().softmax(-1)
    assert torch.allclose(found, chances_alone.expand_as(found), atol=1e-5)
    for value in (-1, 0, 1, 2):
        other = torch.where(torch.arange(3) == 1, value, rows)
        for d in (0, 2):
            a, b = net.logits(rows, d).softmax(-1), net.logits(other, d).softmax(-1)
            assert torch.allclose(a, b, atol=1e-5)
    assert not torch.allclose(before, net.logits(every_row(net.sizes), 0))


@pytest.mark.parametrize("target", ["label", None])
def test_a_label_that_nothing_tells_takes_nothing_from_the_other_columns(tmp_path, target):
    rng = np.random.default_rng(5)
    yes = set(rng.choice(600, 6, replace=False).tolist())
    text = "x,z,label\n" + "".join(
        f"{x},{'abcdef'[x // 11]},{'yes' if k in yes else 'no'}\n"
        for k, x in enumerate(rng.integers(1, 61, 600))
    )
    model, said = learned_label(tmp_path, text, target)
    grid = read_grid("x,z,label\n" + "".join(f"{x},{'abcdef'[x // 11]},\n" for x in range(1, 61)))
    codes = torch.from_numpy(model.schema.codes(grid))
    z, label = model.schema.place("z"), model.schema.place("label")
    right = model.net.logits(codes, z).softmax(-1).gather(1, codes[:, z, None])
    assert float(right.mean()) > 0.8, said
    column = model.schema.modelled[label].code("yes")
    p = model.net.logits(codes, label).softmax(-1)[:, column]
    assert float(p.min()) > 1e-4 and float(p.max()) < 0.2 and 1e-3 < float(p.mean()) < 0.1, said


def test_held_out_rows_hold_each_label_in_its_share(tmp_path):
    options = train.Options(target="label")
    for count, expected in ((1, 0), (2, 1), (20, 6), (100, 30)):
        split = train.prepared(labelled(200, 3, rare(count)), options, 1)
        target = split.schema.place("label")
        yes = split.schema.modelled[target].code("yes")
        assert len(split.held) == 60 and len(split.rows) == 140
        assert abs(int((split.held[:, target] == yes).sum()) - expected) <= 1
        assert (split.rows[:, target] == yes).any()


@pytest.mark.parametrize(
    "label, said",
    [
        (lambda k: "no", "has one value, 'no'"),
        (lambda k: "no" if k == 3 else "", "1 cells are present, too few"),
        (lambda k: "no" if k < 10 else "yes" if k < 19 else "", "19 cells are present, too few"),
    ],
)
def test_a_label_that_teaches_nothing_is_a_mistake(tmp_path, label, said):
    text = "x,y,label\n" + "".join(f"{k % 9},{'ab'[k % 2]},{label(k)}\n" for k in range(200))
    lesson = lesson_of(text, tmp_path / "w.safetensors", params={"target": "label"})
    with pytest.raises(BadQuery, match=said) as caught:
        train.learn(lesson)
    assert caught.value.mistakes[0].path == "column label" and caught.value.mistakes[0].remedy


def test_a_label_that_is_mostly_missing_is_judged_by_its_present_cells(tmp_path):
    text = "x,y,label\n" + "".join(
        f"{k % 9},{'ab'[k % 2]},{('yes', 'no')[k % 2] if k < 30 else ''}\n" for k in range(400)
    )
    params = {"target": "label", "hidden": 4}
    lesson = lesson_of(text, tmp_path / "w.safetensors", steps=40, params=params)
    said = train.learn(lesson)[-2]
    assert "nan" not in said and "on 30 held-out" not in said


def test_generated_rows_keep_the_law(learned):
    drawn = generated(learned, 3000, rounds=25, seed=2)
    columns = learned.schema.modelled
    at = {c.name: k for k, c in enumerate(columns)}
    job, age = drawn[:, at["job"]], drawn[:, at["age"]]
    ages = torch.tensor(columns[at["age"]].plain, dtype=torch.float64)[age]
    retired = job == columns[at["job"]].code("retired")
    student = job == columns[at["job"]].code("student")
    assert retired.any() and student.any()
    assert float(ages[retired].median()) > 60 and float(ages[student].median()) < 28


def test_the_file_holds_no_code_and_says_how_it_was_made():
    path = ROOT / "modules" / "discrete" / "tabular" / LOANS
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["about"])
        width = file.get_tensor("pairs").shape[0]
    assert about["made"].startswith("basin train discrete.tabular --data examples/loans.csv")
    assert width == sum(len(c["values"]) + 1 for c in about["schema"])
    assert (ROOT / "examples" / "loans.csv").read_text() == table_of(loans(SEED, 3000))
    assert (ROOT / "examples" / "loans_open.csv").read_text() == open_table(SEED + 1)
    assert (ROOT / "examples" / "loans.yaml").read_text() == query_file("loans")


def command(tmp_path, work, steps):
    return [
        sys.executable, "-m", "services.cli", "train", "discrete.tabular",
        "--data", str(tmp_path / "loans.csv"), "--out", str(tmp_path / f"{work}.safetensors"),
        "--steps", str(steps), "--seed", "4", "--work", str(tmp_path / work),
        "--params", '{"hidden": 8, "bins": 8}',
    ]  # fmt: skip


@pytest.mark.slow
def test_a_killed_training_ends_with_the_same_weights(tmp_path):
    (tmp_path / "loans.csv").write_text(table_of(loans(1, 300)))
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    quiet = {"cwd": ROOT, "env": env, "stderr": subprocess.DEVNULL}
    subprocess.run(command(tmp_path, "whole", 400), check=True, **quiet)
    killed = subprocess.Popen(command(tmp_path, "killed", 400), **quiet)
    checkpoint = tmp_path / "killed" / "training.ckpt"
    while not checkpoint.exists() and killed.poll() is None:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed.safetensors").exists()
    subprocess.run(command(tmp_path, "killed", 400), check=True, **quiet)
    a, b = (load_model(str(tmp_path / f"{n}.safetensors")).net for n in ("whole", "killed"))
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))


def test_seconds_end_a_training(tmp_path):
    out = tmp_path / "w.safetensors"
    text = table_of(loans(3, 300))
    said = Tabular.learn(lesson_of(text, out, seconds=1e-9, params={"hidden": 4}))
    assert "1 steps" in said[-2] and "ended by seconds" in said[-2] and out.exists()


@pytest.mark.parametrize(
    "params, path",
    [
        ({"hiden": 3}, "params.hiden"),
        ({"hidden": 0}, "params.hidden"),
        ({"target": "repayed"}, "params.target"),
        ({"types": {"jobs": "nominal"}}, "params.types.jobs"),
        ({"types": {"job": "numeric"}}, "line 2, column job"),
        ({"types": {"job": "word"}}, "params.types.job"),
    ],
)
def test_wrong_parameters_of_a_training_say_where(tmp_path, params, path):
    lesson = lesson_of(table_of(loans(3, 40)), tmp_path / "w.safetensors", params=params)
    with pytest.raises(BadQuery) as caught:
        train.learn(lesson)
    assert [m.path for m in caught.value.mistakes] == [path]
