"""A picture in a file, a classifier in a process of its own, a service, and the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from modules.catalogue import Catalogue
from services.cli.ask import AskArguments, ask
from services.query import parse_query
from services.reasoner.reason import Reasoner
from tests.support.serving import Process

pytest_plugins = ["tests.support.fixtures"]

KIND = f"{Path(__file__).parents[1] / 'support' / 'told.py'}:Guess"


@pytest.mark.parametrize("shared", [False, True])
def test_files_beside_a_query_reach_a_hosted_kind(
    started: Callable[..., Process], tmp_path: Path, capfd: pytest.CaptureFixture[str], shared: bool
) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "f.npy", rng.normal(size=(3, 2)).astype(np.float32))
    np.savez(tmp_path / "f.npz", other=np.zeros(9), f=rng.normal(size=(3, 2)))
    query = {
        "variables": {"y": {"values": [0, 1, 2], "shape": [3]}},
        "inputs": {"f": {"low": -9, "high": 9, "shape": [3, 2]}},
        "terms": [
            {"kind": "told.Guess", "scope": ["f", "y"],
             "params": {"matrix": rng.normal(size=(2, 3)).tolist()}},
            {"kind": "discrete.all_different", "scope": ["y"], "params": {"lines": [[0, 1, 2]]}},
        ],
        "evidence": [{"f": {"file": "f.npy"}}, {"f": {"file": "f.npz", "key": "f"}}, {},
                     {"f": [[1, 2], None, [0, 1]], "y": [2, None, None]}],
    }  # fmt: skip
    file = tmp_path / "q.yaml"
    file.write_text(yaml.safe_dump(query))
    options = ["--shared-memory"] if shared else []
    host = started("host", KIND, "--listen", "127.0.0.1:0", *options)
    server = started("serve", "--listen", "127.0.0.1:0", "--remote", f"told.Guess={host.address}")
    assert ask(AskArguments([str(file)], server=server.address, json=True)) == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    values = [
        {"f": np.load(tmp_path / "f.npy")}, {"f": np.load(tmp_path / "f.npz")["f"]},
        *query["evidence"][2:],
    ]  # fmt: skip
    told = parse_query(file.read_text()).changed(evidence=values)
    here = Reasoner(Catalogue(also=(KIND,))).reason(told)
    assert len(lines) == len(here) == 4
    for line, answer in zip(lines, here, strict=True):
        assert line["status"] == answer.status == "OPTIMAL"
        assert line["solution"] == answer.values
        assert line["energy"] == pytest.approx(answer.energy, abs=1e-9)
