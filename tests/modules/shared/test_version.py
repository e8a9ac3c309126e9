"""The version of a kind follows whatever may change what its terms compute, and nothing else."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.energy import Term
from modules.catalogue import Catalogue
from modules.shared import version
from modules.shared.version import version_of
from tests.support.paths import ROOT

KIND = """
from engine import Term
from pack.field.wave.helper import scale
class Wave(Term):
    def energy(self, x):
        return scale(x)
    def learn(self):
        from pack.field.wave import train
        return train
"""
FILES = {
    "__init__.py": "",
    "field/__init__.py": "",
    "field/other.py": "A = 1\n",
    "field/wave/__init__.py": "",
    "field/wave/term.py": KIND,
    "field/wave/helper.py": "from ...shared import deep\ndef scale(x):\n    return deep.one(x)\n",
    "field/wave/train.py": "import torch\n",
    "field/wave/notes.txt": "nothing\n",
    "field/wave/w.safetensors": "weights",
    "shared/__init__.py": "",
    "shared/deep.py": "def one(x):\n    return x.sum(-1)\n",
    "shared/unused.py": "B = 1\n",
}


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with one kind in a folder of its own."""
    folder = tmp_path / "pack"
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "pack"]:
        del sys.modules[name]
    importlib.invalidate_caches()


def wave() -> type[Term]:
    """The kind, read anew as another process would read it."""
    forget()
    return Catalogue(packages=("pack",), entry_points=False).kind("field.wave").term


def changed(pack: Path, name: str) -> bool:
    """Whether another byte at the end of a file gives another version."""
    before = version_of(wave())
    with (pack / name).open("a") as file:
        file.write("\n")
    after = version_of(wave())
    assert len(before) == len(after) == 16
    return before != after


@pytest.mark.parametrize(
    "name",
    [
        "field/wave/term.py",
        "field/wave/helper.py",
        "field/wave/train.py",  # imported inside a function
        "shared/deep.py",  # by a helper, relatively
        "shared/__init__.py",
        "field/wave/w.safetensors",
    ],
)
def test_what_may_change_an_energy_changes_the_version(pack: Path, name: str) -> None:
    assert changed(pack, name)


@pytest.mark.parametrize("name", ["field/other.py", "shared/unused.py", "field/wave/notes.txt"])
def test_what_a_kind_does_not_use_leaves_it(pack: Path, name: str) -> None:
    assert not changed(pack, name)


def test_weights_that_come_go_or_are_renamed_change_it(pack: Path) -> None:
    weights = pack / "field" / "wave" / "w.safetensors"
    seen = {version_of(wave())}
    weights.rename(weights.with_name("v.safetensors"))
    seen.add(version_of(wave()))
    weights.with_name("v.safetensors").unlink()
    seen.add(version_of(wave()))
    assert len(seen) == 3


def test_a_helper_that_cannot_be_read_is_no_error(pack: Path) -> None:
    term = wave()
    (pack / "field" / "wave" / "train.py").write_text("def (:")
    assert version_of(term)


def test_a_file_alone_and_its_helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is beside it and not imported may be anybody's."""
    monkeypatch.syspath_prepend(str(tmp_path))
    lone = tmp_path / "lone.py"
    text = "import helper_of_lone\nfrom engine import Term\n"
    lone.write_text(
        text + "class Lone(Term):\n    def energy(self, x):\n        return x.sum(-1)\n"
    )
    helper = tmp_path / "helper_of_lone.py"
    helper.write_text("A = 1\n")

    def now() -> str:
        return version_of(Catalogue(also=(f"{lone}:Lone",)).kind("lone.Lone").term)

    first = now()
    (tmp_path / "big.safetensors").write_text("somebody's")
    assert now() == first
    helper.write_text("A = 2\n")
    assert now() != first


def test_every_kind_has_a_version_of_its_own_that_other_processes_share() -> None:
    kinds = Catalogue(entry_points=False).kinds()
    here = {kind.name: version_of(kind.term) for kind in kinds}
    assert all(len(told) == 16 for told in here.values())
    assert len(set(here.values())) == len(here)
    code = (
        "from modules.catalogue import Catalogue; from modules.shared.version import version_of;"
        "print({k.name: version_of(k.term) for k in Catalogue(entry_points=False).kinds()})"
    )
    there = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert there.stdout.strip() == str(here)


def test_files_are_read_once(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    term = wave()
    told = version_of(term)

    def fail(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(version, "_sources", fail)
    assert version_of(term) == told


def test_a_class_without_a_file_has_none() -> None:
    class Here(Term):
        def energy(self, x):
            return x.sum(-1)

    Here.__module__ = "nowhere_at_all"
    assert version_of(Here) == ""
