"""`basin new`: a file with a term to begin from, and its test."""

import re
from pathlib import Path

from engine.errors import BadQuery, Mistake
from services.cli.console import ANSWERED, REFUSED, tell

TERM = '''"""{title}: say in one sentence what is low in energy."""

from engine import Finite, Term, Variable, View
from torch import Tensor


class {title}(Term):
    """The number of sites that do not take the value `wanted`. Replace this by your energy."""

    def __init__(self, x: Variable | View, wanted: int = 1):
        super().__init__(x)
        self.wanted = wanted
        self.place = self.scope[0].variable.domain.place(wanted)

    def energy(self, x: Tensor) -> Tensor:  # (B, n, k) -> (B,)
        return (1 - x[..., self.place]).flatten(1).sum(1)

    def holds(self, x: list) -> bool:  # plain values; leave it out where nothing is decided
        return all(value == self.wanted for value in x)

    @classmethod
    def example(cls) -> "{title}":
        return cls(Variable("x", Finite((0, 1, 2), (3,))))
'''


TEST = '''"""The laws every term must keep, on the example of {title}."""

from engine.testing import check_term

from {module} import {title}


def test_{module}_keeps_the_laws():
    check_term({title}.example())
'''


def new(name: str) -> int:
    """Write NAME.py and test_NAME.py into this folder; the exit code."""
    try:
        paths = _write(name)
    except BadQuery as error:
        tell("", error)
        return REFUSED
    for path in paths:
        print(f"wrote {path}")
    print(f"next: write `energy` in {paths[0]}, then run: basin check {paths[0]}")
    print(f"then name it in a question, kind: {name}: basin ask FILE --module {paths[0]}")
    return ANSWERED


def _write(name: str) -> list[Path]:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise BadQuery(
            Mistake(
                "KIND",
                f"{name!r} is no name for a file",
                "use small letters, digits and _, such as my_term",
            )
        )
    title = "".join(word.title() for word in name.split("_"))
    texts = {
        Path(f"{name}.py"): TERM.format(title=title),
        Path(f"test_{name}.py"): TEST.format(title=title, module=name),
    }
    there = [path for path in texts if path.exists()]
    if there:
        raise BadQuery(
            *(Mistake(str(path), "is there already", "take another name") for path in there)
        )
    for path, text in texts.items():
        path.write_text(text)
    return list(texts)
