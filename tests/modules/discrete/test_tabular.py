"""Learned tables: schema, exact chances against enumeration, training against a known law."""

import itertools
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.answer import Flag, Status
from engine.domain import Finite, Real, Variable
from engine.energy import required
from engine.errors import BadQuery
from engine.judgement import score_plain
from engine.learning.objectives.erasure import Erasure, erased_losses
from engine.minimizer import never
from engine.problem import Problem
from engine.settle import answers
from engine.testing import check_term
from engine.testing.marginals import check_marginals
from examples.generators.loans import loans, table_of
from modules.discrete.clause import Clause
from modules.discrete.tabular.counterfactual import smallest_change
from modules.discrete.tabular.marginals import chances, generated
from modules.discrete.tabular.model import TableModel, load_model
from modules.discrete.tabular.network import fitted_temperature
from modules.discrete.tabular.reading import read_grid
from modules.discrete.tabular.schema import Schema, Type
from modules.discrete.tabular.term import Tabular
from modules.discrete.tabular.types import Wanted, infer
from modules.discrete.tabular_label import TabularLabel
from tests.support.costs import Well, Z
from tests.support.learners import stream
from tests.support.paths import ROOT
from tests.support.tables import LOANS, every_row, random_net

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
    energy = net.cost(net.places(rows)).double()
    for d, size in enumerate(net.sizes):
        logs = torch.log_softmax(net.logits(rows, d).double(), -1)
        changed = rows.repeat_interleave(size, 0)
        changed[:, d] = torch.arange(size).repeat(len(rows))
        exact = torch.log_softmax(-net.cost(net.places(changed)).double().view(-1, size), -1)
        assert torch.allclose(logs, exact, atol=1e-5)
    assert energy.isfinite().all()


def test_erasure_is_the_grid_discrepancy_with_every_negative():
    net = random_net()
    rows = every_row(net.sizes)[:10]
    for d, size in enumerate(net.sizes):
        changed = rows.repeat_interleave(size, 0)
        changed[:, d] = torch.arange(size).repeat(len(rows))
        energy = net.cost(net.places(rows))[:, None] - net.cost(net.places(changed)).view(-1, size)
        discrepancy = energy.double().logsumexp(-1) - np.log(size)
        erased = erased_losses(Problem(1.0 * net), {"row": net.places(rows)}, np.array([d]))
        expected = erased[:, 0] - np.log(size)
        assert torch.allclose(discrepancy, expected, atol=1e-5)


def test_chances_are_those_of_the_enumerated_distribution():
    net = random_net()
    rows = every_row(net.sizes)
    joint = torch.softmax(-net.cost(net.places(rows)).double(), 0).view(net.sizes)
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
    joint = torch.softmax(-net.cost(net.places(rows)).double(), 0).view(net.sizes)
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
    own, odd = (model.net.cost(model.net.places(x)) for x in (codes, shuffled))
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


def test_the_network_is_a_term_whose_missing_cells_no_state_has():
    net = random_net()
    check_term(net)
    assert net.scope[0].variable.domain.allowed.sum(-1).tolist() == [list(net.sizes)]
    rows = torch.tensor([[-1, 1, 0], [0, -1, -1]])
    for d, size in enumerate(net.sizes):
        changed = rows.repeat_interleave(size, 0)
        changed[:, d] = torch.arange(size).repeat(2)
        exact = torch.log_softmax(-net.cost(net.places(changed)).view(-1, size), -1)
        assert torch.allclose(net.logits(rows, d).log_softmax(-1), exact.double(), atol=1e-5)


def test_erasure_passes_over_missing_cells():
    net = random_net()
    rows = torch.tensor([[0, 1, 0], [-1, 2, 1], [1, -1, 0]])
    batch = {"row": net.places(rows).to(torch.uint8)}
    for column in range(3):
        whole = rows[rows[:, column] >= 0]
        wanted = torch.nn.functional.cross_entropy(net.logits(whole, column), whole[:, column])
        erasure = Erasure(favoured=column, favour=0.999999)
        update = next(erasure.updates({"energy": net}, batch, (), stream()))
        assert float(update.loss) == pytest.approx(float(wanted), abs=1e-6)


