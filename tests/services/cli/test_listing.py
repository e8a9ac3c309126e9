"""What kinds say is kept from run to run, and told anew when a source changes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli import listing
from tests.support.paths import ROOT

FIELDS = ("kind", "about")
TOLD = ([{"kind": "a.b", "about": "It."}], {})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: ())
    return tmp_path / "basin"


def nobody() -> listing.Told:
    raise AssertionError("asked again")


def test_kinds_are_told_once(cache: Path) -> None:
    assert listing.recall(lambda: TOLD, FIELDS) == TOLD
    assert listing.recall(nobody, FIELDS) == TOLD
    assert len(list(cache.iterdir())) == 1


def test_a_changed_source_is_told_anew(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing.recall(lambda: TOLD, FIELDS)
    monkeypatch.setattr(listing, "_digest", lambda: "another")
    with pytest.raises(AssertionError):
        listing.recall(nobody, FIELDS)
    assert listing.recall(lambda: TOLD, FIELDS) == TOLD
    assert [file.name for file in cache.iterdir()] == ["kinds-another.json"]


def test_the_digest_follows_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Spec:
        submodule_search_locations = [str(tmp_path)]

    monkeypatch.setattr("importlib.util.find_spec", lambda name: Spec)
    (tmp_path / "deep").mkdir()
    seen = {listing._digest()}
    (tmp_path / "gone.py").symlink_to("nowhere.py")
    seen.add(listing._digest())
    for text in ("", "x = 1", "x = 12"):
        (tmp_path / "deep" / "kind.py").write_text(text)
        seen.add(listing._digest())
    assert len(seen) == 5


def test_failures_broken_files_and_other_distributions_are_not_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = (TOLD[0], {"c.d": "ImportError"})
    assert (
        listing.recall(lambda: failed, FIELDS) == failed
        and listing.recall(lambda: TOLD, FIELDS) == TOLD
    )
    (file,) = cache.iterdir()
    for text in ("[{", "null", "[1]", "[{}]", '{"a": 1}', "[]", "[" * 100_000):
        file.write_text(text)
        assert listing.recall(lambda: TOLD, FIELDS) == TOLD
        assert json.loads(file.read_text()) == TOLD[0]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: ("lab",))
    assert listing.recall(lambda: failed, FIELDS) == failed


def test_a_second_listing_loads_no_torch() -> None:
    code = (
        "import sys; from services.cli.kinds import kinds; kinds(None, True);"
        "print('torch' in sys.modules)"
    )
    said = [
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        for _ in range(2)
    ]
    assert [done.stdout.split()[-1] for done in said] == ["True", "False"], said[1].stderr
    assert said[0].stdout.splitlines()[0] == said[1].stdout.splitlines()[0]
