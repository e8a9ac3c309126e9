"""What making a hosted term costs, what it remembers of its host, and what is left of one that
nobody uses."""

import gc
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from engine import Budget, Finite, Problem, Real, Variable, answers
from engine.errors import BadQuery
from engine.minimizers.descent import Descent
from modules.catalogue import Catalogue
from services.host.servicer import ModuleServicer
from services.query import query_of
from services.reasoner.compile import Compiler
from services.reasoner.session import QuerySession
from services.remote.kinds import RemoteKind, RemoteKinds
from services.remote.term import Remote, RemoteRule
from services.v1 import module_pb2 as pb
from services.wire.binding import Binding, BoundBinding, binding_digest
from tests.support.hosting import Running, check_pull, pull, soon
from tests.support.serving import soft


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What hosts are asked, rpc by rpc; `Bind` is a term made for a stream or a call."""
    made: list[str] = []
    for name in ("_structure", "_judge", "_bind"):
        truly = getattr(ModuleServicer, name)

        def counted(own: ModuleServicer, *asked: Any, name: str = name, truly: Any = truly) -> Any:
            made.append(name.strip("_").title())
            return truly(own, *asked)

        monkeypatch.setattr(ModuleServicer, name, counted)
    return made


def test_a_soft_term_is_bound_once(running: Running, calls: list[str]) -> None:
    """By the stream that its batches take: nothing else is asked."""
    host, address = running.host()
    kinds = running.kinds(address)
    term = pull(kinds)
    assert calls == ["Bind"]
    answers(Problem(term), Descent(), particles=4, budget=Budget(steps=3))
    assert calls == ["Bind"]
    kinds.close()


def test_a_rule_needs_no_stream(running: Running, calls: list[str]) -> None:
    host, address = running.host()
    kinds = running.kinds(address)
    x = Variable("x", Finite((0, 1, 2), (3,)))
    term = kinds.kind("discrete.all_different").build([x], {"lines": [[0, 1, 2]]})
    assert term.factors(x.domain) is not None
    assert calls == ["Judge", "Bind", "Structure"] and not host.streams
    assert term.floor() == 0.0
    kinds.close()


def test_numbers_that_the_term_does_not_hold_are_no_fault_of_its_kind(running: Running) -> None:
    """Float32 ends at 3.4e38."""
    _, address = running.host()
    kinds = running.kinds(address)
    term = pull(kinds, sites=2)
    with pytest.raises(BadQuery, match="variables.x: takes numbers that float32 does not hold"):
        term.energy(torch.tensor([[1.0, float("inf")]]))
    assert term.energy(torch.tensor([[1.0, 1.0]])).isfinite().all()
    kinds.close()


def test_nobody_holds_the_stream_of_a_term_that_is_dropped(running: Running) -> None:
    host, address = running.host()
    kinds = running.kinds(address)
    term = pull(kinds)
    soon(lambda: len(host.streams) == 1)
    del term
    gc.collect()
    soon(lambda: not host.streams)
    kinds.close()


def test_a_session_holds_no_stream_while_nothing_is_asked(running: Running) -> None:
    host, address = running.host()
    kinds = running.kinds(address)
    talk = QuerySession(query_of(soft("kinds.Pull", 3, budget={"steps": 3})), Compiler(kinds))
    soon(lambda: not host.streams)
    talk.answer()
    soon(lambda: not host.streams)
    kinds.close()


def test_a_binding_is_made_once_for_the_same_domains(running: Running) -> None:
    host, address = running.host()
    kinds = running.kinds(address)
    x = Variable("x", Finite((0, 1), (3,)))
    term = kinds.kind("kinds.Pairs").build([x], {})
    assert isinstance(term, Remote)
    narrow = x.domain.narrow([[1, None, None]])
    own, other = term.bound((x.domain,)), term.bound((narrow,))
    assert own is term.bound((x.domain,)) and other is term.bound((narrow,))
    assert own.digest != other.digest
    assert other.digest == term._bind((x.domain.narrow([[1, None, None]]),)).digest
    kinds.close()


def test_both_ends_tell_bindings_apart_alike() -> None:
    """By kind, parameters, names and domains; a byte that moves between two contents counts."""
    domain = Real((2,), 0.0, 1.0)
    bound = BoundBinding.of(Binding("a.b", {"k": 1}, (domain,), ("x",)))
    there = pb.Binding.FromString(bound.message.SerializeToString())
    assert binding_digest(there, [*map(memoryview, bound.raw)]) == bound.digest
    others = [
        BoundBinding.of(binding).digest
        for binding in (
            Binding("a.c", {"k": 1}, (domain,), ("x",)),
            Binding("a.b", {"k": 2}, (domain,), ("x",)),
            Binding("a.b", {"k": 1}, (domain,), ("y",)),
            Binding("a.b", {"k": 1}, (Real((2,), 0.0, 2.0),), ("x",)),
        )
    ]
    moved = [bound.raw[0][:-1], bound.raw[0][-1:] + bound.raw[1]]
    every = [bound.digest, *others, binding_digest(bound.message, moved)]
    assert len(set(every)) == len(every)


def test_kinds_of_one_host_share_a_connection(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls and streams of all of them; another address is another connection."""
    peers: list[str] = []
    for name in ("Describe", "Evaluate"):
        truly = getattr(ModuleServicer, name)

        def seen(own: ModuleServicer, request: Any, context: Any, truly: Any = truly) -> Any:
            peers.append(context.peer())
            return truly(own, request, context)

        monkeypatch.setattr(ModuleServicer, name, seen)
    (_, a), (two, b) = running.host(), running.host()
    kinds = running.kinds(a)
    assert len(kinds.kinds()) > 9 and len(peers) > 9
    terms = [pull(kinds) for _ in range(3)]
    hinted = kinds.kind("kinds.Hinted").build([Variable("x", Real((3,), -1.0, 1.0))], {})
    hinted({"x": torch.rand(2, 3)})
    assert len(set(peers)) == 1
    for term in terms:
        check_pull(term, torch.rand(2, 3))
    both = running.kinds(a, b)
    both.kinds()
    spread = [both.kind(name).build([Variable("x", Real((3,)))], {})
              for name in ("kinds.Pull", "kinds.Hinted", "kinds.Pull", "kinds.Hinted")]  # fmt: skip
    assert len(two.streams) == 2, spread  # of the streams of all kinds
    assert len(set(peers)) == 3
    kinds.close()
    both.close()


