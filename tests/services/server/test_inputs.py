"""What a service is told beside what it is asked: arrays, and files of its own folder."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from engine.errors import BadQuery
from modules.catalogue import Catalogue
from services.client import Client
from services.formats.arrays import inside
from services.query import query_of
from services.reasoner.reason import Reasoner
from services.rpc.server import Service
from services.server.app import create_server
from services.server.request_cache import Reader, key_of
from services.wire.query import query_to_proto
from tests.support.fuzz.loop import Loop
from tests.support.serving import Process

pytest_plugins = ["tests.support.fixtures"]

RULE = {"kind": "discrete.all_different", "scope": ["y"], "params": {"lines": [[0, 1, 2]]}}


def asked(evidence: Any, **fields: Any) -> dict[str, Any]:
    return {
        "variables": {"y": {"values": [1, 2, 3], "shape": [3]}, "r": {"low": 0, "shape": [2]}},
        "inputs": {"x": {"low": 0, "high": 9, "shape": [2, 2]}},
        "terms": [RULE],
        "evidence": evidence,
    } | fields


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    np.save(home / "y.npy", np.array([2, 1, 3]))
    np.save(home / "x.npy", np.ones((2, 2), np.float32))
    np.save(tmp_path / "out.npy", np.array([2, 1, 3]))
    (home / "r.csv").write_text("0.1,\n")
    return home


@pytest.fixture
def reading(loop: Loop, folder: Path) -> Iterator[Client]:
    """A client of a service that may read its folder."""
    reasoner = Reasoner(Catalogue(), confine=inside(folder))
    service: Service = loop.do(create_server(reasoner))
    with Client(f"127.0.0.1:{service.port}") as client:
        yield client
    loop.do(service.drain(0))


def test_a_query_that_comes_names_files_of_the_service(reading: Client) -> None:
    files = {"y": {"file": "y.npy"}, "x": {"file": "x.npy"}, "r": {"file": "r.csv"}}
    for evidence in (files, [files, {"y": [None, 3, None]}], files):  # also of a structure kept
        answer = reading.solve(asked(evidence))[0]
        assert answer.values is not None and answer.values.keys() == {"y", "r"}
        assert answer.values["y"] == [2, 1, 3] and answer.values["r"][0] == 0.1
    with reading.session(asked(files)) as session:
        assert session.answer().values["y"] == [2, 1, 3]  # type: ignore[index]
        session.given({"y": [1, None, None]})
        session.given({"y": {"file": "y.npy"}})
        assert session.answer().values["y"] == [2, 1, 3]  # type: ignore[index]
        with pytest.raises(BadQuery, match=r"evidence\.y\.file"):
            session.given({"y": {"file": "gone.npy"}})
    assert reading.score(asked(files | {"r": [0, 0]}))[0].status == "OPTIMAL"
    assert reading.sample(asked(files | {"r": [0, 0]}), 1)[0].samples[0].values["y"] == [2, 1, 3]
    (changed,) = reading.smallest_change(asked(files), {"y": [1, None, None]})
    assert len(changed.changed) == 1
    with reading.stream(asked(files)) as events:
        assert [e.answer.values["y"] for e in events if hasattr(e, "answer")] == [[2, 1, 3]]


@pytest.mark.parametrize("name", ["../out.npy", "gone.npy", "/etc/passwd.npy"])
def test_no_other_file_is_read(reading: Client, name: str) -> None:
    with pytest.raises(BadQuery) as caught:
        reading.solve(asked({"y": {"file": name}}))
    assert [m.path for m in caught.value.mistakes] == ["evidence.y.file"]


def test_without_a_folder_files_are_refused(loop: Loop, folder: Path) -> None:
    service: Service = loop.do(create_server(Reasoner(Catalogue())))
    with Client(f"127.0.0.1:{service.port}") as client:
        for name in ("y.npy", str(folder / "y.npy")):
            with pytest.raises(BadQuery, match="--files DIR"):
                client.solve(asked({"y": {"file": name}}))
    loop.do(service.drain(0))


def test_arrays_do_not_tell_structures_apart() -> None:
    reader = Reader(Reasoner(Catalogue()).compiler)
    keys = set()
    for k in range(2):
        raw: list[bytes] = []
        query = query_of(asked({"x": np.full((2, 2), k, np.uint8), "y": np.array([1, 2, 3])}))
        message = query_to_proto(query, raw)
        keys.add(key_of("", message))
        read = reader.read("", message, raw)
        assert read.query == query
        assert read.problem.told["x"].tensor[0].tolist() == [[k, k]] * 2  # type: ignore[attr-defined]
    assert len(keys) == 1
    other = query_to_proto(query_of(asked({}, inputs={})))
    assert key_of("", other) not in keys


def test_serve_takes_the_folder_as_a_flag(started: Callable[..., Process], folder: Path) -> None:
    process = started("serve", "--listen", "127.0.0.1:0", "--files", str(folder))
    with Client(process.address) as client:
        answer = client.solve(asked({"y": {"file": "y.npy"}}))[0]
        assert answer.values is not None and answer.values["y"] == [2, 1, 3]


def test_ask_reads_beside_its_file_and_sends_the_numbers(
    started: Callable[..., Process], folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A service that reads no files is told what they hold."""
    from services.cli.ask import AskArguments, ask

    (folder / "q.yaml").write_text(yaml.safe_dump(asked({"y": {"file": "y.npy"}})))
    process = started("serve", "--listen", "127.0.0.1:0")
    for server in (None, process.address):
        assert ask(AskArguments([str(folder / "q.yaml")], server=server, json=True)) == 0
        assert json.loads(capfd.readouterr().out)["solution"]["y"] == [2, 1, 3]
    (folder / "q.yaml").write_text(yaml.safe_dump(asked({"y": {"file": "../out.npy"}})))
    assert ask(AskArguments([str(folder / "q.yaml")], json=True)) == 2
    err = capfd.readouterr().err
    assert err.startswith(f"{folder}/q.yaml: evidence.y.file: ") and "inside it" in err
