"""The protos and what is generated from them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

# --- the generated code -----------------------------------------------------------------------


def test_generated_code_is_fresh():
    command = [sys.executable, str(ROOT / "proto" / "generate.py"), "--check"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def test_a_touched_a_missing_and_a_foreign_generated_file_are_noticed(tmp_path):
    folder = tmp_path / "services" / "v1"
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    shutil.copytree(ROOT / "services" / "v1", folder)
    command = [sys.executable, str(tmp_path / "proto" / "generate.py")]
    (folder / "value_pb2.py").write_text("# touched")
    (folder / "query_pb2.pyi").unlink()
    (folder / "old_pb2.py").write_text("# left over")
    check = subprocess.run([*command, "--check"], capture_output=True, text=True, check=False)
    assert check.returncode == 1
    assert [line.split()[0].rpartition("/")[2] for line in check.stderr.splitlines()] == [
        "old_pb2.py", "query_pb2.pyi", "value_pb2.py",
    ]  # fmt: skip
    subprocess.run(command, check=True)
    subprocess.run([*command, "--check"], check=True)


# --- the wire ---------------------------------------------------------------------------------


def held(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What the check of a copy of the protos says."""
    command = [sys.executable, str(folder / "proto" / "check.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    return tmp_path


def edit(folder: Path, name: str, old: str, new: str) -> None:
    file = folder / "proto" / "basin" / "v1" / name
    text = file.read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
    file.write_text(text.replace(old, new))


def test_the_wire_keeps_its_rules(copied: Path) -> None:
    done = held(copied)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("answer.proto", "  // How much is known.\n", "", 'Field "status"'),
        ("answer.proto", "  // Never sent.\n  FLAG_", "  FLAG_", "FLAG_UNSPECIFIED"),
        ("session.proto", "  // Ends a session before it expires.\n", "", "CloseSession"),
        ("kind.proto", "// A kind of term.\nmessage", "message", 'Message "Kind"'),
        ("tensor.proto", "  // Where its bytes are; must be set.\n", "", 'Oneof "location"'),
        ("kind.proto", "string about", "string About", "About"),
        ("session.proto", "returns (GetSessionResponse)", "returns (Session)", "GetSession"),
    ],
)
def test_a_rule_that_is_broken_is_told(
    copied: Path, name: str, old: str, new: str, said: str
) -> None:
    edit(copied, name, old, new)
    held(copied, "--renew")  # the wire as it stands: only the rules can complain
    done = held(copied)
    assert done.returncode == 1 and name in done.stdout and said in done.stdout
    assert "make wire" not in done.stderr


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("kind.proto", "string about = 2", "string about = 6", '"2"'),
        ("kind.proto", "string about = 2", "uint64 about = 2", '"about"'),
        ("answer.proto", "  // Left out: not asked for, or there is none.\n"
         "  RunnerUp runner_up = 13;\n", "", '"13"'),
        ("session.proto", "  // Ends a session before it expires.\n  rpc CloseSession("
         "CloseSessionRequest) returns (CloseSessionResponse);\n", "", "CloseSession"),
    ],
)  # fmt: skip
def test_a_break_of_the_wire_is_told_until_it_is_meant(
    copied: Path, name: str, old: str, new: str, said: str
) -> None:
    edit(copied, name, old, new)
    done = held(copied)
    assert done.returncode == 1 and said in done.stdout and "make wire" in done.stderr
    assert held(copied, "--renew").returncode == 0
    assert held(copied).returncode == 0


def test_what_is_new_breaks_nothing(copied: Path) -> None:
    new = "string about = 2;\n  // More.\n  string more = 6;"
    edit(copied, "kind.proto", "string about = 2;", new)
    assert held(copied).returncode == 0
