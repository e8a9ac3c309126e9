"""Commands beside `ask`: kinds, new, check, bench, sample; and the process itself."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.command import command, write
from tests.support.paths import ROOT
from tests.support.puzzles import puzzle


def test_the_help_of_kinds_says_what_comes(basin):
    """A list with one line about each, one kind in full, or a list as JSON."""
    said = " ".join(basin("kinds", "--help").out.replace("│", " ").split())
    assert "what each is about; of one kind, what it asks for" in said and "KIND" in said
    assert "--json" in said and "A JSON list" in said
    every = json.loads(basin("kinds", "--json").out)
    assert isinstance(every, list) and len(every) > 10
    (one,) = json.loads(basin("kinds", "discrete.table", "--json").out)
    assert one in every and "costs" in one["parameters"]["properties"]
    assert "params.costs" in basin("kinds", "discrete.table").out


def test_the_help_of_ask_names_every_format_and_the_default_budget(basin):
    from services.formats import formats

    said = " ".join(basin("ask", "--help").out.replace("│", " ").split())
    assert all(format.name in said for format in formats())
    assert "without it, and without `budget` in the file, none" in said


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (("serve", "--remote", "kind"), "--remote: 'kind' is no kind with an address"),
        (("serve", "--config", "none.yaml"), "none.yaml: no such file"),
        (("serve", "--config", "bad.yaml"), "bad.yaml: listn: unknown field"),
        (("serve", "--modules", "discret"), "--modules[0]: 'discret' is no group"),
        (("serve", "--listen", "0.0.0.0:7777"), "--listen: '0.0.0.0:7777' is open to other"),
        (("host", "discrete.claus", "--listen", "127.0.0.1:0"), "kind: 'discrete.claus' is unkn"),
    ],
)
def test_services_refuse_wrong_settings(call, said, basin):
    write("bad.yaml", "listn: 127.0.0.1:1\n")
    done = basin(*call)
    assert done.code == 2 and done.err.startswith(said)


def test_version(basin):
    import engine

    assert basin("--version").out == f"basin {engine.__version__}\n"
    (cited,) = re.findall(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited == engine.__version__


# --- kinds ----------------------------------------------------------------------------------------


def test_kinds(basin):
    done = basin("kinds", "--json")
    (every,) = done.answers
    assert done.code == 0
    for kind in every:
        assert list(kind) == ["kind", "about", "required_by_default", "calibrated", "parameters"]
    names = [kind["kind"] for kind in every]
    assert names == sorted(names) and {"discrete.clause", "graph.coloring"} <= set(names)
    (one,) = basin("kinds", "discrete.table", "--json").answers[0]
    assert one["parameters"]["properties"]["sites"]
    assert "params.edges" in basin("kinds", "graph.cut").out
    assert "discrete.linear" in basin("kinds").out
    done = basin("kinds", "graph.cutt")
    assert done.code == 2 and "did you mean graph.cut?" in done.err


def test_kinds_of_a_service(basin, service, catalogue):
    """What a service lists, its own kinds among it; as told here, where both have them."""
    server = ("--server", f"127.0.0.1:{service.port}")
    (there,) = basin("kinds", "--json", *server).answers
    (here,) = basin("kinds", "--json").answers
    assert [kind["kind"] for kind in there] == catalogue.names()
    assert [kind for kind in there if not kind["kind"].startswith("kinds.")] == here
    assert "kinds.Pull" in basin("kinds", *server).out
    shown = basin("kinds", "graph.cut", *server)
    assert "params.edges" in shown.out and shown.code == 0
    wrong = basin("kinds", "graph.cutt", *server)
    assert wrong.code == 2 and "did you mean graph.cut?" in wrong.err
    nobody = basin("kinds", "--server", "127.0.0.1:1")
    assert nobody.code == 3 and "127.0.0.1:1" in nobody.err


def test_new_and_check(basin):
    assert basin("new", "my_term").code == 0
    assert len(Path("my_term.py").read_text().splitlines()) < 25
    assert Path("test_my_term.py").is_file()
    done = basin("check", "my_term.py")
    assert done.code == 0 and "kept  gradient" in done.out, done.err
    done = basin("new", "my_term")
    assert done.code == 2 and "is there already" in done.err
    assert basin("new", "My Term").code == 2
    text, stamp = Path("my_term.py").read_text(), Path("my_term.py").stat()
    write("my_term.py", text.replace("(1 - x", "(2 - x"))
    os.utime("my_term.py", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # edited within one tick
    done = basin("check", "my_term.py")
    assert done.code == 2 and "broken: " in done.out
    write("my_term.py", text.replace("flatten(1)", "flattened(1)"))
    done = basin("check", "my_term.py")
    assert done.code == 2 and "AttributeError" in done.err
    done = basin("check", "no_term.py")
    assert done.code == 2 and "no_term.py" in done.err


def test_check_of_a_kind(basin):
    assert basin("check", "discrete.clause").code == 0
    assert basin("check", "discrete.claus").code == 2


# --- bench ----------------------------------------------------------------------------------------


def test_bench_runs_and_keeps_its_figures(basin):
    Path("benchmarks").mkdir()
    write(
        "benchmarks/adding.py", "def run(seed):\n    return [{'name': 'one and one', 'value': 2}]\n"
    )
    done = basin("bench", "adding", "--json")
    (figures,) = done.answers
    row = {"name": "one and one", "value": 2, "target": None, "unit": None, "peer": None,
           "peer_value": None}  # fmt: skip
    assert done.code == 0 and figures["rows"] == [row] and figures["machine"]["cores"]
    assert json.loads(Path("benchmarks/results/adding.json").read_text()) == figures
    done = basin("bench", "addin")
    assert done.code == 2 and "did you mean adding?" in done.err


def test_a_section_of_a_bench_leaves_the_others_as_they_were(basin):
    Path("benchmarks").mkdir()
    source = """
