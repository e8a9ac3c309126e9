"""Where settings come from: which source counts, what is told of mistakes, what it loads."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from engine.errors import BadQuery, TooLarge, TooManySessions
from services.cli import app
from services.cli.sources import Given, fields_of, settings_of
from services.client import Client
from services.settings import HostSettings, Limits, ServerSettings, Settings
from tests.support.serving import Process, sudoku

KINDS: tuple[type[Settings], ...] = (ServerSettings, HostSettings)


def value_of(name: str) -> st.SearchStrategy[Any]:
    """Values that a setting may have, by its name."""
    last = name.rpartition(".")[2]
    if last in ("reflection", "insecure_listen", "shared_memory"):
        return st.booleans()
    if last == "log_level":
        return st.sampled_from(["debug", "info", "warning", "error"])
    if last == "modules":
        return st.lists(st.sampled_from(["discrete", "graph"]), max_size=2)
    if last == "remote":
        return st.just({"a.b": ["h:1", "h:2"]})
    if last in ("listen", "weights", "files"):
        return st.sampled_from(["127.0.0.1:0", "[::1]:9", "a=b"])
    if "seconds" in last or last == "interval":
        return st.floats(0.01, 100.0)
    return st.integers(1, (1 << 31) - 1)


def nested(values: dict[str, Any]) -> dict[str, Any]:
    """`{"limits.rows": 3}` -> `{"limits": {"rows": 3}}`"""
    whole: dict[str, Any] = {}
    for name, value in values.items():
        group, _, last = name.rpartition(".")
        (whole.setdefault(group, {}) if group else whole)[last] = value
    return whole


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def found(settings: Settings, name: str) -> Any:
    value: Any = settings
    for step in name.split("."):
        value = getattr(value, step)
    return value


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_the_nearest_source_counts_for_each_setting(
    kind: type[Settings], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Flags, `--set`, the environment, the file, defaults: whatever each of them says."""
    names = sorted(fields_of(kind))
    layers: list[dict[str, Any]] = []
    for _ in range(4):
        some = data.draw(st.sets(st.sampled_from(names), max_size=4))
        layers.append({name: data.draw(value_of(name)) for name in sorted(some)})
    flags, pairs, variables, file = layers
    path = tmp_path_factory.getbasetemp() / "settings.yaml"
    path.write_text(yaml.safe_dump(nested(file)) if file else "limits: {}")
    made = settings_of(
        kind,
        [Given("--flag", name, value) for name, value in flags.items()],
        [f"{name}={text_of(value)}" for name, value in pairs.items()],
        path,
        {f"BASIN_{n.upper().replace('.', '__')}": text_of(v) for n, v in variables.items()},
    )
    default = kind()
    for name in names:
        wanted = next((layer[name] for layer in layers if name in layer), found(default, name))
        assert found(made, name) == wanted, name


def test_a_remote_of_a_nearer_source_stands_beside_those_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("remote: {a.b: ['h:1'], c.d: ['h:2']}")
    made = settings_of(
        ServerSettings, [Given("--remote", "remote", {"c.d": ["h:3"]})], config=path, environment={}
    )
    assert made.remote == {"a.b": ["h:1"], "c.d": ["h:3"]}


WRONG: list[tuple[str, str, str, str]] = [  # name, value, what is said, the remedy
    ("limits.rowz", "5", "unknown field", "did you mean rows?"),
    ("polcy.queue", "5", "unknown field", "did you mean policy?"),
    ("listn", "h:1", "unknown field", "did you mean listen?"),
    ("limits.rows", "many", "is no whole number", "give a whole number"),
    ("limits.rows", "0", "out of range", "give a number of at least 1"),
    ("limits.idle_seconds", "soon", "is no number", "give a number"),
    ("policy.interval", "0", "out of range", "give a number above 0"),
    ("reflection", "maybe", "is neither true nor false", "write true or false"),
    ("log_level", "loud", "'loud'", "give 'debug', 'info', 'warning' or 'error'"),
    ("listen.port", "5", "is no text", "write it in quotes"),
    ("limits", "5", "is no mapping", "write name: value"),
]


