"""A host, asked as any caller may ask it."""

import subprocess
import sys
import threading
import time
from typing import Any

import grpc
import pytest
import torch

from engine import BadQuery, Budget, Finite, Problem, Real, Variable, answers, required
from engine.answer import Flag
from engine.energy import Sum
from engine.errors import ModuleFault, ModuleUnavailable, UnknownKind
from engine.explain.conflict import conflict
from modules.catalogue import Catalogue
from modules.shared.version import version_of
from services.query.kind import describe
from services.remote.agreement import check_answers
from services.remote.kinds import RemoteKinds
from services.remote.lifecycle import remotes_of
from services.remote.term import Remote
from services.settings import Limits, RemotePolicy
from services.v1 import module_pb2 as pb
from services.v1 import module_pb2_grpc as rpc
from services.wire.structure import digest_of
from tests.support.serving import ROWS


def test_describe(remote: RemoteKinds, catalogue: Catalogue) -> None:
    told = {kind.name: kind for kind in remote.kinds()}
    assert set(told) == set(catalogue.names())
    for kind in catalogue.kinds():
        assert told[kind.name].about == kind.about
        assert told[kind.name].schema == kind.schema
        assert told[kind.name].required_by_default == kind.required_by_default
        assert describe(told[kind.name]) == describe(kind)
        assert remote.remotes[kind.name].module().version == version_of(kind.term) != ""
    with pytest.raises(UnknownKind, match="did you mean discrete.clause"):
        remote.kind("discrete.clauses")


def test_parameters_that_cannot_be_read_are_a_fault_of_the_kind(
    host: str, catalogue: Catalogue
) -> None:
    kinds = RemoteKinds(catalogue, {"graph.coloring": [host]})
    kinds.remotes["graph.coloring"].module().kind.parameters = "{"
    with pytest.raises(ModuleFault, match="its parameters are no JSON") as caught:
        describe(kinds.kind("graph.coloring"))
    assert caught.value.module == "graph.coloring"
    kinds.close()


def test_hosted_equals_local(remote: RemoteKinds, catalogue: Catalogue) -> None:
    """Energy, gradient, structure, judgement, floor: of every hosted rule of a Sudoku."""
    grid = Variable("grid", Finite(tuple(range(1, 10)), (9, 9)))
    here, there = (
        source.kind("discrete.all_different").build([grid], {"lines": ROWS})
        for source in (catalogue, remote)
    )
    assert isinstance(there, Remote)
    assert there.floor() == here.floor() and there.affine == here.affine
    assert there.required_by_default
    x = torch.rand(5, 9, 9, 9, requires_grad=True)
    weights = torch.arange(5.0, dtype=torch.float64)
    energies, slopes = [], []
    for term in (here, there):
        energy = term({"grid": x}).double()
        energies.append(energy.detach())
        slopes.append(torch.autograd.grad((weights * energy).sum(), x)[0])
    torch.testing.assert_close(*energies, rtol=1e-6, atol=0)
    torch.testing.assert_close(*slopes, rtol=1e-6, atol=1e-7)
    a, b = here.factors(grid.domain), there.factors(grid.domain)
    assert a is not None and b is not None and digest_of(a) == digest_of(b)
    plain = [[(r + c) % 9 + 1 for c in range(9)] for r in range(9)]
    assert there.holds(plain) is here.holds(plain) is True
    plain[0][0] = plain[0][1]
    assert there.holds(plain) is here.holds(plain) is False
    assert there.explain(plain) == here.explain(plain)
    there.close()


def test_a_hosted_term_abstains_as_one_of_this_process(
    remote: RemoteKinds, catalogue: Catalogue
) -> None:
    """Under the evidence of each row, as far as the term looks at that."""
    x = Variable("x", Real((2,), 0.0, 3.0))
    given = [{}, {"x": [0.5, None]}, {"x": [1.5, None]}, {"x": [1.5, 1.0]}]
    flags = []
    for source in (catalogue, remote):
        term = source.kind("kinds.Banded").build([x], {})
        problem = Problem(term).given_rows(given)
        told = answers(problem, particles=4, budget=Budget(steps=60), seed=1)
        flags.append([Flag.ABSTAIN in answer.flags for answer in told])
        sites = [[place.site for place in answer.abstained] for answer in told]
        assert sites == [[], [], [(0,)], [(0,), (1,)]]
    assert flags[0] == flags[1] == [False, False, True, True]


