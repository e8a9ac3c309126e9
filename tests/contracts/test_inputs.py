"""Inputs at every door: in process, hosted, served; the same answers, statuses and mistakes."""

import itertools
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import Given
from engine.answer import Answer, Flag, Place
from engine.errors import BadQuery
from modules.catalogue import Catalogue
from services.client import Client
from services.host.app import create_host
from services.query import Query, query_of
from services.reasoner.diagnose import mistakes_apart
from services.reasoner.reason import Reasoner
from services.reasoner.session import QuerySession
from services.remote.kinds import RemoteKinds
from services.rpc.server import Service
from services.server.app import create_server
from tests.support.fuzz.loop import Loop

pytest_plugins = ["tests.support.fixtures"]

FILE = Path(__file__).parents[1] / "support" / "told.py"
NAMES = ("Guess", "Sure", "Told", "Toward", "Sums")
MATRIX = [[1.0, -0.5, 0.25], [0.0, 2.0, -1.0]]
N, D, K = 3, 2, 3


@pytest.fixture(scope="module")
def kinds() -> Catalogue:
    return Catalogue(also=tuple(f"{FILE}:{name}" for name in NAMES))


@pytest.fixture(scope="module")
def doors(loop: Loop, kinds: Catalogue) -> Iterator[dict[str, Any]]:
    """What answers a query: here, with its kinds hosted, a service, a service of hosted kinds."""
    names = [f"told.{name}" for name in NAMES]
    every: list[Service] = [loop.do(create_host(kinds, names))]
    address = f"127.0.0.1:{every[0].port}"
    hosted = RemoteKinds(kinds, {name: [address] for name in names})
    here, there = Reasoner(kinds), Reasoner(hosted)
    clients = []
    for reasoner in (Reasoner(kinds), Reasoner(hosted)):
        every.append(loop.do(create_server(reasoner)))
        clients.append(Client(f"127.0.0.1:{every[-1].port}"))
    yield {
        "here": here.reason,
        "hosted": there.reason,
        "served": clients[0].solve,
        "served, hosted": clients[1].solve,
    }
    for client in clients:
        client.close()
    hosted.close()
    for service in reversed(every):
        loop.do(service.drain(0))


def query(*terms: dict[str, Any], **fields: Any) -> Query:
    return query_of(
        {
            "variables": {"y": {"values": [0, 1, 2], "shape": [N]}, "x": {"low": -9, "high": 9}},
            "inputs": {
                "f": {"low": -100, "high": 100, "shape": [N, D]},
                "whole": {"low": 0, "high": 2, "integer": True, "shape": [N]},
                "named": {"values": ["a", "b", "c"], "shape": [N]},
                "aim": {"low": -9, "high": 9},
            },
            "terms": list(terms),
            "budget": {"particles": 8, "steps": 200},
        }
        | fields
    )


GUESS = {"kind": "told.Guess", "scope": ["f", "y"], "params": {"matrix": MATRIX}}
DIFFERENT = {"kind": "discrete.all_different", "scope": ["y"], "params": {"lines": [[0, 1, 2]]}}


def cost(row: Any, label: int) -> float:
    if row is None:
        return 0.0
    logits = np.array(row, dtype=float) @ np.array(MATRIX)
    return float(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[label])


def least(rows: Any, labels: Any = None) -> float:
    """By enumeration of all orders."""
    rows = [None] * N if rows is None else rows
    return min(
        sum(cost(row, label) for row, label in zip(rows, order))
        for order in itertools.permutations(range(K))
        if labels is None or all(a in (None, b) for a, b in zip(labels, order))
    )


def same(one: Answer, other: Answer) -> None:
    assert (one.status, one.values, one.unique) == (other.status, other.values, other.unique)
    assert one.energy == pytest.approx(other.energy, abs=1e-9)
    assert [f.holds for f in one.findings] == [f.holds for f in other.findings]


