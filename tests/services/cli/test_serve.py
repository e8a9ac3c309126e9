"""`basin serve`, `host` and `check` as a person starts them: flags, settings, the log, the wire."""

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from services.cli import app, bench, serve
from services.settings import ServerSettings
from tests.support.paths import ROOT
from tests.support.serving import Process

# the settings that a file and flags may name: values of each, and the flags that say them
SAID: dict[str, list[tuple[Any, list[str]]]] = {
    "listen": [
        (address, ["--listen", address])
        for address in ("127.0.0.1:7777", "127.0.0.1:0", "localhost:9999")
    ],
    "modules": [(["discrete"], ["--modules", "discrete"]), (["graph"], ["--modules", "graph,"])],
    "reflection": [(True, ["--reflection"]), (False, ["--no-reflection"])],
    "insecure_listen": [(True, ["--insecure-listen"]), (False, ["--no-insecure-listen"])],
    "remote_policy": [
        ({"shared_memory": True}, ["--shared-memory"]),
        ({"shared_memory": False}, ["--no-shared-memory"]),
    ],
    "weights": [(".", ["--weights", "."]), ("/", ["--weights", "/"])],
    "files": [(".", ["--files", "."]), ("/", ["--files", "/"])],
    "log_level": [(level, ["--log-level", level]) for level in ("debug", "info", "error")],
    "remote": [({kind: ["h:1"]}, ["--remote", f"{kind}=h:1"]) for kind in ("a.b",)],
}  # fmt: skip

Chosen = dict[str, tuple[Any, list[str]]]


@st.composite
def chosen(draw: st.DrawFn) -> Chosen:
    names = draw(st.sets(st.sampled_from(sorted(SAID))))
    return {name: draw(st.sampled_from(SAID[name])) for name in sorted(names)}


@given(chosen(), chosen(), st.booleans())
def test_flags_that_are_given_win_whatever_they_say(
    tmp_path_factory: pytest.TempPathFactory, file: Chosen, flags: Chosen, config: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "settings.yaml"

    path.write_text(yaml.safe_dump({name: value for name, (value, _) in file.items()}))
    words = list(itertools.chain.from_iterable(words for _, words in flags.values()))
    words += ["--config", str(path)] if config else []
    seen: list[ServerSettings] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serve, "_serve", lambda settings: (seen.append(settings), 0)[1])
        done = CliRunner().invoke(app, ["serve", *words])
    assert done.exit_code == 0, done.output
    wanted = {name: value for name, (value, _) in flags.items()}
    below = {name: value for name, (value, _) in file.items()} if config else {}
    assert seen == [ServerSettings(**(below | wanted))]


def test_the_log_has_time_level_and_name(started: Callable[..., Process]) -> None:
    """Of each refused call, at `info`; not at `error`."""
    for level, lines in (("info", 1), ("error", 0)):
        process = started("serve", "--listen", "127.0.0.1:0", "--log-level", level)
        with grpc.insecure_channel(process.address) as channel:
            call = channel.unary_unary("/basin.v1.ReasonerService/Solve")
            with pytest.raises(grpc.RpcError):
                call(b"\xff\xff\xff")
        process.process.terminate()
        _, err = process.process.communicate(timeout=20)
        line = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO services\.rpc\.errors: .*QUERY_INVALID"
        assert len(re.findall(line, err, re.MULTILINE)) == lines, err


def test_every_option_of_a_channel_is_known_to_grpc() -> None:
    """gRPC ignores what it does not know, so that a misspelt one says nothing."""
    files = (ROOT / "services").rglob("*.py")
    named = set(re.findall(r'"(grpc\.[a-z0-9_.]+)"', " ".join(f.read_text() for f in files)))
    binary = Path(grpc._cython.cygrpc.__file__).read_bytes()  # type: ignore[attr-defined]
    missing = {name for name in named if name.encode() + b"\0" not in binary}
    assert named and not missing
    assert b"grpc.http2.min_recv_ping_interval_without_data_ms\0" not in binary  # as it once was


# ---------------------------------------------------------------- check and bench

CHECKED = '''
from engine import Finite, Term, Variable


class Mine(Term):
    """Mine."""

    def __init__(self, x: Variable):
        super().__init__(x)

    def energy(self, x):
        return x[..., 0].flatten(1).sum(-1)
'''


@pytest.mark.parametrize(
    ("example", "said"),
    [
        ("", ["has no example", "@classmethod def example(cls)", "Mine"]),
        ("return None", ["has no example", "@classmethod def example(cls)"]),
        ("return 3", ["has 3 for an example", "@classmethod def example(cls)"]),
        ("raise OSError('gone')", ["its example raised OSError: gone"]),
        ("return cls(Variable('x', Finite((0, 1), (2,))))", []),
    ],
)
def test_check_says_what_an_example_is_for(tmp_path: Path, example: str, said: list[str]) -> None:
    file = tmp_path / "mine.py"
    method = f"\n    @classmethod\n    def example(cls):\n        {example}\n" if example else ""
    file.write_text(CHECKED + method)
    done = CliRunner().invoke(app, ["check", str(file)])
    assert done.exit_code == (2 if said else 0)
    assert all(words in done.stderr for words in said) and "NoneType" not in done.stderr


def test_check_and_host_say_what_has_no_type(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(CHECKED.replace("x: Variable", "x, c, means: list[float]"))
    for command in (["check", str(file)], ["host", f"{file}:Mine"]):
        done = CliRunner().invoke(app, command)
        assert done.exit_code in (2, 3) and "annotate x as Variable" in done.stderr


def test_every_term_among_the_examples_keeps_the_laws() -> None:
    term = re.compile(r"^class \w+\(Term\)", re.MULTILINE)
    every = [f for f in sorted((ROOT / "examples").rglob("*.py")) if term.search(f.read_text())]
    assert "harmony.py" in {file.name for file in every}
    for file in every:
        assert CliRunner().invoke(app, ["check", str(file)]).exit_code == 0


@pytest.mark.parametrize("words", [["--docs"], ["sudoku"], []])
def test_bench_outside_a_checkout_is_told(
    monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setattr(bench, "_folders", list)
    done = CliRunner().invoke(app, ["bench", *words])
    assert done.exit_code == 2 and "run it in a checkout" in done.stderr