def test_erasure_asks_for_an_energy_over_finite_sites():
    with pytest.raises(BadQuery, match="Energy"):
        Erasure().start({"energy": torch.nn.Linear(1, 1)}, stream())
    with pytest.raises(BadQuery, match="no finite variable"):
        Erasure().start({"energy": Well(Z)}, stream())
    with pytest.raises(BadQuery, match="favour"):
        Erasure(favour=1.0)


def test_marginals_of_values_that_fall_into_one_bin_are_those_of_a_plain_sum():
    term = Tabular.example()
    names = [v.name for v in term.variables()]
    wide = {n: [*c.plain] for n, c in zip(names, term.columns, strict=True)}
    wide["age"] = [*wide["age"][::-1], *range(100, 120)]  # the last bin holds very many
    scope = [Variable(n, Finite(tuple(values))) for n, values in reversed(wide.items())]
    mixed = Tabular(*scope, weights="loans.safetensors")
    check_marginals(mixed, 0)
    check_marginals(mixed, 1)
    given = {n: wide[n][0] for n in names if n not in ("age", "repaid")}
    domains = [v.domain.narrow([given.get(v.name)]) for v in scope]
    found = dict(zip([v.name for v in scope], mixed.marginals(*domains), strict=True))
    pairs = list(itertools.product(wide["age"], wide["repaid"]))
    states = []
    for v in scope:
        at = {"age": 0, "repaid": 1}.get(v.name)
        rows = [given[v.name] if at is None else pair[at] for pair in pairs]
        states.append(torch.stack([v.domain.encode(value) for value in rows]))
    p = (
        (-mixed.cost(*mixed.placed(states)).double())
        .softmax(0)
        .detach()
        .reshape(len(wide["age"]), -1)
    )
    assert torch.allclose(found["age"][0], p.sum(1), atol=1e-5)
    assert torch.allclose(found["repaid"][0], p.sum(0), atol=1e-5)
    assert found["job"][0].tolist() == [1.0, *[0.0] * (len(wide["job"]) - 1)]


def test_real_columns_offer_no_chances():
    term = Tabular.example()
    every = zip([v.name for v in term.variables()], term.columns, strict=True)
    scope = [Variable(n, Real() if n == "age" else Finite(c.plain)) for n, c in every]
    mixed = Tabular(*scope, weights="loans.safetensors")
    assert mixed.marginals(*(v.domain for v in scope)) is None


def test_a_label_knows_the_fewest_changes_of_a_whole_row_in_the_order_of_its_scope():
    table = Tabular.example()
    names = [v.name for v in table.variables()]
    columns = dict(zip(names, table.columns, strict=True))
    scope = [Variable(n, Finite(columns[n].plain)) for n in reversed(names)]
    label = TabularLabel(*scope, weights="loans.safetensors", target="repaid")
    at = {v.name: k for k, v in enumerate(scope)}
    whole = [row for row in loans(5, 30) if all(row.values())][:6]
    sizes = set()
    for row in whole:
        row["repaid"] = "yes" if row["repaid"] == "no" else "no"
        codes = {n: columns[n].code(row[n]) for n in names}
        values = [columns[v.name].plain[codes[v.name]] for v in scope]
        free = [(at[n], 0) for n in names if n not in ("repaid", "age")]
        found = label.fewest_changes(values, [None] * len(scope), free, never)
        target = names.index("repaid")
        may = [k for k, n in enumerate(names) if n not in ("repaid", "age")]
        exact = smallest_change(
            table.net, torch.tensor([codes[n] for n in names]), target, codes["repaid"], may
        )
        assert found == ([(at[names[d]], 0) for d in exact.columns], exact.smallest)
        sizes.add(len(exact.columns))
        assert label.fewest_changes(values, values, [*free, (at["repaid"], 0)], never) is None
        assert label.fewest_changes([None, *values[1:]], values, free, never) is None
    assert sizes - {0}
    strict = TabularLabel(*scope, weights="loans.safetensors", target="repaid", margin=1.0)
    assert strict.fewest_changes(values, values, free, never) is None
    few = [Variable(v.name, Finite(v.domain.values[:2])) for v in scope]
    narrow = TabularLabel(*few, weights="loans.safetensors", target="repaid")
    assert narrow.fewest_changes(values, values, free, never) is None