def made(name, value):
    return lambda seed: [{"name": name, "value": value + seed}] if value + seed < 99 else 1 / 0

SECTIONS = {"left": made("one", 1), "right": made("two", 2)}

def run(seed):
    return [row for section in SECTIONS.values() for row in section(seed)]
"""
    write("benchmarks/adding.py", source)

    def values(*arguments):
        (figures,) = basin("bench", "adding", "--json", *arguments).answers
        assert json.loads(Path("benchmarks/results/adding.json").read_text()) == figures
        return [(row["section"], row["value"]) for row in figures["rows"]]

    assert values("--section", "right") == [("right", 2)]
    assert values("--seed", "5") == [("left", 6), ("right", 7)]
    assert values("--section", "left", "--seed", "7") == [("left", 8), ("right", 7)]
    basin("bench", "adding", "--seed", "97")  # ends in the second section
    kept = json.loads(Path("benchmarks/results/adding.json").read_text())["rows"]
    assert [(row["section"], row["value"]) for row in kept] == [("left", 98), ("right", 7)]
    done = basin("bench", "adding", "--section", "lefd")
    assert done.code == 2 and "did you mean left?" in done.err


def test_help_is_fast_and_loads_nothing_heavy():
    began = time.perf_counter()
    process = command("--help")
    out, _ = process.communicate()
    seconds = time.perf_counter() - began
    assert process.returncode == 0 and seconds < 2, "about 0.3 s on an idle machine"
    assert all(
        name in out
        for name in ("ask", "score", "session", "serve", "host", "kinds", "new", "bench")
    )
    code = "import sys, services.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert not {"torch", "pydantic", "grpc", "engine"} & set(loaded.stdout.split())


def test_a_local_ask_loads_no_grpc(tmp_path):
    (tmp_path / "a.txt").write_text(puzzle(4, 1)[0])
    code = (
        "import sys; from services.cli.ask import AskArguments, ask;"
        "code = ask(AskArguments(['a.txt']));"
        "print('grpc' in sys.modules, 'google.protobuf' in sys.modules, code, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stderr.split() == ["False", "False", "0"]


def test_a_closed_pipe_is_no_traceback(tmp_path):
    (tmp_path / "a.txt").write_text((puzzle(4, 1)[0] + "\n") * 2000)
    process = command("ask", "a.txt", "--json", cwd=tmp_path)
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline().startswith('{"instance"')
    process.stdout.close()
    with process.stderr:
        err = process.stderr.read()
    assert process.wait() in (0, 141) and err == ""


# --- samples -----------------------------------------------------------------------------------

SPIN = """
variables: {x: {values: [0, 1], shape: [3]}}
terms:
  - {kind: discrete.table, scope: [x], required: false,
     params: {sites: [0, 1], costs: [[0, 1], [1, 0]]}}
  - {kind: discrete.not_equal, scope: [x], params: {pairs: [[1, 2]]}}
evidence: [{x: [0, null, null]}, {x: [null, 1, 1]}]
"""


def test_sample(basin):
    path = write("spin.yaml", SPIN)
    arguments = ("sample", str(path), "--count", "40", "--temperature", "0.5", "--json")
    result = basin(*arguments, "--seed", "3")
    assert result.code == 0
    first, second = result.answers
    assert (first["instance"], first["exact"], first["temperature"]) == (f"{path}#1", True, 0.5)
    assert first["status"] == "SATISFIED" and len(first["samples"]) == 40
    for drawn in first["samples"]:
        x = drawn["solution"]["x"]
        assert x[0] == 0 and x[1] != x[2] and drawn["holds"] is True
        assert drawn["energy"] == float(x[1])
    assert 0 < sum(drawn["energy"] for drawn in first["samples"]) < 20  # 1 in 1 + e^2
    assert (second["status"], second["samples"]) == ("INFEASIBLE", [])
    again = basin(*arguments, "--seed", "3")
    assert [r["samples"] for r in again.answers] == [first["samples"], []]
    shown = basin("sample", str(path), "--count", "2")
    assert "elimination, exact" in shown.out and "  2: energy " in shown.out


def test_sample_tells_mistakes(basin):
    path = write("spin.yaml", SPIN.replace("not_equal", "not_equl"))
    result = basin("sample", str(path))
    assert result.code == 2 and f"{path}: terms[1].kind" in result.err
    result = basin("sample", str(path), "--count", "0", "--temperature", "-1", "--seed", "-2")
    assert result.code == 2
    for said in ("--count: 0", "--temperature: -1.0", "--seed: -2"):
        assert said in result.err