numbers = st.floats(-4, 4, width=32)
vectors = st.lists(st.none() | st.lists(numbers, min_size=D, max_size=D), min_size=N, max_size=N)
rows = st.fixed_dictionaries(
    {},
    optional={
        "f": st.none() | vectors,
        "y": st.permutations(range(K)).map(lambda order: [order[0], None, None]),
    },
)


def as_array(row: list[Any]) -> Any:
    present = np.array([entry is not None for entry in row])
    values = np.array([[0, 0] if entry is None else entry for entry in row], dtype=np.float32)
    return Given(values, present)


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(rows, min_size=1, max_size=4), st.booleans())
def test_a_classifier_beside_a_rule_is_proved_least_at_every_door(doors, evidence, arrays):
    told = [
        row | ({"f": as_array(row["f"])} if arrays and row.get("f") is not None else {})
        for row in evidence
    ]
    asked = query(GUESS, DIFFERENT, evidence=told)
    found = {name: solve(asked) for name, solve in doors.items()}
    for k, row in enumerate(evidence):
        wanted = least(row.get("f"), row.get("y"))
        for name, answers in found.items():
            assert answers[k].status == "OPTIMAL", name
            assert answers[k].energy == pytest.approx(wanted, abs=1e-6)
            assert answers[k].values.keys() == {"y", "x"}
            same(answers[k], found["here"][k])


@pytest.mark.parametrize("door", ["here", "hosted", "served", "served, hosted"])
@pytest.mark.parametrize("far", [1e39, -1e200])
def test_numbers_that_a_type_does_not_hold_are_refused_at_every_door(doors, door, far):
    """Told to a term in float32; one in float64 takes them."""
    aim = {"aim": {"low": None, "high": None}}
    beside = {"kind": "told.Toward", "scope": ["aim", "x"]}
    with pytest.raises(
        BadQuery, match=r"evidence\.aim: .* is more than the float32 of told\.Toward"
    ):
        doors[door](query(beside, inputs=aim, evidence=[{"aim": 1.0}, {"aim": far}]))
    wide = {"f": {"shape": [N, D]}}
    told = [{"f": [[far, 0.0]] + [[0.0, 0.0]] * (N - 1)}]
    (answer,) = doors[door](query(GUESS, DIFFERENT, inputs=wide, evidence=told))
    assert answer.status == "OPTIMAL"


@pytest.mark.parametrize("door", ["here", "hosted", "served", "served, hosted"])
@pytest.mark.parametrize(("name", "value"), [("whole", [0, 2, 1]), ("named", ["a", "c", "b"])])
def test_whole_numbers_and_names_reach_rules(doors, door, name, value):
    labels = {"y": {"values": ["a", "b", "c"] if name == "named" else [0, 1, 2], "shape": [N]}}
    rule = {"kind": "told.Told", "scope": [name, "y"]}
    evidence: list[dict[str, Any]] = [
        {name: value}, {}, {name: value, "y": [value[0], None, value[1]]},
        {name: np.array(value)}, {name: value, "y": value},
    ]  # fmt: skip
    answers = doors[door](query(rule, variables=labels, evidence=evidence))
    assert [a.status for a in answers] == [
        "OPTIMAL", "OPTIMAL", "INFEASIBLE", "OPTIMAL", "OPTIMAL",
    ]  # fmt: skip
    assert answers[0].values["y"] == answers[3].values["y"] == value
    assert answers[1].findings[0].holds is None and "not asked" in answers[1].findings[0].text
    priced = query(rule | {"required": False, "weight": 2.0}, variables=labels,
                   evidence=evidence[2])  # fmt: skip
    (answer,) = doors[door](priced)
    assert (
        answer.findings[0].holds is False
        and answer.findings[0].text == f"label 2 is not {value[2]}"
    )
    assert answer.energy == 2.0


