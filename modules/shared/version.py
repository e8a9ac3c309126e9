"""The version of a kind: it changes when its terms may compute something else.

It covers the source of the term's file, of all it imports from its own package (for Basin's kinds:
from `modules`), and the weights that ship with it. The engine has a version of its own.
"""

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from engine.energy import Term

WEIGHTS = "*.safetensors"


@cache  # of a class, which an edited file that is read anew defines anew
def version_of(term: type[Term]) -> str:
    """16 hexadecimal digits; empty where the class has no file. Files are read once a process."""
    module = sys.modules.get(term.__module__)
    file = getattr(module, "__file__", None)
    if module is None or file is None or not Path(file).is_file():
        return ""
    sources = _sources(module.__name__, Path(file))
    made = hashlib.blake2b(digest_size=8)
    for name, path in [*sorted(sources.items()), *_weights(term, Path(file))]:
        content = path.read_bytes()
        made.update(f"{name} {len(content)}\n".encode())
        made.update(content)
    return made.hexdigest()


def _sources(module: str, file: Path) -> dict[str, Path]:
    """The files of a module and of what it imports from its package, directly or not, by name.

    Imports are read, not run: those inside functions count too.
    """
    root = _root(module, file)
    found = {module: file}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = found[name]
        around = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for needed in _imports(path.read_bytes(), around):
            file_needed = _file_of(needed, root)
            if file_needed is not None and needed not in found:
                found[needed] = file_needed
                waiting.append(needed)
    return found


def _root(module: str, file: Path) -> tuple[str, Path]:
    """The topmost package of a module and its folder; of a module without one no package, and the
    folder that the module lies in."""
    top, _, rest = module.partition(".")
    if not rest:
        return "", file.parent
    spec = importlib.util.find_spec(top)
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    inside = [Path(folder) for folder in folders if file.is_relative_to(folder)]
    return (top, inside[0]) if inside else ("", file.parent)


def _file_of(name: str, root: tuple[str, Path]) -> Path | None:
    """The file of a module below a package, or beside a file; None for any other."""
    package, folder = root
    parts = name.split(".")
    if package:
        if parts[0] != package:
            return None
        parts = parts[1:]
    place = folder.joinpath(*parts)
    for path in (place.with_suffix(".py") if parts else None, place / "__init__.py"):
        if path is not None and path.is_file():
            return path
    return None


@cache  # kinds share their helpers
def _imports(source: bytes, around: str) -> frozenset[str]:
    """Every name that a source may import, and the packages around each; not all are modules.

    around: the package that the source lies in, from which its relative imports count.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # its bytes count all the same
        return frozenset()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = around.split(".")
            home = home[: len(home) - node.level + 1] if node.level else []
            base = ".".join([*home, node.module] if node.module else home)
            names.update([base, *(f"{base}.{alias.name}" for alias in node.names)])
    parts = [name.split(".") for name in names]
    return frozenset(".".join(part[: k + 1]) for part in parts for k in range(len(part)))


def _weights(term: type[Term], file: Path) -> Iterator[tuple[str, Path]]:
    """The weights that ship with a kind, by name: in the folder it names, else in its own. A file
    that lies alone ships none: what is beside it may be anybody's."""
    folder = term.shipped
    if folder is None and "." in term.__module__:
        folder = file.parent
    if folder is not None:
        yield from ((path.name, path) for path in sorted(folder.glob(WEIGHTS)))
