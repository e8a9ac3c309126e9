"""One compiler and one cache for whatever a service is asked; nothing of it crosses a tenant."""

from collections.abc import Sequence
from typing import Any

import pytest
from typer.testing import CliRunner

from engine.domain import Variable, View
from engine.energy import Energy
from engine.errors import BadQuery
from modules.catalogue import Catalogue, Kind
from services.cli import app
from services.client import Client
from services.query import query_of
from services.reasoner.compile import Compiler
from services.reasoner.reason import Reasoner
from services.rpc.server import Service
from services.server.app import create_server
from services.server.request_cache import Read, Reader, key_of
from services.v1 import query_pb2
from services.wire.query import query_to_proto
from services.wire.values import to_assignment
from tests.support.fuzz.loop import Loop
from tests.support.serving import GRID, sudoku


def message(**fields: Any) -> query_pb2.Query:
    return query_to_proto(query_of(sudoku(**fields)))


def test_all_rpcs_of_a_tenant_share_what_was_compiled(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the three terms is built once for a tenant, whatever it asks for."""
    built: list[str] = []
    build = Kind.build

    def counting(kind: Kind, scope: Sequence[Variable | View], params: dict[str, Any]) -> Energy:
        built.append(kind.name)
        return build(kind, scope, params)

    monkeypatch.setattr(Kind, "build", counting)
    made: Service = loop.do(create_server(Reasoner(Catalogue())))
    for tenant, terms in (("ann", 3), ("bob", 6)):
        with Client(f"127.0.0.1:{made.port}", tenant=tenant) as client:
            client.solve(sudoku())
            client.solve(sudoku(evidence=[{}, {"grid": GRID}], budget={"steps": 1}))
            client.sample(sudoku(), 1)
            client.score(sudoku())
            client.explain(sudoku())
            for stream in (True, False):
                with client.session(sudoku(), stream=stream) as session:
                    assert session.answer().status == "OPTIMAL"
        assert len(built) == terms
    loop.do(made.drain(0))


def test_a_command_over_one_file_makes_no_key(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[bytes] = []
    monkeypatch.setattr(
        "services.reasoner.compile._digest", lambda _: keys.append(b"key") or keys[-1]
    )
    board = tmp_path / "board.txt"
    board.write_text("1...............\n")
    for command in (["ask"], ["sample"], ["ask", "--score"]):
        assert CliRunner().invoke(app, [*command, str(board)]).exit_code == 0
    assert not keys
    assert CliRunner().invoke(app, ["ask", str(board), str(board)]).exit_code == 0
    assert len(keys) == 2


def test_a_structure_is_read_once_and_for_one_tenant() -> None:
    reader = Reader(Compiler(Catalogue()))

    def again(tenant: str, asked: query_pb2.Query) -> Read | None:
        return reader.again(key_of(tenant, asked), asked)

    first = message(budget={"seed": 3})
    assert again("a", first) is None
    read = reader.read("a", first)
    other = message(evidence=[{"grid": GRID}, {}], budget={"particles": 5})
    known = again("a", other)
    assert known is not None and known.problem.root is read.problem.root
    assert again("b", other) is None
    theirs = reader.read("b", other)
    assert known.query == theirs.query and known.problem.root is not theirs.problem.root
    wider = {"grid": {"values": [*range(10)], "shape": [9, 9]}}
    assert again("a", message(variables=wider)) is None
    assert Reader(Compiler(Catalogue())).again(key_of("a", first), first) is None


def test_a_structure_that_was_not_asked_for_lately_is_given_up() -> None:
    """The last of all tenants together; nothing is kept, and no key made, where none is to be."""
    compiler = Compiler(Catalogue(), kept=2)
    reader, asked = Reader(compiler), message()
    for tenant in ("a", "b", "a", "c"):
        reader.read(tenant, asked)
    known = [compiler.known(key_of(tenant, asked)) is not None for tenant in ("a", "b", "c")]
    assert known == [True, False, True]
    query = reader.read("a", asked).query
    here = Compiler(Catalogue())
    assert here.problem(query).root is here.problem(query).root
    bare = Compiler(Catalogue(), kept=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("services.reasoner.compile._digest", lambda _: pytest.fail("a key was made"))
        assert bare.problem(query).root is not bare.problem(query).root


@pytest.mark.parametrize(
    "evidence",
    [{"grid": [[10] * 9] * 9}, {"gird": GRID}, {"grid": [[1]]}, {"grid": "x"}],
)
def test_mistakes_are_told_as_at_the_first_reading(evidence: Any) -> None:
    reader = Reader(Compiler(Catalogue()))
    reader.read("", message())
    wrong = message()
    del wrong.evidence[:]
    wrong.evidence.append(to_assignment(evidence))
    told = []
    for read in (reader.again, reader.fresh, Reader(Compiler(Catalogue())).fresh):
        with pytest.raises(BadQuery) as caught:
            read(key_of("", wrong), wrong)
        told.append(caught.value.mistakes)
    assert told[0] == told[1] == told[2]