def test_judgements_are_asked_once_as_long_as_they_are_kept(
    host: str, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of more candidates than are kept at all."""
    monkeypatch.setattr("services.remote.term.VERDICTS", 3)
    asked: list[int] = []
    judge = RemoteKind.judge

    def counting(home: RemoteKind, binding: Any, arguments: Sequence[Any], **more: Any) -> Any:
        asked.append(len(arguments))
        return judge(home, binding, arguments, **more)

    kinds = RemoteKinds(catalogue, {"kinds.Word": [host]})
    term = kinds.kind("kinds.Word").build([Variable("x", Finite((0, 1, 2), (3,)))], {})
    assert isinstance(term, RemoteRule)
    monkeypatch.setattr(RemoteKind, "judge", counting)
    words = [[a, 1, b] for a in range(3) for b in range(3)]
    verdicts = [a + b == 2 and a != b for a in range(3) for b in range(3)]
    assert term.verdicts([[word] for word in words]) == verdicts
    assert term.verdicts([[word] for word in words[-3:]]) == verdicts[-3:]
    assert asked == [9]
    assert term.verdicts([[word] for word in (words[-1], words[0])]) == [False, False]
    assert term.verdicts([[words[-1]]]) == [False]
    assert asked == [9, 1]
    assert isinstance(term.verdict([words[0]]), pb.Verdict)
    kinds.close()