@pytest.mark.parametrize("door", ["here", "hosted", "served", "served, hosted"])
def test_rows_of_an_opaque_energy_are_told_apart(doors, door):
    """Its slopes too; and its band is asked beside what the row was told."""
    toward = {"kind": "told.Toward", "scope": ["aim", "x"]}
    aims = [0.5, -3.0, None, 8.0, 0.5]
    evidence = [{} if aim is None else {"aim": aim} for aim in aims]
    evidence[4]["x"] = 3.0
    answers = doors[door](query(toward, evidence=evidence))
    for aim, answer in zip(aims[:4], answers):
        if aim is not None:
            assert answer.values["x"] == pytest.approx(aim, abs=1e-2)
            assert Flag.ABSTAIN not in answer.flags
    assert answers[2].energy == 0.0
    assert answers[4].energy == pytest.approx(6.25) and Flag.ABSTAIN in answers[4].flags


@pytest.mark.parametrize("door", ["here", "hosted", "served", "served, hosted"])
def test_a_classifier_names_the_labels_that_it_does_not_stand_by(doors, door):
    """Row by row and site by site; of what is absent it says nothing."""
    features = [[[2.0, 2.0], [0.1, 0.0], [2.0, -2.0]], [[2.0, 2.0], None, [0.0, 0.1]], None]
    evidence = [{} if one is None else {"f": one} for one in features]
    evidence.append({"f": features[0], "y": [0, None, None]})
    sure = {**GUESS, "kind": "told.Sure"}
    answers = doors[door](query(sure, DIFFERENT, evidence=evidence))
    for answer, row in zip(answers, evidence, strict=True):
        told, outside = row.get("f") or [None] * N, []
        for k, (one, label) in enumerate(zip(told, answer.values["y"], strict=True)):
            if one is not None:
                scores = torch.tensor(one).double() @ torch.tensor(MATRIX).double()
                chances = torch.log_softmax(scores, -1)
                outside += [Place("y", (k,), label)] if -chances[label] > 0.7 else []
        assert answer.abstained == tuple(outside)
        assert (Flag.ABSTAIN in answer.flags) is bool(outside)
    assert [len(a.abstained) for a in answers] != [0] * 4


@pytest.mark.parametrize("door", ["here", "hosted", "served", "served, hosted"])
def test_absent_entries_reach_opaque_energies(doors, door):
    sums = {"kind": "told.Sums", "scope": ["told", "x"]}
    inputs = {"told": {"low": -9, "high": 9, "shape": [3]}}
    evidence = [{"told": [1, None, 2]}, {"told": np.float32([1, 1, 1])}, {"told": [None] * 3}]
    answers = doors[door](query(sums, inputs=inputs, evidence=evidence))
    assert [round(a.values["x"], 2) for a in answers[:2]] == [6.0, 9.0]
    assert answers[2].energy == 0.0


@pytest.mark.parametrize("door", ["here", "hosted", "served", "served, hosted"])
@pytest.mark.parametrize(
    ("evidence", "path", "said"),
    [
        ({"f": [[0, 1]] * 2}, "evidence.f", "2 entries"),
        ({"f": [[0, 101]] * 3}, "evidence.f[0][1]", "lies outside"),
        ({"f": np.full((3, 2), 101.0)}, "evidence.f[0][0]", "lies outside"),
        ({"whole": [0, 0.5, 1]}, "evidence.whole[1]", "whole"),
        ({"whole": np.array([0, 0.5, 1])}, "evidence.whole[1]", "whole"),
        ({"named": ["a", "b", "d"]}, "evidence.named[2]", "none of the values"),
        ({"f": {"file": "x.npy"}}, "evidence.f.file", "no files"),
        ([{}, {"f": [[0, None]] * 3}], "evidence[1].f[0][1]", "no number"),
        ({"whole": [0, None, 1]}, "evidence.whole", "is absent"),
    ],
)
def test_mistakes_are_told_at_every_door(doors, door, evidence, path, said):
    rule = {"kind": "told.Told", "scope": ["whole", "y"]}
    with pytest.raises(BadQuery) as caught:
        doors[door](query(GUESS, rule, evidence=evidence))
    found = [m for m in caught.value.mistakes if m.path == path]
    assert found and any(said in m.problem for m in found), caught.value.mistakes


