"""Learned tables: schema, exact chances against enumeration, training against a known law."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from engine.answer import Flag, Status
from engine.domain import Finite, Real, Variable
from engine.energy import required
from engine.energy.lesson import Lesson
from engine.errors import BadQuery
from engine.learning.objectives.erasure import Erasure, column_losses
from engine.problem import Problem
from engine.settle import answers
from engine.testing import check_term
from engine.verify import score_plain
from examples.generators.__main__ import SEED, query_file
from examples.generators.loans import chance_repaid, loans, open_table, table_of
from modules.discrete.clause import Clause
from modules.discrete.tabular import judging, train
from modules.discrete.tabular.marginals import chances, generated
from modules.discrete.tabular.model import TableModel, load_model
from modules.discrete.tabular.network import TableNet, fitted_temperature
from modules.discrete.tabular.reading import read_grid
from modules.discrete.tabular.schema import Schema, Type
from modules.discrete.tabular.split import Split
from modules.discrete.tabular.term import Tabular
from modules.discrete.tabular.types import Wanted, infer
from modules.discrete.tabular_label import TabularLabel
from tests.learners import stream

ROOT = Path(__file__).resolve().parents[1]
LOANS = "loans.safetensors"


def random_net(sizes=(2, 3, 4), seed=0) -> TableNet:
    g = torch.Generator().manual_seed(seed)
    net = TableNet(sizes, 5, g)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(0.7 * torch.randn(p.shape, generator=g))
    return net.requires_grad_(False)


def every_row(sizes) -> torch.Tensor:
    return torch.tensor(list(itertools.product(*(range(k) for k in sizes))))


# ---------------------------------------------------------------- the schema


def test_types_are_told_by_the_cells():
    text = "id,age,kind,month,grade,who\n" + "".join(
        f"{k},{20 + k * 0.37:.2f},{'abc'[k % 3]},{k % 12 + 1},{k % 4},name{k}\n"
        for k in range(1200)
    )
    schema = infer(read_grid(text))
    assert [c.type for c in schema.columns] == [
        Type.IGNORED, Type.NUMERIC, Type.NOMINAL, Type.CYCLIC, Type.ORDINAL, Type.IGNORED,
    ]  # fmt: skip
    assert schema.columns[3].plain == tuple(range(1, 13)) and len(schema.columns[1].values) == 32
    said = infer(read_grid(text), Wanted({"grade": "nominal", "age": "ignored"}, 8))
    assert said.columns[4].type is Type.NOMINAL and said.columns[1].type is Type.IGNORED
    assert Schema.of(json.loads(json.dumps(schema.plain()))) == schema


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=30, max_size=200), st.integers(2, 20))
def test_bins_keep_the_order_and_hold_their_representative(numbers, bins):
    rows = "".join(f"{n / 7!r},{'ab'[n % 2]}\n" for n in numbers)
    column = infer(read_grid("x,y\n" + rows), Wanted({"x": "numeric"}, bins)).columns[0]
    codes = [column.code(n / 7) for n in sorted(numbers)]
    assert codes == sorted(codes) and set(codes) == set(range(len(column.values)))
    assert [column.code(value) for value in column.plain] == list(range(len(column.values)))
    counts = np.unique(numbers, return_counts=True)[1]
    heavy = counts[counts * bins >= len(numbers)]
    assert len(column.values) <= bins + len(heavy) + 1


def test_missing_cells_are_known_as_such():
    grid = read_grid("a,b,c\nx,?,1\ny,NA,NA\n,z,2\n")
    schema = infer(grid)
    assert schema.resolved(grid).rows == (("x", None, "1"), ("y", "NA", None), (None, "z", "2"))
    assert all(c.gaps for c in schema.columns)
    assert schema.codes(grid).tolist() == [[0, -1, 0], [1, 0, -1], [-1, 1, 1]]


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "empty"),
        ("a,b\n", "no rows"),
        ("a,a\n1,2\n", "stands 2 times"),
        ("a,b\n1\n", "1 cells, but the header names 2"),
        ("a,b\n1,NaN\n2,\n", "every cell is missing"),
        ("a,\n1,2\n", "no name"),
        ('a,b\n"1,2\n' + "x" * 200_000, "never closed"),
    ],
)
def test_a_broken_table_is_told_by_its_place(text, said):
    with pytest.raises(BadQuery, match=said) as caught:
        infer(read_grid(text))
    assert all(m.path and m.remedy for m in caught.value.mistakes)


@pytest.mark.parametrize(
    "cell, said",
    [("baker", "'baker' is no value of job"), ("1.5", "is no value"), ("many", "is no number")],
)
def test_a_cell_that_does_not_fit_is_told_by_line_and_column(cell, said):
    schema = load_model(LOANS).schema
    column = "income" if cell == "many" else "job"
    rows = loans(5, 3)
    rows[1][column] = cell
    with pytest.raises(BadQuery, match=said) as caught:
        schema.codes(read_grid(table_of(rows)))
    assert caught.value.mistakes[0].path == f"line 3, column {column}"


# ---------------------------------------------------------------- the network and its chances


def test_conditionals_are_differences_of_the_energy():
    net = random_net()
    rows = every_row(net.sizes)
    energy = net.energy(net.hot(rows)).double()
    for d, size in enumerate(net.sizes):
        logs = torch.log_softmax(net.logits(rows, d).double(), -1)
        changed = rows.repeat_interleave(size, 0)
        changed[:, d] = torch.arange(size).repeat(len(rows))
        exact = torch.log_softmax(-net.energy(net.hot(changed)).double().view(-1, size), -1)
        assert torch.allclose(logs, exact, atol=1e-5)
    assert energy.isfinite().all()


def test_erasure_is_the_grid_discrepancy_with_every_negative():
    net = random_net()
    rows = every_row(net.sizes)[:10]
    for d, size in enumerate(net.sizes):
        changed = rows.repeat_interleave(size, 0)
        changed[:, d] = torch.arange(size).repeat(len(rows))
        energy = net.energy(net.hot(rows))[:, None] - net.energy(net.hot(changed)).view(-1, size)
        discrepancy = energy.logsumexp(-1) - np.log(size)
        expected = column_losses(net, rows, d) - np.log(size)
        assert torch.allclose(discrepancy, expected, atol=1e-5)


def test_chances_are_those_of_the_enumerated_distribution():
    net = random_net()
    rows = every_row(net.sizes)
    joint = torch.softmax(-net.energy(net.hot(rows)).double(), 0).view(net.sizes)
    allowed = [torch.ones(2, k, dtype=torch.bool) for k in net.sizes]
    allowed[0][1] = torch.tensor([False, True])
    found = chances(net, torch.tensor([[-1, -1, -1], [1, -1, -1]]), allowed)
    assert torch.allclose(found[1][0], joint.sum((0, 2)), atol=1e-6)
    given_one = joint[1] / joint[1].sum()
    assert torch.allclose(found[1][1], given_one.sum(1), atol=1e-6)
    assert torch.allclose(found[2][1], given_one.sum(0), atol=1e-6)
    assert found[0][1].tolist() == [0, 1]


def test_sampled_chances_and_rows_agree_with_the_enumerated_ones(monkeypatch):
    net = random_net()
    rows = every_row(net.sizes)
    joint = torch.softmax(-net.energy(net.hot(rows)).double(), 0).view(net.sizes)
    monkeypatch.setattr("modules.discrete.tabular.marginals.COMBINATIONS", 1)
    monkeypatch.setattr("modules.discrete.tabular.marginals.CHAINS", 2000)
    allowed = [torch.ones(1, k, dtype=torch.bool) for k in net.sizes]
    found = chances(net, torch.full((1, 3), -1), allowed)
    schema = infer(read_grid("a,b,c\n" + "".join(f"{i},{j},{k}\n" for i, j, k in rows.tolist())))
    drawn = generated(TableModel(schema, net), 20_000, rounds=30, seed=1)
    for d in range(3):
        exact = joint.sum([a for a in range(3) if a != d])
        assert torch.allclose(found[d][0], exact, atol=0.01)
        share = torch.bincount(drawn[:, d], minlength=net.sizes[d]).double() / len(drawn)
        assert torch.allclose(share, exact, atol=0.02)


@pytest.mark.parametrize("truth", [0.5, 1.0, 2.0])
def test_temperature_is_recovered(truth):
    g = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(20_000, 4, generator=g)
    labels = torch.multinomial((logits / truth).softmax(-1), 1, generator=g)[:, 0]
    assert fitted_temperature([(logits, labels)]) == pytest.approx(truth, rel=0.05)


# ---------------------------------------------------------------- the terms


def test_the_terms_keep_the_laws():
    check_term(Tabular.example())
    check_term(TabularLabel.example())


def test_real_variables_meet_the_bins_at_their_representatives():
    example = Tabular.example()
    columns = example.columns
    values = {v.name: v.domain.values[1] for v in example.variables()}
    mixed = Tabular(
        *(
            Variable(v.name, Real()) if c.type is Type.NUMERIC else v
            for v, c in zip(example.variables(), columns, strict=True)
        ),
        weights=LOANS,
    )
    check_term(mixed)
    plain = score_plain(Problem(example), [values])[0]
    real = score_plain(Problem(mixed), [values])[0]
    assert real.energy == pytest.approx(plain.energy, abs=1e-4)
    asked = Problem(mixed).given(**{n: v for n, v in values.items() if n != "repaid"})
    assert answers(asked)[0].status is Status.OPTIMAL  # evidence on real sites leaves few states


def test_an_open_cell_gets_its_likeliest_value_proved():
    term = Tabular.example()
    names = [v.name for v in term.variables()]
    rows = loans(9, 8)
    for hole in ("repaid", "job", "late"):
        evidence = []
        for row in rows:
            made = {n: c.plain[c.code(row[n])] for n, c in zip(names, term.columns) if row[n]}
            evidence.append({n: v for n, v in made.items() if n != hole})
        problem = Problem(term).given_rows(evidence)
        domains = [problem.domain(n) for n in names]
        states = [d.decide(torch.zeros(len(rows), *d.event)) for d in domains]
        exact = chances(term.net, term.codes(states), term.allowed(domains))
        for answer, p in zip(answers(problem), exact[names.index(hole)], strict=True):
            assert answer.status is Status.OPTIMAL and answer.unique
            column = term.columns[names.index(hole)]
            assert column.code(answer.values[hole]) == int(p.argmax())


def test_rules_of_the_user_join_the_energy():
    term = Tabular.example()
    by_name = {v.name: v for v in term.variables()}
    evidence = {"age": 40, "income": 30.3, "debt": 9.7, "month": "may", "late": 0}
    evidence = {n: term.columns[k].plain[term.columns[k].code(evidence[n])]
                for k, n in enumerate(by_name) if n in evidence}  # fmt: skip
    free = answers(Problem(term).given(**evidence))[0]
    assert free.values["repaid"] == "yes"
    rule = required(Clause(by_name["repaid"], clauses=[[(0, "no", True)]]))
    ruled = answers(Problem(term + rule).given(**evidence))[0]
    assert ruled.values["repaid"] == "no" and ruled.energy > free.energy
    assert ruled.status is Status.OPTIMAL and ruled.holds


def test_an_unsure_cell_and_an_odd_row_are_abstained_from():
    plain = Tabular.example()
    names = [v.name for v in plain.variables()]
    careful = Tabular(*plain.variables(), weights=LOANS, confidence=0.9)
    evidence = {"age": 40, "job": "worker", "income": 30.3, "month": "may", "late": 1}
    flags = {}
    for debt in (1.0, 30.0, 75.0):
        row = {**evidence, "debt": debt}
        coded = {n: c.plain[c.code(row[n])] for n, c in zip(names, plain.columns) if n in row}
        answer = answers(Problem(careful).given(**coded))[0]
        domains = [Problem(careful).given(**coded).domain(n) for n in names]
        states = [d.decide(torch.zeros(1, *d.event)) for d in domains]
        sure = chances(careful.net, careful.codes(states), careful.allowed(domains))[-1].max()
        flags[debt] = Flag.ABSTAIN in answer.flags
        assert flags[debt] == (float(sure) < 0.9)
    assert len(set(flags.values())) == 2
    values = {n: c.plain[0] for n, c in zip(names, plain.columns, strict=True)}
    odd = {**values, "job": "retired", "income": plain.columns[2].plain[-1]}  # 18 and rich
    assert Flag.ABSTAIN in score_plain(Problem(plain), [odd])[0].flags
    usual = {**evidence, "debt": 9.0, "repaid": "yes"}
    usual = {n: c.plain[c.code(usual[n])] for n, c in zip(names, plain.columns, strict=True)}
    assert Flag.ABSTAIN not in score_plain(Problem(plain), [usual])[0].flags


def test_energies_tell_odd_rows_from_ordinary_ones():
    model = load_model(LOANS)
    rows = [row for row in loans(11, 400) if all(row.values())]
    codes = torch.from_numpy(model.schema.codes(read_grid(table_of(rows))))
    shuffled = torch.stack([codes[torch.randperm(len(codes), generator=torch.Generator()
                            .manual_seed(d)), d] for d in range(codes.shape[1])], 1)  # fmt: skip
    own, odd = (model.net.energy(model.net.hot(x)) for x in (codes, shuffled))
    assert float((own[:, None] < odd[None]).double().mean()) > 0.7


@pytest.mark.parametrize(
    "change, path",
    [
        ({"weights": "nothing.safetensors"}, "weights"),
        ({"weights": str(ROOT / "README.md")}, "weights"),
        ({"columns": ["age"]}, "columns"),
        ({"columns": ["agee", "job", "income", "debt", "late", "month", "repaid"]}, "columns[0]"),
    ],
)
def test_a_wrong_term_says_where(change, path):
    variables = Tabular.example().variables()
    with pytest.raises(BadQuery) as caught:
        Tabular(*variables, **{"weights": LOANS, **change})
    assert caught.value.mistakes[0].path == path and caught.value.mistakes[0].remedy
    with pytest.raises(BadQuery, match="lacks repaid"):
        Tabular(*variables[:-1], weights=LOANS)
    with pytest.raises(BadQuery, match="'maybe' is no value of repaid"):
        Tabular(*variables[:-1], Variable("repaid", Finite(("maybe", "no"))), weights=LOANS)


def test_a_smallest_change_flips_the_label_and_no_smaller_one_does():
    term = TabularLabel.example()
    by_name = {v.name: v for v in term.variables()}
    columns = term.table.columns
    row = {"age": 45, "job": "clerk", "income": 33.0, "debt": 20.0, "late": 0, "month": "may"}
    codes = [c.code(row[c.name]) for c in columns[:-1]]
    clauses = [
        [(d, c.plain[k], True)] for d, (c, k) in enumerate(zip(columns, codes, strict=False))
    ]
    price = 1.0 * Clause(*(by_name[c.name] for c in columns), clauses=clauses)
    given_cells = {"repaid": "no", "month": "may", "age": columns[0].plain[codes[0]]}
    answer = answers(Problem(term + price).given(**given_cells))[0]
    assert answer.status is Status.OPTIMAL and answer.holds
    net, label = term.table.net, columns[-1].code("no")
    single = []
    for d in (1, 2, 3, 4):
        for k in range(len(columns[d].values)):
            changed = torch.tensor([[*codes, 0]])
            changed[0, d] = k
            single.append(int(net.logits(changed, 6).argmax()) == label)
    already = int(net.logits(torch.tensor([[*codes, 0]]), 6).argmax()) == label
    assert not already and answer.energy == (1.0 if any(single) else 2.0)


# ---------------------------------------------------------------- training


def in_process(tmp_path, name, seconds=None):
    """A short training into a folder of its own; -> its weights."""
    out = tmp_path / f"{name}.safetensors"
    lesson = Lesson(
        "loans.csv", table_of(loans(1, 200)), out, seconds, 40, 4, tmp_path / name,
        {"hidden": 4, "bins": 6},
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
    said = Tabular.learn(Lesson("loans.csv", text, out, steps=1000, params=params))
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
    said = Tabular.learn(Lesson("t.csv", text, out, params=params))
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
    lesson = Lesson("", "", tmp_path / "w.safetensors")
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
    lesson = Lesson("t.csv", text, tmp_path / "w.safetensors", params={"target": "label"})
    with pytest.raises(BadQuery, match=said) as caught:
        train.learn(lesson)
    assert caught.value.mistakes[0].path == "column label" and caught.value.mistakes[0].remedy


def test_a_label_that_is_mostly_missing_is_judged_by_its_present_cells(tmp_path):
    text = "x,y,label\n" + "".join(
        f"{k % 9},{'ab'[k % 2]},{('yes', 'no')[k % 2] if k < 30 else ''}\n" for k in range(400)
    )
    params = {"target": "label", "hidden": 4}
    lesson = Lesson("t.csv", text, tmp_path / "w.safetensors", steps=40, params=params)
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
        sys.executable, "-m", "services.cli.commands", "train", "discrete.tabular",
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
    said = Tabular.learn(Lesson("x.csv", text, out, seconds=1e-9, params={"hidden": 4}))
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
    lesson = Lesson("x.csv", table_of(loans(3, 40)), tmp_path / "w.safetensors", params=params)
    with pytest.raises(BadQuery) as caught:
        train.learn(lesson)
    assert [m.path for m in caught.value.mistakes] == [path]


def test_erasure_asks_for_a_network_that_has_conditionals():
    with pytest.raises(BadQuery, match="conditionals"):
        Erasure().start({"energy": torch.nn.Linear(1, 1)}, stream())
    with pytest.raises(BadQuery, match="favour"):
        Erasure(favour=1.0)
