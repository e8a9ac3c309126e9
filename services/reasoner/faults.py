"""The door between the code of terms and who asked: what it raises is a fault of its term."""

import contextlib
from collections.abc import Iterator

from engine.energy.blame import blamed
from engine.errors import BasinError, ModuleFault


@contextlib.contextmanager
def faults_told() -> Iterator[None]:
    """What a method of a term raises leaves as ModuleFault, with file, line and method; what
    nobody's term raised is a mistake of Basin, and passes."""
    try:
        yield
    except BasinError:
        raise
    except Exception as error:  # a user's code may raise anything
        blame = blamed(error)
        if blame is None:
            raise
        raise ModuleFault(blame.term, str(blame)) from error