@pytest.mark.parametrize(("name", "value", "said", "remedy"), WRONG)
def test_a_mistake_is_told_under_the_name_it_was_given_by(
    name: str, value: str, said: str, remedy: str, tmp_path: Path
) -> None:
    path = tmp_path / "settings.yaml"
    plain = yaml.safe_load(value)
    path.write_text(yaml.safe_dump(nested({name: plain})))
    variable = f"BASIN_{name.upper().replace('.', '__')}"
    told: list[str] = []
    with pytest.raises(BadQuery) as caught:
        settings_of(ServerSettings, (), [f"{name}={value}"], path, {variable: value})
    for place, mistake in zip(
        ("--set ", "BASIN_", f"{path}: "), caught.value.mistakes, strict=True
    ):
        told.append(str(mistake))
        assert mistake.path.startswith(place) and said in mistake.problem, told
        assert remedy in mistake.remedy, told
    exact = name if said != "unknown field" or name.count(".") == 0 else None
    if exact:
        assert caught.value.mistakes[0].path == f"--set {name}"
        assert caught.value.mistakes[1].path == variable


@pytest.mark.parametrize(
    ("words", "file", "every"),
    [
        (["--set", "limits.rowz=5", "--set", "rows"], None, ["--set limits.rowz", "--set"]),
        (["--log-level", "loud", "--set", "x=1"], None, ["--log-level", "--set x"]),
        ([], "limits: [", ["line 1"]),
        ([], "- listen", ["settings.yaml: line 1: is no mapping"]),
        (["--log-level", "info"], "log_level: loud", ["settings.yaml: log_level"]),
    ],
)
@pytest.mark.parametrize("command", [["serve"], ["host", "discrete.clause"]])
def test_commands_tell_every_mistake_and_start_nothing(
    command: list[str],
    words: list[str],
    file: str | None,
    every: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.rpc.server.run", lambda *_: pytest.fail("it was started"))
    path = tmp_path / "settings.yaml"
    if file is not None:
        path.write_text(file)
        words = [*words, "--config", str(path)]
    done = CliRunner().invoke(app, [*command, *words], env={"BASIN_LIMITS__ROWZ": "5"})
    lines = done.stderr.splitlines()
    assert done.exit_code == 2 and len(lines) == len(every) + 1, done.output
    assert any(line.startswith("BASIN_LIMITS__ROWZ: ") for line in lines)
    assert all(any(part in line for line in lines) for part in every), lines


MEANT: list[tuple[str, str, str, str]] = [  # name, value, where in it, what is said
    ("weights", "/nowhere", "", "/nowhere is no folder"),
    ("listen", "here", "", "'here' is no address"),
    ("listen", "0.0.0.0:7777", "", "is open to other machines"),
    ("modules", '["discreet"]', "[0]", "'discreet' is no group"),
    ("remote", '{"a.b": ["127.0.0.1:7", "there"]}', ".a.b[1]", "'there' is no address"),
]


@pytest.mark.parametrize(("name", "value", "where", "said"), MEANT)
@pytest.mark.parametrize("source", ["flag", "pair", "environment", "file"])
def test_what_makes_no_sense_is_told_under_the_name_it_was_given_by(
    source: str,
    name: str,
    value: str,
    where: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the value alone is well formed; nothing is started."""
    monkeypatch.setattr("services.rpc.server.run", lambda *_: pytest.fail("it was started"))
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump({name: yaml.safe_load(value)}) if source == "file" else "{}")
    plain = yaml.safe_load(value)
    flag = [f"--{name}", ",".join(plain) if name == "modules" else value]
    if name == "remote":
        flag = [word for one in plain["a.b"] for word in ("--remote", f"a.b={one}")]
        said = said if source != "flag" else "'a.b=there' is no kind with an address"
        where = where if source != "flag" else ""
    given = {"flag": flag, "pair": ["--set", f"{name}={value}"]}.get(source, [])
    variable = f"BASIN_{name.upper()}"
    spelled = {"flag": f"--{name}", "pair": f"--set {name}", "environment": variable}
    for command in (["serve"], ["host", "discrete.clause"]):
        if command[0] == "host" and name in ("modules", "remote"):
            continue
        words = [*command, *given, "--config", str(path)]
        done = CliRunner().invoke(
            app, words, env={variable: value} if source == "environment" else {}
        )
        told = f"{spelled.get(source, f'{path}: {name}')}{where}: "
        assert done.exit_code == 2 and done.stderr.startswith(told), done.stderr
        assert said in done.stderr and done.stderr.count("\n") == 1


def test_the_source_that_counts_is_blamed_and_all_is_told(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("{weights: /nowhere, listen: here, modules: [discreet], remote: {a.b: [x]}}")
    words = ["serve", "--config", str(path), "--set", "listen=there", "--remote", "c.d=h:port"]
    done = CliRunner().invoke(app, words, env={"BASIN_WEIGHTS": "/neither"})
    assert sorted(line.partition(": '")[0] for line in done.stderr.splitlines()) == [
        "--remote.c.d[0]",
        "--set listen",
        f"{path}: modules[0]",
        f"{path}: remote.a.b[0]",
        "BASIN_WEIGHTS: /neither is no folder; name one that is there",
    ]


def test_a_remote_without_an_address_is_told_with_all_else() -> None:
    done = CliRunner().invoke(app, ["serve", "--remote", "x", "--set", "limits.rowz=5"])
    paths = [line.partition(": ")[0] for line in done.stderr.splitlines()]
    assert done.exit_code == 2 and paths == ["--remote", "--set limits.rowz"]


def test_the_environment_may_name_what_the_other_command_is_told(tmp_path: Path) -> None:
    """Both often have one environment; a file is for one of them."""
    said = {"BASIN_WORKERS": "3", "BASIN_POLICY__QUEUE": "5", "BASIN_DATA": "/data", "PATH": "/bin"}
    assert settings_of(HostSettings, environment=said).workers == 3
    assert settings_of(ServerSettings, environment=said).policy.queue == 5
    path = tmp_path / "settings.yaml"
    path.write_text("workers: 3")
    with pytest.raises(BadQuery, match="workers: unknown field"):
        settings_of(ServerSettings, config=path, environment={})


def test_limits_are_read_as_plain_data() -> None:
    plain = Limits(rows=5).plain()
    assert plain["rows"] == 5 and set(plain) == set(Limits.model_fields)
    assert Limits(**json.loads(json.dumps(plain))) == Limits(rows=5)


def test_what_needs_limits_alone_reads_no_sources() -> None:
    code = (
        "import sys, services.client, services.settings\n"
        "assert 'services.cli.sources' not in sys.modules\n"
        "assert 'pydantic_settings' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_service_has_one_set_of_limits(started: Callable[..., Process], tmp_path: Path) -> None:
    """Rows are read, sessions kept and terms bound under what a file or a flag gives."""
    path = tmp_path / "settings.yaml"
    path.write_text("limits: {rows: 1, sites: 100}\npolicy: {workers: 1}")
    host = started("host", "discrete.clause", "--set", "limits.rank=1", "--set", "workers=2")
    remote = f"discrete.clause={host.address}"
    service = started(
        "serve",
        *("--listen", "127.0.0.1:0", "--config", str(path), "--set", "limits.sessions=1"),
        *("--remote", remote),
    )
    with Client(service.address) as client:
        with pytest.raises(TooLarge, match="evidence: 2 entries; the limit is 1"):
            client.solve(sudoku(evidence=[{}, {}]))
        with pytest.raises(TooLarge, match="101 sites; the limit is 100"):
            client.solve({"variables": {"x": {"values": [0], "shape": [101]}}, "terms": []})
        clause = {
            "kind": "discrete.clause",
            "scope": ["x"],
            "params": {"clauses": [[[0, 1, True]]]},
        }
        flat = {"variables": {"x": {"values": [0, 1], "shape": [4]}}, "terms": [clause]}
        assert client.solve(flat)[0].status == "OPTIMAL"
        flat["variables"] = {"x": {"values": [0, 1], "shape": [2, 2]}}
        with pytest.raises(BadQuery, match=r"rows and values; the limit is 1 \(limits.rank\)"):
            client.solve(flat)
        client.session(sudoku(), stream=False)
        with pytest.raises(TooManySessions, match="1 sessions are open"):
            client.session(sudoku(), stream=False)