def test_sites_are_named_through_a_choice_of_hosted_terms(
    remote: RemoteKinds, catalogue: Catalogue
) -> None:
    """The branch that counts says it, at the sites of its own scope."""
    a, b = (Variable(name, Real((2,), 0.0, 3.0)) for name in "ab")
    rows = [{"a": [1.5, 0.5], "b": [2.0, 2.0]}, {"a": [2.0, 2.0], "b": [0.5, 1.5]},
            {"a": [0.5, 0.0], "b": [2.0, 2.0]}]  # fmt: skip
    for source in (catalogue, remote):
        one, other = (source.kind("kinds.Banded").build([x], {}) for x in (a, b))
        told = answers(Problem(1.0 * (1.0 * one | 1.0 * other)).given_rows(rows))
        named = [[(place.variable, place.site, place.value) for place in t.abstained] for t in told]
        assert named == [[("a", (0,), 1.5)], [("b", (1,), 1.5)], []]


@pytest.mark.parametrize("weight", [None, 0.5])
def test_structure_at_a_weight_with_sites_that_stand_twice(
    remote: RemoteKinds, catalogue: Catalogue, weight: float | None
) -> None:
    """Hosted as in this process: what it costs, what it proves, and what a conflict says."""
    x = Variable("x", Finite((0, 1, 2), (3,)))
    found = []
    for source in (catalogue, remote):
        rules = [source.kind(f"kinds.{name}").build([x], {}) for name in ("Motif", "Word")]
        energy = required(Sum(*(s for r in rules for s in r.summands())))
        if weight is not None:
            energy = weight * rules[0] + 2.0 * rules[1]
        rows = Problem(energy).given_rows([{}, {"x": [0, None, None]}, {"x": [1, None, None]}])
        told = answers(rows)
        check_answers(rows, told)
        text = conflict(rows, 2).text.replace("kinds.", "") if weight is None else ""
        found.append(([(t.status, t.energy, t.bound) for t in told], text))
    assert found[0] == found[1]
    assert [cost for _, cost, _ in found[0][0]] == ([0, 0, None] if weight is None else [0, 0, 2.5])
    assert ("Motif: one of the two words" in found[0][1]) is (weight is None)


def test_views_and_several_scope_entries(remote: RemoteKinds, catalogue: Catalogue) -> None:
    a = Variable("a", Finite((1, 2, 3), (2, 2)))
    b = Variable("b", Finite((1, 2, 3), (2,)))
    scope, params = [a[0, :], b], {"pairs": [[0, 2], [1, 3]]}
    here, there = (s.kind("discrete.not_equal").build(scope, params) for s in (catalogue, remote))
    state = {"a": torch.rand(4, 2, 2, 3), "b": torch.rand(4, 2, 3)}
    torch.testing.assert_close(there(state), here(state).double())
    assert isinstance(there, Remote)
    there.close()


def test_states_of_another_dtype_are_narrowed_and_slopes_widened(remote: RemoteKinds) -> None:
    term = remote.kind("kinds.Pull").build([Variable("x", Real((3,)))], {})
    x = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(term({"x": x}).sum(), x)
    torch.testing.assert_close(slope, 2 * (x.detach() - 0.3), rtol=1e-5, atol=1e-6)
    half = torch.rand(2, 3).bfloat16().requires_grad_()
    (slope,) = torch.autograd.grad(term({"x": half}).sum(), half)
    assert slope.dtype == torch.bfloat16


def test_large_batches_travel_in_chunks(host: str, catalogue: Catalogue) -> None:
    small = Limits(chunk_bytes=1000)
    kinds = RemoteKinds(catalogue, {"kinds.Pull": [host]}, limits=small)
    term = kinds.kind("kinds.Pull").build([Variable("x", Real((25,)))], {})
    x = torch.rand(203, 25, requires_grad=True)
    energy = term({"x": x})
    torch.testing.assert_close(energy.float(), ((x - 0.3) ** 2).sum(-1))
    (slope,) = torch.autograd.grad(energy.sum(), x)
    torch.testing.assert_close(slope, 2 * (x.detach() - 0.3))
    assert term({"x": x[:0]}).shape == (0,)
    kinds.close()


def test_structure_is_fetched_once_and_revalidated(host: str, catalogue: Catalogue) -> None:
    kinds = RemoteKinds(catalogue, {"graph.coloring": [host]})
    home = kinds.remotes["graph.coloring"]
    calls: list[tuple[str, Any]] = []
    ask = home.replicas.ask

    def counting(method: str, request: Any) -> Any:
        response = ask(method, request)
        calls.append((method, response))
        return response

    home.replicas.ask = counting  # type: ignore[method-assign]
    x = Variable("x", Finite((0, 1, 2), (20,)))
    params = {"edges": [[k, k + 1] for k in range(19)]}
    for _ in range(2):
        term = home.build([x], params)
        first = term.factors(x.domain)
        assert first is not None and term.factors(x.domain) is first
    got = [response for method, response in calls if method == "Structure"]
    assert [response.HasField("factors") for response in got] == [True, False]
    kinds.close()


