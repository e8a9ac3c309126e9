"""Clients that know nothing of this package: JavaScript, and whoever asks the service itself."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from modules.catalogue import Catalogue
from services.reasoner.reason import Reasoner
from services.rpc.server import Service
from services.server.app import create_server
from tests.support.fuzz.loop import Loop
from tests.support.paths import ROOT
from tests.support.serving import BOXES, COLUMNS, PUZZLE, ROWS

FOLDER = ROOT / "examples" / "javascript"
SOLVED = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"
NAME = "basin.v1.ReasonerService"


@pytest.fixture(scope="module")
def address(loop: Loop) -> Iterator[str]:
    made: Service = loop.do(create_server(Reasoner(Catalogue()), reflection=True))
    yield f"127.0.0.1:{made.port}"
    loop.do(made.drain(0))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with its packages; skipped where they cannot be had."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("no node, or no npm")
    root = tmp_path_factory.mktemp("javascript")
    shutil.copytree(FOLDER.parents[1] / "proto", root / "proto")
    folder = root / "examples" / "javascript"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("node_modules"))
    command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=90)
    except subprocess.TimeoutExpired:
        pytest.skip("npm cannot reach its registry")
    if done.returncode:
        pytest.skip(f"npm cannot install: {done.stderr[-200:]}")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["--reflection"]])
def test_javascript_solves_a_sudoku(node: Path, address: str, flags: list[str]) -> None:
    """Solve and a session; with reflection without any .proto file of ours."""
    if flags:
        shutil.rmtree(node.parents[1] / "proto")
    command = ["node", "sudoku.js", address, PUZZLE, *flags]
    done = subprocess.run(command, cwd=node, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["status"], told["unique"], told["solution"]) == ("OPTIMAL", True, SOLVED)
    assert told["changed"] == {"status": "OPTIMAL", "first": 6}
    if flags:
        assert {NAME, "basin.v1.SessionService"} <= set(told["services"])
    else:
        assert told["services"] is None


@pytest.mark.slow
def test_javascript_is_told_its_mistakes(node: Path, address: str) -> None:
    done = subprocess.run(
        ["node", "-e", WRONG, address], cwd=node, capture_output=True, text=True, timeout=30
    )
    said = r"terms\[0\]\.kind: .* did you mean discrete\.all_different"
    call, session = done.stdout.splitlines()
    assert re.match(said, call) and re.match(f"session: {said}", session)


WRONG = """
const { Basin, reflected } = require("./basin.js");
const query = {
  variables: { x: { values: [1, 2], shape: [2] } },
  terms: [{ kind: "discrete.all_diferent", scope: ["x"], params: { lines: [[0, 1]] } }],
};
reflected(process.argv[1]).then(async ({ services }) => {
  const basin = new Basin(process.argv[1], services);
  await basin.solve(query).catch((error) => console.log(error.details));
  const session = basin.session(query);
  await session.opened.catch((error) => console.log("session:", error.message));
  session.close();
  basin.close();
});
"""


def test_a_service_that_describes_itself_solves_a_sudoku(address: str) -> None:
    """Reflection alone: names, messages and methods come from the service."""
    with grpc.insecure_channel(address) as channel:
        pool = described(channel)
        method = pool.FindServiceByName(NAME).FindMethodByName("Solve")
        request = GetMessageClass(method.input_type)()
        grid = request.query.variables.add(name="grid", shape=[9, 9])
        grid.finite.values.array.shape.append(9)
        grid.finite.values.array.integers.extend(range(1, 10))
        term = request.query.terms.add(kind="discrete.all_different", scope=["grid"])
        lines = term.params.entries.add(name="lines").value.array
        every = [*ROWS, *COLUMNS, *BOXES]
        lines.shape.extend([len(every), 9])
        lines.integers.extend(place for line in every for place in line)
        given = request.query.evidence.add().entries.add(name="grid").value.array
        given.shape.extend([9, 9])
        given.integers.extend(0 if c == "." else int(c) for c in PUZZLE)
        given.missing.extend(k for k, c in enumerate(PUZZLE) if c == ".")
        answer = called(channel, method, request).answers[0]
        (values,) = answer.values.entries
        assert "".join(map(str, values.value.array.integers)) == SOLVED


def described(channel: grpc.Channel) -> DescriptorPool:
    """What the service says of itself, as a pool of descriptors."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = reflection_pb2.ServerReflectionRequest
    listing, files = stub.ServerReflectionInfo(
        iter([asked(list_services=""), asked(file_containing_symbol=NAME)])
    )
    assert NAME in {service.name for service in listing.list_services_response.service}
    every = {}
    for raw in files.file_descriptor_response.file_descriptor_proto:
        file = FileDescriptorProto.FromString(raw)
        every[file.name] = file
    pool = DescriptorPool()

    def add(name: str) -> None:
        file = every.pop(name, None)
        if file is not None:
            for needed in file.dependency:
                add(needed)
            pool.Add(file)

    for name in list(every):
        add(name)
    return pool


def called(channel: grpc.Channel, method: Any, request: Any) -> Any:
    """The response of a method that is known by its descriptor."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    response = GetMessageClass(method.output_type)
    call = channel.unary_unary(path, type(request).SerializeToString, response.FromString)
    return call(request, timeout=10)
