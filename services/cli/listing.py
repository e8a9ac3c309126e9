"""What all kinds say of themselves, kept from run to run: read without loading any of them.

Kept in the user's cache folder under a digest of the source files of `engine` and `modules` and of
the interpreter, so that a change of any of them lets everything be told anew. Kinds of other
distributions are told by themselves, and nothing is kept beside them.
"""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

GROUP = "basin.modules"  # entry points of others

Told = tuple[list[dict[str, Any]], dict[str, str]]  # kinds described, and failures by name


def recall(tell: Callable[[], Told], fields: Iterable[str]) -> Told:
    """What `tell` told in an earlier run of the same sources, with these fields of each kind; else
    what it tells now, which is kept where nothing failed."""
    fields = set(fields)
    if importlib.metadata.entry_points(group=GROUP):
        return tell()
    place = _folder() / f"kinds-{_digest()}.json"
    with contextlib.suppress(OSError, ValueError, RecursionError):
        kept = json.loads(place.read_text())
        if _is_listing(kept, fields):
            return kept, {}
    every, failures = tell()
    if not failures:
        with contextlib.suppress(OSError):  # a folder that cannot be written keeps nothing
            _keep(place, every)
    return every, failures


def _is_listing(kept: Any, fields: set[str]) -> bool:
    """Whether a file holds what was once kept there."""
    every = kept if isinstance(kept, list) else []
    return bool(every) and all(isinstance(one, dict) and set(one) == fields for one in every)


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "basin"


def _digest() -> str:
    """Of the names, sizes and times of all source files."""
    digest = hashlib.blake2b(sys.version.encode(), digest_size=12)
    for package in ("engine", "modules"):
        spec = importlib.util.find_spec(package)
        folders = spec.submodule_search_locations if spec is not None else None
        for folder in folders or ():
            for file in sorted(Path(folder).rglob("*.py")):
                about = file.lstat()  # a link may lead nowhere
                digest.update(f"{file} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _keep(place: Path, every: list[dict[str, Any]]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    for old in place.parent.glob("kinds-*.json"):
        old.unlink(missing_ok=True)
    part = place.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(every))
    os.replace(part, place)