def test_mistakes_apart_stand_beside_inputs(kinds):
    """Every part of a query by itself; what files hold is not a part of it."""
    data = {
        "variables": {"y": {"values": [0, 1, 2], "shape": [3]}},
        "inputs": {
            "f": {"shape": [3, 2]}, "bad": {"low": 2, "high": 1}, "whole": {"integer": True},
            "file": {"shape": [3]},
        },
        "terms": [
            GUESS | {"params": {"matrix": "no"}},
            {"kind": "told.Told", "scope": ["whole"]},
            {"kind": "told.Told", "scope": ["bad", "y"]},
        ],
        "evidence": {
            "f": [[1, 2]], "whole": 0.5, "file": {"file": "x.npy"}, "y": {"file": "y.npy"},
        },
    }  # fmt: skip
    found = {m.path for m in mistakes_apart(data, kinds)}
    assert found == {"terms[0].params.matrix", "terms[1].scope", "evidence.f", "evidence.whole"}


@pytest.mark.parametrize("door", ["here", "hosted", "served", "served, hosted"])
def test_scores_stand_beside_what_was_told(doors, door):
    f = np.array([[1, 0], [0, 1], [1, 1]], dtype=np.float32)
    evidence = [{"y": [0, 1, 2], "x": 0.0, "f": f}, {"y": [0, 1, 2], "x": 0.0}, {"f": f}]
    asked = query(GUESS, DIFFERENT, evidence=evidence)
    answers = doors[door](asked, {"score": True} if "served" in door else _score())
    wanted = sum(cost(row, label) for label, row in enumerate(f))
    assert answers[0].energy == pytest.approx(wanted) and answers[1].energy == 0
    assert answers[2].bound is None or answers[2].bound <= least(f) + 1e-9


def _score() -> Any:
    from services.query import Options

    return Options(score=True)


def test_sessions_are_told_anew(doors, kinds):
    """Here, and of a service as a stream and in single calls."""
    f, g = np.float32([[5, 0], [0, 5], [0, 0]]), np.float32([[0, 5], [5, 0], [0, 0]])
    asked = query(GUESS, DIFFERENT, evidence={"f": f})

    def check(session: Any, change: Any) -> None:
        assert session.answer().energy == pytest.approx(least(f))
        change({"f": g, "y": [None, None, 0]})
        assert session.answer().energy == pytest.approx(least(g, [None, None, 0]))
        change({"f": g.tolist()})
        assert session.answer().energy == pytest.approx(least(g))
        change({})
        assert session.answer().energy == 0

    own = QuerySession(asked, Reasoner(kinds).compiler)
    check(own, lambda evidence: own.change(_change(evidence)))
    for name in ("served", "served, hosted"):
        for stream in (True, False):
            with doors[name].__self__.session(asked, stream=stream) as session:
                check(session, session.given)


def _change(evidence: Any) -> Any:
    from services.query import spec_of
    from services.query.change import Change

    return spec_of(Change, {"evidence": evidence})