def test_bad_parameters_are_told_with_their_path(remote: RemoteKinds) -> None:
    grid = Variable("grid", Finite((1, 2), (2,)))
    with pytest.raises(BadQuery) as caught:
        remote.kind("discrete.all_different").build([grid], {"lines": [[0, 7]], "line": 1})
    assert "params.line" in str(caught.value) and "did you mean lines" in str(caught.value)
    with pytest.raises(BadQuery, match=r"params.lines\[0\]\[1\]"):
        remote.kind("discrete.all_different").build([grid], {"lines": [[0, 7]]})
    with pytest.raises(BadQuery, match="cannot be required"):
        required(remote.kind("kinds.Pull").build([Variable("x", Real((2,)))], {}))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("nan", "nan for 2 of 2"),
        ("shape", "shape"),
        ("kind", "not a tensor"),
        ("raise", "ValueError"),
        ("slope", "gradient is nan"),
    ],
)
def test_faults_name_the_kind(remote: RemoteKinds, how: str, said: str) -> None:
    term = remote.kind("kinds.Broken").build([Variable("x", Real((2,)))], {"how": how})
    with pytest.raises(ModuleFault, match=said) as caught:
        term({"x": torch.zeros(2, 2, requires_grad=True)})
    assert caught.value.module == "kinds.Broken" and "secret" not in str(caught.value)
    with pytest.raises(ModuleFault):  # and again: the stream is opened anew
        term({"x": torch.zeros(2, 2, requires_grad=True)})


def test_faults_of_other_methods(remote: RemoteKinds) -> None:
    x = Variable("x", Finite((0, 1), (2,)))
    with pytest.raises(ModuleFault, match="OSError"):
        remote.kind("kinds.Broken").build([x], {"how": "init"})
    term = remote.kind("kinds.Broken").build([x], {"how": "factors"})
    with pytest.raises(ModuleFault, match="factors: .*visible"):
        term.factors(x.domain)


def test_disagreement_of_structure_and_judgement(remote: RemoteKinds) -> None:
    x = Variable("x", Finite((0, 1), (1,)))
    for name, weigh in (("kinds.Liar", required), ("kinds.Priced", lambda t: Sum(*t.summands()))):
        term = remote.kind(name).build([x], {})
        problem = Problem(weigh(term))
        found = answers(problem, particles=2, budget=Budget(steps=5))
        with pytest.raises(ModuleFault, match="its structure"):
            check_answers(problem, found)
        assert remotes_of(problem) == [term]


def test_evaluate_needs_a_binding_first(host: str) -> None:
    with grpc.insecure_channel(host) as channel:
        stub = rpc.ModuleServiceStub(channel)
        for message in (pb.EvaluateRequest(batch=pb.Batch()), pb.EvaluateRequest()):
            with pytest.raises(grpc.RpcError) as caught:
                next(stub.Evaluate(iter([message])))
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        wrong = pb.EvaluateRequest(binding=pb.Binding(kind="kinds.Pull"))
        with pytest.raises(grpc.RpcError) as caught:
            next(stub.Evaluate(iter([wrong])))
        assert "domains" in caught.value.details()


def test_many_streams_at_once(remote: RemoteKinds) -> None:
    """Independent modules compute side by side."""
    terms = [
        remote.kind("kinds.Pull").build([Variable("x", Real((3,)))], {"seconds": 0.2})
        for _ in range(4)
    ]
    x = torch.rand(2, 3)
    began = time.monotonic()
    threads = [threading.Thread(target=term, args=({"x": x},)) for term in terms]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began < 0.75
    for term in terms:
        term.close()  # type: ignore[union-attr]


def test_a_host_that_hangs_is_given_up(host: str, catalogue: Catalogue) -> None:
    kinds = RemoteKinds(catalogue, {"kinds.Pull": [host]}, RemotePolicy(exchange_seconds=0.3))
    term = kinds.kind("kinds.Pull").build([Variable("x", Real((3,)))], {"seconds": 1.0})
    began = time.monotonic()
    with pytest.raises(ModuleUnavailable, match=f"{host}: no answer within 0.3 s"):
        term({"x": torch.rand(2, 3)})
    assert time.monotonic() - began < 0.9
    kinds.close()


FIRST_SLOPES = """
import sys, torch
from engine import Real, Variable
from services.host.bound_term import BoundTerm
from tests.support.hosted import Pull

x = Variable("x", Real((3,)))
bound = BoundTerm("kinds.Pull", Pull(x), (x.domain,))
bound.evaluate((torch.rand(2, 3),), False)
before = set(sys.modules)
bound.evaluate((torch.rand(2, 3),), True)
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
"""


def test_the_first_gradient_of_a_host_loads_no_library() -> None:
    """`torch.autograd.grad(..., grad_outputs)` imports sympy when first called (0.2 s)."""
    done = subprocess.run([sys.executable, "-c", FIRST_SLOPES], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.split() == [], done.stdout + done.stderr