@pytest.mark.parametrize("door", ["served", "served, hosted"])
def test_streams_samples_and_smallest_changes_follow(doors, door):
    client = doors[door].__self__
    f = np.float32([[5, 0], [0, 5], [0, 0]])
    asked = query(GUESS, DIFFERENT, evidence=[{"f": f}, {"f": f[::-1].copy()}])
    with client.stream(asked) as events:
        results = {e.row: e.answer for e in events if hasattr(e, "answer")}
    assert results[0].energy == pytest.approx(least(f))
    assert results[1].energy == pytest.approx(least(f[::-1]))
    pinned = asked.changed(evidence=[{"f": f, "x": 0.0}])
    (drawn,) = client.sample(pinned, 400)
    orders = list(itertools.permutations(range(K)))
    weights = np.array([math.exp(-sum(cost(r, v) for r, v in zip(f, order))) for order in orders])
    counts = [sum(s.values["y"] == list(order) for s in drawn.samples) for order in orders]
    assert np.abs(np.array(counts) / 400 - weights / weights.sum()).max() < 0.1
    ruled = query({"kind": "told.Told", "scope": ["whole", "y"]}, evidence={"whole": [2, 0, 0]})
    (drawn,) = client.sample(ruled.changed(evidence={"whole": [2, 0, 0], "x": 0.0}), 3)
    assert [s.values["y"] for s in drawn.samples] == [[2, 0, 0]] * 3
    assert all(s.holds for s in drawn.samples)
    (changed,) = client.smallest_change(
        ruled.changed(evidence={"whole": [2, 0, 0], "y": [0, 0, 0]}), {"y": [None, 0, None]}
    )
    assert changed.answer.values["y"] == [2, 0, 0]
    assert len(changed.changed) == 1 and changed.smallest


@pytest.mark.parametrize("door", ["served", "served, hosted"])
def test_explanations_follow(doors, door):
    """Conflicts beside what was told, runners-up, alternatives."""
    client = doors[door].__self__
    rule = {"kind": "told.Told", "scope": ["whole", "y"]}
    told = {"whole": np.array([2, 0, 0]), "y": [1, None, None], "x": 0.0}
    (answer,) = client.explain(query(rule, evidence=told))
    assert answer.status == "INFEASIBLE"
    assert [(p.variable, p.site) for p in answer.conflict.evidence] == [("y", (0,))]
    f = np.float32([[5, 0], [0, 5], [0, 0]])
    asked = query(GUESS, DIFFERENT, evidence={"f": f, "x": 0.0})
    energies = sorted(
        sum(cost(r, v) for r, v in zip(f, order)) for order in itertools.permutations(range(K))
    )
    (answer,) = client.explain(asked)
    assert answer.runner_up.energy == pytest.approx(energies[1])
    (answer,) = client.solve(asked, {"alternatives": 3})
    assert [a.energy for a in answer.alternatives] == pytest.approx(energies[1:4])


def test_views_of_inputs_are_hosted_too(doors):
    """A term for each picture."""
    terms = [
        GUESS | {"scope": [f"f[{k}:{k + 1}]", f"y[{k}:{k + 1}]"], "name": f"g{k}"} for k in range(N)
    ]
    evidence = [{"f": [[1, 0], None, [0, 2]]}, {}, {"f": torch.eye(3)[:, :2]}]
    for solve in doors.values():
        for row, answer in zip(evidence, solve(query(*terms, DIFFERENT, evidence=evidence))):
            given_rows = row.get("f")
            wanted = least(
                given_rows.tolist() if isinstance(given_rows, torch.Tensor) else given_rows
            )
            assert answer.energy == pytest.approx(wanted, abs=1e-6) and answer.status == "OPTIMAL"


@pytest.mark.clock
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_pictures_are_narrowed_without_a_walk(kinds, dtype):
    """36 of 28 x 28, from Query to Problem, in at most 3 ms."""
    high = 255 if dtype == "uint8" else 1
    pictures = (np.random.default_rng(0).random((36, 28, 28)) * high).astype(dtype)
    compiler = Reasoner(kinds).compiler
    seconds = []
    for _ in range(20):
        began = time.perf_counter()
        asked = query(
            {"kind": "told.Sums", "scope": ["pictures", "x"]},
            inputs={"pictures": {"low": 0, "high": high, "shape": [36, 28, 28]}},
            evidence={"pictures": pictures},
        )
        problem = compiler.problem(asked)
        seconds.append(time.perf_counter() - began)
    told = problem.told["pictures"].tensor[0]
    assert told.dtype == (torch.float64 if dtype == "float64" else torch.float32)
    assert np.array_equal(told.numpy(), pictures)
    assert min(seconds) <= 3e-3
